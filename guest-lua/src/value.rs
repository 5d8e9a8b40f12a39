//! The one bridge between Lua values and data formats: which shape a table has, what cannot be
//! encoded and where it is, the values that Lua lacks (null, integers of more than 64 bits), and the
//! limits that every format shares.
//!
//! Encoders walk the Lua value in place and decoders push straight onto the Lua stack; there is no
//! tree of Rust values between. Tables are read raw: no metamethod runs while a value is encoded.

use crate::call::{Call, Error, Returned};
use crate::ffi::*;
use crate::function;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::region;
use crate::userdata::{self, Userdata};
use crate::work::{CALL, PIECE, spend};
use std::borrow::Cow;
use std::ffi::c_int;
use std::fmt::Write as _;

/// How deep tables may be nested, in both directions. It bounds the recursion on the wasm stack.
pub const MAX_DEPTH: usize = 128;

/// Why a Lua value cannot be encoded, and where in the value: `$.items[3].size`.
pub struct Fault {
    /// Innermost step first: it grows while the recursion unwinds.
    path: Vec<Step>,
    why: String,
}

enum Step {
    Key(String),
    Index(i64),
}

impl Fault {
    pub fn new(why: impl Into<String>) -> Fault {
        Fault { path: Vec::new(), why: why.into() }
    }

    fn at(mut self, step: Step) -> Fault {
        self.path.push(step);
        self
    }

    /// The error of the builtin `name`.
    pub fn into_error(self, name: &str) -> Error {
        let path = path(self.path.iter().rev());
        Error::failed(ErrorCode::InvalidArgument, format!("{name}: {} at {path}", self.why))
    }
}

fn path<'a>(steps: impl Iterator<Item = &'a Step>) -> String {
    let mut path = String::from("$");
    for step in steps {
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Index(n) => write!(path, "[{n}]"),
            Step::Key(key) if is_name(key) => write!(path, ".{key}"),
            Step::Key(key) => write!(path, "[{key:?}]"),
        };
    }
    path
}

fn is_name(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// One Lua value as data.
pub enum Value<'a> {
    /// nil or `json.null`.
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    /// The digits of a `json.number`, in JSON's grammar.
    Number(&'a str),
    Text(&'a str),
    /// A table with the elements 1 to n.
    Array(i64),
    Object(Keys<'a>),
}

/// The keys of a table in bytewise order. They lie on the Lua stack until they are released.
pub struct Keys<'a> {
    list: Vec<Key<'a>>,
    top: c_int,
}

pub struct Key<'a> {
    pub text: Cow<'a, str>,
    /// Whether the key is a number in Lua.
    pub number: bool,
    slot: c_int,
}

impl Keys<'_> {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the keys off the stack.
    pub fn release(self, lua: Lua) {
        lua.set_top(self.top);
    }
}

/// A walk through one Lua value.
pub struct Walk {
    pub lua: Lua,
    /// The stack indices of the tables that are being walked.
    tables: Vec<c_int>,
    meter: Meter,
}

impl Walk {
    pub fn new(lua: Lua) -> Walk {
        Walk { lua, tables: Vec::new(), meter: Meter::default() }
    }

    /// Reads the value at stack index `at` (absolute).
    pub fn read<'a>(&mut self, at: c_int) -> Result<Value<'a>, Fault> {
        let lua = self.lua;
        Ok(match lua.type_of(at) {
            Type::None | Type::Nil => Value::Null,
            Type::Boolean => Value::Boolean(lua.boolean(at)),
            Type::Integer => Value::Integer(lua.integer(at).unwrap_or_default()),
            Type::Float => Value::Float(lua.number(at).unwrap_or_default()),
            Type::String => Value::Text(text(lua.bytes(at).unwrap_or_default())?),
            Type::Table => self.shape(at)?,
            Type::Userdata if userdata::get::<Null>(lua, at).is_some() => Value::Null,
            Type::Userdata => match userdata::get::<Number>(lua, at) {
                // Borrowed from the userdata, which stays on the stack as long as the value.
                Some(number) => Value::Number(&number.0),
                None => return Err(Fault::new(format!("a {} cannot be encoded", type_name(lua, at)))),
            },
            _ => return Err(Fault::new(format!("a {} cannot be encoded", type_name(lua, at)))),
        })
    }

