//! `regex`: patterns in the syntax of the Rust crate of that name, on strings of any bytes.

mod engine;
mod replacement;
mod threads;

use crate::bindings::fs::buffer::Buffer;
use crate::call::{Call, Error, Returned, library};
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::region::{self, region};
use crate::value;
use crate::work;
use crate::{computing, function};
pub use engine::Regex;
use engine::{Bad, Search, Stopped};
use regex_automata::Span;
use replacement::Replacement;
use std::cell::Cell;
use std::ffi::c_int;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

/// How many compiled patterns are kept for the next call, and how much memory they may take: a part of all that there
/// is, up to so many bytes.
const KEPT: usize = 16;
const KEPT_PART: usize = 16;
const KEPT_BYTES: usize = 8 << 20;

/// What an allocation stands for while a pattern is compiled: a class of Unicode is thousands of ranges.
const COMPILING: usize = 64;

type Kept = Vec<(String, Rc<Regex>)>;

thread_local! {
    /// The patterns used last, newest first. Taken out while it is changed: compiling may end in an error of Lua.
    static COMPILED: Cell<Kept> = const { Cell::new(Vec::new()) };
}

pub fn register(lua: Lua) {
    library(
        lua,
        "regex",
        &[
            ("match", function!(is_match, 2)),
            ("find", function!(find, 2)),
            ("find_all", function!(find_all, 2)),
            ("replace", function!(replace, 4)),
            ("captures", function!(captures, 2)),
            ("split", function!(split, 3)),
            ("escape", computing!(escape, 1)),
        ],
    );
}

/// The compiled pattern that argument `index` holds.
///
/// # Errors
/// An argument error that shows the pattern and the place in it.
pub fn compile(call: Call, index: c_int) -> Result<Rc<Regex>, Error> {
    let pattern = call.str(index)?;
    let mut kept = COMPILED.take();
    let found = kept.iter().position(|(text, _)| text == pattern);
    if let Some(at) = found {
        kept[..=at].rotate_right(1);
        let regex = kept[0].1.clone();
        COMPILED.set(kept);
        return Ok(regex);
    }
    COMPILED.set(kept);
    let regex = region::weighted(call.lua(), COMPILING, || Regex::new(pattern))?
        .map_err(|bad| Error::Argument(index, describe(pattern, bad)))?;
    let regex = Rc::new(regex);
    let mut kept = COMPILED.take();
    kept.insert(0, (pattern.to_owned(), regex.clone()));
    let mut bytes = 0;
    let within = |(text, regex): &(String, Rc<Regex>)| {
        bytes += text.len() + regex.size();
        bytes <= KEPT_BYTES.min(region::limit() / KEPT_PART)
    };
    let fit = kept.iter().map(within).take(KEPT).take_while(|within| *within).count();
    kept.truncate(fit.max(1));
    COMPILED.set(kept);
    Ok(regex)
}

fn describe(pattern: &str, bad: Bad) -> String {
    const SHOWN: usize = 200;
    let start = || match pattern.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &pattern[..end]),
        None => format!("{pattern:?}"),
    };
    match bad {
        Bad::TooLong => format!(
            "the pattern {} is too large: its text has {} bytes, 64 KiB are allowed; search for its parts in several calls",
            start(),
            pattern.len()
        ),
        Bad::TooLarge => {
            format!("the pattern {} is too large: compiled it takes more than 2 MiB", start())
        }
        Bad::Groups => format!(
            "the pattern {} is too large: it has too many groups for its size; write (?:...) for those that are not needed",
            start()
        ),
        // The crate's text repeats the pattern with a mark under the place and the reason below.
        Bad::Syntax(message) => message,
    }
}

/// The error of a search that did not come to its end.
fn stopped(name: &'static str) -> impl Fn(Stopped) -> Error {
    move |stopped| {
        if let Stopped::Memory(error) = stopped {
            return error;
        }
        let why = "the search takes too many steps: the pattern goes through the text again and again, or is too wide \
                   for one of this size; make the pattern simpler, or search the text in parts";
        Error::failed(ErrorCode::Limit, format!("regex.{name}: {why}"))
    }
}

/// The pattern and the text of a call.
fn arguments<'a>(call: Call) -> Result<(Rc<Regex>, &'a [u8]), Error> {
    let text = call.text(2)?;
    Ok((compile(call, 1)?, text))
}

/// Whether the pattern matches somewhere in `text`.
///
/// # Errors
/// `limit`, where the search takes too many steps.
pub fn matches(lua: Lua, regex: &Regex, text: &[u8]) -> Result<bool, Error> {
    Search::new(lua, regex, text)?.is_match().map_err(stopped("match"))
}

fn is_match(call: Call) -> Returned {
    let (regex, text) = arguments(call)?;
    let matches = matches(call.lua(), &regex, text)?;
    drop(regex);
    call.lua().push_bool(matches);
    Ok(1)
}

fn find(call: Call) -> Returned {
    let (regex, text) = arguments(call)?;
    let found = Matches::new(call.lua(), &regex, text)?.next().map_err(stopped("find"))?;
    drop(regex);
    match found {
        Some(found) => call.lua().push_bytes(&text[found.range()]),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

/// The matches in a text that do not overlap.
struct Matches<'a> {
    search: Search<'a>,
    text: &'a [u8],
    from: usize,
    /// Where the last match ended: an empty one there is not another.
    last: Option<usize>,
}

impl<'a> Matches<'a> {
    fn new(lua: Lua, regex: &'a Regex, text: &'a [u8]) -> Result<Matches<'a>, Error> {
        Ok(Matches { search: Search::new(lua, regex, text)?, text, from: 0, last: None })
    }

    fn next(&mut self) -> Result<Option<Span>, Stopped> {
        while self.from <= self.text.len() {
            let Some(found) = self.search.find(self.from)? else {
                self.from = self.text.len() + 1;
                return Ok(None);
            };
            if found.is_empty() && (self.last == Some(found.end) || splits(self.text, found.end)) {
                self.from = found.end + 1;
                continue;
            }
            self.from = found.end;
            self.last = Some(found.end);
            return Ok(Some(found));
        }
        Ok(None)
    }
}

