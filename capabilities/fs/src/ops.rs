//! What is done to entries of directories: each acts on a name in a directory that was checked.

use crate::Cancel;
use crate::links::{self, moving, survey};
use crate::open::check_special;
use crate::resolve::{
    FS, Last, ResolvedPath, allow_written, failed, open_directory, open_path, resolve, would_allow,
};
use crate::temp::room;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, denier, error};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Directories in directories that an operation goes into: each holds a file handle of the host.
pub const MAX_DEPTH: usize = 256;

/// An operation on a whole directory must not do to a part of it what a deny rule forbids. So it is for a link, whose
/// place may be a directory afterwards.
fn check_below(run: &Run, place: &ResolvedPath, doing: &str) -> Result<(), Error> {
    if !matches!(place.kind(), Ok(FileType::Directory | FileType::Symlink)) {
        return Ok(());
    }
    let rule = run.grants.denies_in(FS, &place.real).or_else(|| run.grants.withheld_in(&place.real));
    match rule {
        None => Ok(()),
        Some(rule) => {
            run.record_denial(FS, &format!("{doing} {}", place.real.display()));
            let (shown, rule) = (&place.shown, denier(&rule));
            let message = format!("{doing} {shown} is refused: something in it is denied by {rule}");
            Err(error(ErrorCode::Denied, message))
        }
    }
}

/// What is removed where a directory is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remove {
    /// As `remove` of C does: an empty directory.
    One,
    /// An empty directory, or all that is in it in the run's temporary directory.
    Entry,
    /// The directory with all that is in it.
    Tree,
}

/// What no script means to remove: the directory that it was granted, or the one that it works in.
fn check_removable(run: &Run, place: &ResolvedPath, doing: &str) -> Result<(), Error> {
    let shown = place.shown.trim_end_matches('/');
    let last = shown.rsplit('/').next().unwrap_or_default();
    let request = Request::File { access: Access::Write, path: &place.real };
    let why = if matches!(last, "" | "." | "..") {
        "a directory is named by its name"
    } else if run.working_directory.starts_with(&place.real) {
        "the script runs in it"
    } else if run.grants.begins_at(FS, &request, &place.real) {
        "it is the directory that was granted"
    } else {
        return Ok(());
    };
    run.record_denial(FS, &format!("{doing} {}", place.real.display()));
    let message = format!("{doing} {} is refused: {why}; do it to what is in it instead", place.shown);
    Err(error(ErrorCode::Denied, message))
}

/// Removes a file, a link, or a directory. Links are not followed.
///
/// # Errors
/// `denied`, also for the directory that was granted; or the operating system's. What was removed before stays removed.
pub fn remove(run: &Run, path: &str, how: Remove, cancel: &Cancel) -> Result<(), Error> {
    let place = resolve(run, path, &[Access::Write], Last::Keep, false)?;
    match place.kind() {
        Ok(FileType::Directory) => {
            check_removable(run, &place, "removing")?;
            check_below(run, &place, "removing")?;
            // A rule that began here would make it the directory that was granted, which stays.
            if let Some(parent) = place.real.parent() {
                run.learn(FS, &Request::File { access: Access::Write, path: parent });
            }
            let whole = match how {
                Remove::One => false,
                Remove::Entry => run.compat || room(run, &place.real).is_some(),
                Remove::Tree => true,
            };
            if whole {
                empty_directory(&place.parent, Path::new(&place.name), path, 0, cancel)?;
            }
            let removed = unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR);
            removed.map_err(|source| match place.failed(source) {
                mut failure if how == Remove::Entry && matches!(source, Errno::NOTEMPTY | Errno::EXIST) => {
                    failure.message.push_str("; {recursive = true} removes it with all that is in it");
                    failure
                }
                failure => failure,
            })
        }
        Ok(_) => {
            check_below(run, &place, "removing")?;
            unlinkat(&place.parent, &place.name, AtFlags::empty()).map_err(|source| place.failed(source))
        }
        Err(source) => Err(place.failed(source)),
    }
}

