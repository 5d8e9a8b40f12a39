//! Where one HTTP/1 request ends and the next begins, with one reading only.
//!
//! RFC 9112 lets a recipient forgive much: lines that end with a bare LF (2.2), a length beside a transfer
//! coding (6.3), a length that is said twice. A proxy in front of a server may forgive something else, and then
//! what is a body to one is a request to the other. So what two readers could split in two ways is no request here:
//! it is made unreadable before the parser sees the end of its head, which then answers 400 and closes.

/// Bytes of a line that are kept where it comes in pieces; a length, a coding or the size of a chunk needs fewer.
const KEPT: usize = 256;
/// Digits of a Content-Length: fewer than overflow.
const MAX_DIGITS: usize = 18;
/// The same of the size of a chunk, hexadecimal.
const MAX_HEX_DIGITS: usize = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request line; empty lines are passed over (RFC 9112 2.2).
    Start,
    Fields,
    ChunkSize,
    /// The line break after the data of a chunk.
    ChunkEnd,
    Trailers,
    Broken,
}

/// What the bytes of a connection are, so far.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// Bytes of a body that are still to come before the next line.
    body: u64,
    length: Option<u64>,
    chunked: bool,
    /// The begin of a line whose end has not come. Of one that is longer than is kept the last byte is the newest.
    begun: Vec<u8>,
}

impl Framing {
    pub fn new() -> Framing {
        Framing { state: State::Start, body: 0, length: None, chunked: false, begun: Vec::new() }
    }

    /// Reads what comes next. Gives the place of the first byte that must not be passed on, the end of a line; nothing
    /// after it is read.
    pub fn check(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.state == State::Broken {
            return (!bytes.is_empty()).then_some(0);
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if self.body > 0 {
                let taken = usize::try_from(self.body).unwrap_or(usize::MAX).min(rest.len());
                self.body -= taken as u64;
                at += taken;
                continue;
            }
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.keep(rest);
                return None;
            };
            let right = if self.begun.is_empty() {
                self.line(&rest[..end])
            } else {
                self.keep(&rest[..end]);
                let mut line = std::mem::take(&mut self.begun);
                let right = self.line(&line);
                line.clear();
                self.begun = line;
                right
            };
            if !right {
                self.state = State::Broken;
                return Some(at + end);
            }
            at += end + 1;
        }
        None
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT - self.begun.len();
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
        if let (Some(last), Some(newest)) = (self.begun.last_mut(), piece.last()) {
            *last = *newest;
        }
    }

    /// Whether a line, without its LF, is one that everybody reads alike.
    fn line(&mut self, line: &[u8]) -> bool {
        let Some(line) = line.strip_suffix(b"\r") else { return false };
        match self.state {
            State::Start if line.is_empty() => {}
            State::Start => {
                self.state = State::Fields;
                (self.length, self.chunked) = (None, false);
            }
            State::Fields if line.is_empty() => {
                self.state = if self.chunked { State::ChunkSize } else { State::Start };
                self.body = self.length.unwrap_or(0);
                return !(self.chunked && self.length.is_some());
            }
            State::Fields => return self.field(line),
            State::ChunkSize => {
                let Some(size) = chunk_size(line) else { return false };
                self.state = if size == 0 { State::Trailers } else { State::ChunkEnd };
                self.body = size;
            }
            State::ChunkEnd => {
                self.state = State::ChunkSize;
                return line.is_empty();
            }
            State::Trailers => {
                if line.is_empty() {
                    self.state = State::Start;
                }
            }
            State::Broken => return false,
        }
        true
    }

    /// A header field: what says where the body ends may be said once, in one spelling.
    fn field(&mut self, line: &[u8]) -> bool {
        let Some(first) = line.first() else { return false };
        // A field that goes on in the next line (obs-fold) is one field to some, and two to others.
        if matches!(first, b' ' | b'\t') {
            return false;
        }
        if !matches!(first.to_ascii_lowercase(), b'c' | b't') {
            return true;
        }
        let whole = line.len() < KEPT - 1;
        let Some(colon) = line.iter().take(KEPT - 1).position(|byte| *byte == b':') else { return !whole };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let is = |wanted: &str| name.trim_ascii_end().eq_ignore_ascii_case(wanted.as_bytes());
        let (length, coding) = (is("content-length"), is("transfer-encoding"));
        if !length && !coding {
            return true;
        }
        // Blanks before the colon; a value of which the end was not kept.
        if name.last().is_some_and(blank) || !whole {
            return false;
        }
        let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        let value = &value[start..end];
        if coding {
            return !std::mem::replace(&mut self.chunked, true) && value.eq_ignore_ascii_case(b"chunked");
        }
        match number(value, MAX_DIGITS, 10) {
            Some(number) => self.length.replace(number).is_none(),
            None => false,
        }
    }
}

