//! `process.spawn_pty`: a program in a terminal of its own.

use super::process::{push_exit, push_natives, variables, words};
use crate::call::{Call, Error, Returned, prelude, push_library};
use crate::host::pty::{self, Exit, Program, Terminal};
use crate::lua::Lua;
use crate::task::{self, Pending, wait};
use crate::userdata::Userdata;
use crate::{function, waiting};
use std::rc::Rc;

const PIECE: u32 = 64 << 10;

struct Handle(Rc<Terminal>);

impl Userdata for Handle {
    crate::named!(c"process.terminal");
}

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("spawn", waiting!(spawn)),
            ("write", waiting!(write)),
            ("read", waiting!(read)),
            ("resize", function!(resize)),
            ("close", waiting!(close)),
            ("wait", waiting!(wait_for)),
            ("kill", waiting!(kill)),
            ("is_alive", function!(is_alive)),
        ],
    );
    push_natives(lua);
    lua.raw_set(-2, "process");
    prelude(lua, "pty", include_str!("pty.lua"));
}

fn terminal(call: Call) -> Result<Rc<Terminal>, Error> {
    Ok(call.userdata::<Handle>(1)?.0.clone())
}

/// A number of columns or rows; pty.lua has made sure that it fits.
fn cells(number: Option<i64>, default: u16) -> u16 {
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(default)
}

/// Seconds as nanoseconds, if there are any.
fn timeout(call: Call, index: i32) -> Result<Option<u64>, Error> {
    if call.is_nil(index) { Ok(None) } else { Ok(crate::value::nanoseconds(call.number(index)?)) }
}

fn spawn(call: Call) -> Result<Pending, Error> {
    let fields = call.table(1)?;
    let program = Program {
        cmd: fields.string("cmd")?.unwrap_or_default(),
        args: words(fields, "args")?,
        env: variables(fields)?,
        clear_env: fields.boolean("clear_env")?.unwrap_or(false),
        cwd: fields.string("cwd")?,
    };
    let (cols, rows) = (cells(fields.integer("cols")?, 80), cells(fields.integer("rows")?, 24));
    wait(async move {
        let terminal = pty::spawn(program, cols, rows).await?;
        let pid = terminal.pid();
        let mut push_handle = task::handle(Handle(Rc::new(terminal)));
        Ok(move |call: Call| {
            call.lua().push_integer(pid.into());
            push_handle(call)?;
            Ok(2)
        })
    })
}

fn write(call: Call) -> Result<Pending, Error> {
    let terminal = terminal(call)?;
    let text = super::fs::Text::take(call, 2)?;
    wait(async move {
        for piece in text.bytes().chunks(super::fs::PIECE) {
            terminal.write(piece.to_vec()).await?;
        }
        Ok(|_: Call| Ok(0))
    })
}

/// `read(handle, timeout?)`: an empty string where the time is over, nil at the end.
fn read(call: Call) -> Result<Pending, Error> {
    let (terminal, timeout) = (terminal(call)?, timeout(call, 2)?);
    wait(async move {
        let bytes = terminal.read(PIECE, timeout).await?;
        Ok(move |call: Call| {
            match &bytes {
                None => call.lua().push_str(""),
                Some(bytes) if bytes.is_empty() => call.lua().push_nil(),
                Some(bytes) => call.lua().push_bytes(bytes),
            }
            Ok(1)
        })
    })
}

fn resize(call: Call) -> Returned {
    let (cols, rows) = (cells(Some(call.integer(2)?), 80), cells(Some(call.integer(3)?), 24));
    terminal(call)?.resize(cols, rows)?;
    Ok(0)
}

fn close(call: Call) -> Result<Pending, Error> {
    let terminal = terminal(call)?;
    wait(async move {
        terminal.close().await?;
        Ok(|_: Call| Ok(0))
    })
}

fn wait_for(call: Call) -> Result<Pending, Error> {
    let (terminal, timeout) = (terminal(call)?, timeout(call, 2)?);
    wait(async move {
        let exit = terminal.wait(timeout).await?;
        Ok(move |call: Call| {
            push_exit(call.lua(), exit.map(|Exit { status, signal }| (status, signal)));
            Ok(1)
        })
    })
}

fn kill(call: Call) -> Result<Pending, Error> {
    let (terminal, signal) = (terminal(call)?, call.integer(2)?);
    let signal = i32::try_from(signal).unwrap_or(-1);
    wait(async move {
        let sent = terminal.kill(signal).await?;
        Ok(move |call: Call| {
            call.lua().push_bool(sent);
            Ok(1)
        })
    })
}

fn is_alive(call: Call) -> Returned {
    let alive = terminal(call)?.is_alive()?;
    call.lua().push_bool(alive);
    Ok(1)
}
