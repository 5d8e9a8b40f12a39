//! What must hold for every scope of a network grant and every URL: the matcher against the `url` crate, which is what
//! requests are made of.

use assay_capability_api::scope::{NameScope, NetworkScope, escape, unescape};
use assay_capability_api::{Request, Scope};
use std::net::IpAddr;
use url::{Host, Url};

/// Checks one input: the first line is a scope, the second a URL, the third an address that its name leads to.
///
/// # Panics
/// When something does not hold.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (scope_text, url_text, address) = (next(), next(), next().parse().ok());
    assert_eq!(unescape(&escape(scope_text)), scope_text, "a scope does not survive the command line");

    let name = Request::Name(url_text);
    let by_name = NameScope::new(scope_text).matches(&name);
    assert_eq!(by_name, wildcard(scope_text, url_text), "{scope_text:?} on the name {url_text:?}");

    let scope = NetworkScope::parse(scope_text).ok();
    let Ok(url) = Url::parse(url_text) else { return };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return };
    if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") || port == 0 {
        return;
    }
    let request = Request::Network {
        scheme: url.scheme(),
        method: Some("GET"),
        host,
        port,
        path: Some(url.path()),
        address: None,
    };
    named_by_its_denial(&request);
    let Some(scope) = scope else { return };
    let mut denial = NetworkScope::parse(scope_text).expect("it was read before");
    denial.widen_for_denial();
    if scope.matches(&request) {
        assert!(covers(scope_text, &url), "{scope_text:?} should not grant {url}");
        assert!(denial.matches(&request), "{scope_text:?} grants {url}, and its denial does not deny it");
    }
    if let Some(address) = address {
        range_is_by_address(&scope, scope_text, &request, address);
    }
}

/// The scope that a denial names grants the request, unless it could not be written: then nothing is learned.
fn named_by_its_denial(request: &Request<'_>) {
    if !request.has_own_scope() {
        return;
    }
    let text = request.scope().unwrap_or_default();
    match NetworkScope::parse(&text) {
        Ok(scope) => assert!(scope.matches(request), "{text:?} does not grant what it was named for"),
        Err(error) => panic!("the scope of a denial cannot be read: {error}"),
    }
}

/// What a scope that stands for addresses grants depends on the address alone.
fn range_is_by_address(scope: &NetworkScope, text: &str, request: &Request<'_>, address: IpAddr) {
    if scope.sample_address().is_none() {
        return;
    }
    let Request::Network { scheme, method, port, path, .. } = *request else { return };
    let at = |host, address| scope.matches(&Request::Network { scheme, method, host, port, path, address });
    assert!(!at("a.example", None), "{text:?} grants a name without an address");
    assert_eq!(at("a.example", Some(address)), at("127.0.0.1", Some(address)), "{text:?} at {address}");
}

/// The same question answered in another way: the scope is read as a URL by the `url` crate.
fn covers(scope: &str, url: &Url) -> bool {
    let mut rest = scope;
    if let Some((head, tail)) = scope.split_once(':')
        && !tail.is_empty()
        && !tail.starts_with("//")
        && head.split('+').all(|name| !name.is_empty() && name.bytes().all(|c| c.is_ascii_uppercase()))
    {
        if !head.split('+').any(|method| method == "GET") {
            return false;
        }
        rest = tail;
    }
    let scheme = rest.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if scheme.as_deref().is_some_and(|scheme| scheme != url.scheme()) {
        return false;
    }
    if path.len() > 1 && !wildcard(path, url.path()) {
        return false;
    }
    let (below, place) = match place.strip_prefix("*.") {
        Some(place) => (true, place),
        None => (false, place),
    };
    let (place, any_port) = match place.strip_suffix(":*") {
        Some(place) => (place, true),
        None => (place, false),
    };
    // A final dot says no more about an address than about a name.
    let place = if place.contains("::") { place.trim_end_matches('.') } else { place };
    let bare_v6 = place.parse::<std::net::Ipv6Addr>().is_ok();
    let place = if bare_v6 { format!("[{place}]") } else { place.to_string() };
    // A scheme without a port of its own, so that one that is written is kept.
    let Ok(named) = Url::parse(&format!("{}://{place}/", url.scheme())) else { return false };
    let explicit = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|_| !bare_v6);
    let port = url.port_or_known_default();
    let same_port = any_port
        || match (explicit, scheme) {
            (Some(explicit), _) => port == Some(explicit),
            (None, Some(_)) => url.port().is_none(),
            (None, None) => matches!(port, Some(80 | 443)),
        };
    let (Some(own), Some(asked)) = (key(named.host()), key(url.host())) else { return false };
    let same_host = if below { asked.ends_with(&format!(".{own}")) } else { own == asked };
    same_port && same_host
}

/// A host in its one spelling.
fn key(host: Option<Host<&str>>) -> Option<String> {
    Some(match host? {
        Host::Domain(name) => name.trim_end_matches('.').to_string(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => IpAddr::from(address).to_canonical().to_string(),
    })
}

/// Patterns with stars by trying every way, a row at a time.
fn wildcard(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for c in pattern.bytes() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match c {
                b'*' => reached[at] || (at > 0 && next[at - 1]),
                c => at > 0 && reached[at - 1] && text[at - 1] == c,
            };
        }
        reached = next;
    }
    reached[text.len()]
}
