//! `template`: Jinja2 templates with values from Lua.
//!
//! Templates are read through the host's fs capability, so each file is checked against the grants.

mod bounds;
mod engine;
mod filters;
mod names;
mod nesting;
mod text;

use crate::bindings::fs::{self, buffer::Buffer};
use crate::call::{Call, Error, Returned, library};
use crate::function;
use crate::host::crypto;
use crate::host::types::{self, ErrorCode};
use crate::lua::Lua;
use crate::options;
use crate::region::{self, region};
use crate::value::{Fault, Meter, Value, Walk};
use crate::work::{CALL, spend};
use engine::{COMPILED_NOW, FUEL, NESTED, back_to_render, leave_to_compile};
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, ErrorKind};
use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::c_int;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;

/// Bytes that the engine takes for one of a template's tags, at most.
const COMPILED: usize = 128;
/// What it takes itself.
const ENGINE: usize = 64 << 10;
/// Bytes of one template: its text is read in one go.
const MAX_SOURCE: usize = 4 << 20;
/// Where the includes of a template that is given as a string are looked for.
const DIRECTORY: &str = "templates";

pub fn register(lua: Lua) {
    minijinja_contrib::rand::set_seed_source(Some(seed));
    library(
        lua,
        "template",
        &[
            ("render", function!(render, 3)),
            ("render_string", function!(render_string, 3)),
            ("render_with_loader", function!(render_with_loader, 4)),
        ],
    );
}

fn render(call: Call) -> Returned {
    let path = call.str(1)?;
    let (directory, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((directory, name)) => (directory, name),
        None => ("", path),
    };
    let strict = is_strict(call, 2)?;
    let source = text(path, fs::read_blocking(path)?)?;
    finish(call, "template.render", directory, name, source.into(), 2, strict)
}

fn render_string(call: Call) -> Returned {
    let source = call.str(1)?;
    let strict = is_strict(call, 2)?;
    finish(call, "template.render_string", DIRECTORY, "<string>", source.into(), 2, strict)
}

fn render_with_loader(call: Call) -> Returned {
    let (directory, name) = (call.str(1)?, call.str(2)?);
    check_name(name).map_err(|why| Error::Argument(2, why))?;
    let strict = is_strict(call, 3)?;
    let path = join(directory, name);
    let source = text(&path, fs::read_blocking(&path)?)?;
    drop(path);
    finish(call, "template.render_with_loader", directory, name, source.into(), 3, strict)
}

/// Where the random numbers of a rendering begin.
fn seed() -> u64 {
    let bytes = region::outside(|| crypto::random(8)).unwrap_or_default();
    // Zeros would stay zeros.
    bytes.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte)) | 1
}

/// Checks that argument `index` can be the variables; whether the options after it say `strict`.
fn is_strict(call: Call, index: c_int) -> Result<bool, Error> {
    let options = call.opt_options(index + 1, &["strict"])?;
    call.opt_table(index)?;
    Ok(options.map(|options| options.boolean("strict")).transpose()?.flatten().unwrap_or(false))
}

/// The variables that argument `index` holds.
fn variables(lua: Lua, index: c_int) -> Result<minijinja::Value, Fault> {
    if lua.is_nil(index) {
        return Ok(minijinja::Value::from_pairs(Vec::<(String, minijinja::Value)>::new()));
    }
    let top = lua.top();
    let vars = convert(&mut Walk::new(lua), index);
    lua.set_top(top);
    vars
}

fn convert(walk: &mut Walk, at: c_int) -> Result<minijinja::Value, Fault> {
    use minijinja::Value as Out;
    Ok(match walk.read(at)? {
        Value::Null => Out::from(()),
        Value::Boolean(value) => Out::from(value),
        Value::Integer(value) => Out::from(value),
        Value::Float(value) => Out::from(value),
        Value::Number(digits) => match digits.parse::<i128>() {
            Ok(value) => Out::from(value),
            Err(_) => Out::from(digits),
        },
        Value::Text(text) => {
            spend(text.len());
            Out::from(text)
        }
        Value::Array(len) => {
            spend(CALL);
            let mut list = Vec::new();
            walk.array(at, len, |walk, _, child| {
                list.push(convert(walk, child)?);
                Ok(())
            })?;
            list.into_iter().collect()
        }
        Value::Object(keys) => {
            let mut pairs = Vec::new();
            walk.object(at, &keys, |walk, key, child| {
                pairs.push((key.text.to_string(), convert(walk, child)?));
                Ok(())
            })?;
            keys.release(walk.lua);
            Out::from_pairs(pairs)
        }
    })
}

