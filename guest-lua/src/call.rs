//! Builtins: how Rust functions are registered, take their arguments and raise errors.
//!
//! A builtin takes its arguments first, with `?`; nothing in it throws while it holds Rust values.
//! What went wrong is returned as an [`Error`] and raised here, when the Rust frames are gone.

use crate::ffi::*;
use crate::function;
use crate::host::{control, types};
use crate::lines;
use crate::lua::{Lua, Type, protected};
use crate::options;
use crate::region;
use crate::userdata::Userdata;
use crate::work;
use std::ffi::{CStr, c_int};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, UnwindSafe};

/// One call of a builtin: its arguments are the stack's first values.
#[derive(Clone, Copy)]
pub struct Call(pub Lua);

/// Why a builtin failed.
#[derive(Debug)]
pub enum Error {
    /// An argument of the wrong type: "bad argument #1 to 'f' (string expected, got nil)".
    Type(c_int, &'static CStr),
    /// An argument of a value that does not fit: "bad argument #1 to 'f' (MESSAGE)".
    Argument(c_int, String),
    /// A failure of the call itself: an error table with the fields `code` and `message`.
    Failed(types::Error),
    /// A plain string with the position of the caller, as `error(message)` makes it.
    Plain(String),
    /// The value on top of the stack, as it is.
    Raised,
}

/// How many values a builtin left on the stack as its results.
pub type Returned = Result<c_int, Error>;

impl Error {
    /// A failure that the guest itself found.
    pub fn failed(code: types::ErrorCode, message: impl Into<String>) -> Error {
        Error::Failed(types::Error { code, message: message.into(), errno: 0 })
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Error {
        Error::Failed(error)
    }
}

/// The name that scripts see for a code.
pub fn code_name(code: types::ErrorCode) -> &'static str {
    match code {
        types::ErrorCode::Denied => "denied",
        types::ErrorCode::InvalidArgument => "invalid_argument",
        types::ErrorCode::NotFound => "not_found",
        types::ErrorCode::Exists => "exists",
        types::ErrorCode::Permission => "permission",
        types::ErrorCode::Timeout => "timeout",
        types::ErrorCode::Limit => "limit",
        types::ErrorCode::Unavailable => "unavailable",
        types::ErrorCode::InvalidData => "invalid_data",
        types::ErrorCode::Unsupported => "unsupported",
        types::ErrorCode::Io => "io",
        types::ErrorCode::Other => "other",
    }
}

/// Registry key of the metatable of error tables (its address).
pub static ERROR_METATABLE: u8 = 0;

/// Registry key of what the Lua parts of bindings share (its address).
static SHARED: u8 = 0;

/// Makes the metatable of error tables, and what the Lua parts of bindings share; runs before any binding is
/// registered.
pub fn register_support(lua: Lua) {
    push_embedded(lua, "error", include_str!("error.lua"));
    lua.call_own(0, 1);
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const ERROR_METATABLE).cast()) };
    push_embedded(lua, "shared", include_str!("shared.lua"));
    lua.push_function(function!(options::describe));
    lua.push_function(function!(options::meant));
    lua.push_function(function!(crate::value::listed));
    lua.push_function(function!(options::one_too_many));
    lua.call_own(4, 1);
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const SHARED).cast()) };
}

fn push_embedded(lua: Lua, name: &str, source: &str) {
    lines::is_embedded(name);
    if lua.load(source.as_bytes(), &format!("={name}")).is_err() {
        panic!("{}", lua.display(-1).unwrap_or_default());
    }
}

/// `failure(code, message)` gives the Lua parts of bindings an error table to raise.
pub fn failure(call: Call) -> Returned {
    let (code, message) = (call.str(1)?, call.str(2)?);
    let lua = call.lua();
    push_error(lua, &types::Error { code: types::ErrorCode::Other, message: message.into(), errno: 0 });
    lua.push_str(code);
    lua.raw_set(-2, "code");
    Ok(1)
}

