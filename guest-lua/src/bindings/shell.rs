//! `shell`: command lines. `io.popen` and `os.execute` go the same way.

use super::process::{count, nanoseconds, push_finished, push_natives, variables};
use crate::call::{Call, Error, prelude, push_library, set_library};
use crate::host::shell::{self, Command, Finished};
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::waiting;

pub fn register(lua: Lua) {
    push_library(lua, &[("which", waiting!(which, 1))]);
    lua.push_copy(-1);
    set_library(lua, "shell");
    push_library(lua, &[("run", waiting!(run))]);
    lua.insert(-2);
    lua.raw_set(-2, "shell");
    push_natives(lua);
    lua.raw_set(-2, "process");
    prelude(lua, "shell", include_str!("shell.lua"));
}

fn run(call: Call) -> Result<Pending, Error> {
    let fields = call.table(1)?;
    let command = Command {
        line: fields.bytes("line")?.unwrap_or_default(),
        env: variables(fields)?,
        clear_env: fields.boolean("clear_env")?.unwrap_or(false),
        cwd: fields.string("cwd")?,
    };
    let stdin = fields.bytes("stdin")?.unwrap_or_default();
    let timeout = nanoseconds(fields.number("timeout")?);
    let max_output = count(fields.integer("max_output")?);
    wait(async move {
        let Finished { exit, mut stdout, mut stderr, timed_out } =
            shell::run(command, stdin, timeout, max_output).await?;
        Ok(move |call: Call| {
            push_finished(call.lua(), (exit.status, exit.signal), [&mut stdout, &mut stderr], timed_out)
        })
    })
}

fn which(call: Call) -> Result<Pending, Error> {
    let name = call.string(1)?;
    wait(async move {
        let path = shell::which(name).await?;
        Ok(move |call: Call| {
            match &path {
                Some(path) => call.lua().push_str(path),
                None => call.lua().push_nil(),
            }
            Ok(1)
        })
    })
}
