//! `log.info(message, fields?)` and its levels.

use crate::call::{Call, Error, Returned, carry, library};
use crate::function;
use crate::host::log::{self, Level};
use crate::lua::{Lua, Type};
use crate::region::region;

pub fn register(lua: Lua) {
    library(
        lua,
        "log",
        &[
            ("trace", function!(trace, 2)),
            ("debug", function!(debug, 2)),
            ("info", function!(info, 2)),
            ("warn", function!(warn, 2)),
            ("error", function!(error, 2)),
        ],
    );
}

fn write(call: Call, level: Level) -> Returned {
    if !log::enabled(level) {
        return Ok(0);
    }
    if call.lua().type_of(1) == Type::None {
        return Err(Error::Argument(1, "value expected".into()));
    }
    let lua = call.lua();
    lua.set_top(2);
    let message = lua.push_text(1)?;
    carry(message.len())?;
    let message = region(lua, || String::from_utf8_lossy(message))?;
    let fields = match call.lua().type_of(2) {
        Type::None | Type::Nil => String::new(),
        Type::Table => super::json::encode_with(call.lua(), 2, 0, "log")?,
        _ => return Err(Error::Type(2, c"table")),
    };
    log::write(level, &message, &fields);
    Ok(0)
}

fn trace(call: Call) -> Returned {
    write(call, Level::Trace)
}

fn debug(call: Call) -> Returned {
    write(call, Level::Debug)
}

fn info(call: Call) -> Returned {
    write(call, Level::Info)
}

fn warn(call: Call) -> Returned {
    write(call, Level::Warn)
}

fn error(call: Call) -> Returned {
    write(call, Level::Error)
}