/// Pushes an error table: `code`, `message`, and `errno` where there is one.
pub fn push_error(lua: Lua, error: &types::Error) {
    lua.new_table(0, 3);
    lua.push_str(code_name(error.code));
    lua.raw_set(-2, "code");
    lua.push_str(&error.message);
    lua.raw_set(-2, "message");
    if error.errno != 0 {
        lua.push_integer(error.errno.into());
        lua.raw_set(-2, "errno");
    }
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const ERROR_METATABLE).cast()) };
    lua.set_metatable(-2);
}

/// Raises `error` in Lua. Consumes it first, so that unwinding leaks nothing; where there is no memory for it, that is raised.
///
/// # Safety
/// Called as the last thing of a C function, with no Rust value alive in its frame.
pub unsafe fn raise(lua: Lua, error: Error) -> c_int {
    unsafe {
        match error {
            Error::Type(index, expected) => luaL_typeerror(lua.0, index, expected.as_ptr()),
            Error::Argument(index, message) => {
                let pushed = protected(lua, || lua.push_str(&message));
                drop(message);
                if pushed.is_err() {
                    return lua_softerror(lua.0);
                }
                let message = lua_tolstring(lua.0, -1, std::ptr::null_mut());
                luaL_argerror(lua.0, index, message)
            }
            Error::Failed(failed) => {
                let _ = protected(lua, || push_error(lua, &failed));
                drop(failed);
                lua_softerror(lua.0)
            }
            Error::Plain(message) => {
                let _ = protected(lua, || {
                    luaL_where(lua.0, 1);
                    lua.push_str(&message);
                    lua.concatenate(2)
                });
                drop(message);
                lua_softerror(lua.0)
            }
            Error::Raised => lua_softerror(lua.0),
        }
    }
}

/// Runs a builtin that does not wait. Used by [`function!`].
///
/// # Safety
/// `l` is the running Lua thread.
pub unsafe fn enter<F: Fn(Call) -> Returned>(l: *mut lua_State, f: F, most: c_int) -> c_int {
    let call = begin::<F>(l);
    let running = region::leave();
    let _ = lines::calling(call.0);
    let result = options::at_most(call.0, most).and_then(|()| f(call));
    region::back(running);
    match result {
        Ok(results) => results,
        Err(error) => unsafe { raise(Lua(l), error) },
    }
}

/// Runs a builtin that only computes. Used by [`computing!`].
///
/// # Safety
/// `l` is the running Lua thread.
pub unsafe fn compute<F>(l: *mut lua_State, f: F, most: c_int) -> c_int
where
    F: Fn(Call) -> Returned + UnwindSafe,
{
    let call = begin::<F>(l);
    let left = unsafe { std::ptr::replace(&raw mut CARRIED.left, usize::MAX) };
    let result = options::at_most(call.0, most).and_then(|()| region::region(call.0, move || f(call)));
    unsafe { CARRIED.left = left };
    match result.and_then(|result| result) {
        Ok(results) => results,
        Err(error) => unsafe { raise(Lua(l), error) },
    }
}

/// The call of the builtin `F` begins.
pub fn begin<F>(l: *mut lua_State) -> Call {
    let builtin = std::any::type_name::<F>();
    unsafe { CARRIED = Carried { builtin, left: UNASKED.min(MOST_CARRIED), is_asked: false, listed: 0 } };
    work::spend(work::CALL);
    Call(Lua(l))
}

/// What follows in this call goes to another capability than that of its file.
pub fn goes_to(capability: &'static str) {
    unsafe { CARRIED.builtin = capability };
}

/// A copy of `bytes` for a call of the host, see [`carry`].
///
/// # Errors
/// `limit`, or "not enough memory".
pub fn copy(lua: Lua, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    carry(bytes.len())?;
    region::region(lua, || bytes.to_vec())
}

/// The result of a builtin that is a string. Unlike a push by itself, an error of it leaves nothing behind.
///
/// # Errors
/// "not enough memory".
pub fn give(call: Call, bytes: &[u8]) -> Returned {
    let lua = call.0;
    region::region(lua, || lua.push_bytes(bytes))?;
    Ok(1)
}

/// Text that was one before it was copied.
fn into_text(bytes: Vec<u8>) -> String {
    unsafe { String::from_utf8_unchecked(bytes) }
}

