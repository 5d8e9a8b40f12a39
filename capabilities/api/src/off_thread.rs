//! Work that blocks, away from the threads that run futures.

use crate::types::{Error, ErrorCode};
use crate::{Cpu, error};
use tokio::task::JoinHandle;

/// Starts `work`, of any length, on a thread that may block; its CPU time is that of the run which asks for it. When the
/// handle is dropped, the work goes on, and what it gives is dropped there.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn_counted<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let cpu = Cpu::current();
    tokio::task::spawn_blocking(move || {
        let _counted = cpu.as_ref().map(Cpu::enter);
        work()
    })
}

/// [`spawn_counted`], and waits for the end.
///
/// # Errors
/// Those of `work`; `other` where it panicked.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_counted(work).await {
        Ok(outcome) => outcome,
        Err(failed) => Err(error(ErrorCode::Other, format!("a worker thread ended early: {failed}"))),
    }
}
