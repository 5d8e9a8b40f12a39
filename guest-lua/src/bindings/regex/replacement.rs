//! What a match is replaced with: text in which `$name` stands for a group.

use super::engine::Regex;
use crate::bindings::fs::buffer::Buffer;
use crate::call::Error;
use crate::work::spend;
use regex_automata::Span;

pub struct Replacement<'a> {
    parts: Vec<Part<'a>>,
}

enum Part<'a> {
    Text(&'a [u8]),
    Group(usize),
}

impl<'a> Replacement<'a> {
    pub fn new(regex: &Regex, mut text: &'a [u8]) -> Replacement<'a> {
        let mut parts = Vec::new();
        while let Some(dollar) = memchr::memchr(b'$', text) {
            spend(32 + dollar);
            parts.push(Part::Text(&text[..dollar]));
            text = &text[dollar..];
            if text.get(1) == Some(&b'$') {
                parts.push(Part::Text(b"$"));
                text = &text[2..];
            } else if let Some((name, len)) = name(text) {
                let group = name.parse().ok().or_else(|| regex.group(name));
                parts.extend(group.map(Part::Group));
                text = &text[len..];
            } else {
                parts.push(Part::Text(b"$"));
                text = &text[1..];
            }
        }
        parts.push(Part::Text(text));
        Replacement { parts }
    }

    pub fn needs_groups(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Group(1..)))
    }

    pub fn write(&self, text: &[u8], groups: &[Option<Span>], out: &mut Buffer) -> Result<(), Error> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend(text)?,
                Part::Group(n) => {
                    if let Some(Some(group)) = groups.get(*n) {
                        out.extend(&text[group.range()])?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The name after the `$` at the start of `text`, and the length of both.
fn name(text: &[u8]) -> Option<(&str, usize)> {
    if text.get(1) == Some(&b'{') {
        let len = memchr::memchr(b'}', text)?;
        return Some((std::str::from_utf8(&text[2..len]).ok()?, len + 1));
    }
    let len = text[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    match len {
        0 => None,
        len => Some((std::str::from_utf8(&text[1..=len]).ok()?, len + 1)),
    }
}
