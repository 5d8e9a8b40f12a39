//! What the guest's own sources, compiled natively, expect around them.

use crate::lua::Lua;
use mlua::{Result, ffi};
use std::ffi::{c_int, c_void};

/// Sets the global `json`: the very code that runs in the sandbox.
pub fn register_json(lua: &mlua::Lua) -> Result<()> {
    // SAFETY: both sides mean the same Lua state, whose C API the guest's sources use as it is documented.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            crate::call::register_support(Lua(state.cast()));
            crate::json::register(Lua(state.cast()));
        })
    }
}

/// The patched Lua's way to raise an error without throwing; here it throws.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lua_softerror(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: the caller's contract is that of `lua_error`.
    unsafe { ffi::lua_error(l) }
}

/// The guest's way to end a call in the frame that runs: here nothing but the benchmark's end comes of an error.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lua_protect(
    l: *mut ffi::lua_State,
    f: unsafe extern "C-unwind" fn(*mut ffi::lua_State, *mut c_void),
    body: *mut c_void,
) -> c_int {
    // SAFETY: `f` and `body` belong together.
    unsafe { f(l, body) };
    0
}

/// The guest's error of a memory that is used up.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lua_nomemory(_: *mut ffi::lua_State) -> ! {
    std::process::abort()
}

/// In place of the WIT types and the host's limits, of which there are none.
pub mod host {
    /// There is no host that has limits.
    pub mod control {
        pub fn room(_: &str) -> Result<u64, super::types::Error> {
            Ok(u64::MAX)
        }
    }

    pub mod types {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "json needs a part of it")]
        pub enum ErrorCode {
            Denied,
            InvalidArgument,
            NotFound,
            Exists,
            Permission,
            Timeout,
            Limit,
            Unavailable,
            InvalidData,
            Unsupported,
            Io,
            Other,
        }

        #[derive(Clone, Debug)]
        pub struct Error {
            pub code: ErrorCode,
            pub message: String,
            pub errno: i32,
        }
    }
}

pub mod state {
    /// The guest frees references through its one main state; nothing here makes any.
    pub fn main() -> crate::lua::Lua {
        crate::lua::Lua(std::ptr::null_mut())
    }
}
