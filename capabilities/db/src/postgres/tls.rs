//! TLS to PostgreSQL, with what `sslmode` asks for.

use super::wire::Stream;
use crate::errors::invalid;
use crate::target::TlsMode;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

/// Whom to trust, and who we are.
pub struct Tls {
    mode: TlsMode,
    name: String,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the certificates; those of the system are asked for only where something is checked.
    ///
    /// # Errors
    /// `invalid_argument` where a PEM text has no certificate or key.
    pub async fn new(
        mode: TlsMode,
        name: &str,
        authority: Option<&[u8]>,
        identity: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Tls, Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => {
                Arc::new(Lenient { provider: provider.clone(), checked: None })
            }
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                let roots = Arc::new(roots(authority).await?);
                let checked =
                    WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().map_err(
                        |why| invalid(format!("db.connect: no certificate authority is known: {why}")),
                    )?;
                match mode {
                    TlsMode::VerifyFull => checked,
                    _ => Arc::new(Lenient { provider: provider.clone(), checked: Some(checked) }),
                }
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| error(ErrorCode::Unsupported, format!("db: TLS cannot be set up: {why}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "client_cert")?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| {
                    invalid(format!("db.connect: client_key is no private key in PEM: {why}"))
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|why| {
                    invalid(format!("db.connect: client_cert and client_key cannot be used: {why}"))
                })?
            }
        };
        Ok(Tls { mode, name: name.into(), config: Arc::new(config) })
    }

    /// The stream, with TLS where the mode and the server want it.
    ///
    /// # Errors
    /// The stream's; of the kind `InvalidData` where TLS fails.
    pub async fn secure(&self, mut stream: tokio::net::TcpStream) -> std::io::Result<Box<dyn Stream>> {
        if self.mode == TlsMode::Disable {
            return Ok(Box::new(stream));
        }
        let mut request = BytesMut::new();
        postgres_protocol::message::frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await?;
        let failed = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
        match (answer, self.mode) {
            ([b'S'], _) => {}
            (_, TlsMode::Prefer) => return Ok(Box::new(stream)),
            _ => return Err(failed("the server has no TLS".into())),
        }
        let name = ServerName::try_from(self.name.clone()).map_err(|why| failed(why.to_string()))?;
        Ok(Box::new(TlsConnector::from(self.config.clone()).connect(name, stream).await?))
    }
}

async fn roots(authority: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let loaded = assay_capability_api::spawn_counted(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|why| {
        error(ErrorCode::Other, format!("db: reading certificate authorities failed: {why}"))
    })?;
    roots.add_parsable_certificates(loaded.certs);
    if let Some(pem) = authority {
        for certificate in certificates(pem, "ca_cert")? {
            roots
                .add(certificate)
                .map_err(|why| invalid(format!("db.connect: ca_cert cannot be used: {why}")))?;
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|why| invalid(format!("db.connect: {option} is no certificate in PEM: {why}")))
}

/// Does not check the name of a server, and its certificate only where it has somebody for it.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    checked: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(checked) = &self.checked else { return Ok(ServerCertVerified::assertion()) };
        match checked.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
