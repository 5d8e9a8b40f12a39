//! `io` of standard Lua (reference manual, section 6.8) over the capability `fs` and the standard
//! streams, the file functions of `os`, and what `dofile` and `loadfile` need.
//!
//! Where standard Lua returns nil, a message and a number, so does this; a denial and a limit are
//! raised, because a script that takes them for a missing file would go on wrongly.

mod command;
mod paths;
mod read;
mod stream;

pub use command::execute;
pub use paths::{remove, rename, tmpname};
pub use stream::{finish, write_out};

use super::fs::{Text, doing};
use crate::call::{Call, Error, Returned, prelude, push_library, raise, set_library};
use crate::ffi::*;
use crate::host::fs::{self, OpenFlags, Origin};
use crate::host::stdio::Target;
use crate::host::types::{self, ErrorCode};
use crate::lua::{Lua, Type};
use crate::task::{self, Pending, wait};
use crate::userdata::{self, Closable, Userdata};
use crate::{function, waiting};
use read::{Format, Value, format, push_quick, read};
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;
use stream::{Busy, Mode, Source, Stream};

/// Formats that `lines` takes, as in standard Lua: they become upvalues.
const MAX_FORMATS: c_int = 250;
/// Arguments of a write that are small together are put together.
const SMALL: usize = 32 * 1024;

unsafe extern "C" {
    /// Writes the number at `index` as text with a zero behind it; gives its size, or 0.
    fn lua_numbertocstring(l: *mut lua_State, index: c_int, buffer: *mut c_char) -> u32;
}

/// `LUA_N2SBUFFSZ`
const NUMBER: usize = 64;

/// The C function of a builtin that mostly need not wait: `$quick` gives its results, or none where
/// `$wait` has to do it, for which it must have changed nothing.
macro_rules! quick_or {
    ($quick:path, $wait:path) => {
        quick_or!($quick, $wait, c_int::MAX)
    };
    ($quick:path, $wait:path, $most:expr) => {{
        unsafe extern "C" fn entry(l: *mut lua_State) -> c_int {
            match crate::options::at_most(Lua(l), $most).and_then(|()| $quick(Call(Lua(l)))) {
                Ok(Some(results)) => results,
                Ok(None) => unsafe { task::enter(l, $wait, $most) },
                Err(error) => unsafe { raise(Lua(l), error) },
            }
        }
        entry as lua_CFunction
    }};
}
/// A file of a script; none once it is closed.
struct Handle(Closable<Stream>);

impl Userdata for Handle {
    crate::named!(c"FILE*");
    const METHODS: &'static [(&'static str, lua_CFunction)] = &[
        ("close", waiting!(file_close, 1)),
        ("flush", waiting!(file_flush, 1)),
        ("lines", function!(file_lines)),
        ("read", quick_or!(file_read_quick, file_read)),
        ("seek", waiting!(file_seek, 3)),
        ("setvbuf", waiting!(file_setvbuf, 3)),
        ("write", quick_or!(file_write_quick, file_write)),
    ];
    const METAMETHODS: &'static [(&'static str, lua_CFunction)] =
        &[("__gc", function!(collect)), ("__close", waiting!(leave)), ("__tostring", function!(display))];
}

/// Registry keys, by their addresses: the default files and the standard error.
static INPUT: u8 = 1;
static OUTPUT: u8 = 2;

fn set_default(lua: Lua, key: &'static u8) {
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const *key).cast::<c_void>()) }
}

