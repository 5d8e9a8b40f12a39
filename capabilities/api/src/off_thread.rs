//! Work that blocks, away from the threads that run futures.
//!
//! A panic in such work goes on in who waits for it, as if it had been done there: it ends the run that asked for the work,
//! and no script can catch it. Where nobody waits it ends the work alone.

use crate::Cpu;
use crate::types::Error;
use std::any::Any;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// What work gives once it is done. When this is dropped the work goes on, and what it gives is dropped there.
pub struct OffThread<T>(JoinHandle<Result<T, Error>>);

/// Starts `work`, of any length, on a thread that may block; its CPU time is that of the run which asks for it.
///
/// # Errors
/// Those of `work`, where it is waited for.
///
/// # Panics
/// Outside of a tokio runtime; and who waits for it, where the work did.
pub fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> OffThread<T> {
    let cpu = Cpu::current();
    OffThread(tokio::task::spawn_blocking(move || {
        let _counted = cpu.as_ref().map(Cpu::enter);
        work()
    }))
}

impl<T> Future for OffThread<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(outcome) => Poll::Ready(outcome),
            Err(failed) => lost(failed.try_into_panic().ok()),
        }
    }
}

/// Goes on with the panic of work that was waited for; without one the runtime is about to end.
pub(crate) fn lost(panic: Option<Box<dyn Any + Send>>) -> ! {
    match panic {
        Some(payload) => resume_unwind(payload),
        None => panic!("the thread that did the work ended before it was done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use tokio::runtime::Builder;

    #[test]
    fn a_panic_goes_on_in_who_waits() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let work = |result: fn() -> i32| runtime.block_on(async { off_thread(move || Ok(result())).await });
        assert_eq!(work(|| 7).unwrap(), 7);
        let waits = || work(|| resume_unwind(Box::new("on purpose")));
        let payload = catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        // Where nobody waits it is over with the work.
        runtime.block_on(async { drop(off_thread::<()>(|| resume_unwind(Box::new("on purpose")))) });
    }
}
