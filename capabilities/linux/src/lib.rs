//! What the Linux kernel tells in /proc about the machine and its processes.

mod parse;
mod process;
mod read;

use assay_capability_api::scope::NameScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Request, Run, Scope, ScopeForm, Target,
    error, off_thread,
};
use bindings::assay::host::linux::{self, Field, Source};
use std::path::Path;
use wasmtime::component::{Accessor, HasSelf, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/linux@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const LINUX: &str = "linux";
/// The capability that tells some of it too.
const OS: &str = "os";
/// The scope of the machine as a whole, and of the process that runs the script.
const SYSTEM: &str = "system";
/// The scope of any process.
const PROCESS: &str = "proc";

/// The capability `linux`.
pub struct Linux;

impl Capability for Linux {
    fn name(&self) -> &'static str {
        LINUX
    }

    fn summary(&self) -> &'static str {
        "what the Linux kernel tells about the machine and its processes"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm {
                form: "system",
                grants: "the machine as a whole, and the process that runs the script",
                example: "linux=system",
            },
            ScopeForm { form: "proc", grants: "any process", example: "linux=proc" },
        ]
    }

    fn scope(&self, text: &str, _: &Path) -> Result<Box<dyn Scope>, GrantError> {
        match text {
            SYSTEM | PROCESS => Ok(Box::new(NameScope::new(text))),
            _ => {
                Err(GrantError::new(format!("linux={text}: the scopes of linux are {SYSTEM} and {PROCESS}")))
            }
        }
    }

    fn needs(&self) -> &'static [Need] {
        const SYSTEM_SCOPE: Literal = Literal::Always(SYSTEM);
        const PROCESS_SCOPE: Literal = Literal::Always(PROCESS);
        const NEEDS: &[Need] = &[
            Need::new("linux.cpu_percent", Literal::Free),
            Need::new("linux.proc_stat", PROCESS_SCOPE),
            Need::new("linux.proc_status", PROCESS_SCOPE),
            Need::new("linux.*", SYSTEM_SCOPE),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        linux::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, _: &str, args: &[Val]) -> Target {
        let about_process = matches!(args, [Val::Enum(source), Val::U32(pid), ..]
            if source.starts_with("process-") && !is_own(*pid));
        let scope = if about_process { PROCESS } else { SYSTEM };
        Target { what: Request::Name(scope).describe(LINUX), scope: Some(scope.into()) }
    }
}

/// What reading one source takes, bytes.
const READ: usize = 256 << 10;

/// Whether a process id means the process that runs the script.
fn is_own(pid: u32) -> bool {
    pid == 0 || pid == std::process::id()
}

/// Checks the grant for one read.
fn check(run: &Run, source: Source, pid: u32) -> Result<(), Error> {
    let of_process = matches!(source, Source::ProcessStat | Source::ProcessStatus);
    if of_process && is_own(pid) {
        // Either scope covers it; where neither is there, the smaller one is asked for.
        let either =
            [SYSTEM, PROCESS].into_iter().find(|scope| run.would_allow(LINUX, &Request::Name(scope)));
        return run.check(LINUX, &Request::Name(either.unwrap_or(SYSTEM)));
    }
    run.check(LINUX, &Request::Name(if of_process { PROCESS } else { SYSTEM }))?;
    // System, version and uptime are what `os.info` tells.
    let told = matches!(source, Source::Kernel | Source::Uptime);
    match told.then(|| run.grants.denial(OS, &Request::Name("system"))).flatten() {
        Some(rule) => Err(run.refuse_by(LINUX, &Request::Name(SYSTEM).describe(LINUX), &rule)),
        None => Ok(()),
    }
}

/// Whether the machine's name may be told: a denial of `os=hostname` takes it back here too.
fn tells_hostname(run: &Run) -> bool {
    !run.grants.denies(OS, &Request::Name("hostname"))
}

impl linux::Host for Ctx {}

impl linux::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn read(accessor: &Accessor<Ctx, Self>, source: Source, pid: u32) -> HostResult<Vec<Vec<Field>>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        // The file, and the rows that it becomes.
        let held = run.budget.take_soon(READ).await?;
        let work = move || {
            let _held = held;
            check(&run, source, pid)?;
            if !cfg!(target_os = "linux") {
                let system = std::env::consts::OS;
                let message = format!("linux: this machine runs {system}, and only Linux has /proc");
                return Err(error(ErrorCode::Unsupported, message));
            }
            read::read(&run, source, pid)
        };
        Ok(off_thread(work).await?)
    }
}

#[cfg(test)]
mod tests;
