//! The session of `assay repl`: lines that share their local variables, completion and help.

use crate::alloc::beyond_limit;
use crate::call::{Call, Returned};
use crate::ffi::*;
use crate::host::console::{self, Reply, Request};
use crate::host::script::Outcome;
use crate::host::{control, stdio};
use crate::lua::{Lua, Ref, Type};
use crate::run::{self, Unfinished};
use crate::signals::Signals;
use crate::{fault, function, scheduler};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_int};
use std::future::{Future, poll_fn};
use std::task::Poll;

/// The name of each chunk.
const CHUNK: &str = "=stdin";
/// What a line returns before the function that has its local variables, so that it is told from what the line itself
/// returns.
const MARK: &str = "\0locals of the line";
/// How many local variables live on; a function of Lua has at most 200.
const MOST_LOCALS: usize = 150;
/// How many ways to go on are given.
const MOST_CANDIDATES: usize = 1000;
/// How far `__index` is followed.
const CHAIN: usize = 10;

/// Serves the console until it has no more lines.
pub async fn run(lua: Lua) -> Result<Outcome, Unfinished> {
    lua.push_globals();
    lua.push_function(function!(help));
    lua.raw_set(-2, "help");
    lua.pop(1);
    let mut session = Session::default();
    let mut reply = Reply::Start;
    while let Some(request) = next(reply).await? {
        reply = match request {
            Request::Complete(text) => Reply::Candidates(beyond_limit(|| session.complete(lua, &text))),
            Request::Abandon => {
                session.buffer.clear();
                Reply::Done(Vec::new())
            }
            Request::Line(line) => session.line(lua, &line).await?,
        };
        crate::bindings::io::write_out();
        crate::bindings::stdio::flush();
    }
    Ok(run::outcome(Vec::new()))
}

/// Waits for the next request. A signal that comes meanwhile ends the session.
async fn next(reply: Reply) -> Result<Option<Request>, Unfinished> {
    let mut next = Box::pin(console::next(reply));
    let mut signals = Signals::default();
    let result = poll_fn(|context| {
        if let Poll::Ready(request) = next.as_mut().poll(context) {
            return Poll::Ready(Ok(request));
        }
        signals.poll(context).map(Err)
    });
    result.await.map_err(|name| {
        control::closing();
        Unfinished::Signalled(name)
    })
}

/// What lives from one line to the next.
#[derive(Default)]
struct Session {
    /// The lines of a chunk that needs more.
    buffer: Vec<u8>,
    /// The local variables of the lines before, those that cannot be assigned to with `<const>`.
    names: Vec<Name>,
    /// A function that has them as upvalues, and returns their values.
    locals: Option<Ref>,
}

/// A local variable.
#[derive(Clone)]
struct Name {
    name: String,
    constant: bool,
}

/// A line that was compiled.
enum Loaded {
    /// The function is on the stack.
    Ready,
    /// The same, and what it returns may be marked: then these are its local variables.
    Declares(Vec<Name>),
    Incomplete,
    Failed(String),
}

