//! What Jinja2 has and the engine does not: filters, functions, a test.

use super::text;
use crate::work::spend;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use minijinja_contrib::{filters as more, globals};

/// Paragraphs and words of them that `lipsum` makes at most.
const LIPSUM: usize = 1000;

/// Adds them. They may do as much as their arguments ask for.
pub fn register(environment: &mut Environment<'_>) {
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("center", center);
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("forceescape", forceescape);
    environment.add_filter("random", more::random);
    environment.add_filter("striptags", more::striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlize", urlize);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("xmlattr", xmlattr);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("cycler", cycler);
    environment.add_function("joiner", globals::joiner);
    environment.add_function("lipsum", lipsum);
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// An argument that may be given by its place or its name.
fn argument<T>(placed: Option<T>, kwargs: &Kwargs, name: &'static str) -> Result<Option<T>, Error>
where
    T: for<'a> minijinja::value::ArgType<'a, Output = T>,
{
    match placed {
        Some(value) => Ok(Some(value)),
        None => kwargs.get::<Option<T>>(name),
    }
}

/// As the engine has it; in the query that a mapping or a list of pairs is, blanks are `+`, as Jinja2 has it.
fn urlencode(value: &Value) -> Result<String, Error> {
    let text = filters::urlencode(value)?;
    Ok(if value.as_str().is_none() { text.replace("%20", "+") } else { text })
}

/// What comes of a text is as safe as the text.
fn like(value: &Value, text: String) -> Value {
    if value.is_safe() { Value::from_safe_string(text) } else { Value::from(text) }
}

/// The text of a value; nothing where it is undefined or none.
fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        _ => value.to_string(),
    }
}

/// What cannot be read is the default, 0 unless another is given, as Jinja2 has it.
fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let value = match value.as_str() {
        Some(text) => Value::from(text.trim()),
        None => value.clone(),
    };
    let default = if kwargs.has("default") { default } else { default.or(Some(Value::from(0))) };
    filters::int(state, &value, default, base, kwargs)
}

fn float(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let value = match value.as_str() {
        Some(text) => Value::from(text.trim()),
        None => value.clone(),
    };
    let default = if kwargs.has("default") { default } else { default.or(Some(Value::from(0.0))) };
    filters::float(state, &value, default, kwargs)
}

fn center(
    state: &State<'_, '_>,
    value: &Value,
    width: Option<usize>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let width = argument(width, &kwargs, "width")?.unwrap_or(80);
    kwargs.assert_all_used()?;
    let text = text_of(value);
    let blanks = width.saturating_sub(text.chars().count());
    state.consume_fuel(blanks as u64 / 64)?;
    let left = blanks / 2 + (blanks & width & 1);
    Ok(like(value, format!("{}{text}{}", " ".repeat(left), " ".repeat(blanks - left))))
}

fn filesizeformat(
    state: &State<'_, '_>,
    value: &Value,
    binary: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let binary = argument(binary, &kwargs, "binary")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let bytes = filters::float(state, value, None, std::iter::empty::<(&str, Value)>().collect())?;
    let bytes = f64::try_from(bytes)?;
    let (base, units) = match binary {
        true => (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]),
        false => (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]),
    };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base || bytes.is_nan() {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let mut size = bytes / base;
    for unit in &units[..units.len() - 1] {
        if size < base {
            return Ok(format!("{size:.1} {unit}"));
        }
        size /= base;
    }
    Ok(format!("{size:.1} {}", units[units.len() - 1]))
}

fn forceescape(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let text = text_of(value);
    charge_escaped(state, &text)?;
    Ok(Value::from_safe_string(text::escaped(&text)))
}

/// Accounts for a text that is going to be escaped: it may become five times as long.
fn charge_escaped(state: &State<'_, '_>, text: &str) -> Result<(), Error> {
    spend(8 * text.len());
    state.consume_fuel(text.len() as u64 * 4 / 64)
}

fn truncate(value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (length, killwords, end, leeway, kwargs): (
        Option<usize>,
        Option<bool>,
        Option<String>,
        Option<usize>,
        Kwargs,
    ) = minijinja::value::from_args(&arguments)?;
    let length = argument(length, &kwargs, "length")?.unwrap_or(255);
    let killwords = argument(killwords, &kwargs, "killwords")?.unwrap_or(false);
    let end = argument(end, &kwargs, "end")?.unwrap_or_else(|| "...".into());
    let leeway = argument(leeway, &kwargs, "leeway")?.unwrap_or(5);
    kwargs.assert_all_used()?;
    let text = text_of(value);
    let (have, most) = (text.chars().count(), end.chars().count());
    if length < most {
        return Err(wrong(format!("truncate: the length {length} is less than that of the end {end:?}")));
    }
    if have <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let cut = text.char_indices().nth(length - most).map_or(text.len(), |(at, _)| at);
    let kept = match text[..cut].rfind(' ') {
        Some(blank) if !killwords => &text[..blank],
        _ => &text[..cut],
    };
    let end = if value.is_safe() { text::escaped(&end) } else { end };
    Ok(like(value, format!("{kept}{end}")))
}

