//! Server-sent events, read as the HTML standard says (section 9.2.6).

use std::collections::VecDeque;

/// One event as the stream had it.
#[derive(Default)]
pub struct Event {
    /// Empty where the stream named none.
    pub event: Vec<u8>,
    pub data: Vec<u8>,
    /// The last identifier of the stream so far, of this event or one before.
    pub id: Vec<u8>,
    /// Milliseconds to wait before connecting again, where they came with this event or since the one before.
    pub retry: Option<i64>,
}

/// Bytes that one event may have; a stream that never ends its line must not fill the memory.
const MAX_EVENT: usize = 8 << 20;

/// Takes a stream in pieces and gives its events.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last piece ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    next: Event,
    has_data: bool,
    id: Vec<u8>,
    /// The identifier as of the last complete event.
    last_id: Vec<u8>,
    /// Milliseconds to wait before connecting again, as the stream said last.
    retry: Option<i64>,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next piece; false when an event is too large.
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.extend_from_slice(&rest[..at]);
            let end = rest[at];
            rest = &rest[at + 1..];
            if end == b'\r' {
                match rest.split_first() {
                    Some((b'\n', tail)) => rest = tail,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            let line = std::mem::take(&mut self.line);
            self.take_line(&line);
            if self.next.data.len() > MAX_EVENT {
                return false;
            }
        }
        self.line.extend_from_slice(rest);
        self.line.len() <= MAX_EVENT
    }

    /// The next complete event.
    pub fn take(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// The identifier to go on from.
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Milliseconds to wait before connecting again, where the stream said so.
    pub fn retry(&self) -> Option<i64> {
        self.retry
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = match std::mem::replace(&mut self.started, true) {
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.next);
            // An event without data is not handed on, but its identifier counts, and so does the time to wait.
            self.last_id.clone_from(&self.id);
            if std::mem::take(&mut self.has_data) {
                event.id = self.id.clone();
                self.ready.push_back(event);
            } else {
                self.next.retry = event.retry;
            }
            return;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.next.event = value.to_vec(),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.next.data.push(b'\n');
                }
                self.next.data.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => self.id = value.to_vec(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // What does not fit is for ever.
                let text = std::str::from_utf8(value).unwrap_or_default();
                self.next.retry = Some(text.parse().unwrap_or(i64::MAX));
                self.retry = self.next.retry;
            }
            // Comments, and fields that nobody knows.
            _ => {}
        }
    }
}
