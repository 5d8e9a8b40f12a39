//! CPU time of a run, over all threads that work for it.

use crate::lock;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The CPU time that a run has used, and the threads that use more of it right now. Any thread may ask for the sum.
#[derive(Debug, Default)]
pub struct Cpu {
    /// Nanoseconds of threads that no longer work for the run.
    finished: AtomicU64,
    working: Mutex<Vec<Working>>,
    /// Whose time it is too.
    parent: Option<Arc<Cpu>>,
}

/// A thread that works for the run.
#[derive(Clone, Copy, Debug)]
struct Working {
    clock: libc::clockid_t,
    /// What the thread's clock said when it began, nanoseconds.
    began: u64,
}

impl Working {
    /// Nanoseconds since it began. A thread is taken off the list before it ends, so its clock can be read.
    fn nanoseconds(self) -> u64 {
        read(self.clock).saturating_sub(self.began)
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a place for the result; an unknown clock is an error, not undefined.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The clock of this thread's CPU time, readable from every thread of the process while this one lives.
fn own_clock() -> libc::clockid_t {
    let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
    // SAFETY: `clock` is a place for the result, and this thread exists.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    clock
}

thread_local! {
    static OWN_CLOCK: libc::clockid_t = own_clock();
    /// The run that this thread works for.
    static CURRENT: RefCell<Option<Arc<Cpu>>> = const { RefCell::new(None) };
}

impl Cpu {
    /// The CPU time of what is a part of `parent`.
    pub fn within(parent: Option<&Arc<Cpu>>) -> Arc<Cpu> {
        Arc::new(Cpu { parent: parent.cloned(), ..Cpu::default() })
    }

    /// It, and those that it is a part of.
    fn chain(&self) -> impl Iterator<Item = &Cpu> {
        std::iter::successors(Some(self), |cpu| cpu.parent.as_deref())
    }

    fn working(&self) -> MutexGuard<'_, Vec<Working>> {
        lock(&self.working)
    }

    /// Nanoseconds used so far, by all threads.
    pub fn nanoseconds(&self) -> u64 {
        let working = self.working();
        let now: u64 = working.iter().map(|thread| thread.nanoseconds()).sum();
        self.finished.load(Ordering::Relaxed) + now
    }

    /// How many threads work for the run now.
    pub fn threads(&self) -> usize {
        self.working().len()
    }

    /// Counts the time of this thread until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> CpuGuard {
        if CURRENT.with_borrow(|current| current.as_ref().is_some_and(|current| Arc::ptr_eq(current, self))) {
            return CpuGuard { _entered: None };
        }
        let clock = OWN_CLOCK.with(|clock| *clock);
        let thread = Working { clock, began: read(libc::CLOCK_THREAD_CPUTIME_ID) };
        self.chain().for_each(|cpu| cpu.working().push(thread));
        let before = CURRENT.replace(Some(self.clone()));
        CpuGuard { _entered: Some(Entered { cpu: self.clone(), thread, before }) }
    }

    /// The run that this thread works for now.
    pub fn current() -> Option<Arc<Cpu>> {
        CURRENT.with_borrow(Clone::clone)
    }
}

/// While it lives, the time of its thread is the run's. It stays on that thread. Where the thread worked for the run
/// before, it changes nothing.
#[derive(Debug)]
pub struct CpuGuard {
    /// None where the thread's time is counted already.
    _entered: Option<Entered>,
}

#[derive(Debug)]
struct Entered {
    cpu: Arc<Cpu>,
    thread: Working,
    /// The run that the thread worked for before.
    before: Option<Arc<Cpu>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.replace(self.before.take());
        let used = read(libc::CLOCK_THREAD_CPUTIME_ID).saturating_sub(self.thread.began);
        for cpu in self.cpu.chain() {
            let mut working = cpu.working();
            if let Some(at) = working.iter().rposition(|thread| thread.clock == self.thread.clock) {
                working.swap_remove(at);
            }
            // Under the lock, so that no sum misses it or has it twice.
            cpu.finished.fetch_add(used, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes until this thread has used so many milliseconds.
    fn compute(milliseconds: u64) {
        let until = read(libc::CLOCK_THREAD_CPUTIME_ID) + milliseconds * 1_000_000;
        while read(libc::CLOCK_THREAD_CPUTIME_ID) < until {}
    }

    #[test]
    fn threads_add_up_while_they_work_and_after() {
        let cpu = Arc::new(Cpu::default());
        assert!(Cpu::current().is_none());
        let guard = cpu.enter();
        compute(5);
        assert!(cpu.nanoseconds() >= 5_000_000);
        let (ready, wait) = std::sync::mpsc::channel();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let other = Cpu::current().unwrap();
        let worker = std::thread::spawn(move || {
            let _guard = other.enter();
            compute(20);
            ready.send(()).unwrap();
            gate.recv().unwrap();
        });
        wait.recv().unwrap();
        // Read from here, while the other thread still works for the run.
        assert_eq!(cpu.threads(), 2);
        assert!(cpu.nanoseconds() >= 25_000_000);
        go.send(()).unwrap();
        worker.join().unwrap();
        drop(guard);
        assert_eq!(cpu.threads(), 0);
        assert!(cpu.nanoseconds() >= 25_000_000);
        assert!(Cpu::current().is_none());
    }
}
