//! The files of /proc that are about the machine (proc(5)). All of them are lines of words; what a kernel does not
//! have yet, or any more, is left out.

use crate::bindings::assay::host::linux::{Field, Value};

/// One table of fields.
pub type Row = Vec<Field>;

/// Bytes of a sector in /proc/diskstats, whatever the device's own sectors are (Documentation/admin-guide/iostats.rst).
const SECTOR: u64 = 512;

/// Scripts have signed integers; no counter of this world is cut by that, only "unlimited" is.
pub fn integer(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

pub fn field(name: &str, value: Value) -> Field {
    Field { name: name.into(), value }
}

pub fn text(name: &str, value: &str) -> Field {
    field(name, Value::Text(value.into()))
}

/// Names in order with the unsigned numbers that stand in the same order; what is no number, or missing, is left out.
pub fn counters<'a>(names: &[&str], words: impl IntoIterator<Item = &'a str>) -> Row {
    names
        .iter()
        .zip(words)
        .filter_map(|(name, word)| Some(field(name, integer(word.parse().ok()?))))
        .collect()
}

/// `MemAvailable` as `mem_available`, `VmRSS` as `vm_rss`, `Active(anon)` as `active_anon`.
pub fn snake_case(name: &str) -> String {
    // Names that the rule below would tear apart.
    match name {
        "PPid" => return "ppid".into(),
        _ if name.starts_with("NS") => return format!("ns_{}", name[2..].to_lowercase()),
        _ => {}
    }
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (at, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            if !out.ends_with('_') {
                out.push('_');
            }
            continue;
        }
        let previous = at.checked_sub(1).map(|before| chars[before]);
        let starts_word = c.is_ascii_uppercase()
            && previous.is_some_and(|previous| {
                previous.is_ascii_lowercase()
                    || (previous.is_ascii_uppercase()
                        && chars.get(at + 1).is_some_and(char::is_ascii_lowercase))
            });
        if starts_word && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out.trim_matches('_').to_string()
}

/// A number with the unit kB as bytes, one without as it is. What begins with a zero is a mask in octal or
/// hexadecimal.
pub fn amount(value: &str) -> Option<u64> {
    let mut words = value.split_ascii_whitespace();
    let word = words.next()?;
    if word.len() > 1 && word.starts_with('0') {
        return None;
    }
    let number: u64 = word.parse().ok()?;
    match (words.next(), words.next()) {
        (None, _) => Some(number),
        (Some("kB"), None) => Some(number.saturating_mul(1024)),
        _ => None,
    }
}

/// The first numbers of a release, `6.1.0` of `6.1.0-18-amd64`.
pub fn version(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].trim_end_matches('.')
}

/// When the machine started, seconds since 1970, of /proc/stat.
pub fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// /proc/uptime. The second number is missing in some containers' emulation of the file.
pub fn uptime(content: &str) -> Option<Row> {
    let mut words = content.split_ascii_whitespace();
    let mut seconds = || words.next()?.parse::<f64>().ok().filter(|number| number.is_finite());
    let mut row = vec![field("uptime_secs", Value::Number(seconds()?))];
    row.extend(seconds().map(|idle| field("idle_secs", Value::Number(idle))));
    Some(row)
}

/// /proc/loadavg.
pub fn load(content: &str) -> Option<Row> {
    let words: Vec<&str> = content.split_ascii_whitespace().collect();
    let [one, five, fifteen, rest @ ..] = words.as_slice() else { return None };
    let mut row = Row::new();
    for (name, word) in [("one", one), ("five", five), ("fifteen", fifteen)] {
        row.push(field(name, Value::Number(word.parse().ok()?)));
    }
    if let Some((running, total)) = rest.first().and_then(|word| word.split_once('/')) {
        row.extend(counters(&["running", "total"], [running, total]));
    }
    row.extend(counters(&["last_pid"], rest.get(1).copied()));
    Some(row)
}

const CPU: &[&str] =
    &["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// The line of all cores together of /proc/stat.
pub fn cpu(stat: &str) -> Option<Row> {
    let words = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    Some(counters(CPU, words.split_ascii_whitespace()))
}

/// The lines of the cores that are switched on, with their number in `cpu`.
pub fn cpu_cores(stat: &str) -> Vec<Row> {
    let core = |line: &str| {
        let (number, words) = line.strip_prefix("cpu")?.split_once(' ')?;
        let mut row = vec![field("cpu", integer(number.parse().ok()?))];
        row.extend(counters(CPU, words.split_ascii_whitespace()));
        Some(row)
    };
    stat.lines().filter_map(core).collect()
}

/// /proc/meminfo, in bytes; what the kernel counts (huge pages) stays a count.
pub fn memory(content: &str) -> Row {
    let entry = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some(field(&snake_case(name), integer(amount(value)?)))
    };
    content.lines().filter_map(entry).collect()
}

const NETWORK: &[&str] = &[
    "rx_bytes",
    "rx_packets",
    "rx_errors",
    "rx_dropped",
    "rx_fifo",
    "rx_frame",
    "rx_compressed",
    "rx_multicast",
    "tx_bytes",
    "tx_packets",
    "tx_errors",
    "tx_dropped",
    "tx_fifo",
    "tx_collisions",
    "tx_carrier",
    "tx_compressed",
];

/// /proc/net/dev. Old kernels write no blank after the colon, and an alias has a colon in its name.
pub fn network(content: &str) -> Vec<Row> {
    let interface = |line: &str| {
        let (name, words) = line.rsplit_once(':')?;
        let mut row = vec![text("name", name.trim())];
        row.extend(counters(NETWORK, words.split_ascii_whitespace()));
        Some(row)
    };
    // Two lines of headings, which have no colon.
    content.lines().filter_map(interface).collect()
}

const DISK: &[&str] = &[
    "reads",
    "reads_merged",
    "sectors_read",
    "time_reading",
    "writes",
    "writes_merged",
    "sectors_written",
    "time_writing",
    "in_progress",
    "time_in_progress",
    "weighted_time_in_progress",
    "discards",
    "discards_merged",
    "sectors_discarded",
    "time_discarding",
    "flushes",
    "time_flushing",
];
/// What kernels before 2.6.25 told about a partition.
const PARTITION: &[&str] = &["reads", "sectors_read", "writes", "sectors_written"];

/// /proc/diskstats.
pub fn disks(content: &str) -> Vec<Row> {
    let disk = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [major, minor, name, numbers @ ..] = words.as_slice() else { return None };
        let names = if numbers.len() == PARTITION.len() { PARTITION } else { DISK };
        let mut row = vec![text("name", name)];
        row.extend(counters(&["major", "minor"], [*major, *minor]));
        row.extend(counters(names, numbers.iter().copied()));
        for (sectors, bytes) in [("sectors_read", "bytes_read"), ("sectors_written", "bytes_written")] {
            let at = names.iter().position(|name| *name == sectors);
            let count = at.and_then(|at| numbers.get(at)?.parse::<u64>().ok());
            row.extend(count.map(|count| field(bytes, integer(count.saturating_mul(SECTOR)))));
        }
        Some(row)
    };
    content.lines().filter_map(disk).collect()
}
