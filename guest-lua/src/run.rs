//! One job: a chunk from its source to its outcome.

use crate::call::ITEM;
use crate::ffi::*;
use crate::function;
use crate::host::script::{Called, Failure, FailureKind, Frame, Job, Mode, Outcome, Place};
use crate::host::{control, log};
use crate::lua::{Lua, Type};
use crate::scheduler::{self, Ended, Failed};
use crate::task::{self, Thread};
use crate::{alloc, fault, state};

pub async fn run(job: Job) -> Result<Outcome, Failure> {
    set_memory(job.memory_limit);
    crate::call::set_carried(job.host_memory);
    crate::scheduler::set_memory(job.memory_limit);
    crate::lines::tell(job.tells_lines);
    fault::set_full(job.full_tracebacks);
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
        Mode::Repl => crate::repl::run(lua).await,
        Mode::Check => load_chunk(lua, &job).map(|()| outcome(Vec::new())).map_err(Unfinished::from),
    };
    let mut unwritten = crate::bindings::io::finish(|| {
        task::detached(|| unsafe { lua_finalize(lua.0) });
    })
    .into_iter();
    let result = match result {
        // It is told at the end, as the error of the script would be.
        Ok(outcome) => unwritten.next().map_or(Ok(outcome), |message| Err(told(message).into())),
        failed => failed,
    };
    unwritten.for_each(|message| log::write(log::Level::Error, &message, ""));
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Unfinished::Failed(failure)) => Err(failure),
        Err(Unfinished::Signalled(name)) => {
            control::closed(&name);
            Ok(outcome(Vec::new()))
        }
    }
}

/// Why a chunk did not come to its end.
pub enum Unfinished {
    Failed(Failure),
    /// This signal came, which the script does not handle.
    Signalled(String),
}

impl From<Failure> for Unfinished {
    fn from(failure: Failure) -> Unfinished {
        Unfinished::Failed(failure)
    }
}

/// A failure without more than a message.
fn plain(kind: FailureKind, message: String) -> Failure {
    let (traceback, assertions) = (Vec::new(), crate::bindings::assert::count());
    Failure { kind, message, traceback, code: None, tells_code: false, fields: None, assertions }
}

/// A failure that is no error of Lua.
fn told(message: String) -> Failure {
    plain(FailureKind::Error, message)
}

/// A script that has come to its end.
pub fn outcome(values: Vec<String>) -> Outcome {
    Outcome { values, result: None, assertions: crate::bindings::assert::count() }
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
        lua.call_own(2, 0);
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
        lua.raw_get(LUA_REGISTRYINDEX, "_LOADED");
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
        let message = fault::message(lua, -1);
        lua.pop(1);
        let kind = if status == LUA_ERRMEM { FailureKind::Memory } else { FailureKind::Syntax };
        plain(kind, message)
    })
}

async fn run_chunk(lua: Lua, job: &Job) -> Result<Outcome, Unfinished> {
    load_chunk(lua, job)?;
    let arguments = match &job.call {
        Some(call) => crate::embedding::push_handler(lua, &call.function, &call.input),
        None => {
            for arg in &job.args {
                lua.push_bytes(arg);
            }
            job.args.len() as i32
        }
    };
    let returned = perform(lua, arguments, |_| control::closing()).await;
    let values = returned.map(|returned| returned.texts());
    let mut unawaited = scheduler::unawaited().into_iter();
    let values = match values {
        // It is told at the end, as the error of the script would be.
        Ok(_) if unawaited.len() > 0 => {
            let first = unawaited.next().map(|failed| alloc::beyond_limit(|| failure(lua, &failed)));
            first.map_or(Ok(Vec::new()), |first| {
                let message = format!("{}{}", scheduler::UNAWAITED, first.message);
                Err(Unfinished::Failed(Failure { message, ..first }))
            })
        }
        Ok(_) if scheduler::reported() > 0 => Err(Unfinished::Failed(told(match scheduler::reported() {
            1 => "a task failed and nobody awaited it; the log has its error".into(),
            count => format!("{count} tasks failed and nobody awaited them; the log has their errors"),
        }))),
        values => values,
    };
    unawaited.for_each(|failed| scheduler::report(&failed));
    values.map(|values| match job.call {
        Some(_) => Outcome { result: values.into_iter().next(), ..outcome(Vec::new()) },
        None => outcome(values),
    })
}

