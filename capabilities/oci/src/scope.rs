//! Scopes of `oci`: what may be done with which repositories, and the other hosts that registries send
//! their clients to.

use crate::reference::{self, DOCKER};
use assay_capability_api::scope::NetworkScope;
use assay_capability_api::{GrantError, Request, Scope};
use std::net::IpAddr;

pub const PULL: &str = "pull";
pub const PUSH: &str = "push";
/// The verb of a request to a host that a registry redirects to; the name is `host:port`.
pub const REDIRECT: &str = "follow a redirect to";
/// The verb of a request to a server that gives tokens for a registry.
pub const TOKEN: &str = "authenticate at";

const FORMS: &str = "write pull:REGISTRY/REPOSITORY, push:..., pull+push:... (each with a star at its end for \
     all that begin so), redirect:HOST, token:HOST, or a range of addresses";

/// Repositories of a registry.
#[derive(Debug)]
struct Repositories {
    pull: bool,
    push: bool,
    /// Written without a verb.
    bare: bool,
    registry: Registry,
    repository: Pattern,
    denies: bool,
}

#[derive(Debug)]
enum Registry {
    Any,
    /// Its one spelling, and the place.
    One(String, NetworkScope),
    /// `.example.com`
    Below(String, NetworkScope),
}

#[derive(Debug)]
enum Pattern {
    Prefix(String),
    One(String),
}

/// A host that registries send on to.
#[derive(Debug)]
struct Host {
    verb: &'static str,
    place: NetworkScope,
    denies: bool,
}

/// Lifts the guard on addresses, for registries that were granted otherwise.
#[derive(Debug)]
struct Range {
    place: NetworkScope,
    denies: bool,
}

/// Reads a scope.
///
/// # Errors
/// When it has none of the forms.
pub fn parse(text: &str) -> Result<Box<dyn Scope>, GrantError> {
    let bad = |why: &str| GrantError::new(format!("{text}: {why}; {FORMS}"));
    for (prefix, verb) in [("redirect:", REDIRECT), ("token:", TOKEN)] {
        if let Some(place) = text.strip_prefix(prefix) {
            if place.contains('/') {
                return Err(bad("only a host and its port can be named"));
            }
            let place = NetworkScope::parse_for(place, &[], false)?;
            if place.sample_address().is_some() {
                return Err(bad("a host is needed, not a range"));
            }
            return Ok(Box::new(Host { verb, place, denies: false }));
        }
    }
    let (pull, push, bare, name) = match text.split_once(':') {
        Some(("pull", name)) => (true, false, false, name),
        Some(("push", name)) => (false, true, false, name),
        Some(("pull+push" | "push+pull", name)) => (true, true, false, name),
        _ => (true, false, true, text),
    };
    if bare
        && ["loopback", "private"]
            .iter()
            .any(|word| text.strip_prefix(word).is_some_and(|rest| rest.starts_with([':', '/'])))
    {
        return Err(bad("such addresses stand alone"));
    }
    if bare
        && let Ok(place) = NetworkScope::parse_for(text, &[], false)
        && place.sample_address().is_some()
    {
        return Ok(Box::new(Range { place, denies: false }));
    }
    let (registry, repository) = repositories(name).map_err(|why| bad(&why))?;
    Ok(Box::new(Repositories { pull, push, bare, registry, repository, denies: false }))
}

fn repositories(name: &str) -> Result<(Registry, Pattern), String> {
    let all = || Pattern::Prefix(String::new());
    if name.is_empty() {
        return Err("the registry is missing".into());
    }
    if name == "*" {
        return Ok((Registry::Any, all()));
    }
    let (first, rest) = match name.split_once('/') {
        None => (name, None),
        Some((first, rest)) => (first, Some(rest)),
    };
    let keyword = first.split(':').next().unwrap_or_default();
    if matches!(keyword, "loopback" | "private") || (rest.is_none() && is_word(first)) {
        return Err(format!(
            "'{first}' stands alone; write REGISTRY/REPOSITORY, or docker.io/library/{first}"
        ));
    }
    if first.parse::<IpAddr>().is_ok()
        && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()))
    {
        return Err("a range of addresses has no verb".into());
    }
    let place = |name: &str| {
        NetworkScope::parse_for(name, &[], false).map_err(|_| format!("{name} is not a registry"))
    };
    let one = |name: String| Ok::<_, String>(Registry::One(name.clone(), place(&name)?));
    let registry = match first.strip_prefix("*.") {
        Some(below) => {
            let below = reference::registry(below)?;
            let place = place(&format!("*.{below}"))?;
            Registry::Below(format!(".{below}"), place)
        }
        None if reference::is_registry(first) => one(reference::registry(first)?)?,
        // An image of Docker Hub, named as `docker pull` takes it.
        None => {
            let path = if rest.is_some() { name.to_string() } else { format!("library/{name}") };
            return Ok((one(DOCKER.into())?, pattern(&path)?));
        }
    };
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return Ok((registry, all())) };
    if matches!(&registry, Registry::One(name, _) if name == DOCKER) && !rest.contains('/') && rest != "*" {
        if rest.contains('*') {
            return Err("images without an owner are below docker.io/library/".into());
        }
        return Ok((registry, pattern(&format!("library/{rest}"))?));
    }
    Ok((registry, pattern(rest)?))
}

