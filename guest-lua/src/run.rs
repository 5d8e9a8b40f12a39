//! One job: a chunk from its source to its outcome.

use crate::ffi::*;
use crate::function;
use crate::host::console::{self, Reply};
use crate::host::script::{Failure, FailureKind, Job, Mode, Outcome};
use crate::lua::{Lua, Type};
use crate::scheduler::{self, Ended, Failed};
use crate::{alloc, state};

pub async fn run(job: Job) -> Result<Outcome, Failure> {
    set_memory(job.memory_limit);
    crate::call::set_carried(job.host_memory);
    crate::scheduler::set_memory(job.memory_limit);
    crate::lines::tell(job.tells_lines);
    let lua = state::main();
    reseed(lua);
    set_arguments(lua, &job);
    set_package_path(lua, &job.package_path);
    for extension in &job.extensions {
        crate::embedding::install(lua, extension);
    }
    for path in &job.blocked_globals {
        block_global(lua, path);
    }
    let result = match job.mode {
        Mode::Run => run_chunk(lua, &job).await,
        Mode::Repl => repl(lua).await,
        Mode::Check => {
            load_chunk(lua, &job).map(|()| Outcome { values: Vec::new(), result: None, assertions: 0 })
        }
    };
    crate::bindings::io::finish();
    result
}

/// Sets what Lua may hold of the instance's memory, and what it and Rust code may together: Lua leaves a part for
/// the data formats and buffers in Rust.
fn set_memory(limit: u64) {
    const PAGE: usize = 64 * 1024;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = limit.saturating_sub(core::arch::wasm32::memory_size(0) * PAGE);
    let reserve = (limit / 8).max(1 << 20);
    alloc::set_limit((more.saturating_sub(reserve) + alloc::taken()).max(1 << 20));
    crate::region::set_limit(more);
}

/// Gives this instance its own randomness: the snapshot's is the same for all. What is in the snapshot keeps its
/// hashes; whatever the script makes or reads has those of the new seed.
fn reseed(lua: Lua) {
    let (first, second) = crate::host::control::seed();
    unsafe { lua_reseed(lua.0, (first ^ (second >> 32)) as u32) };
    lua.push_globals();
    if lua.raw_get(-1, "math") == Type::Table && lua.raw_get(-1, "randomseed") == Type::Function {
        lua.push_integer(first as i64);
        lua.push_integer(second as i64);
        lua.call(2, 0);
    }
    lua.set_top(0);
}

fn set_arguments(lua: Lua, job: &Job) {
    lua.push_globals();
    lua.new_table(job.args.len(), 1);
    lua.push_str(&job.arg0);
    lua.raw_set_index(-2, 0);
    for (n, arg) in job.args.iter().enumerate() {
        lua.push_bytes(arg);
        lua.raw_set_index(-2, n as i64 + 1);
    }
    lua.raw_set(-2, "arg");
    lua.pop(1);
}

fn set_package_path(lua: Lua, path: &str) {
    lua.push_globals();
    if lua.raw_get(-1, "package") == Type::Table {
        lua.push_str(path);
        lua.raw_set(-2, "path");
    }
    lua.set_top(0);
}

/// Sets a global, or a field along a dotted path, to nil. Unknown names are passed over.
fn block_global(lua: Lua, path: &str) {
    let (tables, name) = match path.rsplit_once('.') {
        Some((tables, name)) => (Some(tables), name),
        None => (None, path),
    };
    lua.push_globals();
    for table in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let found = match lua.raw_get(-1, table) {
            Type::Table => true,
            Type::Function => crate::bindings::assert::push_fields(lua),
            _ => false,
        };
        if !found {
            lua.set_top(0);
            return;
        }
    }
    lua.push_nil();
    lua.raw_set(-2, name);
    lua.set_top(0);
    if tables.is_none() {
        unsafe { lua_getfield(lua.0, LUA_REGISTRYINDEX, c"_LOADED".as_ptr()) };
        lua.push_nil();
        lua.raw_set(-2, name);
        lua.pop(1);
    }
}

/// Source without a byte-order mark and with its first line blank if it starts with `#`.
pub fn without_shebang(source: &[u8]) -> &[u8] {
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
    if source.first() != Some(&b'#') {
        return source;
    }
    match source.iter().position(|byte| *byte == b'\n') {
        Some(end) => &source[end..],
        None => &[],
    }
}

