//! Running a script is a library: [`Runner::run`] takes a [`Script`], its [`Input`] and a [`RunSpec`], and gives a
//! [`RunOutcome`]. The command line, the replicas of a script that serves, tests and other programs all run scripts
//! this way.
//!
//! Nothing is ambient: a run sees of the process around it what its [`RunSpec`] has.

mod outcome;
mod replicas;
mod script;
mod spec;

pub use assay_runtime::{
    Call, Console, ConsoleReply, ConsoleRequest, Ended, Failure, Frame, GRACE, Late, Overdue, Returned, Waker,
};
pub use outcome::{RunOutcome, Used};
pub use script::{Input, Script};
pub use spec::{RunSpec, Sink};

use assay_capability_api::{Capability, Extension, Extensions, Run, Services};
use assay_runtime::{Job, Names, Runtime, Start, What};
use replicas::Replicas;
use std::sync::Arc;

/// What runs scripts. One per process; cheap to clone.
#[derive(Clone)]
pub struct Runner {
    runtime: Runtime,
    extensions: Extensions,
    /// What the guest needs to know of them.
    names: Arc<[Names]>,
}

impl Runner {
    /// Every capability of this build, by name.
    pub fn capabilities() -> &'static [&'static dyn Capability] {
        Runtime::capabilities()
    }

    /// One with room for so many instances at a time. A program whose scripts may start programs calls
    /// `assay_capability_process::supervisor::run_if_asked` first of all in its `main`: it supervises them itself.
    ///
    /// # Errors
    /// When the build has no guest, or memory cannot be reserved; the text says which.
    pub fn new(instances: u32) -> Result<Runner, String> {
        let runtime = Runtime::new(instances).map_err(|error| format!("{error:#}"))?;
        Ok(Runner { runtime, extensions: Extensions(&[]), names: Arc::default() })
    }

    /// The same with capabilities of the program's own.
    #[must_use]
    pub fn with_extensions(self, extensions: &'static [&'static dyn Extension]) -> Runner {
        let names = extensions
            .iter()
            .map(|extension| Names { name: extension.name(), functions: extension.functions() });
        Runner { names: names.collect(), extensions: Extensions(extensions), ..self }
    }

    /// What is done with a run that does not end within [`GRACE`] after it had to. Without it, it is logged.
    pub fn on_overdue(&self, overdue: Overdue) {
        self.runtime.on_overdue(overdue);
    }

    /// Wakes what watches the runs, after a signal was put into one.
    pub fn waker(&self) -> Waker {
        self.runtime.waker()
    }

    /// Runs a script to its end. Nothing that it does makes this fail: how it ended is the result. Needs a tokio
    /// runtime with timers and I/O; a run that is dropped ends at once.
    pub async fn run(&self, script: &Script, input: Input, mut spec: RunSpec) -> RunOutcome {
        let run = spec.run.clone();
        if let Some(missing) = self.missing(&run, &spec.services) {
            return RunOutcome::refused(missing, &run);
        }
        let (mut job, console) = job(script, input, &spec);
        job.extensions = self.names.clone();
        spec.services.offer(Arc::new(self.extensions));
        let replicas = Replicas::new(self.runtime.clone(), job.clone(), spec.clone());
        let mut services = spec.services.clone();
        services.offer::<dyn assay_capability_api::Replicas>(replicas.port());
        let start = Start { run: run.clone(), output: (spec.output)(), services, console };
        let work = self.runtime.run(job, start, |ctx| spec.prepare(ctx));
        let outcome = tokio::select! {
            outcome = work => outcome,
            outcome = replicas.outcome() => outcome,
        };
        replicas.join().await;
        RunOutcome::of(outcome, &run)
    }

    /// What a capability of the run requires and the program does not offer.
    fn missing(&self, run: &Run, services: &Services) -> Option<String> {
        let own = self.extensions.0.iter().map(|extension| *extension as &dyn Capability);
        let demanding = Runner::capabilities().iter().map(|capability| *capability as &dyn Capability);
        let demanding = demanding.chain(own).filter(|capability| !capability.requires().is_empty());
        let mut lacks =
            demanding.filter(|capability| run.grants.reaches(capability.name())).flat_map(|capability| {
                let absent = capability.requires().iter().filter(|required| !required.is_in(services));
                absent.map(|required| (capability.name(), required.name))
            });
        let (capability, service) = lacks.next()?;
        Some(format!("{capability} is granted, but needs {service}, which this program does not offer"))
    }
}

fn job(script: &Script, input: Input, spec: &RunSpec) -> (Job, Option<Arc<dyn Console>>) {
    let (what, console) = match input {
        Input::Arguments(arguments) => (What::Run(arguments), None),
        Input::Call(call) => (What::Call(call), None),
        Input::Console(console) => (What::Repl, Some(console)),
        Input::Check => (What::Check, None),
    };
    let job = Job {
        name: script.chunk().into(),
        source: script.source().clone(),
        arg0: script.arg0().into(),
        what,
        package_path: spec.package_path.clone(),
        blocked_globals: spec.blocked_globals.clone(),
        full_tracebacks: spec.full_tracebacks,
        ..Job::default()
    };
    (job, console)
}
