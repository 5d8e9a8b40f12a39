//! This process as the host of runs: signals, and the end of the process when a run cannot be ended.

use crate::args::RunOptions;
use crate::ending::{EXIT_SIGNAL_BASE, PARTING, conclude, verdict};
use crate::outputs::Outputs;
use crate::prepare::Prepared;
use anyhow::{Context, Result};
use assay_capability_api::{Run, Shutdown, lock};
use assay_runner::{Input, Late, RunOutcome, Runner, Waker};
use signal_hook::SigId;
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

/// Runs a script, and tells how it ended.
pub(crate) fn execute(prepared: Prepared, options: &RunOptions) -> Result<u8> {
    let run = prepared.spec.run.clone();
    let outputs = Outputs::open(&run, options)?;
    let options = options.clone();
    let host = Host::new(move |run, outcome| Ok(conclude(run, outcome, &options, &outputs)))?;
    let outcome = host.run(prepared)?;
    host.conclude(&run, &outcome)
}

/// For work that is still under way on other threads when a run has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// Tells how a run ended and gives the exit code; on another thread where its own does not come to it.
type Tell = dyn Fn(&Run, &RunOutcome) -> Result<u8> + Send + Sync;

/// What runs scripts in this process, one at a time.
pub(crate) struct Host {
    runner: Runner,
    reactor: tokio::runtime::Runtime,
    tell: Arc<Tell>,
    watched: Watched,
}

impl Host {
    pub(crate) fn new(
        tell: impl Fn(&Run, &RunOutcome) -> Result<u8> + Send + Sync + 'static,
    ) -> Result<Host> {
        let runner = Runner::new(1).map_err(anyhow::Error::msg)?;
        let reactor =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let tell: Arc<Tell> = Arc::new(tell);
        let parting = tell.clone();
        runner.on_overdue(Box::new(move |late| overdue(late, parting.clone())));
        Ok(Host { runner, reactor, tell, watched: Watched::default() })
    }

    /// Runs a script to its end, or until a signal ends it.
    pub(crate) fn run(&self, prepared: Prepared) -> Result<RunOutcome> {
        let Prepared { script, input, mut spec } = prepared;
        let waker = self.runner.waker();
        let shutdown = watched_shutdown(&spec.run, &waker);
        if matches!(input, Input::Console(_)) {
            spec.run.signals.end_lines();
        }
        self.watched.watch(&spec.run, &shutdown, &waker)?;
        spec.services.offer(Arc::new(shutdown));
        Ok(self.reactor.block_on(self.runner.run(&script, input, spec)))
    }

    /// Blocking work that a script left behind must not hold the process for long; what it made is removed when it ends.
    pub(crate) fn leave(self) {
        self.reactor.shutdown_timeout(PATIENCE);
        // The process ends now, which frees the engine and its instances faster than they free themselves.
        std::mem::forget(self.runner);
    }

    /// Leaves, and tells how the last run ended.
    pub(crate) fn conclude(self, run: &Run, outcome: &RunOutcome) -> Result<u8> {
        let tell = self.tell.clone();
        self.leave();
        tell(run, outcome)
    }
}

/// What the operating system tells the handlers of a run, until the next run begins.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Vec<SigId>>>);

impl Watched {
    fn ids(&self) -> MutexGuard<'_, Vec<SigId>> {
        lock(&self.0)
    }

    /// Signals are put into the run, where the watchdog finds them. One that comes before the last is dealt with ends
    /// the process.
    fn watch(&self, run: &Run, shutdown: &Shutdown, waker: &Waker) -> Result<()> {
        for id in self.ids().drain(..) {
            signal_hook::low_level::unregister(id);
        }
        let always = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        let (signals, shutdown, waker, watched) =
            (run.signals.clone(), shutdown.clone(), waker.clone(), self.clone());
        let register = move |signal| {
            let (signals, shutdown, waker) = (signals.clone(), shutdown.clone(), waker.clone());
            let on_signal = move || {
                if !signals.raise(signal, shutdown.is_held()) {
                    signal_hook::low_level::exit(EXIT_SIGNAL_BASE + signal);
                }
                waker.wake();
            };
            // SAFETY: the handler touches atomics, writes to an eventfd and calls _exit, all async-signal-safe.
            unsafe { signal_hook::low_level::register(signal, on_signal) }
        };
        for signal in always {
            let id = register(signal).context("signals cannot be watched")?;
            self.ids().push(id);
        }
        let known = Mutex::new(BTreeSet::from(always));
        run.signals.set_watch(move |signal| {
            let mut known = lock(&known);
            if !known.contains(&signal) {
                watched.ids().push(register(signal)?);
                known.insert(signal);
            }
            Ok(())
        });
        Ok(())
    }
}

/// A host function holds up a run that had to end: the process ends instead, and tells the same.
fn overdue(mut late: Late, tell: Arc<Tell>) {
    let outcome = RunOutcome::stopped(late.why.clone(), &late.run);
    let code = verdict(&outcome).0;
    let (sender, told) = mpsc::sync_channel(1);
    // What holds the run up may hold what is needed here too: a lock, a file system, a reader. So another thread tries,
    // and is not waited for.
    let parting = move || {
        late.flush();
        let code = tell(&late.run, &outcome).unwrap_or(code);
        // The process may be at its end already.
        let _ = sender.send(code);
    };
    let code = match std::thread::Builder::new().name("parting".into()).spawn(parting) {
        Ok(_) => told.recv_timeout(PARTING).unwrap_or(code),
        Err(_) => code,
    };
    signal_hook::low_level::exit(code.into());
}

/// What asks a script that serves to end. A thread of its own watches, because the script may compute when the
/// signal comes; after the grace it ends the run, whatever the script does.
fn watched_shutdown(run: &Arc<Run>, waker: &Waker) -> Shutdown {
    let (pending, waker, own) = (run.signal.clone(), waker.clone(), run.signals.clone());
    Shutdown::watched(move |shutdown| {
        let shutdown = shutdown.clone();
        let signals = Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]);
        let watch = move || {
            let Ok(mut signals) = signals else { return };
            let Some(signal) = signals.forever().find(|signal| !own.ends_line(*signal)) else { return };
            // What the script handles itself it is told before what serves ends.
            own.look(Instant::now());
            shutdown.request();
            std::thread::sleep(shutdown.grace());
            pending.store(signal.unsigned_abs(), Ordering::Relaxed);
            waker.wake();
        };
        if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(watch) {
            tracing::error!(%error, "no thread to watch signals; the script cannot end in good order");
        }
    })
}
