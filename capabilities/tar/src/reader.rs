//! Reading an archive from its beginning to its end, in constant memory.

use crate::header::{BLOCK, Block, Header, Map, decimal, extend_sparse, is_sound, pax_records, push_piece};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_compress::codec::failed;
use std::io::{ErrorKind, Read};

/// Bytes of what is said about an entry beyond its header: a long name, a pax header.
const MAX_ABOUT: u64 = 1 << 20;
/// What a reader holds at most: three such texts, read and taken apart, and the map of a sparse file.
pub const HELD: usize = 4 << 20;
/// Such parts before one entry. There are at most four that mean something.
const MAX_PARTS: usize = 16;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    /// Something that is never unpacked, by its type in the header.
    Other(u8),
}

/// One entry of an archive.
#[derive(Debug)]
pub struct Entry {
    /// As it stands there, from wherever the format has it.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Bytes of the file, its holes too.
    pub size: u64,
    /// The permission bits with setuid, setgid and sticky, as they stand there.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
    /// What a link leads to.
    pub target: Vec<u8>,
    sparse: Option<Map>,
}

/// What comes out of an entry.
pub enum Piece<'a> {
    Data(&'a [u8]),
    /// So many bytes that are zero and not stored.
    Hole(u64),
}

/// What the parts before a header say about its entry.
#[derive(Default)]
struct About {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<i64>,
    /// The keys `GNU.sparse.*`: the versions 0.0 and 0.1 have the map here, 1.0 before the data.
    sparse: Option<Sparse>,
}

#[derive(Default)]
struct Sparse {
    major: u64,
    size: Option<u64>,
    name: Option<Vec<u8>>,
    map: Map,
    offset: Option<u64>,
}

/// Asked before each read of so many bytes; its error ends the reading.
pub type Watch = Box<dyn Fn(usize) -> Result<(), Error> + Send>;

