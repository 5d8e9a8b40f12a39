//! Scopes that are places on a network: `api.example.com`, `GET+HEAD:https://host/path*`, `10.0.0.0/8`.

use super::name::wildcard;
use super::url_path::PathPattern;
use super::{Request, Scope};
use crate::{GrantError, address};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// A host with port, path and methods, or a range of addresses.
#[derive(Debug)]
pub struct NetworkScope {
    methods: Vec<String>,
    scheme: Option<String>,
    place: HostPattern,
    port: Port,
    path: Option<Path>,
    /// It takes back: it matches whatever it might be about.
    denies: bool,
    /// It takes back this machine, which has many addresses and names.
    local: bool,
}

/// The hosts that a scope is about.
#[derive(Debug)]
enum HostPattern {
    /// A name in ASCII, lower case, without a final dot.
    Name(String),
    Address(IpAddr),
    /// `*.example.com`, held as `.example.com`.
    Below(String),
    Range(IpNet),
    /// The loopback addresses, the private ranges.
    Loopback,
    Private,
}

#[derive(Debug, PartialEq, Eq)]
enum Port {
    /// 80 and 443, or what the scheme says; for a denial any.
    Default,
    Any,
    One(u16),
}

#[derive(Debug)]
enum Path {
    Url(PathPattern),
    /// A slash and the name of a database, with stars.
    Database(String),
}

/// The one spelling of a host.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

