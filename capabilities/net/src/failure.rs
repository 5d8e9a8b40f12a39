//! What goes wrong on the way to a server, in words and with what to do.

use crate::verify::Unpinned;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Carried, error, io_error};
use std::error::Error as StdError;
use std::io;
use tokio_rustls::rustls;

/// Every error below `outermost`, itself first. `io::Error` hides what it wraps from `source`.
pub fn chain<'a>(
    outermost: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(outermost), |error| below(*error))
}

fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// An error of a capability, or one of TLS, below `failure`.
pub fn known(subject: &str, failure: &(dyn StdError + 'static)) -> Option<Error> {
    chain(failure).find_map(|error| {
        let own = error.downcast_ref().map(|Carried(own)| own.clone());
        own.or_else(|| error.downcast_ref().map(|failure| tls(subject, failure)))
    })
}

/// A failure of a connection, while it was made or used.
pub fn transport(subject: &str, failure: &(dyn StdError + 'static)) -> Error {
    if let Some(known) = known(subject, failure) {
        return known;
    }
    for io in chain(failure).filter_map(|cause| cause.downcast_ref::<io::Error>()) {
        if io.kind() == io::ErrorKind::UnexpectedEof {
            return incomplete(subject);
        } else if io.kind() == io::ErrorKind::QuotaExceeded && io.get_ref().is_some() {
            // The run's budget, by its meter.
            return error(ErrorCode::Limit, format!("{subject}: {io}"));
        } else if io.get_ref().is_some() {
            continue;
        }
        let mut error = io_error(&format!("{subject}: the connection broke off"), io);
        error.code = ErrorCode::Unavailable;
        return error;
    }
    let innermost = chain(failure).last().map(ToString::to_string).unwrap_or_default();
    error(ErrorCode::Unavailable, format!("{subject}: the connection broke off: {innermost}"))
}

/// The server has hung up in the middle of an answer.
pub fn incomplete(subject: &str) -> Error {
    error(
        ErrorCode::Unavailable,
        format!("{subject}: the server closed the connection before the response was complete"),
    )
}

/// A failure of TLS, with the reason and what to do.
fn tls(subject: &str, failure: &rustls::Error) -> Error {
    error(ErrorCode::InvalidData, format!("{subject}: TLS failed: {}", tls_reason(failure, OWN_AUTHORITY)))
}

/// What to do about a certificate that is its own authority.
const OWN_AUTHORITY: &str = "to trust it for this server, name that very certificate with ca_cert or ca_cert_file, or its \
                             fingerprint: tls = {fingerprint = \"sha256:...\"}";

/// Why a connection of another library was not made, where TLS is why: in words and with what to do. `own_authority` is
/// what to do about a certificate that is its own authority.
pub fn of_tls(failure: &(dyn StdError + 'static), own_authority: &str) -> Option<String> {
    let cause = chain(failure).find_map(|error| error.downcast_ref::<rustls::Error>())?;
    Some(tls_reason(cause, own_authority))
}

fn tls_reason(failure: &rustls::Error, own_authority: &str) -> String {
    use rustls::{Error as Tls, PeerIncompatible as Unlike};
    match failure {
        Tls::InvalidCertificate(failure) => certificate_reason(failure, own_authority),
        Tls::AlertReceived(alert) => alert_reason(*alert),
        Tls::InvalidMessage(_) => {
            "what the server says is no TLS; is this the port of its plain protocol, or a proxy's?".into()
        }
        Tls::PeerIncompatible(
            Unlike::ServerDoesNotSupportTls12Or13
            | Unlike::ServerTlsVersionIsDisabledByOurConfig
            | Unlike::Tls12NotOffered
            | Unlike::Tls12NotOfferedOrEnabled,
        ) => "the server speaks only versions of TLS before 1.2, which are not secure; it must be updated"
            .into(),
        Tls::PeerIncompatible(_) => {
            format!("the server and this program have no way to encrypt in common ({failure})")
        }
        Tls::PeerMisbehaved(_) => format!("the server does not follow the protocol ({failure})"),
        Tls::NoCertificatesPresented => "the server has shown no certificate".into(),
        Tls::DecryptError => "what came cannot be decrypted: it was changed on the way".into(),
        other => other.to_string(),
    }
}

fn certificate_reason(failure: &rustls::CertificateError, own_authority: &str) -> String {
    use rustls::CertificateError as Bad;
    const NEW: &str = "it must get a new one";
    match failure {
        Bad::UnknownIssuer => "the server's certificate comes from an authority that is not trusted; name the \
             authority, or the certificate itself where it is self-signed, with ca_cert or ca_cert_file"
            .into(),
        Bad::Expired | Bad::ExpiredContext { .. } => {
            format!("the server's certificate has expired; {NEW}, or the clock of this machine is wrong")
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; is the clock of this machine right?".into()
        }
        Bad::NotValidForName => "the server's certificate is for another name".into(),
        Bad::NotValidForNameContext { expected, presented } => {
            let names = match presented.as_slice() {
                [] => "for no name at all (subjectAltName)".into(),
                names => format!("for another name: {}", names.join(", ")),
            };
            format!(
                "the server's certificate is {names}, and not for {}; connect by a name that it has",
                expected.to_str()
            )
        }
        Bad::Revoked => format!("the server's certificate was revoked; {NEW}"),
        Bad::BadSignature => {
            "the server's certificate is not signed by the authority that it names; another authority may have the same \
             name, see ca_cert and ca_cert_file"
                .into()
        }
        Bad::BadEncoding => format!("the server's certificate cannot be read; {NEW}"),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            format!("the server's certificate is not made for servers (extendedKeyUsage); {NEW}")
        }
        Bad::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                format!("the server's certificate is that of an authority; {own_authority}")
            }
            Some(webpki::Error::UnsupportedCertVersion) => {
                format!("the server's certificate is not of version 3 of X.509; {NEW}")
            }
            _ if other.0.is::<Unpinned>() => other.0.to_string(),
            _ => format!("the server's certificate is not valid: {failure}"),
        },
        other => format!("the server's certificate is not valid: {other}"),
    }
}

