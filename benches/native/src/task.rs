//! `async.spawn(fn)` and `task:await()`.

use mlua::{Function, Lua, MultiValue, Result, Table, UserData, UserDataMethods, UserDataRef};
use std::cell::RefCell;
use tokio::task::JoinHandle;

struct Task(RefCell<Option<JoinHandle<Result<MultiValue>>>>);

impl UserData for Task {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("await", |_, task: UserDataRef<Task>, ()| async move {
            let handle = task.0.borrow_mut().take();
            match handle {
                Some(handle) => handle.await.map_err(mlua::Error::external)?,
                None => Err(mlua::Error::runtime("the task was awaited before")),
            }
        });
    }
}

pub fn library(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    library.set("spawn", lua.create_function(spawn)?)?;
    Ok(library)
}

fn spawn(lua: &Lua, function: Function) -> Result<Task> {
    let thread = lua.create_thread(function)?.into_async::<MultiValue>(())?;
    Ok(Task(RefCell::new(Some(tokio::task::spawn_local(thread)))))
}
