//! TLS settings: whom to trust and who we are.

use crate::bindings::assay::host::http::{ClientIdentity, Pem};
use crate::cluster;
use crate::errors::invalid;
use crate::files;
use crate::request::Origin;
use crate::verify::{Fingerprint, Roots, Verifier, fingerprint};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Ambient, Run, error};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, crypto};

/// Bytes of a PEM file or text; the bundle of a distribution has about 250 KiB.
const MAX_PEM: u64 = 4 << 20;

/// What a PEM text takes with what is made from it, for each of its bytes.
const PARSED: usize = 4;

/// Fingerprints that one request may name.
const MAX_PINS: usize = 64;

/// Settings that are kept ready.
const MAX_CACHED: usize = 32;

/// The PEM texts that settings are made from; two requests with the same share connections.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Material {
    authorities: Option<Bytes>,
    identity: Option<(Bytes, Bytes)>,
    /// The server's certificate must be one of these, and may be any of them.
    pins: Vec<Fingerprint>,
    /// The authority of the cluster around this process is trusted too.
    cluster: bool,
}

impl Material {
    /// PEM texts that were read already: authorities, and our certificate with its key.
    ///
    /// # Errors
    /// `limit`.
    pub fn new(
        run: &Run,
        authorities: Option<Vec<u8>>,
        identity: Option<(Vec<u8>, Vec<u8>)>,
        fingerprints: &[String],
    ) -> Result<Material, Error> {
        let authorities = authorities.map(|text| kept(run, text)).transpose()?;
        let identity = match identity {
            Some((certificate, key)) => Some((kept(run, certificate)?, kept(run, key)?)),
            None => None,
        };
        Ok(Material { authorities, identity, pins: pins(fingerprints)?, cluster: false })
    }

    /// Takes or reads what a request names.
    ///
    /// # Errors
    /// Those of the files: `denied`, `not_found`...
    pub async fn load(
        run: &Arc<Run>,
        authorities: Option<Pem>,
        identity: Option<ClientIdentity>,
        fingerprints: &[String],
    ) -> Result<Material, Error> {
        let pins = pins(fingerprints)?;
        let authorities = match authorities {
            Some(pem) => Some(text(run, pem).await?),
            None => None,
        };
        let identity = match identity {
            Some(identity) => Some((text(run, identity.certificate).await?, text(run, identity.key).await?)),
            None => None,
        };
        Ok(Material { authorities, identity, pins, cluster: false })
    }

    /// The same without our own certificate, for another origin than the one it was given for. Its fingerprint stays
    /// with its host.
    pub fn anonymous(&self, same_host: bool) -> Material {
        let pins = if same_host { self.pins.clone() } else { Vec::new() };
        Material { authorities: self.authorities.clone(), identity: None, pins, cluster: false }
    }
}

fn pins(fingerprints: &[String]) -> Result<Vec<Fingerprint>, Error> {
    if fingerprints.len() > MAX_PINS {
        return Err(invalid(format!("more than {MAX_PINS} fingerprints of certificates")));
    }
    fingerprints.iter().map(|text| fingerprint(text)).collect()
}

async fn text(run: &Arc<Run>, pem: Pem) -> Result<Bytes, Error> {
    match pem {
        Pem::Text(text) => kept(run, text),
        Pem::File(path) => {
            let (text, _held) = files::read(run, path, MAX_PEM).await?;
            kept(run, text)
        }
    }
}

/// A text, which holds what it takes of the run's budget, as it is and as it is parsed.
fn kept(run: &Run, text: Vec<u8>) -> Result<Bytes, Error> {
    if text.len() as u64 > MAX_PEM {
        let message = format!("a PEM text of {} bytes is too long, at most {MAX_PEM} are read", text.len());
        return Err(error(ErrorCode::Limit, message));
    }
    Ok(run.budget.take(PARSED * text.len())?.with(text))
}

/// Settings in use, numbered: a connection made under one is never used under another.
#[derive(Clone)]
pub struct Settings {
    pub id: u64,
    pub config: Arc<ClientConfig>,
}

/// The settings of a run. They hold session tickets, so runs do not share them.
#[derive(Default)]
pub struct Cache {
    entries: Mutex<(u64, Vec<(Material, Settings)>)>,
}

