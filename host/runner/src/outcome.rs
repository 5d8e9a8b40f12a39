//! How a run ended.

use assay_capability_api::{Limit, Limits, Report, Run, Stop};
use assay_runtime::{Ended, Failure, Outcome};
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// How a run ended, and what it used.
#[derive(Debug)]
pub struct RunOutcome {
    pub ended: Ended,
    /// How many assertions held.
    pub assertions: u64,
    /// Why the last of the output could not be written.
    pub unwritten: Option<io::Error>,
    pub usage: Used,
}

/// What a run used.
#[derive(Clone, Debug)]
pub struct Used {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time of all threads that worked for it.
    pub cpu: Duration,
    /// The most that the host held for it at a time, bytes.
    pub host_memory_peak: u64,
    pub counted: Report,
}

impl Used {
    fn of(run: &Run) -> Used {
        Used {
            wall: run.started.elapsed(),
            cpu: Duration::from_nanos(run.cpu.nanoseconds()),
            host_memory_peak: run.budget.peak(),
            counted: run.usage.report(),
        }
    }
}

impl RunOutcome {
    pub(crate) fn of(outcome: Outcome, run: &Run) -> RunOutcome {
        let Outcome { ended, assertions, unwritten } = outcome;
        RunOutcome { ended, assertions, unwritten, usage: Used::of(run) }
    }

    /// Of a run that was ended from outside and has not come to its own end.
    pub fn stopped(why: Stop, run: &Run) -> RunOutcome {
        RunOutcome::of(Outcome { ended: Ended::Stopped(why), assertions: 0, unwritten: None }, run)
    }

    /// Of a run that could not begin.
    pub(crate) fn refused(message: String, run: &Run) -> RunOutcome {
        let failure = Failure { message, code: Some("unsupported".into()), ..Failure::default() };
        RunOutcome::of(Outcome { ended: Ended::Failed(failure), assertions: 0, unwritten: None }, run)
    }

    /// What the called function returned; none where none was called, or the run did not return.
    ///
    /// # Errors
    /// When it is no such value.
    pub fn result<T: DeserializeOwned>(&self) -> serde_json::Result<Option<T>> {
        match &self.ended {
            Ended::Returned(returned) => returned.result.as_deref().map(serde_json::from_str).transpose(),
            _ => Ok(None),
        }
    }

    /// What is told of output that could not be written; nothing where its reader went away.
    pub fn unwritten(&self) -> Option<String> {
        let error = self.unwritten.as_ref().filter(|error| error.kind() != ErrorKind::BrokenPipe)?;
        Some(format!("the script's output could not be written: {error}"))
    }

    /// Why the run did not end well, where it did not end by the script's own decision or a signal.
    pub fn problem(&self, limits: &Limits) -> Option<String> {
        Some(match &self.ended {
            Ended::Returned(_) | Ended::Stopped(Stop::Exit(_) | Stop::Signal(_)) => self.unwritten()?,
            Ended::Failed(failure) => failure.message.clone(),
            Ended::Stopped(Stop::Limit(limit)) => reached(*limit, limits),
            Ended::Stopped(Stop::Unaudited(why)) => {
                format!("stopped: a decision could not be written to the audit: {why}")
            }
            Ended::Panicked(id) => {
                format!("internal error {id}, a bug of Assay; please report it with what the log says")
            }
            Ended::Broken(error) => {
                format!("the sandbox broke down, which is a bug of Assay; please report it: {error:?}")
            }
        })
    }
}

fn reached(limit: Limit, limits: &Limits) -> String {
    let (allowed, flag) = match limit {
        Limit::Timeout => (limits.timeout.map(|time| format!("{} s", time.as_secs_f64())), "timeout"),
        Limit::Cpu => (limits.cpu.map(|time| format!("{} s of CPU", time.as_secs_f64())), "cpu"),
        Limit::Memory => (Some(format!("{:.0} MiB", limits.memory as f64 / 1048576.0)), "memory"),
        Limit::Audit => (Some(format!("{} bytes of the audit", limits.audit)), "max-audit"),
        other => (None, other.name()),
    };
    let allowed = allowed.map(|allowed| format!(" of {allowed}")).unwrap_or_default();
    format!("stopped: the {flag} limit{allowed} was reached; raise it with --{flag}")
}
