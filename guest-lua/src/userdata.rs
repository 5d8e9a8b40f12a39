//! Rust values owned by Lua: handles with methods, dropped by the garbage collector.

use crate::call::Error;
use crate::ffi::*;
use crate::lua::Lua;
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::rc::Rc;
use std::sync::atomic::AtomicU8;

/// What tells one type of handles from all others: a static, which has an address of its own. That of a name would not
/// do, as equal texts may be one.
pub struct Tag(AtomicU8);

impl Tag {
    pub const fn new() -> Tag {
        Tag(AtomicU8::new(0))
    }
}

/// A handle type. Its metatable is made on first use.
pub trait Userdata: Sized + 'static {
    /// The name in error messages and `tostring`.
    const NAME: &'static CStr;
    /// What `handle:name(...)` reaches.
    const METHODS: &'static [(&'static str, lua_CFunction)] = &[];
    /// Metamethods besides `__index`, `__gc`, `__name`.
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[];

    /// A static of this type's own; [`named!`](crate::named) makes it.
    fn tag() -> &'static Tag;
}

/// The name and the tag of a type of handles.
#[macro_export]
macro_rules! named {
    ($name:literal) => {
        const NAME: &'static std::ffi::CStr = $name;

        fn tag() -> &'static $crate::userdata::Tag {
            static TAG: $crate::userdata::Tag = $crate::userdata::Tag::new();
            &TAG
        }
    };
}

/// What a handle holds until it is closed.
pub struct Closable<T>(Cell<Option<Rc<T>>>);

impl<T> Closable<T> {
    pub fn new(value: T) -> Closable<T> {
        Closable::share(Rc::new(value))
    }

    pub fn share(value: Rc<T>) -> Closable<T> {
        Closable(Cell::new(Some(value)))
    }

    /// What it holds; nothing once it is closed.
    pub fn get(&self) -> Option<Rc<T>> {
        let value = self.0.take();
        self.0.set(value.clone());
        value
    }

    /// Takes it away: the handle is closed.
    pub fn take(&self) -> Option<Rc<T>> {
        self.0.take()
    }
}

/// Pushes `value` as a userdata.
///
/// # Errors
/// "not enough memory"; the value is dropped then.
pub fn push<T: Userdata>(lua: Lua, value: T) -> Result<(), Error> {
    const { assert!(align_of::<Option<T>>() <= 8, "Lua aligns userdata to 8 bytes") };
    let slot = lua.raising(|may| {
        // `None` until nothing can fail any more, and once it is dropped.
        let slot = may.userdata(size_of::<Option<T>>()).cast::<Option<T>>();
        unsafe { slot.write(None) };
        push_metatable::<T>(lua);
        lua.set_metatable(-2);
        slot
    })?;
    unsafe { slot.write(Some(value)) };
    Ok(())
}

/// The `T` at `index`; none where it is something else or already collected. It is shared, as the same handle may be asked
/// for twice: what changes in it is in a cell. Not to be kept while code of the script runs, which can collect it.
pub fn get<'a, T: Userdata>(lua: Lua, index: c_int) -> Option<&'a T> {
    let slot = slot::<T>(lua, index)?;
    unsafe { (*slot).as_ref() }
}

fn slot<T: Userdata>(lua: Lua, index: c_int) -> Option<*mut Option<T>> {
    let slot = unsafe { lua_touserdata(lua.0, index) } as *mut Option<T>;
    if slot.is_null() || unsafe { lua_getmetatable(lua.0, index) } == 0 {
        return None;
    }
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, key::<T>()) };
    let same = unsafe { lua_rawequal(lua.0, -1, -2) } != 0;
    lua.pop(2);
    same.then_some(slot)
}

/// The registry key of `T`'s metatable.
fn key<T: Userdata>() -> *const c_void {
    T::tag().0.as_ptr().cast()
}

fn push_metatable<T: Userdata>(lua: Lua) {
    unsafe extern "C" fn collect<T: Userdata>(l: *mut lua_State) -> c_int {
        // A script can call this too, by way of the debug library.
        if let Some(slot) = slot::<T>(Lua(l), 1) {
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
