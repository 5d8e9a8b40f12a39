//! `assert`: the function of standard Lua, with `assert.eq` and the others as its fields.

use crate::bindings::{json, regex};
use crate::call::{Call, Error, Returned, prelude, push_library, set_library};
use crate::ffi::*;
use crate::function;
use crate::lua::{Lua, Type};
use crate::value::{self, MAX_DEPTH};
use std::cell::Cell;
use std::ffi::c_int;
use std::fmt::Write as _;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// How many assertions of this run held.
pub fn count() -> u64 {
    COUNT.get()
}

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("eq", function!(eq, 3)),
            ("ne", function!(ne, 3)),
            ("gt", function!(gt, 3)),
            ("lt", function!(lt, 3)),
            ("contains", function!(contains, 3)),
            ("not_nil", function!(not_nil, 2)),
            ("matches", function!(matches, 3)),
        ],
    );
    // To Lua it is a plain function, like the one it stands for; a patch finds the fields.
    let function = function!(call);
    unsafe { lua_withfields = Some(function) };
    lua.push_closure(function, 1);
    lua.push_copy(-1);
    set_library(lua, "assert");
    push_library(lua, &[("held", function!(held)), ("search", function!(search))]);
    lua.insert(-2);
    lua.raw_set(-2, "assert");
    prelude(lua, "assert", include_str!("assert.lua"));
}

/// Pushes the fields of the function on top of the stack, if it is `assert`.
pub fn push_fields(lua: Lua) -> bool {
    let address = |function: Option<lua_CFunction>| function.map(|function| function as usize);
    let function = address(unsafe { lua_tocfunction(lua.0, -1) });
    function.is_some()
        && function == address(unsafe { lua_withfields })
        && !unsafe { lua_getupvalue(lua.0, -1, 1) }.is_null()
}

fn hold() {
    COUNT.set(COUNT.get() + 1);
}

fn held(_: Call) -> Returned {
    hold();
    Ok(0)
}

/// Whether the text of the first argument matches the pattern.
fn search(call: Call) -> Returned {
    let pattern = regex::compile(call, 2)?;
    let found = regex::matches(call.lua(), &pattern, call.text(1)?)?;
    drop(pattern);
    call.lua().push_bool(found);
    Ok(1)
}

/// `assert(v, message, ...)` as Lua's own: all arguments back, or the message as the error.
fn call(call: Call) -> Returned {
    let lua = call.lua();
    if lua.boolean(1) {
        hold();
        return Ok(lua.top());
    }
    match lua.top() {
        0 => return Err(Error::Argument(1, "value expected".into())),
        1 => return Err(Error::Plain("assertion failed!".into())),
        _ => lua.set_top(2),
    }
    if let Some(message) = lua.bytes(2) {
        unsafe { luaL_where(lua.0, 1) };
        let text = [lua.bytes(-1).unwrap_or_default(), message].concat();
        lua.push_bytes(&text);
    }
    Err(Error::Raised)
}

/// The error of an assertion: the caller's message (argument `index`), if any, before what failed.
fn fail(call: Call, index: c_int, what: &str) -> Returned {
    let message =
        if call.is_nil(index) { "assertion failed".to_owned() } else { call.lua().display(index)? };
    Err(Error::Plain(format!("{message}: {what}")))
}

/// An argument that may be nil, but must be there.
fn any(call: Call, index: c_int) -> Result<(), Error> {
    match call.lua().type_of(index) {
        Type::None => Err(Error::Argument(index, "value expected".into())),
        _ => Ok(()),
    }
}

fn eq(call: Call) -> Returned {
    any(call, 2)?;
    let lua = call.lua();
    match difference(lua, 1, 2, &mut Vec::new())? {
        None => {
            hold();
            Ok(0)
        }
        Some(difference) => {
            let mut what = format!("got {}, expected {}", show(lua, 1)?, show(lua, 2)?);
            if !difference.path.is_empty() {
                let path: String = difference.path.iter().rev().map(String::as_str).collect();
                let _ = write!(what, "; first difference at ${path}: {}", difference.what);
            }
            fail(call, 3, &what)
        }
    }
}

fn ne(call: Call) -> Returned {
    any(call, 2)?;
    let lua = call.lua();
    if difference(lua, 1, 2, &mut Vec::new())?.is_some() {
        hold();
        return Ok(0);
    }
    fail(call, 3, &format!("got {}, expected anything else", show(lua, 1)?))
}

fn gt(call: Call) -> Returned {
    compare(call, 2, 1, "greater than")
}

fn lt(call: Call) -> Returned {
    compare(call, 1, 2, "less than")
}

