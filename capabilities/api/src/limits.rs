//! The limits of a run and what it has used of them.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A quantity that a run may only use so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Memory,
    Cpu,
    Timeout,
    Output,
    Log,
    Handles,
    HostBytes,
    HostMemory,
    Children,
    TempBytes,
    TempEntries,
    Audit,
}

impl Limit {
    /// The name of its flag and manifest key.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Memory => "memory",
            Limit::Cpu => "cpu",
            Limit::Timeout => "timeout",
            Limit::Output => "max-output",
            Limit::Log => "max-log",
            Limit::Handles => "max-handles",
            Limit::HostBytes => "max-host-bytes",
            Limit::HostMemory => "host-memory",
            Limit::Children => "max-children",
            Limit::TempBytes => "temp-bytes",
            Limit::TempEntries => "temp-entries",
            Limit::Audit => "max-audit",
        }
    }
}

/// Limits of a run. `None` is no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of the instance, bytes.
    pub memory: u64,
    /// CPU time of the instance.
    pub cpu: Option<Duration>,
    /// Wall time from start to end.
    pub timeout: Option<Duration>,
    /// Bytes on stdout and stderr together.
    pub output: Option<u64>,
    /// Bytes of log lines.
    pub log: Option<u64>,
    /// Open files, connections and the like at a time.
    pub handles: u64,
    /// Bytes that go through capabilities in either direction.
    pub host_bytes: Option<u64>,
    /// Bytes that the host holds for the run at a time; none is as much as `memory`.
    pub host_memory: Option<u64>,
    /// Child processes at a time.
    pub children: u64,
    /// Bytes of files in the run's temporary directory.
    pub temp_bytes: u64,
    /// Files, directories and links in it.
    pub temp_entries: u64,
    /// Bytes of the audit file that this run writes.
    pub audit: u64,
}

impl Default for Limits {
    /// The limits of `assay run`.
    fn default() -> Self {
        Limits {
            memory: 256 << 20,
            cpu: None,
            timeout: None,
            output: None,
            log: Some(64 << 20),
            handles: 1024,
            host_bytes: None,
            host_memory: None,
            children: 64,
            temp_bytes: 256 << 20,
            temp_entries: 10_000,
            audit: 64 << 20,
        }
    }
}

impl Limits {
    /// Bytes that the host may hold for the run at a time.
    pub fn host_memory(&self) -> u64 {
        self.host_memory.unwrap_or(self.memory)
    }

    /// The limits of a script that somebody else wrote.
    pub fn hosted() -> Self {
        Limits {
            memory: 64 << 20,
            cpu: Some(Duration::from_secs(10)),
            timeout: Some(Duration::from_secs(30)),
            output: Some(1 << 20),
            log: Some(1 << 20),
            handles: 128,
            host_bytes: Some(256 << 20),
            host_memory: None,
            children: 0,
            temp_bytes: 64 << 20,
            temp_entries: 1000,
            audit: 16 << 20,
        }
    }
}

/// What a run has used so far. Counters only; the run compares them with its [`Limits`].
#[derive(Debug, Default)]
pub struct Usage {
    pub memory_peak: AtomicU64,
    pub output_bytes: AtomicU64,
    pub log_bytes: AtomicU64,
    pub host_bytes: AtomicU64,
    pub handles: AtomicU64,
    pub handles_peak: AtomicU64,
    pub children_peak: AtomicU64,
    pub temp_bytes_peak: AtomicU64,
    pub temp_entries_peak: AtomicU64,
    pub host_calls: AtomicU64,
    pub denials: AtomicU64,
}

/// [`Usage`] at one moment, for reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub memory_peak_bytes: u64,
    pub output_bytes: u64,
    pub log_bytes: u64,
    pub host_bytes: u64,
    pub handles_peak: u64,
    pub children_peak: u64,
    pub temp_bytes_peak: u64,
    pub temp_entries_peak: u64,
    pub denials: u64,
}

impl Usage {
    pub fn report(&self) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            memory_peak_bytes: get(&self.memory_peak),
            output_bytes: get(&self.output_bytes),
            log_bytes: get(&self.log_bytes),
            host_bytes: get(&self.host_bytes),
            handles_peak: get(&self.handles_peak),
            children_peak: get(&self.children_peak),
            temp_bytes_peak: get(&self.temp_bytes_peak),
            temp_entries_peak: get(&self.temp_entries_peak),
            denials: get(&self.denials),
        }
    }

    /// Adds to a counter; false when the sum is above `limit`. What was added stays counted.
    pub fn add(counter: &AtomicU64, amount: u64, limit: Option<u64>) -> bool {
        let sum = counter.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
        limit.is_none_or(|limit| sum <= limit)
    }
}