fn push_default(lua: Lua, key: &'static u8) {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const *key).cast::<c_void>()) };
}

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("close", waiting!(io_close, 1)),
            ("flush", waiting!(io_flush, 0)),
            ("input", quick_or!(input_quick, input, 1)),
            ("lines", quick_or!(lines_quick, lines)),
            ("open", waiting!(open, 2)),
            ("output", quick_or!(output_quick, output, 1)),
            ("popen", waiting!(command::popen, 2)),
            ("read", quick_or!(io_read_quick, io_read)),
            ("tmpfile", waiting!(tmpfile, 0)),
            ("type", function!(type_of, 1)),
            ("write", quick_or!(io_write_quick, io_write)),
        ],
    );
    for (name, source, key) in [
        ("stdin", Source::Stdin, Some(&INPUT)),
        ("stdout", Source::Output(Target::Stdout), Some(&OUTPUT)),
        ("stderr", Source::Output(Target::Stderr), None),
    ] {
        if userdata::push(lua, Handle(Closable::share(Stream::new(source)))).is_err() {
            panic!("no memory for the standard streams");
        }
        if let Some(key) = key {
            lua.push_copy(-1);
            set_default(lua, key);
        }
        lua.raw_set(-2, name);
    }
    // Scripts may look at the metatable of files, as in standard Lua; its functions check what they get.
    lua.raw_get(-1, "stdin");
    unsafe { lua_getmetatable(lua.0, -1) };
    lua.push_nil();
    lua.raw_set(-2, "__metatable");
    lua.pop(2);
    set_library(lua, "io");
    push_library(lua, &[("source", waiting!(paths::source))]);
    prelude(lua, "io", include_str!("io.lua"));
}

// What failures become.

/// nil, message, number; or an error, where a script must not go on.
fn soft(lua: Lua, error: &types::Error) -> Returned {
    if matches!(error.code, ErrorCode::Denied | ErrorCode::Limit) {
        return Err(Error::Failed(error.clone()));
    }
    lua.push_nil();
    lua.push_str(&error.message);
    lua.push_integer(error.errno.into());
    Ok(3)
}

fn done(lua: Lua, result: &Result<(), types::Error>) -> Returned {
    match result {
        Ok(()) => {
            lua.push_bool(true);
            Ok(1)
        }
        Err(error) => soft(lua, error),
    }
}

/// Waits for what either holds or fails softly.
fn attempt(future: impl Future<Output = Result<(), types::Error>> + 'static) -> Result<Pending, Error> {
    wait(async move {
        let result = future.await;
        Ok(move |call: Call| done(call.lua(), &result))
    })
}

// Handles.

fn handle<'a>(call: Call, index: c_int) -> Result<&'a Closable<Stream>, Error> {
    Ok(&call.userdata::<Handle>(index)?.0)
}

/// The open file at `index`.
fn opened(call: Call, index: c_int) -> Result<Rc<Stream>, Error> {
    handle(call, index)?.get().ok_or_else(|| Error::Plain("attempt to use a closed file".into()))
}

/// The default file of `key`.
fn default(call: Call, key: &'static u8) -> Result<Rc<Stream>, Error> {
    let lua = call.lua();
    push_default(lua, key);
    let stream = userdata::get::<Handle>(lua, -1).and_then(|handle| handle.0.get());
    lua.pop(1);
    let name = if std::ptr::eq(key, &INPUT) { "input" } else { "output" };
    stream.ok_or_else(|| Error::Plain(format!("standard {name} file is closed")))
}

fn display(call: Call) -> Returned {
    let text = match handle(call, 1)?.get() {
        Some(stream) => format!("file ({:p})", Rc::as_ptr(&stream)),
        None => "file (closed)".into(),
    };
    call.lua().push_str(&text);
    Ok(1)
}

/// Takes the stream out of its handle; the standard ones stay.
fn closed(handle: &Closable<Stream>) -> Option<Rc<Stream>> {
    match handle.get() {
        Some(stream) if stream.is_standard() => None,
        _ => handle.take(),
    }
}

/// `__gc`: what is unwritten is written when the stream is dropped.
fn collect(call: Call) -> Returned {
    let handle = handle(call, 1)?;
    drop(closed(handle));
    Ok(0)
}

/// `__close`
fn leave(call: Call) -> Result<Pending, Error> {
    let stream = closed(handle(call, 1)?);
    wait(async move {
        if let Some(stream) = stream {
            // As in standard Lua, the end of a block tells nobody; `file:close()` does.
            let _ = stream.close().await;
        }
        Ok(|_: Call| Ok(0))
    })
}

