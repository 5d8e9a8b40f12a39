//! Proxies: used only where `http=proxy:HOST:PORT` is granted, because a proxy decides itself which
//! address a name leads to.

use crate::{Origin, basic_auth, invalid, percent_decode};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request, Run, error};
use http::HeaderValue;
use ipnet::IpNet;
use std::net::IpAddr;
use url::Url;

/// The capability that has the scopes of proxies, whichever goes through one.
pub const CAPABILITY: &str = "http";

/// The scheme of a [`Request::Network`] that asks for going through a proxy.
pub const SCHEME: &str = "proxy";

/// A proxy to go through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// As in a URL: IPv6 in brackets.
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `[http://][USER:PASSWORD@]HOST[:PORT]`.
    ///
    /// # Errors
    /// `invalid_argument` where it is no URL, `unsupported` for another scheme.
    pub fn parse(text: &str) -> Result<Proxy, Error> {
        let with_scheme = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let url = Url::parse(&with_scheme)
            .map_err(|reason| invalid(format!("the proxy is not a URL: {reason}")))?;
        if url.scheme() != "http" {
            return Err(error(
                ErrorCode::Unsupported,
                format!("a proxy of kind {}: is not supported; write http://HOST:PORT", url.scheme()),
            ));
        }
        let host = url
            .host_str()
            .ok_or_else(|| invalid("the proxy has no host; write http://HOST:PORT"))?
            .to_string();
        let authorization = if url.username().is_empty() {
            None
        } else {
            let password = percent_decode(url.password().unwrap_or_default());
            Some(basic_auth(&percent_decode(url.username()), &password)?)
        };
        Ok(Proxy { host, port: url.port_or_known_default().unwrap_or(80), authorization })
    }

    /// What the grants are asked for.
    pub fn asked(&self) -> Request<'_> {
        Request::Network {
            scheme: SCHEME,
            method: None,
            host: &self.host,
            port: self.port,
            path: None,
            address: None,
        }
    }

    /// Checks the grant of the proxy. A grant of everything does not include it.
    ///
    /// # Errors
    /// `denied`.
    pub fn check(&self, run: &Run) -> Result<(), Error> {
        if run.grants_scheme(CAPABILITY, &self.asked()) {
            return run.check(CAPABILITY, &self.asked());
        }
        Err(run.refuse(CAPABILITY, &self.asked()))
    }
}

/// The proxy for a request: what the script named, or the environment's if it is granted. An empty
/// `named` is no proxy.
///
/// # Errors
/// `denied` where the script named one that is not granted, `invalid_argument` where it is no proxy.
pub fn choose(run: &Run, named: Option<&str>, origin: &Origin) -> Result<Option<Proxy>, Error> {
    match named {
        Some("") => Ok(None),
        Some(named) => {
            let proxy = Proxy::parse(named)?;
            proxy.check(run)?;
            Ok(Some(proxy))
        }
        None => {
            let variable = |name: &str| run.ambient.variable(name).map(String::from);
            let Some(text) = from_environment(variable, origin) else { return Ok(None) };
            Ok(Proxy::parse(&text).ok().filter(|proxy| run.grants_scheme(CAPABILITY, &proxy.asked())))
        }
    }
}

/// What the environment says about an origin. `HTTP_PROXY` counts only outside of CGI, where it would be
/// a header that the client sent.
fn from_environment(variable: impl Fn(&str) -> Option<String>, origin: &Origin) -> Option<String> {
    let either = |upper: &str| variable(&upper.to_ascii_lowercase()).or_else(|| variable(upper));
    let own = match origin.secure {
        true => either("HTTPS_PROXY"),
        false if variable("REQUEST_METHOD").is_some() => variable("http_proxy"),
        false => either("HTTP_PROXY"),
    };
    let proxy = own.or_else(|| either("ALL_PROXY"))?;
    let except = either("NO_PROXY").unwrap_or_default();
    (!is_excepted(&except, origin)).then_some(proxy)
}

/// Whether `NO_PROXY` names this place: `*`, names with what is below them, addresses and ranges, each with a port or
/// for all ports. Loopback never goes through a proxy.
fn is_excepted(except: &str, origin: &Origin) -> bool {
    let host = bare(&origin.host);
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let entries = except.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.split_once("://").map_or(entry, |(_, place)| place)).any(|entry| {
        let (entry, port) = port_of(entry);
        if port.is_some_and(|port| port != origin.port) {
            return false;
        }
        let entry = bare(entry);
        match address {
            _ if entry == "*" => true,
            Some(address) => is_within(address, &entry),
            None => {
                let name = entry.trim_start_matches('*').trim_start_matches('.');
                let below =
                    host.strip_suffix(name).is_some_and(|head| head.is_empty() || head.ends_with('.'));
                below && !name.is_empty()
            }
        }
    })
}

