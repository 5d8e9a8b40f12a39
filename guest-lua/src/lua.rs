//! A thin, typed view of one Lua stack.
//!
//! Where Lua raises an error, it goes to the next protected call without running the destructors of the Rust frames in
//! between. So what runs code of the script, which may raise whenever it likes, is reached through [`Lua::raising`] only:
//! the functions of C that do so are private to this file, and take the token that a protected call gives, so that their
//! error comes back as a value. What is left are pushes, which raise where memory is short: they come last in a builtin,
//! in a [`region`](crate::region::region), or in what a wait gives, whose values stay with the one who calls it.

use crate::call::Error;
use crate::ffi::*;
use crate::region;
use std::ffi::{CStr, c_int, c_void};

/// What runs code of the script.
mod scripted {
    use crate::ffi::*;
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub fn lua_callk(
            l: *mut lua_State,
            nargs: c_int,
            nresults: c_int,
            ctx: lua_KContext,
            k: Option<lua_KFunction>,
        );
        pub fn lua_compare(l: *mut lua_State, a: c_int, b: c_int, op: c_int) -> c_int;
        pub fn lua_concat(l: *mut lua_State, n: c_int);
        pub fn lua_getfield(l: *mut lua_State, idx: c_int, k: *const c_char) -> c_int;
        pub fn lua_setfield(l: *mut lua_State, idx: c_int, k: *const c_char);
        pub fn luaL_tolstring(l: *mut lua_State, idx: c_int, len: *mut usize) -> *const c_char;
    }
}

/// Stands for an error that may be raised: [`Lua::raising`] gives one, and each call that may raise takes it.
pub struct Raising(Lua);

impl Raising {
    /// Calls the function below `arguments` values, not yieldable.
    pub fn call(self, arguments: c_int, results: c_int) {
        unsafe { scripted::lua_callk(self.0.0, arguments, results, 0, None) }
    }

    /// Pushes what `tostring` gives for the value at `index`.
    pub fn text<'a>(self, index: c_int) -> &'a [u8] {
        let mut len = 0;
        let start = unsafe { scripted::luaL_tolstring(self.0.0, index, &mut len) };
        unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }
    }

    /// Compares the values at `a` and `b` as Lua's operator does.
    pub fn compare(self, a: c_int, b: c_int, operator: c_int) -> bool {
        unsafe { scripted::lua_compare(self.0.0, a, b, operator) != 0 }
    }

    /// Puts one value in place of the `n` on top, as `..` does.
    pub fn concatenate(self, n: c_int) {
        unsafe { scripted::lua_concat(self.0.0, n) }
    }

    /// Pushes `t[name]` of the value at `index`.
    pub fn get(self, index: c_int, name: &CStr) {
        unsafe { scripted::lua_getfield(self.0.0, index, name.as_ptr()) };
    }

    /// `t[name] = value on top` of the value at `index`; pops it.
    pub fn set(self, index: c_int, name: &CStr) {
        unsafe { scripted::lua_setfield(self.0.0, index, name.as_ptr()) };
    }

    /// Pushes a new userdata of `size` bytes.
    pub fn userdata(self, size: usize) -> *mut c_void {
        unsafe { lua_newuserdatauv(self.0.0, size, 0) }
    }
}

/// One Lua thread (coroutine) and its stack. Copies refer to the same thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lua(pub *mut lua_State);

