//! `string.split`, which joins Lua's own `string` library.

use crate::call::{Call, Error, Returned};
use crate::computing;
use crate::lua::Lua;
use crate::value::{self, Pin};
use crate::work::{CALL, PIECE, spend};

pub fn register(lua: Lua) {
    lua.push_globals();
    lua.raw_get(-1, "string");
    lua.push_function(computing!(split, 2));
    lua.raw_set(-2, "split");
    lua.pop(2);
}

fn split(call: Call) -> Returned {
    let (text, separator) = (call.bytes(1)?, call.opt_bytes(2)?);
    let lua = call.lua();
    let mut count = 0;
    let mut push = |part: &[u8]| {
        count += 1;
        spend(CALL);
        lua.push_bytes(part);
        lua.raw_set_index(-2, count);
    };
    lua.new_table(0, 0);
    match separator {
        // What C's isspace says in the "C" locale, as Lua's %s.
        None => {
            let (mut start, is_space) = (0, |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r'));
            for (at, byte) in text.iter().enumerate() {
                if at % PIECE == 0 {
                    spend(2 * PIECE.min(text.len() - at));
                }
                if is_space(*byte) {
                    if start < at {
                        push(&text[start..at]);
                    }
                    start = at + 1;
                }
            }
            if start < text.len() {
                push(&text[start..]);
            }
        }
        Some([]) => return Err(Error::Argument(2, "the separator is empty".into())),
        Some(separator) => {
            let finder = memchr::memmem::Finder::new(separator);
            let (mut start, mut from) = (0, 0);
            while from < text.len() {
                // Pieces overlap by what could be the start of a separator.
                let end = text.len().min(from + PIECE + separator.len() - 1);
                spend(2 * (end - from));
                let found = finder.find_iter(&text[from..end]).map(|at| from + at);
                let mut next = end.saturating_sub(separator.len() - 1).max(from + 1);
                for at in found {
                    push(&text[start..at]);
                    start = at + separator.len();
                    next = next.max(start);
                }
                from = if end == text.len() { end } else { next };
            }
            push(&text[start..]);
        }
    }
    if count == 0 {
        value::pin(lua, -1, Pin::Array);
    }
    Ok(1)
}
