//! `toml`: TOML 1.1 from and to Lua tables.

use crate::call::{Call, Error, Returned, library};
use crate::computing;
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::value::{self, Fault, MAX_DEPTH, Meter, Pin, Value, Walk};
use crate::work::{PIECE, spend};
use std::ffi::c_int;
use std::fmt::Write as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of one text: the parser reads it in one go.
const MAX_SOURCE: usize = 512 << 10;

pub fn register(lua: Lua) {
    library(lua, "toml", &[("parse", computing!(parse, 1)), ("encode", computing!(encode, 1))]);
}

fn parse(call: Call) -> Returned {
    let text = call.bytes(1)?;
    let bad = |why: &str, at: usize| {
        let (line, column) = value::position(text, at);
        Error::failed(ErrorCode::InvalidData, format!("toml.parse: {why} at line {line} column {column}"))
    };
    let source = value::utf8(text).map_err(|at| bad("a byte that is not valid UTF-8", at))?;
    if text.len() > MAX_SOURCE {
        let why =
            format!("the text has {} bytes, {MAX_SOURCE} are allowed; keep large data as JSON", text.len());
        return Err(Error::failed(ErrorCode::Limit, format!("toml.parse: {why}")));
    }
    let lua = call.lua();
    let table = DeTable::parse(source)
        .map_err(|error| bad(error.message().trim_end(), error.span().map_or(0, |span| span.start)))?;
    let mut pusher = Pusher { lua, depth: 0, meter: Meter::default() };
    pusher.table(table.get_ref(), 0).map_err(|(why, at)| bad(&why, at))?;
    Ok(1)
}

struct Pusher {
    lua: Lua,
    depth: usize,
    meter: Meter,
}

impl Pusher {
    fn enter(&mut self, at: usize) -> Result<(), (String, usize)> {
        if self.depth == MAX_DEPTH {
            return Err((format!("more than {MAX_DEPTH} nested tables"), at));
        }
        if !self.lua.reserve(16) {
            return Err(("Lua's stack is full".into(), at));
        }
        self.meter.reach(at);
        self.depth += 1;
        Ok(())
    }

    fn table(&mut self, table: &DeTable<'_>, at: usize) -> Result<(), (String, usize)> {
        self.enter(at)?;
        self.lua.new_table(0, table.len());
        for (key, value) in table {
            self.value(value)?;
            self.lua.raw_set(-2, key.get_ref());
        }
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), (String, usize)> {
        let (lua, at) = (self.lua, value.span().start);
        spend(32);
        match value.get_ref() {
            DeValue::String(text) => lua.push_str(text),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => lua.push_integer(integer),
                Err(_) => return Err((format!("the integer {integer} does not fit 64 bits"), at)),
            },
            DeValue::Float(float) => match float.as_str().parse::<f64>() {
                Ok(number)
                    if number.is_finite() || !float.as_str().contains(|c: char| c.is_ascii_digit()) =>
                {
                    lua.push_number(number);
                }
                // Its digits are those of JSON except for a sign in front.
                Ok(_) => value::push_number(lua, float.as_str().trim_start_matches('+')),
                Err(_) => return Err((format!("{float} is not a float"), at)),
            },
            DeValue::Boolean(value) => lua.push_bool(*value),
            DeValue::Datetime(datetime) => lua.push_str(&datetime.to_string()),
            DeValue::Array(array) => {
                self.enter(at)?;
                lua.new_table(array.len(), 0);
                for (n, item) in array.iter().enumerate() {
                    self.value(item)?;
                    lua.raw_set_index(-2, n as i64 + 1);
                }
                if array.is_empty() {
                    value::pin(lua, -1, Pin::Array);
                }
                self.depth -= 1;
            }
            DeValue::Table(table) => self.table(table, at)?,
        }
        Ok(())
    }
}

fn encode(call: Call) -> Returned {
    call.table(1)?;
    let lua = call.lua();
    let top = lua.top();
    let mut out = String::new();
    let mut walk = Walk::new(lua);
    let result = match walk.read(1) {
        Ok(Value::Object(keys)) => {
            let result = section(&mut walk, 1, &keys, "", &mut out);
            keys.release(lua);
            result
        }
        Ok(_) => Err(Fault::new("an array, but a TOML document is a table")),
        Err(fault) => Err(fault),
    };
    lua.set_top(top);
    result.map_err(|fault| fault.into_error("toml.encode"))?;
    lua.push_str(&out);
    Ok(1)
}

