//! `process`: starting programs. What the options mean is in process.lua; here they are plain values.

use crate::call::{
    Call, Error, Fields, ITEM, Returned, gather, keep, piece, prelude, push_library, set_library,
};
use crate::ffi::*;
use crate::host::process::{self, Child, Exit, Finished, Input, Output, Program};
use crate::host::types::{ErrorCode, Payload};
use crate::lua::{Lua, Type};
use crate::payload;
use crate::region;
use crate::task::{self, Pending, wait};
use crate::userdata::Userdata;
use crate::value;
use crate::{function, waiting};
use std::rc::Rc;

/// What one read asks for, unless the script says.
const PIECE: u32 = 64 << 10;

/// Registry key, by its address: the natives of process.lua.
static NATIVES: u8 = 3;

/// A program that was started, with its pipes.
struct Handle(Rc<Child>);

impl Userdata for Handle {
    crate::named!(c"process.child");
}

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("list", waiting!(list, 0)),
            ("pid", function!(pid, 0)),
            ("sleep", waiting!(super::time::sleep, 1)),
        ],
    );
    lua.push_copy(-1);
    set_library(lua, "process");
    push_library(
        lua,
        &[
            ("spawn", waiting!(spawn)),
            ("run", waiting!(run)),
            ("wait", waiting!(wait_pid)),
            ("kill", waiting!(kill)),
            ("running", waiting!(running)),
            ("write", waiting!(write)),
            ("close_stdin", function!(close_stdin)),
            ("read", waiting!(read)),
            ("monotonic", function!(monotonic)),
            ("failure", function!(crate::call::failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "process");
    lua.push_copy(-1);
    unsafe { lua_rawsetp(lua.0, LUA_REGISTRYINDEX, (&raw const NATIVES).cast()) };
    prelude(lua, "process", include_str!("process.lua"));
}

/// Pushes what process.lua has and defines, for the Lua parts of `pty` and `shell`, which read the same options.
pub fn push_natives(lua: Lua) {
    unsafe { lua_rawgetp(lua.0, LUA_REGISTRYINDEX, (&raw const NATIVES).cast()) };
}

fn monotonic(call: Call) -> Returned {
    call.lua().push_number(crate::host::time::monotonic() as f64 / 1e9);
    Ok(1)
}

/// A list of byte strings in the field `name`; process.lua has made sure that it is one.
///
/// # Errors
/// `limit`, where it is more than one call may carry.
pub fn words(fields: Fields, name: &str) -> Result<Vec<Vec<u8>>, Error> {
    let lua = fields.lua;
    gather(lua, || {
        let mut words = Vec::new();
        if fields.push(name) == Type::Table {
            for n in 1..=lua.raw_len(-1) {
                lua.raw_get_index(-1, n as i64);
                if let Some(word) = lua.bytes(-1) {
                    keep(lua, ITEM + word.len())?;
                    words.push(word.to_vec());
                }
                lua.pop(1);
            }
        }
        lua.pop(1);
        Ok(words)
    })
}

/// The environment, which comes as a list of names and values in turn.
pub fn variables(fields: Fields) -> Result<Vec<(String, Vec<u8>)>, Error> {
    gather(fields.lua, || {
        let mut words = words(fields, "env")?.into_iter();
        let mut list = Vec::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let name = String::from_utf8(name).map_err(|_| {
                Error::failed(ErrorCode::InvalidArgument, "the name of an environment variable is not UTF-8")
            })?;
            list.push((name, value));
        }
        Ok(list)
    })
}

fn program(fields: Fields) -> Result<Program, Error> {
    Ok(Program {
        cmd: fields.string("cmd")?.unwrap_or_default(),
        args: words(fields, "args")?,
        env: variables(fields)?,
        clear_env: fields.boolean("clear_env")?.unwrap_or(false),
        cwd: fields.string("cwd")?,
    })
}

/// The field `name`: a word, or `file` and `append` with a path in `NAME_path`.
fn output(fields: Fields, name: &str) -> Result<Output, Error> {
    let path = || fields.string(&format!("{name}_path")).map(Option::unwrap_or_default);
    Ok(match fields.string(name)?.as_deref() {
        Some("null") => Output::Null,
        Some("pipe") => Output::Pipe,
        Some("merge") => Output::Merge,
        Some("file") => Output::File(path()?),
        Some("append") => Output::Append(path()?),
        _ => Output::Inherit,
    })
}

fn spawn(call: Call) -> Result<Pending, Error> {
    let fields = call.table(1)?;
    let program = program(fields)?;
    let stdin = match fields.string("stdin")?.as_deref() {
        Some("pipe") => Input::Pipe,
        Some("file") => Input::File(fields.string("stdin_path")?.unwrap_or_default()),
        _ => Input::Null,
    };
    let (stdout, stderr) = (output(fields, "stdout")?, output(fields, "stderr")?);
    wait(async move {
        let child = process::spawn(program, stdin, stdout, stderr).await?;
        let pid = child.pid();
        let mut push_handle = task::handle(Handle(Rc::new(child)));
        Ok(move |call: Call| {
            call.lua().push_integer(pid.into());
            push_handle(call)?;
            Ok(2)
        })
    })
}

fn run(call: Call) -> Result<Pending, Error> {
    let fields = call.table(1)?;
    let program = program(fields)?;
    let stdin = fields.bytes("stdin")?.unwrap_or_default();
    let timeout = nanoseconds(fields.number("timeout")?);
    let max_output = count(fields.integer("max_output")?);
    wait(async move {
        let Finished { exit, mut stdout, mut stderr, timed_out } =
            process::run(program, stdin, timeout, max_output).await?;
        Ok(move |call: Call| {
            push_finished(call.lua(), (exit.status, exit.signal), [&mut stdout, &mut stderr], timed_out)
        })
    })
}

/// Seconds that no run lasts, for a timeout of 0 where the host knows no other word for no bound.
pub const FOREVER: f64 = 1e9;

/// A timeout of an option, in seconds: 0 is no bound.
pub fn unbounded(seconds: Option<f64>) -> Option<f64> {
    seconds.map(|seconds| if seconds == 0.0 { FOREVER } else { seconds })
}

/// Seconds as nanoseconds, 0 for no bound; the shortest bound is a nanosecond.
pub fn nanoseconds(seconds: Option<f64>) -> u64 {
    seconds.and_then(crate::value::nanoseconds).map_or(0, |time| time.max(1))
}

pub fn count(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Sets the fields of how a program ended in the table on top of the stack.
pub fn set_exit(lua: Lua, (status, signal): (i32, i32), timed_out: bool) {
    lua.push_integer(status.into());
    lua.raw_set(-2, "status");
    if signal != 0 {
        lua.push_integer(signal.into());
        lua.raw_set(-2, "signal");
    }
    for (name, value) in [("exited", signal == 0), ("signaled", signal != 0), ("timed_out", timed_out)] {
        lua.push_bool(value);
        lua.raw_set(-2, name);
    }
}

/// Pushes how a program ended, and what it wrote to its output and its errors.
pub fn push_finished(
    lua: Lua,
    exit: (i32, i32),
    [stdout, stderr]: [&mut Payload; 2],
    timed_out: bool,
) -> Returned {
    region::region(lua, || {
        lua.new_table(0, 7);
        set_exit(lua, exit, timed_out);
    })?;
    set_written(lua, stdout, stderr)?;
    Ok(1)
}

/// Sets what a program wrote in the table on top of the stack.
pub fn set_written(lua: Lua, stdout: &mut Payload, stderr: &mut Payload) -> Result<(), Error> {
    for (name, payload) in [("stdout", stdout), ("stderr", stderr)] {
        payload::push(lua, payload)?;
        lua.raw_set(-2, name);
    }
    Ok(())
}

/// Pushes how a program ended, or that it did not in time.
pub fn push_exit(lua: Lua, exit: Option<(i32, i32)>) {
    lua.new_table(0, 5);
    match exit {
        Some(exit) => set_exit(lua, exit, false),
        None => {
            for (name, value) in [("exited", false), ("signaled", false), ("timed_out", true)] {
                lua.push_bool(value);
                lua.raw_set(-2, name);
            }
        }
    }
}

/// `wait(pid, timeout?)`
fn wait_pid(call: Call) -> Result<Pending, Error> {
    let pid = call.integer(1)?;
    let timeout = if call.is_nil(2) { None } else { crate::value::nanoseconds(call.number(2)?) };
    wait(async move {
        let exit = process::wait(pid, timeout).await?;
        Ok(move |call: Call| {
            push_exit(call.lua(), exit.map(|Exit { status, signal }| (status, signal)));
            Ok(1)
        })
    })
}

/// `kill(pid, signal, group)`
fn kill(call: Call) -> Result<Pending, Error> {
    let (pid, signal, group) = (call.integer(1)?, call.integer(2)?, call.lua().boolean(3));
    let signal = i32::try_from(signal).unwrap_or(-1);
    wait(async move {
        let sent = process::kill(pid, signal, group).await?;
        Ok(move |call: Call| {
            call.lua().push_bool(sent);
            Ok(1)
        })
    })
}

fn list(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let all = process::all().await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, all.iter(), |info| {
                lua.new_table(0, 3);
                lua.push_integer(info.pid.into());
                lua.raw_set(-2, "pid");
                lua.push_str(&info.name);
                lua.raw_set(-2, "name");
                if !info.cmdline.is_empty() {
                    lua.push_str(&info.cmdline);
                    lua.raw_set(-2, "cmdline");
                }
            });
            Ok(1)
        })
    })
}

