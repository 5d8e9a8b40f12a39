//! `regex`: the patterns of the Rust crate of that name, on strings of any bytes. Matching takes time
//! linear in the text whatever the pattern.

use crate::call::{Call, Error, Returned, library};
use crate::function;
use crate::lua::Lua;
use crate::value::{self, Pin};
use regex::bytes::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;
use std::ffi::c_int;

/// Bytes that one compiled pattern and its search cache may take.
const SIZE_LIMIT: usize = 2 << 20;
const CACHE_LIMIT: usize = 1 << 20;
/// How many compiled patterns are kept for the next call.
const KEPT: usize = 16;

thread_local! {
    /// The patterns used last, newest first.
    static COMPILED: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

pub fn register(lua: Lua) {
    library(
        lua,
        "regex",
        &[
            ("match", function!(is_match)),
            ("find", function!(find)),
            ("find_all", function!(find_all)),
            ("replace", function!(replace)),
            ("captures", function!(captures)),
            ("split", function!(split)),
            ("escape", function!(escape)),
        ],
    );
}

/// The compiled pattern that argument `index` holds.
///
/// # Errors
/// An argument error that shows the pattern and the place in it.
pub fn compile(call: Call, index: c_int) -> Result<Regex, Error> {
    let pattern = call.str(index)?;
    COMPILED.with_borrow_mut(|kept| {
        if let Some(at) = kept.iter().position(|(text, _)| text == pattern) {
            kept[..=at].rotate_right(1);
            return Ok(kept[0].1.clone());
        }
        let compiled = RegexBuilder::new(pattern)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(CACHE_LIMIT)
            .nest_limit(100)
            .build()
            .map_err(|error| Error::Argument(index, describe(pattern, &error)))?;
        kept.truncate(KEPT - 1);
        kept.insert(0, (pattern.to_owned(), compiled.clone()));
        Ok(compiled)
    })
}

fn describe(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!(
                "the pattern {pattern:?} is too large: compiled it takes more than {} MiB",
                SIZE_LIMIT >> 20
            )
        }
        // The crate's text repeats the pattern with a mark under the place and the reason below.
        error => error.to_string(),
    }
}

/// The pattern and the text of a call.
fn arguments<'a>(call: Call) -> Result<(Regex, &'a [u8]), Error> {
    let text = call.bytes(2)?;
    let pattern = compile(call, 1)?;
    value::spend(text.len());
    Ok((pattern, text))
}

fn is_match(call: Call) -> Returned {
    let (pattern, text) = arguments(call)?;
    call.lua().push_bool(pattern.is_match(text));
    Ok(1)
}

fn find(call: Call) -> Returned {
    let (pattern, text) = arguments(call)?;
    match pattern.find(text) {
        Some(found) => call.lua().push_bytes(found.as_bytes()),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

fn find_all(call: Call) -> Returned {
    let (pattern, text) = arguments(call)?;
    // Collected first: the iterator borrows the pattern's search cache, and pushing may raise.
    let found: Vec<&[u8]> = pattern.find_iter(text).map(|found| found.as_bytes()).collect();
    push_list(call.lua(), &found);
    Ok(1)
}

fn push_list(lua: Lua, parts: &[&[u8]]) {
    lua.new_table(parts.len(), 0);
    for (n, part) in parts.iter().enumerate() {
        lua.push_bytes(part);
        lua.raw_set_index(-2, n as i64 + 1);
    }
    if parts.is_empty() {
        value::pin(lua, -1, Pin::Array);
    }
}

/// The limit of argument `index`: how many at most, 0 for no limit.
fn limit(call: Call, index: c_int) -> Result<usize, Error> {
    match call.opt_integer(index)? {
        None => Ok(0),
        Some(limit @ 1..) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        Some(_) => Err(Error::Argument(index, "a positive number expected".into())),
    }
}

fn replace(call: Call) -> Returned {
    let (replacement, limit) = (call.bytes(3)?, limit(call, 4)?);
    let (pattern, text) = arguments(call)?;
    let replaced = pattern.replacen(text, limit, replacement);
    call.lua().push_bytes(&replaced);
    Ok(1)
}

fn captures(call: Call) -> Returned {
    let (pattern, text) = arguments(call)?;
    let lua = call.lua();
    let Some(found) = pattern.captures(text) else {
        lua.push_nil();
        return Ok(1);
    };
    push_captures(lua, &pattern, &found);
    Ok(1)
}

fn push_captures(lua: Lua, pattern: &Regex, found: &Captures<'_>) {
    lua.new_table(found.len(), 1);
    for (n, group) in found.iter().enumerate() {
        if let Some(group) = group {
            lua.push_bytes(group.as_bytes());
            lua.raw_set_index(-2, n as i64);
        }
    }
    for name in pattern.capture_names().flatten() {
        if let Some(group) = found.name(name) {
            lua.push_bytes(group.as_bytes());
            lua.raw_set(-2, name);
        }
    }
}

fn split(call: Call) -> Returned {
    let limit = limit(call, 3)?;
    let (pattern, text) = arguments(call)?;
    let parts: Vec<&[u8]> = match limit {
        0 => pattern.split(text).collect(),
        limit => pattern.splitn(text, limit).collect(),
    };
    push_list(call.lua(), &parts);
    Ok(1)
}

fn escape(call: Call) -> Returned {
    let escaped = regex::escape(call.str(1)?);
    call.lua().push_str(&escaped);
    Ok(1)
}
