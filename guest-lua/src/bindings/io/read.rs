//! `file:read` and its formats (reference manual, section 6.8).

use super::stream::{BUFFER, Stream};
use crate::bindings::fs::PIECE;
use crate::bindings::fs::buffer::Buffer;
use crate::call::{Call, Error};
use crate::ffi::*;
use crate::lua::{Lua, Type};
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;

/// Characters of a numeral, as in Lua's own library.
const LONGEST_NUMERAL: usize = 200;

unsafe extern "C" {
    fn memchr(start: *const c_void, byte: c_int, len: usize) -> *const c_void;
    fn lua_stringtonumber(l: *mut lua_State, text: *const c_char) -> usize;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Number,
    /// Without its end.
    Line,
    /// Without its end, which may be `\r\n` too.
    TextLine,
    /// With its end.
    FullLine,
    All,
    Bytes(usize),
}

/// The format at `index`.
pub fn format(call: Call, index: c_int) -> Result<Format, Error> {
    if matches!(call.lua().type_of(index), Type::Integer | Type::Float) {
        let count = call.integer(index)?;
        return usize::try_from(count)
            .map(Format::Bytes)
            .map_err(|_| Error::Argument(index, "not a number of bytes".into()));
    }
    let text = call.bytes(index)?;
    // Lua 5.3 and older wrote "*l".
    match text.strip_prefix(b"*").unwrap_or(text).first() {
        Some(b'n') => Ok(Format::Number),
        Some(b'l') => Ok(Format::Line),
        Some(b'L') => Ok(Format::FullLine),
        Some(b'a') => Ok(Format::All),
        _ => Err(Error::Argument(index, "invalid format".into())),
    }
}

/// Where the first newline is.
fn newline(bytes: &[u8]) -> Option<usize> {
    let found = unsafe { memchr(bytes.as_ptr().cast(), b'\n'.into(), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}

/// Reads from the buffer alone; nothing where that is not enough. What it gives lies in the buffer, and is to be pushed at
/// once, with nothing in hand: a string is copied before anything else can read from the stream, which is on the stack.
fn quick<'a>(stream: &Stream, format: Format) -> Option<&'a [u8]> {
    if !stream.is_ready() {
        return None;
    }
    let unread = stream.unread();
    let rest = unread.rest();
    let rest = unsafe { std::slice::from_raw_parts(rest.as_ptr(), rest.len()) };
    let (value, taken) = match format {
        Format::Line | Format::TextLine | Format::FullLine => {
            let end = newline(rest)?;
            let line = match format {
                Format::FullLine => &rest[..=end],
                Format::TextLine => rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]),
                _ => &rest[..end],
            };
            (line, end + 1)
        }
        Format::Bytes(count) if count <= rest.len() && !rest.is_empty() => (&rest[..count], count),
        _ => return None,
    };
    stream.take(taken);
    Some(value)
}

/// Pushes what the buffer alone gives; nothing where that is not enough.
pub fn push_quick(call: Call, stream: Rc<Stream>, format: Format) -> Option<c_int> {
    let value = quick(&stream, format)?;
    drop(stream);
    call.lua().push_bytes(value);
    Some(1)
}

/// What was read, until it can be pushed.
pub enum Value {
    Text(Buffer),
    Integer(i64),
    Float(f64),
    Nothing,
}

impl Value {
    pub fn push(&mut self, lua: Lua) {
        match self {
            Value::Text(text) => text.push(lua),
            Value::Integer(value) => lua.push_integer(*value),
            Value::Float(value) => lua.push_number(*value),
            Value::Nothing => lua.push_nil(),
        }
    }
}

/// Reads values, one for each format, up to the first that fails, which gives nil.
pub async fn read(stream: &Stream, formats: &[Format]) -> Result<Vec<Value>, Error> {
    stream.check_readable()?;
    stream.flush().await?;
    let mut values = Vec::new();
    for format in formats {
        let value = match *format {
            Format::Number => number(stream).await?,
            Format::Line | Format::TextLine | Format::FullLine => line(stream, *format).await?,
            Format::All => Some(all(stream).await?),
            Format::Bytes(count) => bytes(stream, count).await?,
        };
        let failed = value.is_none();
        values.push(value.unwrap_or(Value::Nothing));
        if failed {
            break;
        }
    }
    Ok(values)
}

async fn line(stream: &Stream, format: Format) -> Result<Option<Value>, Error> {
    let mut line = Buffer::new();
    let mut any = false;
    loop {
        let unread = stream.unread();
        let rest = unread.rest();
        if let Some(end) = newline(rest) {
            stream.take(end + 1);
            let end = if format == Format::FullLine { end + 1 } else { end };
            line.extend(&rest[..end])?;
            if format == Format::TextLine {
                line.strip_suffix(b'\r');
            }
            return Ok(Some(Value::Text(line)));
        }
        any |= !rest.is_empty();
        stream.take(rest.len());
        line.extend(rest)?;
        if !stream.fill().await? {
            return Ok(any.then_some(Value::Text(line)));
        }
    }
}

