//! What a coder uses of the run.

use assay_capability_api::types::Error;
use assay_capability_api::{HandleGuard, Held, Run};
use std::sync::Arc;

/// Memory of the run's budget and one of its handles, given back when dropped.
pub struct Share {
    memory: Held,
    _beside: Held,
    _handle: HandleGuard,
}

impl Share {
    /// Takes `memory` bytes for a coder and so many `beside` it, as soon as others have given them back.
    ///
    /// # Errors
    /// `limit` where the run has no handle left, or where nothing was given back for long.
    pub async fn take(run: &Arc<Run>, memory: usize, beside: usize) -> Result<Share, Error> {
        let handle = run.take_handle()?;
        let mut memory = run.budget.take_soon(memory.saturating_add(beside)).await?;
        let beside = memory.split(beside);
        Ok(Share { memory, _beside: beside, _handle: handle })
    }

    /// A share of no bytes, to be grown.
    ///
    /// # Errors
    /// `limit` where the run has no handle left.
    pub fn small(run: &Arc<Run>) -> Result<Share, Error> {
        Ok(Share { memory: run.budget.nothing(), _beside: run.budget.nothing(), _handle: run.take_handle()? })
    }

    /// How many bytes it has for the coder.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Takes more where it has not so many bytes.
    ///
    /// # Errors
    /// `limit`, as where there is no memory for it.
    pub fn reach(&mut self, bytes: usize) -> Result<(), Error> {
        match bytes.checked_sub(self.memory.bytes()) {
            Some(more) => self.memory.grow(more),
            None => Ok(()),
        }
    }
}