fn empty_directory(
    parent: &OwnedFd,
    name: &Path,
    shown: &str,
    depth: usize,
    cancel: &Cancel,
) -> Result<(), Error> {
    if depth >= MAX_DEPTH {
        return Err(error(
            ErrorCode::Limit,
            format!("{shown}: directories are nested deeper than {MAX_DEPTH}; nothing below was removed"),
        ));
    }
    cancel.check()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(failed(shown, source)),
    };
    let entries = Dir::read_from(&directory).map_err(|source| failed(shown, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| failed(shown, source))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let shown = || format!("{shown}/{}", name.to_string_lossy());
        match unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Linux says the one, POSIX the other.
            Err(Errno::ISDIR | Errno::PERM) => {
                use std::os::unix::ffi::OsStrExt;
                let inner = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
                empty_directory(&directory, inner, &shown(), depth + 1, cancel)?;
                match unlinkat(&directory, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(source) => return Err(failed(&shown(), source)),
                }
            }
            Err(source) => return Err(failed(&shown(), source)),
        }
    }
    Ok(())
}

/// A directory must not be moved to where rules give other rights to a part of it: what could not be read there, or not
/// written, could be then.
fn check_rights(run: &Run, from: &ResolvedPath, to: &ResolvedPath) -> Result<(), Error> {
    let refuse = |why: &str| {
        let what = format!("renaming {} to {}", from.real.display(), to.real.display());
        run.record_denial(FS, &what);
        let message = format!("renaming {} to {} is refused: {why}", from.shown, to.shown);
        Err(error(ErrorCode::Denied, message))
    };
    // The run's own directory is known by its name.
    if run.grants.own_path().is_some_and(|own| own.starts_with(&from.real) || own == to.real) {
        return refuse("the run's temporary directory is in it");
    }
    if from.kind() == Ok(FileType::Directory) {
        let borders = [run.grants.borders(FS, &from.real), run.grants.borders(FS, &to.real)].concat();
        for border in borders {
            // Joining with nothing would add a slash, which is the same path.
            let (old, new) = (from.real.join(&border), to.real.join(&border));
            for access in [Access::Stat, Access::List, Access::Read, Access::Write, Access::SetId] {
                if would_allow(run, access, &new) && !would_allow(run, access, &old) {
                    return refuse("what is in it would get rights that it does not have where it is");
                }
            }
            if !would_allow(run, Access::Write, &new) {
                return refuse("something in it may not be written there");
            }
        }
    }
    // Else a directory that may only be written could be read by moving its files.
    for access in [Access::Read, Access::List, Access::Stat] {
        if would_allow(run, access, &to.real) && !would_allow(run, access, &from.real) {
            // As it was asked for where that is what was written, which gives the flag to grant.
            let named = from.real == run.path(&from.shown);
            let asked = if named { allow_written(run, access, &from.real, &from.shown) } else { Ok(()) };
            asked.and_then(|()| match would_allow(run, access, &from.real) {
                true => Ok(()),
                false => refuse("it could be read there, and may not be read where it is"),
            })?;
        }
    }
    Ok(())
}

/// Renames or moves within a file system; what is at `destination` is replaced, as `rename` does.
///
/// # Errors
/// `denied`, also where something would get rights by being moved, or a link would lead out; `limit`; or the operating
/// system's.
pub fn rename(run: &Run, source: &str, destination: &str, cancel: &Cancel) -> Result<(), Error> {
    let _moving = moving();
    let from = resolve(run, source, &[Access::Write], Last::Keep, false)?;
    let to = resolve(run, destination, &[Access::Write], Last::Keep, false)?;
    if from.kind() == Ok(FileType::Directory) {
        check_removable(run, &from, "renaming")?;
    }
    check_below(run, &from, "renaming")?;
    if let Some(rule) = run.grants.denies_in(FS, &to.real)
        && matches!(from.kind(), Ok(FileType::Directory | FileType::Symlink))
    {
        run.record_denial(FS, &format!("renaming to {}", to.real.display()));
        let rule = denier(&rule);
        return Err(error(
            ErrorCode::Denied,
            format!("renaming to {destination} is refused: something in it is denied by {rule}"),
        ));
    }
    check_rights(run, &from, &to)?;
    let room = room(run, &to.real).filter(|room| !room.holds(&from.real));
    let content = survey(run, (&from.parent, &from.name), &to.real, source, room.is_some(), cancel)?;
    if let Some(room) = room {
        room.take(run, content.bytes, content.entries)?;
    }
    renameat(&from.parent, &from.name, &to.parent, &to.name).map_err(|error| match error {
        // The destination's directory was found, so it is the source that is not there.
        Errno::NOENT | Errno::INVAL => from.failed(error),
        _ => failed(&format!("{source} to {destination}"), error),
    })
}