fn join(names: &[Name], text: impl Fn(&Name) -> String) -> String {
    names.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl Session {
    async fn line(&mut self, lua: Lua, line: &[u8]) -> Result<Reply, Unfinished> {
        self.buffer.extend_from_slice(line);
        let names = match self.load(lua) {
            Loaded::Incomplete => {
                self.buffer.push(b'\n');
                return Ok(Reply::Incomplete);
            }
            Loaded::Failed(message) => {
                self.buffer.clear();
                return Ok(Reply::Failed(message));
            }
            Loaded::Ready => None,
            Loaded::Declares(names) => Some(names),
        };
        self.buffer.clear();
        // Ctrl-C ends the line, other signals the session.
        let ends = |name: &str| name != INTERRUPT;
        let ran = run::perform(lua, 0, |name| {
            if ends(name) {
                control::closing();
            }
        });
        let reply = match ran.await {
            Ok(ran) => {
                let kept = names.is_some_and(|names| self.keep(&ran, names));
                Reply::Done(if kept { Vec::new() } else { ran.texts() })
            }
            Err(Unfinished::Failed(failure)) => Reply::Failed(crate::fault::whole(&failure)),
            Err(Unfinished::Signalled(name)) if ends(&name) => return Err(Unfinished::Signalled(name)),
            Err(Unfinished::Signalled(name)) => {
                control::signal_answered(&name);
                Reply::Failed("interrupted".into())
            }
        };
        for failed in scheduler::unawaited() {
            scheduler::report(&failed);
        }
        Ok(reply)
    }

    /// Compiles what is in the buffer: an expression first, so that `1 + 1` shows its value.
    fn load(&self, lua: Lua) -> Loaded {
        let expression = [b"return ", &self.buffer[..]].concat();
        if lua.load(&expression, CHUNK).is_ok() {
            lua.pop(1);
            return self.load_with_locals(lua, &expression);
        }
        lua.pop(1);
        if lua.load(&self.buffer, CHUNK).is_err() {
            let message = fault::message(lua, -1);
            lua.pop(1);
            return if message.ends_with("<eof>") { Loaded::Incomplete } else { Loaded::Failed(message) };
        }
        let declared = self.declared(lua);
        let mut names = self.names.clone();
        names.extend(declared);
        // The last of a name is the one that is seen.
        let mut seen = BTreeSet::new();
        let mut names: Vec<_> =
            names.into_iter().rev().filter(|name| seen.insert(name.name.clone())).collect();
        names.truncate(MOST_LOCALS);
        names.reverse();
        if !names.is_empty() {
            let list = join(&names, |name| name.name.clone());
            let keeping = format!("\nreturn {MARK:?}, function() return {list} end");
            let keeping = [&self.buffer[..], keeping.as_bytes()].concat();
            if matches!(self.load_with_locals(lua, &keeping), Loaded::Ready) {
                return Loaded::Declares(names);
            }
            // It ends with a return of its own, or is wrong with these variables.
        }
        self.load_with_locals(lua, &self.buffer)
    }

    /// The local variables that the chunk in the buffer declares and that are in scope where it ends; its function is on the
    /// stack, and popped.
    fn declared(&self, lua: Lua) -> Vec<Name> {
        let mut names = locals_at_end(lua);
        lua.pop(1);
        // Constants that the compiler replaces by their values are no variables: only an assignment finds them.
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let words =
            self.buffer.split(|byte| !is_part(byte)).filter_map(|word| std::str::from_utf8(word).ok());
        let words: BTreeSet<_> = words.filter(|word| is_name(word)).take(MOST_LOCALS).collect();
        if words.contains("const") {
            names.extend(
                words.iter().filter(|word| self.is_constant(lua, word)).map(|word| (*word).to_string()),
            );
        }
        let constant = |name: &str| words.contains("const") && self.is_constant(lua, name);
        names.into_iter().map(|name| Name { constant: constant(&name), name }).collect()
    }

    /// Whether a name is that of a constant where the chunk in the buffer ends.
    fn is_constant(&self, lua: Lua, name: &str) -> bool {
        let chunk = [&self.buffer[..], format!("\n{name} = nil").as_bytes()].concat();
        let refused = lua.load(&chunk, CHUNK).is_err()
            && fault::message(lua, -1).contains(&format!("const variable '{name}'"));
        lua.pop(1);
        refused
    }

    /// Compiles a chunk that sees the local variables of the lines before.
    fn load_with_locals(&self, lua: Lua, chunk: &[u8]) -> Loaded {
        let top = lua.top();
        let begin = match self.names.is_empty() {
            true => "return function(...) ".to_string(),
            false => {
                let text =
                    |name: &Name| format!("{}{}", name.name, if name.constant { " <const>" } else { "" });
                format!("local {} = ... return function(...) ", join(&self.names, text))
            }
        };
        let source = [begin.as_bytes(), chunk, b"\nend"].concat();
        let values = match lua.load(&source, CHUNK) {
            Err(_) => None,
            Ok(()) => self.push_values(lua),
        };
        let made = values.is_some_and(|count| unsafe { lua_pcallk(lua.0, count, 1, 0, 0, None) } == LUA_OK);
        if !made {
            let message = fault::message(lua, -1);
            lua.set_top(top);
            return Loaded::Failed(message);
        }
        self.join(lua);
        Loaded::Ready
    }

    /// Pushes the values of the local variables. None where that fails, with the message on the stack.
    fn push_values(&self, lua: Lua) -> Option<c_int> {
        let Some(locals) = &self.locals else { return Some(0) };
        let count = self.names.len() as c_int;
        if !lua.reserve(count + 1) {
            lua.push_str("there are too many local variables");
            return None;
        }
        locals.push(lua);
        (unsafe { lua_pcallk(lua.0, 0, count, 0, 0, None) } == LUA_OK).then_some(count)
    }

    /// Makes the function on top of the stack share the local variables, so that who assigns to one does so for all.
    fn join(&self, lua: Lua) {
        let Some(locals) = &self.locals else { return };
        locals.push(lua);
        for (at, name) in upvalues(lua, -2) {
            if let Some((kept, _)) = upvalues(lua, -1).find(|(_, kept)| *kept == name)
                && self.names.iter().any(|known| known.name == name)
            {
                unsafe { lua_upvaluejoin(lua.0, -2, at, -1, kept) };
            }
        }
        lua.pop(1);
    }

    /// Keeps the local variables of a line, if it came to its end.
    fn keep(&mut self, ran: &run::Returned, names: Vec<Name>) -> bool {
        let thread = ran.thread.lua;
        if ran.results != 2 || thread.bytes(-2) != Some(MARK.as_bytes()) {
            return false;
        }
        thread.push_copy(-1);
        self.locals = Some(Ref::pop(thread));
        self.names = names;
        true
    }

    /// How the last word of `text` may go on: names of variables, or of fields of what stands before it.
    fn complete(&self, lua: Lua, text: &str) -> Vec<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        let start = text.rfind(|c: char| !is_part(c)).map_or(0, |at| at + 1);
        let path = &text[text.ceil_char_boundary(start)..];
        let (holder, begun) = match path.rfind(['.', ':']) {
            Some(at) => (Some(&path[..at]), &path[at + 1..]),
            None => (None, path),
        };
        let top = lua.top();
        let mut names = BTreeSet::new();
        match holder {
            None => {
                let known = self.names.iter().map(|name| &name.name);
                names.extend(known.filter(|name| name.starts_with(begun)).cloned());
                lua.push_globals();
                add_fields(lua, begun, &mut names);
            }
            Some(holder) => {
                if self.push_path(lua, holder) {
                    add_fields(lua, begun, &mut names);
                }
            }
        }
        lua.set_top(top);
        names.into_iter().take(MOST_CANDIDATES).collect()
    }

    /// Pushes what `a.b.c` is, without running anything.
    fn push_path(&self, lua: Lua, path: &str) -> bool {
        let mut parts = path.split(['.', ':']);
        let first = parts.next().unwrap_or_default();
        match self.names.iter().position(|name| name.name == first) {
            Some(at) => {
                let Some(count) = self.push_values(lua) else { return false };
                lua.push_copy(at as c_int - count);
            }
            None => {
                lua.push_globals();
                lua.raw_get(-1, first);
            }
        }
        parts.all(|part| {
            each_holder(lua, |lua| {
                let found = lua.raw_get(-1, part) != Type::Nil;
                if !found {
                    lua.pop(1);
                }
                found
            })
        })
    }
}

