//! `io.popen` and `os.execute`: command lines through the capability `shell`.

use super::stream::{Source, Stream};
use super::{push_opened, soft};
use crate::call::{Call, Error, goes_to};
use crate::host::shell::{self, Exit, Mode};
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::task::{Pending, wait};
use std::ffi::c_int;

/// Pushes how a command ended, as `luaL_execresult` does; gives the number of values.
pub fn push_exit(lua: Lua, exit: Exit) -> c_int {
    if exit.status == 0 {
        lua.push_bool(true);
    } else {
        lua.push_nil();
    }
    lua.push_str(if exit.signal == 0 { "exit" } else { "signal" });
    lua.push_integer(if exit.signal == 0 { exit.status } else { exit.signal }.into());
    3
}

pub fn popen(call: Call) -> Result<Pending, Error> {
    goes_to("shell");
    let line = call.owned(1)?;
    let mode = match call.opt_bytes(2)? {
        None | Some(b"r") => Mode::Read,
        Some(b"w") => Mode::Write,
        Some(_) => return Err(Error::Argument(2, "invalid mode".into())),
    };
    wait(async move {
        let result = shell::open(line, mode).await;
        let write = mode == Mode::Write;
        let result = result.map(|pipe| Stream::new(Source::Command { pipe, write }));
        Ok(move |call: Call| push_opened(call.lua(), &result))
    })
}

async fn run(line: Vec<u8>) -> Result<Exit, crate::host::types::Error> {
    shell::open(line, Mode::None).await?.close().await
}

/// `os.execute`: without a command, whether there is a shell for this script.
pub fn execute(call: Call) -> Result<Pending, Error> {
    goes_to("shell");
    let line = call.opt_bytes(1)?.map(<[u8]>::to_vec);
    wait(async move {
        let Some(line) = line else {
            let available = match shell::available() {
                Err(error) if error.code == ErrorCode::Denied => false,
                other => other?,
            };
            return Ok(Box::new(move |call: Call| {
                call.lua().push_bool(available);
                Ok(1)
            }) as crate::task::Push);
        };
        let result = run(line).await;
        Ok(Box::new(move |call: Call| match &result {
            Ok(exit) => Ok(push_exit(call.lua(), *exit)),
            Err(error) => soft(call.lua(), error),
        }) as crate::task::Push)
    })
}
