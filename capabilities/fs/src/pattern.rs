//! Glob patterns: their syntax, and matching one name.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// Patterns that braces may stand for.
const MAX_ALTERNATIVES: usize = 1024;
/// Bytes of a pattern, and braces that it opens: those are expanded by recursion.
const MAX_PATTERN: usize = 16 << 10;
const MAX_BRACES: usize = 100;

/// One component of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A name as it is, `.` and `..` too.
    Name(String),
    /// A name with wildcards.
    Match(Vec<Token>),
    /// `**`: any number of folders, none too.
    Folders,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[!a-z]`
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub absolute: bool,
    pub parts: Vec<Part>,
    /// It ends in a slash.
    pub only_folders: bool,
}

fn invalid(pattern: &str, why: &str) -> Error {
    error(ErrorCode::InvalidArgument, format!("{pattern}: {why}"))
}

/// The folder that all of a pattern's matches lie in, as far as it has no wildcards.
pub fn folder(pattern: &str) -> &str {
    let plain = &pattern[..pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len())];
    match plain.rfind('/') {
        None => ".",
        Some(0) => "/",
        Some(at) => &plain[..at],
    }
}

/// Reads a pattern; braces make several of it.
///
/// # Errors
/// `invalid-argument`.
pub fn parse(pattern: &str) -> Result<Vec<Pattern>, Error> {
    if pattern.is_empty() {
        return Err(invalid(pattern, "the pattern is empty"));
    }
    if pattern.len() > MAX_PATTERN {
        let start: String = pattern.chars().take(40).collect();
        let why =
            format!("the pattern has {} bytes, more than the {MAX_PATTERN} that there may be", pattern.len());
        return Err(invalid(&format!("{start}..."), &why));
    }
    if pattern.bytes().filter(|byte| *byte == b'{').count() > MAX_BRACES {
        return Err(invalid(pattern, &format!("the pattern has more than {MAX_BRACES} braces")));
    }
    let mut expanded = Vec::new();
    expand(pattern, pattern, &mut expanded)?;
    expanded.iter().map(|text| parse_one(text)).collect()
}

/// `a{b,c}d` to `abd` and `acd`.
fn expand(whole: &str, text: &str, out: &mut Vec<String>) -> Result<(), Error> {
    let mut open = None;
    let mut commas = Vec::new();
    let mut depth = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '{' => {
                if depth == 0 {
                    open = Some(at);
                }
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth == 1 => {
                let Some(open) = open else { break };
                let mut start = open + 1;
                for end in commas.iter().copied().chain([at]) {
                    expand(
                        whole,
                        &format!("{}{}{}", &text[..open], &text[start..end], &text[at + 1..]),
                        out,
                    )?;
                    start = end + 1;
                }
                return Ok(());
            }
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    if depth > 0 {
        return Err(invalid(whole, "a '{' is not closed; write \\{ for the character"));
    }
    if out.len() >= MAX_ALTERNATIVES {
        return Err(invalid(whole, "its braces stand for more than 1024 patterns"));
    }
    out.push(text.to_owned());
    Ok(())
}

fn parse_one(text: &str) -> Result<Pattern, Error> {
    let mut parts = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        let part = parse_part(text, part)?;
        // `**/**` is `**`, but visits every folder many times.
        if !(part == Part::Folders && parts.last() == Some(&Part::Folders)) {
            parts.push(part);
        }
    }
    Ok(Pattern { absolute: text.starts_with('/'), parts, only_folders: text.ends_with('/') })
}

fn parse_part(whole: &str, part: &str) -> Result<Part, Error> {
    if part == "**" {
        return Ok(Part::Folders);
    }
    let mut tokens = Vec::new();
    let mut chars = part.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '?' => Token::One,
            '*' => {
                if tokens.last() == Some(&Token::Many) {
                    continue;
                }
                Token::Many
            }
            '\\' => Token::Char(chars.next().ok_or_else(|| invalid(whole, "it ends in a backslash"))?),
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let open = || invalid(whole, "a '[' is not closed; write \\[ for the character");
                    let from = match chars.next().ok_or_else(open)? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => chars.next().ok_or_else(open)?,
                        c => c,
                    };
                    let mut ahead = chars.clone();
                    let to = match (ahead.next(), ahead.next()) {
                        (Some('-'), Some(to)) if to != ']' => {
                            chars = ahead;
                            to
                        }
                        _ => from,
                    };
                    ranges.push((from, to));
                }
                Token::Set { negated, ranges }
            }
            c => Token::Char(c),
        });
    }
    let plain: Option<String> =
        tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
    Ok(plain.map_or(Part::Match(tokens), Part::Name))
}

/// Whether the whole of `name` matches. Takes at most the product of both lengths in steps.
pub fn matches(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    // Where to go on when a `*` takes one more character.
    let mut retry = None;
    loop {
        if tokens.get(token) == Some(&Token::Many) {
            token += 1;
            retry = Some((token, at));
            continue;
        }
        let fits = match (tokens.get(token), name.get(at)) {
            (None, None) => return true,
            (Some(token), Some(c)) => match token {
                Token::Char(expected) => expected == c,
                Token::Set { negated, ranges } => {
                    ranges.iter().any(|(from, to)| (from..=to).contains(&c)) != *negated
                }
                Token::One | Token::Many => true,
            },
            _ => false,
        };
        if fits {
            token += 1;
            at += 1;
            continue;
        }
        match retry {
            Some((after, start)) if start < name.len() => {
                retry = Some((after, start + 1));
                token = after;
                at = start + 1;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        match &parse(pattern).unwrap()[0].parts[0] {
            Part::Name(text) => text == name,
            Part::Match(tokens) => matches(tokens, name),
            Part::Folders => true,
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("*.lua", "a.lua", true),
            ("*.lua", ".lua", true),
            ("*.lua", "a.luac", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "ü", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[a-]x", "-x", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!fits(&"a*".repeat(50), &"a".repeat(49)));
        assert!(!fits(&format!("{}b", "a*".repeat(50)), &"a".repeat(4000)));
    }

    #[test]
    fn braces() {
        let mut out = Vec::new();
        expand("", "x{a,b{c,d},}y", &mut out).unwrap();
        assert_eq!(out, ["xay", "xbcy", "xbdy", "xy"]);
        assert!(parse("{a").is_err());
        assert!(parse("[a").is_err());
        assert!(parse("").is_err());
        assert!(parse(&"{a,b}".repeat(11)).is_err());
        assert!(parse(&"{a,b}".repeat(10)).is_ok());
        assert!(parse(&"{a}".repeat(100)).is_ok());
    }

    #[test]
    fn braces_by_the_thousand_do_not_exhaust_the_stack() {
        for pattern in ["{a}".repeat(3000), "{".repeat(5000) + &"}".repeat(5000), "{a}".repeat(200_000)] {
            let failure = parse(&pattern).unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidArgument);
            assert!(failure.message.len() < 2 * MAX_PATTERN, "{}", failure.message.len());
        }
    }

    #[test]
    fn parts() {
        let pattern = &parse("/a/**/**/*.x/").unwrap()[0];
        assert!(pattern.absolute && pattern.only_folders);
        assert_eq!(pattern.parts.len(), 3);
    }
}
