//! What one filter or method may do: the engine does it in one go, without asking for the limits of the run.

use super::names::FILTERS;
use super::{engine, filters};
use crate::region;
use crate::work::spend;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};
use minijinja_contrib::pycompat;
use std::sync::Arc;

/// Bytes of one text that a filter or method takes: a byte costs some 16 ns at most.
const TEXT: usize = 2 << 20;
/// What one filter may use up of a rendering's steps beside that: an item is half a step.
const STEPS: u64 = 300_000;
/// The same where a step is less work: a comparison, or four bytes of data that are written.
const SHORT_STEPS: u64 = 600_000;
/// The size of a value that is written as text or compared, with all that is in it.
const WRITTEN: usize = 4 << 20;
const COMPARED: usize = 32 << 20;
/// Which part of the memory that is free these may have at most: what is made of them takes several times as much.
const PART: usize = 16;
/// The most blanks for a level of data that is written.
const INDENT: usize = 64;

/// Filters that look at no more than a value and a few of its items: they are called as they are.
const LIGHT: &[&str] = &[
    "abs", "attr", "bool", "chain", "count", "d", "default", "first", "float", "int", "items", "length",
    "round", "safe", "zip",
];
/// Filters that look at the items of a list, but not into them.
const SHALLOW: &[&str] = &[
    "batch",
    "last",
    "list",
    "map",
    "random",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "sum",
];
/// Filters that compare the items of a list.
const COMPARING: &[&str] = &["dictsort", "groupby", "max", "min", "sort", "unique"];

/// The templates whose states filters are applied in: their names say how values are escaped.
const TEXTS: &str = "a.txt";
const PAGES: &str = "a.html";
const DATA: &str = "a.json";

/// The bounds of one rendering.
#[derive(Clone, Copy)]
pub struct Bounds {
    text: usize,
    written: usize,
    compared: usize,
}

/// The environment whose filter is called in place of one, and the steps that it has.
type Tools = (Arc<Environment<'static>>, u64);

/// Adds filters and methods, each within the bounds of the rendering that runs.
pub fn register(environment: &mut Environment<'_>, undefined: UndefinedBehavior) {
    let mut tools = Environment::new();
    filters::register(&mut tools);
    tools.set_undefined_behavior(undefined);
    tools.set_formatter(super::format);
    tools.set_auto_escape_callback(super::auto_escape);
    for name in [TEXTS, PAGES, DATA] {
        // An empty template cannot be wrong.
        let _ = tools.add_template(name, "");
    }
    let with = |steps| {
        let mut tools = tools.clone();
        tools.set_fuel(Some(steps));
        tools
    };
    let (plain, short) = (Arc::new(with(STEPS)), Arc::new(with(SHORT_STEPS)));
    let choose =
        |name: &str| match COMPARING.contains(&name) || matches!(name, "pprint" | "string" | "tojson") {
            true => (short.clone(), SHORT_STEPS),
            false => (plain.clone(), STEPS),
        };
    // `map` calls other filters, which have their bounds too.
    let mut calling = with(STEPS);
    wrap(&mut calling, |name| (name != "map").then(|| choose(name)));
    let calling = Arc::new(calling);
    filters::register(environment);
    wrap(environment, |name| match name {
        "map" => Some((calling.clone(), STEPS)),
        name => Some(choose(name)),
    });
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        called(state, value, method, arguments, engine::bounds())
    });
}

/// Puts bounds around the filters of an environment for which there are tools.
fn wrap(environment: &mut Environment<'_>, tools: impl Fn(&str) -> Option<Tools>) {
    for name in FILTERS.iter().filter(|name| !LIGHT.contains(name)) {
        let Some(tools) = tools(name) else { continue };
        environment.add_filter(*name, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            bounded(&tools, name, state, &arguments.into_values(), engine::bounds())
        });
    }
}

impl Bounds {
    /// Those of no rendering.
    pub const NONE: Bounds = Bounds { text: 0, written: 0, compared: 0 };

    /// Those of a rendering that begins: what is made takes its part of the memory that is free.
    pub fn now() -> Bounds {
        let part = region::room() / PART;
        Bounds { text: TEXT.min(part), written: WRITTEN.min(part), compared: COMPARED.min(4 * part) }
    }

    /// Refuses texts that are too long.
    fn check_texts(self, name: &str, values: &[Value]) -> Result<(), Error> {
        let most = self.text;
        match values.iter().filter_map(Value::as_str).map(str::len).find(|len| *len > most) {
            Some(len) => refuse(format!(
                "{name} takes a text of at most {most} bytes, this one has {len}; take it apart in Lua"
            )),
            None => Ok(()),
        }
    }

    /// The size of values with all that is in them: bytes of texts, some for each item, and `indent` for each level
    /// that it lies in.
    fn weigh(self, values: &[Value], most: usize, indent: usize) -> Result<usize, Error> {
        let mut open: Vec<(Value, usize)> = values.iter().map(|value| (value.clone(), 0)).collect();
        let mut weight = 0_usize;
        while let Some((value, level)) = open.pop() {
            spend(16);
            weight = weight.saturating_add(8 + level * indent + value.as_str().map_or(0, str::len));
            let is_open = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
            // What cannot be walked through is not walked through by the engine either.
            for key in value.try_iter().ok().filter(|_| is_open).into_iter().flatten() {
                spend(16);
                if value.kind() == ValueKind::Map {
                    open.extend(value.get_item(&key).ok().map(|item| (item, level + 1)));
                }
                open.push((key, level + 1));
                if weight.saturating_add(8 * open.len()) > most {
                    break;
                }
            }
            if weight.saturating_add(8 * open.len()) > most {
                return refuse(format!(
                    "a value has more than {most} bytes with all that is in it, too much for one filter or method; \
                     do it in Lua"
                ));
            }
        }
        Ok(weight)
    }

