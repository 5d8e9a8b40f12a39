//! Scopes that are places on a network: `api.example.com`, `GET+HEAD:https://host/path*`, `10.0.0.0/8`.

use super::name::wildcard;
use super::{Request, Scope};
use crate::GrantError;
use ipnet::IpNet;
use std::net::IpAddr;

/// A host with port, path and methods, or a range of addresses.
#[derive(Debug)]
pub struct NetworkScope {
    methods: Vec<String>,
    scheme: Option<String>,
    place: Place,
    port: Port,
    /// A path prefix before `*`, or a whole path.
    path: Option<String>,
}

#[derive(Debug)]
enum Place {
    /// Lower case, without the brackets of IPv6.
    Host(String),
    /// `*.example.com`, held as `.example.com`.
    Below(String),
    Range(IpNet),
    /// The loopback addresses, the private ranges.
    Loopback,
    Private,
}

#[derive(Debug, PartialEq, Eq)]
enum Port {
    /// 80 and 443, or what the scheme says.
    Default,
    Any,
    One(u16),
}

const FORMS: &str = "write host, host:port, *.example.com, scheme://host[:port][/path*], METHOD:..., or a range like 10.0.0.0/8";

impl NetworkScope {
    /// Reads one scope.
    ///
    /// # Errors
    /// When it has none of the forms above.
    pub fn parse(text: &str) -> Result<NetworkScope, GrantError> {
        let bad = |why: &str| GrantError::new(format!("{text}: {why}; {FORMS}"));
        let mut rest = text;
        let mut methods = Vec::new();
        if let Some((head, tail)) = rest.split_once(':')
            && !tail.is_empty()
            && head.split('+').all(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_uppercase()))
        {
            methods = head.split('+').map(str::to_string).collect();
            rest = tail;
        }
        if let Ok(range) = rest.parse::<IpNet>() {
            return Ok(NetworkScope {
                methods,
                scheme: None,
                place: Place::Range(range),
                port: Port::Any,
                path: None,
            });
        }
        let mut scheme = None;
        if let Some((head, tail)) = rest.split_once("://") {
            scheme = Some(head.to_ascii_lowercase());
            rest = tail;
        }
        let mut path = None;
        if let Some(at) = rest.find('/') {
            if rest[at..] != *"/" {
                path = Some(rest[at..].to_string());
            }
            rest = &rest[..at];
        }
        if rest.contains('@') {
            return Err(bad("a scope has no user name"));
        }
        let (host, port) = split_port(rest).ok_or_else(|| bad("the port is not a number from 1 to 65535"))?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let place = match host.strip_prefix('*') {
            _ if host.is_empty() => return Err(bad("the host is missing")),
            Some("") => return Err(bad("for every host grant the capability without a scope")),
            Some(below) if ends_in_number(below) => return Err(bad("no name ends in a number")),
            Some(below) if below.starts_with('.') && !below.contains('*') => Place::Below(below.to_string()),
            _ if host.contains('*') => return Err(bad("a star stands only for the first part of a name")),
            _ if host == "loopback" => Place::Loopback,
            _ if host == "private" => Place::Private,
            _ if host.contains(['[', ']']) => {
                let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                match inside.and_then(|inside| inside.parse::<std::net::Ipv6Addr>().ok()) {
                    Some(address) => Place::Host(IpAddr::from(address).to_canonical().to_string()),
                    None => return Err(bad("what is between brackets is no IPv6 address")),
                }
            }
            _ => match host.parse::<IpAddr>() {
                Ok(address) => Place::Host(address.to_canonical().to_string()),
                Err(_) => Place::Host(host),
            },
        };
        Ok(NetworkScope { methods, scheme, place, port, path })
    }

    fn default_port(&self, port: u16) -> bool {
        match self.scheme.as_deref() {
            Some("http" | "ws") => port == 80,
            Some("https" | "wss") => port == 443,
            _ => port == 80 || port == 443,
        }
    }
}

