//! Lua's tokens, as far as `explain` needs them (reference manual, section 3.1).

use std::borrow::Cow;

/// A token; text borrows from the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or keyword, and its line.
    Name(&'a str, usize),
    /// What a string stands for.
    Text(Cow<'a, str>),
    Number(&'a str),
    Symbol(char),
}

/// The tokens of a chunk, without comments. What is not Lua gives some tokens all the same.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\n' => {
                line += 1;
                1
            }
            '-' if rest.starts_with("--") => match long_bracket(&rest[2..]) {
                Some((_, length)) => 2 + length,
                None => rest.find('\n').unwrap_or(rest.len()),
            },
            '[' => match long_bracket(rest) {
                Some((content, length)) => {
                    // A line break at the start is not part of it.
                    let content = content.strip_prefix('\r').unwrap_or(content);
                    tokens.push(Token::Text(Cow::Borrowed(content.strip_prefix('\n').unwrap_or(content))));
                    length
                }
                None => {
                    tokens.push(Token::Symbol('['));
                    1
                }
            },
            '"' | '\'' => {
                let length = quoted(rest, c);
                let end = if length > 1 && rest[..length].ends_with(c) { length - 1 } else { length };
                let content = &rest[1..end];
                tokens.push(match content.contains('\\').then(|| unescape(content)) {
                    None => Token::Text(Cow::Borrowed(content)),
                    Some(Some(text)) => Token::Text(Cow::Owned(text)),
                    // No text that could be in a scope.
                    Some(None) => Token::Symbol('"'),
                });
                length
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length =
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(Token::Name(&rest[..length], line));
                length
            }
            c if c.is_ascii_digit() => {
                let length =
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                tokens.push(Token::Number(&rest[..length]));
                length
            }
            c if c.is_whitespace() => c.len_utf8(),
            // Concatenation is one token, so that `a .. b` is not taken for a field.
            '.' if rest.starts_with("..") => {
                tokens.push(Token::Symbol('~'));
                2
            }
            c => {
                tokens.push(Token::Symbol(c));
                c.len_utf8()
            }
        };
        if c != '\n' {
            line += rest[..length].matches('\n').count();
        }
        rest = &rest[length..];
    }
    tokens
}

/// A quoted string's content with its escapes replaced; none where one is unknown, or the result no text.
fn unescape(content: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = content;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + code.len_utf8()..];
        match code {
            'n' | '\n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            'r' => out.push(b'\r'),
            '\\' | '"' | '\'' => out.push(code as u8),
            'x' => {
                out.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = &rest[2..];
            }
            'z' => rest = rest.trim_start(),
            _ => return None,
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).ok()
}

/// `[[...]]` or `[=[...]=]` at the start: its content and whole length.
fn long_bracket(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix('[')?;
    let level = inner.len() - inner.trim_start_matches('=').len();
    let content = inner[level..].strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    let start = level + 2;
    let end = content.find(&close).unwrap_or(content.len());
    Some((&content[..end], (start + end + close.len()).min(text.len())))
}

/// The length of a quoted string, with both quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