const FORMS: &str = "write host, host:port, *.example.com, scheme://host[:port][/path*], METHOD:..., or a range like 10.0.0.0/8";
/// The methods that a script can send (the registry of RFC 9110 16.1).
const METHODS: &[&str] = &[
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Whether a scope can name this method.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

impl NetworkScope {
    /// Reads one scope of HTTP or of WebSockets.
    ///
    /// # Errors
    /// When it has none of the forms above, or one that nothing matches.
    pub fn parse(text: &str) -> Result<NetworkScope, GrantError> {
        NetworkScope::parse_for(text, &["http", "https", "ws", "wss"], true)
    }

    /// Reads one scope of a capability whose requests have these schemes, and methods or none.
    ///
    /// # Errors
    /// As for [`NetworkScope::parse`].
    pub fn parse_for(text: &str, schemes: &[&str], with_methods: bool) -> Result<NetworkScope, GrantError> {
        let bad = |why: &str| GrantError::new(format!("{}: {why}; {FORMS}", text.escape_debug()));
        let (methods, rest) = methods(text).map_err(|why| bad(&why))?;
        if !with_methods && !methods.is_empty() {
            return Err(bad("there are no methods here"));
        }
        if let Some(range) = range(rest) {
            return Ok(NetworkScope { methods, ..NetworkScope::at(HostPattern::Range(range), Port::Any) });
        }
        let (scheme, rest) = match rest.split_once("://") {
            None => (None, rest),
            Some((scheme, rest)) => {
                let scheme = scheme.to_ascii_lowercase();
                if !schemes.contains(&scheme.as_str()) {
                    let known = schemes.join(":// or ");
                    let known = if known.is_empty() { "none".into() } else { format!("{known}://") };
                    return Err(bad(&format!(
                        "there is no scheme {}:// here, only {known}",
                        scheme.escape_debug()
                    )));
                }
                (Some(scheme), rest)
            }
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (place, port) = place(authority).map_err(|why| bad(&why))?;
        // A range with something more, or a mask in place of its length; a path that looks so stands behind a scheme.
        let first = path.split('/').nth(1).unwrap_or_default();
        if scheme.is_none()
            && matches!((&place, &port), (HostPattern::Address(_), Port::Default))
            && first.starts_with(|c: char| c.is_ascii_digit())
            && first.bytes().all(|c| c.is_ascii_digit() || c == b'.')
        {
            return Err(bad("it is neither a range of addresses nor a path with a scheme or port before it"));
        }
        let path = match path {
            "" => None,
            path => Some(Path::Url(PathPattern::parse(path).map_err(bad)?)),
        };
        Ok(NetworkScope { methods, scheme, path, ..NetworkScope::at(place, port) })
    }

    /// A database, or all where it is empty, on a server: `HOST[:PORT]`.
    ///
    /// # Errors
    /// Why the parts make no scope.
    pub fn of_database(scheme: &str, authority: &str, database: &str) -> Result<NetworkScope, String> {
        let (place, port) = place(authority)?;
        check_database(database)?;
        let path = (!database.is_empty()).then(|| Path::Database(format!("/{database}")));
        Ok(NetworkScope { scheme: Some(scheme.into()), path, ..NetworkScope::at(place, port) })
    }

    fn at(place: HostPattern, port: Port) -> NetworkScope {
        NetworkScope {
            methods: Vec::new(),
            scheme: None,
            place,
            port,
            path: None,
            denies: false,
            local: false,
        }
    }

    /// Whether it is about a host and port, whatever is done there.
    pub fn covers_place(&self, host: &str, port: u16, address: Option<IpAddr>) -> bool {
        self.covers_host(host, address)
            && match self.port {
                Port::Any => true,
                Port::One(one) => one == port,
                Port::Default => {
                    self.denies
                        || matches!(self.place, HostPattern::Loopback | HostPattern::Private)
                        || self.default_port(port)
                }
            }
    }

    fn covers_host(&self, host: &str, address: Option<IpAddr>) -> bool {
        let host = Host::of(host);
        if self.denies {
            return self.might_cover_host(&host, address);
        }
        match &self.place {
            HostPattern::Name(own) => matches!(&host, Host::Name(name) if name == own),
            HostPattern::Address(own) => host == Host::Address(*own),
            // The numbers of an address are no names below one another.
            HostPattern::Below(below) => matches!(&host, Host::Name(name) if name.ends_with(below)),
            HostPattern::Range(range) => {
                address.is_some_and(|address| range.contains(&address.to_canonical()))
            }
            HostPattern::Loopback => address.is_some_and(address::is_loopback),
            HostPattern::Private => address.is_some_and(address::is_private),
        }
    }

    fn might_cover_host(&self, host: &Host, resolved: Option<IpAddr>) -> bool {
        let written = match host {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        };
        let leads = |test: &dyn Fn(IpAddr) -> bool| {
            [written, resolved].into_iter().flatten().any(|address| address::leads_to(address, test))
        };
        if self.local {
            let here = [written, resolved].into_iter().flatten().any(address::is_this_machine);
            if here || matches!(host, Host::Name(name) if address::is_local_name(name)) {
                return true;
            }
        }
        match &self.place {
            HostPattern::Name(own) => matches!(host, Host::Name(name) if name == own),
            HostPattern::Below(below) => matches!(host, Host::Name(name) if name.ends_with(below)),
            HostPattern::Address(own) => leads(&|address| address == *own),
            HostPattern::Range(range) => leads(&|address| range.contains(&address)),
            HostPattern::Loopback => leads(&address::is_loopback),
            HostPattern::Private => leads(&address::is_private),
        }
    }

    fn covers_path(&self, path: Option<&str>) -> bool {
        match (&self.path, path) {
            (None, _) => true,
            (Some(_), None) => self.denies,
            (Some(Path::Url(own)), Some(path)) if self.denies => own.is_root() || own.might_match(path),
            (Some(Path::Url(own)), Some(path)) => own.surely_matches(path),
            // A connection to another database of MySQL reaches all of the server; one of PostgreSQL that names none is to
            // whichever is called like the user. Some servers do not tell upper and lower case apart.
            (Some(Path::Database(own)), Some(path)) if self.denies => {
                self.scheme.as_deref() == Some("mysql")
                    || path == "/"
                    || wildcard(&own.to_lowercase(), &path.to_lowercase())
            }
            (Some(Path::Database(own)), Some(path)) => wildcard(own, path),
        }
    }

    fn default_port(&self, port: u16) -> bool {
        match self.scheme.as_deref() {
            Some("http" | "ws") => port == 80,
            Some("https" | "wss") => port == 443,
            Some("postgres") => port == 5432,
            Some("mysql") => port == 3306,
            _ => port == 80 || port == 443,
        }
    }
}

impl Host {
    fn of(text: &str) -> Host {
        let text = text.trim_end_matches('.');
        Host::read(text).unwrap_or_else(|_| Host::Name(text.to_ascii_lowercase()))
    }

    /// Reads a host as a URL does: `127.1` is an address, a name is in ASCII (IDNA).
    fn read(text: &str) -> Result<Host, url::ParseError> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Host::Address(address.to_canonical()));
        }
        Ok(match url::Host::parse(text)? {
            url::Host::Domain(name) => Host::Name(name.trim_end_matches('.').to_string()),
            url::Host::Ipv4(address) => Host::Address(address.into()),
            url::Host::Ipv6(address) => Host::Address(IpAddr::from(address).to_canonical()),
        })
    }
}

