//! The frames of a WebSocket as they come (RFC 6455 5.2), before they are read as messages.
//!
//! The library that makes messages of them keeps room for the largest frame so far, and accepts any number of frames
//! that carry nothing. So a large frame is handed on as fragments of it, and frames that carry nothing are counted.

use crate::noise::Noise;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Bytes of a frame that is handed on, and of one that is sent. A multiple of a mask's length.
pub const PIECE: usize = 16 << 10;
/// What a connection keeps beside its messages: what is read of it, a frame that came, frames that are sent.
pub const KEPT: usize = 4 * PIECE;
/// Bytes of a fragment that is more than noise.
const SMALL: u64 = 16;
/// The longest head of a frame.
const HEAD: usize = 14;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const PONG: u8 = 0xa;
/// Opcodes from this one on are those of control frames.
const CONTROL: u8 = 0x8;

/// A connection whose frames are looked at.
pub struct Frames<S> {
    stream: BufReader<S>,
    /// Larger frames are handed on as they are, so that their reader refuses them by their length.
    most: u64,
    /// The head that comes.
    head: Head,
    /// A head that goes on to the reader.
    given: Head,
    /// Bytes of the payload that go with it, and those that are left of the frame after them.
    piece: u64,
    rest: u64,
    /// Whether the frame that is left ends its message, and its mask.
    ends: bool,
    mask: Option<[u8; 4]>,
    noise: Noise,
    /// Pings of this side that were not answered.
    asked: usize,
    flooded: bool,
}

#[derive(Default)]
struct Head {
    bytes: [u8; HEAD],
    /// How many of them there are, and how many were taken.
    length: usize,
    taken: usize,
}

impl Head {
    fn new(first: u8, size: usize, mask: Option<[u8; 4]>) -> Head {
        let mut head = Head::default();
        let marked = if mask.is_some() { MASKED } else { 0 };
        match u8::try_from(size) {
            Ok(size @ ..126) => head.push(&[first, marked | size]),
            _ => {
                head.push(&[first, marked | 126]);
                head.push(&u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes());
            }
        }
        head.push(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// How many bytes are missing until it is whole, as far as that is known.
    fn missing(&self) -> usize {
        if self.length < 2 {
            return 2 - self.length;
        }
        let size = match self.bytes[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.bytes[1] & MASKED != 0 { 4 } else { 0 };
        (2 + size + mask) - self.length
    }

    /// Bytes of the payload.
    fn size(&self) -> u64 {
        match self.bytes[1] & !MASKED {
            126 => u64::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
            127 => {
                let mut size = [0; 8];
                size.copy_from_slice(&self.bytes[2..10]);
                u64::from_be_bytes(size)
            }
            size => size.into(),
        }
    }

    fn mask(&self) -> Option<[u8; 4]> {
        let last = self.bytes[..self.length].last_chunk::<4>()?;
        (self.bytes[1] & MASKED != 0).then_some(*last)
    }
}

/// The other side sends frames that carry nothing.
#[derive(Debug)]
struct Flood;

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side sends pings, empty messages or empty fragments without end")
    }
}

impl std::error::Error for Flood {}

/// Whether reading failed because too many frames came that carry nothing.
pub fn is_flood(failure: &io::Error) -> bool {
    failure.get_ref().is_some_and(|inner| inner.is::<Flood>())
}

/// A message in the pieces in which it is sent, each with whether it is the first and whether the last.
pub fn pieces(mut data: Bytes) -> impl Iterator<Item = (bool, bool, Bytes)> {
    let (mut first, mut last) = (true, false);
    std::iter::from_fn(move || {
        if last {
            return None;
        }
        let piece = data.split_to(data.len().min(PIECE));
        last = data.is_empty();
        Some((std::mem::take(&mut first), last, piece))
    })
}

impl<S: AsyncRead> Frames<S> {
    /// A connection of which the next byte is that of a frame. Frames of more than `most` bytes will be refused.
    pub fn new(stream: S, most: usize) -> Frames<S> {
        Frames {
            stream: BufReader::with_capacity(PIECE, stream),
            most: most as u64,
            head: Head::default(),
            given: Head::default(),
            piece: 0,
            rest: 0,
            ends: false,
            mask: None,
            noise: Noise::default(),
            asked: 0,
            flooded: false,
        }
    }

