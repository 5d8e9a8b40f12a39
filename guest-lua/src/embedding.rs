//! What the program around the script adds: calls of the script's functions, and functions for the script.

use crate::call::{Call, Error, Returned, prelude, push_library};
use crate::ffi::*;
use crate::host::script::Extension;
use crate::host::types::ErrorCode;
use crate::host::{control, extensions};
use crate::lua::Lua;
use crate::task::{self, Pending, wait_lasting};
use crate::{function, scheduler, waiting};

/// Registry keys (their addresses) of the functions of `embedding.lua`.
static HANDLE: u8 = 0;
static INSTALL: u8 = 0;

/// Runs after the bindings are registered: values come and go as JSON.
pub fn register(lua: Lua) {
    push_library(lua, &[("call", waiting!(call)), ("loaded", function!(loaded))]);
    lua.push_copy(-1);
    prelude(lua, "embedding", include_str!("embedding.lua"));
    for (name, key) in [("handle", &raw const HANDLE), ("install", &raw const INSTALL)] {
        lua.raw_get(-1, name);
        unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, key.cast()) };
    }
    lua.pop(1);
}

fn call(call: Call) -> Result<Pending, Error> {
    let (extension, function, arguments) = (call.string(1)?, call.string(2)?, call.string(3)?);
    wait_lasting(async move {
        let result = extensions::call(extension, function, arguments).await?;
        Ok(move |call: Call| {
            call.lua().push_str(&result);
            Ok(1)
        })
    })
}

/// `loaded()`: the script's top level has run. Gives a new seed where the run is replayed from here on.
fn loaded(call: Call) -> Returned {
    let Some((first, second)) = control::loaded() else { return Ok(0) };
    // They would go on with what they had from outside.
    if scheduler::others_wait() {
        let why = "the script's top level left tasks running, which a workflow cannot have; await or cancel them there";
        return Err(Error::failed(ErrorCode::Unsupported, why));
    }
    task::begin_replay();
    call.lua().push_integer(first.cast_signed());
    call.lua().push_integer(second.cast_signed());
    Ok(2)
}

/// Gives the script the functions of an extension.
pub fn install(lua: Lua, extension: &Extension) {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const INSTALL).cast()) };
    lua.push_str(&extension.name);
    for function in &extension.functions {
        lua.push_str(function);
    }
    lua.call_own(extension.functions.len() as i32 + 1, 0);
}

/// Puts what calls `function` below the script's chunk, which is on top of the stack, and its other arguments above.
/// Gives the number of arguments.
pub fn push_handler(lua: Lua, function: &str, input: &str) -> i32 {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const HANDLE).cast()) };
    lua.insert(-2);
    lua.push_str(function);
    lua.push_str(input);
    3
}
