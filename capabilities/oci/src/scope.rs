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
}

#[derive(Debug)]
enum Registry {
    Any,
    One(String),
    /// `.example.com`
    Below(String),
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
}

/// Lifts the guard on addresses, for registries that were granted otherwise.
#[derive(Debug)]
struct Range(NetworkScope);

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
            let place = NetworkScope::parse(place)?;
            if place.sample_address().is_some() {
                return Err(bad("a host is needed, not a range"));
            }
            return Ok(Box::new(Host { verb, place }));
        }
    }
    let (pull, push, bare, name) = match text.split_once(':') {
        Some(("pull", name)) => (true, false, false, name),
        Some(("push", name)) => (false, true, false, name),
        Some(("pull+push" | "push+pull", name)) => (true, true, false, name),
        _ => (true, false, true, text),
    };
    if bare
        && let Ok(place) = NetworkScope::parse(text)
        && place.sample_address().is_some()
    {
        return Ok(Box::new(Range(place)));
    }
    let (registry, repository) = repositories(name).map_err(|why| bad(&why))?;
    Ok(Box::new(Repositories { pull, push, bare, registry, repository }))
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
    let registry = match first.strip_prefix("*.") {
        Some(below) => Registry::Below(format!(".{}", reference::registry(below)?)),
        None if reference::is_registry(first) => Registry::One(reference::registry(first)?),
        // An image of Docker Hub, named as `docker pull` takes it.
        None => {
            let path = if rest.is_some() { name.to_string() } else { format!("library/{name}") };
            return Ok((Registry::One(DOCKER.into()), pattern(&path)?));
        }
    };
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return Ok((registry, all())) };
    if matches!(&registry, Registry::One(name) if name == DOCKER) && !rest.contains('/') && rest != "*" {
        if rest.contains('*') {
            return Err("images without an owner are below docker.io/library/".into());
        }
        return Ok((registry, pattern(&format!("library/{rest}"))?));
    }
    Ok((registry, pattern(rest)?))
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
        let Request::Action { verb, name, .. } = request else { return false };
        let granted = match *verb {
            PULL => self.pull,
            PUSH => self.push,
            _ => false,
        };
        let Some((registry, repository)) = name.split_once('/') else { return false };
        let here = match &self.registry {
            Registry::Any => true,
            Registry::One(own) => own == registry,
            Registry::Below(below) => registry.ends_with(below.as_str()),
        };
        granted
            && here
            && match &self.repository {
                Pattern::Prefix(prefix) => repository.starts_with(prefix.as_str()),
                Pattern::One(own) => own == repository,
            }
    }

    fn widen_for_denial(&mut self) {
        self.push |= self.bare;
    }

    fn names_address(&self, address: IpAddr) -> bool {
        match &self.registry {
            Registry::One(own) => {
                NetworkScope::parse(own).is_ok_and(|place| place.names_address(address.to_canonical()))
            }
            Registry::Any | Registry::Below(_) => false,
        }
    }
}

impl Scope for Host {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Action { verb, name, .. } = request else { return false };
        let Some((host, port)) = name.rsplit_once(':') else { return false };
        let Ok(port) = port.parse() else { return false };
        let place = Request::Network { scheme: "https", method: None, host, port, path: None, address: None };
        *verb == self.verb && self.place.matches(&place)
    }

    fn names_address(&self, address: IpAddr) -> bool {
        self.place.names_address(address)
    }
}

impl Scope for Range {
    fn matches(&self, _: &Request<'_>) -> bool {
        false
    }

    fn names_address(&self, address: IpAddr) -> bool {
        let place = Request::Network {
            scheme: "https",
            method: None,
            host: "",
            port: 443,
            path: None,
            address: Some(address),
        };
        // `private` and `loopback` name no address themselves, so they leave the guard on metadata in place.
        self.0.names_address(address)
            || (self.0.matches(&place) && !assay_capability_api::network::is_special(address))
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