/// Compiles the chunk, and leaves it on the stack.
fn load_chunk(lua: Lua, job: &Job) -> Result<(), Failure> {
    lua.load(without_shebang(&job.source), &job.name).map_err(|status| {
        let message = scheduler::message(lua, -1);
        lua.pop(1);
        let kind = if status == LUA_ERRMEM { FailureKind::Memory } else { FailureKind::Syntax };
        Failure { kind, message, traceback: String::new(), code: None, assertions: 0 }
    })
}

async fn run_chunk(lua: Lua, job: &Job) -> Result<Outcome, Failure> {
    load_chunk(lua, job)?;
    let Some(call) = &job.call else {
        for arg in &job.args {
            lua.push_bytes(arg);
        }
        let values = execute(lua, job.args.len() as i32).await?;
        return Ok(Outcome { values, result: None, assertions: crate::bindings::assert::count() });
    };
    let arguments = crate::embedding::push_handler(lua, &call.function, &call.input);
    let result = execute(lua, arguments).await?.into_iter().next();
    Ok(Outcome { values: Vec::new(), result, assertions: crate::bindings::assert::count() })
}

/// Runs the function below `arguments` values and gives its results as text.
async fn execute(lua: Lua, arguments: i32) -> Result<Vec<String>, Failure> {
    let main = scheduler::start(lua, arguments);
    scheduler::drive(&main).await;
    match main.take() {
        Some(Ended::Returned(thread, results)) => {
            let first = thread.lua.top() - results + 1;
            Ok((first..=thread.lua.top()).map(|index| shown(thread.lua, index)).collect())
        }
        Some(Ended::Failed(failed)) => Err(alloc::beyond_limit(|| failure(lua, failed))),
        Some(Ended::Cancelled) | None => Ok(Vec::new()),
    }
}

/// A result as the REPL shows it: strings as they are, tables with what is in them.
fn shown(lua: Lua, index: i32) -> String {
    let shown = match lua.type_of(index) {
        Type::String => None,
        _ => lua.protected_text(function!(crate::bindings::assert::shown), index),
    };
    shown.unwrap_or_else(|| scheduler::message(lua, index))
}

fn failure(lua: Lua, failed: Failed) -> Failure {
    failed.value.push(lua);
    let message = scheduler::message(lua, -1);
    let mut code = None;
    if lua.type_of(-1) == Type::Table {
        if lua.raw_get(-1, "code") == Type::String {
            code = lua.bytes(-1).map(|code| String::from_utf8_lossy(code).into_owned());
        }
        lua.pop(1);
    }
    lua.pop(1);
    let kind = if failed.status == LUA_ERRMEM || message == "not enough memory" {
        FailureKind::Memory
    } else {
        FailureKind::Error
    };
    Failure { kind, message, traceback: failed.traceback, code, assertions: crate::bindings::assert::count() }
}

async fn repl(lua: Lua) -> Result<Outcome, Failure> {
    let mut reply = Reply::Start;
    let mut buffer = Vec::new();
    while let Some(line) = console::next(reply).await {
        buffer.extend_from_slice(&line);
        // An expression first, so that `1 + 1` shows its value.
        let mut expression = b"return ".to_vec();
        expression.extend_from_slice(&buffer);
        let loaded = lua.load(&expression, "=stdin").or_else(|_| {
            lua.pop(1);
            lua.load(&buffer, "=stdin")
        });
        reply = match loaded {
            Err(_) => {
                let message = scheduler::message(lua, -1);
                lua.pop(1);
                if message.ends_with("<eof>") {
                    buffer.push(b'\n');
                    Reply::Incomplete
                } else {
                    buffer.clear();
                    Reply::Failed(message)
                }
            }
            Ok(()) => {
                buffer.clear();
                match execute(lua, 0).await {
                    Ok(values) => Reply::Done(values),
                    Err(failure) => Reply::Failed(format!("{}\n{}", failure.message, failure.traceback)),
                }
            }
        };
        crate::bindings::io::finish();
        crate::bindings::stdio::flush();
    }
    Ok(Outcome { values: Vec::new(), result: None, assertions: 0 })
}
