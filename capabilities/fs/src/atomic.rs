//! Files that take the place of others at once: what is half written has another name, and nobody but its owner reads it.

use crate::open::{growth, permitted};
use crate::resolve::{self, Last, ResolvedPath, resolve};
use crate::rights::Rights;
use crate::temp::{Temp, room};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Counter, Run, error, random};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::fchown;
use std::path::PathBuf;
use std::sync::Arc;

/// A new file that takes the place of another when it is committed; removed when dropped before.
pub struct AtomicFile {
    file: Arc<File>,
    run: Arc<Run>,
    room: Option<Arc<Temp>>,
    parent: OwnedFd,
    temporary: String,
    name: OsString,
    real: PathBuf,
    shown: String,
    /// What it replaces, as it was in the beginning.
    old: Option<Stat>,
    /// What it gets at the end. None: what the file has that it replaces.
    rights: Option<Rights>,
    committed: bool,
}

/// The regular file at `place`; none where there is nothing.
fn old_file(place: &ResolvedPath) -> Result<Option<Stat>, Error> {
    match statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(stat)),
            FileType::Directory => Err(place.failed(Errno::ISDIR)),
            _ => Err(error(
                ErrorCode::Unsupported,
                format!("{}: only a regular file can be replaced as a whole", place.shown),
            )),
        },
        Err(Errno::NOENT) if !place.directory => Ok(None),
        Err(source) => Err(place.failed(source)),
    }
}

impl AtomicFile {
    /// Starts to replace the file at `path`, or to make it. Parent directories are made. A file that is replaced keeps its
    /// mode and access list, and its owner and group as far as this process may give them.
    ///
    /// # Errors
    /// `denied`, `limit`, or the operating system's.
    pub fn create(run: &Arc<Run>, path: &str) -> Result<AtomicFile, Error> {
        AtomicFile::start(run, path, None)
    }

    /// The same for a copy, which gets `rights` in place of those of the old file, and never more before that. No directory is
    /// made.
    ///
    /// # Errors
    /// As for [`AtomicFile::create`].
    pub fn create_with(run: &Arc<Run>, path: &str, rights: Rights) -> Result<AtomicFile, Error> {
        AtomicFile::start(run, path, Some(rights))
    }

    fn start(run: &Arc<Run>, path: &str, rights: Option<Rights>) -> Result<AtomicFile, Error> {
        let place = resolve(run, path, &[Access::Write], Last::Follow, rights.is_none())?;
        let old = old_file(&place)?;
        if fstat(&place.parent).map_err(|source| place.failed(source))?.st_nlink == 0 {
            return Err(place.failed(Errno::NOENT));
        }
        let room = room(run, &place.real);
        if let Some(room) = &room {
            room.take(run, 0, 1)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!(".assay-{}", random::name());
        // Never readable to more people than the file it replaces, or is a copy of.
        let mode = rights.as_ref().map(|rights| rights.mode).or(old.map(|old| old.st_mode));
        let first = mode.map_or(0o666, |mode| mode & 0o600);
        let file = openat(&place.parent, &temporary, flags, Mode::from_raw_mode(first))
            .map_err(|source| place.failed(source))?;
        let file = Arc::new(File::from(file));
        if let Some(room) = &room {
            room.watch(&file);
        }
        let ResolvedPath { parent, name, shown, real, .. } = place;
        let run = run.clone();
        Ok(AtomicFile {
            file,
            run,
            room,
            parent,
            temporary,
            name,
            real,
            shown,
            old,
            rights,
            committed: false,
        })
    }

    /// Writes all of `bytes` where the file is.
    ///
    /// # Errors
    /// `limit` where it lies in the temporary directory and there is no more room; the operating system's.
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
        // Its owner and mode may have been changed while the new content was on its way.
        let old = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Some(stat),
            _ => self.old,
        };
        let failed = |source: Errno| resolve::failed(&self.shown, source);
        let kept = old.as_ref().map_or(Ok(true), |old| self.keep_owner(old)).map_err(failed)?;
        let of_old = old.as_ref().map(|old| Rights::at(&self.parent, &self.name, old.st_mode));
        // A copy that replaces nothing may be lost with the machine, as one by `cp` is.
        let durable = self.rights.is_none() || old.is_some();
        if let Some(mut rights) = self.rights.take().or(of_old) {
            rights.mode = permitted(&self.run, &self.real, rights.mode);
            rights.give(&self.file, kept).map_err(failed)?;
        }
        if durable {
            self.file.sync_all().map_err(|source| resolve::failed(&self.shown, source))?;
        }
        renameat(&self.parent, &self.temporary, &self.parent, &self.name).map_err(|source| {
            let mut failure = failed(source);
            if source == Errno::BUSY {
                failure.message.push_str(
                    "; it is a mount point, which cannot be replaced as a whole: write it where it is, with fs.write",
                );
            }
            failure
        })?;
        self.committed = true;
        if let Some(old) = &old {
            self.tell(old);
        }
        Ok(())
    }

    /// Gives the file the owner and the group of the old one, as far as this process may. Gives whether the group is
    /// the same.
    fn keep_owner(&self, old: &Stat) -> Result<bool, Errno> {
        let own = fstat(&self.file)?;
        let same = (own.st_uid, own.st_gid) == (old.st_uid, old.st_gid);
        Ok(same
            || fchown(&self.file, Some(old.st_uid), Some(old.st_gid)).is_ok()
            || own.st_gid == old.st_gid
            || fchown(&self.file, None, Some(old.st_gid)).is_ok())
    }

    /// Says what became of the old file beyond its content.
    fn tell(&self, old: &Stat) {
        if old.st_nlink > 1 {
            let others = old.st_nlink - 1;
            let names = if others == 1 {
                "name (a hard link), which keeps"
            } else {
                "names (hard links), which keep"
            };
            self.warn(&format!("had {others} other {names} the old content: it was replaced as a whole"));
        }
        let now = fstat(&self.file).map_or((old.st_uid, old.st_gid), |own| (own.st_uid, own.st_gid));
        if now != (old.st_uid, old.st_gid) {
            let (uid, gid) = now;
            self.warn(&format!(
                "belonged to {}:{} and now to {uid}:{gid}: it was replaced as a whole, and only root gives files away",
                old.st_uid, old.st_gid
            ));
        }
    }

    /// A line in the log, counted as one of the script's.
    fn warn(&self, what: &str) {
        let line = format!("{} {what}", self.shown.escape_debug());
        if self.run.spend(Counter::Log, line.len() as u64).is_ok() {
            tracing::warn!("{line}");
        }
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