fn compare(call: Call, low: c_int, high: c_int, relation: &str) -> Returned {
    any(call, 2)?;
    let lua = call.lua();
    let comparable = match (lua.type_of(1), lua.type_of(2)) {
        (Type::Integer | Type::Float, Type::Integer | Type::Float) | (Type::String, Type::String) => true,
        // With a metamethod these compare; without one Lua says so.
        (Type::Table | Type::Userdata, _) | (_, Type::Table | Type::Userdata) => true,
        _ => false,
    };
    if comparable && lua.compare(low, high, LUA_OPLT)? {
        hold();
        return Ok(0);
    }
    fail(call, 3, &format!("got {}, expected something {relation} {}", show(lua, 1)?, show(lua, 2)?))
}

fn not_nil(call: Call) -> Returned {
    any(call, 1)?;
    if call.is_nil(1) {
        return fail(call, 2, "got nil, expected a value");
    }
    hold();
    Ok(0)
}

fn contains(call: Call) -> Returned {
    any(call, 2)?;
    let lua = call.lua();
    let found = match lua.type_of(1) {
        Type::String => {
            let part = call.bytes(2)?;
            memchr::memmem::find(call.bytes(1)?, part).is_some()
        }
        Type::Table if is_error(lua, 1) => {
            let text = lua.display(1)?;
            memchr::memmem::find(text.as_bytes(), call.bytes(2)?).is_some()
        }
        Type::Table => {
            let mut found = false;
            for n in 1..=lua.raw_len(1) as i64 {
                lua.raw_get_index(1, n);
                let at = lua.top();
                found = difference(lua, at, 2, &mut Vec::new())?.is_none();
                lua.set_top(at - 1);
                if found {
                    break;
                }
            }
            found
        }
        _ => {
            return Err(Error::Argument(
                1,
                format!("string or list expected, got {}", value::type_name(lua, 1)),
            ));
        }
    };
    if found {
        hold();
        return Ok(0);
    }
    fail(call, 3, &format!("{} does not contain {}", show(lua, 1)?, show(lua, 2)?))
}

fn matches(call: Call) -> Returned {
    let pattern = regex::compile(call, 2)?;
    let lua = call.lua();
    let found = if is_error(lua, 1) {
        regex::matches(lua, &pattern, lua.display(1)?.as_bytes())?
    } else {
        regex::matches(lua, &pattern, call.text(1)?)?
    };
    drop(pattern);
    if found {
        hold();
        return Ok(0);
    }
    fail(call, 3, &format!("{} does not match {}", show(lua, 1)?, show(lua, 2)?))
}

/// Whether the value is an error table of a builtin, which stands for its message.
fn is_error(lua: Lua, at: c_int) -> bool {
    if lua.type_of(at) != Type::Table || unsafe { lua_getmetatable(lua.0, at) } == 0 {
        return false;
    }
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const crate::call::ERROR_METATABLE).cast()) };
    let same = unsafe { lua_rawequal(lua.0, -1, -2) } != 0;
    lua.pop(2);
    same
}

/// Where two values first differ.
struct Difference {
    /// Innermost step first; empty where the values themselves differ.
    path: Vec<String>,
    what: String,
}

/// Compares two values (absolute indices) by content. `pairs` are the tables around them: a pair that
/// is being compared already counts as equal, so that tables with cycles can be compared.
fn difference(
    lua: Lua,
    a: c_int,
    b: c_int,
    pairs: &mut Vec<(c_int, c_int)>,
) -> Result<Option<Difference>, Error> {
    if lua.compare(a, b, LUA_OPEQ)? {
        return Ok(None);
    }
    let here = |what: String| Ok(Some(Difference { path: Vec::new(), what }));
    if lua.type_of(a) != Type::Table || lua.type_of(b) != Type::Table {
        return here(format!("got {}, expected {}", show(lua, a)?, show(lua, b)?));
    }
    let same = |x: c_int, y: c_int| unsafe { lua_rawequal(lua.0, x, y) } != 0;
    if pairs.iter().any(|(x, y)| same(*x, a) && same(*y, b)) {
        return Ok(None);
    }
    if pairs.len() >= MAX_DEPTH || !lua.reserve(16) {
        return here(format!("more than {MAX_DEPTH} nested tables, which are not compared"));
    }
    pairs.push((a, b));
    let top = lua.top();
    let found = match fields_differ(lua, a, b, pairs)? {
        None => missing(lua, b, a)?,
        found => found,
    };
    lua.set_top(top);
    pairs.pop();
    Ok(found)
}

/// The first field of `a` that differs from the one of `b`.
fn fields_differ(
    lua: Lua,
    a: c_int,
    b: c_int,
    pairs: &mut Vec<(c_int, c_int)>,
) -> Result<Option<Difference>, Error> {
    lua.push_nil();
    while unsafe { lua_next(lua.0, a) } != 0 {
        let field = lua.top();
        lua.push_copy(field - 1);
        unsafe { lua_rawget(lua.0, b) };
        if let Some(mut found) = difference(lua, field, field + 1, pairs)? {
            found.path.push(step(lua, field - 1)?);
            return Ok(Some(found));
        }
        lua.set_top(field - 1);
    }
    Ok(None)
}

