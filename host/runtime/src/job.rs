//! What to run, and as the guest gets it (`job` in `wit/guest.wit`).

use crate::bindings::assay::host::script;
use std::sync::Arc;
use wasmtime::component::{ComponentType, Lower};

/// What to run. Cheap to clone: the source is shared.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The chunk's name in Lua's form: `@file.lua`, `=stdin`.
    pub name: String,
    pub source: Arc<[u8]>,
    /// `arg[0]`.
    pub arg0: String,
    pub what: What,
    /// What the program around the run adds to the builtins.
    pub extensions: Arc<[Names]>,
    /// `package.path` at the start of the run: where modules are found through the grants of `fs`.
    pub package_path: String,
    /// Globals to remove.
    pub blocked_globals: Vec<String>,
    /// Whether tracebacks show the Lua parts of builtins.
    pub full_tracebacks: bool,
}

/// What is done with the source.
#[derive(Clone, Debug)]
pub enum What {
    /// The chunk runs with these arguments, which are in `arg` too.
    Run(Vec<Vec<u8>>),
    /// The chunk runs, and then a function of the module that it returns.
    Call(Call),
    /// Chunks come from the run's [`crate::Console`].
    Repl,
    /// It is only compiled, and fails where it is no Lua.
    Check,
}

impl Default for What {
    fn default() -> What {
        What::Run(Vec::new())
    }
}

/// A function of a module, and what it is called with.
#[derive(Clone, Debug, Default, ComponentType, Lower)]
#[component(record)]
pub struct Call {
    /// Its name; empty where the module is the function itself.
    pub function: String,
    /// A JSON value.
    pub input: String,
}

/// A global table of functions that the program around the run adds.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub struct Names {
    pub name: &'static str,
    pub functions: &'static [&'static str],
}

/// A [`Job`] as the guest gets it. Own types, because generated ones would copy the source for each run.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub struct Lowered {
    mode: Mode,
    name: String,
    source: Arc<[u8]>,
    arg0: String,
    args: Vec<Vec<u8>>,
    call: Option<Call>,
    #[component(name = "memory-limit")]
    memory_limit: u64,
    #[component(name = "host-memory")]
    host_memory: u64,
    #[component(name = "package-path")]
    package_path: String,
    #[component(name = "blocked-globals")]
    blocked_globals: Vec<String>,
    extensions: Arc<[Names]>,
    #[component(name = "tells-lines")]
    tells_lines: bool,
    #[component(name = "full-tracebacks")]
    full_tracebacks: bool,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Mode {
    #[component(name = "run")]
    Run,
    #[component(name = "repl")]
    Repl,
    #[component(name = "check")]
    Check,
}

impl Lowered {
    pub(crate) fn new(job: Job, run: &assay_capability_api::Run) -> Lowered {
        let (mode, args, call) = match job.what {
            What::Run(args) => (Mode::Run, args, None),
            What::Call(call) => (Mode::Run, Vec::new(), Some(call)),
            What::Repl => (Mode::Repl, Vec::new(), None),
            What::Check => (Mode::Check, Vec::new(), None),
        };
        Lowered {
            mode,
            name: job.name,
            source: job.source,
            arg0: job.arg0,
            args,
            call,
            memory_limit: run.limits.memory,
            host_memory: run.budget.limit(),
            package_path: job.package_path,
            blocked_globals: job.blocked_globals,
            extensions: job.extensions,
            tells_lines: run.grants.asks(),
            full_tracebacks: job.full_tracebacks,
        }
    }
}

/// What the guest gives back.
pub type Answer = (Result<script::Outcome, script::Failure>,);
