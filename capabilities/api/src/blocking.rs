//! Work that may block, on another thread, and back within microseconds where it is short.
//!
//! Waking a thread that sleeps takes tens of microseconds, which is more than a statement of SQLite or a look at a file
//! takes. So both sides look for each other before they sleep: the thread that did some work looks for the next, and
//! the one that asked for it looks for the result. Neither looks for much longer than a wake-up takes, nor while both are
//! on one processor, where looking keeps the other from its work; and a side that finds nothing looks less and less often.

use crate::off_thread::lost;
use crate::{Cpu, lock};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::{coop, spawn_blocking};

/// For how long a side looks for one that is awake, about what it takes to wake a thread. Longer helps little where
/// processors are free, and costs more where they are not.
const LOOK: Duration = Duration::from_micros(30);
/// For how long a side looks for one that has to be woken for it. After that both are awake.
const FIRST_LOOK: Duration = Duration::from_micros(100);
/// The most times that looking is left out after it found nothing, as a power of two.
const MAX_MISSES: u32 = 6;

/// Where there is one processor the other side does nothing while this one looks.
static LOOKING_HELPS: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1));

type Job = Box<dyn FnOnce() + Send>;

/// How often it is worth looking.
#[derive(Debug, Default)]
struct Pace {
    misses: u32,
    skip: u32,
}

impl Pace {
    /// Whether to look this time.
    fn is_due(&mut self) -> bool {
        match self.skip.checked_sub(1) {
            Some(rest) => {
                self.skip = rest;
                false
            }
            None => true,
        }
    }

    /// Where looking finds nothing about half the time, as on a machine whose processors are all busy, it ends up being
    /// done least often.
    fn learn(&mut self, found: bool) {
        self.misses = match found {
            true => self.misses.saturating_sub(1),
            false => (self.misses + 1).min(MAX_MISSES),
        };
        self.skip = (1 << self.misses) - 1;
    }
}

/// Looks until `find` gives something, for `most` at most.
fn look<T>(most: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        for _ in 0..16 {
            if let Some(found) = find() {
                return Some(found);
            }
            std::hint::spin_loop();
        }
        if began.elapsed() >= most {
            return None;
        }
    }
}

/// The processor that a thread was on last. Not every system tells.
struct Spot(AtomicUsize);

impl Default for Spot {
    fn default() -> Spot {
        Spot(AtomicUsize::new(usize::MAX))
    }
}

impl Spot {
    fn mark(&self) {
        #[cfg(target_os = "linux")]
        self.0.store(rustix::thread::sched_getcpu(), Ordering::Relaxed);
    }

    /// Whether this thread is where that one was.
    fn is_here(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.0.load(Ordering::Relaxed) == rustix::thread::sched_getcpu();
        #[cfg(not(target_os = "linux"))]
        false
    }
}

/// Where a thread that waits for work and those that have some meet.
#[derive(Default)]
struct Desk {
    seat: Mutex<Seat>,
    /// Whether there is a job, to be looked at without the lock.
    called: AtomicBool,
    /// The thread that asked last looks for the result. One that sleeps is not quick with the next job either.
    awake: AtomicBool,
    asker: Spot,
    worker: Spot,
}

#[derive(Default)]
struct Seat {
    /// A thread looks for a job.
    taken: bool,
    job: Option<Job>,
    pace: Pace,
}

impl Desk {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        lock(&self.seat)
    }

    /// Hands a job to the thread that looks for one, or to one that has to be woken. Gives how long it is worth looking
    /// for its result.
    fn hand(self: &Arc<Desk>, job: Job) -> Duration {
        let mut seat = self.seat();
        if seat.taken && seat.job.is_none() {
            seat.job = Some(job);
            self.called.store(true, Ordering::Release);
            return LOOK;
        }
        drop(seat);
        let desk = self.clone();
        drop(spawn_blocking(move || desk.attend(job)));
        FIRST_LOOK
    }

    /// Does a job, and those that come right after it.
    fn attend(&self, mut job: Job) {
        loop {
            self.worker.mark();
            job();
            if !self.awake.load(Ordering::Relaxed) || self.asker.is_here() {
                return;
            }
            let mut seat = self.seat();
            if seat.taken || !seat.pace.is_due() {
                return;
            }
            seat.taken = true;
            drop(seat);
            let _ = look(LOOK, || self.called.load(Ordering::Acquire).then_some(()));
            let mut seat = self.seat();
            seat.taken = false;
            self.called.store(false, Ordering::Relaxed);
            let next = seat.job.take();
            seat.pace.learn(next.is_some());
            match next {
                Some(next) => job = next,
                None => return,
            }
        }
    }
}