/// Whether the position is within a character.
fn splits(text: &[u8], at: usize) -> bool {
    if text.get(at).is_none_or(|byte| byte & 0xC0 != 0x80) {
        return false;
    }
    let Some(lead) = (at.saturating_sub(3)..at).rev().find(|lead| text[*lead] & 0xC0 != 0x80) else {
        return false;
    };
    let len = match text[lead] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => return false,
    };
    at < lead + len && text.get(lead..lead + len).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
}

/// All matches, or the first `limit` (0: all).
fn all(lua: Lua, regex: &Regex, text: &[u8], limit: usize) -> Result<Vec<Span>, Stopped> {
    let mut matches = Matches::new(lua, regex, text)?;
    let mut found = Vec::new();
    while (limit == 0 || found.len() < limit)
        && let Some(next) = matches.next()?
    {
        if found.len() == found.capacity() {
            let more = found.len().max(16);
            // The list is as it was where there is no memory for it.
            region(lua, AssertUnwindSafe(|| found.reserve_exact(more)))?;
        }
        found.push(next);
    }
    Ok(found)
}

fn find_all(call: Call) -> Returned {
    let (regex, text) = arguments(call)?;
    let lua = call.lua();
    let found = all(lua, &regex, text, 0).map_err(stopped("find_all"))?;
    drop(regex);
    region(lua, || value::push_list(lua, found.iter(), |found| lua.push_bytes(&text[found.range()])))?;
    Ok(1)
}

/// The limit of argument `index`: how many at most, 0 for no limit.
fn limit(call: Call, index: c_int) -> Result<usize, Error> {
    match call.opt_integer(index)? {
        None => Ok(0),
        Some(limit @ 1..) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        Some(_) => Err(Error::Argument(index, "a positive number expected".into())),
    }
}

fn replace(call: Call) -> Returned {
    let (replacement, limit) = (call.text(3)?, limit(call, 4)?);
    let (regex, text) = arguments(call)?;
    let lua = call.lua();
    let replacement = region(lua, AssertUnwindSafe(|| Replacement::new(&regex, replacement)))?;
    let replaced = replaced(lua, &regex, text, &replacement, limit).map_err(stopped("replace"))?;
    drop((regex, replacement));
    replaced.give(lua)
}

fn replaced(
    lua: Lua,
    regex: &Regex,
    text: &[u8],
    replacement: &Replacement<'_>,
    limit: usize,
) -> Result<Buffer, Stopped> {
    let mut matches = Matches::new(lua, regex, text)?;
    let (mut out, mut copied, mut count) = (Buffer::new(), 0, 0);
    while (limit == 0 || count < limit)
        && let Some(found) = matches.next()?
    {
        let groups =
            if replacement.needs_groups() { matches.search.groups(found)? } else { vec![Some(found)] };
        out.extend(&text[copied..found.start])?;
        replacement.write(text, &groups, &mut out)?;
        copied = found.end;
        count += 1;
    }
    out.extend(&text[copied..])?;
    Ok(out)
}

fn captures(call: Call) -> Returned {
    let (regex, text) = arguments(call)?;
    let lua = call.lua();
    let mut matches = Matches::new(lua, &regex, text)?;
    let groups = matches
        .next()
        .and_then(|found| found.map(|found| matches.search.groups(found)).transpose())
        .map_err(stopped("captures"))?;
    drop(matches);
    let Some(groups) = groups else {
        lua.push_nil();
        return Ok(1);
    };
    region(lua, AssertUnwindSafe(|| push_captures(lua, &regex, text, &groups)))?;
    Ok(1)
}

fn push_captures(lua: Lua, regex: &Regex, text: &[u8], groups: &[Option<Span>]) {
    lua.new_table(groups.len(), 1);
    for (n, (group, name)) in groups.iter().zip(regex.names()).enumerate() {
        work::spend(work::CALL);
        let Some(group) = group else { continue };
        lua.push_bytes(&text[group.range()]);
        lua.push_copy(-1);
        lua.raw_set_index(-3, n as i64);
        match name {
            Some(name) => lua.raw_set(-2, name),
            None => lua.pop(1),
        }
    }
}

fn split(call: Call) -> Returned {
    let limit = limit(call, 3)?;
    let (regex, text) = arguments(call)?;
    let lua = call.lua();
    let cuts = match limit {
        1 => Ok(Vec::new()),
        0 => all(lua, &regex, text, 0),
        limit => all(lua, &regex, text, limit - 1),
    };
    let cuts = cuts.map_err(stopped("split"))?;
    drop(regex);
    let part = |n: usize| {
        let start = if n == 0 { 0 } else { cuts[n - 1].end };
        let end = cuts.get(n).map_or(text.len(), |cut| cut.start);
        &text[start..end]
    };
    region(lua, || value::push_list(lua, 0..cuts.len() + 1, |n| lua.push_bytes(part(n))))?;
    Ok(1)
}

fn escape(call: Call) -> Returned {
    let mut rest = call.str(1)?;
    let mut escaped = String::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(work::PIECE));
        work::spend(8 * piece.len());
        regex_syntax::escape_into(piece, &mut escaped);
        rest = after;
    }
    call.lua().push_str(&escaped);
    Ok(1)
}
