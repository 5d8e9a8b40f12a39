//! The tasks of an instance: the main chunk and what `async.spawn` started, polled together in the
//! component's one task.

use crate::alloc::beyond_limit;
use crate::call::Error;
use crate::host::script::Frame;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Ref};
use crate::region;
use crate::signals::{self, Signals};
use crate::task::Thread;
use crate::work::{CALL, spend};
use crate::{fault, lines};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How many tasks there may be at a time: each may wait for the host, which has a place for so many waits and some more.
const MAX_TASKS: usize = 50_000;

/// What a task takes of the instance's memory, with what it waits for: so many there may be in it, bytes.
const TASK_BYTES: u64 = 4096;

/// Bounds the number of tasks by the memory of the run.
pub fn set_memory(bytes: u64) {
    MOST_TASKS.set(MAX_TASKS.min(usize::try_from(bytes / TASK_BYTES).unwrap_or(MAX_TASKS)));
}

/// How a task ended.
pub enum Ended {
    /// Its results are on top of the thread's stack.
    Returned(Thread, c_int),
    Failed(Failed),
    Cancelled,
}

/// An error that left a task.
pub struct Failed {
    pub value: Ref,
    pub status: c_int,
    /// Where it was raised, and where the task was started.
    pub traceback: Vec<Frame>,
}

/// What a task and the handles to it share.
#[derive(Default)]
pub struct TaskState {
    ended: RefCell<Option<Ended>>,
    done: Cell<bool>,
    /// Others wait for how it ends, with more tasks: its error is no surprise.
    awaited: Cell<bool>,
    /// The line of the script that started it; empty for the main chunk.
    started: String,
    cancelled: Cell<bool>,
    interrupt: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    waiting: RefCell<Vec<Watcher>>,
}

/// Who is told when a task ends.
enum Watcher {
    Task(Waker),
    /// A group, and the task's position in it.
    Group(Rc<Group>, usize),
}

/// Tasks of which one waits for the first or for all. It is told of each end once, so that a wait for many tasks does
/// not look at all of them again and again.
pub struct Group {
    left: Cell<usize>,
    first_ended: Cell<Option<usize>>,
    first_failed: Cell<Option<usize>>,
    /// Whether the first that ends is waited for, or all.
    any: bool,
    waker: RefCell<Option<Waker>>,
}

impl Group {
    pub fn new(tasks: &[Rc<TaskState>], any: bool) -> Rc<Group> {
        let group = Rc::new(Group {
            left: Cell::new(tasks.len()),
            first_ended: Cell::new(None),
            first_failed: Cell::new(None),
            any,
            waker: RefCell::new(None),
        });
        for (position, task) in tasks.iter().enumerate() {
            spend(CALL);
            task.awaited.set(true);
            if task.is_done() {
                group.ended(position, task.has_failed());
            } else {
                task.waiting.borrow_mut().push(Watcher::Group(group.clone(), position));
            }
        }
        group
    }