/// What a thread that asks for work keeps.
#[derive(Default)]
struct Asker {
    desk: Arc<Desk>,
    pace: Pace,
}

thread_local! {
    static ASKER: RefCell<Asker> = RefCell::default();
}

/// [`off_thread`](crate::off_thread) for short work: what it means is the same, a panic too, but the work starts when this
/// is awaited.
///
/// # Panics
/// Outside of a tokio runtime, and where the work did.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // A task that gets every result at once must still let the thread's other tasks run.
    coop::consume_budget().await;
    let (sender, mut receiver) = oneshot::channel();
    let cpu = Cpu::current();
    let job: Job = Box::new(move || {
        let counted = cpu.as_ref().map(Cpu::enter);
        // Who waits goes on with the panic, and what it left half done is never looked at.
        let result = catch_unwind(AssertUnwindSafe(work));
        drop(counted);
        drop(sender.send(result));
    });
    let due = ASKER.with_borrow_mut(|asker| {
        let due = *LOOKING_HELPS && !asker.desk.worker.is_here() && asker.pace.is_due();
        asker.desk.asker.mark();
        asker.desk.awake.store(due, Ordering::Relaxed);
        let most = asker.desk.hand(job);
        due.then_some(most)
    });
    let mut found = None;
    if let Some(most) = due {
        found = look(most, || match receiver.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Closed) => lost(None),
            Err(TryRecvError::Empty) => None,
        });
        ASKER.with_borrow_mut(|asker| {
            asker.pace.learn(found.is_some());
            asker.desk.awake.store(found.is_some(), Ordering::Relaxed);
        });
    }
    let result = match found {
        Some(result) => result,
        None => receiver.await.unwrap_or_else(|_| lost(None)),
    };
    result.unwrap_or_else(|payload| lost(Some(payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::oneshot::error::TryRecvError;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn results_come_back_in_order() {
        runtime().block_on(async {
            let here = std::thread::current().id();
            for n in 0..1000 {
                let (result, there) = blocking(move || (n * 2, std::thread::current().id())).await;
                assert_eq!(result, n * 2);
                assert_ne!(there, here);
            }
        });
    }

    #[test]
    fn long_work_does_not_hold_up_other_work() {
        runtime().block_on(async {
            for _ in 0..100 {
                let (sender, receiver) = mpsc::channel();
                // The first can only end when the second has run meanwhile.
                let first = blocking(move || receiver.recv());
                let second = blocking(move || sender.send(7));
                let (first, second) = tokio::join!(first, second);
                assert_eq!(first, Ok(7));
                assert!(second.is_ok());
            }
        });
    }

    #[test]
    fn a_panic_goes_on_in_who_waits() {
        let runtime = runtime();
        for n in 0..50 {
            assert_eq!(runtime.block_on(blocking(move || n)), n);
            let waits = || runtime.block_on(blocking(|| std::panic::resume_unwind(Box::new("on purpose"))));
            let payload = catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        }
    }

    #[test]
    fn work_that_nobody_waits_for_goes_on() {
        runtime().block_on(async {
            let (go, gate) = mpsc::channel::<()>();
            let (sender, mut done) = oneshot::channel();
            {
                let work = blocking(move || {
                    let _ = gate.recv();
                    sender.send(3)
                });
                tokio::select! {
                    biased;
                    _ = work => unreachable!("the gate is closed"),
                    () = async {} => {}
                }
            }
            assert_eq!(done.try_recv(), Err(TryRecvError::Empty));
            go.send(()).unwrap();
            assert_eq!(done.await, Ok(3));
        });
    }

    #[test]
    fn who_never_waits_gives_way() {
        runtime().block_on(async {
            let (sender, mut receiver) = oneshot::channel();
            let other = async move { assert_eq!(sender.send(()), Ok(())) };
            let busy = async {
                // It ends only if the other future is polled.
                while receiver.try_recv() == Err(TryRecvError::Empty) {
                    blocking(|| ()).await;
                }
            };
            tokio::join!(biased; busy, other);
        });
    }

    #[test]
    fn looking_that_finds_nothing_becomes_rarer() {
        let mut pace = Pace::default();
        let mut skipped = Vec::new();
        for _ in 0..8 {
            let mut count = 0;
            while !pace.is_due() {
                count += 1;
            }
            skipped.push(count);
            pace.learn(false);
        }
        assert_eq!(skipped, [0, 1, 3, 7, 15, 31, 63, 63]);
        for _ in 0..6 {
            pace.learn(true);
        }
        assert!(pace.is_due());
        // One miss among many finds costs next to nothing.
        pace.learn(false);
        pace.learn(true);
        assert!(pace.is_due());
    }
}