    /// Weighs what a filter looks into.
    fn check(self, name: &str, arguments: &[Value]) -> Result<(), Error> {
        self.check_texts(name, arguments)?;
        if SHALLOW.contains(&name) {
            return Ok(());
        }
        if COMPARING.contains(&name) {
            return self.weigh(arguments, self.compared, 0).map(drop);
        }
        let mut indent = 0;
        if name == "tojson" {
            let named = arguments.last().and_then(|last| Kwargs::try_from(last.clone()).ok());
            let named = named.and_then(|named| named.peek::<Option<Value>>("indent").ok().flatten());
            let wanted = arguments.get(1).cloned().into_iter().chain(named);
            indent = wanted.filter_map(|value| usize::try_from(value).ok()).max().unwrap_or(0);
            if indent > INDENT {
                return refuse(format!("tojson takes an indent of at most {INDENT}, not {indent}"));
            }
        }
        // A text is bounded as one, whatever else there is.
        let data: Vec<Value> = arguments.iter().filter(|value| value.as_str().is_none()).cloned().collect();
        self.weigh(&data, self.written, indent).map(drop)
    }
}

fn refuse<T>(why: String) -> Result<T, Error> {
    Err(engine::limit(why))
}

/// Applies a filter in a state of its own, which has few steps: so the filter ends soon, and its steps are counted.
fn bounded(
    (tools, steps): &Tools,
    name: &str,
    state: &mut State<'_, '_>,
    arguments: &[Value],
    bounds: Bounds,
) -> Result<Value, Error> {
    spend(512);
    bounds.check(name, arguments)?;
    if matches!(name, "split" | "lines") {
        charge_parts(state, arguments)?;
    }
    let left = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    let few;
    let tools = match left < *steps {
        true => {
            let mut own = Environment::clone(tools);
            own.set_fuel(Some(left));
            few = own;
            &few
        }
        false => &**tools,
    };
    let empty = tools.get_template(match state.auto_escape() {
        AutoEscape::Html => PAGES,
        AutoEscape::Json => DATA,
        _ => TEXTS,
    })?;
    let mut own = empty.new_state();
    let result = own.apply_filter(name, arguments);
    let used = own.fuel_levels().map_or(0, |(used, _)| used);
    spend(64 * usize::try_from(used).unwrap_or(usize::MAX));
    state.consume_fuel(used)?;
    match result {
        Err(error) if error.kind() == ErrorKind::OutOfFuel && left > *steps => refuse(format!(
            "{name} would take more than {steps} steps at once; give it less, or do it in Lua"
        )),
        result => result,
    }
}

/// Accounts for the parts that a text is divided into, before they are made.
fn charge_parts(state: &State<'_, '_>, arguments: &[Value]) -> Result<(), Error> {
    let Some(text) = arguments.first().and_then(Value::as_str) else { return Ok(()) };
    let count = match arguments.get(1).and_then(Value::as_str) {
        Some("") => text.len(),
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count().max(memchr::memchr_iter(b'\n', text.as_bytes()).count()),
    };
    spend(4 * text.len());
    if count as u64 > STEPS {
        return refuse(format!("a text would become more than {STEPS} parts at once; divide it in Lua"));
    }
    state.consume_fuel(count as u64)
}

/// Calls a method as Python has them.
fn called(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
    bounds: Bounds,
) -> Result<Value, Error> {
    spend(256);
    bounds.check_texts(method, std::slice::from_ref(value))?;
    bounds.check_texts(method, arguments)?;
    match (value.kind(), method) {
        (ValueKind::String, "join") => {
            let (items,): (&Value,) = from_args(arguments)?;
            state.apply_filter("join", &[items.clone(), value.clone()])
        }
        (ValueKind::String, "split" | "splitlines") => {
            let mut all = vec![value.clone()];
            all.extend(arguments.iter().take(1).filter(|_| method == "split").cloned());
            charge_parts(state, &all)?;
            pycompat::unknown_method_callback(state, value, method, arguments)
        }
        (ValueKind::String, "format") => {
            charge_format(state, value.as_str().unwrap_or_default(), arguments, bounds)?;
            pycompat::unknown_method_callback(state, value, method, arguments)
        }
        (ValueKind::Seq, "count") => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let weight = bounds.weigh(std::slice::from_ref(wanted), bounds.written, 0)?;
            let compared = weight.saturating_mul(value.len().unwrap_or(0));
            if compared > bounds.compared {
                return refuse("count would compare too much at once; count in Lua".into());
            }
            spend(compared);
            state.consume_fuel(compared as u64 / 64)?;
            pycompat::unknown_method_callback(state, value, method, arguments)
        }
        (kind, _) => {
            if kind == ValueKind::String {
                spend(4 * value.as_str().map_or(0, str::len));
            }
            pycompat::unknown_method_callback(state, value, method, arguments)
        }
    }
}

/// Accounts for what `format` makes of its arguments, before it does.
fn charge_format(
    state: &State<'_, '_>,
    format: &str,
    arguments: &[Value],
    bounds: Bounds,
) -> Result<(), Error> {
    let widest = bounds.weigh(arguments, bounds.written, 0)?;
    // All numbers count as widths, those that are places too.
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    let fields = memchr::memchr_iter(b'{', format.as_bytes()).count();
    spend(4 * format.len());
    let bytes = fields.saturating_mul(widest).saturating_add(widths).saturating_add(format.len());
    let most = bounds.text;
    if bytes > most {
        return refuse(format!("format would make a text of more than {most} bytes at once"));
    }
    state.consume_fuel(bytes as u64 / 64)
}