/// The first words of scopes.
fn is_word(text: &str) -> bool {
    matches!(text, "pull" | "push" | "pull+push" | "push+pull" | "token" | "redirect")
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text.strip_suffix('*') {
        Some(prefix) if prefix.contains('*') => Err("a star stands only at the end".into()),
        Some(prefix) => {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
            if !prefix.chars().all(plain) {
                return Err("a repository has lower-case letters, digits, '.', '_', '-' and '/'".into());
            }
            Ok(Pattern::Prefix(prefix.to_string()))
        }
        None if text.contains([':', '@']) => Err("tags and digests are not part of a scope".into()),
        None => {
            reference::check_repository(text)?;
            Ok(Pattern::One(text.to_string()))
        }
    }
}

impl Scope for Repositories {
    fn matches(&self, request: &Request<'_>) -> bool {
        if self.denies {
            return self.might_match(request);
        }
        let Request::Action { verb, name, .. } = request else { return false };
        let Some((registry, repository)) = name.split_once('/') else { return false };
        let here = match &self.registry {
            Registry::Any => true,
            Registry::One(own, _) => own == registry,
            Registry::Below(below, _) => registry.ends_with(below.as_str()),
        };
        self.covers_verb(verb) && here && self.repository.covers(repository)
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        self.push |= self.bare;
        if let Registry::One(_, place) | Registry::Below(_, place) = &mut self.registry {
            place.widen_for_denial();
        }
    }

    fn names_address(&self, address: IpAddr) -> bool {
        match &self.registry {
            Registry::One(_, place) => place.names_address(address),
            Registry::Any | Registry::Below(..) => false,
        }
    }

    fn names_host(&self, host: &str) -> bool {
        matches!(&self.registry, Registry::One(_, place) if place.names_host(host))
    }
}

impl Repositories {
    fn covers_verb(&self, verb: &str) -> bool {
        match verb {
            PULL => self.pull,
            PUSH => self.push,
            _ => false,
        }
    }

    /// Whether a denial of it is about the request: what is done to a repository, being sent on to a host, or the
    /// connection that carries it, by then with its address.
    fn might_match(&self, request: &Request<'_>) -> bool {
        match *request {
            Request::Action { verb: REDIRECT | TOKEN, name, .. } => {
                let Some((host, port)) = host_and_port(name) else { return false };
                self.repository.is_all() && self.pull && self.might_be_at(host, port, None)
            }
            Request::Action { verb, name, .. } => {
                let Some((registry, repository)) = name.split_once('/') else { return false };
                let (host, port) = host_and_port(registry).unwrap_or((registry, 443));
                self.covers_verb(verb)
                    && self.repository.covers(repository)
                    && (self.might_be_at(host, port, None)
                        || matches!(&self.registry, Registry::One(own, _) if own == registry))
            }
            // What is done is said by the method: a registry is only read by GET and HEAD.
            Request::Network { method, host, port, path, address, .. } => {
                let reads = matches!(method, None | Some("GET" | "HEAD"));
                let path = path.and_then(|path| path.strip_prefix("/v2/"));
                // A token is asked for by POST too, elsewhere.
                let verb = if reads { self.pull } else { self.push && path.is_some() };
                verb && self.might_be_at(host, port, address)
                    && (self.repository.is_all() || path.is_some_and(|path| self.repository.begins(path)))
            }
            _ => false,
        }
    }

    fn might_be_at(&self, host: &str, port: u16, address: Option<IpAddr>) -> bool {
        match &self.registry {
            Registry::Any => true,
            Registry::One(_, place) | Registry::Below(_, place) => place.covers_place(host, port, address),
        }
    }
}

impl Pattern {
    fn covers(&self, repository: &str) -> bool {
        match self {
            Pattern::Prefix(prefix) => repository.starts_with(prefix.as_str()),
            Pattern::One(own) => own == repository,
        }
    }

    fn is_all(&self) -> bool {
        matches!(self, Pattern::Prefix(prefix) if prefix.is_empty())
    }

