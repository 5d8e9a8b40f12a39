//! TLS to servers: whom to trust and who we are.

use crate::pem::{Pem, certificates, private_key};
use crate::verify::{Fingerprint, Roots, Verifier, fingerprint};
use crate::{Origin, cluster, invalid};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Ambient, Run, error, lock, off_thread};
use bytes::Bytes;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::pki_types::ServerName;

pub use tokio_rustls::rustls::ClientConfig;

/// Fingerprints that one call may name.
const MAX_PINS: usize = 64;

/// Settings that are kept ready.
const MAX_CACHED: usize = 32;

/// The PEM texts that settings are made from; two requests with the same share connections.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trust {
    authorities: Option<Bytes>,
    identity: Option<(Bytes, Bytes)>,
    /// The server's certificate must be one of these, and may be any of them.
    pins: Vec<Fingerprint>,
}

impl Trust {
    /// Takes or reads what a script names: authorities, our certificate with its key, which may be in the same text, and
    /// fingerprints of the server's certificate, which is then trusted by them alone.
    ///
    /// # Errors
    /// Those of the files: `denied`, `not_found`...; `limit` for texts that are too long, or where the run's budget does
    /// not hold them; `invalid_argument` for what is no fingerprint.
    pub async fn load(
        run: &Arc<Run>,
        authorities: Option<Pem>,
        identity: Option<(Pem, Option<Pem>)>,
        fingerprints: &[String],
    ) -> Result<Trust, Error> {
        if fingerprints.len() > MAX_PINS {
            return Err(invalid(format!("more than {MAX_PINS} fingerprints of certificates")));
        }
        let pins = fingerprints.iter().map(|text| fingerprint(text)).collect::<Result<_, _>>()?;
        let authorities = match authorities {
            Some(pem) => Some(pem.read(run).await?),
            None => None,
        };
        let identity = match identity {
            Some((certificate, key)) => {
                let certificate = certificate.read(run).await?;
                let key = match key {
                    Some(key) => key.read(run).await?,
                    None => certificate.clone(),
                };
                Some((certificate, key))
            }
            None => None,
        };
        Ok(Trust { authorities, identity, pins })
    }

    /// The same without our own certificate, for another origin than the one it was given for. A fingerprint stays with its
    /// host.
    #[must_use]
    pub fn anonymous(&self, same_host: bool) -> Trust {
        let pins = if same_host { self.pins.clone() } else { Vec::new() };
        Trust { authorities: self.authorities.clone(), identity: None, pins }
    }

    /// Authorities in PEM, for a library that makes its own settings.
    pub fn authorities(&self) -> Option<&Bytes> {
        self.authorities.as_ref()
    }

    /// Our certificate and its key in PEM, likewise.
    pub fn identity(&self) -> Option<&(Bytes, Bytes)> {
        self.identity.as_ref()
    }
}

/// What a server's certificate has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Any.
    Nothing,
    /// One that an authority vouches for, for whatever name.
    Authority,
    /// One that an authority vouches for, with the name of the server.
    #[default]
    Name,
}

/// How certificates are judged that no fingerprint names.
#[derive(Clone, Copy, Default)]
pub struct Rules<'a> {
    /// What is checked.
    pub check: Check,
    /// The authorities that a script names are trusted beside those of the system, not in their place.
    pub system_too: bool,
    /// Where none are named, that of the cluster is trusted beside those of the system.
    pub cluster: Option<&'a Ambient>,
}

/// Settings in use, numbered: a connection made under one is never used under another.
#[derive(Clone)]
pub struct Settings {
    /// Never 0.
    pub id: u64,
    /// For versions 2 and 1.1 of HTTP.
    pub config: Arc<ClientConfig>,
}

/// What settings are made from: whether the authority of the cluster around this process is trusted too.
type Key = (Trust, bool);

/// The settings for HTTP of a run. They hold session tickets, so runs do not share them.
#[derive(Default)]
pub struct Cache {
    entries: Mutex<(u64, Vec<(Key, Settings)>)>,
}

