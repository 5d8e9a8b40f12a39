//! TLS settings of a server.

use crate::bindings::assay::host::listen::{Pem as Named, Tls};
use crate::settings::invalid;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use assay_capability_net::Pem;
use assay_capability_net::pem::{certificates, private_key};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

impl From<Named> for Pem {
    fn from(pem: Named) -> Pem {
        match pem {
            Named::Text(text) => Pem::Text(text),
            Named::File(path) => Pem::File(path),
        }
    }
}

/// Reads the certificates and makes what accepts connections. Blocks on the disk.
///
/// # Errors
/// `invalid_argument` where a text is not PEM or the key is not the certificate's; those of the files.
pub fn acceptor(run: &Run, tls: Tls) -> Result<TlsAcceptor, Error> {
    let text = |pem: Named| Pem::from(pem).read_blocking(run);
    let chain = certificates(&text(tls.certificate)?, "tls.cert")?;
    let key = private_key(&text(tls.key)?, "tls.key")?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|failure| error(ErrorCode::Unsupported, format!("TLS cannot be set up: {failure}")))?;
    let builder = match tls.client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&text(pem)?, "tls.client_ca")? {
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