    /// Whether the path of a request below `/v2/` is about a repository of it.
    fn begins(&self, path: &str) -> bool {
        match self {
            Pattern::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Pattern::One(own) => path.strip_prefix(own.as_str()).is_some_and(|rest| rest.starts_with('/')),
        }
    }
}

/// The host and the port of `HOST:PORT`.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

impl Scope for Host {
    fn matches(&self, request: &Request<'_>) -> bool {
        // Only a connection tells that another name leads there.
        if let (true, Request::Network { host, port, address, .. }) = (self.denies, request) {
            return !self.place.covers_place(host, *port, None)
                && self.place.covers_place(host, *port, *address);
        }
        let Request::Action { verb, name, .. } = request else { return false };
        let Some((host, port)) = host_and_port(name) else { return false };
        *verb == self.verb && self.place.covers_place(host, port, None)
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        self.place.widen_for_denial();
    }

    fn names_host(&self, host: &str) -> bool {
        self.place.names_host(host)
    }

    fn names_address(&self, address: IpAddr) -> bool {
        self.place.names_address(address)
    }
}

impl Scope for Range {
    /// As a grant it names no registry; as a denial it is about every connection to such an address.
    fn matches(&self, request: &Request<'_>) -> bool {
        match *request {
            Request::Network { host, port, address, .. } => {
                self.denies && self.place.covers_place(host, port, address)
            }
            Request::Action { name, .. } => {
                let place = name.split_once('/').map_or(name, |(registry, _)| registry);
                let (host, port) = host_and_port(place).unwrap_or((place, 443));
                self.denies && self.place.covers_place(host, port, None)
            }
            _ => false,
        }
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        self.place.widen_for_denial();
    }