/// What a function returned: so many values on top of its thread's stack.
pub struct Returned {
    pub thread: Thread,
    pub results: i32,
}

impl Returned {
    /// The values as text.
    pub fn texts(&self) -> Vec<String> {
        let lua = self.thread.lua;
        let mut told = Told::default();
        (lua.top() - self.results + 1..=lua.top()).map_while(|index| told.text(shown(lua, index))).collect()
    }
}

/// Runs the function below `arguments` values. `on_signal` is told of a signal that ends it.
pub async fn perform(lua: Lua, arguments: i32, on_signal: impl Fn(&str)) -> Result<Returned, Unfinished> {
    let main = scheduler::start(lua, arguments);
    if let Some(name) = scheduler::drive(&main, on_signal).await {
        return Err(Unfinished::Signalled(name));
    }
    match main.take() {
        Some(Ended::Returned(thread, results)) => Ok(Returned { thread, results }),
        Some(Ended::Failed(failed)) => Err(alloc::beyond_limit(|| failure(lua, &failed)).into()),
        // Nobody has a handle to cancel it by.
        Some(Ended::Cancelled) | None => Err(Unfinished::Signalled("TERM".into())),
    }
}

/// What a script made and the host is told of, all of which may be no larger than what a call may carry.
struct Told {
    room: usize,
}

impl Default for Told {
    fn default() -> Told {
        Told { room: crate::call::most_carried() }
    }
}

impl Told {
    /// The text, if there is room for all of it.
    fn whole(&mut self, text: String) -> Option<String> {
        self.room = self.room.checked_sub(ITEM + text.len())?;
        Some(text)
    }

    /// The frames, as far as there is room for them.
    fn frames(&mut self, frames: &[Frame]) -> Vec<Frame> {
        let told = frames.iter().map_while(|frame| {
            self.room = self.room.checked_sub(ITEM)?;
            Some(match frame {
                Frame::Call(called) => Frame::Call(Called {
                    source: self.text(called.source.clone())?,
                    function: self.text(called.function.clone())?,
                    ..*called
                }),
                Frame::Task(place) => {
                    Frame::Task(Place { source: self.text(place.source.clone())?, ..*place })
                }
                Frame::TailCalls | Frame::Skipped(_) => frame.clone(),
            })
        });
        told.collect()
    }

    /// The text, or its beginning where it is too large; none when there is room for nothing.
    fn text(&mut self, mut text: String) -> Option<String> {
        const MORE: &str = "...";
        let room = self.room.checked_sub(ITEM)?;
        if text.len() > room {
            text.truncate(text.floor_char_boundary(room.saturating_sub(MORE.len())));
            text.push_str(MORE);
        }
        self.room = room.saturating_sub(text.len());
        Some(text)
    }
}

/// A result as the REPL shows it: strings as they are, tables with what is in them.
fn shown(lua: Lua, index: i32) -> String {
    let shown = match lua.type_of(index) {
        Type::String => None,
        _ => lua.protected_text(function!(crate::bindings::assert::shown), index),
    };
    shown.unwrap_or_else(|| fault::message(lua, index))
}

fn failure(lua: Lua, failed: &Failed) -> Failure {
    failed.value.push(lua);
    let message = fault::message(lua, -1);
    let code = fault::code(lua, -1);
    let (tells_code, fields) = (!fault::has_text(lua, -1), fault::fields(lua, -1));
    lua.pop(1);
    let mut told = Told::default();
    let message = told.text(message).unwrap_or_default();
    let code = code.and_then(|code| told.text(code));
    let kind = if failed.status == LUA_ERRMEM || message == "not enough memory" {
        FailureKind::Memory
    } else {
        FailureKind::Error
    };
    let traceback = told.frames(&failed.traceback);
    let fields = fields.and_then(|fields| told.whole(fields));
    Failure { code, tells_code, traceback, fields, ..plain(kind, message) }
}
