//! Opening files: only regular ones, and never one that was swapped in.

use crate::resolve::{self, FS, Last, Place, resolve};
use crate::temp::{Temp, room};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, error};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// How often a file that keeps being replaced by a link is tried again.
const TRIES: usize = 8;

/// How to open a file.
#[derive(Clone, Copy, Default, Debug)]
pub struct How {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub truncate: bool,
    pub create: bool,
    /// Makes missing parent folders.
    pub parents: bool,
}

impl How {
    fn access(self) -> &'static [Access] {
        match (self.read, self.write || self.append || self.truncate || self.create) {
            (_, false) => &[Access::Read],
            (false, true) => &[Access::Write],
            (true, true) => &[Access::Read, Access::Write],
        }
    }

    fn flags(self) -> OFlags {
        // Not blocking: a pipe without a writer must not hold a thread for ever. No O_TRUNC: what is
        // emptied is looked at first.
        let mut flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
        flags |= match self.access() {
            [Access::Read] => OFlags::RDONLY,
            [Access::Write] => OFlags::WRONLY,
            _ => OFlags::RDWR,
        };
        if self.append {
            flags |= OFlags::APPEND;
        }
        if self.create {
            flags |= OFlags::CREATE;
        }
        flags
    }
}

/// Checks that a file of this type may be opened at all.
fn check_type(run: &Run, access: &[Access], place: &Place, kind: FileType) -> Result<(), Error> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(place.failed(Errno::ISDIR)),
        _ => access.iter().try_for_each(|access| {
            let request = Request::File { access: *access, path: &place.real };
            if run.grants.anchored(FS, &request, &place.real) {
                return Ok(());
            }
            Err(resolve::refuse(
                run,
                &request,
                Some(&place.shown),
                "it is a device, a pipe or a socket, which only a grant of exactly its path covers",
            ))
        }),
    }
}

/// The bits setuid, setgid and sticky.
const SPECIAL: u32 = 0o7000;
/// The bits that make a file run as its owner or group.
const SETID: u32 = 0o6000;

/// Whether the run may set setuid, setgid and sticky on the real path `path`, without asking.
pub fn may_set_id(run: &Run, path: &Path) -> bool {
    run.grants.covers_by_scope(FS, &Request::File { access: Access::SetId, path })
}

/// Checks that the special bits in `mode` may be set at `place`, or that what has them may be written.
///
/// # Errors
/// `denied`.
pub fn check_special(run: &Run, place: &Place, mode: u32, why: &str) -> Result<(), Error> {
    if mode & SPECIAL == 0 || may_set_id(run, &place.real) {
        return Ok(());
    }
    let request = Request::File { access: Access::SetId, path: &place.real };
    match run.grants.denial(FS, &request) {
        Some(rule) => Err(run.refuse_by(FS, &format!("{why} on {}", place.shown), &rule)),
        None => Err(resolve::refuse(run, &request, Some(&place.shown), why)),
    }
}

/// The bits of `mode` that the file at `path` may get.
pub fn permitted(run: &Run, path: &Path, mode: u32) -> Mode {
    Mode::from_raw_mode(if may_set_id(run, path) { mode & 0o7777 } else { mode & !SPECIAL & 0o7777 })
}

/// How many bytes a file grows by when so many are written to it where it is.
pub fn growth(file: &File, append: bool, bytes: usize) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let at = if append { size } else { (&*file).stream_position()? };
    Ok(at.saturating_add(bytes as u64).saturating_sub(size))
}

/// Opens a file; what is returned was checked after it was opened. What is written to it takes no room of the run's
/// temporary folder: it is for reading, and for programs.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open(run: &Run, path: &str, how: How) -> Result<File, Error> {
    Ok(open_for(run, path, how)?.0)
}

/// [`open`], with the temporary folder where the file is to be written in it.
///
/// # Errors
/// As for [`open`], and `limit`.
pub fn open_for(run: &Run, path: &str, how: How) -> Result<(File, Option<Arc<Temp>>), Error> {
    let access = how.access();
    let mut tries = 0;
    loop {
        tries += 1;
        let place = resolve(run, path, access, Last::Follow, how.parents)?;
        match place.kind() {
            Ok(FileType::Symlink) if tries < TRIES => continue,
            Ok(kind) => check_type(run, access, &place, kind)?,
            Err(Errno::NOENT) if how.create && !place.folder => {}
            Err(source) => return Err(place.failed(source)),
        }
        if place.folder {
            return Err(place.failed(Errno::NOTDIR));
        }
        // Also of a file that is read: one that is removed meanwhile keeps its place on the disk.
        let room = room(run, &place.real);
        if let Some(room) = room.as_ref().filter(|_| how.create && place.kind() == Err(Errno::NOENT)) {
            room.take(run, 0, 1)?;
        }
        let opened = match openat(&place.parent, &place.name, how.flags(), Mode::from_raw_mode(0o666)) {
            Ok(opened) => opened,
            // It was a file a moment ago, and is a link now.
            Err(Errno::LOOP) if tries < TRIES => continue,
            Err(source) => return Err(place.failed(source)),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|source| place.failed(source))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        check_type(run, access, &place, kind)?;
        resolve::verify(run, access, &opened, &place)?;
        if access != [Access::Read] && kind == FileType::RegularFile && stat.st_mode & SETID != 0 {
            check_special(
                run,
                &place,
                stat.st_mode & SETID,
                "what is written would keep its setuid or setgid bit",
            )?;
        }
        if how.truncate && kind == FileType::RegularFile && stat.st_size > 0 {
            rustix::fs::ftruncate(&opened, 0).map_err(|source| place.failed(source))?;
        }
        return Ok((File::from(opened), room));
    }
}

