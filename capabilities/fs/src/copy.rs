//! Copying a file. At no moment may more users read the copy than the source, and a copy that fails leaves the old file.

use crate::Cancel;
use crate::atomic::AtomicFile;
use crate::open::{How, open, open_for, permitted};
use crate::resolve::{failed, path_of};
use crate::rights::Rights;
use crate::temp::Temp;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use rustix::fs::{AtFlags, Mode, StatxAttributes, StatxFlags, fchmod, statx};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// Bytes that a copy reads at a time.
pub const COPIED: usize = 256 << 10;

/// Where a copy is written.
enum Copy {
    /// Beside what it replaces.
    Beside(Box<AtomicFile>),
    /// Into what is there: a device, a mount point, a file with other names, one in a directory that may not be written.
    Into { file: Arc<File>, room: Option<Arc<Temp>>, rights: Option<Rights> },
}

/// Copies a file with its permission bits.
///
/// # Errors
/// `denied`, `limit`, or the operating system's.
pub fn copy(run: &Arc<Run>, source: &str, destination: &str, cancel: &Cancel) -> Result<u64, Error> {
    let from = open(run, source, How { read: true, ..How::default() })?;
    let about = from.metadata().map_err(|error| failed(source, error))?;
    let mut to = Copy::start(run, (source, &from, &about), destination)?;
    let mut buffer = vec![0; COPIED];
    let mut copied = 0;
    loop {
        cancel.check()?;
        let read = match (&from).read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(source, error)),
        };
        run.count_bytes(read)?;
        to.write(run, &buffer[..read], destination)?;
        copied += read as u64;
    }
    to.finish(destination)?;
    Ok(copied)
}

/// Whether something else is mounted over a file, so that it cannot be replaced.
fn is_mount_point(file: &File) -> bool {
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|about| about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether nothing can be put beside a file, though the file itself can be written.
fn is_closed(failure: &Error) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS].iter().any(|errno| errno.raw_os_error() == failure.errno)
}

impl Copy {
    fn start(
        run: &Arc<Run>,
        (source, from, about): (&str, &File, &Metadata),
        destination: &str,
    ) -> Result<Copy, Error> {
        let mut wanted = match about.is_file() {
            true => Rights::of(from).map_err(|error| failed(source, error))?,
            // What has no content of its own does not say who may read what came out of it.
            false => Rights::plain(about.mode() & 0o644),
        };
        let (file, room) = match open_for(run, destination, How { write: true, ..How::default() }) {
            Ok(opened) => opened,
            Err(failure) if failure.code == ErrorCode::NotFound => {
                return AtomicFile::create_with(run, destination, wanted)
                    .map(|file| Copy::Beside(Box::new(file)));
            }
            Err(failure) => return Err(failure),
        };
        let there = file.metadata().map_err(|error| failed(destination, error))?;
        if (about.dev(), about.ino()) == (there.dev(), there.ino()) {
            return Err(error(
                ErrorCode::InvalidArgument,
                format!("{source} and {destination} are the same file"),
            ));
        }
        if !there.is_file() {
            return Ok(Copy::Into { file: Arc::new(file), room, rights: None });
        }
        if !about.is_file() {
            wanted.mode &= there.mode();
        }
        if there.nlink() == 1 && !is_mount_point(&file) {
            match AtomicFile::create_with(run, destination, wanted.clone()) {
                Err(failure) if is_closed(&failure) => {}
                other => return other.map(|file| Copy::Beside(Box::new(file))),
            }
        }
        let failed = |error| failed(destination, error);
        wanted.mode = permitted(run, &path_of(&file).unwrap_or_default(), wanted.mode);
        let own = Rights::of(&file).map_err(failed)?;
        let unchanged = own.mode == wanted.mode && own.is_plain() && wanted.is_plain();
        if !unchanged {
            let narrow = Mode::from_raw_mode(own.mode & wanted.mode & 0o700);
            fchmod(&file, narrow).map_err(|error| failed(error.into()))?;
        }
        file.set_len(0).map_err(failed)?;
        let file = Arc::new(file);
        if let Some(room) = &room {
            room.watch(&file);
        }
        Ok(Copy::Into { file, room, rights: (!unchanged).then_some(wanted) })
    }

    fn write(&self, run: &Run, bytes: &[u8], destination: &str) -> Result<(), Error> {
        match self {
            Copy::Beside(file) => file.write_all(bytes),
            Copy::Into { file, room, .. } => {
                if let Some(room) = room {
                    room.take(run, bytes.len() as u64, 0)?;
                }
                (&**file).write_all(bytes).map_err(|error| failed(destination, error))
            }
        }
    }

    fn finish(&mut self, destination: &str) -> Result<(), Error> {
        match self {
            Copy::Beside(file) => file.commit(),
            Copy::Into { rights: None, .. } => Ok(()),
            Copy::Into { file, rights: Some(rights), .. } => {
                rights.give(file, true).map_err(|error| failed(destination, error))
            }
        }
    }
}
