//! What is done to entries of folders: each acts on a name in a folder that was checked.

use crate::Cancel;
use crate::open::{How, open};
use crate::resolve::{self, FS, Last, Place, failed, open_folder, open_path, resolve};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, error};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Folders in folders that an operation goes into: each holds a file handle of the host.
pub const MAX_DEPTH: usize = 256;

/// An operation on a whole folder must not do to a part of it what a deny rule forbids.
fn check_below(run: &Run, place: &Place, doing: &str) -> Result<(), Error> {
    if place.kind() != Ok(FileType::Directory) {
        return Ok(());
    }
    match run.grants.denies_in(FS, &place.real) {
        None => Ok(()),
        Some(rule) => {
            let what = format!("{doing} {}", place.real.display());
            let message = format!("{what} is refused: something in it is denied by --deny {rule}");
            run.record_denial(FS, &what, None);
            Err(error(ErrorCode::Denied, message))
        }
    }
}

/// Removes a file, a link, or a folder; `recursive` with all that is in it. Links are not followed.
///
/// # Errors
/// `denied`, or the operating system's. What was removed before stays removed.
pub fn remove(run: &Run, path: &str, recursive: bool, cancel: &Cancel) -> Result<(), Error> {
    let place = resolve(run, path, &[Access::Write], Last::Keep, false)?;
    match place.kind() {
        Ok(FileType::Directory) => {
            check_below(run, &place, "removing")?;
            if recursive {
                empty_folder(&place.parent, Path::new(&place.name), path, 0, cancel)?;
            }
            unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR).map_err(|source| place.failed(source))
        }
        Ok(_) => {
            unlinkat(&place.parent, &place.name, AtFlags::empty()).map_err(|source| place.failed(source))
        }
        Err(source) => Err(place.failed(source)),
    }
}

fn empty_folder(
    parent: &OwnedFd,
    name: &Path,
    shown: &str,
    depth: usize,
    cancel: &Cancel,
) -> Result<(), Error> {
    if depth >= MAX_DEPTH {
        return Err(error(
            ErrorCode::Limit,
            format!("{shown}: folders are nested deeper than {MAX_DEPTH}; nothing below was removed"),
        ));
    }
    cancel.check()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(parent, name, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(failed(shown, source)),
    };
    let entries = Dir::read_from(&folder).map_err(|source| failed(shown, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| failed(shown, source))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let shown = || format!("{shown}/{}", name.to_string_lossy());
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Linux says the one, POSIX the other.
            Err(Errno::ISDIR | Errno::PERM) => {
                use std::os::unix::ffi::OsStrExt;
                let inner = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
                empty_folder(&folder, inner, &shown(), depth + 1, cancel)?;
                match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(source) => return Err(failed(&shown(), source)),
                }
            }
            Err(source) => return Err(failed(&shown(), source)),
        }
    }
    Ok(())
}

/// Renames or moves within a file system; what is at `destination` is replaced, as `rename` does.
///
/// # Errors
/// `denied`, also where the file would become readable by being moved; or the operating system's.
pub fn rename(run: &Run, source: &str, destination: &str) -> Result<(), Error> {
    let from = resolve(run, source, &[Access::Write], Last::Keep, false)?;
    let to = resolve(run, destination, &[Access::Write], Last::Keep, false)?;
    check_below(run, &from, "renaming")?;
    if let Some(rule) = run.grants.denies_in(FS, &to.real)
        && from.kind() == Ok(FileType::Directory)
    {
        let what = format!("renaming to {}", to.real.display());
        run.record_denial(FS, &what, None);
        return Err(error(
            ErrorCode::Denied,
            format!("{what} is refused: something in it is denied by --deny {rule}"),
        ));
    }
    // Else a folder that may only be written could be read by moving its files.
    if run.would_allow(FS, &Request::File { access: Access::Read, path: &to.real }) {
        resolve::allow(run, Access::Read, &from.real)?;
    }
    renameat(&from.parent, &from.name, &to.parent, &to.name).map_err(|error| match error {
        // The destination's folder was found, so it is the source that is not there.
        Errno::NOENT | Errno::INVAL => from.failed(error),
        _ => failed(&format!("{source} to {destination}"), error),
    })
}

