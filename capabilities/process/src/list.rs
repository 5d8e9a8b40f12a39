//! The processes of the machine.

use crate::supervisor::tree::{self, Stat};
use std::path::Path;

/// One process, for scripts.
pub struct Shown {
    pub pid: i32,
    pub name: String,
    pub cmdline: String,
}

/// The words of the command line; none for the kernel's threads and for what may not be seen.
fn words(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The file name in a word of a command line.
fn file_name(word: Option<&String>) -> Option<&str> {
    Path::new(word?).file_name()?.to_str()
}

/// The kernel's name, or the whole of it where that was cut off.
fn name(stat: &Stat, words: &[String]) -> String {
    let short = String::from_utf8_lossy(&stat.name).into_owned();
    // The kernel cuts at 15 bytes. A script comes second on its command line, after its interpreter.
    let mut longer = words.iter().take(2).filter_map(|word| file_name(Some(word)));
    match longer.find(|long| stat.name.len() >= 15 && long.starts_with(&short)) {
        Some(long) => long.to_string(),
        None => short,
    }
}

/// Every process that the system shows, without those that are over.
pub fn all() -> Vec<Shown> {
    let running = tree::all().into_iter().filter(|stat| !stat.is_over());
    running
        .map(|stat| {
            let words = words(stat.pid);
            Shown { pid: stat.pid, name: name(&stat, &words), cmdline: words.join(" ") }
        })
        .collect()
}

/// How many processes have one of these names, the kernel's or their own.
pub fn running(names: &[String]) -> usize {
    let is_one = |stat: &Stat| {
        let words = words(stat.pid);
        let (name, own) = (name(stat, &words), file_name(words.first()));
        names.iter().any(|wanted| *wanted == name || own == Some(wanted))
    };
    tree::all().iter().filter(|stat| !stat.is_over()).filter(|stat| is_one(stat)).count()
}
