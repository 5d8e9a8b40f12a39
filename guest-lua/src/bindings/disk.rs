//! `disk`: space on file systems, mounts, sizes of directories and sweeping them.

use crate::call::{Call, Error, library};
use crate::host::disk;
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::value;
use crate::waiting;

pub fn register(lua: Lua) {
    library(
        lua,
        "disk",
        &[
            ("usage", waiting!(usage, 1)),
            ("mounts", waiting!(mounts, 0)),
            ("sweep", waiting!(sweep, 2)),
            ("dir_size", waiting!(dir_size, 1)),
        ],
    );
}

/// Byte counts are below 2^63 on every file system there is.
fn integer(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn usage(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let space = disk::usage(path).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            let used = space.total.saturating_sub(space.free);
            // As df has it: of what its user can have, reserved blocks left out.
            let reachable = used + space.available;
            let percent = if reachable == 0 { 0.0 } else { used as f64 * 100.0 / reachable as f64 };
            lua.new_table(0, 5);
            for (name, bytes) in
                [("total", space.total), ("free", space.free), ("available", space.available), ("used", used)]
            {
                lua.push_integer(integer(bytes));
                lua.raw_set(-2, name);
            }
            lua.push_number(percent);
            lua.raw_set(-2, "percent");
            Ok(1)
        })
    })
}

fn mounts(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let mounts = disk::mounts().await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, mounts.iter(), |mount| {
                lua.new_table(0, 4);
                for (name, value) in
                    [("device", &mount.device), ("mount", &mount.path), ("type", &mount.kind)]
                {
                    lua.push_str(value);
                    lua.raw_set(-2, name);
                }
                value::push_list(lua, mount.options.iter(), |option| {
                    lua.push_str(option);
                });
                lua.raw_set(-2, "options");
            });
            Ok(1)
        })
    })
}

fn sweep(call: Call) -> Result<Pending, Error> {
    let (path, age) = (call.string(1)?, call.number(2)?);
    wait(async move {
        let removed = disk::sweep(path, age).await?;
        Ok(move |call: Call| {
            call.lua().push_integer(integer(removed));
            Ok(1)
        })
    })
}

fn dir_size(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    wait(async move {
        let bytes = disk::dir_size(path).await?;
        Ok(move |call: Call| {
            call.lua().push_integer(integer(bytes));
            Ok(1)
        })
    })
}
