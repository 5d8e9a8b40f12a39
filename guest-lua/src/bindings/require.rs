//! `require` and the `package` library, without C modules.

use crate::call::{Call, Returned, prelude, push_library};
use crate::ffi::*;
use crate::function;
use crate::host::modules;
use crate::lua::Lua;

pub fn register(lua: Lua) {
    push_library(lua, &[("load_module", function!(load_module))]);
    // `package.loaded` is the table in which Lua's own libraries are.
    unsafe { lua_getfield(lua.0, LUA_REGISTRYINDEX, c"_LOADED".as_ptr()) };
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
