//! Lua coroutines as Rust futures: builtins that wait, tasks, and what happens where Lua cannot
//! yield.
//!
//! A builtin that waits makes a future and polls it once. Ready: its results are pushed as if it
//! had been a plain function. Pending: the coroutine is suspended *for the host*
//! (`lua_suspendk`), which every `coroutine.resume` on the way hands outward, down to the task that
//! runs it; the task polls the future and resumes the whole chain when it is ready. Where a C
//! function that cannot yield lies between (a comparator of `table.sort`, a callback of
//! `string.gsub`), the wait blocks the instance instead.

use crate::alloc::beyond_limit;
use crate::call::{Call, Error, Returned, begin, raise};
use crate::fault;
use crate::ffi::*;
use crate::host::log;
use crate::host::script::Frame;
use crate::lines::{self, Called};
use crate::lua::{Lua, Ref, protected};
use crate::options;
use crate::region::{self, Running};
use crate::userdata::{self, Userdata};
use std::cell::Cell;
use std::ffi::c_int;
use std::future::Future;
use std::pin::Pin;
use std::ptr::null_mut;
use std::task::{Context, Poll, Waker};

/// Pushes the results of a wait on the stack of the call. It is called once, but cannot move out what it holds: where a push
/// raises, that is dropped with it.
pub type Push = Box<dyn FnMut(Call) -> Returned>;

/// What pushes `value` as a userdata.
pub fn handle<T: Userdata>(value: T) -> impl FnMut(Call) -> Returned {
    let mut value = Some(value);
    move |call: Call| {
        if let Some(value) = value.take() {
            userdata::push(call.lua(), value)?;
        }
        Ok(1)
    }
}

/// What a builtin that waits returns.
pub struct Pending {
    future: Pin<Box<dyn Future<Output = Result<Push, Error>>>>,
    /// Whether it waits for other tasks of this instance only, and so cannot block them.
    on_tasks: bool,
    /// Whether other tasks go on meanwhile also in a run that is replayed.
    lasting: bool,
    /// The call that waits.
    called: Option<Called>,
}

/// A wait for the host. The future's output pushes the results.
pub fn wait<F, P>(future: F) -> Result<Pending, Error>
where
    F: Future<Output = Result<P, Error>> + 'static,
    P: FnMut(Call) -> Returned + 'static,
{
    let future = Box::pin(async move { Ok(Box::new(future.await?) as Push) });
    Ok(Pending { future, on_tasks: false, lasting: false, called: None })
}

/// A wait for the host whose end comes when the program that runs the script says so: the clock of a run that is replayed,
/// its history.
pub fn wait_lasting<F, P>(future: F) -> Result<Pending, Error>
where
    F: Future<Output = Result<P, Error>> + 'static,
    P: FnMut(Call) -> Returned + 'static,
{
    Ok(Pending { lasting: true, ..wait(future)? })
}

/// A wait for other tasks of this instance.
pub fn wait_on_tasks<F, P>(future: F) -> Result<Pending, Error>
where
    F: Future<Output = Result<P, Error>> + 'static,
    P: FnMut(Call) -> Returned + 'static,
{
    Ok(Pending { on_tasks: true, ..wait(future)? })
}

/// The wait of the coroutine that runs now, and the waker of its task.
struct Current {
    waiting: Option<Pending>,
    ready: Option<Result<Push, Error>>,
    /// The last error that it was given of another task, and the traceback of that.
    raised: Option<(Ref, Vec<Frame>)>,
    context: *mut Context<'static>,
}

impl Current {
    fn new() -> Current {
        Current { waiting: None, ready: None, raised: None, context: null_mut() }
    }
}

thread_local! {
    static CURRENT: Cell<*mut Current> = const { Cell::new(null_mut()) };
    static REPLAYED: Cell<bool> = const { Cell::new(false) };
}

/// From here on the run is replayed. Tasks go on in the same order whenever it is run: what only takes its time (the host
/// packs, decrypts) does not let another one come first.
pub fn begin_replay() {
    REPLAYED.set(true);
}

impl Pending {
    fn gives_way(&self) -> bool {
        !REPLAYED.get() || self.lasting || self.on_tasks
    }
}

