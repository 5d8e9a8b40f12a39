//! The names in a table of options: which of them exist, and the errors for an unknown one and for a table that the
//! function does not take.
//!
//! A typing error in the name of an option would otherwise be an option that is silently not set: a token whose
//! audience nobody checks, a program without its time-out. Keys are read raw.

use crate::call::{Call, Error, Returned};
use crate::ffi::{lua_Debug, lua_getinfo, lua_getstack, lua_next};
use crate::lua::{Lua, Type};
use std::ffi::{CStr, c_int};

/// What a message shows of a key.
const SHOWN: usize = 60;

/// What is wrong with the keys of the table at `index`, in which `names` may be and nothing else.
pub fn unknown(lua: Lua, index: c_int, names: &[&str]) -> Option<String> {
    unknown_beside(lua, index, names, 0)
}

/// The same for a table that may have a list of so many values too.
pub fn unknown_beside(lua: Lua, index: c_int, names: &[&str], positions: i64) -> Option<String> {
    let index = lua.abs(index);
    lua.push_nil();
    while unsafe { lua_next(lua.0, index) } != 0 {
        lua.pop(1);
        let known = match lua.type_of(-1) {
            Type::String => lua.bytes(-1).is_some_and(|key| names.iter().any(|name| name.as_bytes() == key)),
            Type::Integer => lua.integer(-1).is_some_and(|key| (1..=positions).contains(&key)),
            _ => false,
        };
        if !known {
            let message = message(lua, -1, names);
            lua.pop(1);
            return Some(message);
        }
    }
    None
}

/// The keys of the set at argument 2, sorted.
fn set(call: Call) -> Result<Vec<String>, Error> {
    let lua = call.lua();
    if lua.type_of(2) != Type::Table {
        return Err(Error::Type(2, c"table"));
    }
    let mut names = Vec::new();
    lua.push_nil();
    while unsafe { lua_next(lua.0, 2) } != 0 {
        lua.pop(1);
        names.extend(lua.bytes(-1).map(|name| String::from_utf8_lossy(name).into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

/// `describe(key, set)` gives the same message for the Lua parts of bindings; the names are the keys of the set.
pub fn describe(call: Call) -> Returned {
    let names = set(call)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let message = message(call.lua(), 1, &names);
    call.lua().push_str(&message);
    Ok(1)
}

/// `meant(name, set)` gives the name of the set that is near, or nil.
pub fn meant(call: Call) -> Returned {
    let names = set(call)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match nearest(&String::from_utf8_lossy(call.bytes(1)?), &names) {
        Some(near) => call.lua().push_str(near),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

/// Checks that behind the `most` arguments that the running builtin takes there is nothing that changes what is meant: a
/// table or a function. Other values may come from who calls a builtin back with more than it needs, as `string.gsub`
/// does, and are left out as Lua leaves them out.
///
/// # Errors
/// That says how many arguments it takes.
#[inline]
pub fn at_most(lua: Lua, most: c_int) -> Result<(), Error> {
    if lua.top() <= most { Ok(()) } else { surplus(lua, most) }
}

#[cold]
fn surplus(lua: Lua, most: c_int) -> Result<(), Error> {
    let meant = |index: &c_int| matches!(lua.type_of(*index), Type::Table | Type::Function);
    let Some(index) = (most + 1..=lua.top()).find(meant) else { return Ok(()) };
    // As `luaL_argerror` numbers them: the object of a method does not count.
    let mut about = lua_Debug::default();
    let is_method = unsafe {
        lua_getstack(lua.0, 0, &mut about) != 0
            && lua_getinfo(lua.0, c"n".as_ptr(), &mut about) != 0
            && !about.namewhat.is_null()
            && CStr::from_ptr(about.namewhat) == c"method"
    };
    Err(Error::Argument(index, too_many(lua.type_of(index), i64::from(most - c_int::from(is_method)))))
}

fn too_many(kind: Type, most: i64) -> String {
    let what = format!("{kind:?}").to_lowercase();
    match most {
        ..=0 => format!("unexpected {what}: the function takes no arguments"),
        1 => format!("unexpected {what}: the function takes 1 argument, and no options behind it"),
        _ => format!("unexpected {what}: the function takes {most} arguments, and no options behind them"),
    }
}

/// `one_too_many(value, most)` gives the same message for the Lua parts of bindings.
pub fn one_too_many(call: Call) -> Returned {
    let message = too_many(call.lua().type_of(1), call.integer(2)?);
    call.lua().push_str(&message);
    Ok(1)
}

fn message(lua: Lua, key: c_int, names: &[&str]) -> String {
    let all = || format!("the options are {}", names.join(", "));
    let name = match lua.type_of(key) {
        Type::String => String::from_utf8_lossy(lua.bytes(key).unwrap_or_default()).into_owned(),
        Type::Integer => {
            let key = lua.integer(key).unwrap_or_default();
            return format!("options have names, but there is one at position {key}; {}", all());
        }
        _ => return format!("options have names, but a key is not a string; {}", all()),
    };
    let shown: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    match nearest(&name, names) {
        Some(near) => format!("unknown option '{shown}'; did you mean '{near}'?"),
        None => format!("unknown option '{shown}'; {}", all()),
    }
}

/// The name that was most likely meant, if one is near enough: a third of its letters may differ.
pub fn nearest<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| -> Vec<char> {
        name.chars().filter(|c| *c != '_' && *c != '-').flat_map(char::to_lowercase).take(SHOWN).collect()
    };
    let given = plain(given);
    let near = |name: &&str| {
        let name = plain(name);
        let far = distance(&given, &name);
        (far <= 1.max(given.len().max(name.len()) / 3) && far < name.len()).then_some(far)
    };
    names
        .iter()
        .filter_map(|name| Some((near(name)?, *name)))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// How many letters must be put in, left out, replaced or swapped with the next (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