/// The name of the signal that a terminal sends for Ctrl-C.
const INTERRUPT: &str = "INT";

/// The local variables of the function on top of the stack where it ends.
fn locals_at_end(lua: Lua) -> Vec<String> {
    let mut names = Vec::new();
    while unsafe { lua_lastlocal(lua.0, names.len() as c_int) } != 0 {
        names.push(String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default()).into_owned());
        lua.pop(1);
    }
    names
}

/// Number and name of each upvalue of the function at `index`.
fn upvalues(lua: Lua, index: c_int) -> impl Iterator<Item = (c_int, String)> {
    let index = lua.abs(index);
    (1..).map_while(move |at| {
        let name = unsafe { lua_getupvalue(lua.0, index, at) };
        if name.is_null() {
            return None;
        }
        lua.pop(1);
        Some((at, unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()))
    })
}

/// Calls `f` with each table on top of the stack in which fields of the value there are looked up, until it says that it
/// found something; whether it did. Then what it left is on top.
fn each_holder(lua: Lua, mut f: impl FnMut(Lua) -> bool) -> bool {
    if lua.type_of(-1) == Type::Function && crate::bindings::assert::push_fields(lua) {
        return f(lua);
    }
    for _ in 0..CHAIN {
        if !lua.reserve(8) {
            return false;
        }
        if lua.type_of(-1) == Type::Table && f(lua) {
            return true;
        }
        if unsafe { lua_getmetatable(lua.0, -1) } == 0 || lua.raw_get(-1, "__index") != Type::Table {
            return false;
        }
    }
    false
}

/// Adds the names of fields that begin so.
fn add_fields(lua: Lua, begun: &str, names: &mut BTreeSet<String>) {
    each_holder(lua, |lua| {
        lua.push_nil();
        while unsafe { lua_next(lua.0, -2) } != 0 {
            lua.pop(1);
            let name = lua.bytes(-1).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|name| name.starts_with(begun) && is_name(name)) {
                names.insert(name.to_string());
            }
        }
        false
    });
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// `help(topic?)`: a name, or what it stands for.
fn help(call: Call) -> Returned {
    let lua = call.lua();
    let topic = match lua.type_of(1) {
        Type::None | Type::Nil => String::new(),
        Type::String => call.str(1)?.to_string(),
        _ => match name_of(lua, 1) {
            Some(name) => name,
            None => lua.display(1)?,
        },
    };
    let text = match console::help(&topic) {
        Some(text) => text,
        None => format!("there is no help about {topic}; help() names all that there is help about\n"),
    };
    stdio::write(stdio::Target::Stdout, text.as_bytes())?;
    Ok(0)
}

/// The name of a builtin or one of its functions.
fn name_of(lua: Lua, index: c_int) -> Option<String> {
    let top = lua.top();
    let find = |lua: Lua, inner: &mut dyn FnMut(&str) -> Option<String>| {
        lua.push_nil();
        while unsafe { lua_next(lua.0, -2) } != 0 {
            if lua.type_of(-2) == Type::String {
                let name = String::from_utf8_lossy(lua.bytes(-2).unwrap_or_default()).into_owned();
                if unsafe { lua_rawequal(lua.0, -1, index) } != 0 {
                    return Some(name);
                }
                if let Some(found) = inner(&name) {
                    return Some(found);
                }
            }
            lua.pop(1);
        }
        None
    };
    lua.push_globals();
    let found = find(lua, &mut |_| None).or_else(|| {
        lua.set_top(top);
        lua.push_globals();
        find(lua, &mut |outer| {
            if lua.type_of(-1) != Type::Table || matches!(outer, "_G" | "package") {
                return None;
            }
            let top = lua.top();
            let found = find(lua, &mut |_| None);
            lua.set_top(top);
            found.map(|name| format!("{outer}.{name}"))
        })
    });
    lua.set_top(top);
    found
}