/// Bytes that one call of the host may carry: as many as the host may hold for the run.
static mut MOST_CARRIED: usize = usize::MAX;
/// What the builtin that runs carries.
static mut CARRIED: Carried = Carried { builtin: "", left: usize::MAX, is_asked: false, listed: 0 };
/// Bytes that a call may carry whatever the host holds, and whether or not it is granted.
const UNASKED: usize = 128 << 10;

struct Carried {
    /// The name of its function.
    builtin: &'static str,
    /// Bytes that it may still carry.
    left: usize,
    /// Whether the host has said how many these are.
    is_asked: bool,
    /// Bytes of what is in lists, which are made once more for the host.
    listed: usize,
}

/// The capability whose binding `builtin` is in: `crate::bindings::NAME::function`.
fn capability_of(builtin: &str) -> &str {
    let name = builtin.split_once("bindings::").map_or(builtin, |(_, name)| name);
    name.split("::").next().unwrap_or(name)
}

/// What an element of a list that goes to the host takes beside its bytes.
pub const ITEM: usize = 64;

/// Sets how many bytes one call of the host may carry.
pub fn set_carried(bytes: u64) {
    unsafe { MOST_CARRIED = usize::try_from(bytes).unwrap_or(usize::MAX) };
}

/// How many bytes one call of the host may carry.
pub fn most_carried() -> usize {
    unsafe { MOST_CARRIED }
}

/// What goes to the host in one piece of a text that may go in several.
pub fn piece() -> usize {
    unsafe { MOST_CARRIED }.clamp(4096, 1 << 20)
}

/// Accounts for an argument that goes to the host with the builtin's call. What the accessors of [`Call`] and
/// [`Fields`] give is accounted for; a builtin that only computes carries nothing.
///
/// # Errors
/// `limit`, where it is more than one call may carry.
pub fn carry(bytes: usize) -> Result<(), Error> {
    match unsafe { CARRIED.left }.checked_sub(bytes) {
        Some(left) => {
            unsafe { CARRIED.left = left };
            Ok(())
        }
        None => carry_much(bytes),
    }
}

/// The same of a part of an argument that is copied here first: a list or a table may have very many.
///
/// # Errors
/// The same, and "not enough memory" for the copy.
pub fn keep(lua: Lua, bytes: usize) -> Result<(), Error> {
    region::make_room(lua, bytes)?;
    unsafe { CARRIED.listed += bytes };
    carry(bytes)
}

/// Reads arguments that may have parts without number.
///
/// # Errors
/// Those of `read`, and "not enough memory", also when the parts are handed over.
pub fn gather<T>(lua: Lua, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let read = region::region(lua, AssertUnwindSafe(read))??;
    region::make_room(lua, unsafe { CARRIED.listed })?;
    Ok(read)
}

/// What a call carries is in the host's memory before any function there could refuse it. So the host is asked first how
/// much it may be: it may hold much for others, and nothing at all is for a capability that is not granted.
#[cold]
fn carry_much(bytes: usize) -> Result<(), Error> {
    let (most, is_asked, builtin) = unsafe { (MOST_CARRIED, CARRIED.is_asked, CARRIED.builtin) };
    if !is_asked && bytes <= most {
        let room = region::outside(|| control::room(capability_of(builtin)))?;
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(most);
        unsafe {
            let taken = UNASKED.min(most) - CARRIED.left;
            CARRIED.left = room.saturating_sub(taken);
            CARRIED.is_asked = true;
        }
        return carry(bytes);
    }
    Err(Error::failed(
        types::ErrorCode::Limit,
        format!(
            "the host-memory limit of this run is reached ({most}): the arguments of the call have more bytes than the host \
             may still hold; give them in parts, or raise it with --host-memory"
        ),
    ))
}

/// The C function of a builtin `fn(Call) -> Returned`. What scripts call says too how many arguments it takes at most, see
/// [`options::at_most`]; a method counts its object.
#[macro_export]
macro_rules! function {
    ($f:path) => {
        $crate::function!($f, std::ffi::c_int::MAX)
    };
    ($f:path, $most:expr) => {{
        const MOST: std::ffi::c_int = $most;
        unsafe extern "C" fn entry(l: *mut $crate::ffi::lua_State) -> std::ffi::c_int {
            unsafe { $crate::call::enter(l, $f, MOST) }
        }
        entry as $crate::ffi::lua_CFunction
    }};
}