/// Sets permission bits, those of a link's target.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn chmod(run: &Run, path: &str, mode: u32) -> Result<(), Error> {
    if mode > 0o7777 {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!("{path}: {mode:o} is not a mode from 0 to 7777 (octal)"),
        ));
    }
    let place = resolve(run, path, &[Access::Write], Last::Follow, false)?;
    let opened = open_path(run, &[Access::Write], &place)?;
    let stat = rustix::fs::fstat(&opened).map_err(|source| place.failed(source))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(place.failed(Errno::LOOP));
    }
    check_special(run, &place, mode, "setuid, setgid and sticky bits need a grant of their own")?;
    let mode = Mode::from_raw_mode(mode);
    // A handle that was opened for looking only cannot be changed itself, but by its name in /proc.
    let by_handle = format!("/proc/self/fd/{}", opened.as_raw_fd());
    match rustix::fs::chmodat(rustix::fs::CWD, by_handle.as_str(), mode, AtFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => rustix::fs::fchmod(&opened, mode),
        other => other,
    }
    .map_err(|source| place.failed(source))
}

/// Makes a directory and its missing parents.
///
/// # Errors
/// `denied`, `exists` where there is something else, or the operating system's.
pub fn mkdir(run: &Run, path: &str) -> Result<(), Error> {
    let place = resolve(run, path, &[Access::Write], Last::Follow, true)?;
    let room = room(run, &place.real).filter(|_| place.kind() == Err(Errno::NOENT));
    if let Some(room) = room {
        room.take(run, 0, 1)?;
    }
    match mkdirat(&place.parent, &place.name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) if place.kind() == Ok(FileType::Directory) => Ok(()),
        Err(source) => Err(place.failed(source)),
    }
}

/// What is known about a path, and whether it is a link itself.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn stat(run: &Run, path: &str, follow: bool) -> Result<(Metadata, bool), Error> {
    let look = |last| {
        let place = resolve(run, path, &[Access::Stat], last, false)?;
        let opened = open_path(run, &[Access::Stat], &place)?;
        let metadata = File::from(opened).metadata().map_err(|source| place.failed(source))?;
        if place.directory && last == Last::Follow && !metadata.is_dir() {
            return Err(place.failed(Errno::NOTDIR));
        }
        Ok(metadata)
    };
    let own = look(Last::Keep)?;
    let is_link = own.is_symlink();
    if follow && (is_link || path.ends_with('/')) {
        return Ok((look(Last::Follow)?, is_link));
    }
    Ok((own, is_link))
}

/// Makes a link. What it leads to, seen from the link's directory, must be what the run may write.
///
/// # Errors
/// `denied`, `invalid-argument`, or the operating system's.
pub fn symlink(run: &Run, target: &str, path: &str) -> Result<(), Error> {
    if target.is_empty() || target.contains('\0') {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!("{path}: a link to nothing: the target is empty or has a NUL byte"),
        ));
    }
    let place = resolve(run, path, &[Access::Write], Last::Keep, false)?;
    if let Some(room) = room(run, &place.real) {
        room.take(run, 0, 1)?;
    }
    links::make(run, place.parent.as_fd(), &place.name, Path::new(target), path)
        .map_err(|source| place.failed(source))?
}

/// The text of a link.
///
/// # Errors
/// `denied`, `invalid-data` where it is not UTF-8, or the operating system's.
pub fn readlink(run: &Run, path: &str) -> Result<String, Error> {
    let place = resolve(run, path, &[Access::Stat], Last::Keep, false)?;
    let target =
        rustix::fs::readlinkat(&place.parent, &place.name, Vec::new()).map_err(|source| match source {
            Errno::INVAL => Error {
                errno: source.raw_os_error(),
                ..error(ErrorCode::InvalidArgument, format!("{path}: it is not a link"))
            },
            _ => place.failed(source),
        })?;
    target
        .into_string()
        .map_err(|_| error(ErrorCode::InvalidData, format!("{path}: the link's target is not UTF-8")))
}

/// The absolute path of what is there, without links.
///
/// # Errors
/// `denied`, `invalid-data` where it is not UTF-8, or the operating system's.
pub fn canonicalize(run: &Run, path: &str) -> Result<String, Error> {
    let place = resolve(run, path, &[Access::Stat], Last::Follow, false)?;
    if place.directory {
        drop(open_directory(run, &[Access::Stat], &place)?);
    } else {
        drop(open_path(run, &[Access::Stat], &place)?);
    }
    let real = place.real.into_os_string().into_string();
    real.map_err(|_| error(ErrorCode::InvalidData, format!("{path}: its real path is not UTF-8")))
}
