//! Lua values as YAML: block style, two spaces a level, keys in bytewise order.

use super::scalar::is_ambiguous;
use crate::call::{Call, Error, Returned};
use crate::lua::{Lua, Type};
use crate::value::{self, Fault, Value, Walk};
use crate::work;
use std::ffi::c_int;
use std::fmt::Write as _;

/// What a reader must accept as a key on one line (YAML 1.2.2, section 7.4.2); longer ones are written
/// with `?`.
const MAX_KEY: usize = 1000;

/// The longest text that is looked at for whether it can stand without quotes.
const MAX_PLAIN: usize = 1 << 20;

pub fn encode(call: Call) -> Returned {
    let lua = call.lua();
    if lua.type_of(1) == Type::None {
        return Err(Error::Argument(1, "value expected".into()));
    }
    let text = document(lua, 1, "yaml.encode")?;
    lua.push_str(&text);
    Ok(1)
}

pub fn encode_all(call: Call) -> Returned {
    call.table(1)?;
    let lua = call.lua();
    let mut text = String::new();
    for n in 1..=lua.raw_len(1) as i64 {
        lua.raw_get_index(1, n);
        let document = document(lua, lua.top(), "yaml.encode_all")?;
        text.push_str("---\n");
        text.push_str(&document);
        lua.pop(1);
    }
    lua.push_str(&text);
    Ok(1)
}

fn document(lua: Lua, at: c_int, name: &str) -> Result<String, Error> {
    let top = lua.top();
    let mut out = String::new();
    let place = Position { indent: 0, after: After::Start };
    let result = value(&mut Walk::new(lua), at, &mut out, place);
    lua.set_top(top);
    result.map_err(|fault| fault.into_error(name))?;
    Ok(out)
}

/// Where a value is written.
#[derive(Clone, Copy)]
struct Position {
    /// The column of its lines, if it takes several.
    indent: usize,
    after: After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The start of the document.
    Start,
    /// `key:`, so that a collection starts on a line of its own.
    Key,
    /// `-`, so that a collection starts on the same line.
    Dash,
}

/// Writes the value and the end of its last line.
fn value(walk: &mut Walk, at: c_int, out: &mut String, place: Position) -> Result<(), Fault> {
    match walk.read(at)? {
        Value::Array(0) => scalar(out, place, "[]"),
        Value::Array(len) => {
            walk.array(at, len, |walk, n, child| {
                line(out, place, n == 1);
                out.push('-');
                value(walk, child, out, Position { indent: place.indent + 2, after: After::Dash })
            })?;
        }
        Value::Object(keys) if keys.is_empty() => {
            keys.release(walk.lua);
            scalar(out, place, "{}");
        }
        Value::Object(keys) => {
            let mut first = true;
            walk.object(at, &keys, |walk, key, child| {
                line(out, place, std::mem::replace(&mut first, false));
                let text = match &*key.text {
                    text if !key.number => one_line(text),
                    "inf" => ".inf".into(),
                    "-inf" => "-.inf".into(),
                    text => text.to_owned(),
                };
                if text.len() > MAX_KEY {
                    let _ = write!(out, "? {text}\n{:1$}", "", place.indent);
                } else {
                    out.push_str(&text);
                }
                out.push(':');
                value(walk, child, out, Position { indent: place.indent + 2, after: After::Key })
            })?;
            keys.release(walk.lua);
        }
        Value::Null => scalar(out, place, "null"),
        Value::Boolean(value) => scalar(out, place, if value { "true" } else { "false" }),
        Value::Integer(value) => scalar(out, place, &value.to_string()),
        Value::Number(digits) => scalar(out, place, digits),
        Value::Float(value) => scalar(out, place, &float(value)),
        Value::Text(text) => match block(text) {
            Some(header) => {
                scalar(out, place, header);
                let indent = place.indent.max(2);
                for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                    work::spend(work::CALL + line.len());
                    if !line.is_empty() {
                        out.extend(std::iter::repeat_n(' ', indent));
                        out.push_str(line);
                    }
                    out.push('\n');
                }
            }
            None => scalar(out, place, &one_line(text)),
        },
    }
    walk.wrote(out.len());
    Ok(())
}

/// Starts the line of a collection's element.
fn line(out: &mut String, place: Position, first: bool) {
    match place.after {
        After::Dash if first => {
            out.push(' ');
            return;
        }
        After::Key if first => out.push('\n'),
        _ => {}
    }
    out.extend(std::iter::repeat_n(' ', place.indent));
}

fn scalar(out: &mut String, place: Position, text: &str) {
    if place.after != After::Start {
        out.push(' ');
    }
    out.push_str(text);
    out.push('\n');
}

/// A float with a dot and a signed exponent, as readers of YAML 1.1 need it too.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf".into() } else { "-.inf".into() };
    }
    let text = value::float(number);
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => {
            let dot = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
            format!("{mantissa}{dot}e{sign}{exponent}")
        }
    }
}

/// Whether a character may stand in a text as it is (YAML 1.2.2, section 5.1, and not a line break of
/// Unicode, which readers of YAML 1.1 fold).
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}' => {
            !matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}')
        }
        _ => false,
    }
}

/// Whether all characters are such ones.
fn all(text: &str, is: impl Fn(char) -> bool) -> bool {
    text.chars().enumerate().all(|(n, c)| {
        if n % 4096 == 0 {
            work::spend(4 * 4096);
        }
        is(c)
    })
}

/// The header of a literal block for `text`, where one says exactly this text.
fn block(text: &str) -> Option<&'static str> {
    let fits = text.contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && all(text, |c| is_printable(c) || c == '\n' || c == '\t');
    if !fits {
        None
    } else if text.ends_with("\n\n") {
        Some("|+")
    } else if text.ends_with('\n') {
        Some("|")
    } else {
        Some("|-")
    }
}

/// The text on one line: plain where that is read back as the same text, else in double quotes.
fn one_line(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for (n, c) in text.chars().enumerate() {
        if n % 4096 == 0 {
            work::spend(8 * 4096);
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = match u32::from(c) {
                    code @ 0..=0xFF => write!(out, "\\x{code:02x}"),
                    code @ 0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    let starts_well = match text.as_bytes() {
        [] => false,
        // A dash starts a text, but not with a blank, another two dashes, or alone.
        [b'-', next, ..] => *next != b' ' && !text.starts_with("---"),
        [first, ..] => !b"-?:,[]{}#&*!|>'\"%@` ".contains(first),
    };
    starts_well
        && text.len() <= MAX_PLAIN
        && !text.starts_with("...")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && all(text, is_printable)
        && !is_ambiguous(text)
}
