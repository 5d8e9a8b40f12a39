//! The `assay` executable.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "a write that fails must not panic")]

mod args;
mod commands;
mod ending;
mod grants;
mod host;
mod logging;
mod output;
mod outputs;
mod port;
mod prepare;
mod prompt;
mod report;
mod tool;
mod words;

use args::Arguments;
use clap::{CommandFactory, FromArgMatches};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The command line could not be understood (sysexits.h, EX_USAGE).
pub(crate) const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    // The same executable supervises the programs that scripts start.
    assay_capability_process::supervisor::run_if_asked();
    // And removes what a run left behind that had no more time.
    assay_capability_fs::remove_if_asked();
    // SAFETY: no other thread runs yet.
    unsafe {
        assay_capability_env::hide();
        share_heaps();
    }
    let arguments = match read_command_line() {
        Ok(arguments) => arguments,
        Err(code) => {
            finish_stderr();
            return ExitCode::from(code);
        }
    };
    if arguments.command.asks() && prompt::is_possible() {
        port::guard();
    }
    logging::start(&arguments.common);
    // Not on stderr itself: a slow reader must not hold up a thread that panics.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    match arguments.command.execute() {
        Ok(code) => {
            finish_stderr();
            ExitCode::from(code)
        }
        Err(error) => {
            say(&format!("assay: {error:#}\n"));
            finish_stderr();
            ExitCode::from(error.downcast_ref::<Usage>().map_or(1, |_| EXIT_USAGE))
        }
    }
}

/// Lets all threads share two heaps. glibc gives up to eight heaps to each core, and what a thread frees in its own is of
/// no use to the others, so that a run's peak would be several times its budget.
///
/// # Safety
/// No other thread runs yet.
unsafe fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the caller's.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// The command line; an exit code where it was wrong, or asked for help, which is told here.
fn read_command_line() -> Result<Arguments, u8> {
    let mut command = Arguments::command();
    command.build();
    let words = words::part(&command, std::env::args_os()).map_err(|wrong| {
        say(&format!("assay: {wrong}\n"));
        EXIT_USAGE
    })?;
    let parsed = command.try_get_matches_from_mut(words.own).and_then(|matches| {
        Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    });
    let mut arguments = parsed.map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() {
            say(&text);
            return EXIT_USAGE;
        }
        print(text.as_bytes()).unwrap_or_else(|error| {
            say(&format!("assay: {error:#}\n"));
            1
        })
    })?;
    arguments.command.set_script_args(words.script);
    Ok(arguments)
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

/// Writes a message to stderr, in order with log lines. Passwords in URLs are hidden in it. One that cannot be written is given up: there is nowhere to
/// say so.
pub(crate) fn say(text: &str) {
    let _ = port::Lines.write_all(assay_capability_api::secrets::hide(text).as_bytes());
}

/// [`say`], of what must not be lost; whether it was written, or its reader only takes its time.
pub(crate) fn tell(text: &str) -> bool {
    let mut stderr = port::stderr();
    let written = stderr.write(assay_capability_api::secrets::hide(text).as_bytes());
    written.map_or_else(|error| error.kind() == std::io::ErrorKind::BrokenPipe, |()| true)
}

/// How long the last messages may wait for their reader.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Writes what stderr still has, at the end of the process.
fn finish_stderr() {
    let _ = port::stderr().finish(LAST_WORDS);
}

/// Writes to stdout; a reader that went away is no error.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<u8> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output cannot be written"))
        }
        _ => Ok(0),
    }
}
