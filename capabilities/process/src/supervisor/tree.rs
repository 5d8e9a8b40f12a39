//! Processes as `/proc` shows them, and the end of all that descend from one.

use super::wait_readable;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long what was killed has to end.
const DEATH: Duration = Duration::from_secs(1);

/// One process, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    /// The kernel's name of the program: at most 15 bytes.
    pub name: Vec<u8>,
    /// `Z` is a zombie, `X` is dead.
    pub state: u8,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// Clock ticks since the system's start: with the number, it is one process for ever.
    started: u64,
}

impl Stat {
    /// The process of this number; none where it is gone.
    pub fn of(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name may hold anything, parentheses and spaces too; what follows the last one is fields.
    fn parse(line: &[u8]) -> Option<Stat> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok()?;
        let rest: Vec<&str> =
            std::str::from_utf8(&line[close + 1..]).ok()?.split_ascii_whitespace().collect();
        // Fields are counted from 1 there, and the state is the third.
        let field = |number: usize| rest.get(number - 3).copied();
        Some(Stat {
            pid,
            name: line.get(open + 1..close)?.to_vec(),
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }

    /// Whether it has ended and only waits to be reaped.
    pub fn is_over(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Sends a signal to this very process, whatever else has its number by now. Gives what becomes readable when
    /// it is over, where the signal was sent and the system has such a thing.
    fn signal(&self, signal: Signal) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        // It may be gone, or belong to another user; the caller looks again.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) if Stat::of(self.pid).is_some_and(|now| now.started == self.started) => {
                pidfd_send_signal(&process, signal).ok().map(|()| process)
            }
            Ok(_) | Err(rustix::io::Errno::SRCH) => None,
            // Linux before 5.3.
            Err(_) => {
                let _ = kill_process(pid, signal);
                None
            }
        }
    }
}

/// Every process that can be seen.
pub fn all() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Stat::of(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// What descends from `root` or is in its group or session, `root` itself included; what is over is left out.
fn tree(root: i32) -> Vec<Stat> {
    let all = all();
    let mut below: BTreeMap<i32, Vec<&Stat>> = BTreeMap::new();
    for stat in &all {
        below.entry(stat.parent).or_default().push(stat);
    }
    let mut members = BTreeSet::from([root]);
    let own = all.iter().filter(|stat| stat.group == root || stat.session == root).map(|stat| stat.pid);
    let mut open: Vec<i32> = own.chain([root]).collect();
    while let Some(pid) = open.pop() {
        members.insert(pid);
        let children = below.get(&pid).into_iter().flatten();
        open.extend(children.map(|child| child.pid).filter(|pid| !members.contains(pid)));
    }
    all.iter().filter(|stat| members.contains(&stat.pid) && !stat.is_over()).cloned().collect()
}

/// Kills everything that descends from `root`, and `root` unless it is this process. All are stopped first, until
/// none is new: what is stopped starts nothing, and nothing loses its parent before it was counted. Returns when all
/// are over; a program in a call that the kernel does not interrupt is waited for no longer than [`DEATH`].
pub fn kill(root: i32) {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    // A /proc that is missing, or that numbers processes as another namespace does, says nothing about them.
    if !fs::read_link("/proc/self").is_ok_and(|link| link.to_str() == Some(&own.to_string())) {
        if root != own
            && let Some(group) = Pid::from_raw(root)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        return;
    }
    let mut stopped: BTreeMap<i32, Stat> = BTreeMap::new();
    // Each round finds what was started before the last one took hold; a program that is faster than this is
    // met again by the next call.
    for _ in 0..64 {
        let new: Vec<Stat> = tree(root)
            .into_iter()
            .filter(|stat| {
                stat.pid != own && stopped.get(&stat.pid).is_none_or(|old| old.started != stat.started)
            })
            .collect();
        if new.is_empty() {
            break;
        }
        for stat in new {
            stat.signal(Signal::STOP);
            stopped.insert(stat.pid, stat);
        }
    }
    // A signal that was sent is not yet a process that has ended: on a busy machine it lives on until it is its turn.
    let dying: Vec<OwnedFd> = stopped.values().filter_map(|stat| stat.signal(Signal::KILL)).collect();
    let until = Instant::now() + DEATH;
    for process in dying {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        wait_readable([process.as_raw_fd()], i32::try_from(left).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let line = b"42 (a) R (b)) S 1 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.group, stat.session), (42, 1, 42, 41));
        assert_eq!((stat.name.as_slice(), stat.state, stat.started), (&b"a) R (b)"[..], b'S', 123456));
        assert_eq!(Stat::parse(b"42 (a"), None);
        assert_eq!(Stat::parse(b") 42 ("), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_is_there() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(all().iter().any(|stat| stat.pid == own));
        assert!(!Stat::of(own).unwrap().is_over());
    }
}
