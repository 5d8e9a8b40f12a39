//! What the coders of one run may use of the host's memory together.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, error};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// MiB for all coders of a run: two of the largest at a time.
const TOTAL: u32 = 264;
/// How long a coder waits for others to end. Calls end soon; streams that a script holds open may not.
const PATIENCE: Duration = Duration::from_secs(30);

/// The memory that is left.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Arc::new(Semaphore::new(TOTAL as usize)))
    }
}

/// A share of the budget and a handle of the run, given back when dropped.
pub struct Share {
    _memory: OwnedSemaphorePermit,
    _handle: HandleGuard,
}

impl Budget {
    /// Takes so many MiB; waits where others have them.
    ///
    /// # Errors
    /// `limit` where the run has no handle left, or where nothing was given back for long.
    pub async fn take(&self, run: &Arc<Run>, mebibytes: u32) -> Result<Share, Error> {
        let handle = run.take_handle()?;
        let taking = self.0.clone().acquire_many_owned(mebibytes.min(TOTAL));
        match tokio::time::timeout(PATIENCE, taking).await {
            Ok(Ok(memory)) => Ok(Share { _memory: memory, _handle: handle }),
            _ => Err(error(
                ErrorCode::Limit,
                format!(
                    "the packers and unpackers of this run use all of their {TOTAL} MiB; finish or close some first"
                ),
            )),
        }
    }
}
