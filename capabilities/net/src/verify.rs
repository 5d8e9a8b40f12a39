//! Whether a server's certificate is to be trusted: by the authorities, by itself where it is one of them, or by its
//! fingerprint.

use crate::invalid;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error as Tls, OtherError, RootCertStore, SignatureScheme,
};

/// The SHA-256 of a certificate in DER.
pub type Fingerprint = [u8; 32];

/// Reads `sha256:` and 64 hexadecimal digits, with or without colons between them, as `openssl x509 -fingerprint
/// -sha256` shows them.
///
/// # Errors
/// `invalid_argument`.
pub fn fingerprint(text: &str) -> Result<Fingerprint, Error> {
    let wrong = || {
        invalid(format!(
            "'{}' is not the fingerprint of a certificate; write sha256: and its 64 hexadecimal digits, as \
             `openssl x509 -in cert.pem -noout -fingerprint -sha256` shows them",
            text.escape_debug()
        ))
    };
    let named = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sha256:"));
    let digits: String =
        if named { text[7..].chars().filter(|c| *c != ':').collect() } else { String::new() };
    let mut fingerprint = [0; 32];
    hex::decode_to_slice(digits, &mut fingerprint).map_err(|_| wrong())?;
    Ok(fingerprint)
}

fn fingerprint_of(certificate: &CertificateDer<'_>) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// Certificates that are trusted: as authorities for others, and each for its own server.
#[derive(Clone)]
pub struct Roots {
    authorities: RootCertStore,
    own: HashSet<Fingerprint>,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { authorities: RootCertStore::empty(), own: HashSet::new() }
    }
}

impl Roots {
    /// # Errors
    /// Where it is no certificate that can be used.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), Tls> {
        let fingerprint = fingerprint_of(&certificate);
        self.authorities.add(certificate)?;
        self.own.insert(fingerprint);
        Ok(())
    }
}

/// The certificate is not one of those whose fingerprints were named.
#[derive(Debug)]
pub struct Unpinned(Fingerprint);

impl fmt::Display for Unpinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = hex::encode(self.0);
        write!(
            f,
            "the server has another certificate than the one that is named by its fingerprint: sha256:{found}"
        )
    }
}

impl std::error::Error for Unpinned {}

#[derive(Debug)]
enum Trusted {
    /// What the authorities vouch for, and they themselves.
    Roots { chains: Arc<WebPkiServerVerifier>, own: HashSet<Fingerprint>, any_name: bool },
    /// These certificates, for any issuer, name and time: the one who named them knows the server.
    Pins(Vec<Fingerprint>),
    /// Every one: what is said is encrypted, but nobody knows to whom.
    All,
}

/// Decides about the certificates of servers, for every capability.
#[derive(Debug)]
pub struct Verifier {
    trusted: Trusted,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Trusts what `roots` vouch for, and with `any_name` for every server, not only those that a certificate names.
    ///
    /// # Errors
    /// Where there is nothing that could be trusted.
    pub fn trusting(roots: &Roots, any_name: bool, provider: Arc<CryptoProvider>) -> Result<Verifier, Error> {
        let authorities = Arc::new(roots.authorities.clone());
        let chains = WebPkiServerVerifier::builder_with_provider(authorities, provider.clone())
            .build()
            .map_err(|failure| error(ErrorCode::Other, format!("TLS cannot be set up: {failure}")))?;
        Ok(Verifier { trusted: Trusted::Roots { chains, own: roots.own.clone(), any_name }, provider })
    }

    pub fn pinned(pins: Vec<Fingerprint>, provider: Arc<CryptoProvider>) -> Verifier {
        Verifier { trusted: Trusted::Pins(pins), provider }
    }

    pub fn trusting_all(provider: Arc<CryptoProvider>) -> Verifier {
        Verifier { trusted: Trusted::All, provider }
    }
}

/// Whether the one thing against a certificate is that it may also vouch for others. webpki looks at the time before it
/// looks at that.
fn is_authority(failure: &Tls) -> bool {
    let Tls::InvalidCertificate(CertificateError::Other(OtherError(other))) = failure else { return false };
    matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether the one thing against a certificate is that it is for another server. That is looked at last.
fn is_other_name(failure: &Tls) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(failure, Tls::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Tls> {
        match &self.trusted {
            Trusted::Pins(pins) => {
                let found = fingerprint_of(certificate);
                if pins.contains(&found) {
                    return Ok(ServerCertVerified::assertion());
                }
                Err(Tls::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Unpinned(found))))))
            }
            Trusted::All => Ok(ServerCertVerified::assertion()),
            Trusted::Roots { chains, own, any_name } => {
                match chains.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                    Err(failure) if is_authority(&failure) && own.contains(&fingerprint_of(certificate)) => {
                        if !any_name {
                            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                        }
                        Ok(ServerCertVerified::assertion())
                    }
                    Err(failure) if *any_name && is_other_name(&failure) => {
                        Ok(ServerCertVerified::assertion())
                    }
                    verified => verified,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Tls> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_shows_them() {
        let plain = format!("sha256:{}", "0aff".repeat(16));
        let colons = format!("SHA256:{}", ["0A:FF"; 16].join(":"));
        assert_eq!(fingerprint(&plain).unwrap()[..2], [0x0a, 0xff]);
        assert_eq!(fingerprint(&plain).unwrap(), fingerprint(&colons).unwrap());
        let short = &plain[..plain.len() - 1];
        for text in [
            "",
            "sha256:",
            &plain[7..],
            short,
            "sha1:00",
            &format!("{short}g"),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }
}
