//! Lua's standard `os` library (reference manual, section 6.9) and what the host knows of its machine.
//! The messages of `date` and `time` are those of the C implementation: scripts match on them.

mod calendar;
mod format;

use crate::call::{Call, Error, Returned, library};
use crate::ffi::*;
use crate::host::{control, log, os, time};
use crate::lua::{Lua, Type};
use crate::scheduler;
use crate::{function, waiting};
use calendar::{Date, Wanted};
use std::ffi::{CStr, c_int};

pub fn register(lua: Lua) {
    library(
        lua,
        "os",
        &[
            ("clock", function!(clock, 0)),
            ("date", function!(date, 2)),
            ("difftime", function!(difftime, 2)),
            ("execute", waiting!(super::io::execute, 1)),
            ("exit", function!(exit, 2)),
            ("getenv", function!(super::env::get, 1)),
            ("remove", waiting!(super::io::remove, 1)),
            ("rename", waiting!(super::io::rename, 2)),
            ("setlocale", function!(setlocale, 2)),
            ("time", function!(now_or_time, 1)),
            ("tmpname", waiting!(super::io::tmpname, 0)),
            ("arch", function!(arch, 0)),
            ("hostname", function!(hostname, 0)),
            ("info", function!(info, 0)),
            ("platform", function!(platform, 0)),
            ("on_signal", function!(crate::signals::on_signal, 2)),
        ],
    );
}

fn clock(call: Call) -> Returned {
    call.lua().push_number(control::cpu_time());
    Ok(1)
}

fn now() -> i64 {
    (time::now() / 1_000_000_000) as i64
}

/// The date of a moment in the host's time zone.
fn local(seconds: i64) -> Option<Date> {
    let (offset, dst, zone) = time::zone(seconds);
    Date::at(seconds, offset, Some(dst), zone)
}

fn date(call: Call) -> Returned {
    let format = call.opt_bytes(1)?.unwrap_or(b"%c");
    let seconds = match call.opt_integer(2)? {
        Some(seconds) => seconds,
        None => now(),
    };
    let (date, format) = match format.strip_prefix(b"!") {
        Some(format) => (Date::at(seconds, 0, Some(false), "GMT".into()), format),
        None => (local(seconds), format),
    };
    let Some(date) = date else {
        return Err(Error::Plain("date result cannot be represented in this installation".into()));
    };
    let lua = call.lua();
    if format == b"*t" {
        lua.new_table(0, 9);
        set_fields(lua, lua.top(), &date)?;
        return Ok(1);
    }
    let text = format::format(format, &date).map_err(|rest| {
        let rest = String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default());
        Error::Argument(1, format!("invalid conversion specifier '%{rest}'"))
    })?;
    lua.push_bytes(&text);
    Ok(1)
}

/// Sets the fields of a date table, `__newindex` of the script's own table included.
fn set_fields(lua: Lua, table: c_int, date: &Date) -> Result<(), Error> {
    let set = |name: &CStr| lua.raising(|may| may.set(table, name));
    for (name, value) in [
        (c"year", date.year),
        (c"month", date.month.into()),
        (c"day", date.day.into()),
        (c"hour", date.hour.into()),
        (c"min", date.minute.into()),
        (c"sec", date.second.into()),
        (c"yday", i64::from(date.year_day) + 1),
        (c"wday", i64::from(date.week_day) + 1),
    ] {
        lua.push_integer(value);
        set(name)?;
    }
    if let Some(dst) = date.dst {
        lua.push_bool(dst);
        set(c"isdst")?;
    }
    Ok(())
}

/// A field of the table at argument 1, less `delta`: the field of C's `struct tm`, an int.
fn field(call: Call, name: &CStr, default: Option<i64>, delta: i64) -> Result<i64, Error> {
    let lua = call.lua();
    lua.get(1, name)?;
    let name = name.to_str().unwrap_or_default();
    let (kind, value) = (lua.type_of(-1), lua.integer(-1));
    lua.pop(1);
    match (value, default) {
        (Some(value), _) => {
            let shifted = value.checked_sub(delta).filter(|shifted| i32::try_from(*shifted).is_ok());
            shifted.ok_or_else(|| Error::Plain(format!("field '{name}' is out-of-bound")))
        }
        (None, _) if kind != Type::Nil => Err(Error::Plain(format!("field '{name}' is not an integer"))),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Error::Plain(format!("field '{name}' missing in date table"))),
    }
}