/// A host without brackets, the final dot of a full name, and upper case.
fn bare(host: &str) -> String {
    let host = host.trim_start_matches('[').replace(']', "");
    host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase()
}

/// An entry of `NO_PROXY`, and its port where it has one: `name:80`, `[::1]:80`. Without brackets several colons are
/// an address.
fn port_of(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn is_within(address: IpAddr, entry: &str) -> bool {
    if let Ok(other) = entry.parse::<IpAddr>() {
        return other.to_canonical() == address;
    }
    match (entry.parse::<IpNet>(), address) {
        (Ok(range), _) if range.contains(&address) => true,
        // `::ffff:10.0.0.0/104` means IPv4.
        (Ok(IpNet::V6(range)), IpAddr::V4(address)) => range.contains(&address.to_ipv6_mapped()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(secure: bool, host: &str) -> Origin {
        Origin { secure, host: host.into(), port: 80 }
    }

    #[test]
    fn the_environment_names_proxies() {
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://s:1".to_string()),
            "http_proxy" => Some("http://p:1".to_string()),
            "NO_PROXY" => Some("inner.example, 10.0.0.0/8,.other.example".to_string()),
            _ => None,
        };
        for (secure, host, proxy) in [
            (true, "a.example", Some("http://s:1")),
            (false, "a.example", Some("http://p:1")),
            (false, "inner.example", None),
            (false, "x.inner.example", None),
            (false, "xinner.example", Some("http://p:1")),
            (false, "x.other.example", None),
            (false, "10.1.2.3", None),
            (false, "11.1.2.3", Some("http://p:1")),
            (false, "127.0.0.1", None),
            (false, "[::1]", None),
        ] {
            assert_eq!(from_environment(environment, &origin(secure, host)).as_deref(), proxy, "{host}");
        }
    }

    #[test]
    fn exceptions_have_ports_dots_and_brackets() {
        let excepted = |except: &str, host: &str, port: u16| {
            is_excepted(except, &Origin { secure: false, host: host.into(), port })
        };
        for (except, host, port) in [
            ("a.example:8080", "a.example", 8080),
            ("a.example:8080", "x.a.example", 8080),
            (".a.example:80", "x.a.example", 80),
            ("a.example.", "a.example", 80),
            ("a.example", "a.example.", 80),
            ("a.example.:80", "a.example.", 80),
            ("A.Example", "a.example", 80),
            ("*.a.example", "x.a.example", 80),
            ("b.example c.example", "c.example", 80),
            (" b.example ,\tc.example", "c.example", 80),
            ("http://a.example", "a.example", 80),
            ("fd00::1", "[fd00::1]", 80),
            ("[fd00::1]", "[fd00::1]", 80),
            ("[FD00:0::1]:8080", "[fd00::1]", 8080),
            ("fd00::/8", "[fd00::1]", 80),
            ("[fd00::]/8", "[fd00::1]", 80),
            ("[fd00::/8]:80", "[fd00::1]", 80),
            ("10.0.0.1:8080", "10.0.0.1", 8080),
            ("10.0.0.0/8:8080", "10.0.0.1", 8080),
            ("10.0.0.0/8", "[::ffff:a00:1]", 80),
            ("::ffff:10.0.0.0/104", "10.0.0.1", 80),
            ("*", "a.example", 80),
            ("*:80", "a.example", 80),
            ("", "localhost.", 80),
            ("", "[::ffff:7f00:1]", 80),
        ] {
            assert!(excepted(except, host, port), "{except}: {host}:{port}");
        }
        for (except, host, port) in [
            ("a.example:8080", "a.example", 80),
            ("*:8080", "a.example", 80),
            ("[fd00::1]:8080", "[fd00::1]", 80),
            ("10.0.0.1:8080", "10.0.0.1", 80),
            ("fd00::1", "[fd00::2]", 80),
            ("fd00::80", "[fd00::]", 80),
            ("a.example", "xa.example", 80),
            ("a.example", "a.example.org", 80),
            ("a.example:x", "a.example", 80),
            (".,:80,", "a.example", 80),
            ("", "a.example", 80),
        ] {
            assert!(!excepted(except, host, port), "{except}: {host}:{port}");
        }
    }

    #[test]
    fn proxies_are_http() {
        let proxy = Proxy::parse("http://u:p@p.example:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("p.example", 3128));
        assert_eq!(proxy.authorization.unwrap(), "Basic dTpw");
        assert_eq!(Proxy::parse("p.example:3128").unwrap().port, 3128);
        assert!(Proxy::parse("socks5://p.example:1080").is_err());
    }
}
