//! /proc/PID/stat and /proc/PID/status (proc(5)).

use crate::bindings::assay::host::linux::Value;
use crate::parse::{Row, amount, field, integer, snake_case, text};

/// The fields of `stat` from the fourth on. An empty name is one that is not given: always 0 on kernels of this
/// century, or an address of the process's memory, which would help an attacker.
const STAT: &[&str] = &[
    "ppid",
    "pgrp",
    "session",
    "tty_nr",
    "tpgid",
    "flags",
    "minflt",
    "cminflt",
    "majflt",
    "cmajflt",
    "utime",
    "stime",
    "cutime",
    "cstime",
    "priority",
    "nice",
    "num_threads",
    "",
    "starttime",
    "vsize",
    "rss",
    "rsslim",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "exit_signal",
    "processor",
    "rt_priority",
    "policy",
    "delayacct_blkio_ticks",
    "guest_time",
    "cguest_time",
];

/// What `rsslim` says where there is no limit.
const NO_LIMIT: &str = "18446744073709551615";

/// `/proc/PID/stat`. The program's name is between the first and the last parenthesis, and may hold parentheses,
/// blanks and line ends itself.
pub fn stat(content: &str, page_size: u64) -> Option<Row> {
    let (pid, rest) = content.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split_ascii_whitespace();
    let mut row = vec![field("pid", integer(pid.trim().parse().ok()?)), text("comm", comm)];
    row.push(text("state", words.next()?));
    for (name, word) in STAT.iter().zip(words) {
        if name.is_empty() || (*name == "rsslim" && word == NO_LIMIT) {
            continue;
        }
        // Some are signed (tpgid, priority), some do not fit a signed number.
        let value = match word.parse::<i64>() {
            Ok(number) => Value::Integer(number),
            Err(_) => match word.parse() {
                Ok(number) => integer(number),
                Err(_) => continue,
            },
        };
        row.push(field(name, value));
        if *name == "rss" {
            let pages = word.parse::<u64>().unwrap_or(0);
            row.push(field("rss_bytes", integer(pages.saturating_mul(page_size))));
        }
    }
    Some(row)
}

/// Names of `status` that are lists of numbers, however many stand there.
fn is_list(name: &str) -> bool {
    matches!(name, "Uid" | "Gid" | "Groups") || name.starts_with("NS")
}

/// Names of `status` that are masks in hexadecimal or lists of ranges, even where they look like a number.
fn is_mask(name: &str) -> bool {
    const MASKS: [&str; 6] = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "untag_mask"];
    MASKS.contains(&name)
        || name.starts_with("Cap")
        || name.starts_with("Cpus_allowed")
        || name.starts_with("Mems_allowed")
}

/// The program's name, in which the kernel writes a line end as `\n` and a backslash as `\\`.
fn unescape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    out
}

/// `/proc/PID/status`. Sizes are in bytes.
pub fn status(content: &str) -> Option<Row> {
    let mut row = Row::new();
    for line in content.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let shown = snake_case(name);
        let value = value.trim_matches(['\t', ' ']);
        match name {
            "Name" => row.push(text(&shown, &unescape(value))),
            "State" => {
                // "S (sleeping)"
                let (state, words) = value.split_once(' ').unwrap_or((value, ""));
                row.push(text(&shown, state));
                row.push(text("state_text", words.trim_matches(['(', ')'])));
            }
            _ if is_list(name) => {
                let numbers = value.split_ascii_whitespace().filter_map(|word| word.parse().ok());
                row.push(field(&shown, Value::Integers(numbers.collect())));
            }
            _ if is_mask(name) => row.push(text(&shown, value)),
            _ => row.push(match amount(value) {
                Some(number) => field(&shown, integer(number)),
                None => text(&shown, value),
            }),
        }
    }
    row.iter().any(|field| field.name == "pid").then_some(row)
}