fn now_or_time(call: Call) -> Returned {
    let lua = call.lua();
    if call.is_nil(1) {
        lua.push_integer(now());
        return Ok(1);
    }
    call.table(1)?;
    let year = field(call, c"year", None, 1900)? + 1900;
    let month = field(call, c"month", None, 1)?;
    let day = field(call, c"day", None, 0)?;
    let hour = field(call, c"hour", Some(12), 0)?;
    let minute = field(call, c"min", Some(0), 0)?;
    let second = field(call, c"sec", Some(0), 0)?;
    lua.get(1, c"isdst")?;
    let dst = (!lua.is_nil(-1)).then(|| lua.boolean(-1));
    lua.pop(1);
    let wanted = Wanted { year, month, day, hour, minute, second, dst };
    let zone = |seconds| {
        let (offset, dst, _) = time::zone(seconds);
        (offset, dst)
    };
    let seconds = wanted.seconds(zone);
    // -1 is how C reports a failure, so the last second of 1969 cannot be told from one.
    let (Some(date), true) = (local(seconds), seconds != -1) else {
        return Err(Error::Plain("time result cannot be represented in this installation".into()));
    };
    set_fields(lua, 1, &date)?;
    lua.push_integer(seconds);
    Ok(1)
}

fn difftime(call: Call) -> Returned {
    let (later, earlier) = (call.integer(1)?, call.integer(2)?);
    call.lua().push_number((i128::from(later) - i128::from(earlier)) as f64);
    Ok(1)
}

fn exit(call: Call) -> Returned {
    let lua = call.lua();
    let code = match lua.type_of(1) {
        Type::Boolean => i32::from(!lua.boolean(1)),
        // As C's exit: what does not fit an int is cut off.
        _ => call.opt_integer(1)?.unwrap_or(0) as i32,
    };
    let close = lua.boolean(2);
    // Pending `<close>` variables of this coroutine, then every finalizer, as `lua_close` does for a script that runs
    // in the main thread. Nothing of Lua is used after this.
    let unwritten = super::io::finish(|| unsafe {
        if close {
            lua_closethread(lua.0, std::ptr::null_mut());
            lua_finalize(crate::state::main().0);
        }
    });
    for message in &unwritten {
        log::write(log::Level::Error, message, "");
    }
    for failed in scheduler::unawaited() {
        scheduler::report(&failed);
    }
    // An error that nobody saw is no success, whatever the script says.
    let code = if code == 0 && (scheduler::reported() > 0 || !unwritten.is_empty()) { 1 } else { code };
    control::exit(code);
    Ok(0)
}

fn setlocale(call: Call) -> Returned {
    const CATEGORIES: [&[u8]; 6] = [b"all", b"collate", b"ctype", b"monetary", b"numeric", b"time"];
    let locale = call.opt_bytes(1)?;
    let category = call.opt_bytes(2)?.unwrap_or(b"all");
    if !CATEGORIES.contains(&category) {
        let category = String::from_utf8_lossy(category);
        return Err(Error::Argument(2, format!("invalid option '{category}'")));
    }
    match locale {
        // There is one locale, and it is always in force.
        None | Some(b"" | b"C" | b"POSIX") => call.lua().push_str("C"),
        Some(_) => call.lua().push_nil(),
    }
    Ok(1)
}

fn arch(call: Call) -> Returned {
    call.lua().push_str(&os::arch()?);
    Ok(1)
}

fn platform(call: Call) -> Returned {
    call.lua().push_str(&os::platform()?);
    Ok(1)
}

fn hostname(call: Call) -> Returned {
    let name = os::hostname()?;
    call.lua().push_str(&name);
    Ok(1)
}

fn info(call: Call) -> Returned {
    let info = os::info()?;
    let lua = call.lua();
    lua.new_table(0, 6);
    for (name, value) in [
        ("name", &info.name),
        ("version", &info.version),
        ("kernel", &info.kernel),
        ("arch", &info.arch),
        ("hostname", &info.hostname),
    ] {
        lua.push_str(value);
        lua.raw_set(-2, name);
    }
    lua.push_number(info.uptime);
    lua.raw_set(-2, "uptime");
    Ok(1)
}