/// `GET+HEAD:` at the start, and what follows.
fn methods(text: &str) -> Result<(Vec<String>, &str), String> {
    let is_any = |name: &str| is_method(&name.to_ascii_uppercase());
    if !text.is_empty() && text.split('+').all(is_method) {
        return Err(format!("a method needs a place: {text}:HOST"));
    }
    let Some((head, rest)) = text.split_once(':').filter(|(_, rest)| !rest.starts_with("//")) else {
        return Ok((Vec::new(), text));
    };
    // A host may be called like a method: `get:8080`.
    let is_port = rest == "*" || (!rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()));
    let capitals = !head.is_empty() && head.bytes().all(|c| c.is_ascii_uppercase() || b"+-".contains(&c));
    if is_port && !(capitals && head.split('+').any(is_any)) {
        return Ok((Vec::new(), text));
    }
    if is_port {
        return Err(format!("a method needs a place: {head}:HOST[:PORT]"));
    }
    if capitals {
        return match head.split('+').find(|name| !is_method(name)) {
            None if rest.is_empty() => Err("the host is missing".into()),
            None => Ok((head.split('+').map(str::to_string).collect(), rest)),
            Some(name) => Err(format!(
                "there is no method '{name}' that can be granted; there are {}",
                METHODS.join(", ")
            )),
        };
    }
    if head.split('+').all(is_any) {
        return Err(format!("methods are written in capitals: {}:{rest}", head.to_ascii_uppercase()));
    }
    Ok((Vec::new(), text))
}

/// `10.0.0.0/8`. What IPv6 writes of IPv4 is IPv4.
fn range(text: &str) -> Option<IpNet> {
    let range = text.parse::<IpNet>().ok()?;
    let IpNet::V6(v6) = range else { return Some(range) };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= 96);
    match mapped {
        Some(v4) => IpNet::new(v4.into(), v6.prefix_len() - 96).ok(),
        None => Some(range),
    }
}

/// `HOST[:PORT]`, where the host may be `*.DOMAIN`, `loopback` or `private`.
fn place(authority: &str) -> Result<(HostPattern, Port), String> {
    if authority.contains('@') {
        return Err("a scope has no user name".into());
    }
    let (host, port) = split_port(authority).ok_or("the port is not a number from 1 to 65535")?;
    let host = host.trim_end_matches('.');
    let plain = |name: &str| {
        name.split('.').all(|label| !label.is_empty())
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_".contains(&c))
    };
    let read = |host: &str| match Host::read(host) {
        Ok(Host::Name(name)) if !plain(&name) => {
            Err("no name has such characters, or a dot without a label".to_string())
        }
        read => read.map_err(|why| format!("the host cannot be read: {why}")),
    };
    let place = match host.strip_prefix('*') {
        _ if host.is_empty() => return Err("the host is missing".into()),
        Some("") => return Err("for every host grant the capability without a scope".into()),
        Some(below) if below.starts_with('.') && !below.contains('*') => match read(&below[1..])? {
            Host::Name(name) => HostPattern::Below(format!(".{name}")),
            Host::Address(_) => return Err("no name ends in a number".into()),
        },
        _ if host.contains('*') => return Err("a star stands only for the first part of a name".into()),
        _ if host.eq_ignore_ascii_case("loopback") => HostPattern::Loopback,
        _ if host.eq_ignore_ascii_case("private") => HostPattern::Private,
        _ if host.len() < 6 && host.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err("a number is not a host; write HOST:PORT".into());
        }
        _ if host.contains(['[', ']']) => {
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            match inside.and_then(|inside| inside.parse::<std::net::Ipv6Addr>().ok()) {
                Some(address) => HostPattern::Address(IpAddr::from(address).to_canonical()),
                None => return Err("what is between brackets is no IPv6 address".into()),
            }
        }
        _ => match read(host)? {
            Host::Name(name) => HostPattern::Name(name),
            Host::Address(address) => HostPattern::Address(address),
        },
    };
    Ok((place, port))
}

/// `host:port`, `[v6]:port`, `v6`, or a host alone.
fn split_port(text: &str) -> Option<(&str, Port)> {
    let (host, port) = match text.rsplit_once(':') {
        None => return Some((text, Port::Default)),
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => return Some((text, Port::Default)),
        Some(_) if text.ends_with(']') => return Some((text, Port::Default)),
        Some(parts) => parts,
    };
    let port = match port {
        "*" => Port::Any,
        number if !number.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        number => Port::One(number.parse().ok().filter(|port| *port != 0)?),
    };
    Some((host, port))
}

