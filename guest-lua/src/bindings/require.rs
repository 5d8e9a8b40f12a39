//! `require` and the `package` library, without C modules.

use crate::call::{Call, Error, Returned, prelude, push_library};
use crate::ffi::*;
use crate::host::modules;
use crate::lua::Lua;
use crate::task::{self, Pending, wait_on_tasks};
use crate::userdata::{self, Userdata};
use crate::{function, waiting};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("load_module", function!(load_module)),
            ("current_task", function!(current_task)),
            ("new_latch", function!(new_latch)),
            ("open_latch", function!(open_latch)),
            ("wait_latch", waiting!(wait_latch)),
        ],
    );
    // `package.loaded` is the table in which Lua's own libraries are.
    lua.raw_get(LUA_REGISTRYINDEX, "_LOADED");
    lua.raw_set(-2, "loaded");
    prelude(lua, "require", include_str!("require.lua"));
}

/// A module's compiled chunk and where it is from; nil and the places tried; or false and why it does not
/// compile.
fn load_module(call: Call) -> Returned {
    let lua = call.lua();
    match modules::find(call.str(1)?) {
        Err(tried) => {
            lua.push_nil();
            lua.push_str(&tried);
        }
        Ok(source) => {
            let path = source.name.trim_start_matches(['@', '=']);
            match lua.load(crate::run::without_shebang(&source.text), &source.name) {
                Ok(()) => lua.push_str(path),
                Err(_) => {
                    lua.push_bool(false);
                    lua.insert(-2);
                }
            }
        }
    }
    Ok(2)
}

/// What is shut while a task loads a module.
#[derive(Clone, Default)]
struct Latch(Rc<State>);

#[derive(Default)]
struct State {
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Userdata for Latch {
    crate::named!(c"latch");
}

/// A number for the task that runs.
fn current_task(call: Call) -> Returned {
    call.lua().push_integer(task::current_id() as i64);
    Ok(1)
}

fn new_latch(call: Call) -> Returned {
    userdata::push(call.lua(), Latch::default())?;
    Ok(1)
}

fn open_latch(call: Call) -> Returned {
    let latch = call.userdata::<Latch>(1)?;
    latch.0.open.set(true);
    for waker in latch.0.waiting.take() {
        waker.wake();
    }
    Ok(0)
}

fn wait_latch(call: Call) -> Result<Pending, Error> {
    let latch = call.userdata::<Latch>(1)?.clone();
    wait_on_tasks(async move {
        let mut told: Option<Waker> = None;
        poll_fn(|context| {
            if latch.0.open.get() {
                return Poll::Ready(());
            }
            if !told.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                told = Some(context.waker().clone());
                latch.0.waiting.borrow_mut().push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        Ok(|_: Call| Ok(0))
    })
}
