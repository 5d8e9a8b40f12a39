//! Glob patterns: their syntax, and matching one name.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// Patterns that braces may stand for.
const MAX_ALTERNATIVES: usize = 1024;
/// Bytes of all of them.
const MAX_EXPANDED: usize = 1 << 20;
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
    /// `**`: any number of directories, none too.
    Directories,
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
        members: Vec<Member>,
    },
}

/// What a set has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    Range(char, char),
    /// `[:alpha:]` and the like.
    Class(Class),
}

/// The classes of POSIX and bash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Alnum,
    Alpha,
    Ascii,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Word,
    Xdigit,
}

impl Class {
    fn parse(name: &str) -> Option<Class> {
        Some(match name {
            "alnum" => Class::Alnum,
            "alpha" => Class::Alpha,
            "ascii" => Class::Ascii,
            "blank" => Class::Blank,
            "cntrl" => Class::Cntrl,
            "digit" => Class::Digit,
            "graph" => Class::Graph,
            "lower" => Class::Lower,
            "print" => Class::Print,
            "punct" => Class::Punct,
            "space" => Class::Space,
            "upper" => Class::Upper,
            "word" => Class::Word,
            "xdigit" => Class::Xdigit,
            _ => return None,
        })
    }

    fn has(self, c: char) -> bool {
        let is_punct = |c: char| if c.is_ascii() { c.is_ascii_punctuation() } else { !c.is_alphanumeric() };
        match self {
            Class::Alnum => c.is_alphanumeric(),
            Class::Alpha => c.is_alphabetic(),
            Class::Ascii => c.is_ascii(),
            Class::Blank => c == ' ' || c == '\t',
            Class::Cntrl => c.is_control(),
            Class::Digit => c.is_ascii_digit(),
            Class::Graph => !c.is_control() && !c.is_whitespace(),
            Class::Lower => c.is_lowercase(),
            Class::Print => !c.is_control(),
            Class::Punct => !c.is_control() && !c.is_whitespace() && is_punct(c),
            Class::Space => c.is_whitespace(),
            Class::Upper => c.is_uppercase(),
            Class::Word => c == '_' || c.is_alphanumeric(),
            Class::Xdigit => c.is_ascii_hexdigit(),
        }
    }
}

impl Member {
    fn has(&self, c: char) -> bool {
        match self {
            Member::Range(from, to) => (from..=to).contains(&&c),
            Member::Class(class) => class.has(c),
        }
    }
}

/// A pattern without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub absolute: bool,
    pub parts: Vec<Part>,
    /// It ends in a slash.
    pub only_directories: bool,
}

fn invalid(pattern: &str, why: &str) -> Error {
    error(ErrorCode::InvalidArgument, format!("{pattern}: {why}"))
}

/// The directory that all of a pattern's matches lie in, as far as it has no wildcards.
pub fn directory(pattern: &str) -> &str {
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
    expand(pattern, pattern)?.iter().map(|text| parse_one(text)).collect()
}

/// The pieces of a text that stand for themselves: sets, characters after a backslash, characters.
struct Pieces<'a> {
    text: &'a str,
    at: usize,
    /// Up to here no bracket opens a set.
    plain: usize,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        Pieces { text, at: 0, plain: 0 }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let (at, rest) = (self.at, &self.text[self.at..]);
        let mut chars = rest.chars();
        let first = chars.next()?;
        let mut length = first.len_utf8();
        match first {
            '\\' => length += chars.next().map_or(0, char::len_utf8),
            '[' if at >= self.plain => match set(&rest[1..]) {
                Some((_, inside)) => length += inside,
                None => self.plain = at + rest.find('/').unwrap_or(rest.len()),
            },
            _ => {}
        }
        self.at += length;
        Some((at, &rest[..length]))
    }
}

