//! The CPU time of a run, and its output while it waits.

use assay_capability_api::{Output, Run, lock};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

/// A future whose polls are counted as the run's; when it waits, the output that was gathered is written. A panic in it is
/// its error: a bug in a function of the host ends the run that met it, and no other.
pub(crate) struct Metered<F> {
    run: Arc<Run>,
    output: SharedOutput,
    future: Pin<Box<F>>,
    /// Resolves when output that its reader did not take may go on.
    stalled: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<F> Metered<F> {
    pub(crate) fn new(run: Arc<Run>, output: SharedOutput, future: F) -> Metered<F> {
        Metered { run, output, future: Box::pin(future), stalled: None }
    }
}

/// The output of a run, reachable from the script's calls and from its poll loop.
#[derive(Clone)]
pub(crate) struct SharedOutput(Arc<Mutex<Buffered>>);

struct Buffered {
    output: Box<dyn Output>,
    /// Why what was gathered could not be written while the script waited. Its next call gets it.
    failed: Option<io::Error>,
    /// Why something of stdout was not written, for the end: a script need not look at what its writes give.
    lost: Option<io::Error>,
}

impl Buffered {
    /// Notes a failure, which the script is told too.
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.lost.get_or_insert_with(|| copy(error));
        }
        result
    }
}

/// The same error once more.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl SharedOutput {
    pub(crate) fn new(output: Box<dyn Output>) -> SharedOutput {
        SharedOutput(Arc::new(Mutex::new(Buffered { output, failed: None, lost: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.0)
    }

    /// Why something of the output was not written, whether or not the script was told.
    pub(crate) fn lost(&self) -> Option<io::Error> {
        self.lock().lost.take()
    }

    /// Writes what was gathered, while no call of the script is there to be told of a failure. Gives what to wait for
    /// where the reader does not take all of it.
    fn write_gathered(&self) -> Option<Waiting> {
        let mut buffered = self.lock();
        match buffered.output.flush() {
            Ok(true) => None,
            Ok(false) => Some(buffered.output.ready()),
            Err(error) => {
                buffered.lost.get_or_insert_with(|| copy(&error));
                buffered.failed.get_or_insert(error);
                None
            }
        }
    }
}

impl Output for SharedOutput {
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        let mut buffered = self.lock();
        match buffered.failed.take() {
            Some(error) => Err(error),
            None => {
                let written = buffered.output.write(stderr, bytes);
                if stderr { written } else { buffered.note(written) }
            }
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        let mut buffered = self.lock();
        match buffered.failed.take() {
            Some(error) => Err(error),
            None => {
                let flushed = buffered.output.flush();
                buffered.note(flushed)
            }
        }
    }

    fn is_congested(&self) -> bool {
        self.lock().output.is_congested()
    }

    fn ready(&mut self) -> Waiting {
        self.lock().output.ready()
    }
}

/// What a function of the host panicked with.
#[derive(Debug)]
pub(crate) struct Panicked(pub(crate) String);

impl Panicked {
    fn with(payload: &(dyn Any + Send)) -> Panicked {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        Panicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a function of the host panicked: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

impl<T, F: Future<Output = wasmtime::Result<T>>> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let counted = self.run.cpu.enter();
        // What the panic left half done is the run's own: its store is dropped and nobody looks into it.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(context)));
        drop(counted);
        let polled = polled
            .unwrap_or_else(|payload| Poll::Ready(Err(wasmtime::Error::new(Panicked::with(&*payload)))));
        if polled.is_pending() {
            while self.stalled.as_mut().is_none_or(|waiting| waiting.as_mut().poll(context).is_ready()) {
                self.stalled = self.output.write_gathered();
                if self.stalled.is_none() {
                    break;
                }
            }
        }
        polled
    }
}
