//! The formats: one encoder and one decoder over all of them, in constant memory.

use crate::share::Share;
use crate::xz;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Carried, carry, error, io_error};
use std::fmt;
use std::io::{self, BufRead, Read, Write};

/// Bytes that come out before the ratio is looked at: less is no bomb, whatever its ratio.
const RATIO_FROM: u64 = 32 << 20;
/// The largest dictionary that we compress xz with, as `xz -6` does: 96 MiB of memory in place of 700.
const XZ_DICTIONARY: u32 = 8 << 20;
/// The smallest dictionary that the format has.
const XZ_SMALLEST: u32 = 4 << 10;
/// What an xz encoder uses for each byte of its dictionary, and beside it.
const XZ_PER_BYTE: usize = 12;
const XZ_BESIDE: usize = 3 << 20;
/// The largest window of zstd, as its power of two, that its own program accepts without being asked, and the one that
/// every decoder accepts (RFC 8878 3.1.1.1.2).
const ZSTD_WINDOW: u32 = 27;
const ZSTD_USUAL: u32 = 23;
/// What a zstd decoder uses beside its window.
const ZSTD_BESIDE: usize = 512 << 10;
/// Bytes of the longest header of a zstd frame.
const ZSTD_HEADER: usize = 18;

/// A format of compressed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
    Bzip2,
}

impl Format {
    /// Reads a name as scripts give it.
    ///
    /// # Errors
    /// `invalid_argument` with the names there are.
    pub fn parse(name: &str) -> Result<Format, Error> {
        match name {
            "gz" | "gzip" => Ok(Format::Gzip),
            "xz" => Ok(Format::Xz),
            "zst" | "zstd" => Ok(Format::Zstd),
            "bz2" | "bzip2" => Ok(Format::Bzip2),
            other => Err(invalid(format!("'{other}' is not a format; there are gz, xz, zst and bz2"))),
        }
    }

    /// The format of a file by its extension.
    pub fn of_path(path: &str) -> Option<Format> {
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        match name.rsplit_once('.')?.1 {
            "gz" | "tgz" => Some(Format::Gzip),
            "xz" | "txz" => Some(Format::Xz),
            "zst" | "zstd" | "tzst" => Some(Format::Zstd),
            "bz2" | "tbz2" | "tbz" => Some(Format::Bzip2),
            _ => None,
        }
    }

    /// The format of data by its first bytes; six of them are enough.
    pub fn of_data(start: &[u8]) -> Option<Format> {
        match start {
            [0x1f, 0x8b, 8, ..] => Some(Format::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
            // A zstd frame, or one that it skips.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Format::Bzip2),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Bzip2 => "bzip2",
        }
    }

    /// Bytes of memory that a decoder starts with; it asks for more where its data need that.
    pub fn unpacking_memory(self) -> usize {
        match self {
            Format::Gzip => 128 << 10,
            Format::Bzip2 => 5 << 20,
            Format::Xz => xz::FIRST,
            Format::Zstd => (1 << ZSTD_USUAL) + ZSTD_BESIDE,
        }
    }

    /// Bytes of memory that an encoder uses in a run that may hold `budget`.
    pub fn packing_memory(self, level: i32, budget: u64) -> usize {
        match self {
            Format::Gzip => 512 << 10,
            Format::Bzip2 => 8 << 20,
            // A smaller dictionary rather than no xz.
            Format::Xz => {
                let half = usize::try_from(budget / 2).unwrap_or(usize::MAX);
                xz_memory(XZ_DICTIONARY).min(half).max(xz_memory(XZ_SMALLEST))
            }
            Format::Zstd => match level {
                ..6 => 8 << 20,
                6..10 => 32 << 20,
                10..13 => 48 << 20,
                13..19 => 80 << 20,
                19.. => 100 << 20,
            },
        }
    }

    /// Checks a level, or gives the one that the format's program uses.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn level(self, level: Option<i32>) -> Result<i32, Error> {
        let (levels, usual) = match self {
            Format::Gzip | Format::Xz => (0..=9, 6),
            Format::Zstd => (1..=19, 3),
            Format::Bzip2 => (1..=9, 9),
        };
        match level {
            None => Ok(usual),
            Some(level) if levels.contains(&level) => Ok(level),
            Some(level) => Err(invalid(format!(
                "{level} is not a level of {}, they go from {} to {}",
                self.name(),
                levels.start(),
                levels.end()
            ))),
        }
    }
}

fn invalid(message: String) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

/// How much may come out of compressed data; 0 is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Bytes.
    pub size: u64,
    /// Bytes out for each byte in.
    pub ratio: u32,
}

