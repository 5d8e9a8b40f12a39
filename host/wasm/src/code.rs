//! Making the embedded machine code executable where it lies, without copying it.

use rustix::mm::{MprotectFlags, mprotect};
use wasmtime::error::Context as _;
use wasmtime::{CustomCodeMemory, Result};

/// Protects pages of the executable's own mapping.
pub(crate) struct InPlace;

impl CustomCodeMemory for InPlace {
    fn required_alignment(&self) -> usize {
        rustix::param::page_size()
    }

    fn publish_executable(&self, start: *const u8, len: usize) -> Result<()> {
        // SAFETY: wasmtime owns these pages, holds no reference into them that is written through, and
        // runs them only after this returns. Nothing becomes writable.
        unsafe { mprotect(start.cast_mut().cast(), len, MprotectFlags::READ | MprotectFlags::EXEC) }
            .context("the system does not let the guest's code be executed")
    }

    fn unpublish_executable(&self, start: *const u8, len: usize) -> Result<()> {
        // SAFETY: as above; no code of the region runs any more.
        unsafe { mprotect(start.cast_mut().cast(), len, MprotectFlags::READ) }
            .context("the guest's code cannot be protected again")
    }
}
