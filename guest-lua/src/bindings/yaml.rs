//! `yaml`: YAML 1.2 with the core schema, from and to Lua values.
//!
//! The crate `granit-parser` turns the text into events; which Lua values they mean is decided here.

mod encode;
mod input;
mod scalar;

use crate::bindings::base64::from_base64;
use crate::call::{Call, Error, Returned, library};
use crate::computing;
use crate::ffi::*;
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::value::{self, MAX_DEPTH, Pin};
use crate::work::{CALL, spend};
use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use input::Counted;
use scalar::Scalar;
use std::ffi::c_int;

/// How many values the aliases of one text may stand for in all. Aliases of aliases grow
/// exponentially ("billion laughs"), and each is a copy.
const MAX_ALIASED: usize = 100_000;

pub fn register(lua: Lua) {
    library(
        lua,
        "yaml",
        &[
            ("parse", computing!(parse, 2)),
            ("parse_all", computing!(parse_all, 2)),
            ("encode", computing!(encode::encode, 1)),
            ("encode_all", computing!(encode::encode_all, 1)),
        ],
    );
}

fn parse(call: Call) -> Returned {
    let (lua, text, null) = arguments(call)?;
    let mut composer = Composer::new(lua, text, null);
    match composer.document().and_then(|found| composer.after().map(|()| found)) {
        Ok(true) => Ok(1),
        Ok(false) => {
            lua.push_nil();
            Ok(1)
        }
        Err(bad) => Err(bad.into_error("yaml.parse")),
    }
}

fn parse_all(call: Call) -> Returned {
    let (lua, text, null) = arguments(call)?;
    let mut composer = Composer::new(lua, text, null);
    lua.new_table(0, 0);
    let list = lua.top();
    let mut count = 0;
    loop {
        match composer.document() {
            Ok(false) => break,
            // A list has no place for nil: an empty document is left out.
            Ok(true) if lua.is_nil(-1) => lua.pop(1),
            Ok(true) => {
                count += 1;
                lua.raw_set_index(list, count);
            }
            Err(bad) => return Err(bad.into_error("yaml.parse_all")),
        }
    }
    if count == 0 {
        value::pin(lua, list, Pin::Array);
    }
    Ok(1)
}

/// The text, and the stack index of what null becomes (0: nil).
fn arguments<'a>(call: Call) -> Result<(Lua, &'a str, c_int), Error> {
    let lua = call.lua();
    let bytes = call.bytes(1)?;
    let text = value::utf8(bytes).map_err(|at| {
        let (line, column) = value::position(bytes, at);
        let message = format!("yaml: a byte that is not valid UTF-8 at line {line} column {column}");
        Error::failed(ErrorCode::InvalidData, message)
    })?;
    let null = match call.opt_options(2, &["null"])? {
        Some(options) if options.push("null") != Type::Nil => lua.top(),
        _ => 0,
    };
    Ok((lua, text, null))
}

/// What is wrong with a YAML text, and where.
struct Bad {
    why: String,
    line: usize,
    column: usize,
}

impl Bad {
    fn new(why: impl Into<String>, at: &Marker) -> Bad {
        Bad { why: why.into(), line: at.line(), column: at.col() + 1 }
    }

    fn into_error(self, name: &str) -> Error {
        let message = format!("{name}: {} at line {} column {}", self.why, self.line, self.column);
        Error::failed(ErrorCode::InvalidData, message)
    }
}

impl From<ScanError> for Bad {
    fn from(error: ScanError) -> Bad {
        // Said in words where the parser's own say little.
        let why = match error.kind() {
            ErrorKind::ExpectedDocumentStart => {
                "more text after the value (another document begins with a line '---')"
            }
            _ => &error.info(),
        };
        Bad::new(why, error.marker())
    }
}

struct Composer<'a> {
    lua: Lua,
    parser: Parser<'a, Counted<'a>>,
    /// Stack index of the table from anchor numbers to their values.
    anchors: c_int,
    /// Stack index of the table from mappings to the set of their keys that are null, which `<<` does not fill; 0 where
    /// there is no `<<`, or where null is a value as any other.
    nulls: c_int,
    null: c_int,
    depth: usize,
    aliased: usize,
}

