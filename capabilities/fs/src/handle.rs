//! The open files and listings of a script.

use crate::atomic::AtomicFile;
use crate::open::{How, growth, open_for};
use crate::temp::Temp;
use crate::walk::Walker;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Held, Run, error, lock};
use rustix::fs::FileType;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

/// The largest piece that one call reads.
pub const MAX_READ: usize = 1 << 20;
/// Entries of a listing that one call gives.
const BATCH: usize = 512;
/// Bytes that a batch takes at most, without its last entry.
pub const BATCH_BYTES: usize = 64 << 10;

enum Opened {
    Plain(Plain),
    Atomic(Box<Mutex<AtomicFile>>),
}

/// A file that is written to in its place.
struct Plain {
    file: Arc<std::fs::File>,
    append: bool,
    /// The temporary directory, where it lies in it.
    room: Option<Arc<Temp>>,
}

/// An open file of a script: the resource `file`.
pub struct File {
    pub inner: Arc<Inner>,
}

/// What a file shares with the threads that work on it.
pub struct Inner {
    opened: Opened,
    shown: String,
    run: Arc<Run>,
    _handle: HandleGuard,
}

impl File {
    /// Opens a file where it is.
    ///
    /// # Errors
    /// Those of [`open_for`].
    pub fn open(run: Arc<Run>, handle: HandleGuard, shown: String, how: How) -> Result<File, Error> {
        let (file, room) = open_for(&run, &shown, how)?;
        let file = Arc::new(file);
        if let Some(room) = &room {
            room.watch(&file);
        }
        let opened = Opened::Plain(Plain { file, append: how.append, room });
        Ok(File { inner: Arc::new(Inner { opened, shown, run, _handle: handle }) })
    }

    pub fn atomic(run: Arc<Run>, handle: HandleGuard, shown: String, file: AtomicFile) -> File {
        File {
            inner: Arc::new(Inner {
                opened: Opened::Atomic(Box::new(Mutex::new(file))),
                shown,
                run,
                _handle: handle,
            }),
        }
    }
}

impl Inner {
    fn with<T>(&self, f: impl FnOnce(&std::fs::File) -> io::Result<T>) -> Result<T, Error> {
        match &self.opened {
            Opened::Plain(plain) => f(&plain.file),
            Opened::Atomic(file) => f(lock(file).file()),
        }
        .map_err(|source| crate::resolve::failed(&self.shown, source))
    }

    /// Reads a piece; none where a pipe or device has nothing yet.
    pub fn read(&self, max: u32) -> Result<Option<Vec<u8>>, Error> {
        let max = (max as usize).min(MAX_READ);
        let mut bytes = vec![0; max];
        let read = self.with(|mut file| {
            loop {
                match file.read(&mut bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    other => return other.map(Some),
                }
            }
        })?;
        let Some(read) = read else { return Ok(None) };
        self.run.count_bytes(read)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Counts what is about to be written.
    pub fn count(&self, bytes: usize) -> Result<(), Error> {
        self.run.count_bytes(bytes)
    }

    fn take_room(&self, bytes: usize) -> Result<(), Error> {
        match &self.opened {
            Opened::Atomic(file) => lock(file).take_room(bytes),
            Opened::Plain(Plain { room: None, .. }) => Ok(()),
            Opened::Plain(Plain { file, append, room: Some(room) }) => {
                let more = growth(file, *append, bytes);
                let more = more.map_err(|source| crate::resolve::failed(&self.shown, source))?;
                room.take(&self.run, more, 0)
            }
        }
    }

    /// Writes as much as it takes; gives how much, less than all where a pipe is full.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Error> {
        self.take_room(bytes.len())?;
        self.with(|mut file| {
            let mut written = 0;
            while written < bytes.len() {
                match file.write(&bytes[written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(more) => written += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(written)
        })
    }

    pub fn seek(&self, to: SeekFrom) -> Result<u64, Error> {
        self.with(|mut file| file.seek(to))
    }

    pub fn size(&self) -> Result<u64, Error> {
        self.with(|file| file.metadata().map(|metadata| if metadata.is_file() { metadata.len() } else { 0 }))
    }

    pub fn sync(&self) -> Result<(), Error> {
        self.with(std::fs::File::sync_all)
    }

    pub fn commit(&self) -> Result<(), Error> {
        match &self.opened {
            Opened::Atomic(file) => lock(file).commit(),
            Opened::Plain { .. } => Err(error(
                ErrorCode::InvalidArgument,
                format!("{}: only a file that replaces another can be committed", self.shown),
            )),
        }
    }
}

/// An entry as it is given to scripts.
pub struct Entry {
    pub name: String,
    pub path: String,
    pub kind: Option<FileType>,
}

/// Where entries come from.
pub enum Entries {
    Walk(Walker),
    /// The last comes first.
    Found {
        paths: Vec<String>,
        _held: Held,
    },
}

impl Entries {
    /// The next entries; empty at the end.
    ///
    /// # Errors
    /// The walk's.
    pub fn next(&mut self, cancel: &crate::Cancel) -> Result<Vec<Entry>, Error> {
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match self {
                Entries::Walk(walker) => {
                    let Some((path, name, kind)) = walker.next(cancel)? else { break };
                    batch.push(Entry { name: name.to_string_lossy().into_owned(), path, kind: Some(kind) });
                }
                Entries::Found { paths, .. } => {
                    let Some(path) = paths.pop() else { break };
                    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                    batch.push(Entry { name, path, kind: None });
                }
            }
            bytes += batch.last().map_or(0, |entry| entry.name.len() + entry.path.len());
        }
        Ok(batch)
    }
}

/// The resource `listing`.
pub struct Listing {
    pub entries: Arc<Mutex<Entries>>,
    pub run: Arc<Run>,
    pub _handle: HandleGuard,
    /// What a batch takes of the run's budget.
    pub _held: Held,
}

/// Bytes of a batch, for the run's count.
pub fn size_of(batch: &[Entry]) -> usize {
    batch.iter().map(|entry| entry.name.len() + entry.path.len()).sum()
}
