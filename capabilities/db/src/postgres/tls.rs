//! TLS to PostgreSQL, with what `sslmode` asks for.

use super::wire::Stream;
use crate::errors::about_connect;
use crate::target::TlsMode;
use assay_capability_api::types::Error;
use assay_capability_net::Trust;
use assay_capability_net::tls::{self, Check, ClientConfig, Rules};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    pub async fn new(mode: TlsMode, name: &str, trust: &Trust) -> Result<Tls, Error> {
        let check = match mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => Check::Nothing,
            TlsMode::VerifyCa => Check::Authority,
            TlsMode::VerifyFull => Check::Name,
        };
        let rules = Rules { check, system_too: true, ..Rules::default() };
        let config = tls::config(trust, &rules).await.map_err(about_connect)?;
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
        Ok(Box::new(tls::connect(stream, self.config.clone(), &self.name).await?))
    }
}