/// The types of Lua values that bindings tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Integer,
    Float,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Lua {
    pub fn top(self) -> c_int {
        unsafe { lua_gettop(self.0) }
    }

    pub fn set_top(self, index: c_int) {
        unsafe { lua_settop(self.0, index) }
    }

    pub fn pop(self, n: c_int) {
        self.set_top(-n - 1)
    }

    pub fn abs(self, index: c_int) -> c_int {
        unsafe { lua_absindex(self.0, index) }
    }

    /// Makes room for `n` more values; false when the stack cannot grow.
    pub fn reserve(self, n: c_int) -> bool {
        unsafe { lua_checkstack(self.0, n) != 0 }
    }

    pub fn type_of(self, index: c_int) -> Type {
        match unsafe { lua_type(self.0, index) } {
            LUA_TNIL => Type::Nil,
            LUA_TBOOLEAN => Type::Boolean,
            LUA_TLIGHTUSERDATA => Type::LightUserdata,
            LUA_TNUMBER if unsafe { lua_isinteger(self.0, index) } != 0 => Type::Integer,
            LUA_TNUMBER => Type::Float,
            LUA_TSTRING => Type::String,
            LUA_TTABLE => Type::Table,
            LUA_TFUNCTION => Type::Function,
            LUA_TUSERDATA => Type::Userdata,
            -1 => Type::None,
            _ => Type::Thread,
        }
    }

    pub fn is_nil(self, index: c_int) -> bool {
        matches!(self.type_of(index), Type::None | Type::Nil)
    }

    pub fn push_nil(self) {
        unsafe { lua_pushnil(self.0) }
    }

    pub fn push_bool(self, value: bool) {
        unsafe { lua_pushboolean(self.0, value.into()) }
    }

    pub fn push_integer(self, value: i64) {
        unsafe { lua_pushinteger(self.0, value) }
    }

    pub fn push_number(self, value: f64) {
        unsafe { lua_pushnumber(self.0, value) }
    }

    pub fn push_bytes(self, value: &[u8]) {
        unsafe { lua_pushlstring(self.0, value.as_ptr().cast(), value.len()) };
    }

    pub fn push_str(self, value: &str) {
        self.push_bytes(value.as_bytes())
    }

    pub fn push_function(self, function: lua_CFunction) {
        unsafe { lua_pushcclosure(self.0, function, 0) }
    }

    /// Pushes a C function that takes the `upvalues` values on top of the stack with it.
    pub fn push_closure(self, function: lua_CFunction, upvalues: c_int) {
        unsafe { lua_pushcclosure(self.0, function, upvalues) }
    }

    pub fn push_copy(self, index: c_int) {
        unsafe { lua_pushvalue(self.0, index) }
    }

    pub fn push_globals(self) {
        unsafe { lua_rawgeti(self.0, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS) };
    }

    /// Moves the value on top to `index`, shifting what is above.
    pub fn insert(self, index: c_int) {
        unsafe { lua_rotate(self.0, index, 1) }
    }

    /// Removes the value at `index`, shifting what is above.
    pub fn remove(self, index: c_int) {
        unsafe { lua_rotate(self.0, index, -1) };
        self.pop(1);
    }

    pub fn new_table(self, array: usize, fields: usize) {
        unsafe { lua_createtable(self.0, array as c_int, fields as c_int) }
    }

    /// `t[name] = value on top`, without metamethods; pops the value. `t` is the table at `index`.
    pub fn raw_set(self, index: c_int, name: &str) {
        let index = self.abs(index);
        self.push_str(name);
        self.insert(-2);
        unsafe { lua_rawset(self.0, index) }
    }

    /// `t[n] = value on top`, without metamethods; pops the value.
    pub fn raw_set_index(self, index: c_int, n: i64) {
        unsafe { lua_rawseti(self.0, index, n) }
    }

    /// Pushes `t[name]`, without metamethods.
    pub fn raw_get(self, index: c_int, name: &str) -> Type {
        let index = self.abs(index);
        self.push_str(name);
        unsafe { lua_rawget(self.0, index) };
        self.type_of(-1)
    }

    /// Pushes `t[n]`, without metamethods.
    pub fn raw_get_index(self, index: c_int, n: i64) -> Type {
        unsafe { lua_rawgeti(self.0, index, n) };
        self.type_of(-1)
    }

    pub fn raw_len(self, index: c_int) -> u64 {
        unsafe { lua_rawlen(self.0, index) }
    }

    /// How many values the list at `index` has; none where the table has other keys, which a reader of lists would
    /// leave out without a word.
    pub fn list_len(self, index: c_int) -> Option<i64> {
        let index = self.abs(index);
        let length = i64::try_from(self.raw_len(index)).ok()?;
        let mut keys = 0;
        self.push_nil();
        while unsafe { lua_next(self.0, index) } != 0 {
            self.pop(1);
            let listed = self.type_of(-1) == Type::Integer
                && self.integer(-1).is_some_and(|key| (1..=length).contains(&key));
            if !listed {
                self.pop(1);
                return None;
            }
            keys += 1;
        }
        (keys == length).then_some(length)
    }

    /// The bytes of the string at `index`; none where it is not a string. A number is not converted.
    ///
    /// The slice lives as long as the value stays on this stack; the caller must not pop it first.
    pub fn bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if unsafe { lua_type(self.0, index) } != LUA_TSTRING {
            return None;
        }
        let mut len = 0;
        let start = unsafe { lua_tolstring(self.0, index, &mut len) };
        Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })
    }

    pub fn boolean(self, index: c_int) -> bool {
        unsafe { lua_toboolean(self.0, index) != 0 }
    }

    /// The integer at `index`, or a float or string that is one.
    pub fn integer(self, index: c_int) -> Option<i64> {
        let mut ok = 0;
        let value = unsafe { lua_tointegerx(self.0, index, &mut ok) };
        (ok != 0).then_some(value)
    }

    /// The number at `index`, or a string that is one.
    pub fn number(self, index: c_int) -> Option<f64> {
        let mut ok = 0;
        let value = unsafe { lua_tonumberx(self.0, index, &mut ok) };
        (ok != 0).then_some(value)
    }

    /// Calls `f`, in which Lua may raise an error, once. What `f` holds is copied and has no destructor, so that nothing is
    /// lost by the error; what it is taken from is dropped where the error is handed on.
    ///
    /// # Errors
    /// The error of Lua, which is on top of the stack then; all else is as it was before.
    pub fn raising<T>(self, f: impl FnOnce(Raising) -> T + Copy) -> Result<T, Error> {
        protected(self, move || f(Raising(self)))
    }

    /// Pushes what `tostring` gives for the value at `index`. May run `__tostring`.
    ///
    /// # Errors
    /// Those of that.
    pub fn push_text<'a>(self, index: c_int) -> Result<&'a [u8], Error> {
        self.raising(|may| may.text(index))
    }

    /// What `tostring` gives for the value at `index`, lossily as UTF-8. May run `__tostring`.
    ///
    /// # Errors
    /// Those of that.
    pub fn display(self, index: c_int) -> Result<String, Error> {
        let text = String::from_utf8_lossy(self.push_text(index)?).into_owned();
        self.pop(1);
        Ok(text)
    }

    /// Compares the values at `a` and `b` as Lua's operator does.
    ///
    /// # Errors
    /// Those of metamethods, and of values that have no order.
    pub fn compare(self, a: c_int, b: c_int, operator: c_int) -> Result<bool, Error> {
        let is_plain = |index| !matches!(self.type_of(index), Type::Table | Type::Userdata);
        if operator == LUA_OPEQ && is_plain(a) && is_plain(b) {
            return Ok(unsafe { lua_rawequal(self.0, a, b) } != 0);
        }
        self.raising(|may| may.compare(a, b, operator))
    }

    /// Puts one value in place of the `n` on top, as `..` does.
    ///
    /// # Errors
    /// Those of metamethods, and of values that cannot be joined.
    pub fn concatenate(self, n: c_int) -> Result<(), Error> {
        self.raising(|may| may.concatenate(n))
    }

    /// Pushes `t[name]` of the value at `index`. May run `__index`.
    ///
    /// # Errors
    /// Those of that.
    pub fn get(self, index: c_int, name: &CStr) -> Result<(), Error> {
        self.raising(|may| may.get(index, name))
    }

    /// The text that `function` gives for the value at `index`; nothing where it fails. For where an error of Lua
    /// would find no handler: `__tostring` is code of the script.
    pub fn protected_text(self, function: lua_CFunction, index: c_int) -> Option<String> {
        let index = self.abs(index);
        if !self.reserve(2) {
            return None;
        }
        self.push_function(function);
        self.push_copy(index);
        let status = unsafe { lua_pcallk(self.0, 1, 1, 0, 0, None) };
        let text = self.bytes(-1).filter(|_| status == LUA_OK);
        let text = text.map(|text| String::from_utf8_lossy(text).into_owned());
        self.pop(1);
        text
    }

    /// Compiles a text chunk and pushes the function, or pushes the message and says why not.
    pub fn load(self, source: &[u8], name: &str) -> Result<(), c_int> {
        let name = format!("{}\0", name.replace('\0', "?"));
        let status = unsafe {
            luaL_loadbufferx(
                self.0,
                source.as_ptr().cast(),
                source.len(),
                name.as_ptr().cast(),
                c"t".as_ptr(),
            )
        };
        if status == LUA_OK { Ok(()) } else { Err(status) }
    }

    /// Calls the function below `arguments` values, not yieldable.
    ///
    /// # Errors
    /// Those of the function.
    pub fn call(self, arguments: c_int, results: c_int) -> Result<(), Error> {
        self.raising(|may| may.call(arguments, results))
    }

    /// Calls one of the guest's own functions while the snapshot is made, when no script has changed anything.
    ///
    /// # Panics
    /// When it fails, which a build of the guest shows at once.
    pub fn call_own(self, arguments: c_int, results: c_int) {
        if self.call(arguments, results).is_err() {
            panic!("{}", self.display(-1).unwrap_or_default());
        }
    }

    /// Opens one of Lua's own libraries as a global.
    pub fn open(self, name: &CStr, open: lua_CFunction) {
        unsafe { luaL_requiref(self.0, name.as_ptr(), open, 1) };
        self.pop(1);
    }

    /// Sets the metatable on top of the stack for the value at `index`; pops it.
    pub fn set_metatable(self, index: c_int) {
        unsafe { lua_setmetatable(self.0, index) };
    }
}

