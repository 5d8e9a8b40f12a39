//! What a run is given by the program that starts it.

use assay_capability_api::{Ctx, Output, Run, Services};
use assay_capability_env::Environment;
use assay_capability_modules::Directories;
use assay_capability_stdio::Input;
use std::io;
use std::sync::Arc;

/// Opens the standard output and error of an instance.
pub type Sink = Arc<dyn Fn() -> Box<dyn Output> + Send + Sync>;

/// What a run is given, beside its script: by default nothing of the process around it. Cheap to clone; further
/// instances of a script that serves have the same.
#[derive(Clone)]
pub struct RunSpec {
    /// Its grants, limits and [`assay_capability_api::Ambient`], and what it has used.
    pub run: Arc<Run>,
    /// Variables that it sees without a grant.
    pub variables: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Input,
    /// Where `require` finds modules beside the standard library.
    pub modules: Directories,
    /// `package.path` at its start: where `require` looks through the grants of `fs`.
    pub package_path: String,
    /// Globals that it does not have; dotted paths are fields.
    pub blocked_globals: Vec<String>,
    /// Whether tracebacks show the Lua parts of builtins.
    pub full_tracebacks: bool,
    /// Where its standard output and error go.
    pub output: Sink,
    /// What the program offers to capabilities.
    pub services: Services,
}

impl RunSpec {
    /// One whose script has no input, no modules but the standard library, and whose output goes nowhere.
    pub fn new(run: Run) -> RunSpec {
        RunSpec {
            run: Arc::new(run),
            variables: Vec::new(),
            stdin: Input::default(),
            modules: Directories::default(),
            package_path: String::new(),
            blocked_globals: Vec::new(),
            full_tracebacks: false,
            output: Arc::new(|| Box::new(Nowhere)),
            services: Services::default(),
        }
    }

    /// Puts what capabilities keep into an instance.
    pub(crate) fn prepare(&self, ctx: &mut Ctx) {
        ctx.set_state(self.modules.clone());
        ctx.set_state(self.stdin.clone());
        ctx.set_state(Environment::given(self.variables.iter().cloned()));
    }
}

/// Output that nobody reads.
struct Nowhere;

impl Output for Nowhere {
    fn write(&mut self, _: bool, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}