/// An archive that is being read.
pub struct Reader<R> {
    input: R,
    watch: Watch,
    /// What messages call it.
    shown: String,
    /// Bytes of the current entry that were not read yet, and of the padding behind them.
    stored: u64,
    padding: u64,
    position: u64,
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, shown: &str, watch: Watch) -> Reader<R> {
        Reader { input, watch, shown: shown.to_string(), stored: 0, padding: 0, position: 0 }
    }

    fn broken(&self, why: &str) -> Error {
        let at = self.position.saturating_sub(BLOCK as u64);
        error(ErrorCode::InvalidData, format!("{}: {why} (at byte {at})", self.shown))
    }

    /// Reads until `buffer` is full or the input ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        (self.watch)(buffer.len())?;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(failure) if failure.kind() == ErrorKind::Interrupted => {}
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    fn failed(&self, failure: std::io::Error) -> Error {
        let of_system = failure.raw_os_error().is_some();
        let mut error = failed(&self.shown, failure);
        if !of_system && !error.message.starts_with(&self.shown) {
            error.message = format!("{}: {}", self.shown, error.message);
        }
        error
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        match self.fill(buffer)? == buffer.len() {
            true => Ok(()),
            false => Err(self.broken("the archive ends in the middle of an entry")),
        }
    }

    fn block(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.broken("the archive ends in the middle of a header")),
        }
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        let mut scratch = [0; 16 << 10];
        while bytes > 0 {
            let most = scratch.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.exactly(&mut scratch[..most])?;
            bytes -= most as u64;
        }
        Ok(())
    }

    /// Reads what is said about the next entry.
    fn about(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_ABOUT {
            return Err(error(
                ErrorCode::Limit,
                format!("{}: {size} bytes about one entry are too many", self.shown),
            ));
        }
        let mut data = vec![0; size as usize];
        self.exactly(&mut data)?;
        self.skip(padding(size))?;
        Ok(data)
    }

    /// The next entry; none at the end. What was not read of the one before is skipped.
    ///
    /// # Errors
    /// `invalid_data`, `limit`, or the operating system's.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip(self.stored)?;
        self.skip(self.padding)?;
        (self.stored, self.padding) = (0, 0);
        let mut about = About::default();
        let mut parts = 0;
        loop {
            let block = match self.block()? {
                Some(block) => block,
                None if self.position == 0 => return Err(self.broken("the file is empty, not an archive")),
                None if parts > 0 => return Err(self.broken("the archive ends in the middle of an entry")),
                None => return Ok(None),
            };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header(&block);
            if !header.is_valid() {
                return Err(self.broken("this is not a tar archive, or a header is damaged"));
            }
            let bad = || self.broken("a number in a header is not valid");
            let size = header.size().ok_or_else(bad)?;
            match header.typeflag() {
                b'L' => about.name = Some(name(self.about(size)?)),
                b'K' => about.target = Some(name(self.about(size)?)),
                b'x' => {
                    let data = self.about(size)?;
                    about.read(&data).map_err(|why| self.broken(why))?;
                }
                b'g' => {
                    let data = self.about(size)?;
                    check_global(&data).map_err(|why| self.broken(why))?;
                }
                // The label of a volume.
                b'V' => self.skip(size + padding(size))?,
                _ => return self.entry(&header, about).map(Some),
            }
            parts += 1;
            if parts > MAX_PARTS {
                return Err(self.broken("too many headers about one entry"));
            }
        }
    }

    fn entry(&mut self, header: &Header<'_>, mut about: About) -> Result<Entry, Error> {
        let bad = || self.broken("a number in a header is not valid");
        let (mode, size) = (header.mode().ok_or_else(bad)?, header.size().ok_or_else(bad)?);
        let modified = about.modified.or(header.modified()).ok_or_else(bad)?;
        let mut entry = Entry {
            name: about.name.take().unwrap_or_else(|| header.name()),
            kind: Kind::File,
            size: about.size.unwrap_or(size),
            mode: (mode & 0o7777) as u32,
            modified,
            target: about.target.take().unwrap_or_else(|| header.target().to_vec()),
            sparse: None,
        };
        let kind = header.typeflag();
        entry.kind = match kind {
            0 | b'0' | b'7' if entry.name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Directory,
            other => Kind::Other(other),
        };
        // These have no data, whatever their size says; a hard link has what a pax header says.
        let stored = match kind {
            b'2'..=b'6' => 0,
            b'1' => about.size.unwrap_or(0),
            _ => entry.size,
        };
        self.stored = stored;
        self.padding = padding(stored);
        if kind == b'S' {
            self.old_sparse(header, &mut entry)?;
        } else if let Some(sparse) = about.sparse.filter(|_| entry.kind == Kind::File) {
            self.pax_sparse(sparse, &mut entry)?;
        }
        if let Some(map) = &entry.sparse
            && !is_sound(map, entry.size, self.stored)
        {
            return Err(self.broken("the map of a file with holes does not fit its data"));
        }
        Ok(entry)
    }

    fn old_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), Error> {
        let wrong = "the map of a file with holes is damaged";
        let (size, mut map, mut more) = header.sparse().ok_or_else(|| self.broken(wrong))?;
        while more {
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            more = extend_sparse(&mut map, &block).ok_or_else(|| self.broken(wrong))?;
        }
        entry.size = size;
        entry.sparse = Some(whole_pieces(map));
        Ok(())
    }

    fn pax_sparse(&mut self, sparse: Sparse, entry: &mut Entry) -> Result<(), Error> {
        let wrong = "the map of a file with holes is damaged";
        let mut map = sparse.map;
        if sparse.major > 1 {
            return Err(error(
                ErrorCode::Unsupported,
                format!("{}: files with holes in the format {}.x cannot be read", self.shown, sparse.major),
            ));
        } else if sparse.major == 1 {
            let mut numbers = Numbers::default();
            let count = self.map_number(&mut numbers)?;
            for _ in 0..count {
                let (offset, length) = (self.map_number(&mut numbers)?, self.map_number(&mut numbers)?);
                push_piece(&mut map, offset, length).ok_or_else(|| self.broken(wrong))?;
            }
        }
        if let Some(name) = sparse.name {
            entry.name = name;
        }
        entry.size = sparse.size.ok_or_else(|| self.broken(wrong))?;
        entry.sparse = Some(whole_pieces(map));
        Ok(())
    }

    /// The next number of a map that stands before the data, one on a line, in whole blocks.
    fn map_number(&mut self, numbers: &mut Numbers) -> Result<u64, Error> {
        let wrong = "the map of a file with holes is damaged";
        let mut digits = Vec::new();
        loop {
            if numbers.at == numbers.block.len() {
                if self.stored < BLOCK as u64 {
                    return Err(self.broken(wrong));
                }
                let mut block = [0; BLOCK];
                self.exactly(&mut block)?;
                self.stored -= BLOCK as u64;
                *numbers = Numbers { block: block.to_vec(), at: 0 };
            }
            let byte = numbers.block[numbers.at];
            numbers.at += 1;
            match byte {
                b'\n' => return decimal(&digits).ok_or_else(|| self.broken(wrong)),
                _ if digits.len() >= 20 => return Err(self.broken(wrong)),
                digit => digits.push(digit),
            }
        }
    }

    /// Gives the content of `entry`, the one that [`Reader::next`] gave last, piece by piece to `take`.
    ///
    /// # Errors
    /// Those of `take` and of reading.
    pub fn content(
        &mut self,
        entry: &Entry,
        take: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(map) = &entry.sparse else { return self.data(self.stored, take) };
        let mut at = 0;
        for (offset, length) in map {
            if *offset > at {
                take(Piece::Hole(offset - at))?;
            }
            self.data(*length, take)?;
            at = offset + length;
        }
        if entry.size > at {
            take(Piece::Hole(entry.size - at))?;
        }
        Ok(())
    }

    fn data(
        &mut self,
        mut left: u64,
        take: &mut dyn FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.exactly(&mut buffer[..most])?;
            self.stored = self.stored.saturating_sub(most as u64);
            left -= most as u64;
            take(Piece::Data(&buffer[..most]))?;
        }
        Ok(())
    }

    /// Reads what is behind the end of the archive, so that a checksum of its compressed form is checked.
    ///
    /// # Errors
    /// As for `next`.
    pub fn finish(mut self) -> Result<(), Error> {
        let mut scratch = [0; 16 << 10];
        while self.fill(&mut scratch)? > 0 {}
        Ok(())
    }
}