/// `running(options)` with the names in the field `names`.
fn running(call: Call) -> Result<Pending, Error> {
    let names = call.table(1)?.strings("names")?.unwrap_or_default();
    wait(async move {
        let count = process::running(names).await?;
        Ok(move |call: Call| {
            call.lua().push_integer(count.into());
            Ok(1)
        })
    })
}

fn pid(call: Call) -> Returned {
    let pid = process::pid()?;
    call.lua().push_integer(pid.into());
    Ok(1)
}

fn write(call: Call) -> Result<Pending, Error> {
    let child = call.userdata::<Handle>(1)?.0.clone();
    let text = super::fs::Text::take(call, 2)?;
    wait(async move {
        for piece in text.bytes().chunks(piece()) {
            child.write(piece.to_vec()).await?;
        }
        Ok(|_: Call| Ok(0))
    })
}

fn close_stdin(call: Call) -> Returned {
    call.userdata::<Handle>(1)?.0.close_stdin();
    Ok(0)
}

/// `read(handle, stderr, max)`: nil at the end.
fn read(call: Call) -> Result<Pending, Error> {
    let child = call.userdata::<Handle>(1)?.0.clone();
    let stderr = call.lua().boolean(2);
    let max = call.opt_integer(3)?.map_or(PIECE, |max| u32::try_from(max).unwrap_or(PIECE));
    wait(async move {
        let bytes = child.read(stderr, max).await?;
        Ok(move |call: Call| push_piece(call.lua(), &bytes))
    })
}

/// Bytes, or nil at the end.
pub fn push_piece(lua: Lua, bytes: &[u8]) -> Returned {
    if bytes.is_empty() {
        lua.push_nil()
    } else {
        lua.push_bytes(bytes)
    }
    Ok(1)
}
