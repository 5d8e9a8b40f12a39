//! Whole files: read through the grants, written beside the destination and put in its place at the end.

use crate::codec::{Bounds, Decoder, Encoder, Format, failed};
use crate::share::Share;
use assay_capability_api::Run;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{carry, error, io_error};
use assay_capability_fs::{AtomicFile, Cancel, create_atomic, open_read};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

/// Bytes that are read and written at a time.
pub const PIECE: usize = 256 << 10;

/// A file that takes the place of another once it is committed, as something to write to. What goes
/// through it is counted.
pub struct Sink {
    file: AtomicFile,
    run: Arc<Run>,
    written: u64,
}

impl Sink {
    /// Starts a file at `path`.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    pub fn create(run: &Arc<Run>, path: &str) -> Result<Sink, Error> {
        Ok(Sink { file: create_atomic(run, path)?, run: run.clone(), written: 0 })
    }

    /// Puts the file in its place and gives its size.
    ///
    /// # Errors
    /// The operating system's.
    pub fn commit(mut self) -> Result<u64, Error> {
        self.file.commit()?;
        Ok(self.written)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run.count_bytes(bytes.len()).map_err(carry)?;
        self.file.write_all(bytes).map_err(carry)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An open file and what its first bytes say.
pub struct Source {
    pub input: BufReader<File>,
    pub detected: Option<Format>,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    pub fn open(run: &Run, path: &str) -> Result<Source, Error> {
        let mut input = BufReader::with_capacity(PIECE, open_read(run, path)?);
        let start = input.fill_buf().map_err(|failure| io_error(path, &failure))?;
        let detected = Format::of_data(start);
        Ok(Source { input, detected })
    }
}

/// Reads to the end of `input`, each piece through `take`; stops when nobody waits any more.
fn pump(
    input: &mut impl Read,
    cancel: &Cancel,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    wrong: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut buffer = vec![0; PIECE];
    loop {
        cancel.check()?;
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&buffer[..read])?,
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) => return Err(wrong(failure)),
        }
    }
}

/// Puts the name of a file before an error of its data.
fn about(path: &str, failure: io::Error) -> Error {
    let of_system = failure.raw_os_error().is_some();
    let mut error = failed(path, failure);
    if !of_system && !error.message.starts_with(path) && error.code != ErrorCode::Denied {
        error.message = format!("{path}: {}", error.message);
    }
    error
}

/// Compresses `source` into `destination`; gives the size of the result.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn pack(
    run: &Arc<Run>,
    source: &str,
    destination: &str,
    (format, level): (Format, i32),
    share: Share,
    cancel: &Cancel,
) -> Result<u64, Error> {
    let mut input = open_read(run, source)?;
    let wrong = |failure| about(destination, failure);
    let mut encoder = Encoder::new(Some(format), level, share.bytes(), Sink::create(run, destination)?)?;
    let put = |bytes: &[u8]| {
        run.count_bytes(bytes.len())?;
        encoder.write_all(bytes).map_err(wrong)
    };
    pump(&mut input, cancel, put, |failure| about(source, failure))?;
    let sink = encoder.finish().map_err(wrong)?;
    drop(share);
    sink.commit()
}

/// Decompresses an open `source` into `destination`; gives the size of the result.
///
/// # Errors
/// `denied`, `invalid_data`, `limit`, or the operating system's.
pub fn unpack(
    run: &Arc<Run>,
    (path, source): (&str, Source),
    destination: &str,
    (format, bounds): (Format, Bounds),
    share: Share,
    cancel: &Cancel,
) -> Result<u64, Error> {
    let mut decoder = Decoder::new(Some(format), source.input, bounds, share)?;
    let mut sink = Sink::create(run, destination)?;
    let put = |bytes: &[u8]| sink.write_all(bytes).map_err(|failure| about(destination, failure));
    pump(&mut decoder, cancel, put, |failure| about(path, failure))?;
    sink.commit()
}

/// What to unpack a file as: what the script said, or what its first bytes say.
///
/// # Errors
/// `invalid_data` where they say nothing.
pub fn format_of(path: &str, given: Option<Format>, source: &Source) -> Result<Format, Error> {
    given.or(source.detected).ok_or_else(|| {
        error(
            ErrorCode::InvalidData,
            format!("{path}: the file is not compressed with gzip, xz, zstd or bzip2"),
        )
    })
}