/// The C function of a builtin `fn(Call) -> Returned` that only computes: it calls no function of Lua and does not
/// ask the host, and stores nothing but on the Lua stack. Where memory is short it ends in Lua's error, as it
/// runs in a [`region`](crate::region::region).
#[macro_export]
macro_rules! computing {
    ($f:path) => {
        $crate::computing!($f, std::ffi::c_int::MAX)
    };
    ($f:path, $most:expr) => {{
        const MOST: std::ffi::c_int = $most;
        unsafe extern "C" fn entry(l: *mut $crate::ffi::lua_State) -> std::ffi::c_int {
            unsafe { $crate::call::compute(l, $f, MOST) }
        }
        entry as $crate::ffi::lua_CFunction
    }};
}

/// The C function of a builtin that may wait: `fn(Call) -> Result<Pending, Error>`.
#[macro_export]
macro_rules! waiting {
    ($f:path) => {
        $crate::waiting!($f, std::ffi::c_int::MAX)
    };
    ($f:path, $most:expr) => {{
        const MOST: std::ffi::c_int = $most;
        unsafe extern "C" fn entry(l: *mut $crate::ffi::lua_State) -> std::ffi::c_int {
            unsafe { $crate::task::enter(l, $f, MOST) }
        }
        entry as $crate::ffi::lua_CFunction
    }};
}

/// Makes `functions` a global table `name`, known to `require` too; leaves nothing on the stack.
pub fn library(lua: Lua, name: &str, functions: &[(&str, lua_CFunction)]) {
    push_library(lua, functions);
    set_library(lua, name);
}

/// Pushes a new table with `functions`.
pub fn push_library(lua: Lua, functions: &[(&str, lua_CFunction)]) {
    lua.new_table(0, functions.len());
    for (name, function) in functions {
        lua.push_function(*function);
        lua.raw_set(-2, name);
    }
}

/// Makes the table on top of the stack a global `name`, known to `require` too; pops it.
pub fn set_library(lua: Lua, name: &str) {
    lua.push_copy(-1);
    lua.push_globals();
    lua.insert(-2);
    lua.raw_set(-2, name);
    lua.pop(1);
    lua.raw_get(LUA_REGISTRYINDEX, "_LOADED");
    lua.insert(-2);
    lua.raw_set(-2, name);
    lua.pop(1);
}

/// Runs the Lua part of a binding: a chunk that gets the binding's natives (the table on top of the
/// stack, popped) and the table of `shared.lua`, and sets what it defines itself.
///
/// # Panics
/// When the embedded chunk does not compile, which a build of the guest shows at once.
pub fn prelude(lua: Lua, name: &str, source: &str) {
    push_embedded(lua, name, source);
    lua.insert(-2);
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const SHARED).cast()) };
    lua.call_own(2, 0);
}

fn utf8(bytes: &[u8], index: c_int) -> Result<&str, Error> {
    crate::value::utf8(bytes).map_err(|_| Error::Argument(index, "not valid UTF-8".into()))
}

impl Call {
    pub fn lua(self) -> Lua {
        self.0
    }

    pub fn is_nil(self, index: c_int) -> bool {
        self.0.is_nil(index)
    }

    /// The bytes of argument `index`; a number is taken as its text, as Lua's own functions do.
    pub fn bytes<'a>(self, index: c_int) -> Result<&'a [u8], Error> {
        let bytes = self.text(index)?;
        carry(bytes.len())?;
        Ok(bytes)
    }

    /// The same, of an argument that does not go to the host in one piece.
    pub fn text<'a>(self, index: c_int) -> Result<&'a [u8], Error> {
        if matches!(self.0.type_of(index), Type::Integer | Type::Float) {
            unsafe { lua_tolstring(self.0.0, index, std::ptr::null_mut()) };
        }
        let bytes = self.0.bytes(index).ok_or(Error::Type(index, c"string"))?;
        // A binding that takes a text reads all of it.
        work::spend(bytes.len());
        Ok(bytes)
    }

