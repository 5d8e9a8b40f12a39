//! `json`: RFC 8259 from and to Lua values.

use crate::call::{Call, Error, Returned, carry, push_library, set_library};
use crate::ffi::*;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::region::region;
use crate::value::{self, Fault, MAX_DEPTH, Meter, Pin, Value, Walk};
use crate::work::{PIECE, spend};
use crate::{computing, function};
use std::borrow::Cow;
use std::ffi::c_int;

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("parse", computing!(parse, 2)),
            ("encode", computing!(encode, 2)),
            ("array", function!(array, 1)),
            ("object", function!(object, 1)),
            ("number", function!(number, 1)),
        ],
    );
    value::push_null(lua);
    lua.raw_set(-2, "null");
    set_library(lua, "json");
}

fn array(call: Call) -> Returned {
    pin(call, Pin::Array, "array")
}

fn object(call: Call) -> Returned {
    pin(call, Pin::Object, "object")
}

fn pin(call: Call, pin: Pin, name: &str) -> Returned {
    let lua = call.lua();
    if call.is_nil(1) {
        lua.set_top(0);
        lua.new_table(0, 0);
    } else {
        call.table(1)?;
        if value::has_own_metatable(lua, 1) {
            let why = format!("the table has a metatable of its own; set __jsontype = \"{name}\" in that");
            return Err(Error::Argument(1, why));
        }
        lua.set_top(1);
    }
    value::pin(lua, 1, pin);
    Ok(1)
}

fn number(call: Call) -> Returned {
    let text = call.str(1)?;
    if text.len() > MAX_NUMBER {
        return Err(Error::Argument(1, format!("a number of more than {MAX_NUMBER} characters")));
    }
    match scan_number(text.as_bytes()) {
        Some((len, _)) if len == text.len() => {
            value::push_number(call.lua(), text);
            Ok(1)
        }
        _ => Err(Error::Argument(1, format!("{text:?} is not a number in JSON's grammar"))),
    }
}

fn parse(call: Call) -> Returned {
    let (text, options) = (call.bytes(1)?, call.opt_options(2, &["null"])?);
    let lua = call.lua();
    let null = match options {
        Some(options) => match options.push("null") {
            Type::Nil => 0,
            _ => lua.top(),
        },
        None => 0,
    };
    push_named(lua, text, null, "json.parse")?;
    Ok(1)
}

/// Pushes the value that the JSON `text` says; null becomes nil.
///
/// # Errors
/// `invalid_data` with the line and column.
pub fn push(lua: Lua, text: &[u8]) -> Result<(), Error> {
    push_named(lua, text, 0, "json.parse")
}

/// As [`push`]; null becomes the value at stack index `null` (0: nil), and errors start with `name`.
pub fn push_named(lua: Lua, text: &[u8], null: c_int, name: &str) -> Result<(), Error> {
    let top = lua.top();
    let document = region(lua, || {
        let mut parser =
            Parser { lua, text, at: 0, null, depth: 0, unescaped: Vec::new(), meter: Meter::default() };
        parser.document()
    })?;
    document.map_err(|bad| {
        lua.set_top(top);
        let (line, column) = value::position(text, bad.at);
        Error::failed(ErrorCode::InvalidData, format!("{name}: {} at line {line} column {column}", bad.why))
    })
}

/// What is wrong with a JSON text, and at which byte.
struct Bad {
    at: usize,
    why: Cow<'static, str>,
}

/// How many values wait on the Lua stack before they go into their table: a short array or object
/// gets a table of its exact size, which saves Lua from growing it step by step.
const BATCH: c_int = 64;

/// The longest text of a number.
const MAX_NUMBER: usize = 64 << 10;

