//! Opening files: only regular ones, and never one that was swapped in.

use crate::resolve::{self, FS, Last, ResolvedPath, resolve};
use crate::temp::{Temp, room};
use assay_capability_api::types::Error;
use assay_capability_api::{Access, Request, Run};
use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Seek;
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
    /// Makes missing parent directories.
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
fn check_type(run: &Run, access: &[Access], place: &ResolvedPath, kind: FileType) -> Result<(), Error> {
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
pub fn check_special(run: &Run, place: &ResolvedPath, mode: u32, why: &str) -> Result<(), Error> {
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
pub fn permitted(run: &Run, path: &Path, mode: u32) -> u32 {
    if may_set_id(run, path) { mode & 0o7777 } else { mode & !SPECIAL & 0o7777 }
}

/// How many bytes a file grows by when so many are written to it where it is.
pub fn growth(file: &File, append: bool, bytes: usize) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let at = if append { size } else { (&*file).stream_position()? };
    Ok(at.saturating_add(bytes as u64).saturating_sub(size))
}

/// Opens a file; what is returned was checked after it was opened. What is written to it takes no room of the run's
/// temporary directory: it is for reading, and for programs.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open(run: &Run, path: &str, how: How) -> Result<File, Error> {
    Ok(open_for(run, path, how)?.0)
}

/// [`open`], with the temporary directory where the file is to be written in it.
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
            Err(Errno::NOENT) if how.create && !place.directory => {}
            Err(source) => return Err(place.failed(source)),
        }
        if place.directory {
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
