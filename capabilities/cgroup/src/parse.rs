//! The formats of interface files (admin-guide/cgroup-v2, "Interface Files").

use crate::bindings::assay::host::cgroup::Counters;

/// Names and numbers.
pub type Values = Vec<(String, u64)>;

/// One number; none for "max" and whatever else is no number.
pub fn number(content: &str) -> Option<u64> {
    content.trim().parse().ok()
}

/// Lines of a name and a number (`cpu.stat`, `memory.events`); other lines are left out.
pub fn pairs(content: &str) -> Values {
    let pair = |line: &str| {
        let (name, value) = line.trim().split_once(' ')?;
        Some((name.to_string(), number(value)?))
    };
    content.lines().filter_map(pair).collect()
}

/// Lines of a device and names with numbers (`io.stat`): `8:16 rbytes=1459200 wbytes=314773504`. A device that did
/// nothing yet has no numbers, and one that is gone is called `(unknown)`.
pub fn devices(content: &str) -> Vec<Counters> {
    let device = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let device = words.next()?.to_string();
        let value = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_string(), number(value)?))
        };
        Some(Counters { device, values: words.filter_map(value).collect() })
    };
    content.lines().filter_map(device).collect()
}

/// A process id a line. 0 stands for processes outside of this namespace.
pub fn processes(content: &str) -> Vec<u32> {
    content.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
