//! Unpacking below a directory and nowhere else.
//!
//! Every directory on the way to an entry is opened relative to the one before it and never through a link,
//! so neither links in the archive nor links that somebody makes meanwhile lead outside. Every path is
//! matched against the grants of `fs` too, because a deny rule may be about a part of a granted directory.

use crate::archive::{Archive, Bounds, Meter, describe};
use crate::names::{check_target, components, normal};
use crate::reader::{Entry, Kind, Piece, Reader};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Held, Request, Run, error, io_error, random};
use assay_capability_fs::{Temp, links, path_of};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, linkat, mkdirat, openat, renameat, statat,
    unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FS: &str = "fs";
/// Names that were left out, of which the script is told.
const MAX_SKIPPED: usize = 1000;
/// What a directory that is finished at the end takes beside its path.
const UNFINISHED: usize = 128;
#[cfg(target_os = "linux")]
const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is unpacked, and how.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub bounds: Bounds,
    /// Names, each with what is below it; none is everything.
    pub members: Vec<Vec<u8>>,
    /// Components that are taken off the front of each name.
    pub strip: usize,
    /// Leaves out what may not be unpacked.
    pub skip_unsafe: bool,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Extracted {
    pub entries: u64,
    pub bytes: u64,
    pub skipped: Vec<(Vec<u8>, String)>,
}

enum Failure {
    /// The entry may not be unpacked.
    Refused(String),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Refused(why)
    }
}

/// Unpacks `archive` into `directory`, an open directory whose real path is `real`.
///
/// # Errors
/// `denied` by a deny rule within the directory, `invalid_data` for what may not be unpacked, `limit`,
/// `exists` where something is in the way, or the operating system's. What was unpacked before stays.
pub fn extract<R: BufRead>(
    run: &Run,
    (shown, mut archive): (&str, Archive<R>),
    (directory, real): (OwnedFd, PathBuf),
    selection: &Selection,
) -> Result<Extracted, Error> {
    let denied_within = run.grants.denies_in(FS, &real).is_some();
    let (open, unfinished) = (Vec::new(), BTreeMap::new());
    let room = assay_capability_fs::room(run, &real);
    let mut unpacking =
        Unpacking { run, denied_within, room, directory, real, open, unfinished, held: run.budget.nothing() };
    let mut meter = Meter::new(selection.bounds);
    let mut extracted = Extracted::default();
    let members: Vec<Vec<u8>> = selection.members.iter().map(|name| normal(name)).collect();
    while let Some(entry) = archive.next()? {
        meter.count(shown, &entry)?;
        let outcome = if is_member(&members, &entry.name) {
            unpacking.unpack(&mut archive, &entry, selection.strip)
        } else {
            Ok(false)
        };
        match outcome {
            Ok(false) => {}
            Ok(true) => {
                extracted.entries += 1;
                extracted.bytes += if entry.kind == Kind::File { entry.size } else { 0 };
            }
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Refused(why)) if selection.skip_unsafe => {
                if extracted.skipped.len() < MAX_SKIPPED {
                    extracted.skipped.push((entry.name, why));
                }
            }
            Err(Failure::Refused(why)) => {
                let name: String = String::from_utf8_lossy(&entry.name).chars().take(200).collect();
                return Err(error(
                    ErrorCode::InvalidData,
                    format!(
                        "{shown}: {name} is not unpacked: {why}; to leave such entries out give unsafe = \"skip\""
                    ),
                ));
            }
        }
    }
    archive.finish()?;
    unpacking.finish_directories();
    Ok(extracted)
}

fn is_member(members: &[Vec<u8>], name: &[u8]) -> bool {
    if members.is_empty() {
        return true;
    }
    let name = normal(name);
    members.iter().any(|member| {
        name.strip_prefix(member.as_slice())
            .is_some_and(|rest| member.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
    })
}

struct Unpacking<'a> {
    run: &'a Run,
    /// Whether a deny rule is about something in the directory.
    denied_within: bool,
    /// The run's temporary directory, where this is in it.
    room: Option<Arc<Temp>>,
    directory: OwnedFd,
    real: PathBuf,
    /// The directories on the way to the last entry, which the next one often shares.
    open: Vec<(OsString, OwnedFd)>,
    /// The directories that get something at the end, when all that is in them is there.
    unfinished: BTreeMap<PathBuf, Unfinished>,
    /// What they take of the run's budget.
    held: Held,
}

