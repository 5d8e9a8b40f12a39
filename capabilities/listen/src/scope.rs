//! Scopes of `listen`: where a script may accept connections.

use assay_capability_api::scope::PathScope;
use assay_capability_api::{Access, GrantError, Request, Scope};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The verb of a request; its name is an [`Address`] as text.
pub const BIND: &str = "bind to";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// Absolute, its directory without links.
    Unix(PathBuf),
}

impl Address {
    /// Reads what a script wrote; relative paths start at `base`. A host name other than `localhost` is refused:
    /// where it leads is not for the script to choose.
    pub fn parse(text: &str, port: u16, base: &Path) -> Option<Address> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path, base).map(Address::Unix);
        }
        let ip = match text.trim_matches(['[', ']']) {
            "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
            "*" => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            text => text.parse().ok()?,
        };
        Some(Address::Tcp(SocketAddr::new(ip, port)))
    }

    /// The narrowest scope that covers it.
    pub fn scope(&self) -> String {
        match self {
            Address::Tcp(address) if address.ip().is_loopback() => address.port().to_string(),
            address => address.to_string(),
        }
    }

    fn from_request(name: &str) -> Option<Address> {
        match name.strip_prefix("unix:") {
            Some(path) => Some(Address::Unix(PathBuf::from(path))),
            None => name.parse().ok().map(Address::Tcp),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The scope that covers a place as the script writes it: a port, `ADDRESS:PORT` or `unix:PATH`.
pub fn of_text(place: &str) -> Option<String> {
    if place.starts_with("unix:") {
        return Some(place.to_string());
    }
    let (address, port) = place.rsplit_once(':').unwrap_or(("localhost", place));
    Some(Address::parse(address, port.parse().ok()?, Path::new("/"))?.scope())
}

/// The path of a socket, with the links of its directory resolved: a grant is for the place, not for what a
/// link there may lead to later.
fn unix(path: &str, base: &Path) -> Option<PathBuf> {
    if path.is_empty() {
        return None;
    }
    let path = assay_capability_api::scope::normalize(&base.join(path));
    let (directory, name) = (path.parent()?, path.file_name()?);
    match std::fs::canonicalize(directory) {
        Ok(real) => Some(real.join(name)),
        Err(_) => Some(path),
    }
}

/// The addresses that a scope is about.
#[derive(Debug)]
enum ListenPattern {
    /// This machine only.
    Loopback,
    /// One address; the unspecified one stands for all of its family.
    Ip(IpAddr),
    Unix(PathBuf),
    /// Sockets where files may not be written; only for a denial of those.
    Files(PathScope),
}

/// `PORT`, `ADDR:PORT`, `ADDR:*`, `unix:PATH`, or nothing for loopback on any port.
#[derive(Debug)]
pub struct ListenScope {
    place: ListenPattern,
    /// None is any.
    port: Option<u16>,
    bare: bool,
    denies: bool,
}

impl ListenScope {
    /// What `listen` without a scope means.
    pub fn whole() -> ListenScope {
        ListenScope { place: ListenPattern::Loopback, port: None, bare: true, denies: false }
    }

    /// Sockets below a directory, as a scope of `fs` names it.
    ///
    /// # Errors
    /// When `text` is no scope of `fs`.
    pub fn of_files(text: &str, base: &Path) -> Result<ListenScope, GrantError> {
        Ok(ListenScope { place: ListenPattern::Files(PathScope::parse(text, base)?), ..ListenScope::whole() })
    }

    /// # Errors
    /// When `text` has none of the forms.
    pub fn parse(text: &str, base: &Path) -> Result<ListenScope, GrantError> {
        let bad = || {
            GrantError::new(format!(
                "listen={text} is not a place to listen; write PORT, ADDRESS:PORT (an IP address or localhost; \
                 * as port is any), or unix:PATH"
            ))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = assay_capability_api::scope::read_path(path)
                .map_err(|why| GrantError::new(format!("listen={}: {why}", text.escape_debug())))?;
            let path = unix(path, base).ok_or_else(bad)?;
            return Ok(ListenScope {
                place: ListenPattern::Unix(path),
                port: None,
                bare: false,
                denies: false,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (None, text),
            Some((host, port)) => (Some(host), port),
        };
        let port = match port {
            "*" if host.is_some() => None,
            // A port has no sign, which `parse` would take.
            number if !number.bytes().all(|byte| byte.is_ascii_digit()) => return Err(bad()),
            number => Some(number.parse().map_err(|_| bad())?),
        };
        let place = match host {
            None | Some("localhost") => ListenPattern::Loopback,
            Some(host) => match Address::parse(host, 0, base) {
                Some(Address::Tcp(address)) => ListenPattern::Ip(address.ip().to_canonical()),
                _ => return Err(bad()),
            },
        };
        Ok(ListenScope { place, port, bare: false, denies: false })
    }
}

impl Scope for ListenScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Action { name, .. } = request else { return false };
        let Some(address) = Address::from_request(name) else { return false };
        if self.denies {
            return self.might_match(&address);
        }
        match (&self.place, address) {
            (ListenPattern::Unix(own), Address::Unix(path)) => *own == path,
            (ListenPattern::Loopback, Address::Tcp(address)) => {
                address.ip().to_canonical().is_loopback() && self.covers(address.port())
            }
            (ListenPattern::Ip(own), Address::Tcp(address)) => {
                let ip = address.ip().to_canonical();
                let same = *own == ip || (own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4()));
                same && self.covers(address.port())
            }
            _ => false,
        }
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        if let ListenPattern::Files(scope) = &mut self.place {
            scope.widen_for_denial();
        }
    }
}

impl ListenScope {
    /// Whether a denial of it is about the address: a server on all addresses listens on each.
    fn might_match(&self, address: &Address) -> bool {
        match (&self.place, address) {
            (ListenPattern::Files(scope), Address::Unix(path)) => {
                scope.matches(&Request::File { access: Access::Write, path })
            }
            (ListenPattern::Files(_), _) => false,
            _ if self.bare => true,
            (ListenPattern::Unix(own), Address::Unix(path)) => path.starts_with(own),
            (ListenPattern::Loopback, Address::Tcp(address)) => self.covers(address.port()),
            (ListenPattern::Ip(own), Address::Tcp(address)) => {
                let ip = address.ip().to_canonical();
                let all = own.is_unspecified() || ip.is_unspecified();
                (all || *own == ip) && self.covers(address.port())
            }
            _ => false,
        }
    }

    fn covers(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(scope: &ListenScope, address: &str, port: u16) -> bool {
        let address = Address::parse(address, port, Path::new("/base")).unwrap();
        let (name, narrow) = (address.to_string(), address.scope());
        scope.matches(&Request::Action { verb: BIND, name: &name, scope: &narrow })
    }

    #[test]
    fn places_and_ports() {
        for (scope, address, port, expected) in [
            ("80", "127.0.0.1", 80, true),
            ("80", "localhost", 80, true),
            ("80", "::1", 80, true),
            ("80", "127.0.0.2", 80, true),
            ("80", "127.0.0.1", 81, false),
            ("80", "0.0.0.0", 80, false),
            ("80", "::", 80, false),
            ("80", "::ffff:0.0.0.0", 80, false),
            ("80", "10.0.0.1", 80, false),
            ("80", "unix:/80", 80, false),
            ("0", "127.0.0.1", 0, true),
            ("0", "127.0.0.1", 80, false),
            ("localhost:*", "127.0.0.1", 9, true),
            ("10.0.0.1:80", "10.0.0.1", 80, true),
            ("10.0.0.1:80", "10.0.0.2", 80, false),
            ("10.0.0.1:*", "10.0.0.1", 9, true),
            ("0.0.0.0:80", "0.0.0.0", 80, true),
            ("0.0.0.0:80", "10.0.0.1", 80, true),
            ("0.0.0.0:80", "::", 80, false),
            ("*:80", "0.0.0.0", 80, true),
            ("[::]:80", "::", 80, true),
            ("[::]:80", "0.0.0.0", 80, true),
            ("[::1]:80", "::1", 80, true),
            ("unix:/nowhere-here/a.sock", "unix:/nowhere-here/a.sock", 0, true),
            ("unix:/nowhere-here/a.sock", "unix:/nowhere-here/b.sock", 0, false),
            ("unix:a.sock", "unix:/base/a.sock", 0, true),
            ("unix:/nowhere-here/a.sock", "unix:/nowhere-here/x/../a.sock", 0, true),
        ] {
            let parsed = ListenScope::parse(scope, Path::new("/base")).unwrap();
            assert_eq!(matches(&parsed, address, port), expected, "{scope} on {address} {port}");
        }
    }

    #[test]
    fn a_bare_grant_is_loopback_and_a_bare_denial_everything() {
        let mut scope = ListenScope::whole();
        assert!(matches(&scope, "127.0.0.1", 80) && matches(&scope, "::1", 0));
        assert!(!matches(&scope, "0.0.0.0", 80) && !matches(&scope, "unix:/a", 0));
        scope.widen_for_denial();
        assert!(matches(&scope, "0.0.0.0", 80) && matches(&scope, "unix:/a", 0));
    }

    #[test]
    fn a_denial_takes_in_what_might_be_meant() {
        for (scope, address, port, expected) in [
            ("80", "127.0.0.1", 80, true),
            ("80", "0.0.0.0", 80, true),
            ("80", "::", 80, true),
            ("80", "::ffff:0.0.0.0", 80, true),
            ("80", "10.0.0.1", 80, true),
            ("80", "*", 80, true),
            ("80", "127.0.0.1", 81, false),
            ("80", "unix:/80", 80, false),
            ("10.0.0.1:80", "0.0.0.0", 80, true),
            ("10.0.0.1:80", "::", 80, true),
            ("10.0.0.1:80", "::ffff:10.0.0.1", 80, true),
            ("10.0.0.1:80", "10.0.0.2", 80, false),
            ("10.0.0.1:80", "0.0.0.0", 81, false),
            ("0.0.0.0:*", "::1", 9, true),
            ("[::]:80", "127.0.0.1", 80, true),
            ("localhost:80", "0.0.0.0", 80, true),
            ("unix:/nowhere-here", "unix:/nowhere-here/a.sock", 0, true),
            ("unix:/nowhere-here/a.sock", "unix:/nowhere-here/b.sock", 0, false),
            ("unix:/nowhere-here/a.sock", "127.0.0.1", 1, false),
        ] {
            let mut parsed = ListenScope::parse(scope, Path::new("/base")).unwrap();
            parsed.widen_for_denial();
            assert_eq!(matches(&parsed, address, port), expected, "{scope} on {address} {port}");
        }
        let mut files = ListenScope::of_files("/nowhere-here", Path::new("/")).unwrap();
        files.widen_for_denial();
        assert!(matches(&files, "unix:/nowhere-here/a.sock", 0) && !matches(&files, "unix:/else/a.sock", 0));
        assert!(!matches(&files, "127.0.0.1", 80));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in
            ["", "x", "*", "65536", "example.com:80", "1.2.3.4", "1.2.3.4:x", ":80", "unix:", "unix:/"]
        {
            assert!(ListenScope::parse(text, Path::new("/base")).is_err(), "{text}");
        }
        for text in ["example.com", "", "0x7f.1", "127.1"] {
            assert_eq!(Address::parse(text, 1, Path::new("/")), None, "{text}");
        }
    }

    #[test]
    fn a_suggested_scope_covers_what_was_asked() {
        for (address, port) in [("127.0.0.1", 80), ("0.0.0.0", 0), ("::", 8080), ("unix:/nowhere-here/s", 0)]
        {
            let parsed = Address::parse(address, port, Path::new("/")).unwrap();
            let scope = ListenScope::parse(&parsed.scope(), Path::new("/")).unwrap();
            assert!(matches(&scope, address, port), "{address} {port}: {}", parsed.scope());
        }
    }
}
