//! Runs a Lua file, or the code after `-e`, in one native Lua 5.5 state on a single-threaded tokio: the other side of
//! the comparisons. Only the builtins that the benchmarks use are there.

mod db;
mod guest;
mod http;
mod serve;
mod spawn;
mod task;

use guest::{host, state};

// The guest's json and what it is made of.
#[path = "../../../guest-lua/src/call.rs"]
#[allow(dead_code, unused_macros, reason = "json needs a part of it")]
mod call;
#[path = "../../../guest-lua/src/ffi.rs"]
#[allow(dead_code, reason = "json needs a part of it")]
mod ffi;
#[path = "../../../guest-lua/src/bindings/json.rs"]
#[allow(dead_code, reason = "other bindings use a part of it")]
mod json;
#[path = "../../../guest-lua/src/lua.rs"]
#[allow(dead_code, reason = "json needs a part of it")]
mod lua;
#[path = "../../../guest-lua/src/options.rs"]
#[allow(dead_code, reason = "json needs a part of it")]
mod options;
#[path = "../../../guest-lua/src/userdata.rs"]
mod userdata;
#[path = "../../../guest-lua/src/value.rs"]
#[allow(dead_code, reason = "json needs a part of it")]
mod value;

/// Nobody is asked which line calls a builtin.
mod lines {
    pub fn calling(_: crate::lua::Lua) {}

    pub fn is_embedded(_: &str) {}
}

/// Work is not counted: there are no limits here.
mod work {
    pub const CALL: usize = 0;
    pub const PIECE: usize = 1 << 18;

    pub fn spend(_: usize) {}
}

/// Memory has no limit either.
mod region {
    use crate::call::Error;
    use crate::lua::Lua;

    pub fn region<T>(_: Lua, f: impl FnOnce() -> T) -> Result<T, Error> {
        Ok(f())
    }

    pub fn make_room(_: Lua, _: usize) -> Result<(), Error> {
        Ok(())
    }

    pub fn outside<T>(f: impl FnOnce() -> T) -> T {
        f()
    }

    pub fn leave() {}

    pub fn back(_: ()) {}
}

use mlua::{Function, Lua, LuaOptions, MultiValue, Result, StdLib, Value};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, source) = match args.as_slice() {
        ["-e", code, ..] => ("=(command line)".to_string(), code.as_bytes().to_vec()),
        [file, ..] => match std::fs::read(file) {
            Ok(source) => (format!("@{file}"), source),
            Err(error) => return fail(&format!("cannot read {file}: {error}")),
        },
        [] => return fail("usage: assay-bench-native FILE | -e CODE"),
    };
    let reactor = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(reactor) => reactor,
        Err(error) => return fail(&format!("no async runtime: {error}")),
    };
    let tasks = tokio::task::LocalSet::new();
    match tasks.block_on(&reactor, run(&name, &source)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("assay-bench-native: {message}");
    ExitCode::FAILURE
}

async fn run(name: &str, source: &[u8]) -> Result<()> {
    // Lua's own pcall, not the slower one that looks for Rust panics.
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new().catch_rust_panics(false))?;
    let globals = lua.globals();
    globals.set("time", lua.create_function(|_, ()| Ok(now()))?)?;
    globals.set("sleep", lua.create_async_function(|_, seconds: f64| sleep(seconds))?)?;
    guest::register_json(&lua)?;
    let http = http::library(&lua)?;
    http.set("serve", lua.create_async_function(serve::serve)?)?;
    globals.set("http", http)?;
    globals.set("db", db::library(&lua)?)?;
    globals.set("process", spawn::library(&lua)?)?;
    globals.set("async", task::library(&lua)?)?;
    let chunk: Function = lua.load(source).set_name(name).into_function()?;
    chunk.call_async::<MultiValue>(Value::Nil).await?;
    Ok(())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as f64 / 1e9
}

async fn sleep(seconds: f64) -> Result<()> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(mlua::Error::external)?;
    tokio::time::sleep(duration).await;
    Ok(())
}
