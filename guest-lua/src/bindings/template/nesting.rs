//! How deep the parts of a template lie in each other, found before it is parsed, and a bound on how deep
//! the values lie that it makes.
//!
//! The parser bounds the nesting of brackets and blocks, but not chains such as `1+1+1`, `a.b.c`, `a|f|f` or one `elif`
//! after another: each link is a level of the syntax tree, and walking through that tree takes wasm stack.

use crate::work::spend;
use std::borrow::Cow;

/// How many links all chains that a place lies in may have.
pub const MAX: usize = 1000;

const OPERATORS: &[u8] = b"+-*/%~|.<>=!([{:";
const WORDS: &[&[u8]] = &[b"not", b"and", b"or", b"is", b"in", b"if", b"else"];

/// A template as the engine gets it.
pub struct Text<'a> {
    pub source: Cow<'a, str>,
    /// Bytes of it that are in tags.
    pub tags: usize,
}

/// The template with the filter `nested` around what is assigned to a namespace, which is where a value may hold
/// one of the step before.
///
/// # Errors
/// The line of the first place in `source` that is nested too deep.
pub fn bounded<'a>(source: &'a str, nested: &str) -> Result<Text<'a>, usize> {
    let text = source.as_bytes();
    let (mut at, mut ifs) = (0, Vec::new());
    let (mut out, mut copied, mut tags) = (String::new(), 0, 0);
    while let Some(open) = memchr::memchr(b'{', &text[at..]) {
        spend(open + 8);
        at += open;
        let end = match text.get(at + 1) {
            Some(b'{') => b'}',
            Some(b'%') => b'%',
            Some(b'#') => {
                at = after(text, at, b"#}");
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let tag = Tag::read(&text[at + 2..], end);
        match tag.word {
            b"if" => ifs.push(0),
            b"elif" => {
                if let Some(links) = ifs.last_mut() {
                    *links += 1;
                }
            }
            b"endif" => drop(ifs.pop()),
            _ => {}
        }
        if tag.links > MAX || ifs.iter().sum::<usize>() > MAX {
            return Err(1 + memchr::memchr_iter(b'\n', &text[..at]).count());
        }
        let start = at + 2;
        at = start + tag.len;
        tags += tag.len + 4;
        if tag.word == b"raw" {
            at = after_raw(text, at);
        } else if let (b"set", Some(value)) = (tag.word, tag.value) {
            let value = start + value;
            // A sign before the end of the tag takes blanks away.
            let end = if at > value && matches!(text[at - 1], b'-' | b'+') { at - 1 } else { at };
            out.push_str(&source[copied..value]);
            out.push('(');
            out.push_str(&source[value..end]);
            out.push_str(")|");
            out.push_str(nested);
            out.push(' ');
            copied = end;
        }
    }
    if copied == 0 {
        return Ok(Text { source: Cow::Borrowed(source), tags });
    }
    out.push_str(&source[copied..]);
    Ok(Text { source: Cow::Owned(out), tags })
}

/// The place behind the next `end`.
fn after(text: &[u8], at: usize, end: &[u8]) -> usize {
    memchr::memmem::find(&text[at..], end).map_or(text.len(), |found| at + found + end.len())
}

/// The place of the tag that ends what is left as it is.
fn after_raw(text: &[u8], mut at: usize) -> usize {
    loop {
        at = after(text, at, b"{%");
        let rest = &text[at..];
        let rest = rest.strip_prefix(b"-").or(rest.strip_prefix(b"+")).unwrap_or(rest);
        if rest.is_empty() || rest.trim_ascii_start().starts_with(b"endraw") {
            return at;
        }
    }
}

struct Tag<'a> {
    len: usize,
    /// Its first word.
    word: &'a [u8],
    /// The most links of chains that a place in it lies in.
    links: usize,
    /// What comes after an `=` behind a name with a dot.
    value: Option<usize>,
}

impl Tag<'_> {
    /// Reads what is between the marks; `end` is the first byte of the closing one.
    fn read(text: &[u8], end: u8) -> Tag<'_> {
        let mut tag = Tag { len: text.len(), word: b"", links: 0, value: None };
        let (mut dotted, mut assigned) = (false, false);
        // The links so far in each bracket that is open, and of all of them.
        let (mut open, mut all) = (vec![0], 0);
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            let mut len = 1;
            let mut link = OPERATORS.contains(&byte);
            match byte {
                b'}' | b'%'
                    if byte == end
                        && text.get(at + 1) == Some(&b'}')
                        && (byte == b'%' || open.len() == 1) =>
                {
                    tag.len = at;
                    break;
                }
                b'.' => dotted |= !assigned,
                b'=' if !assigned && open.len() == 1 => {
                    assigned = true;
                    tag.value = dotted.then_some(at + 1);
                }
                b'"' | b'\'' => len = string(&text[at..]),
                b')' | b']' | b'}' if open.len() > 1 => all -= open.pop().unwrap_or_default(),
                b',' => all -= open.last_mut().map(std::mem::take).unwrap_or_default(),
                _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                    let is_word =
                        |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80;
                    len = text[at..].iter().take_while(is_word).count();
                    let word = &text[at..at + len];
                    link = WORDS.contains(&word);
                    if tag.word.is_empty() {
                        tag.word = word;
                    }
                }
                _ => {}
            }
            if link {
                all += 1;
                if let Some(links) = open.last_mut() {
                    *links += 1;
                }
                tag.links = tag.links.max(all);
            }
            if matches!(byte, b'(' | b'[' | b'{') {
                open.push(0);
            }
            spend(len + 4);
            at += len;
        }
        tag
    }
}

/// The length of the string literal at the start of `text`.
fn string(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if *byte == text[0] => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}
