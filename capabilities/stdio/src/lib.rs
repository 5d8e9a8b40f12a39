//! Standard input, output and error of a run. Always granted; output counts against its limit.

mod input;

use assay_capability_api::{Capability, Counter, Ctx, Determinism, HostResult, Linker, Stop, io_error};
use bindings::assay::host::stdio::{self, Target};
pub use input::Input;
use std::io::{self, ErrorKind};
use wasmtime::component::{Accessor, HasSelf};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/stdio@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: {
            "assay:host/stdio.write": async | trappable,
            "assay:host/stdio.flush": async | trappable,
            default: trappable,
        },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// Output that is written without asking the budget, bytes.
const SHORT: usize = 64 << 10;

/// The capability `stdio`.
pub struct Stdio;

impl Capability for Stdio {
    fn name(&self) -> &'static str {
        "stdio"
    }

    fn summary(&self) -> &'static str {
        "standard input, output and error"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "write" | "flush" => Determinism::Program,
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        stdio::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

fn name(to: Target) -> &'static str {
    match to {
        Target::Stdout => "standard output",
        Target::Stderr => "standard error",
    }
}

/// A failed write as the script sees it; a reader that has gone (`assay run x.lua | head`) ends the run
/// without a word, as it ends other programs.
fn outcome(to: Target, result: io::Result<()>) -> HostResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(failed) if failed.kind() == ErrorKind::BrokenPipe => Err(Stop::unread().into()),
        Err(failed) => Err(io_error(&format!("writing to {}", name(to)), &failed).into()),
    }
}

impl stdio::Host for Ctx {
    async fn write(&mut self, to: Target, bytes: Vec<u8>) -> HostResult<()> {
        self.run.spend(Counter::Output, bytes.len() as u64)?;
        // What is short is written whatever else the run holds: a message about that, above all.
        let held = if bytes.len() > SHORT { bytes.len() } else { 0 };
        let _held = self.run.budget.take(held)?;
        let to_stderr = matches!(to, Target::Stderr);
        // What came first is read first, also where the two streams are one.
        let written = match to_stderr {
            true => self.drain().await,
            false => Ok(()),
        };
        let written = written.and_then(|()| self.output.write(to_stderr, &bytes));
        match written {
            Ok(()) => outcome(to, self.settle().await),
            failed => outcome(to, failed),
        }
    }

    async fn flush(&mut self, to: Target) -> HostResult<()> {
        outcome(to, self.drain().await)
    }
}

impl stdio::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn read(accessor: &Accessor<Ctx, Self>, max: u32) -> HostResult<Vec<u8>> {
        let (flushed, input, run) = accessor.with(|mut access| {
            let ctx = access.get();
            // A question is to be seen before the answer is waited for.
            (ctx.output.flush().map(drop), ctx.state::<Input>().clone(), ctx.run.clone())
        });
        outcome(Target::Stdout, flushed)?;
        let read = input.read(max as usize).await;
        let bytes = read.map_err(|failed| io_error("reading standard input", &failed))?;
        run.count_bytes(bytes.len())?;
        Ok(bytes)
    }
}
