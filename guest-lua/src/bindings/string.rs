//! `string.split`, which joins Lua's own `string` library.

use crate::call::{Call, Error, Returned};
use crate::function;
use crate::lua::Lua;
use crate::value::{self, Pin};

pub fn register(lua: Lua) {
    lua.push_globals();
    lua.raw_get(-1, "string");
    lua.push_function(function!(split));
    lua.raw_set(-2, "split");
    lua.pop(2);
}

fn split(call: Call) -> Returned {
    let (text, separator) = (call.bytes(1)?, call.opt_bytes(2)?);
    let lua = call.lua();
    let mut count = 0;
    let mut push = |part: &[u8]| {
        count += 1;
        lua.push_bytes(part);
        lua.raw_set_index(-2, count);
    };
    lua.new_table(0, 0);
    match separator {
        // What C's isspace says in the "C" locale, as Lua's %s.
        None => text
            .split(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
            .filter(|part| !part.is_empty())
            .for_each(push),
        Some([]) => return Err(Error::Argument(2, "the separator is empty".into())),
        Some(separator) => {
            let mut start = 0;
            for at in memchr::memmem::find_iter(text, separator) {
                push(&text[start..at]);
                start = at + separator.len();
            }
            push(&text[start..]);
        }
    }
    if count == 0 {
        value::pin(lua, -1, Pin::Array);
    }
    Ok(1)
}