    fn shape<'a>(&mut self, at: c_int) -> Result<Value<'a>, Fault> {
        let lua = self.lua;
        if self.tables.iter().any(|table| unsafe { lua_rawequal(lua.0, at, *table) } != 0) {
            return Err(Fault::new("a table that contains itself"));
        }
        if self.tables.len() >= MAX_DEPTH {
            return Err(Fault::new(format!("more than {MAX_DEPTH} nested tables")));
        }
        if !lua.reserve(16) {
            return Err(Fault::new("Lua's stack is full"));
        }
        match pinned(lua, at) {
            Some(Pin::Object) => return self.keys(at),
            Some(Pin::Array) => {
                return match integers(lua, at) {
                    // A list with nils, as one that was parsed may have, but not a table whose
                    // one large index would make a list of a million nulls.
                    Some((count, max)) if max <= count.saturating_mul(2).saturating_add(64) => {
                        Ok(Value::Array(max))
                    }
                    Some((_, max)) => {
                        Err(Fault::new(format!("an array whose last index is {max}, but is mostly nil")))
                    }
                    None => Err(Fault::new(
                        "a table that is pinned as an array has other keys (json.object pins it as an object)",
                    )),
                };
            }
            None => {}
        }
        match integers(lua, at) {
            Some((count, max)) if count == max && count > 0 => Ok(Value::Array(count)),
            _ => self.keys(at),
        }
    }

    fn keys<'a>(&mut self, at: c_int) -> Result<Value<'a>, Fault> {
        let lua = self.lua;
        let top = lua.top();
        let mut list: Vec<Key<'a>> = Vec::new();
        lua.push_nil();
        while unsafe { lua_next(lua.0, at) } != 0 {
            lua.pop(1);
            if list.len() % 16 == 15 && !lua.reserve(32) {
                return Err(Fault::new(format!("a table of more than {} keys", list.len())));
            }
            spend(32);
            let slot = lua.top();
            let (text, number): (Cow<'a, str>, bool) = match lua.type_of(slot) {
                Type::String => (text(lua.bytes(slot).unwrap_or_default())?.into(), false),
                Type::Integer => (lua.integer(slot).unwrap_or_default().to_string().into(), true),
                Type::Float => (float(lua.number(slot).unwrap_or_default()).into(), true),
                _ => return Err(Fault::new(format!("a {} as key", type_name(lua, slot)))),
            };
            list.push(Key { text, number, slot });
            // One copy stays, the other is for the next step.
            lua.push_copy(slot);
        }
        list.sort_unstable_by(|a, b| {
            spend(16 + a.text.len().min(b.text.len()));
            a.text.as_bytes().cmp(b.text.as_bytes())
        });
        let twice = |pair: &&[Key<'_>]| {
            spend(16 + pair[0].text.len().min(pair[1].text.len()));
            pair[0].text == pair[1].text
        };
        if let Some(pair) = list.windows(2).find(twice) {
            return Err(Fault::new(format!("the key {:?} both as a number and as a string", pair[0].text)));
        }
        Ok(Value::Object(Keys { list, top }))
    }

    /// Calls `f` with each element of the array at `at`: its number and its stack index.
    pub fn array(
        &mut self,
        at: c_int,
        len: i64,
        mut f: impl FnMut(&mut Walk, i64, c_int) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let lua = self.lua;
        self.tables.push(at);
        for n in 1..=len {
            spend(16);
            lua.raw_get_index(at, n);
            let child = lua.top();
            f(self, n, child).map_err(|fault| fault.at(Step::Index(n)))?;
            lua.set_top(child - 1);
        }
        self.tables.pop();
        Ok(())
    }

