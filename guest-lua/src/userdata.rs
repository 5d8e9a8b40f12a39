//! Rust values owned by Lua: handles with methods, dropped by the garbage collector.

use crate::ffi::*;
use crate::lua::Lua;
use std::ffi::{CStr, c_int, c_void};

/// A handle type. Its metatable is made on first use and found by the type's address.
pub trait Userdata: Sized + 'static {
    /// The name in error messages and `tostring`.
    const NAME: &'static CStr;
    /// What `handle:name(...)` reaches.
    const METHODS: &'static [(&'static str, lua_CFunction)];
    /// Metamethods besides `__index`, `__gc`, `__name`.
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[];
}

/// Pushes `value` as a userdata.
pub fn push<T: Userdata>(lua: Lua, value: T) {
    // `None` once it is dropped, so that a handle that is used after its finalizer is harmless.
    let slot = unsafe { lua_newuserdatauv(lua.0, size_of::<Option<T>>(), 0) } as *mut Option<T>;
    const { assert!(align_of::<Option<T>>() <= 8, "Lua aligns userdata to 8 bytes") };
    unsafe { slot.write(Some(value)) };
    push_metatable::<T>(lua);
    lua.set_metatable(-2);
}

/// The `T` at `index`; none where it is something else or already collected.
pub fn get<'a, T: Userdata>(lua: Lua, index: c_int) -> Option<&'a mut T> {
    let slot = unsafe { lua_touserdata(lua.0, index) } as *mut Option<T>;
    if slot.is_null() || unsafe { lua_getmetatable(lua.0, index) } == 0 {
        return None;
    }
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, key::<T>()) };
    let same = unsafe { lua_rawequal(lua.0, -1, -2) } != 0;
    lua.pop(2);
    if same { unsafe { (*slot).as_mut() } } else { None }
}

/// The registry key of `T`'s metatable: the address of its method list is unique to it.
fn key<T: Userdata>() -> *const c_void {
    T::NAME.as_ptr().cast()
}

fn push_metatable<T: Userdata>(lua: Lua) {
    unsafe extern "C" fn collect<T: Userdata>(l: *mut lua_State) -> c_int {
        let slot = unsafe { lua_touserdata(l, 1) } as *mut Option<T>;
        // A script can call this too, by way of the debug library.
        if get::<T>(Lua(l), 1).is_some() {
            // The collection may have been set off by a region.
            crate::region::outside(|| drop(unsafe { (*slot).take() }));
        }
        0
    }
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, key::<T>()) };
    if !lua.is_nil(-1) {
        return;
    }
    lua.pop(1);
    lua.new_table(0, 4 + T::METAMETHODS.len());
    crate::call::push_library(lua, T::METHODS);
    lua.raw_set(-2, "__index");
    lua.push_str(T::NAME.to_str().unwrap_or_default());
    lua.raw_set(-2, "__name");
    lua.push_function(collect::<T>);
    lua.raw_set(-2, "__gc");
    lua.push_bool(false);
    lua.raw_set(-2, "__metatable");
    for (name, function) in T::METAMETHODS {
        lua.push_function(*function);
        lua.raw_set(-2, name);
    }
    lua.push_copy(-1);
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, key::<T>()) };
}
