//! What the fuzz target `paths` runs: glob patterns against a matcher that tries every way, and paths against a stack.

use crate::pattern::{self, Part};
use assay_capability_api::scope::normalize;
use assay_capability_api::types::ErrorCode;
use std::path::Path;

/// Checks one input: the first line is a pattern, the second a name, the third a path.
///
/// # Panics
/// When something does not hold.
pub fn one(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (pattern, name, path) = (next(), next(), next());
    normalized(path);
    let parsed = match pattern::parse(pattern) {
        Ok(parsed) => parsed,
        Err(failure) => {
            assert_eq!(failure.code, ErrorCode::InvalidArgument, "{}", failure.message);
            return;
        }
    };
    assert!((1..=1024).contains(&parsed.len()), "{pattern:?} is {} patterns", parsed.len());
    for one in &parsed {
        for part in &one.parts {
            assert!(!matches!(part, Part::Name(name) if name.is_empty()), "{pattern:?} has an empty part");
        }
    }
    // The reference below is quadratic, has no braces and no classes, and is about one name.
    if ["[:", "[.", "[="].iter().any(|class| pattern.contains(class)) {
        return;
    }
    if pattern.contains(['{', '}', '/']) || pattern.len() > 200 || name.len() > 200 || pattern == "**" {
        return;
    }
    let fits = match parsed[0].parts.as_slice() {
        [Part::Name(own)] => own == name,
        [Part::Match(tokens)] => pattern::matches(tokens, name),
        other => panic!("{pattern:?} is {other:?}"),
    };
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    assert_eq!(fits, expected(&pattern, &name), "{pattern:?} on {name:?}");
}

/// What a pattern means (POSIX 2.13.1), a row for each of its tokens: which starts of the name it can have come to.
fn expected(pattern: &[char], name: &[char]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let [first, tail @ ..] = rest {
        let mut step = |accepts: &dyn Fn(char) -> bool| {
            for at in (0..name.len()).rev() {
                reached[at + 1] = reached[at] && accepts(name[at]);
            }
            reached[0] = false;
        };
        rest = match first {
            '*' => {
                let from = reached.iter().position(|there| *there).unwrap_or(reached.len());
                reached[from..].fill(true);
                tail
            }
            '?' => {
                step(&|_| true);
                tail
            }
            '[' => match set(tail) {
                Some((ranges, negated, after)) => {
                    step(&|c| ranges.iter().any(|(from, to)| *from <= c && c <= *to) != negated);
                    after
                }
                None => {
                    step(&|c| c == '[');
                    tail
                }
            },
            '\\' => {
                step(&|c| c == tail[0]);
                &tail[1..]
            }
            plain => {
                step(&|c| c == *plain);
                tail
            }
        };
    }
    reached[name.len()]
}

/// The ranges of a set, whether it is negated, and what follows it.
type Set<'a> = (Vec<(char, char)>, bool, &'a [char]);

/// Reads a set whose bracket is open; none where it is not closed.
fn set(text: &[char]) -> Option<Set<'_>> {
    let negated = matches!(text.first(), Some('!' | '^'));
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    while *text.get(at)? != ']' || ranges.is_empty() {
        at += usize::from(text[at] == '\\');
        let from = *text.get(at)?;
        at += 1;
        match text.get(at..at + 2) {
            Some(['-', to]) if *to != ']' => {
                at += 1 + usize::from(*to == '\\');
                ranges.push((from, *text.get(at)?));
                at += 1;
            }
            _ => ranges.push((from, from)),
        }
    }
    Some((ranges, negated, &text[at + 1..]))
}

/// An absolute path without dots that is the same when it is made again.
fn normalized(text: &str) {
    let base = Path::new("/data/here");
    let path = normalize(&base.join(text));
    let mut stack: Vec<&str> = if text.starts_with('/') { Vec::new() } else { vec!["data", "here"] };
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(stack.pop()),
            name => stack.push(name),
        }
    }
    assert_eq!(path, Path::new(&format!("/{}", stack.join("/"))), "{text:?}");
    assert_eq!(normalize(&path), path, "{text:?}");
}

#[cfg(test)]
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn patterns_and_paths() {
    seeds::run("paths", 20_000, one);
}
