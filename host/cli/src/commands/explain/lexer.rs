//! Lua's tokens (reference manual, section 3.1), of a text that Lua's own compiler has accepted.

/// A token and the line where it begins.
pub(super) type Token<'a> = (Kind<'a>, usize);

#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) enum Kind<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// What a string stands for.
    Text(Vec<u8>),
    Number(&'a str),
    Symbol(&'static str),
}

/// The longer ones first.
const SYMBOLS: &[&str] = &[
    "...", "..", "==", "~=", "<=", ">=", "<<", ">>", "//", "::", "+", "-", "*", "/", "%", "^", "#", "&", "~",
    "|", "<", ">", "=", "(", ")", "{", "}", "[", "]", ";", ":", ",", ".",
];

/// The tokens of a chunk, without comments; none where there is something that is no Lua.
pub(super) fn tokens(source: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut lexer = Lexer { rest: source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source), line: 1 };
    if lexer.rest.first() == Some(&b'#') {
        lexer.skip_line();
    }
    let mut tokens = Vec::new();
    while let Some(byte) = lexer.rest.first().copied() {
        let line = lexer.line;
        let kind = match byte {
            b' ' | b'\t'..=b'\r' => {
                lexer.take(1);
                continue;
            }
            b'-' if lexer.rest.starts_with(b"--") => {
                lexer.take(2);
                if lexer.long_bracket().is_none() {
                    lexer.skip_line();
                }
                continue;
            }
            b'"' | b'\'' => Kind::Text(lexer.quoted(byte)?),
            b'[' => match lexer.long_bracket() {
                Some(text) => Kind::Text(text),
                None => lexer.symbol()?,
            },
            b'0'..=b'9' => Kind::Number(lexer.number()?),
            b'.' if lexer.rest.get(1).is_some_and(u8::is_ascii_digit) => Kind::Number(lexer.number()?),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                Kind::Name(lexer.while_in(|byte| byte == b'_' || byte.is_ascii_alphanumeric())?)
            }
            _ => lexer.symbol()?,
        };
        tokens.push((kind, line));
    }
    Some(tokens)
}

struct Lexer<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lexer<'a> {
    /// Takes some bytes, and counts their lines.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.line += taken.iter().filter(|byte| **byte == b'\n').count();
        self.rest = rest;
        taken
    }

    fn skip_line(&mut self) {
        let length = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        self.take(length);
    }

    fn while_in(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a str> {
        let length = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        std::str::from_utf8(self.take(length)).ok()
    }

    fn symbol(&mut self) -> Option<Kind<'a>> {
        let symbol = SYMBOLS.iter().find(|symbol| self.rest.starts_with(symbol.as_bytes()))?;
        self.take(symbol.len());
        Some(Kind::Symbol(symbol))
    }

    /// A number as Lua reads one: an exponent may have a sign.
    fn number(&mut self) -> Option<&'a str> {
        let hexadecimal = self.rest.starts_with(b"0x") || self.rest.starts_with(b"0X");
        let exponent = if hexadecimal { [b'p', b'P'] } else { [b'e', b'E'] };
        let belongs = |at: usize, byte: u8| {
            byte.is_ascii_alphanumeric()
                || byte == b'.'
                || (matches!(byte, b'+' | b'-') && at > 0 && exponent.contains(&self.rest[at - 1]))
        };
        let end = self.rest.iter().enumerate().position(|(at, byte)| !belongs(at, *byte));
        let length = end.unwrap_or(self.rest.len());
        std::str::from_utf8(self.take(length)).ok()
    }

    /// The content of `[[...]]` or `[=[...]=]`, which is taken; none where none begins here.
    fn long_bracket(&mut self) -> Option<Vec<u8>> {
        let inner = self.rest.strip_prefix(b"[")?;
        let level = inner.iter().position(|byte| *byte != b'=')?;
        if inner.get(level) != Some(&b'[') {
            return None;
        }
        let close = [b"]", vec![b'='; level].as_slice(), b"]"].concat();
        let start = level + 2;
        let length = self.rest[start..].windows(close.len()).position(|window| window == close)?;
        let taken = self.take(start + length + close.len());
        let text = with_plain_lines(&taken[start..start + length]);
        // A line break at the start is not part of it.
        Some(text.strip_prefix(b"\n").map(<[u8]>::to_vec).unwrap_or(text))
    }

    /// The content of a quoted string with its escapes replaced.
    fn quoted(&mut self, quote: u8) -> Option<Vec<u8>> {
        self.take(1);
        let mut text = Vec::new();
        loop {
            match *self.rest.first()? {
                byte if byte == quote => {
                    self.take(1);
                    return Some(text);
                }
                b'\\' => {
                    self.take(1);
                    self.escape(&mut text)?;
                }
                byte => {
                    text.push(byte);
                    self.take(1);
                }
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let code = *self.rest.first()?;
        if code.is_ascii_digit() {
            let length = self.rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            text.push(std::str::from_utf8(self.take(length)).ok()?.parse().ok()?);
            return Some(());
        }
        self.take(1);
        match code {
            b'n' | b'\n' => text.push(b'\n'),
            // A line break of two bytes is one.
            b'\r' => {
                let second = usize::from(self.rest.first() == Some(&b'\n'));
                self.take(second);
                text.push(b'\n');
            }
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'a' => text.push(7),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'v' => text.push(11),
            b'z' => {
                let blanks = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'));
                self.take(blanks.unwrap_or(self.rest.len()));
            }
            b'x' => text.push(u8::from_str_radix(std::str::from_utf8(self.take(2)).ok()?, 16).ok()?),
            b'u' => {
                let end = self.rest.iter().position(|byte| *byte == b'}')?;
                let digits = std::str::from_utf8(self.take(end + 1).get(1..end)?).ok()?;
                match char::from_u32(u32::from_str_radix(digits, 16).ok()?) {
                    Some(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    // Lua goes on where Unicode ends; a byte that no text has stands for it.
                    None => text.push(0xff),
                }
            }
            other => text.push(other),
        }
        Some(())
    }
}

/// Line breaks as Lua reads them: `\r\n` and `\r` are one `\n`.
fn with_plain_lines(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == b'\r' {
            rest.next_if_eq(&b'\n');
            plain.push(b'\n');
        } else {
            plain.push(byte);
        }
    }
    plain
}