    /// A ping is sent: its answer does not count among the frames that carry nothing.
    pub fn expect_pong(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// A head is whole: what goes on to the reader.
    fn begin(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        let (first, size) = (head.bytes[0], head.size());
        let (opcode, ends) = (first & OPCODE, first & FINAL != 0);
        if opcode == PONG && self.asked > 0 {
            self.asked -= 1;
        } else if opcode >= CONTROL || size == 0 || (!ends && size < SMALL) {
            self.flooded |= !self.noise.add(1);
        } else {
            self.noise.relieve(1);
        }
        if self.flooded {
            return Err(io::Error::other(Flood));
        }
        if opcode >= CONTROL || size <= PIECE as u64 || size > self.most {
            (self.given, self.piece, self.rest) = (head, size, 0);
            return Ok(());
        }
        (self.ends, self.mask) = (ends, head.mask());
        self.given = Head::new(first & !FINAL, PIECE, self.mask);
        (self.piece, self.rest) = (PIECE as u64, size - PIECE as u64);
        Ok(())
    }

    /// The next part of a large frame.
    fn go_on(&mut self) {
        self.piece = self.rest.min(PIECE as u64);
        self.rest -= self.piece;
        let first = if self.rest == 0 && self.ends { FINAL } else { 0 };
        self.given = Head::new(first, usize::try_from(self.piece).unwrap_or(PIECE), self.mask);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.flooded {
                return Poll::Ready(Err(io::Error::other(Flood)));
            }
            let waiting = &this.given.bytes[this.given.taken..this.given.length];
            if !waiting.is_empty() {
                let count = waiting.len().min(buffer.remaining());
                buffer.put_slice(&waiting[..count]);
                this.given.taken += count;
                return Poll::Ready(Ok(()));
            }
            if this.piece == 0 && this.rest > 0 {
                this.go_on();
                continue;
            }
            let data = ready!(Pin::new(&mut this.stream).poll_fill_buf(context))?;
            if data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let wanted =
                usize::try_from(this.piece).unwrap_or(usize::MAX).min(data.len()).min(buffer.remaining());
            if wanted > 0 {
                buffer.put_slice(&data[..wanted]);
                Pin::new(&mut this.stream).consume(wanted);
                this.piece = this.piece.saturating_sub(wanted as u64);
                return Poll::Ready(Ok(()));
            } else if this.piece > 0 {
                // The reader has no room.
                return Poll::Ready(Ok(()));
            }
            let count = this.head.missing().min(data.len());
            this.head.push(&data[..count]);
            Pin::new(&mut this.stream).consume(count);
            if this.head.missing() == 0 {
                this.begin()?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn frame(first: u8, size: usize, mask: bool) -> Vec<u8> {
        let mut bytes = vec![first];
        let marked = if mask { MASKED } else { 0 };
        match size {
            ..126 => bytes.push(marked | size as u8),
            126..65536 => {
                bytes.push(marked | 126);
                bytes.extend((size as u16).to_be_bytes());
            }
            _ => {
                bytes.push(marked | 127);
                bytes.extend((size as u64).to_be_bytes());
            }
        }
        if mask {
            bytes.extend(MASK);
        }
        bytes.extend((0..size).map(|at| at as u8));
        bytes
    }

    /// Frames as (first byte, payload).
    fn parse(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let mut head = Head::default();
            while head.missing() > 0 {
                let count = head.missing();
                head.push(&bytes[..count]);
                bytes = &bytes[count..];
            }
            let (payload, rest) = bytes.split_at(head.size() as usize);
            assert!(head.mask().is_none_or(|mask| mask == MASK));
            frames.push((head.bytes[0], payload.to_vec()));
            bytes = rest;
        }
        frames
    }

    async fn read(mut frames: Frames<&[u8]>) -> Result<Vec<u8>, io::Error> {
        let (mut all, mut piece) = (Vec::new(), [0; 1000]);
        loop {
            match frames.read(&mut piece).await? {
                0 => return Ok(all),
                count => all.extend(&piece[..count]),
            }
        }
    }

    #[tokio::test]
    async fn large_frames_come_as_fragments() {
        for mask in [true, false] {
            let parts = [
                frame(0x81, 5, mask),
                frame(0x82, 3 * PIECE + 1, mask),
                frame(0x89, 4, mask),
                frame(0x01, PIECE + 200, mask),
                frame(0x00, PIECE, mask),
                frame(0x80, PIECE + 1, mask),
                frame(0x82, 100_000, mask),
            ];
            let all = parse(&read(Frames::new(&parts.concat()[..], 99_999)).await.unwrap());
            let firsts: Vec<u8> = all.iter().map(|(first, _)| *first).collect();
            assert_eq!(
                firsts,
                [0x81, 0x02, 0, 0, 0x80, 0x89, 0x01, 0, 0, 0, 0x80, 0x82],
                "the one that is refused stays"
            );
            assert!(all[..11].iter().all(|(_, payload)| payload.len() <= PIECE));
            let payload: Vec<u8> = all.iter().flat_map(|(_, payload)| payload.clone()).collect();
            let before: Vec<u8> = parts.iter().flat_map(|part| parse(part)[0].1.clone()).collect();
            assert!(payload == before);
        }
    }

    #[tokio::test]
    async fn frames_that_carry_nothing_are_bounded() {
        let many = Noise::MOST as usize;
        for (first, size) in [(0x89, 0), (0x89, 125), (0x8a, 0), (0x81, 0), (0x01, 0), (0x00, 0), (0x00, 15)]
        {
            let one = frame(first, size, true);
            assert!(read(Frames::new(&one.repeat(many - 10)[..], 1 << 20)).await.is_ok(), "{first} {size}");
            let flood = read(Frames::new(&one.repeat(2 * many)[..], 1 << 20)).await.unwrap_err();
            assert!(is_flood(&flood), "{first} {size}: {flood}");
        }
        // Messages make up for as many.
        let both = [frame(0x81, 1, true), frame(0x89, 0, true), frame(0x00, 16, true)].concat();
        assert!(read(Frames::new(&both.repeat(2 * many)[..], 1 << 20)).await.is_ok());
        // An answer that was asked for does not count.
        let pongs = frame(0x8a, 0, true).repeat(2 * many);
        let mut frames = Frames::new(&pongs[..], 1 << 20);
        (0..2 * many).for_each(|_| frames.expect_pong());
        assert!(read(frames).await.is_ok());
    }

    #[test]
    fn messages_are_sent_in_pieces() {
        let of = |size: usize| {
            let all: Vec<_> = pieces(Bytes::from(vec![0; size])).collect();
            all.iter().map(|(first, last, piece)| (*first, *last, piece.len())).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [(true, true, 0)]);
        assert_eq!(of(PIECE), [(true, true, PIECE)]);
        assert_eq!(of(2 * PIECE + 1), [(true, false, PIECE), (false, false, PIECE), (false, true, 1)]);
    }
}