    /// Calls `f` with each key of the object at `at` and the stack index of its value.
    pub fn object(
        &mut self,
        at: c_int,
        keys: &Keys<'_>,
        mut f: impl FnMut(&mut Walk, &Key<'_>, c_int) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let lua = self.lua;
        self.tables.push(at);
        for key in &keys.list {
            spend(16);
            lua.push_copy(key.slot);
            unsafe { lua_rawget(lua.0, at) };
            let child = lua.top();
            f(self, key, child).map_err(|fault| fault.at(Step::Key(key.text.to_string())))?;
            lua.set_top(child - 1);
        }
        self.tables.pop();
        Ok(())
    }

    /// Says how much was written so far, for the run's limits.
    pub fn wrote(&mut self, bytes: usize) {
        self.meter.reach(bytes);
    }
}

/// How many keys the table has and its largest one, if all of them are positive integers.
fn integers(lua: Lua, at: c_int) -> Option<(i64, i64)> {
    let (mut count, mut max) = (0, 0);
    lua.push_nil();
    while unsafe { lua_next(lua.0, at) } != 0 {
        lua.pop(1);
        spend(8);
        match lua.type_of(-1) {
            Type::Integer => match lua.integer(-1) {
                Some(n) if n > 0 => max = n.max(max),
                _ => {
                    lua.pop(1);
                    return None;
                }
            },
            _ => {
                lua.pop(1);
                return None;
            }
        }
        count += 1;
    }
    Some((count, max))
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    utf8(bytes).map_err(|at| {
        Fault::new(format!(
            "a string that is not valid UTF-8 (at its byte {}; base64.encode makes text of it)",
            at + 1
        ))
    })
}

/// The name of the value's type for messages.
pub fn type_name(lua: Lua, at: c_int) -> &'static str {
    match lua.type_of(at) {
        Type::None | Type::Nil => "nil",
        Type::Boolean => "boolean",
        Type::Integer | Type::Float => "number",
        Type::String => "string",
        Type::Table => "table",
        Type::Function => "function",
        Type::Userdata | Type::LightUserdata => "userdata",
        Type::Thread => "coroutine",
    }
}

/// The shortest text that reads back as the same float; `1.0` for an integral one.
pub fn float(value: f64) -> String {
    zmij::Buffer::new().format(value).to_owned()
}

/// Counts the bytes that an encoder or parser has come past.
#[derive(Default)]
pub struct Meter {
    reached: usize,
}

impl Meter {
    /// The work has come to byte `position`. Each byte is a few units: data is made of it too.
    pub fn reach(&mut self, position: usize) {
        let bytes = position.saturating_sub(self.reached);
        self.reached = position;
        spend(16 + 4 * bytes);
    }
}

/// The text that `bytes` are.
///
/// # Errors
/// The position of the first byte that is not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, usize> {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + PIECE);
        spend(end - at);
        match std::str::from_utf8(&bytes[at..end]) {
            Ok(_) => at = end,
            // A character that the end of the piece cuts goes into the next one.
            Err(error) if error.error_len().is_none() && end < bytes.len() => at += error.valid_up_to(),
            Err(error) => return Err(at + error.valid_up_to()),
        }
    }
    // Every piece was looked at, and none ends within a character.
    Ok(unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// The line and column (in characters) of a byte position, both from 1.
pub fn position(source: &[u8], at: usize) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    for piece in source[..at.min(source.len())].chunks(PIECE) {
        spend(2 * piece.len());
        let start = match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => {
                line += piece.iter().filter(|byte| **byte == b'\n').count();
                column = 1;
                newline + 1
            }
            None => 0,
        };
        column += piece[start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    }
    (line, column)
}