fn type_of(call: Call) -> Returned {
    let lua = call.lua();
    if lua.type_of(1) == Type::None {
        return Err(Error::Argument(1, "value expected".into()));
    }
    match userdata::get::<Handle>(lua, 1) {
        Some(handle) if handle.0.get().is_some() => lua.push_str("file"),
        Some(_) => lua.push_str("closed file"),
        None => lua.push_nil(),
    }
    Ok(1)
}

/// Closes the file in `handle`. The standard ones stay open.
fn close(handle: &Closable<Stream>) -> Result<Pending, Error> {
    if handle.get().is_none() {
        return Err(Error::Plain("attempt to use a closed file".into()));
    }
    let Some(stream) = closed(handle) else {
        return wait(async move {
            Ok(|call: Call| {
                call.lua().push_nil();
                call.lua().push_str("cannot close standard file");
                Ok(2)
            })
        });
    };
    wait(async move {
        let result = stream.close().await;
        Ok(move |call: Call| match &result {
            Ok(Some(exit)) => Ok(command::push_exit(call.lua(), *exit)),
            Ok(None) => done(call.lua(), &Ok(())),
            Err(error) => soft(call.lua(), error),
        })
    })
}

fn file_close(call: Call) -> Result<Pending, Error> {
    close(handle(call, 1)?)
}

fn io_close(call: Call) -> Result<Pending, Error> {
    if call.lua().type_of(1) != Type::None {
        return file_close(call);
    }
    push_default(call.lua(), &OUTPUT);
    let Some(handle) = userdata::get::<Handle>(call.lua(), -1) else {
        return Err(Error::Plain("standard output file is closed".into()));
    };
    close(&handle.0)
}

fn flush(stream: Rc<Stream>) -> Result<Pending, Error> {
    attempt(async move {
        if let Source::Output(target) = stream.source {
            return crate::host::stdio::flush(target);
        }
        let _busy = stream.lock()?;
        stream.flush().await
    })
}

fn file_flush(call: Call) -> Result<Pending, Error> {
    flush(opened(call, 1)?)
}

fn io_flush(call: Call) -> Result<Pending, Error> {
    flush(default(call, &OUTPUT)?)
}

// Opening.

async fn open_stream(path: String, flags: OpenFlags) -> Result<Rc<Stream>, types::Error> {
    let file = fs::open(path, flags).await?;
    Ok(Stream::new(Source::File {
        file,
        read: flags & OpenFlags::READ == OpenFlags::READ,
        write: flags & OpenFlags::WRITE == OpenFlags::WRITE,
    }))
}

fn push_opened(lua: Lua, result: &Result<Rc<Stream>, types::Error>) -> Returned {
    match result {
        Ok(stream) => {
            userdata::push(lua, Handle(Closable::share(stream.clone())))?;
            Ok(1)
        }
        Err(error) => soft(lua, error),
    }
}

fn open(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    let mode = call.opt_bytes(2)?.unwrap_or(b"r");
    let Some(flags) = paths::flags(mode) else { return Err(Error::Argument(2, "invalid mode".into())) };
    wait(async move {
        let result = open_stream(path, flags).await;
        Ok(move |call: Call| push_opened(call.lua(), &result))
    })
}

fn tmpfile(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let result = async {
            let path = format!("{}/file", fs::temp_directory().await?);
            let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
            let stream = open_stream(path.clone(), flags).await?;
            fs::remove_one(path).await?;
            Ok(stream)
        }
        .await;
        Ok(move |call: Call| push_opened(call.lua(), &result))
    })
}

fn input_quick(call: Call) -> Result<Option<c_int>, Error> {
    default_file(call, &INPUT)
}

fn output_quick(call: Call) -> Result<Option<c_int>, Error> {
    default_file(call, &OUTPUT)
}