impl<'a> Composer<'a> {
    /// Leaves what it needs on the stack.
    fn new(lua: Lua, text: &'a str, null: c_int) -> Composer<'a> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let parser = Parser::with_options(Counted::new(text), options);
        lua.new_table(0, 0);
        let anchors = lua.top();
        let merges = null == 0 && memchr::memmem::find(text.as_bytes(), b"<<").is_some();
        spend(text.len() / 8);
        let nulls = if merges {
            lua.new_table(0, 0);
            lua.top()
        } else {
            0
        };
        Composer { lua, parser, anchors, nulls, null, depth: 0, aliased: 0 }
    }

    fn next(&mut self) -> Result<(Event<'a>, Marker), Bad> {
        spend(CALL);
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start)),
            Some(Err(error)) => Err(error.into()),
            None => Ok((Event::StreamEnd, Marker::new(0, 1, 0))),
        }
    }

    /// Pushes the next document's value; false at the end of the text.
    fn document(&mut self) -> Result<bool, Bad> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(false),
                (Event::DocumentStart(..), _) => break,
                _ => {}
            }
        }
        let (event, at) = self.next()?;
        self.node(event, at)?;
        Ok(true)
    }

    /// Makes sure that what follows a document is another one, or nothing.
    fn after(&mut self) -> Result<(), Bad> {
        loop {
            if let (Event::StreamEnd | Event::DocumentStart(..), _) = self.next()? {
                return Ok(());
            }
        }
    }

    /// Pushes the value that starts with `event`.
    fn node(&mut self, event: Event<'a>, at: Marker) -> Result<(), Bad> {
        let anchor = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, tag.as_deref(), &at)?;
                anchor
            }
            Event::SequenceStart(_, anchor, _) => {
                self.enter(&at)?;
                self.sequence()?;
                self.depth -= 1;
                anchor
            }
            Event::MappingStart(_, anchor, _) => {
                self.enter(&at)?;
                self.mapping()?;
                self.depth -= 1;
                anchor
            }
            Event::Alias(anchor) => return self.alias(anchor, &at),
            // An empty document.
            Event::DocumentEnd => {
                self.push_null();
                return Ok(());
            }
            _ => return Err(Bad::new("a value was expected", &at)),
        };
        if anchor > 0 {
            // In a table of its own, as the value may be nil.
            self.lua.new_table(1, 0);
            self.lua.push_copy(-2);
            self.lua.raw_set_index(-2, 1);
            self.lua.raw_set_index(self.anchors, anchor as i64);
        }
        Ok(())
    }

    fn enter(&mut self, at: &Marker) -> Result<(), Bad> {
        if self.depth == MAX_DEPTH {
            return Err(Bad::new(format!("more than {MAX_DEPTH} nested values"), at));
        }
        if !self.lua.reserve(16) {
            return Err(Bad::new("Lua's stack is full", at));
        }
        self.depth += 1;
        Ok(())
    }

    fn push_null(&mut self) {
        match self.null {
            0 => self.lua.push_nil(),
            null => self.lua.push_copy(null),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: &Marker) -> Result<(), Bad> {
        let lua = self.lua;
        let tag = tag.map(Tag::parts);
        let resolved = match tag {
            Some(("tag:yaml.org,2002:", "binary")) => {
                let bytes =
                    from_base64(text.as_bytes()).map_err(|why| Bad::new(format!("!!binary: {why}"), at))?;
                lua.push_bytes(&bytes);
                return Ok(());
            }
            Some(("tag:yaml.org,2002:", "str") | ("!", "") | ("", "!")) => Scalar::Text,
            Some(("tag:yaml.org,2002:", kind @ ("int" | "float" | "bool" | "null"))) => {
                match (kind, scalar::resolve(text)) {
                    ("int", found @ (Scalar::Integer(_) | Scalar::Number(_)))
                    | ("float", found @ Scalar::Float(_))
                    | ("bool", found @ Scalar::Boolean(_))
                    | ("null", found @ Scalar::Null) => found,
                    ("float", Scalar::Integer(n)) => Scalar::Float(n as f64),
                    _ => return Err(Bad::new(format!("{text:?} is not a !!{kind}"), at)),
                }
            }
            // A tag that says nothing to Lua is passed over.
            _ if style == ScalarStyle::Plain => scalar::resolve(text),
            _ => Scalar::Text,
        };
        match resolved {
            Scalar::Null => self.push_null(),
            Scalar::Boolean(value) => lua.push_bool(value),
            Scalar::Integer(value) => lua.push_integer(value),
            Scalar::Float(value) => lua.push_number(value),
            Scalar::Number(digits) => value::push_number(lua, &digits),
            Scalar::Text => lua.push_str(text),
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<(), Bad> {
        let lua = self.lua;
        lua.new_table(0, 0);
        let table = lua.top();
        let (mut count, mut holes) = (0, false);
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                break;
            }
            self.node(event, at)?;
            count += 1;
            holes |= lua.is_nil(-1);
            lua.raw_set_index(table, count);
        }
        if holes || count == 0 {
            value::pin(lua, table, Pin::Array);
        }
        Ok(())
    }

    fn mapping(&mut self) -> Result<(), Bad> {
        let lua = self.lua;
        lua.new_table(0, 0);
        let table = lua.top();
        let mut numbered = false;
        loop {
            let (event, at) = self.next()?;
            match &event {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text.as_ref() == "<<" => {
                    let (event, at) = self.next()?;
                    self.node(event, at)?;
                    numbered |= self.merge(table, &at)?;
                    continue;
                }
                _ => {}
            }
            self.node(event, at)?;
            match lua.type_of(-1) {
                Type::Nil => return Err(Bad::new("a null as key, which a Lua table cannot have", &at)),
                Type::Float if lua.number(-1).is_some_and(f64::is_nan) => {
                    return Err(Bad::new("a .nan as key, which a Lua table cannot have", &at));
                }
                // 1.0 is the key 1 to Lua.
                Type::Integer | Type::Float => numbered = true,
                _ => {}
            }
            let (event, at) = self.next()?;
            self.node(event, at)?;
            if self.nulls != 0 && lua.is_nil(-1) {
                lua.push_copy(-2);
                self.note_null(table);
            }
            unsafe { lua_rawset(lua.0, table) };
        }
        if numbered {
            // Keys 1, 2, 3 would look like an array.
            value::pin(lua, table, Pin::Object);
        }
        Ok(())
    }

    /// Pops a key of the mapping at `table` whose value is null.
    fn note_null(&self, table: c_int) {
        let lua = self.lua;
        lua.push_copy(table);
        unsafe { lua_rawget(lua.0, self.nulls) };
        if lua.is_nil(-1) {
            lua.pop(1);
            lua.new_table(0, 1);
            lua.push_copy(table);
            lua.push_copy(-2);
            unsafe { lua_rawset(lua.0, self.nulls) };
        }
        // key, set -> set, key, true
        lua.insert(-2);
        lua.push_bool(true);
        unsafe { lua_rawset(lua.0, lua.top() - 2) };
        lua.pop(1);
    }

    /// The merge key `<<`: adds what the mapping on top of the stack (or the list of mappings) has and
    /// the one at `table` does not; pops it. True where keys that are numbers may be among that.
    fn merge(&mut self, table: c_int, at: &Marker) -> Result<bool, Bad> {
        let lua = self.lua;
        let source = lua.top();
        let wrong = || Bad::new("<< merges a mapping or a list of mappings", at);
        if lua.type_of(source) != Type::Table {
            return Err(wrong());
        }
        let mut numbered = false;
        if value::looks_like_list(lua, source) {
            for n in 1..=lua.raw_len(source) as i64 {
                if lua.raw_get_index(source, n) != Type::Table || value::looks_like_list(lua, lua.top()) {
                    return Err(wrong());
                }
                numbered |= self.add_missing(table, lua.top());
                lua.pop(1);
            }
        } else {
            numbered = self.add_missing(table, source);
        }
        lua.set_top(source - 1);
        Ok(numbered)
    }

    /// Copies the fields of the mapping at `source` that the one at `table` does not have. True where the keys may be
    /// numbers.
    fn add_missing(&self, table: c_int, source: c_int) -> bool {
        let lua = self.lua;
        lua.push_nil();
        while unsafe { lua_next(lua.0, source) } != 0 {
            spend(CALL);
            // key, value -> key, and both once more where they are to be set.
            lua.push_copy(-2);
            if self.has(table) {
                lua.pop(1);
            } else {
                lua.push_copy(-2);
                lua.insert(-2);
                unsafe { lua_rawset(lua.0, table) };
            }
        }
        if self.nulls != 0 {
            lua.push_copy(source);
            unsafe { lua_rawget(lua.0, self.nulls) };
            let set = lua.top();
            if !lua.is_nil(set) {
                lua.push_nil();
                while unsafe { lua_next(lua.0, set) } != 0 {
                    spend(CALL);
                    lua.pop(1);
                    lua.push_copy(-1);
                    if !self.has(table) {
                        lua.push_copy(-1);
                        self.note_null(table);
                    }
                }
            }
            lua.set_top(set - 1);
        }
        value::pinned(lua, source) == Some(Pin::Object)
    }

    /// Whether the mapping at `table` has the key on top of the stack, which is popped; a null counts too.
    fn has(&self, table: c_int) -> bool {
        let lua = self.lua;
        let key = lua.top();
        lua.push_copy(key);
        unsafe { lua_rawget(lua.0, table) };
        let mut found = !lua.is_nil(-1);
        if !found && self.nulls != 0 {
            lua.push_copy(table);
            unsafe { lua_rawget(lua.0, self.nulls) };
            if lua.type_of(-1) == Type::Table {
                lua.push_copy(key);
                unsafe { lua_rawget(lua.0, lua.top() - 1) };
                found = !lua.is_nil(-1);
            }
        }
        lua.set_top(key - 1);
        found
    }

    /// Pushes a copy of an anchor's value.
    fn alias(&mut self, anchor: usize, at: &Marker) -> Result<(), Bad> {
        let lua = self.lua;
        if lua.raw_get_index(self.anchors, anchor as i64) != Type::Table {
            return Err(Bad::new("an alias within the value that it stands for", at));
        }
        lua.raw_get_index(-1, 1);
        lua.remove(-2);
        if lua.type_of(-1) == Type::Table {
            self.copy(at)?;
            lua.remove(-2);
        }
        self.count_alias(at)
    }

    fn count_alias(&mut self, at: &Marker) -> Result<(), Bad> {
        self.aliased += 1;
        spend(CALL);
        if self.aliased > MAX_ALIASED {
            return Err(Bad::new(format!("the aliases stand for more than {MAX_ALIASED} values"), at));
        }
        Ok(())
    }

    /// Pushes a deep copy of the table on top of the stack.
    fn copy(&mut self, at: &Marker) -> Result<(), Bad> {
        self.enter(at)?;
        let lua = self.lua;
        let source = lua.top();
        lua.new_table(lua.raw_len(source) as usize, 0);
        let target = source + 1;
        lua.push_nil();
        while unsafe { lua_next(lua.0, source) } != 0 {
            self.count_alias(at)?;
            // key, value -> key, key, copy
            lua.push_copy(-2);
            lua.insert(-2);
            if lua.type_of(-1) == Type::Table {
                self.copy(at)?;
                lua.remove(-2);
            }
            unsafe { lua_rawset(lua.0, target) };
        }
        if unsafe { lua_getmetatable(lua.0, source) } != 0 {
            lua.set_metatable(target);
        }
        if self.nulls != 0 {
            lua.push_copy(target);
            lua.push_copy(source);
            unsafe {
                lua_rawget(lua.0, self.nulls);
                lua_rawset(lua.0, self.nulls);
            }
        }
        self.depth -= 1;
        Ok(())
    }
}