/// What a value needs: a line of its own, or a section with a header.
#[derive(PartialEq, Eq)]
enum Form {
    Line,
    Table,
    /// A list of tables.
    Tables,
}

fn form(walk: &mut Walk, at: c_int) -> Result<Form, Fault> {
    match walk.read(at)? {
        Value::Object(keys) => {
            keys.release(walk.lua);
            Ok(Form::Table)
        }
        Value::Array(len @ 1..) => {
            let mut tables = true;
            walk.array(at, len, |walk, _, child| {
                if tables {
                    match walk.read(child)? {
                        Value::Object(keys) => keys.release(walk.lua),
                        _ => tables = false,
                    }
                }
                Ok(())
            })?;
            Ok(if tables { Form::Tables } else { Form::Line })
        }
        _ => Ok(Form::Line),
    }
}

/// Writes a table: first its plain values, which belong to the header above them, then what has
/// headers of its own. `path` is the dotted name of the table.
fn section(
    walk: &mut Walk,
    at: c_int,
    keys: &value::Keys<'_>,
    path: &str,
    out: &mut String,
) -> Result<(), Fault> {
    walk.object(at, keys, |walk, key, child| {
        if form(walk, child)? == Form::Line {
            write_key(out, &key.text);
            out.push_str(" = ");
            inline(walk, child, out)?;
            out.push('\n');
        }
        Ok(())
    })?;
    walk.object(at, keys, |walk, key, child| {
        let mut name = path.to_owned();
        if !name.is_empty() {
            name.push('.');
        }
        write_key(&mut name, &key.text);
        match form(walk, child)? {
            Form::Line => Ok(()),
            Form::Table => headed(walk, child, &name, ("[", "]"), out),
            Form::Tables => {
                let Value::Array(len) = walk.read(child)? else { return Ok(()) };
                walk.array(child, len, |walk, _, item| headed(walk, item, &name, ("[[", "]]"), out))
            }
        }
    })
}

fn headed(
    walk: &mut Walk,
    at: c_int,
    name: &str,
    brackets: (&str, &str),
    out: &mut String,
) -> Result<(), Fault> {
    let Value::Object(keys) = walk.read(at)? else { return Ok(()) };
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}{name}{}", brackets.0, brackets.1);
    section(walk, at, &keys, name, out)?;
    keys.release(walk.lua);
    walk.wrote(out.len());
    Ok(())
}

/// Writes a value on one line.
fn inline(walk: &mut Walk, at: c_int, out: &mut String) -> Result<(), Fault> {
    match walk.read(at)? {
        Value::Null => return Err(Fault::new("null has no form in TOML")),
        Value::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        Value::Integer(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) if value.is_nan() => out.push_str("nan"),
        Value::Float(value) if value.is_infinite() => out.push_str(if value > 0.0 { "inf" } else { "-inf" }),
        Value::Float(value) => out.push_str(&value::float(value)),
        Value::Number(digits) if digits.contains(['.', 'e', 'E']) => out.push_str(digits),
        Value::Number(_) => return Err(Fault::new("an integer of more than 64 bits has no form in TOML")),
        Value::Text(text) => write_string(out, text),
        Value::Array(len) => {
            out.push('[');
            walk.array(at, len, |walk, n, child| {
                if n > 1 {
                    out.push_str(", ");
                }
                inline(walk, child, out)
            })?;
            out.push(']');
        }
        Value::Object(keys) => {
            out.push('{');
            let mut first = true;
            walk.object(at, &keys, |walk, key, child| {
                out.push_str(if std::mem::replace(&mut first, false) { " " } else { ", " });
                write_key(out, &key.text);
                out.push_str(" = ");
                inline(walk, child, out)
            })?;
            out.push_str(if first { "}" } else { " }" });
            keys.release(walk.lua);
        }
    }
    walk.wrote(out.len());
    Ok(())
}

fn write_key(out: &mut String, key: &str) {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) { out.push_str(key) } else { write_string(out, key) }
}

/// A basic string (TOML 1.0, section "String").
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for (at, c) in text.char_indices() {
        if at % PIECE < 4 {
            spend(PIECE.min(text.len() - at));
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{C}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\x1F' | '\x7F' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
