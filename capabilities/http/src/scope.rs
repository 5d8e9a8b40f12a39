//! Scopes of `http`: places on the network, and proxies as a kind of their own.

use assay_capability_api::scope::NetworkScope;
use assay_capability_api::{GrantError, Request, Scope};
use assay_capability_net::proxy::SCHEME as PROXY;
use std::net::IpAddr;

/// Grants requests to a place.
#[derive(Debug)]
pub struct Direct {
    place: NetworkScope,
    denies: bool,
}

/// Grants going through a proxy; a proxy decides itself where it connects to, so a grant of the place
/// is not enough.
#[derive(Debug)]
pub struct Proxy(NetworkScope);

/// Reads a scope of `http`.
///
/// # Errors
/// When it has none of the forms of [`NetworkScope`].
pub fn parse(text: &str) -> Result<Box<dyn Scope>, GrantError> {
    match text.strip_prefix("proxy:") {
        Some(place) if !place.contains('/') => {
            let place = NetworkScope::parse_for(place, &[], false)?;
            // A proxy is granted by its name; where that leads to is the operator's to know.
            match place.sample_address() {
                None => Ok(Box::new(Proxy(place))),
                Some(_) => {
                    Err(GrantError::new(format!("{text}: a proxy is one host; write proxy:HOST:PORT")))
                }
            }
        }
        Some(_) => Err(GrantError::new(format!("{text}: write proxy:HOST:PORT"))),
        None => Ok(Box::new(Direct {
            place: NetworkScope::parse_for(text, &["http", "https"], true)?,
            denies: false,
        })),
    }
}

fn is_proxy(request: &Request<'_>) -> bool {
    matches!(request, Request::Network { scheme: PROXY, .. })
}

impl Scope for Direct {
    fn matches(&self, request: &Request<'_>) -> bool {
        match *request {
            // What goes through a denied place goes to it first.
            Request::Network { scheme: PROXY, host, port, address, .. } => {
                self.denies && self.place.covers_place(host, port, address)
            }
            _ => self.place.matches(request),
        }
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
        self.place.widen_for_denial();
    }

    fn sample_address(&self) -> Option<IpAddr> {
        self.place.sample_address()
    }

    fn names_scheme(&self) -> bool {
        self.place.names_scheme()
    }

    fn names_address(&self, address: IpAddr) -> bool {
        self.place.names_address(address)
    }

    fn names_host(&self, host: &str) -> bool {
        self.place.names_host(host)
    }
}

impl Scope for Proxy {
    fn matches(&self, request: &Request<'_>) -> bool {
        is_proxy(request) && self.0.matches(request)
    }

    fn widen_for_denial(&mut self) {
        self.0.widen_for_denial();
    }

    fn names_address(&self, address: IpAddr) -> bool {
        self.0.names_address(address)
    }

    fn names_host(&self, host: &str) -> bool {
        self.0.names_host(host)
    }

    fn names_scheme(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scheme: &'static str) -> Request<'static> {
        Request::Network { scheme, method: None, host: "p.example", port: 3128, path: None, address: None }
    }

    #[test]
    fn a_place_is_not_a_proxy() {
        let proxy = parse("proxy:p.example:3128").unwrap();
        assert!(proxy.matches(&request(PROXY)) && proxy.names_scheme());
        assert!(!proxy.matches(&request("http")));
        let place = parse("p.example:3128").unwrap();
        assert!(place.matches(&request("http")) && !place.names_scheme());
        assert!(!place.matches(&request(PROXY)));
        for text in [
            "proxy:http://p.example",
            "proxy:10.0.0.0/8",
            "proxy:private",
            "proxy:GET:p.example",
            "ws://p.example",
            "ftp://p.example",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_denied_place_is_no_proxy_either() {
        let denied = |text: &str| {
            let mut scope = parse(text).unwrap();
            scope.widen_for_denial();
            scope.matches(&request(PROXY))
        };
        assert!(
            denied("p.example:3128")
                && denied("p.example")
                && denied("GET:http://p.example/x*")
                && denied("proxy:p.example")
        );
        assert!(!denied("p.example:80") && !denied("other.example"));
        let mut proxy = parse("proxy:p.example:3128").unwrap();
        proxy.widen_for_denial();
        assert!(!proxy.matches(&request("http")));
    }
}