impl Scope for NetworkScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Network { scheme, method, host, port, path, address } = *request else { return false };
        let same_method = |method: &str| self.methods.iter().any(|own| own.eq_ignore_ascii_case(method));
        self.scheme.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(scheme))
            && (self.methods.is_empty() || method.map_or(self.denies, same_method))
            && self.covers_place(host, port, address)
            && self.covers_path(path)
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        self.local = match &self.place {
            HostPattern::Loopback => true,
            HostPattern::Name(name) => address::is_local_name(name) || address::is_own_name(name),
            HostPattern::Address(own) => address::is_this_machine(*own),
            HostPattern::Range(range) => {
                let here = [
                    IpAddr::from([127, 0, 0, 1]),
                    IpAddr::from([0, 0, 0, 0]),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                here.iter().any(|address| range.contains(address)) || address::is_loopback(range.addr())
            }
            HostPattern::Below(_) | HostPattern::Private => false,
        };
    }

    fn sample_address(&self) -> Option<IpAddr> {
        match &self.place {
            HostPattern::Range(range) => Some(range.addr()),
            HostPattern::Loopback => Some(IpAddr::from([127, 0, 0, 1])),
            HostPattern::Private => Some(IpAddr::from([10, 0, 0, 1])),
            HostPattern::Name(_) | HostPattern::Address(_) | HostPattern::Below(_) => None,
        }
    }

    fn names_scheme(&self) -> bool {
        self.scheme.is_some()
    }

    fn names_address(&self, address: IpAddr) -> bool {
        match &self.place {
            HostPattern::Address(own) => *own == address.to_canonical(),
            // A range around an address that carries a special one does not mean that.
            HostPattern::Range(range) => {
                range.prefix_len() > 0
                    && range.contains(&address.to_canonical())
                    && address::unwrap(address)
                        .into_iter()
                        .filter(|one| address::is_special_itself(*one))
                        .all(|one| range.contains(&one))
            }
            HostPattern::Name(_) | HostPattern::Below(_) | HostPattern::Loopback | HostPattern::Private => {
                false
            }
        }
    }

    fn names_host(&self, host: &str) -> bool {
        matches!((&self.place, Host::of(host)), (HostPattern::Name(own), Host::Name(name)) if *own == name)
    }
}

/// Whether a host, written as a scope, stands for itself alone.
pub(super) fn names_itself(host: &str) -> bool {
    match Host::of(host) {
        Host::Address(_) => true,
        Host::Name(name) => !name.contains('*') && !matches!(name.as_str(), "" | "loopback" | "private"),
    }
}

/// Whether a host can be written in a scope.
pub(super) fn is_readable(host: &str) -> bool {
    place(host).is_ok()
}

/// Whether the path of a URL, written in a scope, stands for this path alone.
pub(super) fn is_own_path(path: &str) -> bool {
    !path.contains('*') && PathPattern::parse(path).is_ok_and(|own| own.surely_matches(path))
}

/// Refuses what is hardly the name of a database.
fn check_database(name: &str) -> Result<(), &'static str> {
    let encoded = |three: &[u8]| three[0] == b'%' && three[1..].iter().all(u8::is_ascii_hexdigit);
    if name.starts_with(char::is_whitespace) || name.as_bytes().windows(3).any(encoded) {
        return Err("a database is written as it is called, not percent-encoded, and begins with no blank");
    }
    Ok(())
}

/// Whether `/DATABASE`, written in a scope, stands for this database alone.
pub(super) fn names_one_database(path: &str) -> bool {
    !path.contains(['*', '?'])
        && path.strip_prefix('/').is_some_and(|name| !name.contains('/') && check_database(name).is_ok())
}

/// `host:port`, with brackets around IPv6.
pub fn host_and_port(host: &str, port: u16) -> String {
    let host = host.trim_matches(['[', ']']);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The same without the port that the scheme has anyway.
pub(super) fn authority(scheme: &str, host: &str, port: u16) -> String {
    let whole = host_and_port(host, port);
    match (scheme, port) {
        ("http" | "ws", 80) | ("https" | "wss", 443) => {
            whole[..whole.len() - port.to_string().len() - 1].to_string()
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests;