/// `a{b,c}d` to `abd` and `acd`, `{1..3}` to 1, 2 and 3, as bash does. Braces that stand for nothing are themselves, and so
/// are those in a set.
fn expand(whole: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut expanded = vec![String::new()];
    let mut pieces = Pieces::of(text);
    while let Some((at, piece)) = pieces.next() {
        let inside = &text[at + piece.len()..];
        let Some(length) = (piece == "{").then(|| braces(inside)).flatten() else {
            expanded.iter_mut().for_each(|start| start.push_str(piece));
            continue;
        };
        let mut alternatives = Vec::new();
        for alternative in alternatives_of(whole, &inside[..length])? {
            alternatives.extend(expand(whole, &alternative)?);
            let count = alternatives.len().saturating_mul(expanded.len());
            if count > MAX_ALTERNATIVES || count.saturating_mul(whole.len()) > MAX_EXPANDED {
                return Err(too_many(whole));
            }
        }
        expanded = expanded
            .iter()
            .flat_map(|start| alternatives.iter().map(move |alternative| format!("{start}{alternative}")))
            .collect();
        pieces.at += length + 1;
    }
    Ok(expanded)
}

fn too_many(whole: &str) -> Error {
    invalid(
        whole,
        &format!(
            "its braces stand for more than {MAX_ALTERNATIVES} patterns, or {MAX_EXPANDED} bytes of them"
        ),
    )
}

/// Where braces that are open before `text` end; none where they stand for nothing.
fn braces(text: &str) -> Option<usize> {
    let (mut depth, mut commas) = (0, false);
    for (at, piece) in Pieces::of(text) {
        match piece {
            "{" => depth += 1,
            "}" if depth == 0 => return (commas || sequence(&text[..at]).is_some()).then_some(at),
            "}" => depth -= 1,
            "," => commas |= depth == 0,
            _ => {}
        }
    }
    None
}