    fn names_address(&self, address: IpAddr) -> bool {
        // `private` and `loopback` name no address themselves, so they leave the guard on metadata in place.
        self.place.names_address(address)
            || (self.place.covers_place("", 443, Some(address))
                && !assay_capability_api::network::is_special(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(scope: &str, verb: &str, name: &str) -> bool {
        parse(scope).unwrap().matches(&Request::Action { verb, name, scope: "" })
    }

    #[test]
    fn repositories_are_matched() {
        for (scope, verb, name, wanted) in [
            ("pull:ghcr.io/acme/app", PULL, "ghcr.io/acme/app", true),
            ("pull:ghcr.io/acme/app", PULL, "ghcr.io/acme/app2", false),
            ("pull:ghcr.io/acme/app", PUSH, "ghcr.io/acme/app", false),
            ("push:ghcr.io/acme/app", PUSH, "ghcr.io/acme/app", true),
            ("push:ghcr.io/acme/app", PULL, "ghcr.io/acme/app", false),
            ("pull+push:ghcr.io/acme/app", PULL, "ghcr.io/acme/app", true),
            ("pull+push:ghcr.io/acme/app", PUSH, "ghcr.io/acme/app", true),
            ("ghcr.io/acme/*", PULL, "ghcr.io/acme/app", true),
            ("ghcr.io/acme/*", PUSH, "ghcr.io/acme/app", false),
            ("ghcr.io/acme/*", PULL, "ghcr.io/acme-evil/app", false),
            ("ghcr.io", PULL, "ghcr.io/any/thing", true),
            ("ghcr.io:443", PULL, "ghcr.io/any/thing", true),
            ("ghcr.io:444", PULL, "ghcr.io/any/thing", false),
            ("ghcr.io", PULL, "ghcr.io.evil.example/x", false),
            ("pull:*", PULL, "any.example/x", true),
            ("pull:*.example.com/x", PULL, "a.example.com/x", true),
            ("pull:*.example.com/x", PULL, "example.com/x", false),
            ("pull:alpine", PULL, "docker.io/library/alpine", true),
            ("pull:docker.io/alpine", PULL, "docker.io/library/alpine", true),
            ("pull:index.docker.io/acme/*", PULL, "docker.io/acme/app", true),
            ("pull:docker.io/*", PULL, "docker.io/acme/app", true),
            ("pull:localhost:5000/x", PULL, "localhost:5000/x", true),
            ("pull:localhost:5000/x", PULL, "localhost:5001/x", false),
            ("pull:ghcr.io", REDIRECT, "ghcr.io:443", false),
            ("redirect:cdn.example", REDIRECT, "cdn.example:443", true),
            ("redirect:cdn.example", TOKEN, "cdn.example:443", false),
            ("redirect:cdn.example", REDIRECT, "cdn.example:8443", false),
            ("redirect:*.cdn.example:8443", REDIRECT, "a.cdn.example:8443", true),
            ("token:auth.example", TOKEN, "auth.example:443", true),
            ("token:[::1]:444", TOKEN, "[::1]:444", true),
        ] {
            assert_eq!(matches(scope, verb, name), wanted, "{scope} on {verb} {name}");
        }
    }

    #[test]
    fn a_bare_denial_takes_both() {
        let mut scope = parse("ghcr.io/acme/*").unwrap();
        scope.widen_for_denial();
        let push = Request::Action { verb: PUSH, name: "ghcr.io/acme/app", scope: "" };
        assert!(scope.matches(&push));
    }

    #[test]
    fn a_denial_takes_in_what_might_be_meant() {
        let denied = |text: &str, request: &Request<'_>| {
            let mut scope = parse(text).unwrap();
            scope.widen_for_denial();
            scope.matches(request)
        };
        for (text, verb, name, wanted) in [
            ("127.0.0.1:5000", PULL, "localhost:5000/x", true),
            ("localhost:5000/x", PUSH, "127.0.0.1:5000/x", true),
            ("localhost:5000/x", PULL, "127.0.0.1:5000/y", false),
            ("ghcr.io", PULL, "ghcr.io:444/x", true),
            ("ghcr.io", TOKEN, "ghcr.io:443", true),
            ("ghcr.io", REDIRECT, "ghcr.io:8443", true),
            ("ghcr.io/x", REDIRECT, "ghcr.io:443", false),
            ("docker.io", PULL, "docker.io/library/alpine", true),
            ("alpine", PULL, "docker.io/library/alpine", true),
            ("push:ghcr.io", PULL, "ghcr.io/x", false),
            ("token:127.0.0.1", TOKEN, "localhost:5001", true),
            ("token:auth.example", TOKEN, "auth.example:8443", true),
            ("token:auth.example", REDIRECT, "auth.example:443", false),
            ("redirect:*.cdn.example", REDIRECT, "a.cdn.example:9", true),
            ("loopback", PULL, "localhost:5000/x", true),
            ("10.0.0.0/8", PULL, "10.1.2.3:5000/x", true),
        ] {
            assert_eq!(
                denied(text, &Request::Action { verb, name, scope: "" }),
                wanted,
                "{text} on {verb} {name}"
            );
        }
        let connection = |method, address: &str, path: &'static str| Request::Network {
            scheme: "https",
            method: Some(method),
            host: "any.example",
            port: 5000,
            path: Some(path),
            address: Some(address.parse().unwrap()),
        };
        for (text, request, wanted) in [
            ("10.0.0.0/8", connection("GET", "10.1.2.3", "/v2/x/tags/list"), true),
            ("private", connection("GET", "64:ff9b::10.1.2.3", "/v2/x/tags/list"), true),
            ("private", connection("GET", "192.0.2.1", "/v2/x/tags/list"), false),
            ("127.0.0.1:5000", connection("GET", "127.0.0.1", "/v2/x/tags/list"), true),
            ("127.0.0.1:5000/x", connection("GET", "127.0.0.1", "/v2/x/tags/list"), true),
            ("127.0.0.1:5000/x", connection("GET", "127.0.0.1", "/v2/xy/tags/list"), false),
            ("push:127.0.0.1:5000/x", connection("GET", "127.0.0.1", "/v2/x/tags/list"), false),
            ("push:127.0.0.1:5000/x", connection("PUT", "127.0.0.1", "/v2/x/manifests/1"), true),
        ] {
            assert_eq!(denied(text, &request), wanted, "{text} on {request:?}");
        }
    }

    #[test]
    fn only_addresses_that_are_meant_lift_the_guard() {
        for (scope, address, named) in [
            ("169.254.169.254:443", "169.254.169.254", true),
            ("pull:169.254.169.254/x", "169.254.169.254", true),
            ("pull:ghcr.io", "169.254.169.254", false),
            ("pull:*", "169.254.169.254", false),
            ("169.254.0.0/16", "169.254.169.254", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("private", "10.1.2.3", true),
            ("private", "fd00:ec2::254", false),
            ("loopback", "127.0.0.1", true),
            ("loopback", "10.0.0.1", false),
        ] {
            assert_eq!(parse(scope).unwrap().names_address(address.parse().unwrap()), named, "{scope}");
        }
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for text in [
            "",
            "pull:",
            "pull:ghcr.io/Acme",
            "pull:ghcr.io/acme/app:v1",
            "pull:ghcr.io/a*b",
            "pull:ghcr.io/*/x*",
            "pull:ghcr.io/../x",
            "pull:docker.io/alp*",
            "redirect:",
            "redirect:https://x.example",
            "redirect:10.0.0.0/8",
            "token:private",
            "delete:ghcr.io/x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