fn current<'a>() -> Option<&'a mut Current> {
    unsafe { CURRENT.get().as_mut() }
}

/// A number for the task that runs, which no other one has while it lives.
pub fn current_id() -> usize {
    CURRENT.get().addr()
}

/// The task that runs is given the error of another one, which it raises. Where it ends with it, it tells that traceback
/// too.
pub fn gives_error(value: Ref, traceback: Vec<Frame>) {
    if let Some(current) = current() {
        current.raised = Some((value, traceback));
    }
}

/// Runs what calls functions of the script while no task runs: finalizers, variables that are closed. What waits in
/// them blocks the instance.
pub fn detached<T>(f: impl FnOnce() -> T) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let mut own = Current { context: (&raw mut context).cast(), ..Current::new() };
    let outer = CURRENT.replace(&raw mut own);
    let result = f();
    CURRENT.set(outer);
    result
}

/// Closes the pending variables of a coroutine and, first, of those that it has resumed. Gives its status.
fn close(lua: Lua) -> c_int {
    unsafe {
        let inner = lua_inner(lua.0);
        if !inner.is_null() {
            close(Lua(inner));
        }
        lua_closethread(lua.0, null_mut())
    }
}

/// Logs the error on top of the stack of a task that was cancelled, which nobody can await: its `__close` raised it.
fn report_lost(lua: Lua) {
    let message = beyond_limit(|| fault::message(lua, -1));
    let line = format!("a task was cancelled, and closing its variables failed: {message}");
    log::write(log::Level::Error, &line, "");
}

/// Gives the results of a wait, and goes back to the region that was left for it.
fn finish(call: Call, result: Result<Push, Error>, left: Running) -> c_int {
    // An error of the pushes ends here, where all that they are made from is dropped.
    let result = result.and_then(|mut push| protected(call.0, || push(call))?);
    region::back(left);
    match result {
        Ok(results) => results,
        Err(error) => unsafe { raise(call.0, error) },
    }
}

unsafe extern "C" fn resumed(l: *mut lua_State, _: c_int, _: lua_KContext) -> c_int {
    let result = current().and_then(|current| current.ready.take());
    let result = result.unwrap_or_else(|| Err(Error::Plain("the wait was cancelled".into())));
    finish(Call(Lua(l)), result, region::leave())
}

/// What a wait takes on both ways: its future, what the host tells.
const WAIT: usize = 4096;

/// Runs a builtin that may wait. Used by [`waiting!`](crate::waiting).
///
/// # Safety
/// `l` is the running Lua thread.
pub unsafe fn enter<F>(l: *mut lua_State, f: F, most: c_int) -> c_int
where
    F: Fn(Call) -> Result<Pending, Error>,
{
    let call = begin::<F>(l);
    let left = region::leave();
    let called = lines::calling(call.0);
    let mut future = match options::at_most(call.0, most)
        .and_then(|()| region::make_room(call.0, WAIT))
        .and_then(|()| f(call))
    {
        Ok(future) => Pending { called: Some(called), ..future },
        Err(error) => {
            drop(called);
            return finish(call, Err(error), left);
        }
    };
    let Some(current) = current() else {
        // Outside a task (the snapshot's initialisation) nothing can wait.
        drop(future);
        return finish(call, Err(Error::Plain("cannot wait here".into())), left);
    };
    let polled = future.future.as_mut().poll(unsafe { &mut *current.context });
    let result = match polled {
        Poll::Ready(result) => {
            drop(future);
            result
        }
        Poll::Pending if unsafe { lua_isyieldable(l) } != 0 && future.gives_way() => {
            current.waiting = Some(future);
            return unsafe { lua_suspendk(l, 0, resumed) };
        }
        Poll::Pending => block(future),
    };
    finish(call, result, left)
}

/// Waits for `future` without giving way to the other tasks of the instance.
fn block(pending: Pending) -> Result<Push, Error> {
    if pending.on_tasks {
        return Err(Error::Plain(
            "cannot wait for a task here: a C function that cannot yield (table.sort, string.gsub) is on the stack"
                .into(),
        ));
    }
    wit_bindgen::block_on(pending.future)
}