/// Digits alone: `+5`, `5, 5` and `0x5` are numbers to some.
fn number(text: &[u8], most: usize, radix: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= most && text.iter().all(|c| (*c as char).is_digit(radix));
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    u64::from_str_radix(text, radix).ok()
}

/// The size of a chunk, with its extensions (RFC 9112 7.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.len() >= KEPT - 1 {
        return None;
    }
    let size = line.split(|byte| *byte == b';').next()?;
    number(size, MAX_HEX_DIGITS, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream in pieces of every size; gives whether all of it may pass.
    fn passes(text: &[u8]) -> bool {
        let whole = Framing::new().check(text);
        for size in [1, 2, 3, 7, 100] {
            let mut framing = Framing::new();
            let mut at = 0;
            let found = text.chunks(size).find_map(|piece| {
                let found = framing.check(piece).map(|place| at + place);
                at += piece.len();
                found
            });
            assert_eq!(found, whole, "in pieces of {size}: {:?}", String::from_utf8_lossy(text));
        }
        if let Some(place) = whole {
            assert_eq!(text[place], b'\n');
        }
        whole.is_none()
    }

    fn request(fields: &str, body: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .into_bytes()
    }

    #[test]
    fn what_has_one_reading_passes() {
        for (fields, body) in [
            ("", ""),
            ("Content-Length: 5\r\n", "a\nb\n\n"),
            ("content-length:\t005 \r\n", "\r\n\r\n\n"),
            ("Content-Length: 0\r\n", ""),
            ("Transfer-Encoding: chunked\r\n", "5\r\na\nb\n\n\r\n0\r\n\r\n"),
            ("TRANSFER-ENCODING:CHUNKED\r\n", "a;name=\"value\"\r\n0123456789\r\n00\r\nX: y\r\n\r\n"),
            ("Cookie: a=b\r\nTe: trailers\r\nContent-Type: text/plain\r\n", ""),
            ("\u{e9}: latin\r\n", ""),
        ] {
            assert!(passes(&request(fields, body)), "{fields:?} {body:?}");
        }
        assert!(passes(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n"));
        let long = format!("X: {}\r\nContent-Length: 1\r\n", "a".repeat(5000));
        assert!(passes(&request(&long, "\n")));
        assert!(passes(&request(&format!("Cookie: {}\r\n", "a".repeat(5000)), "")));
        assert!(passes(&request(&format!("{}: x\r\n", "t".repeat(5000)), "")));
    }

    #[test]
    fn what_has_two_readings_does_not() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: \u{665}\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length:\r\n",
            "Content-Length : 5\r\n",
            "Content-Length\t: 5\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding:\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            "X: a\r\n\tb\r\n",
            "X: a\nTransfer-Encoding: chunked\r\n",
            "X: a\n",
            "Content-Length\r\n",
        ] {
            assert!(!passes(&request(fields, "0\r\n\r\n")), "{fields:?}");
        }
        assert!(!passes(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
        assert!(!passes(b"GET / HTTP/1.1\r\nHost: a\r\n\n"));
        assert!(!passes(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let long = format!("Content-Length: {}5\r\n", " ".repeat(5000));
        assert!(!passes(&request(&long, "")));
    }

    #[test]
    fn chunks_have_one_reading() {
        for body in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\r\n\n",
            "5\r\nhello\r\n0\r\nX: y\n\r\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5g\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            ";a\r\nhello\r\n0\r\n\r\n",
            "-1\r\nhello\r\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(!passes(&request("Transfer-Encoding: chunked\r\n", body)), "{body:?}");
        }
        let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5000));
        assert!(!passes(&request("Transfer-Encoding: chunked\r\n", &extension)));
    }

    #[test]
    fn nothing_passes_after_a_break() {
        let mut framing = Framing::new();
        assert_eq!(framing.check(b"GET /\nGET / HTTP/1.1\r\n"), Some(5));
        assert_eq!(framing.check(b"GET / HTTP/1.1\r\n\r\n"), Some(0));
        assert_eq!(framing.check(b""), None);
    }
}
