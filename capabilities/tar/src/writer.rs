//! Writing archives: ustar, with pax headers for what does not fit into it.

use crate::header::BLOCK;
use crate::names::components;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error};
use assay_capability_compress::Share;
use assay_capability_compress::codec::{Encoder, Format, failed};
use assay_capability_compress::file::Sink;
use assay_capability_fs::{Cancel, open_read};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest size and time of a ustar header: eleven octal digits.
const MAX_OCTAL: u64 = 0o77_777_777_777;
/// Bytes of a name or target in a ustar header.
const SHORT: usize = 100;
/// Blocks that tar programs write and read at a time; archives are filled up to them.
const RECORD: u64 = 20 * BLOCK as u64;

/// What an entry is made of.
pub enum Content {
    Data(Vec<u8>),
    /// A file of the host.
    File(String),
    Symlink(Vec<u8>),
    Directory,
}

/// An archive on its way.
pub struct Writer {
    output: Encoder<Sink>,
    shown: String,
    written: u64,
    _share: Share,
}

struct Head<'a> {
    name: &'a [u8],
    kind: u8,
    size: u64,
    mode: u32,
    modified: i64,
    target: &'a [u8],
}

impl Writer {
    /// Starts an archive at `output`.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    pub fn create(
        run: &Arc<Run>,
        output: &str,
        (format, level): (Option<Format>, i32),
        share: Share,
    ) -> Result<Writer, Error> {
        let sink = Sink::create(run, output)?;
        let encoder = Encoder::new(format, level, share.bytes(), sink)?;
        Ok(Writer { output: encoder, shown: output.to_string(), written: 0, _share: share })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `invalid_argument` for a name that leads outside, `denied`, or the operating system's.
    pub fn add(
        &mut self,
        run: &Run,
        name: &[u8],
        content: Content,
        (mode, modified): (Option<u32>, Option<i64>),
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let wrong = |why: &str| {
            error(ErrorCode::InvalidArgument, format!("{}: {why}", String::from_utf8_lossy(name)))
        };
        let parts = components(name).map_err(|why| wrong(&why))?;
        if parts.is_empty() {
            return Err(wrong("the name is that of the directory itself"));
        }
        let path = parts.join(std::ffi::OsStr::new("/"));
        let name = path.as_bytes();
        let modified = |usual: i64| modified.unwrap_or(usual);
        let mode = |usual: u32| mode.unwrap_or(usual) & 0o7777;
        let mut head =
            Head { name, kind: b'0', size: 0, mode: mode(0o644), modified: modified(now()), target: b"" };
        match content {
            Content::Data(data) => {
                run.count_bytes(data.len())?;
                head.size = data.len() as u64;
                self.head(&head)?;
                self.put(&data)?;
                self.pad(data.len() as u64)
            }
            Content::File(path) => {
                let file = open_read(run, &path)?;
                let about = file.metadata().map_err(|failure| io_error(&path, &failure))?;
                head.size = about.len();
                head.mode = mode(about.mode() & 0o777);
                head.modified = modified(about.mtime());
                self.head(&head)?;
                self.copy(run, &path, file, about.len(), cancel)
            }
            Content::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err(wrong("a link must lead somewhere"));
                }
                self.head(&Head { kind: b'2', mode: mode(0o777), target: &target, ..head })
            }
            Content::Directory => {
                let name = [name, b"/"].concat();
                self.head(&Head { kind: b'5', mode: mode(0o755), name: &name, ..head })
            }
        }
    }

    /// Writes what is left and puts the archive in its place; gives its size.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.put(&[0; 2 * BLOCK])?;
        let rest = (RECORD - self.written % RECORD) % RECORD;
        self.put(&vec![0; rest as usize])?;
        let shown = self.shown;
        self.output.finish().map_err(|failure| failed(&shown, failure))?.commit()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all(bytes).map_err(|failure| failed(&self.shown, failure))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let rest = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.put(&[0; BLOCK][..rest as usize])
    }

    /// Copies as many bytes as the header says: a file that grows meanwhile is cut, one that shrinks fails.
    fn copy(
        &mut self,
        run: &Run,
        path: &str,
        mut file: std::fs::File,
        size: u64,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            cancel.check()?;
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut buffer[..most]) {
                Ok(0) => {
                    return Err(error(
                        ErrorCode::Io,
                        format!("{path}: the file became shorter while it was read"),
                    ));
                }
                Ok(read) => {
                    run.count_bytes(read)?;
                    self.put(&buffer[..read])?;
                    left -= read as u64;
                }
                Err(failure) if failure.kind() == std::io::ErrorKind::Interrupted => {}
                Err(failure) => return Err(io_error(path, &failure)),
            }
        }
        self.pad(size)
    }

    fn head(&mut self, head: &Head<'_>) -> Result<(), Error> {
        let mut records = Vec::new();
        if head.name.len() > SHORT {
            record(&mut records, "path", head.name);
        }
        if head.target.len() > SHORT {
            record(&mut records, "linkpath", head.target);
        }
        if head.size > MAX_OCTAL {
            record(&mut records, "size", head.size.to_string().as_bytes());
        }
        let plain = u64::try_from(head.modified).is_ok_and(|time| time <= MAX_OCTAL);
        if !plain {
            record(&mut records, "mtime", head.modified.to_string().as_bytes());
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let about =
                Head { name: b"PaxHeaders/entry", kind: b'x', size, mode: 0o644, modified: 0, target: b"" };
            self.put(&block(&about))?;
            self.put(&records)?;
            self.pad(size)?;
        }
        self.put(&block(head))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Adds a pax record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn block(head: &Head<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut set = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}").into_bytes();
    set(0, &head.name[..head.name.len().min(SHORT)]);
    set(100, &octal(head.mode.into(), 7));
    set(108, &octal(0, 7));
    set(116, &octal(0, 7));
    set(124, &octal(head.size.min(MAX_OCTAL), 11));
    set(136, &octal(u64::try_from(head.modified).unwrap_or(0).min(MAX_OCTAL), 11));
    set(148, b"        ");
    set(156, &[head.kind]);
    set(157, &head.target[..head.target.len().min(SHORT)]);
    set(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