/// Gives the default file, or makes the one at argument 1 the default; none where that is a name.
fn default_file(call: Call, key: &'static u8) -> Result<Option<c_int>, Error> {
    let lua = call.lua();
    match lua.type_of(1) {
        Type::String | Type::Integer | Type::Float => return Ok(None),
        Type::None | Type::Nil => {}
        _ => {
            opened(call, 1)?;
            lua.push_copy(1);
            set_default(lua, key);
        }
    }
    push_default(lua, key);
    Ok(Some(1))
}

fn default_by_name(call: Call, key: &'static u8, flags: OpenFlags) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let stream = open_stream(path.clone(), flags).await.map_err(|error| cannot_open(&path, error))?;
        let mut push_handle = task::handle(Handle(Closable::share(stream)));
        Ok(move |call: Call| {
            push_handle(call)?;
            call.lua().push_copy(-1);
            set_default(call.lua(), key);
            Ok(1)
        })
    })
}

/// A failure that is raised with the text of standard Lua.
fn cannot_open(path: &str, error: types::Error) -> Error {
    if matches!(error.code, ErrorCode::Denied | ErrorCode::Limit) {
        return Error::Failed(error);
    }
    let reason =
        error.message.strip_prefix(path).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&error.message);
    Error::Plain(format!("cannot open file '{path}' ({reason})"))
}

fn input(call: Call) -> Result<Pending, Error> {
    default_by_name(call, &INPUT, OpenFlags::READ)
}

fn output(call: Call) -> Result<Pending, Error> {
    default_by_name(call, &OUTPUT, OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE)
}

// Reading.

/// The formats from `first` on; a line where there are none.
fn formats(call: Call, first: c_int) -> Result<Vec<Format>, Error> {
    if call.lua().top() < first {
        return Ok(vec![Format::Line]);
    }
    (first..=call.lua().top()).map(|index| format(call, index)).collect()
}

fn read_quick(call: Call, stream: Rc<Stream>, first: c_int) -> Result<Option<c_int>, Error> {
    let format = match call.lua().top() - first {
        -1 => Format::Line,
        0 => format(call, first)?,
        _ => return Ok(None),
    };
    Ok(push_quick(call, stream, format))
}

fn push_values(lua: Lua, values: &mut [Value]) -> Returned {
    let count = values.len() as c_int;
    if !lua.reserve(count) {
        return Err(Error::Plain("too many arguments".into()));
    }
    values.iter_mut().for_each(|value| value.push(lua));
    Ok(count)
}

/// A read that waits. What the host says is given softly, what the guest finds is raised.
fn read_values(stream: Rc<Stream>, formats: Vec<Format>) -> Result<Pending, Error> {
    wait(async move {
        let mut result = match locked_read(stream, formats).await {
            Ok(values) => Ok(values),
            Err(Error::Failed(error)) => Err(error),
            Err(error) => return Err(error),
        };
        Ok(move |call: Call| match &mut result {
            Ok(values) => push_values(call.lua(), values),
            Err(error) => soft(call.lua(), error),
        })
    })
}

async fn locked_read(stream: Rc<Stream>, formats: Vec<Format>) -> Result<Vec<Value>, Error> {
    let _busy: Busy = stream.lock()?;
    read(&stream, &formats).await
}

fn file_read_quick(call: Call) -> Result<Option<c_int>, Error> {
    read_quick(call, opened(call, 1)?, 2)
}

fn file_read(call: Call) -> Result<Pending, Error> {
    read_values(opened(call, 1)?, formats(call, 2)?)
}

fn io_read_quick(call: Call) -> Result<Option<c_int>, Error> {
    read_quick(call, default(call, &INPUT)?, 1)
}

fn io_read(call: Call) -> Result<Pending, Error> {
    read_values(default(call, &INPUT)?, formats(call, 1)?)
}

// Lines. The iterator's upvalues: the file, the number of formats, how it ends, the formats.

