//! Which line of the script calls a builtin, for a person who is asked whether it may.

use crate::ffi::luaL_where;
use crate::host::control;
use crate::lua::Lua;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;

/// How far up the caller of a builtin is looked for: the Lua parts of bindings call few levels deep.
const LEVELS: c_int = 40;

thread_local! {
    static TELLS: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
    /// The chunk names of the Lua parts of bindings, which are no lines of the script.
    static EMBEDDED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Whether anybody wants to know.
pub fn tell(tells: bool) {
    TELLS.set(tells);
}

/// A chunk of this name is part of a binding.
pub fn is_embedded(name: &str) {
    EMBEDDED.with_borrow_mut(|names| names.push(format!("{name}:")));
}

/// Whether a place (`listen:12`) is in the Lua part of a binding.
pub fn is_of_builtin(place: &str) -> bool {
    EMBEDDED.with_borrow(|names| names.iter().any(|name| place.starts_with(name.as_str())))
}

/// A call of a builtin, where anybody wants to know.
pub struct Called(Option<(u64, String)>);

impl Called {
    /// What the host is asked for from here on is for this call.
    pub fn tell(&self) {
        if let Some((number, line)) = &self.0 {
            control::calling(*number, line);
        }
    }
}

/// A builtin begins.
pub fn calling(lua: Lua) -> Called {
    let called = Called(TELLS.get().then(|| {
        CALLS.set(CALLS.get() + 1);
        (CALLS.get(), line(lua))
    }));
    called.tell();
    called
}

/// `script.lua:12`, of the innermost function that is the script's.
pub fn line(lua: Lua) -> String {
    for level in 1..=LEVELS {
        unsafe { luaL_where(lua.0, level) };
        let place = String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default()).into_owned();
        lua.pop(1);
        let place = place.trim_end_matches([':', ' ']);
        // C functions have no place.
        if !place.is_empty() && !is_of_builtin(place) {
            return place.to_string();
        }
    }
    String::new()
}
