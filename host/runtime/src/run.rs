//! One run of one script, from its store to its end.

use crate::Runtime;
use crate::bindings::assay::host::console::{Reply, Request};
use crate::bindings::assay::host::script;
use crate::control::{MemoryLimit, Steering};
use crate::failure::Failure;
use crate::job::{Answer, Job, Lowered};
use crate::meter::{Metered, Panicked, SharedOutput};
use assay_capability_api::{Counter, Ctx, Limit, Output, Run, Services, Stop};
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use wasmtime::{CallHook, Store, Trap};

/// Bytes that a call may carry beyond what is left of the run's budget. Its function refuses them with an error that says
/// what for; the guest does not make a call that carries more.
pub(crate) const CARRIED: u64 = 8 << 20;

/// What a script returned.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// The values of the chunk, as text.
    pub values: Vec<String>,
    /// The value of the function that was called, as JSON.
    pub result: Option<String>,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// The chunk returned.
    Returned(Returned),
    Failed(Failure),
    Stopped(Stop),
    /// A function of the host panicked, which is a bug of Assay; the log has why under this id.
    Panicked(String),
    /// The guest itself broke, which is a bug of Assay; the instance is gone, the process is not.
    Broken(wasmtime::Error),
}

/// How a run ended, and how many assertions held before.
#[derive(Debug)]
pub struct Outcome {
    pub ended: Ended,
    pub assertions: u64,
    /// Why the last of the output could not be written.
    pub unwritten: Option<std::io::Error>,
}

/// What became of the chunk before, see wit/guest.wit.
#[derive(Clone, Debug)]
pub enum ConsoleReply {
    Start,
    Done(Vec<String>),
    Incomplete,
    Failed(String),
    Candidates(Vec<String>),
}

/// What the guest is asked for, see wit/guest.wit.
#[derive(Clone, Debug)]
pub enum ConsoleRequest {
    Line(Vec<u8>),
    Abandon,
    Complete(String),
}

impl From<ConsoleRequest> for Request {
    fn from(request: ConsoleRequest) -> Self {
        match request {
            ConsoleRequest::Line(line) => Request::Line(line),
            ConsoleRequest::Abandon => Request::Abandon,
            ConsoleRequest::Complete(text) => Request::Complete(text),
        }
    }
}

impl From<Reply> for ConsoleReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Start => ConsoleReply::Start,
            Reply::Done(values) => ConsoleReply::Done(values),
            Reply::Incomplete => ConsoleReply::Incomplete,
            Reply::Failed(message) => ConsoleReply::Failed(message),
            Reply::Candidates(names) => ConsoleReply::Candidates(names),
        }
    }
}

/// Feeds a run with lines.
pub trait Console: Send + Sync {
    /// The next request; none ends the run.
    fn next(&self, last: ConsoleReply) -> Pin<Box<dyn Future<Output = Option<ConsoleRequest>> + Send>>;

    /// What there is to say about a builtin or one of its functions; about the session itself for an empty topic.
    fn help(&self, topic: &str) -> Option<String>;
}

/// What an instance starts with, beside its job.
pub struct Start {
    pub run: Arc<Run>,
    pub output: Box<dyn Output>,
    pub services: Services,
    /// Where the chunks of [`crate::What::Repl`] come from.
    pub console: Option<Arc<dyn Console>>,
}

impl Runtime {
    /// Runs a job to its end. Nothing that the script does makes this fail; how it ended is the result.
    ///
    /// `prepare` sets up what capabilities keep in the run's [`Ctx`].
    pub async fn run(&self, job: Job, start: Start, prepare: impl FnOnce(&mut Ctx)) -> Outcome {
        let Start { run, output, services, console } = start;
        let output = SharedOutput::new(output);
        let mut ctx = Ctx::new(run.clone(), Box::new(output.clone()), services);
        ctx.set_state(Steering::new(console));
        ctx.set_state(MemoryLimit::new(run.clone()));
        prepare(&mut ctx);
        let job = Lowered::new(job, &run);
        let mut store = Store::new(&self.inner.engine, ctx);
        store.limiter(|ctx| ctx.memory_limit());
        // The guest asks before a call that carries much (`control.room`). This is the wall for one that does not ask.
        let carried = run.budget.limit().saturating_add(CARRIED);
        store.set_hostcall_fuel(usize::try_from(carried).unwrap_or(usize::MAX));
        store.call_hook(|store, hook| {
            let run = &store.data().run;
            if matches!(hook, CallHook::CallingHost) && run.spend(Counter::HostCalls, 1).is_err() {
                run.ending.end(Stop::Limit(Limit::HostCalls));
            }
            // A run that makes one host call after another comes to no tick.
            run.ending.check()
        });
        let watched = self.inner.watchdog.register(&run, &output);
        let work = Metered::new(run.clone(), output.clone(), self.execute(&mut store, job, &run));
        let result = tokio::select! {
            biased;
            stop = run.ending.told() => Err(wasmtime::Error::new(stop)),
            result = work => result,
        };
        let ended_well = match &result {
            Ok(result) => result.is_ok(),
            Err(error) => matches!(error.downcast_ref(), Some(Stop::Exit(_))),
        };
        let lost = output.lost().filter(|_| ended_well);
        let unwritten = finish(output, &run).await.err().or(lost);
        let result = unaudited(&run).await.map_or(result, |stop| Err(wasmtime::Error::new(stop)));
        drop(watched);
        let refused = store.data_mut().memory_limit().refused;
        // Whatever the script still had open ends with the store.
        drop(store);
        if let Some(panicked) = result.as_ref().err().and_then(|error| error.downcast_ref::<Panicked>()) {
            let id = run.identity.run.clone();
            tracing::error!(run = id, "internal error {id}: {panicked}");
            return Outcome { ended: Ended::Panicked(id), assertions: 0, unwritten };
        }
        outcome(result, refused, unwritten)
    }

