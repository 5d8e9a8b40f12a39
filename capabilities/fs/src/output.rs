//! Files that the host writes about a run: reports, the audit, what was learned. The script must not choose where.

use crate::resolve::{DIRECTORY, FS, failed, path_of, would_allow};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run, error, scope};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Links on the way of one path, as Linux allows.
const MAX_LINKS: u32 = 40;

/// A file of the host that was opened before the run. What happens to its name meanwhile changes nothing.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    path: PathBuf,
    real: PathBuf,
}

impl OutputFile {
    /// The path as the operator wrote it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the script from changing it. `why` stands in place of a rule, see [`assay_capability_api::Grants::seal`].
    pub fn withhold(&self, run: &Run, why: &str) {
        run.grants.withhold(&self.file, self.real.clone(), why);
    }

    /// The open file.
    pub fn into_file(self) -> File {
        self.file
    }

    /// What is in it now; nothing where it is not a regular file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        if self.file.metadata()?.is_file() {
            (&self.file).rewind()?;
            (&self.file).read_to_end(&mut content)?;
        }
        Ok(content)
    }

    /// Puts `content` in the place of what is in it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            (&self.file).rewind()?;
        }
        (&self.file).write_all(content)
    }
}

/// Opens a file for the host to write, and makes it if it is not there. No link is followed that the script may have
/// put there, in this run or in one before with the same grants.
///
/// # Errors
/// `denied` where such a link is on the way; the operating system's.
pub fn open_output(run: &Run, path: &Path, append: bool) -> Result<OutputFile, Error> {
    let shown = path.to_string_lossy().into_owned();
    let wrong = |source: Errno| failed(&shown, source);
    let own = if append { OFlags::WRONLY | OFlags::APPEND } else { OFlags::RDWR };
    let flags = own | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(0o666);
    let absolute = run.working_directory.join(path);
    let special = absolute.starts_with("/dev") || absolute.starts_with("/proc");
    let opened = if special || is_unbounded(run) {
        // Links of /proc lead to open files and have no text to follow. A script that may write everywhere needs no link.
        match openat(CWD, &absolute, flags, mode) {
            // A pipe or terminal may be open in one direction only.
            Err(Errno::ACCESS | Errno::INVAL) => openat(CWD, &absolute, (flags - own) | OFlags::WRONLY, mode),
            opened => opened,
        }
        .map_err(wrong)?
    } else {
        let (directory, name) = descend(run, &absolute, &shown)?;
        openat(&directory, &name, flags | OFlags::NOFOLLOW, mode).map_err(wrong)?
    };
    let stat = fstat(&opened).map_err(wrong)?;
    let place = path_of(&opened).unwrap_or(absolute);
    // Another name of the file is another place that would be written.
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink > 1
        && !is_unbounded(run)
        && would_allow(run, Access::Write, &place)
    {
        return Err(refused(&shown, "the file has other names, and the script may have given it this one"));
    }
    Ok(OutputFile { file: File::from(opened), path: path.to_owned(), real: place })
}

fn is_unbounded(run: &Run) -> bool {
    let root = Path::new("/");
    would_allow(run, Access::Write, root) && run.grants.denies_in(FS, root).is_none()
}

fn refused(shown: &str, why: &str) -> Error {
    error(
        ErrorCode::Denied,
        format!("{shown} is not written: {why}; name a file that the script cannot reach"),
    )
}

/// Follows the way to a file through open directories; gives the last of them and the name in it.
fn descend(run: &Run, absolute: &Path, shown: &str) -> Result<(OwnedFd, OsString), Error> {
    let wrong = |source: Errno| failed(shown, source);
    let open_root = || openat(CWD, "/", DIRECTORY, Mode::empty()).map_err(wrong);
    let mut directories = vec![open_root()?];
    let mut real = PathBuf::from("/");
    let mut pending: VecDeque<OsString> = parts(absolute);
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            if directories.len() > 1 {
                directories.pop();
                real.pop();
            }
            continue;
        }
        let directory = &directories[directories.len() - 1];
        let target = match readlinkat(directory, &name, Vec::new()) {
            Ok(target) => Some(PathBuf::from(OsStr::from_bytes(target.as_bytes()))),
            Err(_) => None,
        };
        if let Some(target) = target {
            links += 1;
            let place = scope::normalize(&real.join(&name));
            if would_allow(run, Access::Write, &place) {
                return Err(refused(
                    shown,
                    "a link is on its way where the script may write, which may have made it",
                ));
            }
            if links > MAX_LINKS {
                return Err(wrong(Errno::LOOP));
            }
            if target.is_absolute() {
                directories.truncate(1);
                real = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                pending.push_front(part);
            }
            continue;
        }
        if pending.is_empty() {
            let directory = directories.pop().map_or_else(open_root, Ok)?;
            return Ok((directory, name));
        }
        let below = openat(directory, &name, DIRECTORY, Mode::empty()).map_err(wrong)?;
        directories.push(below);
        real.push(&name);
    }
    Err(wrong(Errno::ISDIR))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}