/// Whether a host is read as an address (WHATWG URL 3.5, "ends in a number checker").
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `host:port`, `[v6]:port`, `v6`, or a host alone.
fn split_port(text: &str) -> Option<(&str, Port)> {
    let (host, port) = match text.rsplit_once(':') {
        None => return Some((text, Port::Default)),
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => return Some((text, Port::Default)),
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
        let place = match &self.place {
            Place::Host(name) => *name == host_key(host),
            // The numbers of an address are no names below one another.
            Place::Below(below) => {
                let host = host_key(host);
                host.ends_with(below) && host.parse::<IpAddr>().is_err()
            }
            Place::Range(range) => address.is_some_and(|address| range.contains(&address.to_canonical())),
            Place::Loopback => address.is_some_and(crate::network::is_loopback),
            Place::Private => address.is_some_and(crate::network::is_private),
        };
        place
            && (match self.port {
                Port::Any => true,
                Port::One(one) => one == port,
                Port::Default if matches!(self.place, Place::Loopback | Place::Private) => true,
                Port::Default => self.default_port(port),
            })
            && self.scheme.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(scheme))
            && (self.methods.is_empty()
                || method
                    .is_some_and(|method| self.methods.iter().any(|own| own.eq_ignore_ascii_case(method))))
            && self.path.as_deref().is_none_or(|own| path.is_some_and(|path| path_matches(own, path)))
    }

    fn sample_address(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Range(range) => Some(range.addr()),
            Place::Loopback => Some(IpAddr::from([127, 0, 0, 1])),
            Place::Private => Some(IpAddr::from([10, 0, 0, 1])),
            Place::Host(_) | Place::Below(_) => None,
        }
    }

    fn names_scheme(&self) -> bool {
        self.scheme.is_some()
    }

    fn names_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match &self.place {
            Place::Host(host) => host.parse() == Ok(address),
            Place::Range(range) => range.prefix_len() > 0 && range.contains(&address),
            Place::Below(_) | Place::Loopback | Place::Private => false,
        }
    }
}

/// A path as servers see it: what decodes or resolves to something else never matches a scope.
fn path_matches(own: &str, path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let ambiguous = path.split('/').any(|part| part == ".." || part == ".")
        || ["%2e", "%2f", "%5c", "\\", "//"].iter().any(|bad| lower.contains(bad));
    !ambiguous && wildcard(own, path)
}

