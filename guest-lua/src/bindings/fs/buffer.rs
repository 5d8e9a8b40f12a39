//! Bytes on their way into a Lua string, in memory that counts against the script's limit.

use crate::alloc::lua_alloc;
use crate::call::{Error, Returned};
use crate::ffi::*;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, protected};
use std::ffi::{c_char, c_void};
use std::ptr::{copy_nonoverlapping, null_mut};

unsafe extern "C" {
    fn lua_pushexternalstring(
        l: *mut lua_State,
        start: *const c_char,
        len: usize,
        free: lua_Alloc,
        ud: *mut c_void,
    ) -> *const c_char;
}

const LUA_GCCOLLECT: i32 = 2;
const LUA_GCSTEP: i32 = 5;
/// From here on Lua takes over the memory instead of copying it.
const EXTERNAL: usize = 512;

/// A growing string. Unlike a `Vec` it fails where the script's memory ends, instead of ending the run.
pub struct Buffer {
    start: *mut u8,
    len: usize,
    capacity: usize,
}

fn no_memory() -> Error {
    Error::failed(ErrorCode::Limit, "not enough memory")
}

impl Buffer {
    pub const fn new() -> Buffer {
        Buffer { start: null_mut(), len: 0, capacity: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn resize(&mut self, capacity: usize) -> Result<(), Error> {
        let block = self.start.cast();
        let mut moved = unsafe { lua_alloc(null_mut(), block, self.capacity, capacity) };
        if moved.is_null() {
            // What Lua no longer uses may be what is missing.
            unsafe { lua_gc(crate::state::main().0, LUA_GCCOLLECT) };
            moved = unsafe { lua_alloc(null_mut(), block, self.capacity, capacity) };
        }
        if moved.is_null() {
            return Err(no_memory());
        }
        self.start = moved.cast();
        self.capacity = capacity;
        Ok(())
    }

    /// Makes room for `more` bytes and the zero that Lua wants behind them.
    ///
    /// # Errors
    /// `limit`, when the script's memory is used up.
    pub fn reserve(&mut self, more: usize) -> Result<(), Error> {
        let needed = self.len.checked_add(more).and_then(|len| len.checked_add(1)).ok_or_else(no_memory)?;
        if needed <= self.capacity {
            return Ok(());
        }
        let doubled = self.capacity.saturating_mul(2).max(64);
        match self.resize(needed.max(doubled)) {
            Err(_) if doubled > needed => self.resize(needed),
            other => other,
        }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// As for `reserve`.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reserve(bytes.len())?;
        unsafe { copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.len), bytes.len()) };
        self.len += bytes.len();
        Ok(())
    }

    /// Takes `byte` away where it is the last.
    pub fn strip_suffix(&mut self, byte: u8) {
        if self.as_slice().last() == Some(&byte) {
            self.len -= 1;
        }
    }

    /// The result of a builtin. An error of it leaves nothing behind.
    ///
    /// # Errors
    /// "not enough memory".
    pub fn give(mut self, lua: Lua) -> Returned {
        protected(lua, || self.push(lua))?;
        Ok(1)
    }

    /// Pushes it as a Lua string, long ones without a copy; then it is empty.
    pub fn push(&mut self, lua: Lua) {
        let len = self.len;
        if len < EXTERNAL || self.resize(len + 1).is_err() {
            lua.push_bytes(self.as_slice());
            return;
        }
        unsafe {
            *self.start.add(len) = 0;
            let start = self.start;
            // From here on the memory is Lua's, also where it raises an error.
            (self.start, self.len, self.capacity) = (null_mut(), 0, 0);
            lua_pushexternalstring(lua.0, start.cast(), len, lua_alloc, null_mut());
            // The collector does not see such memory by itself.
            lua_gc(lua.0, LUA_GCSTEP, len);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.capacity != 0 {
            unsafe { lua_alloc(null_mut(), self.start.cast(), self.capacity, 0) };
        }
    }
}