/// `lua_onblock`: a coroutine waits, but what resumed it cannot yield.
unsafe extern "C" fn on_block(_: *mut lua_State) {
    if let Some(current) = current()
        && let Some(future) = current.waiting.take()
    {
        let result = block(future);
        if let Some(current) = self::current() {
            current.ready = Some(result);
        }
    }
}

/// `lua_ontick`: the VM has used up its budget. The host ends the run here if a limit is reached.
unsafe extern "C" fn on_tick(_: *mut lua_State) -> c_int {
    crate::scheduler::computed_long();
    let signalled = crate::host::control::tick();
    if signalled {
        crate::signals::came();
    }
    (signalled || crate::scheduler::others_wait()).into()
}

/// Installs the VM's hooks; they survive the snapshot.
pub fn install() {
    unsafe {
        lua_ontick = Some(on_tick);
        lua_onblock = Some(on_block);
    }
}

/// A Lua coroutine that runs a function to its end. As a future it gives the number of results, which
/// are then on top of `lua`'s stack, or the status of the error whose value is there.
pub struct Thread {
    pub lua: Lua,
    anchor: Option<Ref>,
    arguments: c_int,
    current: Current,
}

impl Thread {
    /// Takes a function and its `arguments` from the top of `from`'s stack.
    pub fn new(from: Lua, arguments: c_int) -> Thread {
        let thread = Lua(unsafe { lua_newthread(from.0) });
        let anchor = Ref::pop(from);
        crate::scheduler::mark_root(thread);
        unsafe { lua_xmove(from.0, thread.0, arguments + 1) };
        Thread { lua: thread, anchor: Some(anchor), arguments, current: Current::new() }
    }

    /// The traceback of the error on top of the stack, where it is another task's.
    pub fn traceback_of_awaited(&self) -> Option<&[Frame]> {
        let (value, traceback) = self.current.raised.as_ref()?;
        if !self.lua.reserve(1) {
            return None;
        }
        value.push(self.lua);
        let same = unsafe { lua_rawequal(self.lua.0, -1, -2) != 0 };
        self.lua.pop(1);
        same.then_some(traceback.as_slice())
    }

    /// Closes its pending variables after an error, whose value is on top of the stack then as before. Gives the status:
    /// an error of what is closed takes its place.
    pub fn close_failed(&mut self) -> c_int {
        detached(|| close(self.lua))
    }

    /// Whether it waits for other tasks only.
    pub fn waits_on_tasks(&self) -> bool {
        self.current.waiting.as_ref().is_some_and(|pending| pending.on_tasks)
    }

    /// Ends the wait with an error, raised where the coroutine waits.
    pub fn interrupt(&mut self, error: Error) {
        self.current.waiting = None;
        self.current.ready = Some(Err(error));
    }

    fn resume(&mut self, context: &mut Context<'_>) -> (c_int, c_int) {
        self.current.context = (context as *mut Context<'_>).cast();
        let outer = CURRENT.replace(&raw mut self.current);
        let mut results = 0;
        let status = unsafe { lua_resume(self.lua.0, null_mut(), self.arguments, &mut results) };
        CURRENT.set(outer);
        self.arguments = 0;
        self.current.context = null_mut();
        (status, results)
    }
}

impl Future for Thread {
    type Output = Result<c_int, c_int>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(waiting) = &mut this.current.waiting {
            // Another task's call may have been the last.
            if let Some(called) = &waiting.called {
                called.tell();
            }
            match waiting.future.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => {
                    this.current.waiting = None;
                    this.current.ready = Some(result);
                }
            }
        }
        match this.resume(context) {
            (LUA_OK, results) => Poll::Ready(Ok(results)),
            (LUA_YIELD, _) => {
                unsafe { lua_suspending = 0 };
                if this.current.waiting.is_none() {
                    // Pre-empted: let the others run first.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
            (status, _) => Poll::Ready(Err(status)),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Drops the host's side of the wait first, then runs pending to-be-closed variables.
        self.current.waiting = None;
        if self.anchor.is_some() && unsafe { lua_status(self.lua.0) } == LUA_YIELD {
            let status = detached(|| close(self.lua));
            if status != LUA_OK {
                report_lost(self.lua);
            }
        }
    }
}