/// Refuses names that lead out of the directory. Symbolic links in it are the host's to check.
fn check_name(name: &str) -> Result<(), String> {
    let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
    if name.is_empty() || leaves || name.contains(['\\', '\0']) {
        return Err(format!("the template name {name:?} is not a path within its directory"));
    }
    Ok(())
}

/// The text for the engine; refuses what it has no bound for.
fn prepared<'a>(name: &str, source: &'a str) -> Result<Cow<'a, str>, types::Error> {
    let limit = |message| Err(types::Error { code: ErrorCode::Limit, message, errno: 0 });
    if source.len() > MAX_SOURCE {
        let (len, most) = (source.len(), MAX_SOURCE);
        return limit(format!("{name} has {len} bytes, {most} are allowed; give what is long as a variable"));
    }
    match nesting::bounded(source, NESTED) {
        Ok(text)
            if (text.tags.saturating_mul(COMPILED)).saturating_add(2 * source.len()) > region::room() =>
        {
            let len = source.len();
            limit(format!("not enough memory to compile {name}, which has {len} bytes"))
        }
        Ok(text) => Ok(text.source),
        Err(line) => limit(format!(
            "{name} line {line}: more than {} operators or elif in one expression; divide it, with set or a loop",
            nesting::MAX
        )),
    }
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory if directory.ends_with('/') => format!("{directory}{name}"),
        directory => format!("{directory}/{name}"),
    }
}

fn text(path: &str, bytes: Vec<u8>) -> Result<String, types::Error> {
    String::from_utf8(bytes).map_err(|_| types::Error {
        code: ErrorCode::InvalidData,
        message: format!("the template {path} is not valid UTF-8"),
        errno: 0,
    })
}

/// Levels of lists and tables that a namespace may hold: each rendering adds to what it got, and the engine walks
/// through it with the stack.
const MAX_NESTED: usize = 200;

fn is_nested_deeper(value: &minijinja::Value, levels: usize) -> bool {
    spend(16);
    let container = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
    if !container {
        return false;
    }
    if levels == 0 {
        return true;
    }
    // What cannot be walked through is not walked through by the engine either.
    let Ok(mut items) = value.try_iter() else { return false };
    match value.kind() {
        ValueKind::Map => {
            items.any(|key| value.get_item(&key).is_ok_and(|item| is_nested_deeper(&item, levels - 1)))
        }
        _ => items.any(|item| is_nested_deeper(&item, levels - 1)),
    }
}