    /// The bytes of argument `index` for a call of the host that keeps them.
    pub fn owned(self, index: c_int) -> Result<Vec<u8>, Error> {
        copy(self.0, self.text(index)?)
    }

    /// The same of UTF-8 text.
    pub fn string(self, index: c_int) -> Result<String, Error> {
        let text = utf8(self.text(index)?, index)?;
        Ok(into_text(copy(self.0, text.as_bytes())?))
    }

    /// Argument `index` as UTF-8 text.
    pub fn str<'a>(self, index: c_int) -> Result<&'a str, Error> {
        utf8(self.bytes(index)?, index)
    }

    pub fn opt_bytes<'a>(self, index: c_int) -> Result<Option<&'a [u8]>, Error> {
        if self.is_nil(index) { Ok(None) } else { self.bytes(index).map(Some) }
    }

    pub fn opt_str<'a>(self, index: c_int) -> Result<Option<&'a str>, Error> {
        if self.is_nil(index) { Ok(None) } else { self.str(index).map(Some) }
    }

    pub fn integer(self, index: c_int) -> Result<i64, Error> {
        match self.0.integer(index) {
            Some(value) => Ok(value),
            None if self.0.number(index).is_some() => {
                Err(Error::Argument(index, "number has no integer representation".into()))
            }
            None => Err(Error::Type(index, c"number")),
        }
    }

    pub fn opt_integer(self, index: c_int) -> Result<Option<i64>, Error> {
        if self.is_nil(index) { Ok(None) } else { self.integer(index).map(Some) }
    }

    pub fn number(self, index: c_int) -> Result<f64, Error> {
        self.0.number(index).ok_or(Error::Type(index, c"number"))
    }

    pub fn opt_boolean(self, index: c_int) -> Result<Option<bool>, Error> {
        match self.0.type_of(index) {
            Type::None | Type::Nil => Ok(None),
            Type::Boolean => Ok(Some(self.0.boolean(index))),
            _ => Err(Error::Type(index, c"boolean")),
        }
    }

    /// Checks that argument `index` is a function.
    pub fn function(self, index: c_int) -> Result<(), Error> {
        match self.0.type_of(index) {
            Type::Function => Ok(()),
            _ => Err(Error::Type(index, c"function")),
        }
    }

    /// Argument `index` as a table of options, which may have `names` and nothing else.
    pub fn options(self, index: c_int, names: &[&str]) -> Result<Fields, Error> {
        let fields = self.table(index)?;
        match options::unknown(self.0, index, names) {
            None => Ok(fields),
            Some(why) => Err(Error::Argument(index, why)),
        }
    }

    /// Argument `index` as a table of options, if it is there.
    pub fn opt_options(self, index: c_int, names: &[&str]) -> Result<Option<Fields>, Error> {
        if self.is_nil(index) { Ok(None) } else { self.options(index, names).map(Some) }
    }

    /// Argument `index` as a table of data, or of options whose names the Lua part of the binding has checked.
    pub fn table(self, index: c_int) -> Result<Fields, Error> {
        match self.0.type_of(index) {
            Type::Table => Ok(Fields { lua: self.0, index: self.0.abs(index), argument: index }),
            _ => Err(Error::Type(index, c"table")),
        }
    }

    /// The same, if it is there.
    pub fn opt_table(self, index: c_int) -> Result<Option<Fields>, Error> {
        if self.is_nil(index) { Ok(None) } else { self.table(index).map(Some) }
    }

    /// Argument `index` as a handle of type `T`.
    pub fn userdata<'a, T: Userdata>(self, index: c_int) -> Result<&'a T, Error> {
        crate::userdata::get(self.0, index).ok_or(Error::Type(index, T::NAME))
    }
}

fn spoken(range: &RangeInclusive<i64>) -> String {
    match *range.end() {
        i64::MAX => format!("from {} on", range.start()),
        end => format!("from {} to {end}", range.start()),
    }
}

/// A table argument whose fields are options; errors name the field.
#[derive(Clone, Copy)]
pub struct Fields {
    pub lua: Lua,
    pub index: c_int,
    argument: c_int,
}

