//! Decompression of xz in as much memory as the data ask for, of which the run's budget is asked first.

use crate::share::Share;
use assay_capability_api::carry;
use liblzma::stream::{Action, CONCATENATED, Error as Broken, Status, Stream};
use std::io::{self, BufRead};

/// What a decoder starts with, bytes: the dictionary of `xz -6` is 8 MiB.
pub const FIRST: usize = 9 << 20;
/// What it may come to use: the dictionary of `xz -9` is 64 MiB.
const MOST: u64 = 66 << 20;

/// Decompresses what it reads. An input that says [`io::ErrorKind::WouldBlock`] may be read on later.
pub struct Decoder<R> {
    pub input: R,
    stream: Stream,
    /// What the share has been asked for. The library keeps its old limit where a new one is still too little.
    allowed: u64,
}

impl<R: BufRead> Decoder<R> {
    /// A decoder that starts with [`FIRST`] bytes of memory.
    ///
    /// # Errors
    /// Where the library cannot be set up.
    pub fn new(input: R) -> Result<Decoder<R>, Broken> {
        let allowed = FIRST as u64;
        Ok(Decoder { input, stream: Stream::new_stream_decoder(allowed, CONCATENATED)?, allowed })
    }

    /// Allows the library twice the memory, or all that there may be.
    fn grow(&mut self, memory: &mut Share) -> io::Result<()> {
        if self.allowed >= MOST {
            return Err(io::Error::from(Broken::MemLimit));
        }
        self.allowed = self.allowed.saturating_mul(2).min(MOST);
        memory.reach(usize::try_from(self.allowed).unwrap_or(usize::MAX)).map_err(carry)?;
        match self.stream.set_memlimit(self.allowed) {
            // Not enough yet: it is tried again with more.
            Ok(()) | Err(Broken::MemLimit) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Reads on, in the memory of a share, which grows where the data ask for more.
    ///
    /// # Errors
    /// Those of the input and of the data; `limit`.
    pub fn read(&mut self, buffer: &mut [u8], memory: &mut Share) -> io::Result<usize> {
        loop {
            let input = self.input.fill_buf()?;
            let ended = input.is_empty();
            let (given, taken) = (self.stream.total_out(), self.stream.total_in());
            let action = if ended { Action::Finish } else { Action::Run };
            let done = self.stream.process(input, buffer, action);
            let read = usize::try_from(self.stream.total_out() - given).unwrap_or_default();
            let consumed = usize::try_from(self.stream.total_in() - taken).unwrap_or_default();
            self.input.consume(consumed);
            match done {
                Err(Broken::MemLimit) => self.grow(memory)?,
                Err(failure) => return Err(failure.into()),
                Ok(_) if read > 0 => return Ok(read),
                Ok(Status::StreamEnd) => return Ok(0),
                Ok(_) if ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if consumed == 0 => return Err(io::ErrorKind::InvalidData.into()),
                Ok(_) => {}
            }
        }
    }
}
