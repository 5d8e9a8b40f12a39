//! The signals of a run: who deals with them, and how long that may take.
//!
//! The operating system's signal handler only notes the signal ([`Signals::raise`]) and wakes the watchdog, on whose thread
//! [`Signals::look`] hands it to the guest. A script that handles a signal goes on. One that does not must begin to close
//! what it has open within [`NOTICE`], and be done within [`CLOSING`].

use crate::lock;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a script may take to notice a signal that it does not handle.
pub const NOTICE: Duration = Duration::from_millis(100);
/// How long it may take to close what it has open.
pub const CLOSING: Duration = Duration::from_secs(1);

/// A signal that comes again so soon is handled once more after its handler; one that comes later ends a handler that does
/// not end.
const AGAIN: Duration = Duration::from_secs(1);

/// What a script may handle, by name.
const NAMES: [(&str, i32); 5] = [
    ("TERM", libc::SIGTERM),
    ("INT", libc::SIGINT),
    ("HUP", libc::SIGHUP),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
];

/// The number of a signal that a script may handle.
pub fn number(name: &str) -> Option<i32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn name(number: i32) -> String {
    let known = NAMES.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_string())
}

fn bit(number: i32) -> u64 {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
}

/// Makes the operating system tell of one more signal.
type Watch = Box<dyn Fn(i32) -> io::Result<()> + Send + Sync>;

/// The signals of one run.
pub struct Signals {
    /// What `since` counts from.
    begun: Instant,
    /// When the last one came that the script handles, milliseconds.
    since: AtomicU64,
    /// Came once more while its handler ran.
    again: AtomicU64,
    /// Came, and is not dealt with yet.
    pending: AtomicU64,
    /// Something else deals with it too, so that its next one ends the process.
    kept: AtomicU64,
    /// Came, and was not handed on yet.
    fresh: AtomicU64,
    /// The script handles it.
    caught: AtomicU64,
    /// Whether SIGINT ends a line of a session, and not the run.
    ends_lines: AtomicBool,
    state: Mutex<State>,
    came: Notify,
}

#[derive(Default)]
struct State {
    /// For the guest to take.
    waiting: VecDeque<i32>,
    /// The first that the script does not handle, and until when it must have ended or begun to close.
    ending: Option<(i32, Instant)>,
    closing: bool,
    watch: Option<Watch>,
}

impl Default for Signals {
    fn default() -> Signals {
        Signals {
            begun: Instant::now(),
            since: AtomicU64::new(0),
            again: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
            caught: AtomicU64::new(0),
            ends_lines: AtomicBool::new(false),
            state: Mutex::default(),
            came: Notify::new(),
        }
    }
}

impl Signals {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Says how the program that runs the script is told of further signals. Without it a script can handle none.
    pub fn set_watch(&self, watch: impl Fn(i32) -> io::Result<()> + Send + Sync + 'static) {
        self.state().watch = Some(Box::new(watch));
    }

    /// SIGINT ends the line of a session that runs.
    pub fn end_lines(&self) {
        self.ends_lines.store(true, Ordering::Release);
    }

    fn spares_run(&self, number: i32) -> bool {
        self.caught.load(Ordering::Acquire) & bit(number) != 0 || self.ends_line(number)
    }

    /// A signal came; `held` is whether something else deals with it if the script does not ([`crate::Shutdown`]). False
    /// where one before it is not dealt with, and the process should end at once. May be called in a signal handler.
    pub fn raise(&self, number: i32, held: bool) -> bool {
        let held = held && !self.ends_line(number);
        let before = self.pending.fetch_or(bit(number), Ordering::AcqRel);
        if before & !self.caught.load(Ordering::Acquire) != 0 {
            return false;
        }
        if before & bit(number) != 0 {
            let kept = self.kept.load(Ordering::Acquire) & bit(number) != 0;
            let soon =
                self.now().saturating_sub(self.since.load(Ordering::Acquire)) < AGAIN.as_millis() as u64;
            self.again.fetch_or(bit(number), Ordering::AcqRel);
            return soon && !kept;
        }
        self.since.store(self.now(), Ordering::Release);
        if held {
            self.kept.fetch_or(bit(number), Ordering::AcqRel);
        }
        if !held || self.spares_run(number) {
            self.fresh.fetch_or(bit(number), Ordering::AcqRel);
        }
        true
    }

    /// Whether it ends a line of a session.
    pub fn ends_line(&self, number: i32) -> bool {
        number == libc::SIGINT && self.ends_lines.load(Ordering::Acquire)
    }

