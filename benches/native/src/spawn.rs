//! `process.run{cmd = PATH}` over the standard library.

use mlua::{Error, Lua, Result, Table};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

pub fn library(lua: &Lua) -> Result<Table> {
    let process = lua.create_table()?;
    process.set("run", lua.create_function(run)?)?;
    Ok(process)
}

fn run(lua: &Lua, options: Table) -> Result<Table> {
    let path: String = options.get("cmd")?;
    let output = Command::new(path).stdin(Stdio::null()).env_clear().output().map_err(Error::external)?;
    let result = lua.create_table()?;
    let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    result.raw_set("status", status)?;
    result.raw_set("stdout", lua.create_string(&output.stdout)?)?;
    result.raw_set("stderr", lua.create_string(&output.stderr)?)?;
    result.raw_set("timed_out", false)?;
    Ok(result)
}
