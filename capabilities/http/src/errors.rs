//! What went wrong on the way, as the errors that scripts see.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{error, io_error};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;
use tokio_rustls::rustls;
use url::Url;

/// An error of ours on its way through hyper or a decoder.
#[derive(Debug)]
pub struct Carried(pub Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Carried {}

/// Wraps an error of ours for an interface that speaks `io::Error`.
pub fn carry(error: Error) -> std::io::Error {
    std::io::Error::other(Carried(error))
}

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

/// Every error below `outermost`, itself first. `io::Error` hides what it wraps from `source`.
fn chain<'a>(outermost: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(outermost), |error| below(*error))
}

fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// A failure of a connection, while it was made or used.
pub fn transport(subject: &str, failure: &(dyn StdError + 'static)) -> Error {
    for error in chain(failure) {
        if let Some(Carried(error)) = error.downcast_ref() {
            return error.clone();
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return self::tls(subject, tls);
        }
    }
    for cause in chain(failure) {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            // hyper tells this one apart only in words.
            if hyper.is_parse() && hyper.to_string().contains("too large") {
                return error(
                    ErrorCode::Limit,
                    format!("{subject}: the response has more header fields than are accepted"),
                );
            } else if hyper.is_parse() {
                return error(ErrorCode::InvalidData, format!("{subject}: the answer is not HTTP: {hyper}"));
            } else if hyper.is_incomplete_message() {
                return incomplete(subject);
            }
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::UnexpectedEof {
                return incomplete(subject);
            } else if io.kind() == std::io::ErrorKind::QuotaExceeded && io.get_ref().is_some() {
                // The run's budget, by its meter.
                return error(ErrorCode::Limit, format!("{subject}: {io}"));
            } else if io.get_ref().is_some() {
                continue;
            }
            let mut error = io_error(&format!("{subject}: the connection broke off"), io);
            error.code = ErrorCode::Unavailable;
            return error;
        }
    }
    let innermost = chain(failure).last().map(ToString::to_string).unwrap_or_default();
    error(ErrorCode::Unavailable, format!("{subject}: the connection broke off: {innermost}"))
}

fn incomplete(subject: &str) -> Error {
    error(
        ErrorCode::Unavailable,
        format!("{subject}: the server closed the connection before the response was complete"),
    )
}

/// A failure of TLS, with the reason and what to do.
fn tls(subject: &str, failure: &rustls::Error) -> Error {
    use rustls::{AlertDescription, CertificateError as Bad, Error as Tls};
    let reason = match failure {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => {
            "the server's certificate comes from an authority that is not trusted; \
             name the authority with ca_cert or ca_cert_file"
                .to_string()
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_string()
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the server's certificate is not valid yet".to_string()
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "the server's certificate is for another name".to_string()
        }
        Tls::InvalidCertificate(other) => format!("the server's certificate is not valid: {other}"),
        Tls::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks for a client certificate; give client_cert and client_key".to_string()
        }
        Tls::AlertReceived(alert) => format!("the server refused the TLS connection: {alert:?}"),
        other => other.to_string(),
    };
    error(ErrorCode::InvalidData, format!("{subject}: TLS failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_secrets() {
        let url = Url::parse("https://me:secret@a.example:8443/x?token=secret#y").unwrap();
        assert_eq!(subject("GET", &url), "GET https://a.example:8443/x");
    }

    #[test]
    fn what_io_errors_wrap_is_found() {
        let own = error(ErrorCode::Denied, "no");
        let wrapped = std::io::Error::other(carry(own));
        assert_eq!(transport("GET x", &wrapped).code, ErrorCode::Denied);
        let tls =
            std::io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        let error = transport("GET x", &tls);
        assert_eq!(error.code, ErrorCode::InvalidData);
        assert!(error.message.contains("ca_cert"), "{}", error.message);
    }
}
