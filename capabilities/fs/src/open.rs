//! Opening files: only regular ones, and never one that was swapped in.

use crate::resolve::{self, FS, Last, Place, resolve};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, error};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::OwnedFd;

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
                "it is a device, a pipe or a socket, which only a grant of exactly its path covers",
            ))
        }),
    }
}

/// Opens a file; what is returned was checked after it was opened.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open(run: &Run, path: &str, how: How) -> Result<File, Error> {
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
        if how.truncate && kind == FileType::RegularFile && stat.st_size > 0 {
            rustix::fs::ftruncate(&opened, 0).map_err(|source| place.failed(source))?;
        }
        return Ok(File::from(opened));
    }
}

/// A name that nobody guesses. The standard library seeds its hash tables from the system's entropy.
pub fn unique() -> String {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

/// A new file that takes the place of another when it is committed; removed when dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
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
    /// `denied`, or the operating system's.
    pub fn create(run: &Run, path: &str) -> Result<AtomicFile, Error> {
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
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!(".assay-{}", unique());
        // Never readable to more people than the file it replaces.
        let mode = old.map_or(Mode::from_raw_mode(0o666), |_| Mode::from_raw_mode(0o600));
        let file = openat(&place.parent, &temporary, flags, mode).map_err(|source| place.failed(source))?;
        let Place { parent, name, shown, .. } = place;
        let atomic = AtomicFile { file: File::from(file), parent, temporary, name, shown, committed: false };
        if let Some(mode) = old {
            rustix::fs::fchmod(&atomic.file, mode).map_err(|source| resolve::failed(path, source))?;
        }
        Ok(atomic)
    }

    pub fn file(&self) -> &File {
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
