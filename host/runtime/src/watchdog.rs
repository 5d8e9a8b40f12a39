//! A thread that ends runs at their limits, whatever their own threads do.
//!
//! It is the one place that compares a run with its limits on CPU and wall time and with its signal. A run that must
//! end is told so ([`assay_capability_api::Ending`]): one that waits is dropped at once, one that computes finds out at its
//! next tick or host call. One that does neither for [`GRACE`] is handed to the program that runs it, which ends the process.

use crate::meter::SharedOutput;
use assay_capability_api::{Limit, Output, Run, Stop, lock};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// How long a run may take to end after it was told.
pub const GRACE: Duration = Duration::from_millis(120);
/// The watchdog looks no oftener than this.
const PACE: Duration = Duration::from_millis(5);
/// The longest that it sleeps, so that sums of times stay far from their bounds.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Called with a run that did not end in time.
pub type Overdue = Box<dyn Fn(Late) + Send + Sync>;

/// A run that did not end in time: its thread does something that nothing can interrupt.
pub struct Late {
    pub run: Arc<Run>,
    /// Why it should have ended.
    pub why: Stop,
    output: SharedOutput,
}

impl Late {
    /// Writes what was gathered of the script's output, as far as its reader takes it. Waits for a thread that writes.
    pub fn flush(&mut self) {
        // There is no script any more that could be told of a failure.
        let _ = self.output.flush();
    }
}

/// The watchdog of one runtime. Its thread starts with the first run.
pub(crate) struct Watchdog(Arc<Inner>);

struct Inner {
    runs: Mutex<Runs>,
    /// Wakes the thread; written by signal handlers too.
    wake: OwnedFd,
    quit: AtomicBool,
    overdue: OnceLock<Overdue>,
}

#[derive(Default)]
struct Runs {
    next: u64,
    watched: HashMap<u64, Watched>,
    /// When the thread looks again; none while it is not running or looks now.
    looks_at: Option<Instant>,
    started: bool,
}

struct Watched {
    run: Arc<Run>,
    output: SharedOutput,
    /// When the watchdog found that it must end.
    told: Option<Instant>,
    handed_over: bool,
}

impl Inner {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        lock(&self.runs)
    }

    fn wake(&self) {
        // The counter cannot be full, and nothing else can fail here.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn watch(&self) {
        while !self.quit.load(Ordering::Acquire) {
            let sleep = self.look();
            let timeout = Timespec { tv_sec: sleep.as_secs() as i64, tv_nsec: sleep.subsec_nanos().into() };
            let mut wait = [PollFd::new(&self.wake, PollFlags::IN)];
            if poll(&mut wait, Some(&timeout)).is_ok_and(|ready| ready > 0) {
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            }
        }
    }

    /// Looks at every run; gives how long the thread may sleep.
    fn look(&self) -> Duration {
        let mut late = Vec::new();
        let mut runs = self.runs();
        let now = Instant::now();
        let mut sleep = SLEEP_MAX;
        for watched in runs.watched.values_mut() {
            let why = match watched.run.ending.why() {
                Some(why) => why.clone(),
                None => match due(&watched.run, now) {
                    Ok(left) => {
                        sleep = sleep.min(left);
                        continue;
                    }
                    Err(stop) => {
                        watched.run.ending.end(stop.clone());
                        stop
                    }
                },
            };
            let told = *watched.told.get_or_insert(now);
            match GRACE.checked_sub(now.saturating_duration_since(told)) {
                Some(left) if !left.is_zero() => sleep = sleep.min(left),
                _ if watched.handed_over => {}
                _ => {
                    watched.handed_over = true;
                    late.push(Late { run: watched.run.clone(), why, output: watched.output.clone() });
                }
            }
        }
        let sleep = sleep.max(PACE);
        runs.looks_at = Some(now + sleep);
        drop(runs);
        for late in late {
            match self.overdue.get() {
                Some(overdue) => overdue(late),
                None => {
                    tracing::error!(
                        script = late.run.identity.script,
                        "a run did not end in time: {}",
                        late.why
                    )
                }
            }
        }
        sleep
    }
}

