//! The table of limits: flags, manifests, reports and the page are made from it.

use crate::quantity::{count, duration, memory, size, spoken};
use crate::{Limit, Limits};
use std::time::Duration;

/// How a limit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a script's memory, of which it needs some.
    Memory,
    /// Bytes: `64MiB`.
    Size,
    /// `30s`.
    Time,
    /// A number.
    Count,
}

/// How much a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes, or a number of things.
    Number(u64),
    /// Zero is no limit.
    Time(Duration),
}

/// One limit.
#[derive(Debug)]
pub struct LimitSpec {
    pub limit: Limit,
    pub unit: Unit,
    /// What it bounds, a phrase.
    pub bounds: &'static str,
    /// Its member in the report.
    pub report: &'static str,
    slot: fn(&mut Limits) -> Slot<'_>,
}

/// Where a limit is kept.
enum Slot<'a> {
    Always(&'a mut u64),
    Maybe(&'a mut Option<u64>),
    Time(&'a mut Option<Duration>),
}

const fn spec(
    limit: Limit,
    unit: Unit,
    report: &'static str,
    bounds: &'static str,
    slot: fn(&mut Limits) -> Slot<'_>,
) -> LimitSpec {
    LimitSpec { limit, unit, bounds, report, slot }
}

/// Every limit, in the order of `--help`.
pub static LIMITS: &[LimitSpec] = &[
    spec(Limit::Memory, Unit::Memory, "memory_bytes", "memory of the script", |l| {
        Slot::Always(&mut l.memory)
    }),
    spec(
        Limit::Cpu,
        Unit::Time,
        "cpu_seconds",
        "CPU time of the script and of what the host does for it, on all threads",
        |l| Slot::Time(&mut l.cpu),
    ),
    spec(Limit::Timeout, Unit::Time, "timeout_seconds", "time from start to end", |l| {
        Slot::Time(&mut l.timeout)
    }),
    spec(Limit::Output, Unit::Size, "output_bytes", "bytes on stdout and stderr together", |l| {
        Slot::Maybe(&mut l.output)
    }),
    spec(Limit::Log, Unit::Size, "log_bytes", "bytes of log lines", |l| Slot::Maybe(&mut l.log)),
    spec(Limit::Handles, Unit::Count, "handles", "open files, connections and bodies at a time", |l| {
        Slot::Always(&mut l.handles)
    }),
    spec(Limit::Children, Unit::Count, "children", "programs that run at a time", |l| {
        Slot::Always(&mut l.children)
    }),
    spec(Limit::HostBytes, Unit::Size, "host_bytes", "bytes read and written through capabilities", |l| {
        Slot::Maybe(&mut l.host_bytes)
    }),
    spec(
        Limit::HostCalls,
        Unit::Count,
        "host_calls",
        "calls from the sandbox to the host; a script that computes makes one about every millisecond",
        |l| Slot::Maybe(&mut l.host_calls),
    ),
    spec(
        Limit::HostMemory,
        Unit::Size,
        "host_memory_bytes",
        "memory of the host that holds what goes through capabilities",
        |l| Slot::Maybe(&mut l.host_memory),
    ),
    spec(Limit::TempBytes, Unit::Size, "temp_bytes", "bytes in the temporary directory of the run", |l| {
        Slot::Always(&mut l.temp_bytes)
    }),
    spec(Limit::TempEntries, Unit::Count, "temp_entries", "files, directories and links in it", |l| {
        Slot::Always(&mut l.temp_entries)
    }),
    spec(Limit::Audit, Unit::Size, "audit_bytes", "bytes of the audit", |l| Slot::Always(&mut l.audit)),
];

impl LimitSpec {
    /// The one with this name of a flag, without its dashes.
    pub fn named(name: &str) -> Option<&'static LimitSpec> {
        LIMITS.iter().find(|spec| spec.limit.name() == name)
    }

    /// Reads an amount.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    pub fn read(&self, text: &str) -> Result<Amount, String> {
        match self.unit {
            Unit::Memory => memory(text).map(Amount::Number),
            Unit::Size => size(text).map(Amount::Number),
            Unit::Time => duration(text).map(Amount::Time),
            Unit::Count => count(text).map(Amount::Number),
        }
    }

    /// Sets it.
    pub fn set(&self, limits: &mut Limits, amount: Amount) {
        match ((self.slot)(limits), amount) {
            (Slot::Always(slot), Amount::Number(number)) => *slot = number,
            (Slot::Maybe(slot), Amount::Number(number)) => *slot = Some(number),
            (Slot::Time(slot), Amount::Time(time)) => *slot = Some(time).filter(|time| !time.is_zero()),
            // `read` gives what the unit says, and the table has a slot of that kind.
            (Slot::Time(_), Amount::Number(_)) | (_, Amount::Time(_)) => {}
        }
    }

    /// What it is; none is no limit of its own.
    pub fn get(&self, limits: &Limits) -> Option<Amount> {
        match (self.slot)(&mut limits.clone()) {
            Slot::Always(slot) => Some(Amount::Number(*slot)),
            Slot::Maybe(slot) => slot.map(Amount::Number),
            Slot::Time(slot) => slot.map(Amount::Time),
        }
    }

    /// Its default for people.
    pub fn default_text(&self) -> String {
        match self.get(&Limits::default()) {
            Some(Amount::Number(number)) => shown(self.unit, number),
            Some(Amount::Time(time)) => format!("{} s", time.as_secs_f64()),
            None if self.limit == Limit::HostMemory => format!("as --{}", Limit::Memory.name()),
            None => "none".into(),
        }
    }
}

fn shown(unit: Unit, number: u64) -> String {
    match unit {
        Unit::Memory | Unit::Size => spoken(number),
        Unit::Time | Unit::Count => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_in_the_table_and_reads_back() {
        for spec in LIMITS {
            let mut limits = Limits::default();
            let text = match spec.unit {
                Unit::Memory | Unit::Size => "77MiB",
                Unit::Time => "77s",
                Unit::Count => "77",
            };
            let amount = spec.read(text).unwrap();
            assert_ne!(spec.get(&limits), Some(amount), "{}", spec.limit.name());
            spec.set(&mut limits, amount);
            assert_eq!(spec.get(&limits), Some(amount), "{}", spec.limit.name());
            assert!(std::ptr::eq(LimitSpec::named(spec.limit.name()).unwrap(), spec));
        }
        // A limit of its own for each field.
        let names: std::collections::BTreeSet<_> = LIMITS.iter().map(|spec| spec.report).collect();
        assert_eq!(names.len(), LIMITS.len());
    }

    #[test]
    fn what_is_read() {
        let read = |name: &str, text: &str| LimitSpec::named(name).unwrap().read(text);
        assert!(read("memory", "10").unwrap_err().starts_with("10 bytes is below the least, 4 MiB"));
        assert_eq!(read("memory", "4MiB"), Ok(Amount::Number(4 << 20)));
        assert!(read("max-handles", "1k").is_err() && read("max-handles", "-1").is_err());
        let mut limits = Limits { timeout: Some(Duration::from_secs(1)), ..Limits::default() };
        LimitSpec::named("timeout").unwrap().set(&mut limits, Amount::Time(Duration::ZERO));
        assert_eq!(limits.timeout, None);
    }
}
