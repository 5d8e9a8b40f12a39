//! Work that blocks, away from the threads that run futures.

use crate::types::{Error, ErrorCode};
use crate::{Cpu, error};

/// Runs `work`, of any length, on a thread that may block; its CPU time is the run's. When the future is dropped, the work goes on, and what it gives is
/// dropped there.
///
/// # Errors
/// Those of `work`; `other` where it panicked.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let cpu = Cpu::current();
    let work = move || {
        let _counted = cpu.as_ref().map(Cpu::enter);
        work()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(failed) => Err(error(ErrorCode::Other, format!("a worker thread ended early: {failed}"))),
    }
}