/// The alternatives in braces, not expanded themselves.
fn alternatives_of(whole: &str, inside: &str) -> Result<Vec<String>, Error> {
    if let Some(sequence) = sequence(inside) {
        return sequence.list(whole);
    }
    let (mut depth, mut start) = (0, 0);
    let mut alternatives = Vec::new();
    for (at, piece) in Pieces::of(inside) {
        match piece {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                alternatives.push(inside[start..at].to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    alternatives.push(inside[start..].to_owned());
    Ok(alternatives)
}

/// `1..10`, `01..10..3`, `a..e`.
struct Sequence {
    from: i64,
    to: i64,
    step: u64,
    /// Digits that a number has at least.
    width: usize,
    letters: bool,
}

fn sequence(text: &str) -> Option<Sequence> {
    let mut parts = text.split("..");
    let (from, to, step) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let step = step.map_or(Some(1), |step| step.parse::<i64>().ok())?.unsigned_abs().max(1);
    let letter = |text: &str| match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(i64::from(*letter)),
        _ => None,
    };
    if let (Some(from), Some(to)) = (letter(from), letter(to)) {
        return Some(Sequence { from, to, step, width: 0, letters: true });
    }
    let is_padded = |text: &str| {
        let digits = text.trim_start_matches(['-', '+']);
        digits.len() > 1 && digits.starts_with('0')
    };
    let width = if is_padded(from) || is_padded(to) { from.len().max(to.len()) } else { 0 };
    Some(Sequence { from: from.parse().ok()?, to: to.parse().ok()?, step, width, letters: false })
}

impl Sequence {
    fn list(&self, whole: &str) -> Result<Vec<String>, Error> {
        let count = self.from.abs_diff(self.to) / self.step;
        if count >= MAX_ALTERNATIVES as u64 {
            return Err(too_many(whole));
        }
        let back = self.from > self.to;
        let number = |n: u64| {
            let by = n.saturating_mul(self.step);
            if back { self.from.saturating_sub_unsigned(by) } else { self.from.saturating_add_unsigned(by) }
        };
        Ok((0..=count)
            .map(number)
            .map(|number| match u8::try_from(number) {
                // What is between the letters means itself.
                Ok(letter) if self.letters && letter.is_ascii_alphabetic() => char::from(letter).to_string(),
                Ok(letter) if self.letters => format!("\\{}", char::from(letter)),
                _ => format!("{number:0width$}", width = self.width),
            })
            .collect())
    }
}

fn parse_one(text: &str) -> Result<Pattern, Error> {
    // A backslash before a slash means nothing.
    let plain: String = Pieces::of(text).map(|(_, piece)| if piece == r"\/" { "/" } else { piece }).collect();
    let mut parts = Vec::new();
    for part in plain.split('/').filter(|part| !part.is_empty()) {
        let part = parse_part(text, part)?;
        // `**/**` is `**`, but visits every directory many times.
        if !(part == Part::Directories && parts.last() == Some(&Part::Directories)) {
            parts.push(part);
        }
    }
    Ok(Pattern { absolute: plain.starts_with('/'), parts, only_directories: plain.ends_with('/') })
}

fn parse_part(whole: &str, part: &str) -> Result<Part, Error> {
    if part == "**" {
        return Ok(Part::Directories);
    }
    let mut tokens = Vec::new();
    for (_, piece) in Pieces::of(part) {
        let mut chars = piece.chars();
        let token = match (chars.next(), chars.next()) {
            (Some('?'), _) => Token::One,
            (Some('*'), _) => Token::Many,
            (Some('\\'), None) => return Err(invalid(whole, "it ends in a backslash")),
            (Some('\\'), Some(c)) => Token::Char(c),
            (Some('['), Some(_)) => set(&piece[1..]).map_or(Token::Char('['), |(set, _)| set),
            (Some(c), _) => Token::Char(c),
            (None, _) => continue,
        };
        if token != Token::Many || tokens.last() != Some(&Token::Many) {
            tokens.push(token);
        }
    }
    let plain: Option<String> =
        tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
    Ok(plain.map_or(Part::Match(tokens), Part::Name))
}

/// The set at the beginning of `text`, whose bracket is open before it, and its length with the closing one. None where it is
/// not closed in this name: then the bracket is a character as others.
fn set(text: &str) -> Option<(Token, usize)> {
    let negated = text.starts_with(['!', '^']);
    let first = usize::from(negated);
    let (mut at, mut members) = (first, Vec::new());
    loop {
        let rest = &text[at..];
        if rest.starts_with(']') && at > first {
            return Some((Token::Set { negated, members }, at + 1));
        }
        if let Some((name, length)) = named(rest, ':') {
            // One that there is not has nothing.
            members.extend(Class::parse(name).map(Member::Class));
            at += length;
            continue;
        }
        let (from, length) = character(rest)?;
        at += length;
        let to = match text[at..].strip_prefix('-') {
            Some(rest) if !rest.starts_with(']') => {
                let (to, length) = character(rest)?;
                at += 1 + length;
                to
            }
            _ => from,
        };
        members.push(Member::Range(from, to));
    }
}

/// `[:name:]` at the beginning of a text, with another sign for `[.name.]` and `[=name=]`; the name, and the length of the whole.
fn named(text: &str, sign: char) -> Option<(&str, usize)> {
    let inside = text.strip_prefix('[')?.strip_prefix(sign)?;
    let end = inside.find(&format!("{sign}]")).filter(|end| !inside[..*end].contains('/'))?;
    Some((&inside[..end], end + 4))
}

/// A character of a set, and how long it is written.
fn character(text: &str) -> Option<(char, usize)> {
    for sign in ['.', '='] {
        if let Some((name, length)) = named(text, sign)
            && let Some(c) = name.chars().next()
            && name.len() == c.len_utf8()
        {
            return Some((c, length));
        }
    }
    let mut chars = text.chars();
    let (c, length) = match chars.next()? {
        '\\' => chars.next().map(|c| (c, 1 + c.len_utf8()))?,
        c => (c, c.len_utf8()),
    };
    (c != '/').then_some((c, length))
}

/// Whether a name that begins with a dot can match: only one that is written does.
pub fn may_be_hidden(tokens: &[Token]) -> bool {
    tokens.first() == Some(&Token::Char('.'))
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
                Token::Set { negated, members } => members.iter().any(|member| member.has(*c)) != *negated,
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
            Part::Directories => true,
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
    fn braces_stand_for_patterns() {
        for (pattern, expected) in [
            ("x{a,b{c,d},}y", "xay xbcy xbdy xy"),
            ("{a}{b,c}", "{a}b {a}c"),
            ("{{a,b}}", "{a} {b}"),
            ("{a,b", "{a,b"),
            ("{a,{b,c}", "{a,b {a,c"),
            ("{}{,}", "{} {}"),
            (r"{a\,b,c}", r"a\,b c"),
            ("{[,],x}", "[,] x"),
            ("[{,}]", "[{,}]"),
            ("{1..3}", "1 2 3"),
            ("{3..1}", "3 2 1"),
            ("{08..10}", "08 09 10"),
            ("{-1..1}", "-1 0 1"),
            ("{1..10..4}", "1 5 9"),
            ("{a..e..2}", "a c e"),
            ("{1..a}", "{1..a}"),
            ("{{1,2}..3}", "{1..3} {2..3}"),
        ] {
            assert_eq!(expand("", pattern).unwrap().join(" "), expected, "{pattern}");
        }
        assert!(parse("").is_err());
        assert!(parse("a\\").is_err());
        assert!(parse(&"{a,b}".repeat(11)).is_err());
        assert!(parse(&"{a,b}".repeat(10)).is_ok());
        assert!(parse("{1..1024}").is_ok());
        assert!(parse("{1..1025}").is_err());
        assert!(parse("{-9223372036854775808..9223372036854775807}").is_err());
        assert!(parse(&"{a,}".repeat(10)).is_ok());
        assert!(parse(&"{a}".repeat(100)).is_ok());
    }

    #[test]
    fn sets_hold_what_stands_in_them() {
        for (set, has, lacks) in [
            ("[*?]", "*?", "ab"),
            ("[{,}]", "{,}", "ab"),
            ("[[]", "[", "]"),
            ("[]]", "]", "["),
            ("[!]]", "[a", "]"),
            (r"[\]\\]", r"]\", "a"),
            ("[!!]", "^a", "!"),
            ("[a-]", "a-", "b"),
            ("[-a]", "a-", "b"),
            (r"[\!a]", "!a", "b"),
            (r"[a\-c]", "a-c", "b"),
            ("[c-a]", "", "abc"),
            ("[[:digit:]x]", "09x", "a"),
            ("[![:alpha:]]", "1_", "aé"),
            ("[[.-.][=b=]]", "-b", "a"),
            ("[[:none:]]", "", ":n"),
        ] {
            for c in has.chars() {
                assert!(fits(set, &c.to_string()), "{set} {c}");
            }
            for c in lacks.chars() {
                assert!(!fits(set, &c.to_string()), "{set} {c}");
            }
        }
        assert!(fits("[a", "[a") && fits("a[", "a[") && fits("[a-", "[a-"));
        assert_eq!(parse("[a/b]").unwrap()[0].parts, [Part::Name("[a".into()), Part::Name("b]".into())]);
        assert_eq!(parse(r"a\/b").unwrap(), parse("a/b").unwrap());
        assert_eq!(parse(r"\/a\/").unwrap(), parse("/a/").unwrap());
    }

    #[test]
    fn braces_by_the_thousand_do_not_exhaust_the_stack() {
        assert!(parse(&("{".repeat(100) + &"}".repeat(100))).is_ok());
        assert!(parse(&("{,".repeat(100) + &"}".repeat(100))).is_ok());
        for pattern in ["{a}".repeat(3000), "{".repeat(5000) + &"}".repeat(5000), "{a}".repeat(200_000)] {
            let failure = parse(&pattern).unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidArgument);
            assert!(failure.message.len() < 2 * MAX_PATTERN, "{}", failure.message.len());
        }
    }

    #[test]
    fn brackets_by_the_thousand_take_no_time_for_each_other() {
        let brackets = "[".repeat(16_000);
        assert_eq!(parse(&format!("{{,}}{brackets}")).unwrap().len(), 2);
        assert_eq!(parse(&format!("{}{brackets}/]", "{".repeat(100))).unwrap().len(), 1);
        assert!(parse(&format!("{}{brackets}", "{,}".repeat(10))).is_err());
    }

    #[test]
    fn parts() {
        let pattern = &parse("/a/**/**/*.x/").unwrap()[0];
        assert!(pattern.absolute && pattern.only_directories);
        assert_eq!(pattern.parts.len(), 3);
    }
}
