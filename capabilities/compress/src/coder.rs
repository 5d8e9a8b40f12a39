//! Streams that a script packs or unpacks piece by piece.

use crate::codec::{Bounds, Decoder, Encoder, Format, failed};
use crate::share::Share;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use std::io::{self, BufRead, Read, Write};

/// Bytes that one step takes, and gives.
pub const PIECE: usize = 1 << 20;
/// Bytes that an unpacker gives in one step: the guest has them beside all else.
const GIVEN: usize = 256 << 10;
/// What a stream takes beside its coder: what goes in, what of that waits, and what comes out.
pub const HELD: usize = 3 * PIECE;
/// Room for what comes out of most steps.
const FIRST: usize = 64 << 10;

/// Input that comes with the steps.
#[derive(Default)]
struct Feed {
    data: Vec<u8>,
    at: usize,
    last: bool,
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.data.len() && !self.last {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.data[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.data.len());
    }
}

enum Work {
    Pack { encoder: Option<Box<Encoder<Vec<u8>>>>, _share: Share },
    Unpack(Box<Decoder<Feed>>),
}

/// A stream on its way.
pub struct Coder {
    work: Work,
}

/// What one step gives.
pub struct Output {
    pub data: Vec<u8>,
    pub more: bool,
}

impl Coder {
    /// # Errors
    /// Where the library cannot be set up.
    pub fn packer(format: Format, level: i32, share: Share) -> Result<Coder, Error> {
        let encoder = Encoder::new(Some(format), level, share.bytes(), Vec::new())?;
        Ok(Coder { work: Work::Pack { encoder: Some(Box::new(encoder)), _share: share } })
    }

    /// # Errors
    /// Where the library cannot be set up.
    pub fn unpacker(format: Format, bounds: Bounds, share: Share) -> Result<Coder, Error> {
        let decoder = Decoder::new(Some(format), Feed::default(), bounds, share)?;
        Ok(Coder { work: Work::Unpack(Box::new(decoder)) })
    }

    /// Takes input and gives what has come out.
    ///
    /// # Errors
    /// `invalid_data`, `limit`, or `invalid_argument` for input after the last.
    pub fn step(&mut self, run: &Run, input: Vec<u8>, last: bool) -> Result<Output, Error> {
        run.count_bytes(input.len())?;
        if input.len() > PIECE {
            return Err(error(ErrorCode::InvalidArgument, format!("a step takes at most {PIECE} bytes")));
        }
        let output = match &mut self.work {
            Work::Pack { encoder, .. } => pack(encoder, &input, last),
            Work::Unpack(decoder) => unpack(decoder, input, last),
        }?;
        run.count_bytes(output.data.len())?;
        Ok(output)
    }
}

fn over() -> Error {
    error(ErrorCode::InvalidArgument, "the stream is finished; start another one")
}

fn pack(slot: &mut Option<Box<Encoder<Vec<u8>>>>, input: &[u8], last: bool) -> Result<Output, Error> {
    let mut encoder = slot.take().ok_or_else(over)?;
    encoder.write_all(input).map_err(|failure| failed("packing", failure))?;
    let data = if last {
        encoder.finish().map_err(|failure| failed("packing", failure))?
    } else {
        let data = std::mem::take(encoder.output());
        *slot = Some(encoder);
        data
    };
    Ok(Output { data, more: false })
}

fn unpack(decoder: &mut Decoder<Feed>, input: Vec<u8>, last: bool) -> Result<Output, Error> {
    let feed = decoder.input();
    if !input.is_empty() {
        if feed.last {
            return Err(over());
        }
        // What is left was announced with `more`, so there is little of it, if any.
        feed.data.drain(..feed.at);
        feed.at = 0;
        if feed.data.len() > PIECE {
            return Err(error(ErrorCode::InvalidArgument, "take what has come out before giving more"));
        }
        feed.data.extend_from_slice(&input);
    }
    feed.last |= last;
    let mut data = vec![0; FIRST];
    let mut filled = 0;
    let more = loop {
        if filled == GIVEN {
            break true;
        } else if filled == data.len() {
            data.resize(GIVEN, 0);
        }
        match decoder.read(&mut data[filled..]) {
            Ok(0) => break false,
            Ok(read) => filled += read,
            Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => break false,
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) => return Err(failed("unpacking", failure)),
        }
    };
    let feed = decoder.input();
    if feed.at == feed.data.len() {
        (feed.data, feed.at) = (Vec::new(), 0);
    }
    data.truncate(filled);
    data.shrink_to_fit();
    Ok(Output { data, more })
}