struct Parser<'a> {
    lua: Lua,
    text: &'a [u8],
    at: usize,
    null: c_int,
    depth: usize,
    unescaped: Vec<u8>,
    meter: Meter,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Bad> {
        if let Err(at) = value::utf8(self.text) {
            return Err(Bad { at, why: "a byte that is not valid UTF-8".into() });
        }
        if self.text.starts_with(b"\xEF\xBB\xBF") {
            self.at = 3;
        }
        self.value()?;
        match self.peek() {
            None => Ok(()),
            Some(_) => self.bad("more text after the value"),
        }
    }

    fn bad<T>(&self, why: impl Into<Cow<'static, str>>) -> Result<T, Bad> {
        Err(Bad { at: self.at, why: why.into() })
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => {
                    self.at += 1;
                    if self.at.is_multiple_of(PIECE) {
                        self.meter.reach(self.at);
                    }
                }
                byte => return Some(*byte),
            }
        }
        None
    }

    /// Pushes the next value; true where it is nil.
    fn value(&mut self) -> Result<bool, Bad> {
        self.meter.reach(self.at);
        match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => {
                self.word(b"true")?;
                self.lua.push_bool(true);
            }
            Some(b'f') => {
                self.word(b"false")?;
                self.lua.push_bool(false);
            }
            Some(b'n') => {
                self.word(b"null")?;
                if self.null == 0 {
                    self.lua.push_nil();
                    return Ok(true);
                }
                self.lua.push_copy(self.null);
            }
            Some(_) => return self.bad("a value was expected"),
            None => return self.bad("a value was expected, but the text ends"),
        }
        Ok(false)
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Bad> {
        if !self.text[self.at..].starts_with(word) {
            return self.bad("a value was expected");
        }
        self.at += word.len();
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Bad> {
        if self.depth == MAX_DEPTH {
            return self.bad(format!("more than {MAX_DEPTH} nested arrays and objects"));
        }
        if !self.lua.reserve(2 * BATCH + 8) {
            return self.bad("Lua's stack is full");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Bad> {
        self.enter()?;
        let lua = self.lua;
        let table = lua.top() + 1;
        let (mut stored, mut holes) = (0, false);
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            lua.new_table(0, 0);
            value::pin(lua, table, Pin::Array);
            return Ok(());
        }
        loop {
            holes |= self.value()?;
            if lua.top() - table >= BATCH {
                store_array(lua, table, &mut stored);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.bad("',' or ']' was expected"),
            }
        }
        self.at += 1;
        self.depth -= 1;
        store_array(lua, table, &mut stored);
        if holes {
            // Without its nulls it would not look like an array any more.
            value::pin(lua, table, Pin::Array);
        }
        Ok(())
    }

    fn object(&mut self) -> Result<(), Bad> {
        self.enter()?;
        let lua = self.lua;
        let table = lua.top() + 1;
        let mut made = false;
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            lua.new_table(0, 0);
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.bad("a key in double quotes was expected");
            }
            self.string()?;
            if self.peek() != Some(b':') {
                return self.bad("':' was expected");
            }
            self.at += 1;
            self.value()?;
            if lua.top() - table >= BATCH {
                store_object(lua, table, &mut made);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.bad("',' or '}' was expected"),
            }
        }
        self.at += 1;
        self.depth -= 1;
        store_object(lua, table, &mut made);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Bad> {
        let rest = &self.text[self.at..];
        let Some((len, integer)) = scan_number(&rest[..rest.len().min(MAX_NUMBER + 1)]) else {
            return self.bad("a number was expected");
        };
        if len > MAX_NUMBER {
            return self.bad(format!("a number of more than {MAX_NUMBER} characters"));
        }
        // The scan accepts ASCII only.
        let digits = std::str::from_utf8(&rest[..len]).unwrap_or_default();
        if rest.get(len).is_some_and(|byte| byte.is_ascii_digit()) {
            return self.bad("a number with a leading zero");
        }
        self.at += len;
        if integer && digits != "-0" {
            match digits.parse() {
                Ok(value) => self.lua.push_integer(value),
                Err(_) => value::push_number(self.lua, digits),
            }
            return Ok(());
        }
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => self.lua.push_number(value),
            _ => value::push_number(self.lua, digits),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Bad> {
        self.at += 1;
        let start = self.at;
        self.plain();
        if self.text.get(self.at) == Some(&b'"') {
            self.lua.push_bytes(&self.text[start..self.at]);
            self.at += 1;
            return Ok(());
        }
        self.unescaped.clear();
        self.keep(start);
        loop {
            self.meter.reach(self.at);
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return self.bad("a control character in a string (it must be escaped)"),
                None => return self.bad("the text ends within a string"),
            }
            let start = self.at;
            self.plain();
            self.keep(start);
        }
        self.at += 1;
        self.lua.push_bytes(&self.unescaped);
        Ok(())
    }

    /// Passes over what needs no attention within a string.
    fn plain(&mut self) {
        loop {
            let piece = &self.text[self.at..self.text.len().min(self.at + PIECE)];
            let len = plain(piece);
            self.at += len;
            if len < PIECE {
                return;
            }
            self.meter.reach(self.at);
        }
    }

    fn keep(&mut self, start: usize) {
        self.unescaped.extend_from_slice(&self.text[start..self.at]);
    }

    fn escape(&mut self) -> Result<(), Bad> {
        let byte = match self.text.get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(),
            _ => return self.bad("an unknown escape in a string"),
        };
        self.unescaped.push(byte);
        self.at += 2;
        Ok(())
    }

    /// `\uXXXX`, or the two that make a surrogate pair (RFC 8259, section 7).
    fn unicode(&mut self) -> Result<(), Bad> {
        let Some(first) = hex4(self.text, self.at + 2) else {
            return self.bad("four hexadecimal digits were expected after \\u");
        };
        let (code, len) = match first {
            0xD800..=0xDBFF => match self.text.get(self.at + 6..self.at + 8) {
                Some(b"\\u") => match hex4(self.text, self.at + 8) {
                    Some(second @ 0xDC00..=0xDFFF) => {
                        (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
                    }
                    _ => return self.bad("half of a surrogate pair"),
                },
                _ => return self.bad("half of a surrogate pair"),
            },
            code => (code, 6),
        };
        let Some(c) = char::from_u32(code) else {
            return self.bad("half of a surrogate pair");
        };
        self.unescaped.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        Ok(())
    }
}

