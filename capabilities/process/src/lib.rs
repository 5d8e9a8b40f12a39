//! Starting programs: the capability `process`, and what `shell`, `pty` and others that run programs share.
//!
//! Every program of a run is a child of the run's [`supervisor`], which ends all of them with the run. Which
//! program is meant and whether it is granted is decided in [`program`]; what it gets in [`prepare`].

mod children;
mod command;
mod environment;
mod host;
mod list;
pub mod prepare;
mod processes;
mod program;
mod shells;
pub mod stream;
pub mod supervisor;
#[cfg(test)]
mod tests;

pub use children::{Children, Known};
pub use command::{Command, Finished, MAX_OUTPUT};
pub use environment::VariableScope;
pub use processes::{Child, Exit, Processes, Start};
pub use program::{Executable, Program, ProgramScope, command as command_of, find};
pub use shells::Shells;
pub use supervisor::wire::Reach;

use assay_capability_api::types::Error;
use assay_capability_api::{
    Capability, Ctx, Denied, Determinism, GrantError, Linker, Literal, Need, Scope, ScopeForm, Target,
};
use assay_capability_fs::needs;
use bindings::assay::host::process as wit;
use std::path::Path;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/process@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/process@0.1.0.child": crate::host::Handle,
        },
    });
}

type Outcome<T> = std::result::Result<T, Error>;

/// The name of this capability in grants.
const PROCESS: &str = "process";

/// The capability `process`.
pub struct Process;

/// What a function that starts programs needs of the directory in its option `cwd`.
pub const fn cwd(function: &'static str) -> Need {
    needs::read_option(function, "cwd")
}

/// A stream that goes to a file; the words stand for what is none.
fn output(place: &str) -> Option<String> {
    let is_file = !matches!(place, "inherit" | "null" | "pipe" | "stdout");
    is_file.then(|| format!("write:{place}"))
}

impl Capability for Process {
    fn name(&self) -> &'static str {
        PROCESS
    }

    fn summary(&self) -> &'static str {
        "starting programs, and ending them with the run"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "NAME",
                grants: "one program, looked up on the PATH when the run starts; this trusts the program with whatever \
                         its arguments can make it do",
                example: "process=git",
            },
            ScopeForm { form: "PATH", grants: "the program of this path", example: "process=/usr/bin/git" },
            ScopeForm {
                form: "env:NAME",
                grants: "setting an environment variable of granted programs; with stars every one that fits, but none \
                         that loads code into any program (LD_*, PATH, BASH_ENV and the like)",
                example: "process=env:MYAPP_*",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, base: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        match VariableScope::parse(PROCESS, text) {
            Some(variable) => Ok(Box::new(variable?)),
            None => Ok(Box::new(ProgramScope::parse(PROCESS, text, base)?)),
        }
    }

    fn denied_with(&self, other: &str, scope: Option<&str>, _: &Path) -> Denied {
        match (other, scope) {
            ("shell", None) => Denied::Part(Box::new(Shells::of_this_machine())),
            _ => Denied::Nothing,
        }
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("process.sleep", Literal::Free),
            Need::new("process.spawn", Literal::PROGRAM),
            Need::new("process.run", Literal::PROGRAM),
            Need::new("process.exec", Literal::PROGRAM),
            Need::new("process.is_running", Literal::NAME),
            Need::new("process.wait_idle", Literal::NAME),
            Need::new("process.list", Literal::Whole),
            // Of processes that the script has started; others need all of it.
            Need::new("process.*", Literal::Any),
            cwd("process.*"),
            needs::read_option("process.spawn", "stdin.file"),
            needs::write_option("process.spawn", "stdout.file"),
            needs::write_option("process.spawn", "stderr.file"),
            needs::by("process.spawn", Literal::Option("stdout", output)),
            needs::by("process.spawn", Literal::Option("stderr", output)),
        ];
        NEEDS
    }

    /// What is about a handle that the run has, or lets go of it.
    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "[method]child.pid" | "[method]child.close-stdin" => Determinism::Pure,
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        let name = match (function, args) {
            ("running", [Val::List(names), ..]) => match names.first() {
                Some(Val::String(name)) if !name.is_empty() => Some(name.clone()),
                _ => None,
            },
            _ => program::command(args),
        };
        match (name, function) {
            (Some(name), _) => Target { what: format!("{PROCESS} {name}"), scope: Some(name) },
            (None, "all") => Target { what: format!("{PROCESS}.list"), scope: None },
            (None, _) => Target { what: format!("{PROCESS}.{function}"), scope: None },
        }
    }
}