/// What a directory gets at the end: until then it must be writable, and what is put into it changes its time.
#[derive(Default)]
struct Unfinished {
    /// Of a directory that this call made.
    mode: Option<u32>,
    /// Of one that the archive has.
    modified: Option<i64>,
}

fn timestamps(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn shown(parts: &[&OsStr]) -> String {
    parts.join(OsStr::new("/")).to_string_lossy().into_owned()
}

/// Checks that what is at `name` may be replaced: anything but a directory.
fn check_replaceable(
    run: &Run,
    inside: BorrowedFd<'_>,
    name: &OsStr,
    parts: &[&OsStr],
) -> Result<(), Failure> {
    let there = statat(inside, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|failure| io(parts, failure))?;
    match FileType::from_raw_mode(there.st_mode) {
        FileType::Directory => Err(Failure::Error(error(
            ErrorCode::Exists,
            format!("{}: there is a directory of this name", shown(parts)),
        ))),
        _ => match run.grants.withheld(there.st_dev, there.st_ino) {
            Some(why) => Err(Failure::Error(run.refuse_by(FS, &format!("replacing {}", shown(parts)), &why))),
            None => Ok(()),
        },
    }
}

fn io(parts: &[&OsStr], failure: Errno) -> Failure {
    Failure::Error(io_error(&shown(parts), &failure.into()))
}

impl Unpacking<'_> {
    fn path(&self, parts: &[&OsStr]) -> PathBuf {
        let mut path = self.real.clone();
        path.extend(parts);
        path
    }

    /// Asks whether an entry may be written. The directory as a whole was granted and audited, so only what deny
    /// rules take back within it matters.
    fn allow_writing(&self, path: &Path) -> Result<(), Error> {
        if self.denied_within { self.allow(Access::Write, path) } else { Ok(()) }
    }

    fn allow(&self, access: Access, path: &Path) -> Result<(), Error> {
        let request = Request::File { access, path };
        if self.run.would_allow(FS, &request) {
            return Ok(());
        }
        self.run.check(FS, &request)
    }

    /// Takes room for an entry.
    fn take_room(&self, bytes: u64) -> Result<(), Error> {
        self.room.as_ref().map_or(Ok(()), |room| room.take(self.run, bytes, 1))
    }

    /// Unpacks one entry; false where nothing of its name is left.
    fn unpack<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        entry: &Entry,
        strip: usize,
    ) -> Result<bool, Failure> {
        let parts = components(&entry.name)?;
        let Some(parts) = parts.get(strip..).filter(|parts| !parts.is_empty()) else { return Ok(false) };
        if let Kind::Other(_) = entry.kind {
            return Err(Failure::Refused(format!("it is {}", describe(entry))));
        }
        self.allow_writing(&self.path(parts))?;
        self.take_room(if entry.kind == Kind::File { entry.size } else { 0 })?;
        match entry.kind {
            Kind::File => self.file(archive, entry, parts)?,
            Kind::Directory => self.directory(parts, entry)?,
            Kind::Symlink => self.symlink(parts, entry)?,
            Kind::Hardlink => self.hardlink(parts, &entry.target, strip)?,
            Kind::Other(_) => {}
        }
        Ok(true)
    }

    /// What is to be done to a directory at the end.
    fn unfinished<'a>(
        directories: &'a mut BTreeMap<PathBuf, Unfinished>,
        held: &mut Held,
        path: PathBuf,
    ) -> Result<&'a mut Unfinished, Error> {
        if !directories.contains_key(&path) {
            held.grow(2 * path.as_os_str().len() + UNFINISHED)?;
        }
        Ok(directories.entry(path).or_default())
    }

    /// Opens the directories on the way, and makes those that are missing where `make` says so.
    fn enter(&mut self, parts: &[&OsStr], make: bool) -> Result<BorrowedFd<'_>, Failure> {
        let shared = self.open.iter().zip(parts).take_while(|((name, _), part)| name == *part).count();
        self.open.truncate(shared);
        for (at, part) in parts.iter().enumerate().skip(shared) {
            let way = &parts[..=at];
            let inside = self.open.last().map_or(self.directory.as_fd(), |(_, directory)| directory.as_fd());
            let mut opened = openat(inside, *part, DIRECTORY, Mode::empty());
            if make && matches!(opened, Err(Errno::NOENT)) {
                let path = self.path(way);
                self.allow_writing(&path)?;
                self.take_room(0)?;
                match mkdirat(inside, *part, Mode::from_raw_mode(0o777)) {
                    Ok(()) => {
                        Self::unfinished(&mut self.unfinished, &mut self.held, path)?.mode = Some(0o777);
                    }
                    Err(Errno::EXIST) => {}
                    Err(failure) => return Err(io(way, failure)),
                }
                opened = openat(inside, *part, DIRECTORY, Mode::empty());
            }
            match opened {
                Ok(directory) => self.open.push((part.to_os_string(), directory)),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(Failure::Refused(format!(
                        "{} is a link or a file, and nothing is unpacked through one",
                        shown(way)
                    )));
                }
                Err(failure) => return Err(io(way, failure)),
            }
        }
        Ok(self.open.last().map_or(self.directory.as_fd(), |(_, directory)| directory.as_fd()))
    }

    /// Makes something new by `make`, in place of a file or link of the same name if there is one.
    fn replacing<T>(
        &mut self,
        parts: &[&OsStr],
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        let Some((name, way)) = parts.split_last() else { return Err(io(parts, Errno::INVAL)) };
        let run = self.run;
        let inside = self.enter(way, true)?;
        match make(inside, name) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|failure| io(parts, failure)),
        }
        check_replaceable(run, inside, name, parts)?;
        // Never written into: the old file may have other names, elsewhere.
        unlinkat(inside, *name, AtFlags::empty()).map_err(|failure| io(parts, failure))?;
        make(inside, name).map_err(|failure| io(parts, failure))
    }

    fn file<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        entry: &Entry,
        parts: &[&OsStr],
    ) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let Some((name, way)) = parts.split_last() else { return Err(io(parts, Errno::INVAL)) };
        let run = self.run;
        let inside = self.enter(way, true)?;
        let failed = |failure| io(parts, failure);
        // A file that is there stays until the new one is whole.
        let (opened, beside) = match openat(inside, *name, flags, mode) {
            Err(Errno::EXIST) => {
                check_replaceable(run, inside, name, parts)?;
                let beside = OsString::from(format!(".assay-{}", random::name()));
                (openat(inside, &beside, flags, mode), Some(beside))
            }
            opened => (opened, None),
        };
        let file = File::from(opened.map_err(failed)?);
        let written = self.fill(archive, entry, &file, parts);
        let inside = self.enter(way, false)?;
        let placed = match (written, &beside) {
            (Err(failure), _) => Err(failure.into()),
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(beside)) => renameat(inside, beside, inside, *name).map_err(failed),
        };
        if placed.is_err() {
            // Half a file helps nobody.
            let _ = unlinkat(inside, beside.as_deref().unwrap_or(name), AtFlags::empty());
        }
        placed
    }

    fn fill<R: Read>(
        &self,
        archive: &mut Reader<R>,
        entry: &Entry,
        file: &File,
        parts: &[&OsStr],
    ) -> Result<(), Error> {
        let failed = |failure: std::io::Error| io_error(&shown(parts), &failure);
        let mut at = 0;
        archive.content(entry, &mut |piece| {
            match piece {
                Piece::Data(bytes) => {
                    file.write_all_at(bytes, at).map_err(failed)?;
                    at += bytes.len() as u64;
                }
                Piece::Hole(length) => at += length,
            }
            Ok(())
        })?;
        file.set_len(entry.size).map_err(failed)?;
        // A time that this file system does not have is no reason to fail.
        let _ = rustix::fs::futimens(file, &timestamps(entry.modified));
        Ok(())
    }

    fn directory(&mut self, parts: &[&OsStr], entry: &Entry) -> Result<(), Failure> {
        self.enter(parts, true)?;
        let path = self.path(parts);
        let directory = Self::unfinished(&mut self.unfinished, &mut self.held, path)?;
        // The modes of directories that were there before are not ours to change.
        directory.mode = directory.mode.map(|_| entry.mode & 0o777);
        directory.modified = Some(entry.modified);
        Ok(())
    }

    fn symlink(&mut self, parts: &[&OsStr], entry: &Entry) -> Result<(), Failure> {
        check_target(&entry.target, parts.len().saturating_sub(1))?;
        let (target, name) = (Path::new(OsStr::from_bytes(&entry.target)), shown(parts));
        let (run, times) = (self.run, timestamps(entry.modified));
        self.replacing(parts, |inside, own| {
            let made = links::make(run, inside, own, target, &name)?;
            if made.is_ok() {
                let _ = utimensat(inside, own, &times, AtFlags::SYMLINK_NOFOLLOW);
            }
            Ok(made)
        })?
        .map_err(|refused| Failure::Refused(refused.message))
    }

    /// Gives a file that was unpacked, or was there, another name.
    fn hardlink(&mut self, parts: &[&OsStr], target: &[u8], strip: usize) -> Result<(), Failure> {
        let leads = format!("it is a hard link to {}", String::from_utf8_lossy(target));
        let refused = |why: &str| Failure::Refused(format!("{leads}, {why}"));
        let there = components(target).map_err(|why| refused(&why))?;
        let there = there.get(strip..).unwrap_or_default();
        let Some((name, way)) = there.split_last() else { return Err(refused("which is not there")) };
        if there == parts {
            return Err(refused("which is itself"));
        }
        let (path, new) = (self.path(there), self.path(parts));
        self.allow_writing(&path)?;
        // Else a file that may not be read could be read by its new name.
        if self.run.would_allow(FS, &Request::File { access: Access::Read, path: &new }) {
            self.allow(Access::Read, &path)?;
        }
        let inside = match self.enter(way, false) {
            Err(Failure::Error(failure)) if failure.code == ErrorCode::NotFound => {
                return Err(refused("which is not there"));
            }
            other => other?,
        };
        let about = match statat(inside, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Err(refused("which is not there")),
            other => other.map_err(|failure| io(there, failure))?,
        };
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            return Err(refused("which is not a regular file"));
        }
        let from = inside.try_clone_to_owned().map_err(|failure| io_error(&shown(there), &failure))?;
        let _moving = links::moving();
        if path_of(&from) != path.parent().map(Path::to_path_buf) {
            return Err(refused("whose directory was moved meanwhile"));
        }
        let directory = new.parent().map(Path::to_path_buf);
        self.replacing(parts, |inside, new| match path_of(inside) {
            now if now == directory => linkat(&from, *name, inside, new, AtFlags::empty()),
            _ => Err(Errno::NOENT),
        })
    }

    /// Gives the directories their modes and times, the innermost first. What fails keeps what it has.
    fn finish_directories(&mut self) {
        let mut directories: Vec<_> = std::mem::take(&mut self.unfinished).into_iter().collect();
        directories.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, Unfinished { mode, modified }) in directories {
            let mode = mode.filter(|mode| *mode != 0o777);
            if mode.is_none() && modified.is_none() {
                continue;
            }
            let Ok(inner) = path.strip_prefix(&self.real) else { continue };
            let parts: Vec<&OsStr> = inner.iter().collect();
            let Some((name, way)) = parts.split_last() else { continue };
            let Ok(inside) = self.enter(way, false) else { continue };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(directory) = openat(inside, *name, flags, Mode::empty()) else { continue };
            if let (Some(mode), Ok(about)) = (mode, rustix::fs::fstat(&directory)) {
                // It was made with everything that the umask leaves, and keeps the bits that it inherited.
                let kept = about.st_mode & (0o7000 | mode);
                let _ = rustix::fs::fchmod(&directory, Mode::from_raw_mode(kept));
                // What is open below it was opened before.
                self.open.clear();
            }
            if let Some(modified) = modified {
                let _ = rustix::fs::futimens(&directory, &timestamps(modified));
            }
        }
    }
}
