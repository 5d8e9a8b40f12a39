//! Signals of the run: those that the script handles, and what ends it otherwise.

use crate::alloc::beyond_limit;
use crate::call::{Call, Error, Returned};
use crate::ffi::*;
use crate::host::{control, os};
use crate::lua::{Lua, Type};
use crate::scheduler::{self, TaskState};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Registry key of the table of handlers, by name (its address).
static HANDLERS: u8 = 0;

thread_local! {
    /// Handlers that run.
    static HANDLING: RefCell<Vec<(String, Rc<TaskState>)>> = const { RefCell::new(Vec::new()) };
    /// Whether the script has ever had a handler.
    static HANDLES: Cell<bool> = const { Cell::new(false) };
    /// The host said that one came.
    static CAME: Cell<bool> = const { Cell::new(false) };
}

/// The host said so while the script computed.
pub fn came() {
    CAME.set(true);
}

/// Whether the script must be interrupted for a signal.
pub fn have_come() -> bool {
    CAME.get()
}

/// What waits for signals.
#[derive(Default)]
pub struct Signals {
    next: Option<Pin<Box<dyn Future<Output = String>>>>,
}

impl Signals {
    /// Starts the handlers of what comes. Ready with the name of a signal that has none.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<String> {
        answer();
        loop {
            let next = self.next.get_or_insert_with(|| Box::pin(control::signal()));
            let Poll::Ready(name) = next.as_mut().poll(context) else { return Poll::Pending };
            self.next = None;
            CAME.set(false);
            match handle(&name) {
                Some(task) => HANDLING.with_borrow_mut(|handling| handling.push((name, task))),
                None => return Poll::Ready(name),
            }
        }
    }

    /// The same when the script is at its end. True where no handler runs any more.
    pub fn poll_last(&mut self, context: &mut Context<'_>) -> bool {
        if HANDLES.get() {
            // One that nobody handles comes too late to end what is at its end.
            let _ = self.poll(context);
        }
        HANDLING.with_borrow(Vec::is_empty)
    }
}

/// Tells of handlers that have ended. One that failed is told when it is dropped.
fn answer() {
    let (handling, done): (Vec<_>, Vec<_>) =
        HANDLING.take().into_iter().partition(|(_, task)| !task.is_done());
    HANDLING.set(handling);
    done.iter().for_each(|(name, _)| control::signal_answered(name));
}

fn push_handlers(lua: Lua) -> bool {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const HANDLERS).cast()) };
    lua.type_of(-1) == Type::Table
}

/// Starts the handler of a signal, if the script has one.
pub fn handle(name: &str) -> Option<Rc<TaskState>> {
    let lua = crate::state::main();
    beyond_limit(|| {
        let top = lua.top();
        let handled = push_handlers(lua) && lua.raw_get(-1, name) == Type::Function;
        let task = handled.then(|| {
            lua.push_str(name);
            scheduler::start(lua, 1)
        });
        lua.set_top(top);
        task
    })
}

/// `os.on_signal(name, fn)`
pub fn on_signal(call: Call) -> Returned {
    let name = call.str(1)?.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let handled = !call.is_nil(2);
    if handled {
        call.function(2)?;
    }
    os::catch_signal(name, handled).map_err(Error::from)?;
    HANDLES.set(true);
    let lua = call.lua();
    if !push_handlers(lua) {
        lua.pop(1);
        lua.new_table(0, 1);
        lua.push_copy(-1);
        unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const HANDLERS).cast()) };
    }
    match handled {
        true => lua.push_copy(2),
        false => lua.push_nil(),
    }
    lua.raw_set(-2, name);
    Ok(0)
}