impl Fields {
    fn wrong(self, name: &str, expected: &str) -> Error {
        let got = match self.lua.type_of(-1) {
            Type::Integer | Type::Float => "number".to_string(),
            Type::None | Type::Nil => "nil".to_string(),
            other => format!("{other:?}").to_lowercase(),
        };
        self.lua.pop(1);
        Error::Argument(self.argument, format!("field '{name}': {expected} expected, got {got}"))
    }

    /// An error about field `name`.
    pub fn invalid(self, name: &str, why: &str) -> Error {
        Error::Argument(self.argument, format!("field '{name}': {why}"))
    }

    /// Pushes the field's value.
    pub fn push(self, name: &str) -> Type {
        self.lua.raw_get(self.index, name)
    }

    fn get<T>(
        self,
        name: &str,
        expected: &str,
        take: impl FnOnce(Lua) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        if self.push(name) == Type::Nil {
            self.lua.pop(1);
            return Ok(None);
        }
        match take(self.lua) {
            Some(value) => {
                self.lua.pop(1);
                Ok(Some(value))
            }
            None => Err(self.wrong(name, expected)),
        }
    }

    pub fn bytes(self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if self.push(name) == Type::Nil {
            self.lua.pop(1);
            return Ok(None);
        }
        let Some(bytes) = self.lua.bytes(-1) else { return Err(self.wrong(name, "string")) };
        // What it raises lies on top.
        let bytes = copy(self.lua, bytes)?;
        self.lua.pop(1);
        Ok(Some(bytes))
    }

    pub fn string(self, name: &str) -> Result<Option<String>, Error> {
        match self.bytes(name)? {
            None => Ok(None),
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.invalid(name, "not valid UTF-8")),
            },
        }
    }

    pub fn integer(self, name: &str) -> Result<Option<i64>, Error> {
        self.get(name, "integer", |lua| lua.integer(-1))
    }

    pub fn number(self, name: &str) -> Result<Option<f64>, Error> {
        self.get(name, "number", |lua| lua.number(-1))
    }

    /// A whole number of this range.
    pub fn whole(self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Error> {
        match self.integer(name)? {
            Some(value) if !range.contains(&value) => {
                Err(self.invalid(name, &format!("{value} is not a number {}", spoken(&range))))
            }
            value => Ok(value),
        }
    }

    /// Seconds, as nanoseconds.
    pub fn seconds(self, name: &str) -> Result<Option<u64>, Error> {
        match self.number(name)? {
            None => Ok(None),
            Some(seconds) => crate::value::nanoseconds(seconds).map(Some).ok_or_else(|| {
                self.invalid(name, &format!("{seconds} is not a number of seconds from 0 on"))
            }),
        }
    }

    pub fn boolean(self, name: &str) -> Result<Option<bool>, Error> {
        self.get(name, "boolean", |lua| (lua.type_of(-1) == Type::Boolean).then(|| lua.boolean(-1)))
    }

    /// A list of strings, or one string.
    pub fn strings(self, name: &str) -> Result<Option<Vec<String>>, Error> {
        gather(self.lua, || self.read_strings(name))
    }

    fn read_strings(self, name: &str) -> Result<Option<Vec<String>>, Error> {
        match self.push(name) {
            Type::Nil => {
                self.lua.pop(1);
                Ok(None)
            }
            Type::String => {
                self.lua.pop(1);
                Ok(self.string(name)?.map(|one| vec![one]))
            }
            Type::Table => {
                let mut list = Vec::new();
                let Some(length) = self.lua.list_len(-1) else {
                    return Err(self.wrong(name, "list of strings"));
                };
                for n in 1..=length {
                    self.lua.raw_get_index(-1, n);
                    keep(self.lua, ITEM + self.lua.raw_len(-1) as usize)?;
                    let item = self.lua.bytes(-1).map(|bytes| String::from_utf8(bytes.to_vec()));
                    self.lua.pop(1);
                    match item {
                        Some(Ok(text)) => list.push(text),
                        _ => return Err(self.wrong(name, "list of strings")),
                    }
                }
                self.lua.pop(1);
                Ok(Some(list))
            }
            _ => Err(self.wrong(name, "list of strings")),
        }
    }
}