/// Output in Lua's memory, which asks for the run's limits as it grows.
struct Output {
    text: Buffer,
    meter: Meter,
    /// The memory was used up.
    short: bool,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        back_to_render();
        if self.text.extend(bytes).is_err() {
            self.short = true;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.meter.reach(self.text.as_slice().len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is assigned to a namespace.
fn nested(value: minijinja::Value) -> Result<minijinja::Value, minijinja::Error> {
    back_to_render();
    match is_nested_deeper(&value, MAX_NESTED) {
        false => Ok(value),
        true => Err(engine::limit(format!(
            "what is assigned to a namespace has more than {MAX_NESTED} nested lists and maps"
        ))),
    }
}

/// Renders `source`, whose name is `name` and whose includes lie in `directory`, with the variables of argument `vars`, and
/// pushes the text.
fn finish(
    call: Call,
    function: &str,
    directory: &str,
    name: &str,
    source: Cow<str>,
    vars: c_int,
    strict: bool,
) -> Returned {
    // All else is dropped by the time that the text is pushed.
    rendered(call, function, directory, name, source, vars, strict)?.give(call.lua())
}

fn rendered(
    call: Call,
    function: &str,
    directory: &str,
    name: &str,
    source: Cow<str>,
    vars: c_int,
    strict: bool,
) -> Result<Buffer, Error> {
    let lua = call.lua();
    region::make_room(lua, ENGINE)?;
    let source = prepared(name, &source).map_err(|error| {
        let message = format!("{function}: {}", error.message);
        Error::Failed(types::Error { message, ..error })
    })?;
    let _outer = engine::begin(directory);
    let mut output = Output { text: Buffer::new(), meter: Meter::default(), short: false };
    let engine = engine::engine(strict);
    let failed = |error| Error::Failed(failure(function, &error, engine::refused()));
    let template = region::counted(|| engine.template_from_named_str(name, &source)).map_err(failed)?;
    let rendered = region(
        lua,
        AssertUnwindSafe(|| {
            let vars = variables(lua, vars).map_err(|fault| fault.into_error(function))?;
            let result = template.render_captured_to(vars, &mut output).map(drop);
            back_to_render();
            result.map_err(failed)
        }),
    );
    match rendered {
        Ok(Ok(())) => Ok(output.text),
        Ok(Err(_)) if output.short => {
            Err(Error::failed(ErrorCode::Limit, format!("{function}: not enough memory for the text")))
        }
        Ok(Err(error)) => Err(error),
        Err(memory) => {
            // What it holds went with the region.
            std::mem::forget(engine::refused());
            Err(memory)
        }
    }
}

/// Values are escaped as the last extension of the template's name asks for, in upper or lower case; extensions that
/// say it is a template do not count. What is quoted in YAML depends on where it stands, so nothing is there.
fn auto_escape(name: &str) -> AutoEscape {
    let mut extensions = name.rsplit('.').map(str::to_ascii_lowercase);
    match extensions.find(|name| !matches!(name.as_str(), "j2" | "jinja" | "jinja2")).as_deref() {
        Some("html" | "htm" | "xhtml" | "xml" | "svg") => AutoEscape::Html,
        Some("json" | "json5" | "js") => AutoEscape::Json,
        _ => AutoEscape::None,
    }
}

/// Booleans are written as Lua, YAML, TOML and JSON do, not as Python does.
fn format(
    out: &mut minijinja::Output<'_>,
    state: &mut minijinja::State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    back_to_render();
    match (value.kind(), value.is_true()) {
        (ValueKind::Bool, true) => Ok(out.write_str("true")?),
        (ValueKind::Bool, false) => Ok(out.write_str("false")?),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// The text of a template that is included.
fn load(name: &str) -> Result<Option<String>, minijinja::Error> {
    back_to_render();
    check_name(name).map_err(|why| minijinja::Error::new(ErrorKind::InvalidOperation, why))?;
    let path = join(engine::directory(), name);
    leave_to_compile();
    let source = fs::read_blocking(&path)
        .and_then(|bytes| text(&path, bytes))
        .and_then(|source| Ok(format!("{{{{ ''|{COMPILED_NOW} }}}}{}", prepared(name, &source)?)));
    match source {
        Ok(source) => Ok(Some(source)),
        Err(error) => {
            back_to_render();
            if error.code == ErrorCode::NotFound { Ok(None) } else { Err(engine::refuse(error)) }
        }
    }
}

/// What is said of a name that there is not.
fn unknown(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let names = match error.kind() {
        ErrorKind::UnknownFilter => names::FILTERS,
        ErrorKind::UnknownTest => names::TESTS,
        ErrorKind::UnknownMethod => names::METHODS,
        _ => names::FUNCTIONS,
    };
    let given = detail.strip_suffix(" is unknown").unwrap_or(&detail).rsplit(' ').next().unwrap_or_default();
    match options::nearest(given, names) {
        Some(near) => format!("{detail}; did you mean {near}?"),
        None => format!("{detail}; there are {}", names.join(", ")),
    }
}

/// The error of a rendering, with the template and line, and those of the templates it includes.
fn failure(function: &str, error: &minijinja::Error, refused: Option<types::Error>) -> types::Error {
    let mut message = function.to_owned();
    let mut code = ErrorCode::InvalidData;
    let mut next = Some(error);
    while let Some(error) = next {
        message.push_str(": ");
        if let Some(name) = error.name() {
            message.push_str(&format!("{name} line {}: ", error.line().unwrap_or(1)));
        }
        match error.kind() {
            ErrorKind::OutOfFuel => {
                code = ErrorCode::Limit;
                message.push_str(&format!("more than {FUEL} steps, the limit of one rendering"));
            }
            ErrorKind::TemplateNotFound => {
                code = ErrorCode::NotFound;
                message.push_str(error.detail().unwrap_or("a template does not exist"));
            }
            ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod => {
                message.push_str(&unknown(error));
            }
            kind => match error.detail() {
                Some(detail) => message.push_str(&format!("{kind}: {detail}")),
                None => message.push_str(&kind.to_string()),
            },
        }
        next = error.source().and_then(|source| source.downcast_ref());
    }
    match refused {
        Some(refused) => types::Error { code: refused.code, message, errno: refused.errno },
        None => types::Error { code, message, errno: 0 },
    }
}