/// Moves the values above `table - 1` into the table at `table`, which is made at the first time.
fn store_array(lua: Lua, table: c_int, stored: &mut i64) {
    let mut first = table + 1;
    if *stored == 0 {
        let count = lua.top() - table + 1;
        lua.new_table(count as usize, 0);
        lua.insert(table);
    }
    let top = lua.top();
    while first <= top {
        *stored += 1;
        lua.push_copy(first);
        lua.raw_set_index(table, *stored);
        first += 1;
    }
    lua.set_top(table);
}

/// Moves the pairs above `table - 1` into the table at `table`, in their order: the last of equal
/// keys wins.
fn store_object(lua: Lua, table: c_int, made: &mut bool) {
    if !*made {
        let count = (lua.top() - table + 1) / 2;
        lua.new_table(0, count as usize);
        lua.insert(table);
        *made = true;
    }
    let top = lua.top();
    let mut key = table + 1;
    while key < top {
        lua.push_copy(key);
        lua.push_copy(key + 1);
        unsafe { lua_rawset(lua.0, table) };
        key += 2;
    }
    lua.set_top(table);
}

/// How many bytes at the start of `text` need no attention within a string.
fn plain(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)).unwrap_or(text.len())
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |code, byte| Some(code << 4 | char::from(*byte).to_digit(16)?))
}

/// The length of the number at the start of `text` in JSON's grammar, and whether it is an integer.
fn scan_number(text: &[u8]) -> Option<(usize, bool)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    at += match text.get(at)? {
        b'0' => 1,
        b'1'..=b'9' => digits(at),
        _ => return None,
    };
    let mut integer = true;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        integer = false;
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits((at + 1 + sign).min(text.len()));
        if exponent == 0 {
            return None;
        }
        integer = false;
        at += 1 + sign + exponent;
    }
    Some((at, integer))
}