/// A name that nobody guesses. The standard library seeds its hash tables from the system's entropy.
pub fn unique() -> String {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

/// A new file that takes the place of another when it is committed; removed when dropped before.
pub struct AtomicFile {
    file: Arc<File>,
    run: Arc<Run>,
    room: Option<Arc<Temp>>,
    parent: OwnedFd,
    temporary: String,
    name: std::ffi::OsString,
    shown: String,
    committed: bool,
}

impl AtomicFile {
    /// Starts to replace the file at `path`, or to make it. Parent folders are made.
    ///
    /// # Errors
    /// `denied`, `limit`, or the operating system's.
    pub fn create(run: &Arc<Run>, path: &str) -> Result<AtomicFile, Error> {
        let place = resolve(run, path, &[Access::Write], Last::Follow, true)?;
        let old = match rustix::fs::statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Some(Mode::from_raw_mode(stat.st_mode)),
                FileType::Directory => return Err(place.failed(Errno::ISDIR)),
                _ => {
                    return Err(error(
                        ErrorCode::Unsupported,
                        format!("{path}: only a regular file can be replaced as a whole"),
                    ));
                }
            },
            Err(Errno::NOENT) if !place.folder => None,
            Err(source) => return Err(place.failed(source)),
        };
        let folder = rustix::fs::fstat(&place.parent).map_err(|source| place.failed(source))?;
        if folder.st_nlink == 0 {
            return Err(place.failed(Errno::NOENT));
        }
        let room = room(run, &place.real);
        if let Some(room) = &room {
            room.take(run, 0, 1)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!(".assay-{}", unique());
        // Never readable to more people than the file it replaces.
        let mode = old.map_or(Mode::from_raw_mode(0o666), |_| Mode::from_raw_mode(0o600));
        let file = openat(&place.parent, &temporary, flags, mode).map_err(|source| place.failed(source))?;
        let file = Arc::new(File::from(file));
        if let Some(room) = &room {
            room.watch(&file);
        }
        let Place { parent, name, shown, real, .. } = place;
        let run = run.clone();
        let atomic = AtomicFile { file, run, room, parent, temporary, name, shown, committed: false };
        if let Some(mode) = old {
            let mode = permitted(&atomic.run, &real, mode.as_raw_mode());
            rustix::fs::fchmod(&atomic.file, mode).map_err(|source| resolve::failed(path, source))?;
        }
        Ok(atomic)
    }

    /// Writes all of `bytes` where the file is.
    ///
    /// # Errors
    /// `limit` where it lies in the temporary folder and there is no more room; the operating system's.
    pub fn write_all(&self, bytes: &[u8]) -> Result<(), Error> {
        self.take_room(bytes.len())?;
        (&*self.file).write_all(bytes).map_err(|source| resolve::failed(&self.shown, source))
    }

    /// Takes room for what is about to be written where the file is.
    ///
    /// # Errors
    /// `limit`.
    pub(crate) fn take_room(&self, bytes: usize) -> Result<(), Error> {
        let Some(room) = &self.room else { return Ok(()) };
        let more = growth(&self.file, false, bytes).map_err(|source| resolve::failed(&self.shown, source))?;
        room.take(&self.run, more, 0)
    }

    /// For reading, and for looking at it; [`AtomicFile::write_all`] is for writing.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes to the disk and takes the place of the old file.
    ///
    /// # Errors
    /// The operating system's; the old file is as it was.
    pub fn commit(&mut self) -> Result<(), Error> {
        if self.committed {
            return Err(error(
                ErrorCode::InvalidArgument,
                format!("{}: it was committed before", self.shown),
            ));
        }
        self.file.sync_all().map_err(|source| resolve::failed(&self.shown, source))?;
        renameat(&self.parent, &self.temporary, &self.parent, &self.name)
            .map_err(|source| resolve::failed(&self.shown, source))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // It may be gone already; there is nobody to tell.
            let _ = unlinkat(&self.parent, &self.temporary, AtFlags::empty());
        }
    }
}
