//! Further instances of a script that serves (`instances` of `http.serve`), each on a thread of its own.

use crate::run::{Prepared, explain};
use assay_capability_api::types::Error;
use assay_capability_api::{Limit, Prepare, Shutdown, Stop, io_error};
use assay_runtime::{Ended, Outcome, Runtime};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Before an instance that failed is started again. Doubled each time, so that a script that always fails costs next
/// to nothing.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// An instance that has lived so long did not fail at its start: the pause begins anew.
const SOUND: Duration = Duration::from_secs(30);
/// For the others to end after the first instance has.
const PATIENCE: Duration = Duration::from_secs(3);

/// What it takes to run the script of a run once more.
pub(crate) struct Replicas(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    script: Prepared,
    shutdown: Shutdown,
    state: Mutex<State>,
    /// Tells of a change of `state`.
    changed: Condvar,
    ended: Notify,
}

#[derive(Default)]
struct State {
    running: usize,
    /// The first instance is over.
    over: bool,
    /// How an instance ended the whole run.
    outcome: Option<Outcome>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Replicas {
    pub(crate) fn new(runtime: Runtime, script: Prepared, shutdown: Shutdown) -> Replicas {
        let state = Mutex::default();
        let (changed, ended) = (Condvar::new(), Notify::new());
        Replicas(Arc::new(Shared { runtime, script, shutdown, state, changed, ended }))
    }

    /// The same as a capability finds them.
    pub(crate) fn port(&self) -> Arc<dyn assay_capability_api::Replicas> {
        Arc::new(Replicas(self.0.clone()))
    }

    /// Resolves when one of them ends the whole run.
    pub(crate) async fn outcome(&self) -> Outcome {
        loop {
            let ended = self.0.ended.notified();
            if let Some(outcome) = self.0.state().outcome.take() {
                return outcome;
            }
            ended.await;
        }
    }

    /// Waits for them to end after the first instance has, but not for ever.
    pub(crate) fn join(&self) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.0.state();
        state.over = true;
        self.0.changed.notify_all();
        while state.running > 0 {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl assay_capability_api::Replicas for Replicas {
    fn start(&self, count: u32, prepare: Prepare) -> Result<(), Error> {
        for _ in 0..count {
            let (shared, prepare) = (self.0.clone(), prepare.clone());
            self.0.state().running += 1;
            let started = thread::Builder::new().name("instance".into()).spawn(move || {
                shared.keep_running(&prepare);
                shared.state().running -= 1;
                shared.changed.notify_all();
            });
            if let Err(failure) = started {
                self.0.state().running -= 1;
                return Err(io_error("cannot start another instance of the script", &failure));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Runs the script; once more when it failed, for one request must not take an instance away.
    fn keep_running(&self, prepare: &Prepare) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let outcome = match self.run_once(prepare) {
                Ok(outcome) => outcome,
                Err(failure) => return tracing::error!(%failure, "an instance of the script cannot run"),
            };
            let again = match &outcome.ended {
                Ended::Returned(_) => return,
                Ended::Failed(_) | Ended::Broken(_) | Ended::Stopped(Stop::Limit(Limit::Memory)) => true,
                Ended::Stopped(_) => false,
            };
            if !again {
                self.state().outcome = Some(outcome);
                return self.ended.notify_one();
            }
            if began.elapsed() >= SOUND {
                pause = PAUSE;
            }
            if let Some(message) = explain(&outcome, &self.script.run.limits) {
                tracing::error!(
                    "an instance of the script failed and is started again in {pause:?}: {}",
                    message.trim_end()
                );
            }
            let state = self.state();
            let waited = self.changed.wait_timeout_while(state, pause, |state| !state.over);
            if waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.over {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn run_once(&self, prepare: &Prepare) -> std::io::Result<Outcome> {
        let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Prepared { job, run, setup, sink } = self.script.clone();
        let set_up = |ctx: &mut assay_capability_api::Ctx| {
            setup.apply(ctx);
            ctx.set_state(self.shutdown.clone());
            prepare(ctx);
        };
        let outcome = reactor.block_on(self.runtime.run(job, run, sink.open(), set_up, None));
        reactor.shutdown_background();
        Ok(outcome)
    }
}
