//! How deep the parts of a template lie in each other, found before it is parsed.
//!
//! The parser bounds the nesting of brackets and blocks, but not chains such as `1+1+1`, `a.b.c`, `a|f|f` or one `elif`
//! after another: each link is a level of the syntax tree, and walking through that tree takes wasm stack.

use crate::work::spend;

/// How many links all chains that a place lies in may have.
pub const MAX: usize = 1000;

const OPERATORS: &[u8] = b"+-*/%~|.<>=!([{:";
const WORDS: &[&[u8]] = &[b"not", b"and", b"or", b"is", b"in", b"if", b"else"];

/// The line of the first place in `source` that is nested too deep.
pub fn too_deep(source: &str) -> Option<usize> {
    let text = source.as_bytes();
    let (mut at, mut ifs) = (0, Vec::new());
    while let Some(open) = memchr::memchr(b'{', &text[at..]) {
        spend(open + 8);
        at += open;
        let end = match text.get(at + 1) {
            Some(b'{') => b'}',
            Some(b'%') => b'%',
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
            return Some(1 + memchr::memchr_iter(b'\n', &text[..at]).count());
        }
        at += 2 + tag.len;
    }
    None
}

struct Tag<'a> {
    len: usize,
    /// Its first word.
    word: &'a [u8],
    /// The most links of chains that a place in it lies in.
    links: usize,
}

impl Tag<'_> {
    /// Reads what is between the marks; `end` is the first byte of the closing one.
    fn read(text: &[u8], end: u8) -> Tag<'_> {
        let mut tag = Tag { len: text.len(), word: b"", links: 0 };
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