/// The error that a script sees for a failure while `what` was read or written.
pub fn failed(what: &str, failure: io::Error) -> Error {
    if failure.raw_os_error().is_some() {
        return io_error(what, &failure);
    }
    match failure.downcast::<Carried>() {
        Ok(Carried(error)) => error,
        Err(failure) => error(ErrorCode::InvalidData, format!("{what}: {failure}")),
    }
}

/// Input that counts what is taken from it.
pub struct Counted<R> {
    pub input: R,
    taken: u64,
    /// Bytes that were looked at, and how many of them are taken.
    start: Vec<u8>,
    at: usize,
}

impl<R: BufRead> Counted<R> {
    /// The next `count` bytes, or all where there are fewer; they stay to be read.
    fn first(&mut self, count: usize) -> io::Result<&[u8]> {
        self.start.drain(..self.at);
        self.at = 0;
        while self.start.len() < count {
            let more = self.input.fill_buf()?;
            let taken = more.len().min(count - self.start.len());
            if taken == 0 {
                break;
            }
            self.start.extend_from_slice(&more[..taken]);
            self.input.consume(taken);
        }
        Ok(&self.start)
    }

    /// Goes on to the next byte that is not zero. False at the end of the data. What is long is interrupted now and then,
    /// so that the reader can look whether it is still wanted.
    fn skip_padding(&mut self) -> io::Result<bool> {
        let data = self.fill_buf()?;
        let (zeros, all) = (data.iter().take_while(|byte| **byte == 0).count(), data.len());
        self.consume(zeros);
        match zeros < all || all == 0 {
            true => Ok(all > 0),
            false => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.start.get(self.at..) {
            Some(start) if !start.is_empty() => Ok(start),
            _ => self.input.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount as u64;
        let of_start = amount.min(self.start.len().saturating_sub(self.at));
        self.at += of_start;
        self.input.consume(amount - of_start);
    }
}

/// The power of two that the window of a zstd frame fits into, by the frame's header (RFC 8878 3.1.1.1), from what every
/// decoder accepts to what its own program accepts.
fn zstd_window(header: &[u8]) -> u32 {
    let number = |at: usize, length: usize| {
        let bytes = header.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let size = match header {
        [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0x20 != 0 => {
            let after = 5 + [0, 1, 2, 4][usize::from(descriptor & 3)];
            number(after, [1, 2, 4, 8][usize::from(descriptor >> 6)])
        }
        [0x28, 0xb5, 0x2f, 0xfd, _, window, ..] => {
            let base = 1_u64 << (10 + (window >> 3));
            Some(base + base / 8 * u64::from(window & 7))
        }
        _ => None,
    };
    let power = size.and_then(u64::checked_next_power_of_two).map_or(ZSTD_WINDOW, u64::ilog2);
    if size.is_none() { ZSTD_USUAL } else { power.clamp(ZSTD_USUAL, ZSTD_WINDOW) }
}

/// Where a decoder is in its input.
enum Unpacking<R: BufRead> {
    Plain(R),
    /// Before a stream, or behind the last one.
    Between(R),
    Gzip(flate2::bufread::GzDecoder<R>),
    /// It knows of several streams, and of the padding between them, itself.
    Xz(xz::Decoder<R>),
    Zstd(zstd::stream::zio::Reader<R, ZstdFrame>),
    Bzip2(bzip2::bufread::BzDecoder<R>),
}

impl<R: BufRead> Unpacking<R> {
    fn input(&mut self) -> &mut R {
        match self {
            Unpacking::Plain(input) | Unpacking::Between(input) => input,
            Unpacking::Gzip(decoder) => decoder.get_mut(),
            Unpacking::Xz(decoder) => &mut decoder.input,
            Unpacking::Zstd(decoder) => decoder.reader_mut(),
            Unpacking::Bzip2(decoder) => decoder.get_mut(),
        }
    }

    /// At the beginning of the next stream; `frame` is for one of zstd.
    fn begun(self, format: Option<Format>, frame: Option<ZstdFrame>) -> Unpacking<R> {
        let Unpacking::Between(input) = self else { return self };
        match (format, frame) {
            (_, Some(frame)) => {
                let mut reader = zstd::stream::zio::Reader::new(input, frame);
                reader.set_single_frame();
                Unpacking::Zstd(reader)
            }
            (Some(Format::Bzip2), _) => Unpacking::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            _ => Unpacking::Gzip(flate2::bufread::GzDecoder::new(input)),
        }
    }

    /// Behind the stream that has ended. Those that know of several stay as they are.
    fn ended(self) -> Unpacking<R> {
        match self {
            Unpacking::Gzip(decoder) => Unpacking::Between(decoder.into_inner()),
            Unpacking::Zstd(decoder) => Unpacking::Between(decoder.into_inner()),
            Unpacking::Bzip2(decoder) => Unpacking::Between(decoder.into_inner()),
            other => other,
        }
    }
}

type ZstdFrame = zstd::stream::raw::Decoder<'static>;

/// A decoder of one zstd frame, in the memory of a share.
fn zstd_frame(window: u32, memory: &mut Share) -> io::Result<ZstdFrame> {
    memory.reach((1 << window) + ZSTD_BESIDE).map_err(carry)?;
    let mut decoder = ZstdFrame::new()?;
    decoder.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(window))?;
    Ok(decoder)
}

/// Decompresses what it reads, within bounds. Streams of a format in a row count as one, as its program
/// has it, and so does what pads them with zeros: tapes and disks have blocks. An input that says
/// [`io::ErrorKind::WouldBlock`] may be read on later.
pub struct Decoder<R: BufRead> {
    /// None only while one stream gives way to the next.
    unpacking: Option<Unpacking<Counted<R>>>,
    format: Option<Format>,
    bounds: Bounds,
    given: u64,
    ended: bool,
    memory: Share,
}

impl<R: BufRead> Decoder<R> {
    /// A decoder of `format` in the memory of a share, which it grows where the data ask for more; without a format the
    /// data stay as they are.
    ///
    /// # Errors
    /// `limit` where there is no memory for it, `other` where the library cannot be set up.
    pub fn new(
        format: Option<Format>,
        input: R,
        bounds: Bounds,
        mut memory: Share,
    ) -> Result<Decoder<R>, Error> {
        memory.reach(format.map_or(0, Format::unpacking_memory))?;
        let input = Counted { input, taken: 0, start: Vec::new(), at: 0 };
        let unpacking = match format {
            None => Unpacking::Plain(input),
            Some(Format::Xz) => {
                Unpacking::Xz(xz::Decoder::new(input).map_err(|failure| setting_up("xz", &failure))?)
            }
            Some(_) => Unpacking::Between(input),
        };
        Ok(Decoder { unpacking: Some(unpacking), format, bounds, given: 0, ended: false, memory })
    }

    fn unpacking(&mut self) -> &mut Unpacking<Counted<R>> {
        self.unpacking.as_mut().expect("it is put back in the function that takes it")
    }

    /// What it reads from.
    pub fn input(&mut self) -> &mut R {
        &mut self.unpacking().input().input
    }

    /// Begins the next stream. False at the end of the data.
    fn begin(&mut self) -> io::Result<bool> {
        let memory = &mut self.memory;
        let Some(Unpacking::Between(input)) = &mut self.unpacking else { return Ok(true) };
        if input.taken > 0 && !input.skip_padding()? {
            return Ok(false);
        }
        let frame = match self.format {
            Some(Format::Zstd) => Some(zstd_frame(zstd_window(input.first(ZSTD_HEADER)?), memory)?),
            _ => None,
        };
        let format = self.format;
        self.unpacking = self.unpacking.take().map(|unpacking| unpacking.begun(format, frame));
        Ok(true)
    }

    /// The next bytes of whatever stream has some; none at the end of the last one.
    fn unpack(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.begin()? {
            let read = match &mut self.unpacking {
                Some(Unpacking::Gzip(decoder)) => decoder.read(buffer)?,
                Some(Unpacking::Zstd(decoder)) => decoder.read(buffer)?,
                Some(Unpacking::Bzip2(decoder)) => decoder.read(buffer)?,
                Some(Unpacking::Xz(decoder)) => return decoder.read(buffer, &mut self.memory),
                Some(Unpacking::Plain(input) | Unpacking::Between(input)) => return input.read(buffer),
                None => break,
            };
            if read > 0 {
                return Ok(read);
            }
            self.unpacking = self.unpacking.take().map(Unpacking::ended);
        }
        Ok(0)
    }

    /// An error of the data, told from those of the system and of the input.
    fn broken(&self, failure: io::Error) -> io::Error {
        if failure.raw_os_error().is_some() || failure.get_ref().is_some_and(|inner| inner.is::<Carried>()) {
            return failure;
        }
        let name = self.format.map_or("", Format::name);
        let message = match failure.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return failure,
            io::ErrorKind::UnexpectedEof => format!("the {name} data end too early"),
            _ if is_too_large(&failure) => {
                return carry(error(
                    ErrorCode::Limit,
                    format!("the {name} data need more memory than is given to unpacking them ({failure})"),
                ));
            }
            _ => format!("this is not {name} data, or they are damaged ({failure})"),
        };
        carry(error(ErrorCode::InvalidData, message))
    }

    fn check(&mut self) -> io::Result<()> {
        let Bounds { size, ratio } = self.bounds;
        let given = self.given;
        if size > 0 && given > size {
            return Err(limit(format!("more than {size} bytes come out; raise max_size")));
        }
        let taken = self.unpacking().input().taken.max(1);
        if ratio > 0 && self.format.is_some() && given > RATIO_FROM && given / taken >= u64::from(ratio) {
            return Err(limit(format!(
                "{given} bytes come out of {taken}, more than {ratio} for each; raise max_ratio if this is not an attack"
            )));
        }
        Ok(())
    }
}

fn limit(message: String) -> io::Error {
    carry(error(ErrorCode::Limit, message))
}

fn setting_up(name: &str, failure: &dyn fmt::Display) -> Error {
    error(ErrorCode::Other, format!("{name} cannot be set up: {failure}"))
}

/// Whether a library refused because of the memory it was given. zstd tells so only in words.
fn is_too_large(failure: &io::Error) -> bool {
    let by_xz = failure
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .is_some_and(|inner| matches!(inner, liblzma::stream::Error::MemLimit));
    by_xz || failure.to_string().contains("too much memory")
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.unpack(buffer);
        let read = read.map_err(|failure| self.broken(failure))?;
        if read == 0 {
            self.ended = true;
            // Not every library minds that there was nothing at all.
            if self.format.is_some() && self.unpacking().input().taken == 0 {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.given += read as u64;
        self.check()?;
        Ok(read)
    }
}

/// Compresses what is written to it. Only [`Encoder::finish`] makes it whole.
pub enum Encoder<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Bzip2(bzip2::write::BzEncoder<W>),
}

impl<W: Write> Encoder<W> {
    /// An encoder of `format` at a level that [`Format::level`] gave; without one the data stay as they
    /// are. `memory` is what [`Format::packing_memory`] gave.
    ///
    /// # Errors
    /// `other` where the library cannot be set up because memory is short.
    pub fn new(format: Option<Format>, level: i32, memory: usize, output: W) -> Result<Encoder<W>, Error> {
        let small = u32::try_from(level).unwrap_or_default();
        Ok(match format {
            None => Encoder::Plain(output),
            Some(Format::Gzip) => {
                Encoder::Gzip(flate2::write::GzEncoder::new(output, flate2::Compression::new(small)))
            }
            Some(Format::Bzip2) => {
                Encoder::Bzip2(bzip2::write::BzEncoder::new(output, bzip2::Compression::new(small)))
            }
            Some(Format::Xz) => {
                let stream = xz_stream(small, memory).map_err(|failure| setting_up("xz", &failure))?;
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(output, stream))
            }
            Some(Format::Zstd) => {
                let mut encoder = zstd::stream::write::Encoder::new(output, level)
                    .map_err(|failure| setting_up("zstd", &failure))?;
                encoder.include_checksum(true).map_err(|failure| setting_up("zstd", &failure))?;
                Encoder::Zstd(encoder)
            }
        })
    }

    /// What it writes to.
    pub fn output(&mut self) -> &mut W {
        match self {
            Encoder::Plain(output) => output,
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Xz(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Bzip2(encoder) => encoder.get_mut(),
        }
    }

    /// Writes what is left and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(output) => Ok(output),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Xz(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Bzip2(encoder) => encoder.finish(),
        }
    }
}

fn xz_memory(dictionary: u32) -> usize {
    XZ_PER_BYTE * dictionary as usize + XZ_BESIDE
}

fn xz_stream(level: u32, memory: usize) -> Result<liblzma::stream::Stream, liblzma::stream::Error> {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    // The dictionaries of the presets: 256 KiB, then from 1 MiB at level 1 to 64 MiB at level 9.
    let usual = [1 << 18, 1 << 20, 1 << 21, 1 << 22, 1 << 22, 1 << 23];
    let usual = usual.get(level as usize).copied().unwrap_or(XZ_DICTIONARY);
    let mut dictionary = XZ_DICTIONARY;
    while dictionary > XZ_SMALLEST && xz_memory(dictionary) > memory {
        dictionary /= 2;
    }
    let mut options = LzmaOptions::new_preset(level)?;
    options.dict_size(usual.min(dictionary));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Stream::new_stream_encoder(&filters, Check::Crc64)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Plain(output) => output.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Xz(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Bzip2(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Plain(output) => output.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Xz(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
            Encoder::Bzip2(encoder) => encoder.flush(),
        }
    }
}