/// What a table is encoded as, whatever its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Array,
    Object,
}

/// Registry keys (addresses) of the metatables that pin a shape, and of `json.null`.
static ARRAY: u8 = 1;
static OBJECT: u8 = 2;
static NULL: u8 = 3;

fn marker(pin: Pin) -> *const std::ffi::c_void {
    match pin {
        Pin::Array => (&raw const ARRAY).cast(),
        Pin::Object => (&raw const OBJECT).cast(),
    }
}

/// The shape that the metatable of the table at `at` names in its field `__jsontype`.
pub fn pinned(lua: Lua, at: c_int) -> Option<Pin> {
    if unsafe { lua_getmetatable(lua.0, at) } == 0 {
        return None;
    }
    lua.raw_get(-1, "__jsontype");
    let pin = match lua.bytes(-1) {
        Some(b"array") => Some(Pin::Array),
        Some(b"object") => Some(Pin::Object),
        _ => None,
    };
    lua.pop(2);
    pin
}

/// Pins the shape of the table at `at`, replacing its metatable.
pub fn pin(lua: Lua, at: c_int, pin: Pin) {
    let at = lua.abs(at);
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, marker(pin)) };
    lua.set_metatable(at);
}

/// Pushes a list of what `push` pushes for each item. An empty one is a list all the same.
pub fn push_list<T>(lua: Lua, items: impl ExactSizeIterator<Item = T>, mut push: impl FnMut(T)) {
    lua.new_table(items.len(), 0);
    let list = lua.top();
    if items.len() == 0 {
        pin(lua, list, Pin::Array);
    }
    for (n, item) in items.enumerate() {
        spend(CALL);
        push(item);
        lua.raw_set_index(list, n as i64 + 1);
    }
}

/// `listed(list, n?)` gives the list, pinned as one where its items do not show it: it is empty, or one of the first
/// `n` is nil. What the Lua parts of bindings return goes through it.
pub fn listed(call: Call) -> Returned {
    call.table(1)?;
    let lua = call.lua();
    let expected = call.opt_integer(2)?;
    lua.set_top(1);
    let has_holes = |expected| integers(lua, 1).is_none_or(|(count, _)| count < expected);
    if lua.raw_len(1) == 0 || expected.is_some_and(has_holes) {
        pin(lua, 1, Pin::Array);
    }
    Ok(1)
}

/// Whether the table at `at` stands for a list: a decoder pins what its keys do not show.
pub fn looks_like_list(lua: Lua, at: c_int) -> bool {
    match pinned(lua, at) {
        Some(pin) => pin == Pin::Array,
        None => lua.raw_len(at) > 0,
    }
}

/// Whether the table at `at` has a metatable that pins nothing.
pub fn has_own_metatable(lua: Lua, at: c_int) -> bool {
    if unsafe { lua_getmetatable(lua.0, at) } == 0 {
        return false;
    }
    lua.pop(1);
    pinned(lua, at).is_none()
}

/// `json.null`: a null that tables can hold.
struct Null;

impl Userdata for Null {
    crate::named!(c"json.null");
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[("__tostring", function!(null_text))];
}

fn null_text(call: Call) -> Returned {
    call.lua().push_str("null");
    Ok(1)
}

/// Pushes `json.null`.
pub fn push_null(lua: Lua) {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const NULL).cast()) };
}

/// `json.number`: a number that neither a Lua integer nor a Lua float holds exactly. It keeps its
/// digits, and calculates and compares as a float.
struct Number(String);

macro_rules! arithmetic {
    ($($name:ident($a:ident, $b:ident) = $result:expr;)*) => {
        $(fn $name(call: Call) -> Returned {
            let ($a, $b) = (operand(call, 1)?, operand(call, 2)?);
            call.lua().push_number($result);
            Ok(1)
        })*
    };
}

