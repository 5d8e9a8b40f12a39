//! How an error that nothing caught is told: its value as text, and where it was raised.

use crate::alloc::beyond_limit;
use crate::bindings::assert;
use crate::bindings::json;
use crate::call::{Call, Returned};
use crate::ffi::*;
use crate::function;
use crate::host::script::{Called, Failure, Frame, Place};
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

/// The fields of an error value that is a table, other than its message and code, as a JSON object.
pub fn fields(lua: Lua, index: c_int) -> Option<String> {
    match lua.type_of(index) {
        Type::Table => lua.protected_text(function!(encoded), index),
        _ => None,
    }
}

/// The JSON of the named fields of the table that is the argument, as far as JSON has their values.
fn encoded(call: Call) -> Returned {
    let lua = call.lua();
    let mut object = String::from("{");
    lua.push_nil();
    while unsafe { lua_next(lua.0, 1) } != 0 {
        let top = lua.top();
        // A copy of the name: looking at a number as text would change it under the traversal.
        if lua.type_of(-2) == Type::String
            && let Some(name) = lua.bytes(-2).and_then(|name| str::from_utf8(name).ok())
            && !["message", "code"].contains(&name)
        {
            let name = name.to_string();
            if let Ok(value) = json::encode_with(lua, top, 0, "") {
                object.push_str(if object.len() > 1 { "," } else { "" });
                json::quote(&mut object, &name);
                object.push(':');
                object.push_str(&value);
            }
        }
        lua.set_top(top - 1);
    }
    object.push('}');
    lua.push_str(&object);
    Ok(1)
}

/// One level of a stack.
struct Level {
    place: String,
    function: String,
    tail: bool,
    is_c: bool,
    embedded: bool,
}

impl Level {
    /// Reads one level of `of`; none where there is no such level.
    fn read(of: Lua, level: c_int) -> Option<Level> {
        let main = crate::state::main();
        let found = unsafe { lua_frame(main.0, of.0, level) };
        if found == 0 {
            return None;
        }
        let text = |index| String::from_utf8_lossy(main.bytes(index).unwrap_or_default()).into_owned();
        let (place, function) = (text(-2), text(-1));
        main.pop(2);
        let embedded = found & FRAME_NAMED != 0 && lines::is_of_builtin(&place);
        Some(Level { place, function, tail: found & FRAME_TAIL != 0, is_c: found & FRAME_C != 0, embedded })
    }

    fn frames(self) -> impl Iterator<Item = Frame> {
        let (source, line) = split(&self.place);
        let called = Called { source: source.into(), line, function: self.function };
        [Some(Frame::Call(called)), self.tail.then_some(Frame::TailCalls)].into_iter().flatten()
    }
}

/// The chunk and the line of a place.
fn split(place: &str) -> (&str, Option<u32>) {
    let numbered = place.rsplit_once(':').and_then(|(source, line)| Some((source, line.parse().ok()?)));
    numbered.map_or((place, None), |(source, line)| (source, Some(line)))
}

/// One frame, as Lua writes it.
fn line(frame: &Frame) -> String {
    match frame {
        Frame::Call(Called { source, line: Some(line), function }) => {
            format!("{source}:{line}: in {function}")
        }
        Frame::Call(Called { source, line: None, function }) => format!("{source}: in {function}"),
        Frame::TailCalls => "(...tail calls...)".into(),
        Frame::Skipped(levels) => format!("...\t(skipping {levels} levels)"),
        Frame::Task(Place { source, line }) => format!("(task started at {source}:{line})"),
    }
}

/// A traceback as text, as the host has it of a failure.
pub fn text(frames: &[Frame]) -> String {
    let mut text = String::from("stack traceback:");
    for frame in frames {
        text.push_str("\n\t");
        text.push_str(&line(frame));
    }
    text
}

/// All of a failure as text.
pub fn whole(failure: &Failure) -> String {
    let code = failure.code.as_ref().filter(|_| !failure.tells_code);
    let code = code.map_or(String::new(), |code| format!("code: {code}\n"));
    format!("{}\n{code}{}", failure.message, text(&failure.traceback))
}

/// Levels from the innermost on, as they are shown. What the Lua part of a builtin calls is one: the builtin, as the
/// script called it. `ends` is whether the last level is the outermost.
fn fold(levels: Vec<Level>, ends: bool) -> Vec<Level> {
    if FULL.get() {
        return levels;
    }
    let mut shown = Vec::new();
    let mut rest = levels;
    while !rest.is_empty() {
        let own = rest.iter().take_while(|level| level.is_c || level.embedded).count();
        match rest[..own].iter().rposition(|level| level.embedded) {
            Some(outermost) => {
                let outer = rest.split_off(outermost + 1);
                let level = rest.pop();
                rest = outer;
                // What runs a task or a callback was called by nobody.
                if rest.is_empty() && ends {
                    break;
                }
                shown.extend(level.map(|level| {
                    let named = !level.function.starts_with("function <");
                    let function = if named { level.function } else { "?".into() };
                    Level { place: "[C]".into(), function, ..level }
                }));
            }
            None => {
                let outer = rest.split_off((own + 1).min(rest.len()));
                shown.append(&mut rest);
                rest = outer;
            }
        }
    }
    shown
}

/// The stack of a coroutine, as a traceback has it, from `level` on.
fn stack(of: Lua, level: c_int) -> Vec<Frame> {
    let last = unsafe { lua_lastlevel(of.0) };
    let read = |levels: std::ops::RangeInclusive<c_int>| -> Vec<Level> {
        levels.map_while(|level| Level::read(of, level)).collect()
    };
    let (mut inner, mut outer, mut skipped);
    if last - level < 2 * LOOKED_AT {
        inner = fold(read(level..=last), true);
        (outer, skipped) = (Vec::new(), 0);
        if inner.len() > INNERMOST + OUTERMOST {
            outer = inner.split_off(inner.len() - OUTERMOST);
            skipped = inner.len() - INNERMOST;
        }
    } else {
        inner = fold(read(level..=level + LOOKED_AT), false);
        outer = fold(read(last - LOOKED_AT..=last), true);
        outer.drain(..outer.len().saturating_sub(OUTERMOST));
        skipped = (last - level + 1) as usize - inner.len().min(INNERMOST) - outer.len();
    }
    if skipped > 0 {
        inner.truncate(INNERMOST);
    }
    let skipped = (skipped > 0).then_some(Frame::Skipped(u32::try_from(skipped).unwrap_or(u32::MAX)));
    let (inner, outer) = (inner.into_iter(), outer.into_iter());
    inner.flat_map(Level::frames).chain(skipped).chain(outer.flat_map(Level::frames)).collect()
}

/// The traceback of an error that ended a task: its own stack, where it was started, and before it what an error that it
/// awaited had.
pub fn traceback(of: Lua, awaited: Option<&[Frame]>, started: &str) -> Vec<Frame> {
    beyond_limit(|| {
        let mut frames = awaited.unwrap_or_default().to_vec();
        frames.extend(stack(of, 0));
        if let (source, Some(line)) = split(started) {
            frames.push(Frame::Task(Place { source: source.into(), line }));
        }
        frames
    })
}

/// `traceback(level)` for the Lua parts of bindings: the stack of what calls them.
pub fn traceback_here(call: Call) -> Returned {
    let level = call.opt_integer(1)?.unwrap_or(1);
    call.lua().push_str(&text(&stack(call.lua(), c_int::try_from(level).unwrap_or(1))));
    Ok(1)
}
