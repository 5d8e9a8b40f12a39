//! `linux`: what the kernel tells in /proc about the machine and its processes.

use crate::call::{Call, Error, prelude, push_library, set_library};
use crate::host::linux::{self, Field, Source, Value};
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::value;
use crate::waiting;

pub fn register(lua: Lua) {
    // The natives of the Lua part: a table that holds the library.
    lua.new_table(0, 1);
    push_library(
        lua,
        &[
            ("kernel", waiting!(kernel, 0)),
            ("uptime", waiting!(uptime, 0)),
            ("loadavg", waiting!(loadavg, 0)),
            ("cpu_stat", waiting!(cpu_stat, 0)),
            ("cpu_stat_per_core", waiting!(cpu_stat_per_core, 0)),
            ("meminfo", waiting!(meminfo, 0)),
            ("netdev", waiting!(netdev, 0)),
            ("diskstats", waiting!(diskstats, 0)),
            ("proc_stat", waiting!(proc_stat, 1)),
            ("proc_status", waiting!(proc_status, 1)),
        ],
    );
    lua.push_copy(-1);
    set_library(lua, "linux");
    lua.raw_set(-2, "linux");
    prelude(lua, "linux", include_str!("linux.lua"));
}

fn push_value(lua: Lua, value: &Value) {
    match value {
        Value::Integer(number) => lua.push_integer(*number),
        Value::Number(number) => lua.push_number(*number),
        Value::Text(text) => lua.push_str(text),
        Value::Integers(numbers) => {
            value::push_list(lua, numbers.iter(), |number| {
                lua.push_integer(*number);
            });
        }
    }
}

fn push_row(lua: Lua, row: &[Field]) {
    lua.new_table(0, row.len());
    for field in row {
        push_value(lua, &field.value);
        lua.raw_set(-2, &field.name);
    }
}

/// Reads `source` and gives its rows as a list, or its only row.
fn read(source: Source, pid: u32, list: bool) -> Result<Pending, Error> {
    wait(async move {
        let rows = linux::read(source, pid).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            if !list {
                push_row(lua, rows.first().map(Vec::as_slice).unwrap_or_default());
                return Ok(1);
            }
            value::push_list(lua, rows.iter(), |row| {
                push_row(lua, row);
            });
            Ok(1)
        })
    })
}

fn kernel(_: Call) -> Result<Pending, Error> {
    read(Source::Kernel, 0, false)
}

fn uptime(_: Call) -> Result<Pending, Error> {
    read(Source::Uptime, 0, false)
}

fn loadavg(_: Call) -> Result<Pending, Error> {
    read(Source::Load, 0, false)
}

fn cpu_stat(_: Call) -> Result<Pending, Error> {
    read(Source::Cpu, 0, false)
}

fn cpu_stat_per_core(_: Call) -> Result<Pending, Error> {
    read(Source::CpuCores, 0, true)
}

fn meminfo(_: Call) -> Result<Pending, Error> {
    read(Source::Memory, 0, false)
}

fn netdev(_: Call) -> Result<Pending, Error> {
    read(Source::Network, 0, true)
}

fn diskstats(_: Call) -> Result<Pending, Error> {
    read(Source::Disks, 0, true)
}

/// The process id at argument 1; without one 0, which is the script's own process.
fn pid(call: Call) -> Result<u32, Error> {
    let Some(pid) = call.opt_integer(1)? else { return Ok(0) };
    let valid = u32::try_from(pid).ok().filter(|pid| (1..=i32::MAX as u32).contains(pid));
    valid.ok_or_else(|| Error::Argument(1, format!("{pid} is not a process id: they are 1 and above")))
}

fn proc_stat(call: Call) -> Result<Pending, Error> {
    read(Source::ProcessStat, pid(call)?, false)
}

fn proc_status(call: Call) -> Result<Pending, Error> {
    read(Source::ProcessStatus, pid(call)?, false)
}