async fn all(stream: &Stream) -> Result<Value, Error> {
    let mut text = Buffer::new();
    let unread = stream.unread();
    stream.take(unread.rest().len());
    text.extend(unread.rest())?;
    let mut size = BUFFER;
    loop {
        let piece = stream.read_direct(size).await?;
        if piece.is_empty() {
            return Ok(Value::Text(text));
        }
        if piece.len() == size && size < PIECE {
            // A large file: what cannot fit fails before it is read.
            text.reserve(piece.len().saturating_add(stream.size_hint().await))?;
            size = PIECE;
        }
        text.extend(&piece)?;
    }
}

async fn bytes(stream: &Stream, count: usize) -> Result<Option<Value>, Error> {
    let mut text = Buffer::new();
    if count == 0 {
        // Whether there is more.
        let more = !stream.unread().rest().is_empty() || stream.fill().await?;
        return Ok(more.then_some(Value::Text(text)));
    }
    loop {
        let unread = stream.unread();
        let rest = unread.rest();
        let taken = rest.len().min(count - text.as_slice().len());
        stream.take(taken);
        text.extend(&rest[..taken])?;
        let missing = count - text.as_slice().len();
        if missing == 0 {
            return Ok(Some(Value::Text(text)));
        }
        if missing >= BUFFER {
            let piece = stream.read_direct(missing.min(PIECE)).await?;
            if piece.is_empty() {
                break;
            }
            text.extend(&piece)?;
        } else if !stream.fill().await? {
            break;
        }
    }
    Ok((!text.is_empty()).then_some(Value::Text(text)))
}

/// The numeral that is being read.
struct Numeral<'a> {
    stream: &'a Stream,
    /// The character ahead; none at the end.
    ahead: Option<u8>,
    text: Vec<u8>,
    too_long: bool,
}

impl Numeral<'_> {
    async fn peek(&mut self) -> Result<(), Error> {
        loop {
            let unread = self.stream.unread();
            if let Some(byte) = unread.rest().first() {
                self.ahead = Some(*byte);
                return Ok(());
            }
            if !self.stream.fill().await? {
                self.ahead = None;
                return Ok(());
            }
        }
    }

    /// Takes the character ahead into the numeral, unless that is full.
    async fn accept(&mut self) -> Result<bool, Error> {
        let Some(byte) = self.ahead else { return Ok(false) };
        if self.text.len() >= LONGEST_NUMERAL {
            self.too_long = true;
            return Ok(false);
        }
        self.text.push(byte);
        self.stream.take(1);
        self.peek().await?;
        Ok(true)
    }

    async fn accept_one_of(&mut self, set: &[u8]) -> Result<bool, Error> {
        match self.ahead {
            Some(byte) if set.contains(&byte) => self.accept().await,
            _ => Ok(false),
        }
    }

    async fn digits(&mut self, hexadecimal: bool) -> Result<usize, Error> {
        let mut count = 0;
        while let Some(byte) = self.ahead {
            let digit = if hexadecimal { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
            if !digit || !self.accept().await? {
                break;
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Reads the longest prefix of a numeral. As in Lua's own library, what turns out to be no numeral is
/// gone, and one that is too long fails.
async fn number(stream: &Stream) -> Result<Option<Value>, Error> {
    let mut numeral = Numeral { stream, ahead: None, text: Vec::new(), too_long: false };
    numeral.peek().await?;
    while numeral.ahead.is_some_and(|byte| byte.is_ascii_whitespace() || byte == 0x0b) {
        stream.take(1);
        numeral.peek().await?;
    }
    numeral.accept_one_of(b"-+").await?;
    let mut hexadecimal = false;
    let mut count = 0;
    if numeral.accept_one_of(b"0").await? {
        if numeral.accept_one_of(b"xX").await? {
            hexadecimal = true;
        } else {
            count = 1;
        }
    }
    count += numeral.digits(hexadecimal).await?;
    if numeral.accept_one_of(b".").await? {
        count += numeral.digits(hexadecimal).await?;
    }
    if count > 0 && numeral.accept_one_of(if hexadecimal { b"pP" } else { b"eE" }).await? {
        numeral.accept_one_of(b"-+").await?;
        numeral.digits(false).await?;
    }
    if numeral.too_long {
        return Ok(None);
    }
    Ok(convert(numeral.text))
}

/// By Lua's own rules for numerals.
fn convert(mut text: Vec<u8>) -> Option<Value> {
    text.push(0);
    let lua = crate::state::main();
    if unsafe { lua_stringtonumber(lua.0, text.as_ptr().cast()) } == 0 {
        return None;
    }
    let value = match lua.type_of(-1) {
        Type::Integer => lua.integer(-1).map(Value::Integer),
        _ => lua.number(-1).map(Value::Float),
    };
    lua.pop(1);
    value
}