impl Cache {
    /// The settings for `material` at `origin`, made on first use.
    ///
    /// # Errors
    /// `invalid_argument` where a PEM text has no certificate or key, `unavailable` where the system has
    /// no certificate authorities.
    pub async fn settings(
        &self,
        ambient: &Ambient,
        material: &Material,
        origin: &Origin,
    ) -> Result<Settings, Error> {
        let cluster = material.authorities.is_none() && cluster::is_api(ambient, &origin.host, origin.port);
        let material = &Material { cluster, ..material.clone() };
        let ready = |entries: &[(Material, Settings)]| {
            entries.iter().find(|(key, _)| key == material).map(|(_, settings)| settings.clone())
        };
        if let Some(settings) = ready(&self.lock().1) {
            return Ok(settings);
        }
        let config = Arc::new(build(ambient, material).await?);
        let mut entries = self.lock();
        if let Some(settings) = ready(&entries.1) {
            return Ok(settings);
        }
        entries.0 += 1;
        let settings = Settings { id: entries.0, config };
        if entries.1.len() >= MAX_CACHED {
            entries.1.remove(0);
        }
        entries.1.push((material.clone(), settings.clone()));
        Ok(settings)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Vec<(Material, Settings)>)> {
        self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn build(ambient: &Ambient, material: &Material) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = match &material.authorities {
        _ if !material.pins.is_empty() => Verifier::pinned(material.pins.clone(), provider.clone()),
        Some(pem) => Verifier::trusting(&authorities(pem)?, provider.clone())?,
        None if material.cluster => Verifier::trusting(&*with_cluster(ambient).await?, provider.clone())?,
        None => Verifier::trusting(&*system().await?, provider.clone())?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|failure| error(ErrorCode::Unsupported, format!("TLS cannot be set up: {failure}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &material.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "client_cert")?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|failure| invalid(format!("client_key is not a private key in PEM: {failure}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|failure| invalid(format!("client_cert and client_key cannot be used: {failure}")))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|failure| invalid(format!("{option} is not a certificate in PEM: {failure}")))?;
    if certificates.is_empty() {
        return Err(invalid(format!(
            "{option} has no certificate; it must be PEM, -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(certificates)
}

fn authorities(pem: &[u8]) -> Result<Roots, Error> {
    let mut roots = Roots::default();
    for certificate in certificates(pem, "ca_cert")? {
        roots.add(certificate).map_err(|failure| invalid(format!("ca_cert cannot be used: {failure}")))?;
    }
    Ok(roots)
}

/// The system's certificate authorities, read when first needed. One process has one set.
async fn system() -> Result<Arc<Roots>, Error> {
    static SYSTEM: OnceCell<Arc<Roots>> = OnceCell::const_new();
    let roots = SYSTEM
        .get_or_try_init(|| async {
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(
                |failure| error(ErrorCode::Other, format!("reading certificate authorities: {failure}")),
            )?;
            let mut roots = Roots::default();
            let usable =
                loaded.certs.into_iter().filter(|certificate| roots.add(certificate.clone()).is_ok());
            if usable.count() == 0 {
                let reason = loaded.errors.first().map(|failure| format!(" ({failure})")).unwrap_or_default();
                return Err(error(
                    ErrorCode::Unavailable,
                    format!(
                        "this system has no certificate authorities{reason}; install ca-certificates, \
                         set SSL_CERT_FILE, or name an authority with ca_cert or ca_cert_file"
                    ),
                ));
            }
            Ok(Arc::new(roots))
        })
        .await?;
    Ok(roots.clone())
}

/// The system's authorities and that of the cluster; one of both will do.
async fn with_cluster(ambient: &Ambient) -> Result<Arc<Roots>, Error> {
    let system = system().await;
    let Some(own) = cluster::authority(ambient).await else { return system };
    let mut roots = system.map_or_else(|_| Roots::default(), |roots| (*roots).clone());
    for certificate in certificates(&own, "the cluster's ca.crt")? {
        roots
            .add(certificate)
            .map_err(|failure| invalid(format!("the cluster's ca.crt cannot be used: {failure}")))?;
    }
    Ok(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_pem_is_refused() {
        assert!(authorities(b"").is_err());
        assert!(authorities(b"not PEM").is_err());
        assert!(authorities(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
