//! Log lines of the server itself. They count against the run's limit on log bytes.

use crate::exchange::Peer;
use assay_capability_api::{Counter, Run};
use std::fmt::Write;

/// The target of what scripts log: the lines of their servers belong to it.
const TARGET: &str = "script";

/// One request and its response.
pub struct Access<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    /// None where the body was not known when the response began.
    pub bytes: Option<u64>,
    pub seconds: f64,
    pub peer: &'a Peer,
}

/// Writes a line about a request. Neither a method nor a path can have characters that would break it:
/// hyper takes none.
pub fn access(run: &Run, access: &Access<'_>) {
    let mut line = format!("{} {} {}", access.method, access.path, access.status);
    // Writing to a String cannot fail.
    let _ = match access.bytes {
        Some(bytes) => write!(line, " {bytes} B"),
        None => write!(line, " stream"),
    };
    let _ = write!(line, " {:.1} ms {}", access.seconds * 1000.0, access.peer);
    if run.spend(Counter::Log, line.len() as u64).is_ok() {
        tracing::info!(target: TARGET, "{line}");
    }
}

/// Writes a warning about what a client has made happen, within the run's limit on log bytes: clients are many.
pub fn warn(run: &Run, line: &str) {
    if run.spend(Counter::Log, line.len() as u64).is_ok() {
        tracing::warn!(target: TARGET, "{line}");
    }
}
