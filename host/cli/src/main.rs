//! The `assay` executable.

mod args;
mod capabilities;
mod explain;
mod grants;
mod logging;
mod modules;
mod output;
mod prompt;
mod repl;
mod replicas;
mod report;
mod run;
mod suite;
mod tool;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use std::io::Write;
use std::process::ExitCode;

/// The command line could not be understood (sysexits.h, EX_USAGE).
pub(crate) const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    // The same executable supervises the programs that scripts start.
    assay_capability_process::supervisor::run_if_asked();
    let arguments = match Arguments::try_parse_from(args::with_file_as_command(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Where even the message cannot be written, the exit code still tells.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    logging::start(&arguments.common);
    match dispatch(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("assay: {error:#}");
            ExitCode::from(error.downcast_ref::<Usage>().map_or(1, |_| EXIT_USAGE))
        }
    }
}

/// A mistake in the command line that clap cannot see: an unknown capability, a missing file.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Shorthand for a [`Usage`] error.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

fn dispatch(arguments: Arguments) -> anyhow::Result<u8> {
    let common = arguments.common;
    match arguments.command {
        Command::Run(run) => run::file(&run, &common),
        Command::Exec(exec) => run::exec(&exec, &common),
        Command::Repl(repl) => repl::repl(&repl, &common),
        Command::Test(test) => suite::run(&test, &common),
        Command::Explain(explain) => explain::explain(&explain),
        Command::Capabilities(list) => capabilities::list(&list),
        Command::Modules(list) => modules::list(&list),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "assay", &mut script);
            print(&script)
        }
        Command::Version { json } => version(json),
    }
}

/// Writes to stdout; a reader that went away is no error.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<u8> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

fn version(json: bool) -> anyhow::Result<u8> {
    let names: Vec<_> = assay_capabilities::ALL.iter().map(|capability| capability.name()).collect();
    let text = if json {
        let version = serde_json::json!({
            "name": "assay",
            "version": env!("CARGO_PKG_VERSION"),
            "lua": "5.5",
            "target": std::env::consts::ARCH.to_string() + "-" + std::env::consts::OS,
            "capabilities": names,
        });
        format!("{version:#}\n")
    } else {
        format!("assay {} (Lua 5.5)\n", env!("CARGO_PKG_VERSION"))
    };
    print(text.as_bytes())
}