/// How long until a run may have to end, or why it must end now.
fn due(run: &Run, now: Instant) -> Result<Duration, Stop> {
    let signal = run.signal.load(Ordering::Relaxed);
    if signal != 0 {
        return Err(Stop::Signal(i32::try_from(signal).unwrap_or(15)));
    }
    let mut left = SLEEP_MAX;
    if let Some((signal, remains)) = run.signals.look(now) {
        if remains.is_zero() {
            return Err(Stop::Signal(signal));
        }
        left = remains;
    }
    if let Some(timeout) = run.limits.timeout() {
        let remains = timeout.saturating_sub(now.saturating_duration_since(run.started));
        if remains.is_zero() {
            return Err(Stop::Limit(Limit::Timeout));
        }
        left = left.min(remains);
    }
    let accounts = run.account.iter().flat_map(|account| account.chain());
    let bounds = accounts.map(|account| (&account.cpu, account.limits.cpu()));
    for (cpu, limit) in std::iter::once((&run.cpu, run.limits.cpu())).chain(bounds) {
        let Some(limit) = limit else { continue };
        let remains = limit.saturating_sub(Duration::from_nanos(cpu.nanoseconds()));
        if remains.is_zero() {
            return Err(Stop::Limit(Limit::Cpu));
        }
        // More threads may join in meanwhile; half of it is looked at again.
        let threads = u32::try_from(cpu.threads()).unwrap_or(u32::MAX).max(2);
        left = left.min(remains / threads);
    }
    Ok(left)
}

impl Watchdog {
    pub(crate) fn new() -> wasmtime::Result<Watchdog> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| wasmtime::format_err!("no descriptor for the watchdog: {error}"))?;
        Ok(Watchdog(Arc::new(Inner {
            runs: Mutex::default(),
            wake,
            quit: AtomicBool::new(false),
            overdue: OnceLock::new(),
        })))
    }

    /// What is done with a run that does not end. The first that is set stays.
    pub(crate) fn on_overdue(&self, overdue: Overdue) {
        // A second one is a mistake of the program that harms nothing.
        let _ = self.0.overdue.set(overdue);
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.0.clone())
    }

    /// Watches a run until the guard is dropped.
    pub(crate) fn register(&self, run: &Arc<Run>, output: &SharedOutput) -> Registered {
        let now = Instant::now();
        let left = due(run, now).unwrap_or(Duration::ZERO);
        let mut runs = self.0.runs();
        let id = runs.next;
        runs.next += 1;
        runs.watched
            .insert(id, Watched { run: run.clone(), output: output.clone(), told: None, handed_over: false });
        let must_wake = runs.started && runs.looks_at.is_some_and(|at| now + left < at);
        if !std::mem::replace(&mut runs.started, true) {
            let inner = self.0.clone();
            let spawned = std::thread::Builder::new()
                .name("watchdog".into())
                .stack_size(128 << 10)
                .spawn(move || inner.watch());
            if let Err(error) = spawned {
                runs.started = false;
                tracing::error!(%error, "no thread for the watchdog");
                run.ending.end(Stop::Limit(Limit::Timeout));
            }
        }
        drop(runs);
        if must_wake {
            self.0.wake();
        }
        Registered { watchdog: self.0.clone(), id }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.quit.store(true, Ordering::Release);
        self.0.wake();
    }
}

/// A run that is watched.
pub(crate) struct Registered {
    watchdog: Arc<Inner>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.watchdog.runs().watched.remove(&self.id);
    }
}

/// Makes the watchdog look at once.
#[derive(Clone)]
pub struct Waker(Arc<Inner>);

impl Waker {
    /// May be called in a signal handler.
    pub fn wake(&self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::{Grants, Limits, RunState};
    use std::sync::mpsc;

    fn run(limits: Limits) -> Arc<Run> {
        Arc::new(RunState { limits, ..RunState::new(Grants::default(), "/".into()) }.into())
    }

    struct Nowhere;

    impl Output for Nowhere {
        fn write(&mut self, _: bool, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> std::io::Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn a_run_is_told_of_each_limit_and_of_a_signal() {
        let (sender, late) = mpsc::channel();
        let watchdog = Watchdog::new().unwrap();
        watchdog.on_overdue(Box::new(move |late| drop(sender.send(late.why))));
        let reactor = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let output = SharedOutput::new(Box::new(Nowhere));
        let unlimited = run(Limits::default());
        let _first = watchdog.register(&unlimited, &output);

        let waits = run(Limits { timeout: Some(Duration::from_millis(20)), ..Limits::default() });
        let registered = watchdog.register(&waits, &output);
        assert_eq!(reactor.block_on(waits.ending.told()), Stop::Limit(Limit::Timeout));
        drop(registered);

        let computes = run(Limits { cpu: Some(Duration::from_millis(20)), ..Limits::default() });
        let registered = watchdog.register(&computes, &output);
        let busy = computes.cpu.enter();
        while computes.ending.why().is_none() {}
        assert!(computes.cpu.nanoseconds() >= 20_000_000);
        assert_eq!(computes.ending.why(), Some(&Stop::Limit(Limit::Cpu)));
        drop(busy);
        drop(registered);

        // One that does not end is handed over; those that ended were not.
        let stuck = run(Limits::default());
        let _stuck = watchdog.register(&stuck, &output);
        stuck.signal.store(15, Ordering::Relaxed);
        watchdog.waker().wake();
        assert_eq!(late.recv(), Ok(Stop::Signal(15)));
        assert_eq!(unlimited.ending.why(), None);
    }
}