/// The first field of `a` that `b` does not have.
fn missing(lua: Lua, a: c_int, b: c_int) -> Result<Option<Difference>, Error> {
    lua.push_nil();
    while unsafe { lua_next(lua.0, a) } != 0 {
        let field = lua.top();
        lua.push_copy(field - 1);
        unsafe { lua_rawget(lua.0, b) };
        if lua.is_nil(-1) {
            let what = format!("got nil, expected {}", show(lua, field)?);
            return Ok(Some(Difference { path: vec![step(lua, field - 1)?], what }));
        }
        lua.set_top(field - 1);
    }
    Ok(None)
}

fn step(lua: Lua, key: c_int) -> Result<String, Error> {
    Ok(match lua.bytes(key) {
        Some(name) if is_name(name) => format!(".{}", String::from_utf8_lossy(name)),
        _ => format!("[{}]", show(lua, key)?),
    })
}

fn is_name(key: &[u8]) -> bool {
    key.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// How much of a value a message shows.
const SHOWN_BYTES: usize = 400;
const SHOWN_DEPTH: usize = 4;

/// The function behind what the REPL shows of a value.
pub fn shown(call: Call) -> Returned {
    call.lua().push_str(&show(call.lua(), 1)?);
    Ok(1)
}

/// A value as a reader of Lua expects it, cut where it is long.
///
/// # Errors
/// Those of the `__tostring` of what is in it.
pub fn show(lua: Lua, at: c_int) -> Result<String, Error> {
    let mut out = String::new();
    let at = lua.abs(at);
    let top = lua.top();
    write_value(lua, at, &mut out, 0)?;
    lua.set_top(top);
    Ok(out)
}

fn write_value(lua: Lua, at: c_int, out: &mut String, depth: usize) -> Result<(), Error> {
    match lua.type_of(at) {
        Type::String => write_string(lua.bytes(at).unwrap_or_default(), out),
        Type::Float => out.push_str(&value::float(lua.number(at).unwrap_or_default())),
        Type::Table if has_text(lua, at) => out.push_str(&lua.display(at)?),
        Type::Table if depth == SHOWN_DEPTH || !lua.reserve(16) => out.push_str("{...}"),
        Type::Table => write_table(lua, at, out, depth)?,
        _ => out.push_str(&lua.display(at)?),
    }
    Ok(())
}

fn has_text(lua: Lua, at: c_int) -> bool {
    if unsafe { lua_getmetatable(lua.0, at) } == 0 {
        return false;
    }
    let found = lua.raw_get(-1, "__tostring") != Type::Nil;
    lua.pop(2);
    found
}

fn write_string(bytes: &[u8], out: &mut String) {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    for (n, chunk) in shown.utf8_chunks().enumerate() {
        if n == 0 {
            out.push('"');
        }
        let mut quoted = String::new();
        json::quote(&mut quoted, chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out.push_str(if shown.is_empty() { "\"\"" } else { "\"" });
    if shown.len() < bytes.len() {
        let _ = write!(out, "... ({} bytes)", bytes.len());
    }
}

fn write_table(lua: Lua, at: c_int, out: &mut String, depth: usize) -> Result<(), Error> {
    let start = out.len();
    let listed = lua.raw_len(at) as i64;
    let mut comma = false;
    out.push('{');
    for n in 1..=listed {
        if std::mem::replace(&mut comma, true) {
            out.push_str(", ");
        }
        if out.len() - start > SHOWN_BYTES {
            out.push_str("...}");
            return Ok(());
        }
        lua.raw_get_index(at, n);
        write_value(lua, lua.top(), out, depth + 1)?;
        lua.pop(1);
    }
    let mut fields = Vec::new();
    let mut length = 0;
    lua.push_nil();
    while unsafe { lua_next(lua.0, at) } != 0 {
        let field = lua.top();
        let in_list = lua.type_of(field - 1) == Type::Integer
            && lua.integer(field - 1).is_some_and(|n| (1..=listed).contains(&n));
        if !in_list && length <= SHOWN_BYTES {
            let mut text = match lua.bytes(field - 1) {
                Some(name) if is_name(name) => String::from_utf8_lossy(name).into_owned(),
                _ => format!("[{}]", show(lua, field - 1)?),
            };
            text.push_str(" = ");
            write_value(lua, field, &mut text, depth + 1)?;
            length += text.len();
            fields.push(text);
        }
        lua.set_top(field - 1);
    }
    fields.sort_unstable();
    for field in fields {
        if std::mem::replace(&mut comma, true) {
            out.push_str(", ");
        }
        out.push_str(&field);
    }
    out.push_str(if length > SHOWN_BYTES { ", ...}" } else { "}" });
    Ok(())
}
