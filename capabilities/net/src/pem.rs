//! Certificates and keys as PEM texts.

use crate::{file, invalid};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use bytes::Bytes;
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes of a PEM file or text; the bundle of a distribution has about 250 KiB.
pub(crate) const MOST: u64 = 4 << 20;

/// What a PEM text takes with what is made from it, for each of its bytes.
const PARSED: usize = 4;

/// A PEM text, or the file that has it.
#[derive(Clone, Debug)]
pub enum Pem {
    Text(Vec<u8>),
    File(String),
}

impl Pem {
    /// The text. It holds what it takes of the run's budget, as it is and as it is parsed.
    ///
    /// # Errors
    /// Those of the file: `denied`, `not_found`...; `limit`.
    pub async fn read(self, run: &Arc<Run>) -> Result<Bytes, Error> {
        match self {
            Pem::Text(text) => kept(run, text),
            Pem::File(path) => {
                let (text, _held) = file::read(run, path, MOST).await?;
                kept(run, text)
            }
        }
    }

    /// The same on this thread, which it blocks.
    ///
    /// # Errors
    /// As for [`Pem::read`].
    pub fn read_blocking(self, run: &Run) -> Result<Bytes, Error> {
        match self {
            Pem::Text(text) => kept(run, text),
            Pem::File(path) => {
                let (text, _held) = file::read_blocking(run, &path, MOST)?;
                kept(run, text)
            }
        }
    }
}

fn kept(run: &Run, text: Vec<u8>) -> Result<Bytes, Error> {
    if text.len() as u64 > MOST {
        let message = format!("a PEM text of {} bytes is too long, at most {MOST} are read", text.len());
        return Err(error(ErrorCode::Limit, message));
    }
    Ok(run.budget.take(PARSED * text.len())?.with(text))
}

/// The certificates of a text, which came as the option `option`.
///
/// # Errors
/// `invalid_argument` where it has none, or one that cannot be read.
pub fn certificates(text: &[u8], option: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|failure| invalid(format!("{option} is not a certificate in PEM: {failure}")))?;
    if certificates.is_empty() {
        return Err(invalid(format!(
            "{option} has no certificate; it must be PEM, -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(certificates)
}

/// The private key of a text, which came as the option `option`.
///
/// # Errors
/// `invalid_argument` where it has none.
pub fn private_key(text: &[u8], option: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|failure| invalid(format!("{option} is not a private key in PEM: {failure}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_pem_is_refused() {
        for text in ["", "not PEM", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
            let failure = certificates(text.as_bytes(), "ca_cert").unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidArgument);
            assert!(failure.message.starts_with("ca_cert "), "{}", failure.message);
            assert!(private_key(text.as_bytes(), "client_key").is_err());
        }
    }
}
