//! `assay run --mode tool`: a script as the tool of an agent, whose one line of JSON on stdout says how it went.

use crate::args::RunOptions;
use crate::ending;
use crate::host::Host;
use crate::output::Kept;
use crate::outputs::Outputs;
use crate::port::{Port, Stream};
use crate::prepare::Prepared;
use anyhow::{Context, Result, bail};
use assay_capability_api::{Limit, Limits, Run, Stop};
use assay_runner::{Ended, RunOutcome};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How long who reads the result may take for the next part of it.
const READER: Duration = Duration::from_secs(2);
/// For a tool that nobody gave a timeout.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Envelope {
    ok: bool,
    /// `ok`, `error` or `timeout`.
    status: &'static str,
    /// What the script wrote to stdout.
    output: String,
    /// Nothing asks for an approval yet; readers of the envelope expect the field of a run that was fine.
    #[serde(rename = "requiresApproval")]
    requires_approval: (),
    /// Not all of the output is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs a script and prints the envelope. The exit code is 0 however it went: the envelope says it.
pub(crate) fn run(mut prepared: Prepared, options: &RunOptions) -> Result<u8> {
    if let Some(settings) = Arc::get_mut(&mut prepared.spec.run).and_then(Run::settings) {
        settings.limits.timeout.get_or_insert(TIMEOUT);
    }
    let kept = Kept::default();
    let sink = kept.clone();
    prepared.spec.output = Arc::new(move || Box::new(sink.clone()));
    let run = prepared.spec.run.clone();
    let outputs = Outputs::open(&run, options)?;
    let options = options.clone();
    let host = Host::new(move |run, outcome| {
        ending::conclude(run, outcome, &options, &outputs);
        let mut line = serde_json::to_vec(&envelope(outcome, &run.limits, &kept))?;
        line.push(b'\n');
        print(&line)
    })?;
    let outcome = host.run(prepared)?;
    host.conclude(&run, &outcome)
}

/// Writes the envelope, for as long as its reader takes some of it now and then.
fn print(line: &[u8]) -> Result<u8> {
    let mut stdout = Port::new(Stream::Stdout);
    stdout.keep(line);
    let mut left = stdout.kept();
    while left > 0 {
        stdout.finish(READER).context("standard output cannot be written")?;
        if stdout.kept() == left {
            bail!("nobody reads standard output, where the result goes");
        }
        left = stdout.kept();
    }
    Ok(0)
}

fn envelope(outcome: &RunOutcome, limits: &Limits, kept: &Kept) -> Envelope {
    let error = match &outcome.ended {
        Ended::Returned(_) | Ended::Stopped(Stop::Exit(0)) => None,
        Ended::Stopped(Stop::Exit(code)) => Some(format!("the script ended with exit code {code}")),
        Ended::Stopped(Stop::Signal(signal)) => Some(format!("stopped by signal {signal}")),
        _ => outcome.problem(limits),
    };
    let timeout = matches!(outcome.ended, Ended::Stopped(Stop::Limit(Limit::Timeout)));
    let (output, truncated) = kept.text();
    Envelope {
        ok: error.is_none(),
        status: match (&error, timeout) {
            (None, _) => "ok",
            (Some(_), true) => "timeout",
            (Some(_), false) => "error",
        },
        output,
        requires_approval: (),
        truncated,
        error,
    }
}
