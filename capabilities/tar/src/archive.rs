//! Opening an archive, and the bounds on what is unpacked from it.

use crate::names::{MAX_NAME, normal};
use crate::reader::{Entry, Kind, Piece, Reader};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Run, error};
use assay_capability_compress::Share;
use assay_capability_compress::codec::{self, Decoder, Format, failed};
use assay_capability_compress::file::{Sink, Source};
use assay_capability_fs::Cancel;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

/// Bytes of names that one listing gives.
const MAX_NAMES: usize = 16 << 20;
/// What an archive may have beside its files: headers for each entry, and the zeros at its end.
const HEADERS: u64 = 4 << 10;
const END: u64 = 16 << 20;

/// How much of an archive is read; 0 is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub entries: u64,
    /// Bytes of all files together.
    pub size: u64,
    pub ratio: u32,
}

impl Bounds {
    /// What the decompressed archive may have for these.
    fn of_stream(self) -> codec::Bounds {
        let size = match (self.size, self.entries) {
            (0, _) | (_, 0) => 0,
            (size, entries) => size.saturating_add(entries.saturating_mul(HEADERS)).saturating_add(END),
        };
        codec::Bounds { size, ratio: self.ratio }
    }
}

/// Counts what comes out of an archive.
pub struct Meter {
    bounds: Bounds,
    pub entries: u64,
    pub bytes: u64,
}

impl Meter {
    pub fn new(bounds: Bounds) -> Meter {
        Meter { bounds, entries: 0, bytes: 0 }
    }

    /// Counts one more entry, before anything of it is read.
    ///
    /// # Errors
    /// `limit`.
    pub fn count(&mut self, shown: &str, entry: &Entry) -> Result<(), Error> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        let Bounds { entries, size, .. } = self.bounds;
        if entries > 0 && self.entries > entries {
            return Err(error(
                ErrorCode::Limit,
                format!("{shown}: the archive has more than {entries} entries; raise max_entries"),
            ));
        }
        if size > 0 && self.bytes > size {
            return Err(error(
                ErrorCode::Limit,
                format!("{shown}: the files have more than {size} bytes; raise max_size"),
            ));
        }
        Ok(())
    }
}

/// An archive that is read: the file, decompressed.
pub type Archive<R> = Reader<Decoder<R>>;

/// Decides the format of an archive: what the script said, or what its first bytes say.
///
/// # Errors
/// `invalid_argument` for a name that no format has.
pub fn format(compression: Option<&str>, source: &Source) -> Result<Option<Format>, Error> {
    match compression {
        None => Ok(source.detected),
        Some("none") => Ok(None),
        Some(name) => Format::parse(name).map(Some),
    }
}

/// Reads `input` as an archive, counts what is read, and stops when nobody waits any more.
///
/// # Errors
/// Where the decompression cannot be set up.
pub fn read<R: BufRead>(
    input: R,
    shown: &str,
    format: Option<Format>,
    bounds: Bounds,
    share: Share,
    (run, cancel): (&Arc<Run>, &Cancel),
) -> Result<Archive<R>, Error> {
    let (run, cancel) = (run.clone(), cancel.clone());
    let watch = Box::new(move |bytes| {
        cancel.check()?;
        run.count_bytes(bytes)
    });
    Ok(Reader::new(Decoder::new(format, input, bounds.of_stream(), share)?, shown, watch))
}

/// The entries of an archive, and what they take of the run's budget.
///
/// # Errors
/// `limit`, `invalid_data`, or the operating system's.
pub fn list(
    run: &Run,
    (shown, mut archive): (&str, Archive<BufReader<File>>),
    bounds: Bounds,
) -> Result<(Vec<Entry>, Held), Error> {
    let mut meter = Meter::new(bounds);
    let (mut entries, mut names, mut held) = (Vec::new(), 0, run.budget.nothing());
    while let Some(entry) = archive.next()? {
        meter.count(shown, &entry)?;
        names += entry.name.len() + entry.target.len();
        if names > MAX_NAMES {
            return Err(error(
                ErrorCode::Limit,
                format!("{shown}: the names in the archive have more than {MAX_NAMES} bytes"),
            ));
        }
        // The list may have room for twice as many, and is copied for the guest.
        held.grow(2 * (entry.name.len() + entry.target.len()) + 4 * size_of::<Entry>())?;
        entries.push(entry);
    }
    archive.finish()?;
    Ok((entries, held))
}

/// What [`member`] came to.
pub enum Member {
    /// The file is in its place and has so many bytes.
    Unpacked(u64),
    /// The name is a hard link to another one, whose content stands before it.
    Link(Vec<u8>),
}

/// Unpacks the regular file `name` to a path. Where the archive has it more than once, the last one counts,
/// as if everything were unpacked.
///
/// # Errors
/// `not_found`, `unsupported` where it is no regular file, `limit`, `invalid_data`, or the operating
/// system's.
pub fn member(
    run: &Arc<Run>,
    (shown, mut archive): (&str, Archive<BufReader<File>>),
    name: &[u8],
    destination: &str,
    bounds: Bounds,
) -> Result<Member, Error> {
    let wanted = normal(name);
    let mut meter = Meter::new(bounds);
    let (mut found, mut link) = (None, None);
    while let Some(entry) = archive.next()? {
        meter.count(shown, &entry)?;
        if entry.name.len() > MAX_NAME || normal(&entry.name) != wanted {
            continue;
        }
        if entry.kind == Kind::Hardlink {
            (found, link) = (None, Some(entry.target));
            continue;
        } else if entry.kind != Kind::File {
            return Err(error(
                ErrorCode::Unsupported,
                format!(
                    "{shown}: {} is {}, not a regular file",
                    String::from_utf8_lossy(name),
                    describe(&entry)
                ),
            ));
        }
        let mut sink = Sink::create(run, destination)?;
        archive.content(&entry, &mut |piece| {
            put(&mut sink, piece).map_err(|failure| failed(destination, failure))
        })?;
        (found, link) = (Some(sink), None);
    }
    archive.finish()?;
    match (found, link) {
        (Some(sink), _) => sink.commit().map(Member::Unpacked),
        (None, Some(target)) => Ok(Member::Link(target)),
        (None, None) => Err(error(
            ErrorCode::NotFound,
            format!("{shown}: there is no {} in the archive", String::from_utf8_lossy(name)),
        )),
    }
}

/// What an entry is, for messages.
pub fn describe(entry: &Entry) -> String {
    match entry.kind {
        Kind::File => "a file".into(),
        Kind::Directory => "a directory".into(),
        Kind::Symlink => format!("a link to {}", String::from_utf8_lossy(&entry.target)),
        Kind::Hardlink => format!("a hard link to {}", String::from_utf8_lossy(&entry.target)),
        Kind::Other(b'3' | b'4') => "a device".into(),
        Kind::Other(b'6') => "a pipe".into(),
        Kind::Other(other) => format!("of the type '{}', which is not known", other.escape_ascii()),
    }
}

fn put(output: &mut impl Write, piece: Piece<'_>) -> std::io::Result<()> {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    match piece {
        Piece::Data(bytes) => output.write_all(bytes),
        Piece::Hole(mut length) => {
            while length > 0 {
                let most = ZEROS.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                output.write_all(&ZEROS[..most])?;
                length -= most as u64;
            }
            Ok(())
        }
    }
}