const UP_FILE: c_int = 1;
const UP_COUNT: c_int = 2;
const UP_KIND: c_int = 3;
/// The file stays open, and lines are as `io.read` gives them.
const KEEP: i64 = 0;
/// The file is closed at its end.
const CLOSE: i64 = 1;
/// Closed at its end; `\r` before the end of a line goes with it.
const TEXT: i64 = 2;

/// Makes the iterator of the file at index 1 and the formats above it.
fn push_iterator(call: Call, kind: i64) -> Returned {
    let lua = call.lua();
    let count = lua.top() - 1;
    if count > MAX_FORMATS {
        return Err(Error::Argument(MAX_FORMATS + 2, "too many arguments".into()));
    }
    lua.push_copy(1);
    lua.push_integer(count.into());
    lua.push_integer(kind);
    // Below the formats.
    unsafe { lua_rotate(lua.0, 2, 3) };
    lua.push_closure(quick_or!(next_line_quick, next_line), 3 + count);
    Ok(1)
}

/// The iterator and, for a file that it closes, the file as the loop's to-be-closed variable.
fn push_loop(call: Call, kind: i64) -> Returned {
    push_iterator(call, kind)?;
    if kind == KEEP {
        return Ok(1);
    }
    call.lua().push_nil();
    call.lua().push_nil();
    call.lua().push_copy(1);
    Ok(4)
}

fn file_lines(call: Call) -> Returned {
    opened(call, 1)?;
    push_loop(call, KEEP)
}

fn lines_quick(call: Call) -> Result<Option<c_int>, Error> {
    let lua = call.lua();
    if !call.is_nil(1) {
        return Ok(None);
    }
    default(call, &INPUT)?;
    push_default(lua, &INPUT);
    if lua.top() == 1 {
        // There was no argument at all.
        return push_loop(call, KEEP).map(Some);
    }
    unsafe { lua_copy(lua.0, -1, 1) };
    lua.pop(1);
    push_loop(call, KEEP).map(Some)
}

fn open_lines(
    call: Call,
    kind: i64,
    failed: impl FnOnce(types::Error) -> Error + 'static,
) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let stream = open_stream(path, OpenFlags::READ).await.map_err(failed)?;
        let mut push_handle = task::handle(Handle(Closable::share(stream)));
        Ok(move |call: Call| {
            push_handle(call)?;
            unsafe { lua_copy(call.lua().0, -1, 1) };
            call.lua().pop(1);
            push_loop(call, kind)
        })
    })
}

fn lines(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    open_lines(call, CLOSE, move |error| cannot_open(&path, error))
}

/// `fs.lines(path)`
pub fn fs_lines(call: Call) -> Result<Pending, Error> {
    call.str(1)?;
    call.lua().set_top(1);
    open_lines(call, TEXT, doing("read"))
}

/// An upvalue of the iterator.
fn upvalue(lua: Lua, index: c_int) -> i64 {
    lua.integer(lua_upvalueindex(index)).unwrap_or(0)
}

fn iterated(lua: Lua) -> Result<Rc<Stream>, Error> {
    lua.push_copy(lua_upvalueindex(UP_FILE));
    let stream = userdata::get::<Handle>(lua, -1).and_then(|handle| handle.0.get());
    lua.pop(1);
    stream.ok_or_else(|| Error::Plain("file is already closed".into()))
}

/// The format at upvalue `index`, which was not looked at when the iterator was made.
fn upvalue_format(call: Call, n: c_int) -> Result<Format, Error> {
    let lua = call.lua();
    lua.push_copy(lua_upvalueindex(UP_KIND + n));
    let format = format(call, lua.top());
    lua.pop(1);
    // As in standard Lua, where it is an argument of the iterator's own call.
    format.map_err(|error| match error {
        Error::Argument(_, message) => Error::Argument(n + 1, message),
        Error::Type(_, expected) => Error::Type(n + 1, expected),
        error => error,
    })
}