#[derive(Default)]
struct Numbers {
    block: Vec<u8>,
    at: usize,
}

/// A name of its own part ends with a NUL.
fn name(mut data: Vec<u8>) -> Vec<u8> {
    while data.last() == Some(&0) {
        data.pop();
    }
    data
}

/// GNU ends a map with a piece of no length, at the end of the file or beyond what counts.
fn whole_pieces(mut map: Map) -> Map {
    map.retain(|(_, length)| *length > 0);
    map
}

/// Global headers may say what they like about owners and comments, but not what is where.
fn check_global(data: &[u8]) -> Result<(), &'static str> {
    let records = pax_records(data).map_err(|()| "a pax header is damaged")?;
    let misplaced =
        |key: &[u8]| matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
    match records.iter().any(|(key, _)| misplaced(key)) {
        true => Err("a global header sets a name or size for every entry"),
        false => Ok(()),
    }
}

impl About {
    fn read(&mut self, data: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "a pax header is damaged";
        let records = pax_records(data).map_err(|()| BAD)?;
        for (key, value) in records {
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or(BAD)?),
                b"mtime" => self.modified = Some(seconds(value).ok_or(BAD)?),
                key => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.get_or_insert_default().read(key, value).ok_or(BAD)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Sparse {
    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = decimal(value)?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => push_piece(&mut self.map, self.offset.take()?, decimal(value)?)?,
            b"map" => {
                let mut numbers = value.split(|byte| *byte == b',');
                while let Some(offset) = numbers.next() {
                    push_piece(&mut self.map, decimal(offset)?, decimal(numbers.next()?)?)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// Whole seconds of a time with a fraction.
fn seconds(value: &[u8]) -> Option<i64> {
    let whole = value.split(|byte| *byte == b'.').next()?;
    let (negative, digits) = match whole.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, whole),
    };
    let seconds = i64::try_from(decimal(digits)?).ok()?;
    Some(if negative { -seconds } else { seconds })
}
