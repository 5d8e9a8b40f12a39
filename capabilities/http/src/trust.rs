//! Whom a request trusts and who we are, as a script says it.

use crate::bindings::assay::host::http::{ClientIdentity, Pem as Named};
use assay_capability_api::Run;
use assay_capability_api::types::Error;
use assay_capability_net::{Pem, Trust};
use std::sync::Arc;

impl From<Named> for Pem {
    fn from(pem: Named) -> Pem {
        match pem {
            Named::Text(text) => Pem::Text(text),
            Named::File(path) => Pem::File(path),
        }
    }
}

/// Takes or reads what a request names.
///
/// # Errors
/// As for [`Trust::load`].
pub async fn load(
    run: &Arc<Run>,
    authorities: Option<Named>,
    identity: Option<ClientIdentity>,
    fingerprints: &[String],
) -> Result<Trust, Error> {
    let identity = identity.map(|identity| (identity.certificate.into(), Some(identity.key.into())));
    Trust::load(run, authorities.map(Pem::from), identity, fingerprints).await
}
