//! The one Lua state of an instance, built before the snapshot is taken.

use crate::alloc;
use crate::bindings;
use crate::ffi::*;
use crate::lua::Lua;
use std::ptr::null_mut;

static mut MAIN: *mut lua_State = null_mut();

/// The main thread of the state. It runs nothing itself: every chunk runs in a coroutine.
pub fn main() -> Lua {
    Lua(unsafe { MAIN })
}

/// Builds the state with every library and builtin.
///
/// # Panics
/// When there is no memory for an empty state, or a builtin cannot be frozen.
pub fn init() {
    crate::region::check();
    // Each instance gets a seed of its own for the strings that it makes.
    let state = unsafe { lua_newstate(alloc::lua_alloc, null_mut(), 0) };
    assert!(!state.is_null(), "no memory for a Lua state");
    unsafe { MAIN = state };
    let lua = main();
    lua.open(c"_G", luaopen_base);
    lua.open(c"coroutine", luaopen_coroutine);
    lua.open(c"debug", luaopen_debug);
    lua.open(c"math", luaopen_math);
    lua.open(c"string", luaopen_string);
    lua.open(c"table", luaopen_table);
    lua.open(c"utf8", luaopen_utf8);
    without_bytecode(lua);
    crate::call::register_support(lua);
    crate::value::register(lua);
    bindings::register(lua);
    crate::embedding::register(lua);
    // Only now: there is no host yet to ask when the bindings' own Lua has used up the budget.
    crate::task::install();
    lua.set_top(0);
    // The snapshot holds no garbage, and starts with a fresh cycle.
    unsafe { lua_gc(lua.0, 2, 0) };
    let frozen = unsafe { lua_freeze(lua.0) };
    assert!(frozen != 0, "a builtin has a table with a key of more than 40 bytes");
}

/// There is no bytecode: what would make it does not exist, and a patch refuses to load it.
fn without_bytecode(lua: Lua) {
    lua.push_globals();
    lua.raw_get(-1, "string");
    lua.push_nil();
    lua.raw_set(-2, "dump");
    lua.pop(2);
}
