//! Listing directories, entry by entry, in order.

use crate::Cancel;
use crate::ops::MAX_DEPTH;
use crate::resolve::{Last, allow, elsewhere, failed, open_directory, path_of, resolve, would_allow};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Held, Run, error};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries that one listing gives before it fails: a directory of more is not what a script means to hold.
pub const MAX_ENTRIES: usize = 1_000_000;

/// One entry of a directory, by its real name.
pub struct Item {
    pub name: OsString,
    pub kind: FileType,
}

/// The error of a listing that does not end.
pub fn too_many(shown: &str) -> Error {
    error(ErrorCode::Limit, format!("{shown}: more than {MAX_ENTRIES} entries"))
}

/// What an entry takes beside its name, bytes: its place in the list, and what the allocator keeps for and around it.
pub const ITEM: usize = 112;

/// The entries of an open directory, sorted by their bytes, and what they take of the run's budget.
///
/// # Errors
/// `limit`, or the operating system's.
pub fn entries(run: &Run, directory: &OwnedFd, shown: &str) -> Result<(Vec<Item>, Held), Error> {
    let mut items = Vec::new();
    let mut held = run.budget.nothing();
    for entry in Dir::read_from(directory).map_err(|source| failed(shown, source))? {
        let entry = entry.map_err(|source| failed(shown, source))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(source) => return Err(failed(shown, source)),
            },
            kind => kind,
        };
        if items.len() >= MAX_ENTRIES {
            return Err(too_many(shown));
        }
        // The list may have room for as many again.
        held.grow(name.to_bytes().len() + 2 * ITEM)?;
        items.push(Item { name: OsString::from_vec(name.to_bytes().to_vec()), kind });
    }
    items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok((items, held))
}

/// Opens a directory in an open directory; none where it is gone or no directory any more.
///
/// # Errors
/// The operating system's.
pub fn enter(directory: &OwnedFd, name: &OsStr, shown: &str) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(source) => Err(failed(shown, source)),
    }
}

/// `directory/name`, as a script would write it.
pub fn join(directory: &str, name: &OsStr) -> String {
    let name = name.to_string_lossy();
    match directory {
        "" => name.into_owned(),
        directory if directory.ends_with('/') => format!("{directory}{name}"),
        directory => format!("{directory}/{name}"),
    }
}

/// Checks that a directory that was listed is where it was found: a move must not carry a walk to what may not be read.
///
/// # Errors
/// `denied`.
pub fn check_still(
    run: &Run,
    directory: &OwnedFd,
    real: &Path,
    shown: &str,
    access: Access,
) -> Result<(), Error> {
    match path_of(directory) {
        Some(now) if now != real => allow(run, access, &now).map_err(|_| elsewhere(&[access], shown)),
        _ => Ok(()),
    }
}

struct Level {
    directory: OwnedFd,
    /// The last comes first.
    items: Vec<Item>,
    shown: String,
    real: PathBuf,
    /// What the items take of the run's budget.
    _held: Held,
}

/// A walk through a directory and the directories in it; each directory comes before what is in it.
pub struct Walker {
    run: Arc<Run>,
    levels: Vec<Level>,
    /// How many levels are listed; none for all.
    depth: Option<usize>,
    given: usize,
}

impl Walker {
    /// Starts at `path`.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    pub fn new(run: Arc<Run>, path: &str, depth: Option<usize>) -> Result<Walker, Error> {
        let access = if depth == Some(1) { Access::List } else { Access::Read };
        let place = resolve(&run, path, &[access], Last::Follow, false)?;
        let directory = open_directory(&run, &[access], &place)?;
        let mut walker = Walker { run, levels: Vec::new(), depth, given: 0 };
        walker.push(directory, path.to_owned(), place.real, access)?;
        Ok(walker)
    }

    fn push(
        &mut self,
        directory: OwnedFd,
        shown: String,
        real: PathBuf,
        access: Access,
    ) -> Result<(), Error> {
        let (mut items, held) = entries(&self.run, &directory, &shown)?;
        check_still(&self.run, &directory, &real, &shown, access)?;
        items.reverse();
        self.levels.push(Level { directory, items, shown, real, _held: held });
        Ok(())
    }

    /// The next entry: its path, name and type.
    ///
    /// # Errors
    /// `limit`, or the operating system's.
    pub fn next(&mut self, cancel: &Cancel) -> Result<Option<(String, OsString, FileType)>, Error> {
        let (path, item) = loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            match level.items.pop() {
                Some(item) => break (join(&level.shown, &item.name), item),
                None => drop(self.levels.pop()),
            }
        };
        self.given += 1;
        if self.given > MAX_ENTRIES {
            return Err(too_many(&path));
        }
        if item.kind == FileType::Directory && self.depth.is_none_or(|depth| self.levels.len() < depth) {
            cancel.check()?;
            self.descend(&path, &item.name)?;
        }
        Ok(Some((path, item.name, item.kind)))
    }

    fn descend(&mut self, path: &str, name: &OsStr) -> Result<(), Error> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let real = level.real.join(name);
        // A directory that a deny rule names is listed, but not what is in it.
        if !would_allow(&self.run, Access::Read, &real) {
            return Ok(());
        }
        if self.levels.len() >= MAX_DEPTH {
            return Err(error(
                ErrorCode::Limit,
                format!("{path}: directories are nested deeper than {MAX_DEPTH}; give a depth"),
            ));
        }
        if let Some(directory) = enter(&level.directory, name, path)? {
            self.push(directory, path.to_owned(), real, Access::Read)?;
        }
        Ok(())
    }
}