    async fn execute(
        &self,
        store: &mut Store<Ctx>,
        job: Lowered,
        run: &Run,
    ) -> wasmtime::Result<Result<script::Outcome, script::Failure>> {
        let pre = self.linked(&run.grants)?;
        let instance = pre.instantiate_async(&mut *store).await?;
        let run = instance.get_typed_func::<(Lowered,), Answer>(&mut *store, self.inner.run)?;
        let (answer,) =
            store.run_concurrent(async move |accessor| run.call_concurrent(accessor, (job,)).await).await??;
        Ok(answer)
    }
}

/// Writes the last of the output, for as long as the run may live.
async fn finish(mut output: SharedOutput, run: &Run) -> std::io::Result<()> {
    while !output.flush()? {
        tokio::select! {
            biased;
            _ = run.ending.told() => return Ok(()),
            () = output.ready() => {}
        }
    }
    Ok(())
}

/// Why the run does not end as its script did: nobody can read what it did. The script may have been quicker than the news.
async fn unaudited(run: &Run) -> Option<Stop> {
    tokio::select! {
        biased;
        kept = run.audit.kept() => {
            if let Err(failure) = kept {
                return Some(Stop::Unaudited(failure.to_string()));
            }
        }
        stop = run.ending.told() => return Some(stop),
    }
    run.ending.why().filter(|stop| matches!(stop, Stop::Unaudited(_) | Stop::Limit(Limit::Audit))).cloned()
}

/// A script built something so deep that walking through it takes more stack than there is. The guest refuses texts
/// that are nested so; values that a template nests step by step come to it.
fn too_deep() -> Failure {
    Failure {
        message: "stack overflow: a value is nested so deep that the sandbox has no stack to walk through it"
            .into(),
        code: Some("limit".into()),
        ..Failure::default()
    }
}

fn outcome(
    result: wasmtime::Result<Result<script::Outcome, script::Failure>>,
    refused: bool,
    unwritten: Option<std::io::Error>,
) -> Outcome {
    let (ended, assertions) = match result {
        Ok(Ok(outcome)) if unwritten.as_ref().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) => {
            (Ended::Stopped(Stop::unread()), outcome.assertions)
        }
        Ok(Ok(outcome)) => {
            let script::Outcome { values, result, assertions } = outcome;
            (Ended::Returned(Returned { values, result }), assertions)
        }
        Ok(Err(failure)) => {
            let assertions = failure.assertions;
            (Ended::Failed(failure.into()), assertions)
        }
        Err(error) => match error.downcast_ref::<Stop>() {
            Some(stop) => (Ended::Stopped(stop.clone()), 0),
            // A guest that gets no memory aborts, on whichever way it first notices.
            None if refused => {
                tracing::debug!(%error, "the instance broke after its memory was refused");
                (Ended::Stopped(Stop::Limit(Limit::Memory)), 0)
            }
            None if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) => {
                (Ended::Failed(too_deep()), 0)
            }
            None => (Ended::Broken(error), 0),
        },
    };
    Outcome { ended, assertions, unwritten }
}

/// Access to the limiter that [`Runtime::run`] put into the [`Ctx`].
trait Limited {
    fn memory_limit(&mut self) -> &mut MemoryLimit;
}

impl Limited for Ctx {
    fn memory_limit(&mut self) -> &mut MemoryLimit {
        let run = self.run.clone();
        self.state_or(|| MemoryLimit::new(run))
    }
}
