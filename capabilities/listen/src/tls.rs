//! TLS settings of a server.

use crate::bindings::assay::host::listen::{Pem, Tls};
use crate::settings::invalid;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error};
use std::io::Read;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// Bytes of a PEM file.
const MAX_PEM: u64 = 4 << 20;

fn text(run: &Run, pem: Pem) -> Result<Vec<u8>, Error> {
    let path = match pem {
        Pem::Text(text) => return Ok(text),
        Pem::File(path) => path,
    };
    let file = assay_capability_fs::open_read(run, &path)?;
    let mut data = Vec::new();
    file.take(MAX_PEM + 1).read_to_end(&mut data).map_err(|failure| io_error(&path, &failure))?;
    if data.len() as u64 > MAX_PEM {
        return Err(error(ErrorCode::Limit, format!("{path}: the file has more than {MAX_PEM} bytes")));
    }
    Ok(data)
}

fn certificates(pem: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|failure| invalid(format!("tls.{option} is not a certificate in PEM: {failure}")))?;
    if certificates.is_empty() {
        return Err(invalid(format!(
            "tls.{option} has no certificate; it must be PEM, -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(certificates)
}

/// Reads the certificates and makes what accepts connections. Blocks on the disk.
///
/// # Errors
/// `invalid_argument` where a PEM text is none or the key is not the certificate's; those of the files.
pub fn acceptor(run: &Run, tls: Tls) -> Result<TlsAcceptor, Error> {
    let chain = certificates(&text(run, tls.certificate)?, "cert")?;
    let key = PrivateKeyDer::from_pem_slice(&text(run, tls.key)?)
        .map_err(|failure| invalid(format!("tls.key is not a private key in PEM: {failure}")))?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|failure| error(ErrorCode::Unsupported, format!("TLS cannot be set up: {failure}")))?;
    let builder = match tls.client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&text(run, pem)?, "client_ca")? {
                roots
                    .add(certificate)
                    .map_err(|failure| invalid(format!("tls.client_ca cannot be used: {failure}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|failure| invalid(format!("tls.client_ca cannot be used: {failure}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|failure| invalid(format!("tls.cert and tls.key cannot be used: {failure}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
