//! `async`: tasks, and what waits for several of them.

use crate::call::{Call, Error, Returned, prelude, push_library, set_library};
use crate::ffi::*;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::scheduler::{self, Ended, Group, TaskState};
use crate::task::{self, Pending, wait_on_tasks};
use crate::userdata::{self, Userdata};
use crate::work::{CALL, spend};
use crate::{function, waiting};
use std::future::poll_fn;
use std::rc::Rc;

/// A handle to a task.
struct Handle(Rc<TaskState>);

impl Userdata for Handle {
    crate::named!(c"async.handle");
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[("__index", function!(index))];
}

pub fn register(lua: Lua) {
    push_library(lua, &[("spawn", function!(spawn))]);
    lua.push_copy(-1);
    set_library(lua, "async");
    push_library(
        lua,
        &[
            ("wait_any", waiting!(wait_any)),
            ("wait_all", waiting!(wait_all)),
            ("is_task", function!(is_task)),
            ("sleep", waiting!(crate::bindings::time::sleep)),
            ("failure", function!(crate::call::failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "async");
    prelude(lua, "async", include_str!("async.lua"));
}

fn spawn(call: Call) -> Returned {
    call.function(1)?;
    let lua = call.lua();
    let handle = scheduler::spawn(lua, lua.top() - 1)?;
    userdata::push(lua, Handle(handle))?;
    Ok(1)
}

/// `handle.await` and `handle.cancel` work as methods and, bound to the handle, as plain functions.
fn index(call: Call) -> Returned {
    call.userdata::<Handle>(1)?;
    let function = match call.str(2)? {
        "await" => waiting!(task_await, 1),
        "cancel" => function!(cancel, 1),
        "done" => function!(is_done, 1),
        _ => {
            call.lua().push_nil();
            return Ok(1);
        }
    };
    call.lua().push_copy(1);
    call.lua().push_closure(function, 1);
    Ok(1)
}

/// The handle of a method call: the first argument, or what the function is bound to.
fn handle(call: Call) -> Result<Rc<TaskState>, Error> {
    let lua = call.lua();
    if let Some(handle) = userdata::get::<Handle>(lua, 1) {
        return Ok(handle.0.clone());
    }
    lua.push_copy(lua_upvalueindex(1));
    let handle = userdata::get::<Handle>(lua, -1).map(|handle| handle.0.clone());
    lua.pop(1);
    handle.ok_or(Error::Type(1, Handle::NAME))
}

fn cancel(call: Call) -> Returned {
    handle(call)?.cancel();
    Ok(0)
}

/// Whether the argument is a task.
fn is_task(call: Call) -> Returned {
    let lua = call.lua();
    lua.push_bool(userdata::get::<Handle>(lua, 1).is_some());
    Ok(1)
}

fn is_done(call: Call) -> Returned {
    call.lua().push_bool(handle(call)?.is_done());
    Ok(1)
}

fn push_ended(call: Call, ended: &mut Option<Ended>) -> Returned {
    let lua = call.lua();
    if let Some(Ended::Returned(thread, results)) = ended {
        let results = *results;
        if !lua.reserve(results) {
            return Err(Error::Plain("too many results to await".into()));
        }
        unsafe { lua_xmove(thread.lua.0, lua.0, results) };
        return Ok(results);
    }
    match ended.take() {
        Some(Ended::Failed(failed)) => {
            failed.value.push(lua);
            task::gives_error(failed.value, failed.traceback);
            Err(Error::Raised)
        }
        Some(Ended::Cancelled) => Err(Error::failed(ErrorCode::Other, "the task was cancelled")),
        _ => Err(Error::Plain("the task was awaited before".into())),
    }
}

fn task_await(call: Call) -> Result<Pending, Error> {
    let shared = handle(call)?;
    wait_on_tasks(async move {
        let mut told = None;
        poll_fn(|context| shared.poll_done(context, &mut told)).await;
        let mut ended = shared.take();
        Ok(move |call: Call| push_ended(call, &mut ended))
    })
}

/// The handles in the list at argument 1.
fn handles(call: Call) -> Result<Vec<Rc<TaskState>>, Error> {
    let lua = call.lua();
    if lua.type_of(1) != Type::Table {
        return Err(Error::Type(1, c"table"));
    }
    let mut list = Vec::new();
    for n in 1..=lua.raw_len(1) {
        spend(CALL);
        lua.raw_get_index(1, n as i64);
        let handle = userdata::get::<Handle>(lua, -1).map(|handle| handle.0.clone());
        lua.pop(1);
        match handle {
            Some(handle) => list.push(handle),
            None => return Err(Error::Argument(1, format!("item {n} is not a task"))),
        }
    }
    Ok(list)
}

/// Waits until a task of the list has ended; gives its position.
fn wait_any(call: Call) -> Result<Pending, Error> {
    let group = Group::new(&handles(call)?, true);
    wait_on_tasks(async move {
        let position = poll_fn(|context| group.poll(context)).await.unwrap_or_default();
        Ok(move |call: Call| {
            call.lua().push_integer(position as i64 + 1);
            Ok(1)
        })
    })
}

/// Waits until every task of the list has ended, or one has failed; gives the failed one's position.
fn wait_all(call: Call) -> Result<Pending, Error> {
    let group = Group::new(&handles(call)?, false);
    wait_on_tasks(async move {
        let failed = poll_fn(|context| group.poll(context)).await;
        Ok(move |call: Call| {
            match failed {
                Some(position) => call.lua().push_integer(position as i64 + 1),
                None => call.lua().push_nil(),
            }
            Ok(1)
        })
    })
}