    fn ended(&self, position: usize, failed: bool) {
        self.left.set(self.left.get().saturating_sub(1));
        if self.first_ended.get().is_none() {
            self.first_ended.set(Some(position));
        }
        if failed && self.first_failed.get().is_none() {
            self.first_failed.set(Some(position));
        }
        if self.is_over()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn is_over(&self) -> bool {
        match self.any {
            true => self.first_ended.get().is_some(),
            false => self.left.get() == 0 || self.first_failed.get().is_some(),
        }
    }

    /// Ready when the wait is over, with the position of the first that ended, or of the first that failed.
    pub fn poll(&self, context: &Context<'_>) -> Poll<Option<usize>> {
        if self.is_over() {
            return Poll::Ready(if self.any { self.first_ended.get() } else { self.first_failed.get() });
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl TaskState {
    /// Ends the task where it waits. A task that has ended stays as it ended.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        self.wake();
    }

    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Whether it ended with an error; false while it runs.
    pub fn has_failed(&self) -> bool {
        matches!(&*self.ended.borrow(), Some(Ended::Failed(_) | Ended::Cancelled))
    }

    /// Takes how it ended; none while it runs and after it was taken.
    pub fn take(&self) -> Option<Ended> {
        self.ended.borrow_mut().take()
    }

    /// Ready when the task has ended. `told` is what the caller keeps from one poll to the next.
    pub fn poll_done(&self, context: &Context<'_>, told: &mut Option<Waker>) -> Poll<()> {
        if self.is_done() {
            return Poll::Ready(());
        }
        if !told.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *told = Some(context.waker().clone());
            self.waiting.borrow_mut().push(Watcher::Task(context.waker().clone()));
        }
        Poll::Pending
    }

    /// Takes its error, if nobody waits for it.
    fn unawaited(&self) -> Option<Failed> {
        match self.take() {
            Some(Ended::Failed(failed)) if !self.awaited.get() => Some(failed),
            _ => None,
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn end(&self, ended: Ended) {
        *self.ended.borrow_mut() = Some(ended);
        self.done.set(true);
        for watcher in self.waiting.take() {
            match watcher {
                Watcher::Task(waker) => waker.wake(),
                Watcher::Group(group, position) => group.ended(position, self.has_failed()),
            }
        }
    }
}

impl Drop for TaskState {
    fn drop(&mut self) {
        if let Some(failed) = self.unawaited() {
            report(&failed);
        }
    }
}

/// What is told of an error that nobody awaited, before its message.
pub const UNAWAITED: &str = "a task failed and nobody awaited it: ";

/// Logs an error that nobody awaited: it must not vanish.
pub fn report(failed: &Failed) {
    REPORTED.set(REPORTED.get() + 1);
    let lua = crate::state::main();
    let (message, traceback) = beyond_limit(|| {
        failed.value.push(lua);
        let message = format!("{UNAWAITED}{}", fault::message(lua, -1));
        lua.pop(1);
        let mut fields = String::from("{\"traceback\":");
        crate::bindings::json::quote(&mut fields, &fault::text(&failed.traceback));
        fields.push('}');
        (message, fields)
    });
    crate::host::log::write(crate::host::log::Level::Error, &message, &traceback);
}

/// How many errors were logged because nobody awaited them.
pub fn reported() -> usize {
    REPORTED.get()
}

/// Takes the errors of tasks that failed and that nobody has awaited, whose handles are still there.
pub fn unawaited() -> Vec<Failed> {
    FAILED.take().iter().filter_map(Weak::upgrade).filter_map(|task| task.unawaited()).collect()
}

/// Remembers a task that failed until the end of the run, which its handle may live to see.
fn remember(shared: &Rc<TaskState>) {
    FAILED.with_borrow_mut(|failed| {
        if failed.len() == failed.capacity() {
            failed.retain(|task| task.strong_count() > 0);
        }
        failed.push(Rc::downgrade(shared));
    });
}

struct Task {
    thread: Option<Thread>,
    shared: Rc<TaskState>,
    counted: bool,
    /// The waker of the last poll, and that which counts and wakes it.
    waker: Option<(Waker, Waker)>,
}

/// How often tasks were woken: between two looks it tells whether the host had news.
static WAKES: AtomicU64 = AtomicU64::new(0);

/// Wakes a task, and counts that.
struct CountedWaker(Waker);

impl Wake for CountedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        WAKES.fetch_add(1, Ordering::Relaxed);
        self.0.wake_by_ref();
    }
}

/// Takes in all news of the host before tasks go on.
///
/// The host tells of one wait that is over at a time, and where several are, of that with the lowest number first. While
/// tasks compute, more come than are told: those with low numbers would get all the time there is, and a wait with a
/// high one, such as that for requests, would never be over. So once a task has computed for long, the news are taken
/// until there are none, and then the tasks go on in the order in which they were woken.
#[derive(Default)]
struct News {
    /// How often tasks were woken when the host was asked last; none while it is not asked.
    asked: Option<u64>,
}

impl News {
    /// Whether the host has to be asked, which it is when the instance gives way.
    fn wanted(&mut self) -> bool {
        let wakes = WAKES.load(Ordering::Relaxed);
        let first = LONG.take();
        let more = self.asked.is_some_and(|asked| asked != wakes);
        self.asked = (first || more).then_some(wakes);
        self.asked.is_some()
    }
}

/// A task has computed for so long that the host was asked for the limits.
pub fn computed_long() {
    LONG.set(true);
}

thread_local! {
    static MOST_TASKS: Cell<usize> = const { Cell::new(MAX_TASKS) };
    /// See [`computed_long`].
    static LONG: Cell<bool> = const { Cell::new(false) };
    /// Spawned, not yet polled.
    static SPAWNED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
    static ALIVE: Cell<usize> = const { Cell::new(0) };
    /// How many tasks wait for other tasks only.
    static ON_TASKS: Cell<usize> = const { Cell::new(0) };
    /// How many errors were logged because nobody awaited them.
    static REPORTED: Cell<usize> = const { Cell::new(0) };
    /// Tasks that failed and may not have been awaited yet.
    static FAILED: RefCell<Vec<Weak<TaskState>>> = const { RefCell::new(Vec::new()) };
}

/// Starts a task that runs the function below `arguments` values on top of `lua`'s stack; pops them.
///
/// # Errors
/// `limit`, where there are too many; "not enough memory".
pub fn spawn(lua: Lua, arguments: c_int) -> Result<Rc<TaskState>, Error> {
    let most = MOST_TASKS.get();
    if ALIVE.get() >= most {
        let why = format!(
            "there are {most} tasks already, the most that may run at a time; wait for some before more are started"
        );
        return Err(Error::failed(ErrorCode::Limit, why));
    }
    region::make_room(lua, TASK_BYTES as usize)?;
    let started = lines::line(lua);
    Ok(start_at(lua, arguments, started))
}

/// As [`spawn`], whatever runs already, of what the script did not start itself.
pub fn start(lua: Lua, arguments: c_int) -> Rc<TaskState> {
    start_at(lua, arguments, String::new())
}

fn start_at(lua: Lua, arguments: c_int, started: String) -> Rc<TaskState> {
    let mut shared = TaskState::default();
    shared.started = started;
    let shared = Rc::new(shared);
    let thread = Some(Thread::new(lua, arguments));
    let task = Task { thread, shared: shared.clone(), counted: false, waker: None };
    ALIVE.set(ALIVE.get() + 1);
    SPAWNED.with_borrow_mut(|spawned| spawned.push(task));
    shared
}

/// Whether a task that runs long should let others run.
pub fn others_wait() -> bool {
    ALIVE.get() > 1
}

impl Task {
    /// A waker that counts, for that of a poll.
    fn counted(&mut self, waker: &Waker) -> Waker {
        match &self.waker {
            Some((own, counted)) if own.will_wake(waker) => counted.clone(),
            _ => {
                let counted = Waker::from(Arc::new(CountedWaker(waker.clone())));
                self.waker = Some((waker.clone(), counted.clone()));
                counted
            }
        }
    }

    /// Keeps count of the tasks that wait for others only, to find deadlocks.
    fn count(&mut self) {
        let waits = self.thread.as_ref().is_some_and(Thread::waits_on_tasks);
        if waits != self.counted {
            self.counted = waits;
            ON_TASKS.set(if waits { ON_TASKS.get() + 1 } else { ON_TASKS.get() - 1 });
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.thread = None;
        self.count();
        ALIVE.set(ALIVE.get() - 1);
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = this.counted(context.waker());
        let context = &mut Context::from_waker(&waker);
        let Some(thread) = this.thread.as_mut() else { return Poll::Ready(()) };
        if this.shared.cancelled.get() {
            this.thread = None;
            this.shared.end(Ended::Cancelled);
            this.count();
            return Poll::Ready(());
        }
        if this.shared.interrupt.take() {
            thread.interrupt(Error::failed(
                ErrorCode::Other,
                "deadlock: every task waits for another task, so none can go on",
            ));
        }
        match Pin::new(thread).poll(context) {
            Poll::Pending => {
                *this.shared.waker.borrow_mut() = Some(context.waker().clone());
                this.count();
                Poll::Pending
            }
            Poll::Ready(result) => {
                if let Some(thread) = this.thread.take() {
                    if result.is_err() {
                        remember(&this.shared);
                    }
                    let ended = ended(thread, result, &this.shared.started);
                    this.shared.end(ended);
                }
                this.count();
                Poll::Ready(())
            }
        }
    }
}

fn ended(mut thread: Thread, result: Result<c_int, c_int>, started: &str) -> Ended {
    match result {
        Ok(results) => Ended::Returned(thread, results),
        Err(_) => {
            let traceback = fault::traceback(thread.lua, thread.traceback_of_awaited(), started);
            let status = thread.close_failed();
            let value = beyond_limit(|| Ref::pop(thread.lua));
            Ended::Failed(Failed { value, status, traceback })
        }
    }
}

/// Runs tasks until `main` has ended, or a signal came that the script does not handle: its name is given, after
/// `on_signal` was told. Then the others are cancelled.
pub async fn drive(main: &TaskState, on_signal: impl Fn(&str)) -> Option<String> {
    let mut tasks = FuturesUnordered::new();
    let (mut news, mut signals) = (News::default(), Signals::default());
    let signal = poll_fn(|context| {
        if news.wanted() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            SPAWNED.with_borrow_mut(|spawned| tasks.extend(spawned.drain(..)));
            let polled = tasks.poll_next_unpin(context);
            let more = SPAWNED.with_borrow(|spawned| !spawned.is_empty());
            let stuck = polled.is_pending() && !more && ON_TASKS.get() == tasks.len();
            // Signals that came before the end are handled to the end.
            if main.is_done() && (stuck || signals.poll_last(context)) {
                return Poll::Ready(None);
            }
            if stuck {
                main.interrupt.set(true);
                main.wake();
                continue;
            }
            // A script that never waits is told by a tick.
            let waits = polled.is_pending() && !more;
            if (waits || signals::have_come())
                && !main.is_done()
                && let Poll::Ready(name) = signals.poll(context)
            {
                return Poll::Ready(Some(name));
            }
            if waits && SPAWNED.with_borrow(Vec::is_empty) {
                return Poll::Pending;
            }
        }
    })
    .await;
    if let Some(name) = &signal {
        on_signal(name);
    }
    drop(tasks);
    SPAWNED.take();
    signal
}

/// Marks a coroutine as the root of a task: to the script it is the main thread. The mark is in the extra
/// space that Lua keeps before a thread's state (reference manual, `lua_getextraspace`), where the
/// patched library of coroutines looks for it.
pub fn mark_root(thread: Lua) {
    unsafe { *thread.0.cast::<u8>().sub(size_of::<*const ()>()) = 1 };
}