/// A host as it is compared: lower case, without a final dot, addresses in their one spelling.
fn host_key(host: &str) -> String {
    let host = host.trim_end_matches('.').trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// Whether a host, written as a scope, stands for itself alone.
pub(super) fn names_itself(host: &str) -> bool {
    let host = host_key(host);
    !host.contains('*') && !matches!(host.as_str(), "" | "loopback" | "private")
}

/// Whether `/DATABASE`, written in a scope, stands for this database alone.
pub(super) fn names_one_database(path: &str) -> bool {
    !path.contains(['*', '?']) && path.matches('/').count() == 1 && (path == "/" || path_matches(path, path))
}

/// `host:port`, with brackets around IPv6.
pub fn host_and_port(host: &str, port: u16) -> String {
    let host = host.trim_matches(['[', ']']);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn check(scope: &str, method: &str, url: &str, address: Option<&str>) -> bool {
        let url = url::Url::parse(url).unwrap();
        NetworkScope::parse(scope).unwrap().matches(&Request::Network {
            scheme: url.scheme(),
            method: Some(method),
            host: url.host_str().unwrap(),
            port: url.port_or_known_default().unwrap(),
            path: Some(url.path()),
            address: address.map(|address| address.parse().unwrap()),
        })
    }

    #[test]
    fn hosts_ports_methods_and_paths() {
        for (scope, method, url, matches) in [
            ("a.example", "GET", "https://a.example/x", true),
            ("a.example", "GET", "http://a.example/x", true),
            ("a.example", "GET", "http://A.EXAMPLE./x", true),
            ("a.example", "GET", "http://a.example:8080/x", false),
            ("a.example", "GET", "http://b.a.example/", false),
            ("a.example:8080", "GET", "http://a.example:8080/x", true),
            ("a.example:8080", "GET", "http://a.example/x", false),
            ("a.example:*", "GET", "http://a.example:9/x", true),
            ("*.a.example", "GET", "http://b.a.example/", true),
            ("*.a.example", "GET", "http://c.b.a.example/", true),
            ("*.a.example", "GET", "http://a.example/", false),
            ("*.a.example", "GET", "http://evila.example/", false),
            ("https://a.example", "GET", "http://a.example/", false),
            ("https://a.example", "GET", "https://a.example/", true),
            ("https://a.example/v1/*", "GET", "https://a.example/v1/x", true),
            ("https://a.example/v1/*", "GET", "https://a.example/v2/x", false),
            ("https://a.example/v1/*", "GET", "https://a.example/v1/%2e%2e/v2", false),
            ("https://a.example/v1/*", "GET", "https://a.example/v1/..%2fv2", false),
            ("https://a.example/v1/*", "GET", "https://a.example/v1//x", false),
            ("GET+HEAD:a.example", "HEAD", "https://a.example/", true),
            ("GET+HEAD:a.example", "POST", "https://a.example/", false),
            ("127.0.0.1:80", "GET", "http://127.1/", true),
            ("127.0.0.1:80", "GET", "http://[::ffff:127.0.0.1]/", true),
            ("[::1]:80", "GET", "http://[::1]/", true),
        ] {
            assert_eq!(check(scope, method, url, None), matches, "{scope} on {method} {url}");
        }
    }

    #[test]
    fn some_hosts_would_stand_for_more_in_a_scope() {
        let own = |host| {
            let (method, path, address) = (None, None, None);
            Request::Network { scheme: "http", method, host, port: 80, path, address }.has_own_scope()
        };
        for (host, stands_for_itself) in [
            ("a.example", true),
            ("[::1]", true),
            ("private.example", true),
            ("*.com", false),
            ("*", false),
            ("private", false),
            ("LOOPBACK.", false),
            (".", false),
        ] {
            assert_eq!(own(host), stands_for_itself, "{host}");
        }
        let database = |path| {
            let (method, path, address) = (None, Some(path), None);
            let (scheme, host) = ("postgres", "a.example");
            Request::Network { scheme, method, host, port: 1, path, address }.has_own_scope()
        };
        assert!(database("/app") && database("/") && !database("/app*"));
        let plus = NetworkScope::parse("+:80").unwrap();
        let asked = Request::Network {
            scheme: "http",
            method: Some("GET"),
            host: "+",
            port: 80,
            path: None,
            address: None,
        };
        assert!(plus.matches(&asked));
        for path in ["/app?ro", "/a/b", "/..", "/a%2fb", "/app ", ""] {
            assert!(!database(path), "{path:?}");
        }
        let (method, path, address) = (None, None, None);
        let nowhere = Request::Network { scheme: "http", method, host: "a.example", port: 0, path, address };
        assert!(!nowhere.has_own_scope());
        assert!(!Request::Name("AWS_*").has_own_scope());
        let path = std::path::Path::new("/a*");
        let file = |path| Request::File { access: super::super::Access::Read, path }.has_own_scope();
        assert!(file(path) && !file(std::path::Path::new("/a ")) && !file(std::path::Path::new("/a\n")));
        let latin1 = std::ffi::OsStr::from_bytes(b"/\xe9");
        assert!(!file(std::path::Path::new(latin1)));
        let action = |name| Request::Action { verb: "read", name, scope: "" }.has_own_scope();
        assert!(action("/a.db") && !action("/a.db?ro"));
    }

    #[test]
    fn a_written_scope_that_stands_for_more_is_known() {
        for (scope, own) in [
            ("a.example:80", true),
            ("[::1]:80", true),
            ("postgres://a.example:5432/app?ro", true),
            ("sqlite::memory:", true),
            ("8080", true),
            ("unix:/run/app.sock", true),
            ("nginx.service:restart", true),
            ("*:80", false),
            ("*.com:80", false),
            ("private:80", false),
            ("Loopback:443", false),
            ("postgres://private:5432/app", false),
            ("postgres://a.example:5432/*", false),
            ("*.service:start", false),
        ] {
            assert_eq!(crate::scope::is_own(scope), own, "{scope}");
        }
    }

    #[test]
    fn ranges_match_resolved_addresses_only() {
        assert!(check("10.0.0.0/8", "GET", "http://a.example:1/", Some("10.1.2.3")));
        assert!(!check("10.0.0.0/8", "GET", "http://a.example:1/", Some("11.1.2.3")));
        assert!(!check("10.0.0.0/8", "GET", "http://10.1.2.3/", None));
        assert!(check("10.0.0.0/8", "GET", "http://a.example/", Some("::ffff:10.0.0.1")));
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for text in [
            "",
            "*",
            "a*.example",
            "a.example:0",
            "a.example:x",
            "a.example:+80",
            "*.0.0.1",
            "*.a.0x7f",
            "user@a.example",
            "http://",
            "[::1",
            "::1]",
            "[a.example]",
        ] {
            assert!(NetworkScope::parse(text).is_err(), "{text}");
        }
    }
}
