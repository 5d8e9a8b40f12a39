//! Which host a request is for: it must name one host only (RFC 9112 3.2, RFC 9113 8.3.1).
//!
//! A target may name a host beside the Host header. A proxy in front of a server may go by the one, and a
//! script by the other, so both must be the same.

use http::header::HOST;
use http::request::Parts;
use http::{Method, StatusCode, Version};
use std::net::Ipv6Addr;

/// The status and text of a refusal.
type Refusal = (StatusCode, &'static str);

const ONE_HOST: Refusal = (StatusCode::BAD_REQUEST, "one Host header is needed");
const NO_HOST: Refusal = (StatusCode::BAD_REQUEST, "the Host header is not a host");
const TWO_HOSTS: Refusal = (StatusCode::BAD_REQUEST, "the target and the Host header name different hosts");
const NO_TARGET: Refusal = (StatusCode::BAD_REQUEST, "this server does not have the target");
const NO_PROXY: Refusal = (StatusCode::METHOD_NOT_ALLOWED, "this server is not a proxy");

/// Checks what every request must have, and what no handler could answer.
///
/// # Errors
/// What to refuse it with.
pub fn check(parts: &Parts, secure: bool) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT {
        return Err(NO_PROXY);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(ONE_HOST);
    }
    let target = parts.uri.authority().map(|authority| authority.as_str());
    let named = match parts.version {
        Version::HTTP_09 | Version::HTTP_10 => true,
        Version::HTTP_11 => host.is_some(),
        _ => host.is_some() || target.is_some(),
    };
    if !named {
        return Err(ONE_HOST);
    }
    let path = parts.uri.path();
    let all = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !all {
        return Err(NO_TARGET);
    }
    let port = match parts.uri.scheme_str() {
        None => {
            if secure {
                443
            } else {
                80
            }
        }
        Some("http") => 80,
        Some("https") => 443,
        Some(_) => return Err(NO_TARGET),
    };
    let host = match host.map(|host| host.to_str().ok().and_then(|host| split(host, port))) {
        Some(None) => return Err(NO_HOST),
        Some(host) => host,
        None => None,
    };
    match target.map(|target| split(target, port)) {
        Some(None) => Err(NO_TARGET),
        Some(Some(("", _))) => Err(NO_TARGET),
        Some(target) if host.is_some() && !same(host, target) => Err(TWO_HOSTS),
        _ => Ok(()),
    }
}

fn same(one: Option<(&str, u16)>, other: Option<(&str, u16)>) -> bool {
    match (one, other) {
        (Some((one, port)), Some((other, other_port))) => {
            port == other_port && one.eq_ignore_ascii_case(other)
        }
        _ => false,
    }
}

/// Host and port; `None` for a text that is not a host. A client without a host sends an empty text (RFC 9112 3.2).
fn split(authority: &str, default: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
            (address, port)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte);
            host.bytes().all(name).then_some((host, port))?
        }
    };
    match port {
        "" => Some((host, default)),
        digits if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, digits.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, target: &str, hosts: &[&str], version: Version) -> Option<u16> {
        let mut request = http::Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap().into_parts().0, false).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_request_is_for_one_host() {
        let v11 = Version::HTTP_11;
        for (target, host) in [
            ("/", "a"),
            ("/", "a:8080"),
            ("/", "[::1]:80"),
            ("/", "a_b.c"),
            ("/", ""),
            ("/", "a:"),
            ("http://a/", "A"),
            ("http://a:80/", "a"),
            ("http://a/", "a:80"),
            ("https://a/", "a:443"),
            ("http://[::1]/", "[::1]"),
            ("http://a", "a"),
        ] {
            assert_eq!(status("GET", target, &[host], v11), None, "{target} {host}");
        }
        for (target, host) in [
            ("http://a/", "b"),
            ("http://a/", "a:81"),
            ("https://a/", "a:80"),
            ("http://a/", ""),
            ("http://a.b/", "a"),
            ("http://a/", "a.b"),
            ("http://b@a/", "a"),
            ("http://a@b/", "a"),
            ("http://a:b@c/", "a"),
            ("ftp://a/", "a"),
            ("a:80", "a:80"),
            ("a", "a"),
            ("*", "a"),
            ("/", "a b"),
            ("/", "a,b"),
            ("/", "a/b"),
            ("/", "a@b"),
            ("/", "a:x"),
            ("/", "a:99999"),
            ("/", "a:80:80"),
            ("/", "[::1"),
            ("/", "[x]"),
            ("/", "[::1]x"),
            ("/", "::1"),
            ("/", "a#b"),
            ("/", "a?b"),
            ("/", "http://a"),
        ] {
            assert_eq!(status("GET", target, &[host], v11), Some(400), "{target} {host}");
        }
        assert_eq!(status("OPTIONS", "*", &["a"], v11), None);
        assert_eq!(status("CONNECT", "a:80", &["a:80"], v11), Some(405));
        for version in [v11, Version::HTTP_2, Version::HTTP_10] {
            assert_eq!(status("GET", "http://a/", &["a", "a"], version), Some(400));
            assert_eq!(status("GET", "http://a/", &["b"], version), Some(400));
        }
        assert_eq!(status("GET", "/", &[], v11), Some(400));
        assert_eq!(status("GET", "http://a/", &[], v11), Some(400));
        assert_eq!(status("GET", "/", &[], Version::HTTP_2), Some(400));
        assert_eq!(status("GET", "/", &[], Version::HTTP_10), None);
        assert_eq!(status("GET", "http://a/", &[], Version::HTTP_2), None);
    }
}