fn wordcount(value: &Value) -> usize {
    let text = text_of(value);
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
}

fn wordwrap(state: &State<'_, '_>, value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (width, long, wrapstring, hyphens, kwargs): (
        Option<usize>,
        Option<bool>,
        Option<String>,
        Option<bool>,
        Kwargs,
    ) = minijinja::value::from_args(&arguments)?;
    let width = argument(width, &kwargs, "width")?.unwrap_or(79);
    let break_words = argument(long, &kwargs, "break_long_words")?.unwrap_or(true);
    let wrapstring = argument(wrapstring, &kwargs, "wrapstring")?.unwrap_or_else(|| "\n".into());
    let break_hyphens = argument(hyphens, &kwargs, "break_on_hyphens")?.unwrap_or(true);
    kwargs.assert_all_used()?;
    if width == 0 {
        return Err(wrong("wordwrap: the width is at least 1"));
    }
    let wrapping = text::Wrapping { width, break_words, break_hyphens };
    let (text, mut out) = (text_of(value), String::new());
    // Each character may come to stand on a line of its own.
    state.consume_fuel((text.len() / width.min(8)).saturating_mul(1 + wrapstring.len()) as u64 / 64)?;
    for (n, line) in text.lines().enumerate() {
        spend(64 + 16 * line.len());
        if n > 0 {
            out.push_str(&wrapstring);
        }
        wrapping.wrap(line, &wrapstring, &mut out);
    }
    Ok(like(value, out))
}

fn urlize(state: &State<'_, '_>, value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (limit, nofollow, target, rel, kwargs): (
        Option<usize>,
        Option<bool>,
        Option<String>,
        Option<String>,
        Kwargs,
    ) = minijinja::value::from_args(&arguments)?;
    let limit = argument(limit, &kwargs, "trim_url_limit")?;
    let nofollow = argument(nofollow, &kwargs, "nofollow")?.unwrap_or(false);
    let target = argument(target, &kwargs, "target")?;
    let rel = argument(rel, &kwargs, "rel")?.unwrap_or_default();
    kwargs.assert_all_used()?;
    let mut rel: Vec<&str> = rel.split_whitespace().chain(["noopener"]).collect();
    if nofollow {
        rel.push("nofollow");
    }
    rel.sort_unstable();
    rel.dedup();
    let mut attributes = format!(" rel=\"{}\"", text::escaped(&rel.join(" ")));
    if let Some(target) = target {
        attributes.push_str(&format!(" target=\"{}\"", text::escaped(&target)));
    }
    let text = text_of(value);
    charge_escaped(state, &text)?;
    // A link has its address twice, with the attributes between.
    state.consume_fuel((text.len() as u64 / 8).saturating_mul(40 + attributes.len() as u64) / 64)?;
    let text = if value.is_safe() { text } else { text::escaped(&text) };
    Ok(Value::from_safe_string(text::linked(&text, limit, &attributes)))
}

fn xmlattr(
    state: &State<'_, '_>,
    value: &Value,
    autospace: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let autospace = argument(autospace, &kwargs, "autospace")?.unwrap_or(true);
    kwargs.assert_all_used()?;
    if value.kind() != ValueKind::Map {
        return Err(wrong(format!("xmlattr: a map expected, got {}", value.kind())));
    }
    let mut out = String::new();
    for key in value.try_iter()? {
        let item = value.get_item(&key)?;
        if item.is_undefined() || item.is_none() {
            continue;
        }
        let key = key.to_string();
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '>' | '=')) {
            return Err(wrong(format!("xmlattr: {key:?} is not the name of an attribute")));
        }
        let item_text = text_of(&item);
        charge_escaped(state, &item_text)?;
        let item = if item.is_safe() { item_text } else { text::escaped(&item_text) };
        if autospace || !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&format!("{}=\"{item}\"", text::escaped(&key)));
    }
    Ok(Value::from_safe_string(out))
}

fn cycler(items: Rest<Value>) -> Result<Value, Error> {
    globals::cycler(items.0)
}

fn lipsum(state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (n, html, min, max, kwargs): (Option<usize>, Option<bool>, Option<usize>, Option<usize>, Kwargs) =
        minijinja::value::from_args(&arguments)?;
    let n = argument(n, &kwargs, "n")?.unwrap_or(5);
    let html = argument(html, &kwargs, "html")?.unwrap_or(true);
    let min = argument(min, &kwargs, "min")?.unwrap_or(20);
    let max = argument(max, &kwargs, "max")?.unwrap_or(100);
    kwargs.assert_all_used()?;
    if min >= max || max > LIPSUM || n > LIPSUM {
        return Err(wrong(format!("lipsum: min must be below max, and neither max nor n above {LIPSUM}")));
    }
    // A word takes some eight bytes.
    state.consume_fuel((n * max) as u64 / 8)?;
    let options = [("min", Value::from(min)), ("max", Value::from(max)), ("html", Value::from(html))];
    globals::lipsum(state, Some(n), options.into_iter().collect())
}
