//! The limits of a run and what it has used of them.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

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
    HostCalls,
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
            Limit::HostCalls => "max-host-calls",
            Limit::HostMemory => "host-memory",
            Limit::Children => "max-children",
            Limit::TempBytes => "temp-bytes",
            Limit::TempEntries => "temp-entries",
            Limit::Audit => "max-audit",
        }
    }
}

/// The least memory of an instance, bytes: what the builtins themselves take, and a little for a script.
pub const LEAST_MEMORY: u64 = 4 << 20;

/// Limits of a run. `None` is no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of the instance, bytes.
    pub memory: u64,
    /// CPU time of the instance; 0 is no limit, see [`Limits::cpu`].
    pub cpu: Option<Duration>,
    /// Wall time from start to end; 0 is no limit, see [`Limits::timeout`].
    pub timeout: Option<Duration>,
    /// Bytes on stdout and stderr together.
    pub output: Option<u64>,
    /// Bytes of log lines.
    pub log: Option<u64>,
    /// Open files, connections and the like at a time.
    pub handles: u64,
    /// Bytes that go through capabilities in either direction.
    pub host_bytes: Option<u64>,
    /// Calls from the sandbox to the host; a script that computes makes one now and then, too.
    pub host_calls: Option<u64>,
    /// Bytes that the host holds for the run at a time; none is as much as `memory`.
    pub host_memory: Option<u64>,
    /// Child processes at a time.
    pub children: u64,
    /// Bytes of files in the run's temporary directory.
    pub temp_bytes: u64,
    /// Files, directories and links in it.
    pub temp_entries: u64,
    /// Bytes of the audit that are of this run, as lines of JSON.
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
            host_calls: None,
            host_memory: None,
            children: 64,
            temp_bytes: 256 << 20,
            temp_entries: 10_000,
            audit: 64 << 20,
        }
    }
}

impl Limits {
    /// The limit on CPU time, if there is one.
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu.filter(|cpu| !cpu.is_zero())
    }

    /// The limit on wall time, if there is one.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.filter(|timeout| !timeout.is_zero())
    }

    /// Bytes that the host may hold for the run at a time.
    pub fn host_memory(&self) -> u64 {
        self.host_memory.unwrap_or(self.memory)
    }

    /// How much of something there may be.
    pub fn of(&self, what: Counter) -> Option<u64> {
        match what {
            Counter::Output => self.output,
            Counter::Log => self.log,
            Counter::HostBytes => self.host_bytes,
            Counter::HostCalls => self.host_calls,
            Counter::Handles => Some(self.handles),
            Counter::Children => Some(self.children),
            Counter::Memory => Some(self.memory),
        }
    }

    /// Of an account that bounds nothing: what its runs use is counted only.
    pub fn unlimited() -> Self {
        Limits {
            memory: u64::MAX,
            cpu: None,
            timeout: None,
            output: None,
            log: None,
            handles: u64::MAX,
            host_bytes: None,
            host_calls: None,
            host_memory: None,
            children: u64::MAX,
            temp_bytes: u64::MAX,
            temp_entries: u64::MAX,
            audit: u64::MAX,
        }
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
            host_calls: Some(1_000_000),
            host_memory: None,
            children: 0,
            temp_bytes: 64 << 20,
            temp_entries: 1000,
            audit: 16 << 20,
        }
    }
}

/// What is counted against limits: of a run, and of each account that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Bytes of output, in all.
    Output,
    /// Bytes of log lines, in all.
    Log,
    /// Bytes through capabilities, in all.
    HostBytes,
    /// Calls from the sandbox to the host, in all.
    HostCalls,
    /// Open files and connections, at a time.
    Handles,
    /// Programs, at a time.
    Children,
    /// Bytes of linear memory, at a time.
    Memory,
}

impl Counter {
    const COUNT: usize = Counter::Memory as usize + 1;

    /// Its limit.
    pub fn limit(self) -> Limit {
        match self {
            Counter::Output => Limit::Output,
            Counter::Log => Limit::Log,
            Counter::HostBytes => Limit::HostBytes,
            Counter::HostCalls => Limit::HostCalls,
            Counter::Handles => Limit::Handles,
            Counter::Children => Limit::Children,
            Counter::Memory => Limit::Memory,
        }
    }
}

/// What a run or an account has used so far.
#[derive(Debug, Default)]
pub struct Usage {
    now: [AtomicU64; Counter::COUNT],
    peak: [AtomicU64; Counter::COUNT],
    /// Tells who waits for a handle that one was given back.
    pub handle_returned: Notify,
    pub temp_bytes_peak: AtomicU64,
    pub temp_entries_peak: AtomicU64,
    pub denials: AtomicU64,
}

impl Usage {
    /// How much there is now.
    pub fn now(&self, what: Counter) -> u64 {
        self.now[what as usize].load(Ordering::Relaxed)
    }

    /// The most that there was at a time.
    pub fn peak(&self, what: Counter) -> u64 {
        self.peak[what as usize].load(Ordering::Relaxed)
    }

    /// Adds; false when the sum is above `limit`. What was added stays counted.
    pub(crate) fn add(&self, what: Counter, amount: u64, limit: Option<u64>) -> bool {
        let before = self.now[what as usize].fetch_add(amount, Ordering::Relaxed);
        let sum = before.saturating_add(amount);
        if limit.is_some_and(|limit| sum > limit) {
            return false;
        }
        self.peak[what as usize].fetch_max(sum, Ordering::Relaxed);
        true
    }

    pub(crate) fn subtract(&self, what: Counter, amount: u64) {
        self.now[what as usize].fetch_sub(amount, Ordering::Relaxed);
    }
}

/// [`Usage`] at one moment, for reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub memory_peak_bytes: u64,
    pub output_bytes: u64,
    pub log_bytes: u64,
    pub host_bytes: u64,
    pub host_calls: u64,
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
            memory_peak_bytes: self.peak(Counter::Memory),
            output_bytes: self.now(Counter::Output),
            log_bytes: self.now(Counter::Log),
            host_bytes: self.now(Counter::HostBytes),
            host_calls: self.now(Counter::HostCalls),
            handles_peak: self.peak(Counter::Handles),
            children_peak: self.peak(Counter::Children),
            temp_bytes_peak: get(&self.temp_bytes_peak),
            temp_entries_peak: get(&self.temp_entries_peak),
            denials: get(&self.denials),
        }
    }
}
