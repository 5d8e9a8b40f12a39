//! Failures: which of them are worth another attempt, and how a registry's error is shown.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use std::time::{Duration, SystemTime};

pub fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

pub fn invalid_data(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidData, message)
}

pub fn unsupported(message: impl Into<String>) -> Error {
    error(ErrorCode::Unsupported, message)
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Trouble {
    /// The next attempt would fail the same way.
    Final(Error),
    /// Another attempt may succeed, not before `after` where the server says so.
    Passing { error: Error, after: Option<Duration> },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        match error.code {
            ErrorCode::Unavailable => Trouble::Passing { error, after: None },
            _ => Trouble::Final(error),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Final(error) | Trouble::Passing { error, .. } => error,
        }
    }
}

/// The failure that a status from 400 on stands for. `body` is what the server says about it.
pub fn refused(subject: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> Trouble {
    let code = match status {
        401 | 403 => ErrorCode::Permission,
        404 => ErrorCode::NotFound,
        405 => ErrorCode::Unsupported,
        413 => ErrorCode::Limit,
        408 | 429 | 500.. => ErrorCode::Unavailable,
        _ => ErrorCode::Other,
    };
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    let mut message = format!("{subject}: the server answered {status} {reason}").trim_end().to_string();
    if let Some(said) = said(body) {
        message.push_str(": ");
        message.push_str(&said);
    }
    let error = error(code, message);
    match status {
        408 | 429 | 500 | 502 | 503 | 504 => Trouble::Passing { error, after: retry_after(headers) },
        _ => Trouble::Final(error),
    }
}

/// The errors in a registry's answer (OCI distribution specification, "Error Codes"), made harmless for a
/// log line.
fn said(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let words: Vec<String> = json
        .get("errors")?
        .as_array()?
        .iter()
        .take(3)
        .filter_map(|error| {
            let field = |name: &str| error.get(name).and_then(|value| value.as_str()).unwrap_or_default();
            let text = format!("{} {}", field("code"), field("message"));
            let text: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            (!text.is_empty()).then_some(text)
        })
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// How long to wait (RFC 9110 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn answers_are_told() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m access"},{"code":"X"}]}"#;
        let error = Error::from(refused("GET x", 403, &HeaderMap::new(), body));
        assert_eq!(error.code, ErrorCode::Permission);
        assert_eq!(error.message, "GET x: the server answered 403 Forbidden: DENIED no[31m access; X");
        for body in [&b""[..], b"<html>", b"[]", br#"{"errors":{}}"#, br#"{"errors":[{}]}"#] {
            let error = Error::from(refused("GET x", 404, &HeaderMap::new(), body));
            assert_eq!(error.message, "GET x: the server answered 404 Not Found");
        }
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            match refused("x", 429, &headers, b"") {
                Trouble::Passing { after, .. } => after,
                Trouble::Final(_) => panic!(),
            }
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(after("Sat, 06 Nov 2094 08:49:37 GMT") > Some(Duration::from_secs(1 << 30)));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }
}
