//! How an error that nothing caught is told: its value as text, and where it was raised.

use crate::alloc::beyond_limit;
use crate::bindings::assert;
use crate::call::{Call, Returned};
use crate::ffi::*;
use crate::function;
use crate::lines;
use crate::lua::{Lua, Type};
use std::cell::Cell;
use std::ffi::c_int;

/// How many frames are shown of each end of a deep stack, as Lua has it.
const INNERMOST: usize = 10;
const OUTERMOST: usize = 11;
/// How many levels are looked at for them: the Lua parts of builtins are folded.
const LOOKED_AT: c_int = 60;

thread_local! {
    static FULL: Cell<bool> = const { Cell::new(false) };
}

/// Whether the Lua parts of builtins are shown too.
pub fn set_full(full: bool) {
    FULL.set(full);
}

/// The text of an error value: as Lua's own interpreter shows it, and a table that has no text of its own as its message
/// with all other fields. One line, where the script's texts are.
pub fn message(lua: Lua, index: c_int) -> String {
    let index = lua.abs(index);
    let text = match lua.type_of(index) {
        Type::String | Type::Integer | Type::Float => lua.protected_text(function!(to_string), index),
        Type::Table | Type::Userdata if has_text(lua, index) => {
            lua.protected_text(function!(to_string), index)
        }
        Type::Table => lua.protected_text(function!(described), index),
        _ => None,
    };
    text.unwrap_or_else(|| {
        let name = match lua.type_of(index) {
            Type::Nil | Type::None => return "nil".into(),
            other => format!("{other:?}").to_lowercase(),
        };
        format!("(error object is a {name} value)")
    })
}

/// [`message`] for the Lua parts of bindings.
pub fn describe(call: Call) -> Returned {
    call.lua().push_str(&message(call.lua(), 1));
    Ok(1)
}

fn to_string(call: Call) -> Returned {
    call.lua().push_text(1)?;
    Ok(1)
}

/// Whether a value says itself what its text is.
pub fn has_text(lua: Lua, index: c_int) -> bool {
    if unsafe { lua_getmetatable(lua.0, index) } == 0 {
        return false;
    }
    let has = lua.raw_get(-1, "__tostring") != Type::Nil;
    lua.pop(2);
    has
}

/// `MESSAGE (code = 7, other = {1, 2})`, of the table that is the argument.
fn described(call: Call) -> Returned {
    let lua = call.lua();
    lua.new_table(0, 4);
    lua.push_nil();
    while unsafe { lua_next(lua.0, 1) } != 0 {
        let told = lua.type_of(-2) == Type::String
            && (lua.bytes(-2) == Some(b"code")
                || (lua.bytes(-2) == Some(b"message") && lua.type_of(-1) == Type::String));
        if told {
            lua.pop(1);
        } else {
            lua.push_copy(-2);
            lua.insert(-2);
            unsafe { lua_rawset(lua.0, 2) };
        }
    }
    let mut fields = Vec::new();
    if lua.raw_get(1, "code") != Type::Nil {
        fields.push(format!("code = {}", assert::show(lua, -1)?));
    }
    lua.pop(1);
    let others = assert::show(lua, 2)?;
    let others = others.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(&others);
    if !others.is_empty() {
        fields.push(others.to_string());
    }
    let fields = fields.join(", ");
    let text = match lua.raw_get(1, "message") {
        Type::String => {
            let message = String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default());
            if fields.is_empty() { message.into_owned() } else { format!("{message} ({fields})") }
        }
        _ => format!("an error without a message: {{{fields}}}"),
    };
    lua.push_str(&text);
    Ok(1)
}

/// The code of an error value, where it has one.
pub fn code(lua: Lua, index: c_int) -> Option<String> {
    let index = lua.abs(index);
    if lua.type_of(index) != Type::Table {
        return None;
    }
    let code = match lua.raw_get(index, "code") {
        Type::String => lua.bytes(-1).map(|code| String::from_utf8_lossy(code).into_owned()),
        _ => None,
    };
    lua.pop(1);
    code
}

/// One frame of a stack.
struct Frame {
    place: String,
    function: String,
    tail: bool,
    is_c: bool,
    embedded: bool,
}

