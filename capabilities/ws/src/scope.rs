//! Scopes of `ws`: places on the network.

use assay_capability_api::scope::NetworkScope;
use assay_capability_api::{GrantError, Scope};

/// Reads a scope.
///
/// # Errors
/// When it has none of the forms of [`NetworkScope`], or one that no WebSocket matches.
pub fn parse(text: &str) -> Result<Box<dyn Scope>, GrantError> {
    let scope = NetworkScope::parse(text)?;
    let start = text.split(['/', '.', '[']).next().unwrap_or_default();
    if let Some((methods, _)) = start.split_once(':')
        && !methods.is_empty()
        && methods.chars().all(|c| c.is_ascii_uppercase() || c == '+')
    {
        return Err(GrantError::new(format!("{text}: a WebSocket has no methods; write HOST[:PORT]")));
    }
    match text.split_once("://") {
        Some((scheme, _)) if !["ws", "wss"].iter().any(|own| own.eq_ignore_ascii_case(scheme)) => {
            Err(GrantError::new(format!("{text}: the scheme of a WebSocket is ws:// or wss://")))
        }
        _ => Ok(Box::new(scope)),
    }
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
