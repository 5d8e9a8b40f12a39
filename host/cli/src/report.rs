//! What a run used, for people and programs.

use crate::args::ReportFormat;
use assay_capability_api::{Report, Run};
use serde::Serialize;

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
    limits: Limits,
    allow: Vec<&'a str>,
    deny: Vec<&'a str>,
}

#[derive(Serialize)]
struct Limits {
    memory_bytes: u64,
    cpu_seconds: Option<f64>,
    timeout_seconds: Option<f64>,
    output_bytes: Option<u64>,
    log_bytes: Option<u64>,
    handles: u64,
    children: u64,
    host_bytes: Option<u64>,
    host_memory_bytes: u64,
    audit_bytes: u64,
    temp_bytes: u64,
    temp_entries: u64,
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
    let limits = Limits {
        memory_bytes: run.limits.memory,
        cpu_seconds: run.limits.cpu.map(|cpu| cpu.as_secs_f64()),
        timeout_seconds: run.limits.timeout.map(|timeout| timeout.as_secs_f64()),
        output_bytes: run.limits.output,
        log_bytes: run.limits.log,
        handles: run.limits.handles,
        children: run.limits.children,
        host_bytes: run.limits.host_bytes,
        host_memory_bytes: run.budget.limit(),
        audit_bytes: run.limits.audit,
        temp_bytes: run.limits.temp_bytes,
        temp_entries: run.limits.temp_entries,
    };
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
        limits,
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