impl Cache {
    /// The settings for `trust` at `origin`, made on first use.
    ///
    /// # Errors
    /// `invalid_argument` where a PEM text has no certificate or key, `unavailable` where the system has
    /// no certificate authorities.
    pub async fn settings(
        &self,
        ambient: &Ambient,
        trust: &Trust,
        origin: &Origin,
    ) -> Result<Settings, Error> {
        let cluster = trust.authorities.is_none() && cluster::is_api(ambient, &origin.host, origin.port);
        let key = (trust.clone(), cluster);
        let ready = |entries: &[(Key, Settings)]| {
            entries.iter().find(|(found, _)| *found == key).map(|(_, settings)| settings.clone())
        };
        if let Some(settings) = ready(&lock(&self.entries).1) {
            return Ok(settings);
        }
        let rules = Rules { cluster: cluster.then_some(ambient), ..Rules::default() };
        let mut config = config(trust, &rules).await?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut entries = lock(&self.entries);
        if let Some(settings) = ready(&entries.1) {
            return Ok(settings);
        }
        entries.0 += 1;
        let settings = Settings { id: entries.0, config: Arc::new(config) };
        if entries.1.len() >= MAX_CACHED {
            entries.1.remove(0);
        }
        entries.1.push((key, settings.clone()));
        Ok(settings)
    }
}

/// Settings of a client.
///
/// # Errors
/// `invalid_argument` where a PEM text has no certificate or key, `unavailable` where the system has no certificate
/// authorities and they are needed.
pub async fn config(trust: &Trust, rules: &Rules<'_>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = match rules.check {
        _ if !trust.pins.is_empty() => Verifier::pinned(trust.pins.clone(), provider.clone()),
        Check::Nothing => Verifier::trusting_all(provider.clone()),
        Check::Authority | Check::Name => {
            let any_name = rules.check == Check::Authority;
            Verifier::trusting(&*roots(trust, rules).await?, any_name, provider.clone())?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|failure| error(ErrorCode::Unsupported, format!("TLS cannot be set up: {failure}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = &trust.identity else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(certificates(certificate, "client_cert")?, private_key(key, "client_key")?)
        .map_err(|failure| invalid(format!("client_cert and client_key cannot be used: {failure}")))
}

/// Shakes hands with the server of a name, or of an address.
///
/// # Errors
/// The stream's; rustls's, wrapped; of the kind `InvalidInput` where `host` is no name for a certificate.
pub async fn connect<S>(stream: S, config: Arc<ClientConfig>, host: &str) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_string();
    let name = ServerName::try_from(host).map_err(|failure| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the host is no name for a certificate: {failure}"),
        )
    })?;
    TlsConnector::from(config).connect(name, stream).await
}

async fn roots(trust: &Trust, rules: &Rules<'_>) -> Result<Arc<Roots>, Error> {
    match (&trust.authorities, rules.cluster) {
        (Some(pem), _) if rules.system_too => with_system(pem, "ca_cert").await,
        (Some(pem), _) => {
            let mut roots = Roots::default();
            add(&mut roots, pem, "ca_cert")?;
            Ok(Arc::new(roots))
        }
        (None, Some(ambient)) => match cluster::authority(ambient).await {
            Some(own) => with_system(&own, "the cluster's ca.crt").await,
            None => system().await,
        },
        (None, None) => system().await,
    }
}

fn add(roots: &mut Roots, pem: &[u8], option: &str) -> Result<(), Error> {
    for certificate in certificates(pem, option)? {
        roots.add(certificate).map_err(|failure| invalid(format!("{option} cannot be used: {failure}")))?;
    }
    Ok(())
}

/// The system's certificate authorities, read when first needed. One process has one set.
async fn system() -> Result<Arc<Roots>, Error> {
    static SYSTEM: OnceCell<Arc<Roots>> = OnceCell::const_new();
    let roots = SYSTEM
        .get_or_try_init(|| async {
            let loaded = off_thread(|| Ok(rustls_native_certs::load_native_certs())).await?;
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

/// The system's authorities and those of a text; one of both will do.
async fn with_system(pem: &[u8], option: &str) -> Result<Arc<Roots>, Error> {
    let mut roots = system().await.map_or_else(|_| Roots::default(), |roots| (*roots).clone());
    add(&mut roots, pem, option)?;
    Ok(Arc::new(roots))
}
