//! What went wrong on the way, as the errors that scripts see.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_net::failure;
use std::error::Error as StdError;
use std::time::Duration;
use url::Url;

/// "GET https://host/path": what messages are about. Without user name, password and query, which may
/// be secrets.
pub fn subject(method: &str, url: &Url) -> String {
    format!("{method} {}", without_secrets(url))
}

fn without_secrets(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.authority().rsplit('@').next().unwrap_or_default(), url.path())
}

pub fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

pub fn timeout(subject: &str, what: &str, after: Duration) -> Error {
    error(ErrorCode::Timeout, format!("{subject}: {what} after {} seconds", after.as_secs_f64()))
}

/// A failure of a connection, while it was made or used.
pub fn transport(subject: &str, failure: &(dyn StdError + 'static)) -> Error {
    if let Some(known) = failure::known(subject, failure) {
        return known;
    }
    for hyper in failure::chain(failure).filter_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        // hyper tells this one apart only in words.
        if hyper.is_parse() && hyper.to_string().contains("too large") {
            return error(
                ErrorCode::Limit,
                format!("{subject}: the response has more header fields than are accepted"),
            );
        } else if hyper.is_parse() {
            return error(ErrorCode::InvalidData, format!("{subject}: the answer is not HTTP: {hyper}"));
        } else if hyper.is_incomplete_message() {
            return failure::incomplete(subject);
        }
    }
    failure::transport(subject, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_secrets() {
        let url = Url::parse("https://me:secret@a.example:8443/x?token=secret#y").unwrap();
        assert_eq!(subject("GET", &url), "GET https://a.example:8443/x");
    }
}
