//! Further instances of a script that serves (`instances` of `http.serve`), each on a thread of its own.

use crate::RunOutcome;
use crate::spec::RunSpec;
use assay_capability_api::types::Error;
use assay_capability_api::{Limit, Prepare, Stop, io_error, lock};
use assay_runtime::{Ended, Job, Outcome, Runtime, Start};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Before an instance that failed is started again. Doubled each time, so that a script that always fails costs next
/// to nothing.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// An instance that has lived so long did not fail at its start: the next pause is the first one again.
const SOUND: Duration = Duration::from_secs(30);
/// For the others to end after the first instance has.
const PATIENCE: Duration = Duration::from_secs(3);

/// What it takes to run the script of a run once more.
pub(crate) struct Replicas(Arc<ReplicaSet>);

/// The further instances of a run, and what their threads share.
struct ReplicaSet {
    runtime: Runtime,
    job: Job,
    spec: RunSpec,
    running: watch::Sender<usize>,
    state: Mutex<State>,
    /// Tells of a change of `state`.
    changed: Condvar,
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// The first instance is over.
    over: bool,
    /// How an instance ended the whole run.
    outcome: Option<Outcome>,
}

impl ReplicaSet {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Replicas {
    pub(crate) fn new(runtime: Runtime, job: Job, spec: RunSpec) -> Replicas {
        let (running, state) = (watch::Sender::new(0), Mutex::default());
        let (changed, ended) = (Condvar::new(), Notify::new());
        Replicas(Arc::new(ReplicaSet { runtime, job, spec, running, state, changed, ended }))
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
    pub(crate) async fn join(&self) {
        self.0.state().over = true;
        self.0.changed.notify_all();
        let mut running = self.0.running.subscribe();
        // Those that take longer are left to their own end.
        let _ = tokio::time::timeout(PATIENCE, running.wait_for(|running| *running == 0)).await;
    }
}

impl assay_capability_api::Replicas for Replicas {
    fn start(&self, count: u32, prepare: Prepare) -> Result<(), Error> {
        for _ in 0..count {
            let (shared, prepare) = (self.0.clone(), prepare.clone());
            self.0.running.send_modify(|running| *running += 1);
            let started = thread::Builder::new().name("instance".into()).spawn(move || {
                shared.keep_running(&prepare);
                shared.running.send_modify(|running| *running -= 1);
            });
            if let Err(failure) = started {
                self.0.running.send_modify(|running| *running -= 1);
                return Err(io_error("cannot start another instance of the script", &failure));
            }
        }
        Ok(())
    }
}

impl ReplicaSet {
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
                Ended::Failed(_)
                | Ended::Panicked(_)
                | Ended::Broken(_)
                | Ended::Stopped(Stop::Limit(Limit::Memory)) => true,
                Ended::Stopped(_) => false,
            };
            if !again {
                self.state().outcome = Some(outcome);
                return self.ended.notify_one();
            }
            if began.elapsed() >= SOUND {
                pause = PAUSE;
            }
            let trace = match &outcome.ended {
                Ended::Failed(failure) => failure.traced(),
                _ => String::new(),
            };
            if let Some(problem) = RunOutcome::of(outcome, &self.spec.run).problem(&self.spec.run.limits) {
                let why = format!("{problem}\n{trace}");
                tracing::error!(
                    "an instance of the script failed and is started again in {pause:?}: {}",
                    why.trim_end()
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
        let RunSpec { run, output, services, .. } = self.spec.clone();
        let start = Start { run, output: output(), services, console: None };
        let set_up = |ctx: &mut assay_capability_api::Ctx| {
            self.spec.prepare(ctx);
            prepare(ctx);
        };
        let outcome = reactor.block_on(self.runtime.run(self.job.clone(), start, set_up));
        reactor.shutdown_background();
        Ok(outcome)
    }
}
