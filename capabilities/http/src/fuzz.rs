//! What the fuzz target `requests` runs: everything that a script says about a request, and where it is redirected to,
//! against the `url` crate.

use crate::bindings::assay::host::http::{Content, Header, Part};
use crate::request::{Head, RESERVED, is_credential};
use crate::upload::{Piece, multipart};
use assay_capability_api::Scope;
use assay_capability_api::scope::NetworkScope;
use assay_capability_api::types::ErrorCode;
use assay_capability_net::Proxy;
use http::HeaderValue;
use url::Url;

/// Checks one input: lines with the method, the URL, user name and password with a colon between or nothing, status and
/// `Location` of a redirect, and one for each header field.
///
/// # Panics
/// When something does not hold.
pub fn one(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut next = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (method, url, basic, redirect) = (next(), next(), next(), next());
    let fields: Vec<Header> = lines
        .filter_map(|line| {
            let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
            Some(Header { name: String::from_utf8_lossy(name).into_owned(), value: value[1..].to_vec() })
        })
        .collect();
    form(&fields);
    proxy(&url);
    let basic = basic.split_once(':').map(|(user, password)| (user.to_string(), password.to_string()));
    let head = match Head::new(&method, &url, fields.clone(), basic.as_ref()) {
        Ok(head) => head,
        Err(failure) => {
            assert!(matches!(failure.code, ErrorCode::InvalidArgument | ErrorCode::Limit));
            return;
        }
    };
    sent(&head);
    let own = Url::parse(&url).unwrap_or_else(|why| panic!("{url:?} is asked for, and is no URL: {why}"));
    assert_eq!(
        (own.host_str(), own.path(), own.query()),
        (head.url.host_str(), head.url.path(), head.url.query())
    );
    for field in &fields {
        if !field.name.eq_ignore_ascii_case("host") {
            let mut all = head.headers.get_all(&field.name).iter();
            let replaced = basic.is_some() && field.name.eq_ignore_ascii_case("authorization");
            assert!(
                replaced || all.any(|value| value.as_bytes() == field.value),
                "{} is missing",
                field.name
            );
        }
    }
    redirected(&head, &redirect);
}

/// What goes out is what was checked.
fn sent(head: &Head) {
    let url = &head.url;
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
    assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url), "it does not read back");
    assert_eq!(
        (Some(head.origin.host.as_str()), Some(head.origin.port)),
        (url.host_str(), url.port_or_known_default())
    );
    assert_eq!(head.origin.scheme(), url.scheme());
    assert!(!matches!(head.method.as_str(), "CONNECT" | "TRACE"));
    for (name, value) in &head.headers {
        assert!(!RESERVED.contains(&name.as_str()) && name != "host", "{name}");
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}: {value:?}");
    }
    if let Ok(target) = head.target() {
        let whole = url.query().map_or(url.path().to_string(), |query| format!("{}?{query}", url.path()));
        assert_eq!(target.path_and_query().map(|it| it.as_str()), Some(whole.as_str()));
        assert_eq!((target.host(), target.scheme()), (None, None), "{target}");
    }
    if let Ok(target) = head.absolute_target() {
        assert_eq!(target.host(), Some(head.origin.host.as_str()), "{target}");
        assert_eq!(target.port_u16().unwrap_or(if head.origin.secure { 443 } else { 80 }), head.origin.port);
    }
    let asked = head.asked();
    if asked.has_own_scope() {
        let scope = asked.scope().unwrap_or_default();
        let read = NetworkScope::parse(&scope).unwrap_or_else(|why| panic!("{why}"));
        assert!(read.matches(&asked), "{scope} does not grant {url}");
    }
}

/// A redirect is checked like what it came from, and takes no credentials elsewhere.
fn redirected(head: &Head, redirect: &str) {
    let Some((status, location)) = redirect.split_once(' ') else { return };
    let (Ok(status), Ok(location)) = (status.parse(), HeaderValue::from_bytes(location.as_bytes())) else {
        return;
    };
    let next = match head.redirected(status, Some(&location)) {
        Ok(Some(next)) => next,
        Ok(None) => return assert!(!matches!(status, 301 | 302 | 303 | 307 | 308)),
        Err(failure) => {
            assert!(matches!(failure.code, ErrorCode::InvalidArgument | ErrorCode::InvalidData));
            return;
        }
    };
    sent(&next.head);
    let joined = head.url.join(&String::from_utf8_lossy(location.as_bytes()));
    assert_eq!(joined.as_ref().ok().and_then(Url::host_str), next.head.url.host_str());
    let elsewhere = next.head.url.origin() != head.url.origin();
    assert_eq!(next.elsewhere, elsewhere, "from {} to {}", head.url, next.head.url);
    for (name, before) in head.headers.iter().filter(|(name, _)| is_credential(name)) {
        let after = next.head.headers.get_all(name).iter().any(|after| after == before);
        assert_eq!(after, !elsewhere, "{name} from {} to {}", head.url, next.head.url);
    }
    if next.drops_body {
        assert_eq!(next.head.method, "GET");
        assert!(!next.head.headers.keys().any(|name| name.as_str().starts_with("content-")));
    } else {
        assert_eq!(next.head.method, head.method);
    }
}

/// The head of each part of a form has the lines that it must have, whatever its names are.
fn form(fields: &[Header]) {
    let parts: Vec<Part> = fields
        .iter()
        .map(|field| Part {
            name: field.name.clone(),
            filename: Some(String::from_utf8_lossy(&field.value).into_owned()),
            content_type: std::str::from_utf8(&field.value).ok().map(str::to_string),
            content: Content::Data(Vec::new()),
        })
        .collect();
    let count = parts.len();
    let Ok(pieces) = multipart("b", parts) else { return };
    assert_eq!(pieces.len(), 2 * count + 1);
    for (n, piece) in pieces.iter().step_by(2).take(count).enumerate() {
        let Piece::Data(head) = piece else { panic!("the head of a part is a file") };
        let head = String::from_utf8_lossy(head);
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        if n > 0 {
            assert_eq!(lines.remove(0), "");
        }
        assert!(!lines.iter().any(|line| line.contains(['\r', '\n'])), "{head:?}");
        assert_eq!((lines.len(), lines[0], &lines[3..]), (5, "--b", &["", ""][..]), "{head:?}");
        assert_eq!(lines[1].matches('"').count(), 4, "{head:?}");
    }
}

fn proxy(text: &str) {
    match Proxy::parse(text) {
        Ok(proxy) => {
            assert!(!proxy.host.is_empty() && !proxy.host.contains(['@', '/', '?', '#']), "{text:?}")
        }
        Err(failure) => assert!(matches!(failure.code, ErrorCode::InvalidArgument | ErrorCode::Unsupported)),
    }
}

#[cfg(test)]
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn what_is_asked_for() {
    seeds::run("requests", 20_000, one);
}
