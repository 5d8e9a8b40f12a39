//! Large results, which the host keeps until the guest has room for them.

use crate::types::{self, Payload};
use crate::{Ctx, Held};
use std::sync::Arc;
use wasmtime::component::Resource;

/// Bytes of a result that go with it. More of them wait until they are asked for.
const SMALL: usize = 128 << 10;

/// Bytes of a result, and what they take of the run's budget.
pub struct Stored {
    bytes: Vec<u8>,
    _held: Option<Arc<Held>>,
}

impl Ctx {
    /// A result of these bytes. `held` is what they take of the run's budget, for as long as they are here.
    ///
    /// # Errors
    /// A trap: too many resources.
    pub fn payload(&mut self, bytes: Vec<u8>, held: Option<Arc<Held>>) -> wasmtime::Result<Payload> {
        if bytes.len() <= SMALL {
            return Ok(Payload::Small(bytes));
        }
        Ok(Payload::Large(self.table.push(Stored { bytes, _held: held })?))
    }
}

impl types::HostStored for Ctx {
    fn size(&mut self, this: Resource<Stored>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&this)?.bytes.len() as u64)
    }

    fn take(&mut self, this: Resource<Stored>) -> wasmtime::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.table.get_mut(&this)?.bytes))
    }

    fn drop(&mut self, this: Resource<Stored>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