impl Frame {
    /// Reads one level of `of`; none where there is no such level.
    fn read(of: Lua, level: c_int) -> Option<Frame> {
        let main = crate::state::main();
        let found = unsafe { lua_frame(main.0, of.0, level) };
        if found == 0 {
            return None;
        }
        let text = |index| String::from_utf8_lossy(main.bytes(index).unwrap_or_default()).into_owned();
        let (place, function) = (text(-2), text(-1));
        main.pop(2);
        let embedded = found & FRAME_NAMED != 0 && lines::is_of_builtin(&place);
        Some(Frame { place, function, tail: found & FRAME_TAIL != 0, is_c: found & FRAME_C != 0, embedded })
    }

    fn line(&self) -> String {
        let tail = if self.tail { "\n\t(...tail calls...)" } else { "" };
        format!("\n\t{}: in {}{tail}", self.place, self.function)
    }
}

/// The lines of frames, from the innermost on. What the Lua part of a builtin calls is one line: the builtin, as the
/// script called it. `ends` is whether the last frame is the outermost.
fn fold(frames: &[Frame], ends: bool) -> Vec<String> {
    if FULL.get() {
        return frames.iter().map(Frame::line).collect();
    }
    let mut lines = Vec::new();
    let mut rest = frames;
    while !rest.is_empty() {
        let own = rest.iter().take_while(|frame| frame.is_c || frame.embedded).count();
        match rest[..own].iter().rposition(|frame| frame.embedded) {
            Some(outermost) => {
                let frame = &rest[outermost];
                rest = &rest[outermost + 1..];
                // What runs a task or a callback was called by nobody.
                if rest.is_empty() && ends {
                    break;
                }
                let name = match frame.function.starts_with("function <") {
                    true => "?".to_string(),
                    false => frame.function.clone(),
                };
                lines.push(Frame { place: "[C]".into(), function: name, tail: frame.tail, ..*frame }.line());
            }
            None => {
                let plain = (own + 1).min(rest.len());
                lines.extend(rest[..plain].iter().map(Frame::line));
                rest = &rest[plain..];
            }
        }
    }
    lines
}

/// The stack of a coroutine, as a traceback has it, from `level` on: without a title, each line begun by a line break.
fn stack(of: Lua, level: c_int) -> String {
    let last = unsafe { lua_lastlevel(of.0) };
    let read = |levels: std::ops::RangeInclusive<c_int>| -> Vec<Frame> {
        levels.map_while(|level| Frame::read(of, level)).collect()
    };
    let mut lines;
    if last - level < 2 * LOOKED_AT {
        lines = fold(&read(level..=last), true);
        if lines.len() > INNERMOST + OUTERMOST {
            let outermost = lines.split_off(lines.len() - OUTERMOST);
            let skipped = lines.len() - INNERMOST;
            lines.truncate(INNERMOST);
            lines.push(format!("\n\t...\t(skipping {skipped} levels)"));
            lines.extend(outermost);
        }
    } else {
        lines = fold(&read(level..=level + LOOKED_AT), false);
        lines.truncate(INNERMOST);
        let outermost = fold(&read(last - LOOKED_AT..=last), true);
        let outermost = &outermost[outermost.len().saturating_sub(OUTERMOST)..];
        let skipped = (last - level + 1) as usize - lines.len() - outermost.len();
        lines.push(format!("\n\t...\t(skipping {skipped} levels)"));
        lines.extend_from_slice(outermost);
    }
    lines.concat()
}

/// The traceback of an error that ended a task: its own stack, where it was started, and before it what an error that it
/// awaited had.
pub fn traceback(of: Lua, awaited: Option<&str>, started: &str) -> String {
    beyond_limit(|| {
        let mut text = awaited.unwrap_or("stack traceback:").to_string();
        text.push_str(&stack(of, 0));
        if !started.is_empty() {
            text.push_str(&format!("\n\t(task started at {started})"));
        }
        text
    })
}

/// `traceback(level)` for the Lua parts of bindings: the stack of what calls them.
pub fn traceback_here(call: Call) -> Returned {
    let level = call.opt_integer(1)?.unwrap_or(1);
    let text = format!("stack traceback:{}", stack(call.lua(), c_int::try_from(level).unwrap_or(1)));
    call.lua().push_str(&text);
    Ok(1)
}
