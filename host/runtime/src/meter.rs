//! The CPU time of a run, and the limits that are looked at while it computes.

use assay_capability_api::{Limit, Output, Run, Stop};
use rustix::time::{ClockId, clock_gettime};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

fn thread_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Counts the CPU time of the thread while the run is polled on it.
pub(crate) struct Meter {
    run: Arc<Run>,
    /// The thread's clock when the poll that is under way began.
    began: AtomicU64,
}

impl Meter {
    pub(crate) fn new(run: Arc<Run>) -> Meter {
        Meter { run, began: AtomicU64::new(0) }
    }

    /// Nanoseconds used so far, also in the middle of a poll, on its own thread.
    pub(crate) fn nanoseconds(&self) -> u64 {
        let now = thread_nanoseconds().saturating_sub(self.began.load(Ordering::Relaxed));
        self.run.usage.cpu_nanoseconds.load(Ordering::Relaxed) + now
    }

    /// Whether the run must end now; called while it computes.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let run = &self.run;
        let signal = run.signal.load(Ordering::Relaxed);
        if signal != 0 {
            return Err(Stop::Signal(i32::try_from(signal).unwrap_or(15)));
        }
        if run.limits.timeout.is_some_and(|timeout| run.started.elapsed() >= timeout) {
            return Err(Stop::Limit(Limit::Timeout));
        }
        if run.limits.cpu.is_some_and(|cpu| u128::from(self.nanoseconds()) >= cpu.as_nanos()) {
            return Err(Stop::Limit(Limit::Cpu));
        }
        Ok(())
    }
}

/// A future whose polls are counted; when it waits, the output that was gathered is written.
pub(crate) struct Metered<F> {
    pub(crate) meter: Arc<Meter>,
    pub(crate) output: SharedOutput,
    pub(crate) future: Pin<Box<F>>,
}

/// The output of a run, reachable from the script's calls and from its poll loop.
#[derive(Clone)]
pub(crate) struct SharedOutput(Arc<Mutex<Buffered>>);

struct Buffered {
    output: Box<dyn Output>,
    /// Why what was gathered could not be written while the script waited. Its next call gets it.
    failed: Option<io::Error>,
}

impl SharedOutput {
    pub(crate) fn new(output: Box<dyn Output>) -> SharedOutput {
        SharedOutput(Arc::new(Mutex::new(Buffered { output, failed: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes what was gathered, while no call of the script is there to be told of a failure.
    fn write_gathered(&self) {
        let mut buffered = self.lock();
        if let Err(error) = buffered.output.flush() {
            buffered.failed.get_or_insert(error);
        }
    }
}

impl Output for SharedOutput {
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        let mut buffered = self.lock();
        match buffered.failed.take() {
            Some(error) => Err(error),
            None => buffered.output.write(stderr, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffered = self.lock();
        match buffered.failed.take() {
            Some(error) => Err(error),
            None => buffered.output.flush(),
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_nanoseconds();
        self.meter.began.store(began, Ordering::Relaxed);
        let polled = self.future.as_mut().poll(context);
        let used = thread_nanoseconds().saturating_sub(began);
        self.meter.run.usage.cpu_nanoseconds.fetch_add(used, Ordering::Relaxed);
        if polled.is_pending() {
            self.output.write_gathered();
        }
        polled
    }
}
