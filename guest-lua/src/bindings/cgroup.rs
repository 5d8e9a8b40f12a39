//! `cgroup`: what control groups use and may use.

use crate::call::{Call, Error, library};
use crate::host::cgroup::{self, Counters, Part};
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::value;
use crate::waiting;

pub fn register(lua: Lua) {
    library(
        lua,
        "cgroup",
        &[
            ("version", waiting!(version, 0)),
            ("list", waiting!(list, 1)),
            ("cpu_stat", waiting!(cpu_stat, 1)),
            ("memory", waiting!(memory, 1)),
            ("io", waiting!(io, 1)),
            ("pids", waiting!(pids, 1)),
            ("procs", waiting!(procs, 1)),
        ],
    );
}

fn version(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let version = cgroup::version().await?;
        Ok(move |call: Call| {
            call.lua().push_str(&version);
            Ok(1)
        })
    })
}

fn list(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let paths = cgroup::children(path).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, paths.iter(), |path| {
                lua.push_str(path);
            });
            Ok(1)
        })
    })
}

fn push_counters(lua: Lua, counters: &Counters) {
    lua.new_table(0, counters.values.len() + 1);
    if !counters.device.is_empty() {
        lua.push_str(&counters.device);
        lua.raw_set(-2, "device");
    }
    for (name, value) in &counters.values {
        lua.push_integer(i64::try_from(*value).unwrap_or(i64::MAX));
        lua.raw_set(-2, name);
    }
}

fn read(call: Call, part: Part) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let sets = cgroup::read(path, part).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            if part == Part::Io {
                value::push_list(lua, sets.iter(), |set| {
                    push_counters(lua, set);
                });
                return Ok(1);
            }
            match sets.first() {
                Some(set) => push_counters(lua, set),
                None => lua.new_table(0, 0),
            }
            Ok(1)
        })
    })
}

fn cpu_stat(call: Call) -> Result<Pending, Error> {
    read(call, Part::Cpu)
}

fn memory(call: Call) -> Result<Pending, Error> {
    read(call, Part::Memory)
}

fn io(call: Call) -> Result<Pending, Error> {
    read(call, Part::Io)
}

fn pids(call: Call) -> Result<Pending, Error> {
    read(call, Part::Pids)
}

fn procs(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let processes = cgroup::processes(path).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, processes.iter(), |process| {
                lua.push_integer((*process).into());
            });
            Ok(1)
        })
    })
}