fn alert_reason(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    let why = match alert {
        Alert::CertificateRequired => {
            return "the server asks for a client certificate; give client_cert and client_key".into();
        }
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown => {
            "it does not accept the client certificate; see client_cert and client_key"
        }
        Alert::CertificateExpired => "the client certificate has expired; see client_cert",
        Alert::CertificateRevoked => "the client certificate was revoked; see client_cert",
        Alert::AccessDenied => "the client certificate may not connect; see client_cert",
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            "it has no way to encrypt in common with this program, or wants a client certificate (client_cert)"
        }
        Alert::ProtocolVersion => "it speaks none of the versions 1.2 and 1.3 of TLS",
        Alert::UnrecognisedName => "it does not know the host name",
        Alert::NoApplicationProtocol => "it speaks neither HTTP/2 nor HTTP/1.1 here",
        Alert::InternalError => "it has failed itself",
        other => return format!("the server refused the TLS connection: {other:?}"),
    };
    format!("the server refused the TLS connection: {why}")
}

/// A TLS handshake that was not done.
pub fn handshake(subject: &str, failure: &io::Error) -> Error {
    let closed = matches!(failure.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    if !closed || failure.get_ref().is_some_and(|inner| inner.is::<Carried>() || inner.is::<rustls::Error>())
    {
        return transport(subject, failure);
    }
    error(
        ErrorCode::Unavailable,
        format!(
            "{subject}: TLS failed: the server closed the connection in the handshake; does it speak TLS on this port, \
             and does it want a client certificate (client_cert)?"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_io_errors_wrap_is_found() {
        let own = error(ErrorCode::Denied, "no");
        let wrapped = io::Error::other(assay_capability_api::carry(own));
        assert_eq!(transport("GET x", &wrapped).code, ErrorCode::Denied);
        let tls =
            io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        let error = transport("GET x", &tls);
        assert_eq!(error.code, ErrorCode::InvalidData);
        assert!(error.message.contains("ca_cert"), "{}", error.message);
    }

    #[test]
    fn failures_of_tls_are_words() {
        use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls, InvalidMessage};
        let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
        let other = rustls::OtherError(std::sync::Arc::new(webpki::Error::CaUsedAsEndEntity));
        for (failure, words) in [
            (Tls::InvalidCertificate(Bad::Other(other)), "fingerprint"),
            (Tls::InvalidCertificate(Bad::Expired), "has expired"),
            (
                Tls::InvalidCertificate(Bad::NotValidForNameContext {
                    expected: name,
                    presented: vec!["DnsName(\"b.example\")".into()],
                }),
                "b.example",
            ),
            (Tls::AlertReceived(Alert::CertificateRequired), "client_cert"),
            (Tls::AlertReceived(Alert::ProtocolVersion), "1.2"),
            (Tls::InvalidMessage(InvalidMessage::InvalidContentType), "is no TLS"),
        ] {
            let reason = tls_reason(&failure, OWN_AUTHORITY);
            assert!(reason.contains(words), "{reason}");
        }
    }
}
