//! Scopes of `http`: places on the network, and proxies as a kind of their own.

use assay_capability_api::scope::NetworkScope;
use assay_capability_api::{GrantError, Request, Scope};
use std::net::IpAddr;

/// The scheme of a [`Request::Network`] that asks for going through a proxy.
pub const PROXY: &str = "proxy";

/// Grants requests to a place.
#[derive(Debug)]
pub struct Direct(NetworkScope);

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
        Some(place) if !place.contains('/') => Ok(Box::new(Proxy(NetworkScope::parse(place)?))),
        Some(_) => Err(GrantError::new(format!("{text}: write proxy:HOST:PORT"))),
        None => Ok(Box::new(Direct(NetworkScope::parse(text)?))),
    }
}

fn is_proxy(request: &Request<'_>) -> bool {
    matches!(request, Request::Network { scheme: PROXY, .. })
}

impl Scope for Direct {
    fn matches(&self, request: &Request<'_>) -> bool {
        !is_proxy(request) && self.0.matches(request)
    }

    fn sample_address(&self) -> Option<IpAddr> {
        self.0.sample_address()
    }

    fn names_scheme(&self) -> bool {
        self.0.names_scheme()
    }

    fn names_address(&self, address: IpAddr) -> bool {
        self.0.names_address(address)
    }
}

impl Scope for Proxy {
    fn matches(&self, request: &Request<'_>) -> bool {
        is_proxy(request) && self.0.matches(request)
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
        assert!(parse("proxy:http://p.example").is_err());
    }
}