fn next_line_quick(call: Call) -> Result<Option<c_int>, Error> {
    let lua = call.lua();
    let stream = iterated(lua)?;
    lua.set_top(1);
    let format = match upvalue(lua, UP_COUNT) {
        0 if upvalue(lua, UP_KIND) == TEXT => Format::TextLine,
        0 => Format::Line,
        1 => upvalue_format(call, 1)?,
        _ => return Ok(None),
    };
    Ok(push_quick(call, stream, format))
}

fn next_line(call: Call) -> Result<Pending, Error> {
    let lua = call.lua();
    let stream = iterated(lua)?;
    let kind = upvalue(lua, UP_KIND);
    let formats = match upvalue(lua, UP_COUNT) {
        0 if kind == TEXT => vec![Format::TextLine],
        0 => vec![Format::Line],
        count => (1..=count as c_int).map(|n| upvalue_format(call, n)).collect::<Result<Vec<_>, _>>()?,
    };
    wait(async move {
        let mut values = locked_read(stream, formats).await.map_err(|error| match error {
            Error::Failed(error)
                if kind != TEXT && !matches!(error.code, ErrorCode::Denied | ErrorCode::Limit) =>
            {
                Error::Plain(error.message)
            }
            error => error,
        })?;
        Ok(move |call: Call| {
            if !matches!(values.first(), Some(Value::Nothing) | None) {
                return push_values(call.lua(), &mut values);
            }
            if kind != KEEP {
                call.lua().push_copy(lua_upvalueindex(UP_FILE));
                if let Some(handle) = userdata::get::<Handle>(call.lua(), -1) {
                    drop(handle.0.take());
                }
                call.lua().pop(1);
            }
            Ok(0)
        })
    })
}

// Writing.

/// The bytes of the string or number at `index`; a number's text goes to `buffer`.
fn written(call: Call, index: c_int, buffer: &mut [u8; NUMBER]) -> Result<&[u8], Error> {
    let lua = call.lua();
    if matches!(lua.type_of(index), Type::Integer | Type::Float) {
        let size = unsafe { lua_numbertocstring(lua.0, index, buffer.as_mut_ptr().cast()) } as usize;
        return Ok(&buffer[..size.saturating_sub(1)]);
    }
    lua.bytes(index).ok_or(Error::Type(index, c"string"))
}

