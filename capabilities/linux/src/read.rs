//! From a source to the rows that its file holds.

use crate::bindings::assay::host::linux::{Field, Source};
use crate::parse::{self, Row};
use crate::process;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error};
use std::io::Read;

/// Bytes of one file. /proc/stat of a machine with a thousand cores and their interrupts has a tenth of it.
const MAX_FILE: u64 = 16 << 20;
/// "No such process": it ended between opening the file and reading it.
const ESRCH: i32 = 3;

fn content(run: &Run, path: &str) -> Result<String, Error> {
    let failed = |source: std::io::Error| io_error(&format!("reading {path}"), &source);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    run.count_bytes(bytes.len())?;
    // Names of programs and interfaces may be any bytes.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &str) -> Error {
    error(ErrorCode::InvalidData, format!("reading {path}: it has not the form that proc(5) describes"))
}

/// One line of a file below /proc/sys.
fn line(run: &Run, path: &str) -> Result<String, Error> {
    Ok(content(run, path)?.trim_end_matches('\n').to_string())
}

fn kernel(run: &Run) -> Result<Row, Error> {
    let release = line(run, "/proc/sys/kernel/osrelease")?;
    let stat = content(run, "/proc/stat")?;
    let mut row = vec![
        parse::text("version", parse::version(&release)),
        parse::text("os_release", &release),
        parse::text("build", &line(run, "/proc/sys/kernel/version")?),
        parse::field("ticks_per_sec", parse::integer(rustix::param::clock_ticks_per_second())),
        parse::field("page_size", parse::integer(rustix::param::page_size() as u64)),
    ];
    if crate::tells_hostname(run) {
        row.push(parse::text("hostname", &line(run, "/proc/sys/kernel/hostname")?));
    }
    row.extend(parse::boot_time(&stat).map(|time| parse::field("btime", parse::integer(time))));
    Ok(row)
}

fn of_process(run: &Run, pid: u32, file: &str) -> Result<Row, Error> {
    let directory = if pid == 0 { "self".to_string() } else { pid.to_string() };
    let path = format!("/proc/{directory}/{file}");
    let content = content(run, &path).map_err(|failed| match failed.code {
        ErrorCode::NotFound => no_process(pid, failed.errno),
        _ if failed.errno == ESRCH => no_process(pid, failed.errno),
        _ => failed,
    })?;
    let row = match file {
        "stat" => process::stat(&content, rustix::param::page_size() as u64),
        _ => process::status(&content),
    };
    row.ok_or_else(|| unreadable(&path))
}

fn no_process(pid: u32, errno: i32) -> Error {
    let message = format!("process {pid}: there is no such process, or none that this user may see");
    Error { errno, ..error(ErrorCode::NotFound, message) }
}

/// Reads one source.
///
/// # Errors
/// The operating system's, `not-found` where there is no such process, `invalid-data` where a file is not as the
/// kernel writes it.
pub fn read(run: &Run, source: Source, pid: u32) -> Result<Vec<Vec<Field>>, Error> {
    let one = |path: &str, parse: fn(&str) -> Option<Row>| {
        Ok(vec![parse(&content(run, path)?).ok_or_else(|| unreadable(path))?])
    };
    match source {
        Source::Kernel => Ok(vec![kernel(run)?]),
        Source::Uptime => one("/proc/uptime", parse::uptime),
        Source::Load => one("/proc/loadavg", parse::load),
        Source::Cpu => one("/proc/stat", parse::cpu),
        Source::CpuCores => Ok(parse::cpu_cores(&content(run, "/proc/stat")?)),
        Source::Memory => Ok(vec![parse::memory(&content(run, "/proc/meminfo")?)]),
        Source::Network => Ok(parse::network(&content(run, "/proc/net/dev")?)),
        Source::Disks => Ok(parse::disks(&content(run, "/proc/diskstats")?)),
        Source::ProcessStat => Ok(vec![of_process(run, pid, "stat")?]),
        Source::ProcessStatus => Ok(vec![of_process(run, pid, "status")?]),
    }
}