/// Copies a file with its permission bits.
///
/// # Errors
/// `denied`, `limit`, or the operating system's.
pub fn copy(run: &Run, source: &str, destination: &str, cancel: &Cancel) -> Result<u64, Error> {
    let from = open(run, source, How { read: true, ..How::default() })?;
    let about = from.metadata().map_err(|error| failed(source, error))?;
    let to = open(run, destination, How { write: true, create: true, ..How::default() })?;
    let there = to.metadata().map_err(|error| failed(destination, error))?;
    if (about.dev(), about.ino()) == (there.dev(), there.ino()) {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!("{source} and {destination} are the same file"),
        ));
    }
    if there.is_file() {
        to.set_len(0).map_err(|error| failed(destination, error))?;
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    loop {
        cancel.check()?;
        let read = match (&from).read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(source, error)),
        };
        run.count_bytes(read)?;
        (&to).write_all(&buffer[..read]).map_err(|error| failed(destination, error))?;
        copied += read as u64;
    }
    if there.is_file() && about.is_file() {
        rustix::fs::fchmod(&to, Mode::from_raw_mode(about.mode()))
            .map_err(|error| failed(destination, error))?;
    }
    Ok(copied)
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
    let mode = Mode::from_raw_mode(mode);
    // A handle that was opened for looking only cannot be changed itself, but by its name in /proc.
    let by_handle = format!("/proc/self/fd/{}", opened.as_raw_fd());
    match rustix::fs::chmodat(rustix::fs::CWD, by_handle.as_str(), mode, AtFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => rustix::fs::fchmod(&opened, mode),
        other => other,
    }
    .map_err(|source| place.failed(source))
}

/// Makes a folder and its missing parents.
///
/// # Errors
/// `denied`, `exists` where there is something else, or the operating system's.
pub fn mkdir(run: &Run, path: &str) -> Result<(), Error> {
    let place = resolve(run, path, &[Access::Write], Last::Follow, true)?;
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
        let place = resolve(run, path, &[Access::Read], last, false)?;
        let opened = open_path(run, &[Access::Read], &place)?;
        let metadata = File::from(opened).metadata().map_err(|source| place.failed(source))?;
        if place.folder && last == Last::Follow && !metadata.is_dir() {
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

/// Makes a link. What it leads to must be granted for reading, seen from the link's folder.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn symlink(run: &Run, target: &str, path: &str) -> Result<(), Error> {
    let place = resolve(run, path, &[Access::Write], Last::Keep, false)?;
    let folder = place.real.parent().unwrap_or(Path::new("/"));
    let seen = folder.join(target);
    let Some(seen) = seen.to_str() else {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!("{path}: its folder's real path is not UTF-8"),
        ));
    };
    if target.is_empty() {
        return Err(failed("the link's target is empty", Errno::NOENT));
    }
    // A link to what is not there yet is fine, as long as it would be granted.
    match resolve(run, seen, &[Access::Read], Last::Follow, false) {
        Err(error) if matches!(error.code, ErrorCode::Denied | ErrorCode::InvalidArgument) => {
            return Err(error);
        }
        _ => {}
    }
    symlinkat(target, &place.parent, &place.name).map_err(|source| place.failed(source))
}

/// The text of a link.
///
/// # Errors
/// `denied`, `invalid-data` where it is not UTF-8, or the operating system's.
pub fn readlink(run: &Run, path: &str) -> Result<String, Error> {
    let place = resolve(run, path, &[Access::Read], Last::Keep, false)?;
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
    let place = resolve(run, path, &[Access::Read], Last::Follow, false)?;
    if place.folder {
        drop(open_folder(run, &[Access::Read], &place)?);
    } else {
        drop(open_path(run, &[Access::Read], &place)?);
    }
    let real = place.real.into_os_string().into_string();
    real.map_err(|_| error(ErrorCode::InvalidData, format!("{path}: its real path is not UTF-8")))
}