/// Keeps the arguments from `first` on if that is all there is to do.
fn write_quick(call: Call, stream: &Rc<Stream>, first: c_int, file: c_int) -> Result<Option<c_int>, Error> {
    let lua = call.lua();
    if stream.check_writable().is_err() {
        return Ok(None);
    }
    let mut buffer = [0; NUMBER];
    let (mut len, mut newline) = (0usize, false);
    for index in first..=lua.top() {
        let bytes = written(call, index, &mut buffer)?;
        len = len.saturating_add(bytes.len());
        newline |= bytes.contains(&b'\n');
    }
    if let Source::Output(target) = stream.source {
        if len > SMALL {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(len);
        for index in first..=lua.top() {
            all.extend_from_slice(written(call, index, &mut buffer)?);
        }
        if let Err(error) = stream.write_output(target, &all) {
            let results = soft(lua, &error)?;
            lua.push_integer(0);
            return Ok(Some(results + 1));
        }
    } else if stream.only_keeps(len, newline) {
        for index in first..=lua.top() {
            stream.keep(written(call, index, &mut buffer)?);
        }
    } else {
        return Ok(None);
    }
    push_file(lua, file);
    Ok(Some(1))
}

/// The file at `file`, or the default output where that is 0: what a write gives, for chains.
fn push_file(lua: Lua, file: c_int) {
    match file {
        0 => push_default(lua, &OUTPUT),
        file => lua.push_copy(file),
    }
}

fn write_values(call: Call, stream: Rc<Stream>, first: c_int, file: c_int) -> Result<Pending, Error> {
    let mut texts = Vec::new();
    for index in first..=call.lua().top() {
        match call.lua().type_of(index) {
            Type::String | Type::Integer | Type::Float => texts.push(Text::take(call, index)?),
            _ => return Err(Error::Type(index, c"string")),
        }
    }
    wait(async move {
        let mut total = 0;
        let result = write_texts(&stream, &texts, &mut total).await;
        Ok(move |call: Call| match &result {
            Ok(()) => {
                push_file(call.lua(), file);
                Ok(1)
            }
            Err(error) => {
                let results = soft(call.lua(), error)?;
                call.lua().push_integer(total as i64);
                Ok(results + 1)
            }
        })
    })
}

async fn write_texts(stream: &Rc<Stream>, texts: &[Text], total: &mut usize) -> Result<(), types::Error> {
    stream.check_writable()?;
    let len: usize = texts.iter().map(|text| text.bytes().len()).sum();
    let newline = texts.iter().any(|text| text.bytes().contains(&b'\n'));
    if stream.is_busy() && len <= SMALL && !stream.is_standard() {
        // Another task is writing; it goes on until nothing is left.
        for text in texts {
            stream.keep(text.bytes());
        }
        return Ok(());
    }
    let _busy = stream.lock()?;
    for text in texts {
        if text.bytes().len() > SMALL || stream.is_standard() {
            stream.write_direct(text.bytes()).await?;
        } else {
            stream.keep(text.bytes());
        }
        *total += text.bytes().len();
    }
    if stream.is_due(newline) {
        stream.flush().await?;
    }
    Ok(())
}

fn file_write_quick(call: Call) -> Result<Option<c_int>, Error> {
    write_quick(call, &opened(call, 1)?, 2, 1)
}

fn file_write(call: Call) -> Result<Pending, Error> {
    write_values(call, opened(call, 1)?, 2, 1)
}

fn io_write_quick(call: Call) -> Result<Option<c_int>, Error> {
    write_quick(call, &default(call, &OUTPUT)?, 1, 0)
}

fn io_write(call: Call) -> Result<Pending, Error> {
    write_values(call, default(call, &OUTPUT)?, 1, 0)
}

// Position and buffering.

/// The option at `index` among `names`, as `luaL_checkoption` takes it.
fn choice(call: Call, index: c_int, default: Option<&str>, names: &[&str]) -> Result<usize, Error> {
    let given = match (call.opt_bytes(index)?, default) {
        (Some(given), _) => given,
        (None, Some(default)) => default.as_bytes(),
        (None, None) => return Err(Error::Type(index, c"string")),
    };
    names
        .iter()
        .position(|name| name.as_bytes() == given)
        .ok_or_else(|| Error::Argument(index, format!("invalid option '{}'", String::from_utf8_lossy(given))))
}

fn file_seek(call: Call) -> Result<Pending, Error> {
    let stream = opened(call, 1)?;
    let origin = match choice(call, 2, Some("cur"), &["set", "cur", "end"])? {
        0 => Origin::Start,
        1 => Origin::Current,
        _ => Origin::End,
    };
    let offset = call.opt_integer(3)?.unwrap_or(0);
    wait(async move {
        let result = async {
            let _busy = stream.lock()?;
            stream.seek(origin, offset).await
        }
        .await;
        Ok(move |call: Call| match &result {
            Ok(at) => {
                call.lua().push_integer(*at as i64);
                Ok(1)
            }
            Err(error) => soft(call.lua(), error),
        })
    })
}

fn file_setvbuf(call: Call) -> Result<Pending, Error> {
    let stream = opened(call, 1)?;
    let mode = match choice(call, 2, None, &["no", "full", "line"])? {
        0 => Mode::No,
        1 => Mode::Full,
        _ => Mode::Line,
    };
    let size = call.opt_integer(3)?.unwrap_or(stream::BUFFER as i64);
    attempt(async move {
        stream.set_mode(mode, usize::try_from(size).unwrap_or(stream::BUFFER));
        let _busy = stream.lock()?;
        stream.flush().await
    })
}