    /// Hands on what came. Gives how long a run that must end may still take, and the signal; for the watchdog.
    pub fn look(&self, now: Instant) -> Option<(i32, Duration)> {
        let fresh = self.fresh.swap(0, Ordering::AcqRel);
        let mut state = self.state();
        for (_, number) in NAMES.iter().filter(|(_, number)| fresh & bit(*number) != 0) {
            state.waiting.push_back(*number);
            if !self.spares_run(*number) && state.ending.is_none() {
                state.ending = Some((*number, now + NOTICE));
            }
            self.came.notify_one();
        }
        state.ending.map(|(number, until)| (number, until.saturating_duration_since(now)))
    }

    /// Whether there is one for the guest to take.
    pub fn is_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// The name of the next one.
    pub async fn next(&self) -> String {
        loop {
            let came = self.came.notified();
            if let Some(number) = self.state().waiting.pop_front() {
                return name(number);
            }
            came.await;
        }
    }

    /// The script has dealt with one, and the next may come.
    pub fn answer(&self, name: &str) {
        let Some(number) = number(name) else { return };
        let kept = self.kept.load(Ordering::Acquire);
        self.pending.fetch_and(!bit(number) | kept, Ordering::AcqRel);
        if self.again.fetch_and(!bit(number), Ordering::AcqRel) & bit(number) != 0
            && self.raise(number, false)
        {
            self.look(Instant::now());
        }
    }

    /// The script closes what it has open. That it says so again gives it no more time.
    pub fn close(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.closing, true)
            && let Some((_, until)) = &mut state.ending
        {
            *until = Instant::now() + CLOSING;
        }
    }

    /// Whether the script handles a signal from now on.
    ///
    /// # Errors
    /// Where this program does not tell scripts of signals, or the operating system refuses.
    pub fn catch(&self, number: i32, caught: bool) -> io::Result<()> {
        if !caught {
            self.caught.fetch_and(!bit(number), Ordering::AcqRel);
            return Ok(());
        }
        let state = self.state();
        let watch = state.watch.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        watch(number)?;
        self.caught.fetch_or(bit(number), Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{SIGINT, SIGTERM, SIGUSR1};

    #[test]
    fn one_that_nobody_handles_has_a_deadline_and_the_next_ends_the_process() {
        let signals = Signals::default();
        let now = Instant::now();
        assert_eq!(signals.look(now), None);
        assert!(signals.raise(SIGTERM, false));
        assert_eq!(signals.look(now), Some((SIGTERM, NOTICE)));
        assert!(signals.is_waiting());
        signals.close();
        assert!(signals.look(now).is_some_and(|(_, left)| left >= CLOSING - NOTICE));
        let until = signals.look(now);
        signals.close();
        assert_eq!(signals.look(now), until);
        assert!(!signals.raise(SIGINT, false) && !signals.raise(SIGTERM, false));
    }

    #[tokio::test]
    async fn one_that_is_handled_comes_again() {
        let signals = Signals::default();
        assert!(signals.catch(SIGUSR1, true).is_err());
        signals.set_watch(|_| Ok(()));
        signals.catch(SIGUSR1, true).unwrap();
        signals.catch(SIGTERM, true).unwrap();
        for _ in 0..2 {
            assert!(signals.raise(SIGUSR1, false) && signals.raise(SIGTERM, false));
            assert_eq!(signals.look(Instant::now()), None);
            assert_eq!((signals.next().await, signals.next().await), ("TERM".into(), "USR1".into()));
            signals.answer("TERM");
            signals.answer("USR1");
        }
        // One that comes at once is handled after the first, however often it came.
        assert!(signals.raise(SIGTERM, false));
        signals.look(Instant::now());
        assert_eq!(signals.next().await, "TERM");
        assert!(signals.raise(SIGTERM, false) && signals.raise(SIGTERM, false));
        assert!(!signals.is_waiting());
        signals.answer("TERM");
        assert_eq!(signals.next().await, "TERM");
        signals.answer("TERM");
        assert!(!signals.is_waiting());
        signals.catch(SIGTERM, false).unwrap();
        assert!(signals.raise(SIGTERM, false));
        assert_eq!(signals.look(Instant::now()).map(|(number, _)| number), Some(SIGTERM));
    }

    #[test]
    fn what_serves_deals_with_it_and_a_session_with_its_lines() {
        let signals = Signals::default();
        assert!(signals.raise(SIGTERM, true));
        assert_eq!(signals.look(Instant::now()), None);
        assert!(!signals.is_waiting() && !signals.raise(SIGTERM, true));
        let session = Signals::default();
        session.end_lines();
        assert!(session.raise(SIGINT, true));
        assert_eq!(session.look(Instant::now()), None);
        assert!(session.is_waiting());
    }
}
