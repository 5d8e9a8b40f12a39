//! Scopes of `ws`: places on the network.

use assay_capability_api::scope::NetworkScope;
use assay_capability_api::{GrantError, Scope};

/// Reads a scope.
///
/// # Errors
/// When it has none of the forms of [`NetworkScope`], or one that no WebSocket matches.
pub fn parse(text: &str) -> Result<Box<dyn Scope>, GrantError> {
    Ok(Box::new(NetworkScope::parse_for(text, &["ws", "wss"], false)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::Request;

    #[test]
    fn places_of_web_sockets() {
        let asked = |scheme, port| Request::Network {
            scheme,
            method: None,
            host: "a.example",
            port,
            path: Some("/x"),
            address: None,
        };
        for (text, scheme, port, matches) in [
            ("a.example", "ws", 80, true),
            ("a.example", "wss", 443, true),
            ("a.example", "ws", 81, false),
            ("a.example:81", "ws", 81, true),
            ("wss://a.example", "wss", 443, true),
            ("wss://a.example", "ws", 443, false),
            ("ws://a.example/x", "ws", 80, true),
            ("ws://a.example/y", "ws", 80, false),
            ("*.example:*", "wss", 9, true),
        ] {
            assert_eq!(
                parse(text).unwrap().matches(&asked(scheme, port)),
                matches,
                "{text} on {scheme}:{port}"
            );
        }
        for text in ["GET:a.example", "GET+HEAD:a.example", "https://a.example", "", "proxy://a.example:1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
