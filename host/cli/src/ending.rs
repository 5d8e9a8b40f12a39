//! How a run ended, for people and for the shell: messages on stderr, reports, the exit code.

use crate::args::RunOptions;
use crate::outputs::{self, Outputs};
use crate::{logging, port, report};
use assay_capability_api::{Limit, Limits, Run, Stop};
use assay_runner::{Ended, RunOutcome};
use std::time::Duration;

/// The audit could not be written (sysexits.h, EX_IOERR).
const EXIT_IO: u8 = 74;
/// A bug of Assay (sysexits.h, EX_SOFTWARE).
const EXIT_SOFTWARE: u8 = 70;
const EXIT_TIMEOUT: u8 = 124;
const EXIT_LIMIT: u8 = 137;
/// Plus the number of the signal, as in shells.
pub(crate) const EXIT_SIGNAL_BASE: i32 = 128;

/// For the last words of a run that had to end.
pub(crate) const PARTING: Duration = Duration::from_millis(100);

/// Tells how a run ended, and gives the exit code.
pub(crate) fn conclude(run: &Run, outcome: &RunOutcome, options: &RunOptions, outputs: &Outputs) -> u8 {
    let (mut code, ended) = verdict(outcome);
    if let Some(message) = explain(outcome, &run.limits) {
        crate::say(&message);
    }
    if let Some(message) = outcome.unwritten().filter(|_| matches!(outcome.ended, Ended::Failed(_))) {
        crate::say(&format!("assay: {message}\n"));
    }
    if let Some(format) = options.report {
        let text = report::report(run, format, code, &ended, outcome.assertions);
        match &outputs.report {
            None if crate::tell(&text) => {}
            Some(file) if outputs::write(file, text.as_bytes()) => {}
            _ => code = code.max(1),
        }
    }
    if !outputs::write_learnt(outputs, run) {
        code = code.max(1);
    }
    // Its time is over, and so is that of who does not read its last words.
    if matches!(outcome.ended, Ended::Stopped(Stop::Limit(_) | Stop::Signal(_))) {
        // Both together are less than what this may take where the run's own thread does not come to it.
        assay_capability_fs::remove_temp(run, PARTING / 3);
        port::stderr().part(PARTING / 3);
    }
    code
}

/// The exit code, and a word for how the run ended.
pub(crate) fn verdict(outcome: &RunOutcome) -> (u8, String) {
    match &outcome.ended {
        Ended::Returned(_) if outcome.unwritten.is_some() => (1, "unwritten".into()),
        Ended::Returned(_) => (0, "returned".into()),
        Ended::Failed(failure) if failure.memory => (EXIT_LIMIT, "memory".into()),
        Ended::Failed(_) => (1, "error".into()),
        // As the operating system does with exit codes.
        Ended::Stopped(Stop::Exit(0)) if outcome.unwritten.is_some() => (1, "unwritten".into()),
        Ended::Stopped(Stop::Exit(code)) => ((code & 0xff) as u8, "exit".into()),
        Ended::Stopped(Stop::Limit(Limit::Timeout)) => (EXIT_TIMEOUT, "timeout".into()),
        Ended::Stopped(Stop::Limit(limit)) => (EXIT_LIMIT, limit.name().into()),
        Ended::Stopped(Stop::Signal(signal)) => {
            (u8::try_from(EXIT_SIGNAL_BASE + signal).unwrap_or(EXIT_LIMIT), format!("signal {signal}"))
        }
        Ended::Stopped(Stop::Unaudited(_)) => (EXIT_IO, "unaudited".into()),
        Ended::Panicked(_) => (EXIT_SOFTWARE, "panicked".into()),
        Ended::Broken(_) => (1, "broken".into()),
    }
}

/// What a person is told about a run that did not end well.
pub(crate) fn explain(outcome: &RunOutcome, limits: &Limits) -> Option<String> {
    let (bold, plain) = if logging::colours() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut text = format!("{bold}assay:{plain} {}\n", outcome.problem(limits)?);
    if let Ended::Failed(failure) = &outcome.ended
        && !failure.traceback.is_empty()
    {
        text.push_str(&failure.traced());
        text.push('\n');
    }
    Some(text)
}