fn encode(call: Call) -> Returned {
    let lua = call.lua();
    if lua.type_of(1) == Type::None {
        return Err(Error::Argument(1, "value expected".into()));
    }
    let indent = match call.opt_options(2, &["indent"])? {
        Some(options) => match options.integer("indent")? {
            Some(indent @ 0..=16) => indent as usize,
            Some(_) => return Err(options.invalid("indent", "0 to 16 spaces expected")),
            None => 0,
        },
        None => 0,
    };
    let text = encode_with(lua, 1, indent, "json.encode")?;
    lua.push_str(&text);
    Ok(1)
}

/// The value at stack index `at` as JSON, keys sorted bytewise; with `indent` spaces a level (0: on one
/// line). Errors start with `name`.
///
/// # Errors
/// `invalid_argument` with the path of what has no form in JSON; `limit` where it is more than goes to the host in one
/// call, "not enough memory" where it does not fit.
pub fn encode_with(lua: Lua, at: c_int, indent: usize, name: &str) -> Result<String, Error> {
    let (at, top) = (lua.abs(at), lua.top());
    let result = region(lua, || {
        let mut out = String::new();
        let mut encoder = Encoder { out: &mut out, indent };
        encoder.value(&mut Walk::new(lua), at, 0).map(|()| out)
    })?;
    lua.set_top(top);
    let out = result.map_err(|fault| fault.into_error(name))?;
    carry(out.len())?;
    Ok(out)
}

struct Encoder<'a> {
    out: &'a mut String,
    indent: usize,
}

impl Encoder<'_> {
    fn value(&mut self, walk: &mut Walk, at: c_int, depth: usize) -> Result<(), Fault> {
        match walk.read(at)? {
            Value::Null => self.out.push_str("null"),
            Value::Boolean(value) => self.out.push_str(if value { "true" } else { "false" }),
            Value::Integer(value) => integer(self.out, value),
            Value::Float(value) if value.is_finite() => {
                self.out.push_str(zmij::Buffer::new().format_finite(value));
            }
            Value::Float(value) => {
                let name = if value.is_nan() { "NaN" } else { "an infinite number" };
                return Err(Fault::new(format!("{name} has no form in JSON")));
            }
            Value::Number(digits) => self.out.push_str(digits),
            Value::Text(text) => quote(self.out, text),
            Value::Array(0) => self.out.push_str("[]"),
            Value::Array(len) => {
                self.out.push('[');
                walk.array(at, len, |walk, n, child| {
                    self.separate(n > 1, depth + 1);
                    self.value(walk, child, depth + 1)
                })?;
                self.newline(depth);
                self.out.push(']');
            }
            Value::Object(keys) if keys.is_empty() => {
                keys.release(walk.lua);
                self.out.push_str("{}");
            }
            Value::Object(keys) => {
                self.out.push('{');
                let mut comma = false;
                walk.object(at, &keys, |walk, key, child| {
                    self.separate(comma, depth + 1);
                    comma = true;
                    quote(self.out, &key.text);
                    self.out.push_str(if self.indent == 0 { ":" } else { ": " });
                    self.value(walk, child, depth + 1)
                })?;
                keys.release(walk.lua);
                self.newline(depth);
                self.out.push('}');
            }
        }
        walk.wrote(self.out.len());
        Ok(())
    }

    fn separate(&mut self, comma: bool, depth: usize) {
        if comma {
            self.out.push(',');
        }
        self.newline(depth);
    }

    fn newline(&mut self, depth: usize) {
        if self.indent > 0 {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', self.indent * depth));
        }
    }
}

fn integer(out: &mut String, value: i64) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push('-');
    }
    out.extend(buffer[at..].iter().map(|digit| char::from(*digit)));
}

/// Appends `text` as a JSON string.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        let len = plain(&rest.as_bytes()[..rest.len().min(PIECE)]);
        let len = rest.floor_char_boundary(len);
        spend(4 + 2 * len);
        out.push_str(&rest[..len]);
        let Some(byte) = rest.as_bytes().get(len) else { break };
        if !matches!(byte, b'"' | b'\\' | 0..=0x1F) {
            rest = &rest[len..];
            continue;
        }
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                out.push_str("\\u00");
                out.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
                );
            }
        }
        rest = &rest[len + 1..];
    }
    out.push('"');
}