/// Calls `f`. An error of Lua ends it here, and the error is on top of the stack; all else is as it was before. What `f` has
/// moved out of what it borrows is lost then.
///
/// # Errors
/// That.
pub fn protected<T>(lua: Lua, f: impl FnOnce() -> T) -> Result<T, Error> {
    struct Body<F, T> {
        f: Option<F>,
        result: Option<T>,
    }
    unsafe extern "C" fn run<F: FnOnce() -> T, T>(_: *mut lua_State, body: *mut c_void) {
        let body = unsafe { &mut *body.cast::<Body<F, T>>() };
        body.result = body.f.take().map(|f| f());
    }
    fn runner<F: FnOnce() -> T, T>(_: &Body<F, T>) -> lua_Protected {
        run::<F, T>
    }
    let mut body = Body { f: Some(f), result: None };
    let run = runner(&body);
    let running = region::leave();
    unsafe { lua_protect(lua.0, run, (&raw mut body).cast()) };
    region::back(running);
    body.result.ok_or(Error::Raised)
}

/// A Lua value kept alive from Rust; freed when dropped.
pub struct Ref {
    main: Lua,
    key: c_int,
}

impl Ref {
    /// Takes the value on top of the stack.
    pub fn pop(lua: Lua) -> Ref {
        let key = unsafe { luaL_ref(lua.0, LUA_REGISTRYINDEX) };
        Ref { main: crate::state::main(), key }
    }

    pub fn push(&self, lua: Lua) {
        unsafe { lua_rawgeti(lua.0, LUA_REGISTRYINDEX, self.key.into()) };
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        unsafe { luaL_unref(self.main.0, LUA_REGISTRYINDEX, self.key) }
    }
}