arithmetic! {
    add(a, b) = a + b;
    subtract(a, b) = a - b;
    multiply(a, b) = a * b;
    divide(a, b) = a / b;
    floor_divide(a, b) = (a / b).floor();
    modulo(a, b) = a - (a / b).floor() * b;
    power(a, b) = a.powf(b);
    negate(a, _b) = -a;
}

impl Userdata for Number {
    crate::named!(c"json.number");
    const METHODS: &'static [(&'static str, lua_CFunction)] = &[("tonumber", function!(to_float))];
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] = &[
        ("__tostring", function!(digits)),
        ("__concat", function!(concatenate)),
        ("__eq", function!(equal)),
        ("__lt", function!(less)),
        ("__le", function!(less_or_equal)),
        ("__add", function!(add)),
        ("__sub", function!(subtract)),
        ("__mul", function!(multiply)),
        ("__div", function!(divide)),
        ("__idiv", function!(floor_divide)),
        ("__mod", function!(modulo)),
        ("__pow", function!(power)),
        ("__unm", function!(negate)),
    ];
}

fn operand(call: Call, index: c_int) -> Result<f64, Error> {
    match userdata::get::<Number>(call.lua(), index) {
        // The grammar was checked when the value was made.
        Some(number) => {
            spend(2 * number.0.len());
            Ok(number.0.parse().unwrap_or(f64::NAN))
        }
        None => call.number(index),
    }
}

fn to_float(call: Call) -> Returned {
    call.userdata::<Number>(1)?;
    call.lua().push_number(operand(call, 1)?);
    Ok(1)
}

fn digits(call: Call) -> Returned {
    let number = call.userdata::<Number>(1)?;
    call.lua().push_str(&number.0);
    Ok(1)
}

fn concatenate(call: Call) -> Returned {
    let lua = call.lua();
    lua.push_text(1)?;
    lua.push_text(2)?;
    lua.concatenate(2)?;
    Ok(1)
}

fn equal(call: Call) -> Returned {
    let lua = call.lua();
    let same = match (userdata::get::<Number>(lua, 1), userdata::get::<Number>(lua, 2)) {
        (Some(a), Some(b)) => a.0 == b.0,
        _ => false,
    };
    lua.push_bool(same);
    Ok(1)
}

fn less(call: Call) -> Returned {
    let less = operand(call, 1)? < operand(call, 2)?;
    call.lua().push_bool(less);
    Ok(1)
}

fn less_or_equal(call: Call) -> Returned {
    let less = operand(call, 1)? <= operand(call, 2)?;
    call.lua().push_bool(less);
    Ok(1)
}

/// Pushes a number given by its digits, in JSON's grammar, that fits no Lua number exactly.
pub fn push_number(lua: Lua, digits: &str) {
    // The handle outlives the region that parses it.
    let pushed = region::make_room(lua, digits.len()).and_then(|()| {
        let digits = region::outside(|| digits.to_owned());
        userdata::push(lua, Number(digits))
    });
    if pushed.is_err() {
        unsafe { lua_nomemory(lua.0) };
    }
}

/// Makes what this module keeps in the registry; runs before any binding is registered.
pub fn register(lua: Lua) {
    for (kind, name) in [(Pin::Array, "array"), (Pin::Object, "object")] {
        lua.new_table(0, 1);
        lua.push_str(name);
        lua.raw_set(-2, "__jsontype");
        unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, marker(kind)) };
    }
    if userdata::push(lua, Null).is_err() {
        panic!("no memory for null");
    }
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const NULL).cast()) };
}

/// The longest wait, some 292 years: what no clock reaches becomes it.
const LONGEST: u64 = i64::MAX as u64;

/// Seconds as nanoseconds, for waits and timeouts; none where it is no number of seconds.
pub fn nanoseconds(seconds: f64) -> Option<u64> {
    // A cast goes no further than the largest number.
    (seconds >= 0.0).then_some(((seconds * 1e9) as u64).min(LONGEST))
}
