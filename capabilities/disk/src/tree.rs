//! Walking below a directory relative to open directories, so that no link and no swap on the way leads
//! elsewhere.

use crate::Alive;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run, error, io_error};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Directories within directories; each takes a file descriptor while it is walked.
const MAX_DEPTH: usize = 128;

struct Walk<'a, F> {
    run: &'a Run,
    access: Access,
    alive: &'a Alive,
    /// Called with the directory, the name in it and what it is.
    visit: F,
}

impl<F: FnMut(BorrowedFd<'_>, &OsStr, &Path, &Stat) -> Result<(), Error>> Walk<'_, F> {
    fn directory(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), Error> {
        let failed = |at: &Path, why: Errno| io_error(&at.display().to_string(), &why.into());
        if depth > MAX_DEPTH {
            let message = format!("{}: more than {MAX_DEPTH} directories within each other", path.display());
            return Err(error(ErrorCode::Limit, message));
        }
        for entry in Dir::read_from(directory).map_err(|why| failed(path, why))? {
            self.alive.check()?;
            let entry = entry.map_err(|why| failed(path, why))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let at = path.join(name);
            // A directory that a deny rule takes back is passed over, with what is in it.
            if !assay_capability_fs::would_allow(self.run, self.access, &at) {
                continue;
            }
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Others may remove files meanwhile.
                Err(Errno::NOENT) => continue,
                Err(why) => return Err(failed(&at, why)),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    match openat(directory, name, flags, Mode::empty()) {
                        Ok(below) => self.directory(&below, &at, depth + 1)?,
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                        Err(why) => return Err(failed(&at, why)),
                    }
                }
                FileType::RegularFile => (self.visit)(directory.as_fd(), name, &at, &stat)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn modified(stat: &Stat) -> SystemTime {
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec);
    match u64::try_from(stat.st_mtime) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanoseconds,
        Err(_) => UNIX_EPOCH,
    }
}

/// Removes the regular files below `path` that were last changed before `before`; gives their number.
///
/// # Errors
/// `denied`, or the operating system's; files that were removed until then stay removed.
pub fn sweep(run: &Run, path: &str, before: SystemTime, alive: &Alive) -> Result<u64, Error> {
    let (directory, real) = assay_capability_fs::enter_directory(run, Access::Write, path)?;
    let mut removed = 0;
    let visit = |directory: BorrowedFd<'_>, name: &OsStr, at: &Path, stat: &Stat| {
        if modified(stat) < before && run.grants.withheld(stat.st_dev, stat.st_ino).is_none() {
            match unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(Errno::NOENT) => {}
                Err(why) => return Err(io_error(&format!("removing {}", at.display()), &why.into())),
            }
        }
        Ok(())
    };
    Walk { run, access: Access::Write, alive, visit }.directory(&directory, &real, 1)?;
    Ok(removed)
}

/// Bytes of the regular files below `path`, or of the file there.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn size(run: &Run, path: &str, alive: &Alive) -> Result<u64, Error> {
    let failed = |why: Errno| io_error(path, &why.into());
    let target = assay_capability_fs::open_path(run, Access::Read, path)?;
    let stat = rustix::fs::fstat(&target).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(u64::try_from(stat.st_size).unwrap_or(0));
    }
    // The directory that was opened, whatever is at its path by now.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&target, ".", flags, Mode::empty()).map_err(failed)?;
    let real = assay_capability_fs::path_of(&directory).ok_or(Errno::NOENT).map_err(failed)?;
    let mut sum: u64 = 0;
    // Files with more than one name, which would count as often as they have names.
    let mut seen = HashSet::new();
    let visit = |_: BorrowedFd<'_>, _: &OsStr, _: &Path, stat: &Stat| {
        if stat.st_nlink <= 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        }
        Ok(())
    };
    Walk { run, access: Access::Read, alive, visit }.directory(&directory, &real, 1)?;
    Ok(sum)
}
