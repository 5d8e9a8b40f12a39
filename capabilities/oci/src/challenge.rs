//! What a server asks for with `WWW-Authenticate` (RFC 9110 11.6.1).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// A token from `realm` for `service` (docker's token authentication).
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The challenges that can be met, in their order. What else there is, is left out.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A quoted string or a token, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = word(text);
        return Some((word.to_string(), rest));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// The challenges of one field. One that is malformed ends it.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (scheme, mut tail) = word(rest);
        if scheme.is_empty() {
            break;
        }
        let (mut realm, mut service) = (None, None);
        loop {
            let next = tail.trim_start_matches([' ', '\t', ',']);
            let (name, after) = word(next);
            // A word without "=" is the next challenge's scheme.
            let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
                tail = next;
                break;
            };
            let Some((value, after)) = value(after.trim_start()) else { return found };
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
            tail = after;
        }
        match (scheme.to_ascii_lowercase().as_str(), realm) {
            ("basic", _) => found.push(Challenge::Basic),
            ("bearer", Some(realm)) => found.push(Challenge::Bearer { realm, service }),
            _ => {}
        }
        rest = tail;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(str::to_string) }
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:x:pull,push""#;
        assert_eq!(parse(hub), [bearer("https://auth.docker.io/token", Some("registry.docker.io"))]);
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("Basic"), [Challenge::Basic]);
        assert_eq!(
            parse(
                r#"Negotiate, Basic realm="a, Bearer realm=b", bearer REALM = "https://c/\"d" , error=invalid"#
            ),
            [Challenge::Basic, bearer("https://c/\"d", None)]
        );
        for text in ["", ",", "Bearer", "Bearer service=x", "Bearer realm=\"x", "\"", "=", "Digest realm=x"] {
            assert_eq!(parse(text), [], "{text}");
        }
    }
}
