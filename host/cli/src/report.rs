//! What a run used, for people and programs.

use crate::args::ReportFormat;
use assay_capability_api::{Amount, LIMITS, Limit, LimitSpec, Report, Run};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Full<'a> {
    script: &'a str,
    script_hash: &'a str,
    exit_code: u8,
    /// Why it ended: `returned`, `error`, `exit`, or the limit or signal.
    ended: &'a str,
    wall_seconds: f64,
    assertions: u64,
    cpu_seconds: f64,
    host_memory_peak_bytes: u64,
    #[serde(flatten)]
    used: Report,
    limits: BTreeMap<&'static str, Option<Value>>,
    allow: Vec<&'a str>,
    deny: Vec<&'a str>,
}

/// The limits of a run by their names in reports; none is no limit.
fn limits(run: &Run) -> BTreeMap<&'static str, Option<Value>> {
    let amount = |spec: &LimitSpec| match spec.get(&run.limits) {
        _ if spec.limit == Limit::HostMemory => Some(run.budget.limit().into()),
        Some(Amount::Number(number)) => Some(number.into()),
        Some(Amount::Time(time)) => Some(time.as_secs_f64().into()),
        None => None,
    };
    LIMITS.iter().map(|spec| (spec.report, amount(spec))).collect()
}

/// The report of a finished run.
pub(crate) fn report(run: &Run, format: ReportFormat, exit_code: u8, ended: &str, assertions: u64) -> String {
    let used = run.usage.report();
    let wall_seconds = run.started.elapsed().as_secs_f64();
    let cpu_seconds = run.cpu.nanoseconds() as f64 / 1e9;
    if format == ReportFormat::Text {
        return format!(
            "{ended} after {wall_seconds:.3} s ({cpu_seconds:.3} s CPU), {:.1} of {:.0} MiB memory, {:.1} of {:.0} MiB \
             held by the host, {} bytes of output, {} bytes through capabilities, {} handles and {} programs at most, {} denials\n",
            used.memory_peak_bytes as f64 / 1048576.0,
            run.limits.memory as f64 / 1048576.0,
            run.budget.peak() as f64 / 1048576.0,
            run.budget.limit() as f64 / 1048576.0,
            used.output_bytes,
            used.host_bytes,
            used.handles_peak,
            used.children_peak,
            used.denials,
        );
    }
    let (allow, deny) = run.grants.describe();
    let full = Full {
        script: &run.identity.script,
        script_hash: &run.identity.script_hash,
        exit_code,
        ended,
        wall_seconds,
        assertions,
        cpu_seconds,
        host_memory_peak_bytes: run.budget.peak(),
        used,
        limits: limits(run),
        allow,
        deny,
    };
    match serde_json::to_string(&full) {
        Ok(mut text) => {
            text.push('\n');
            text
        }
        Err(error) => format!("the report cannot be written: {error}\n"),
    }
}
