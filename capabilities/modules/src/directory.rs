//! A directory that modules are read from, by open handles: a module lies in it when it is opened, whatever is moved or
//! swapped meanwhile.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The largest module file that is read.
const MODULE_BYTES_MAX: u64 = 16 << 20;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of modules, as it was when the run began.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    /// How messages name it.
    shown: String,
    /// Where it was open, and where that was.
    opened: Option<(Arc<OwnedFd>, Option<PathBuf>)>,
    /// The directory that it lies in, and its name there, for one that is made later.
    parent: Option<(Arc<OwnedFd>, OsString)>,
}

/// Says why a file at this path may not be read.
pub type Authorizer<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

fn path_of(file: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

impl Directory {
    /// Opens the directory at `path`, following links: it is the operator's choice. `shown` is how scripts see it.
    pub fn open(path: PathBuf, shown: String) -> Directory {
        let opened = openat(CWD, &path, DIRECTORY, Mode::empty()).ok().map(|directory| {
            let place = path_of(&directory);
            (Arc::new(directory), place)
        });
        let parent = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let parent = openat(CWD, parent, DIRECTORY, Mode::empty()).ok();
                parent.map(|parent| (Arc::new(parent), name.to_owned()))
            }
            _ => None,
        };
        Directory { path, shown, opened, parent }
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of what scripts see as `shown`.
    pub fn real_path(&self, shown: &str) -> Option<PathBuf> {
        let inner = shown.strip_prefix(&self.shown)?.trim_start_matches('/');
        Some(self.path.join(inner))
    }

    /// The directory, where it still is what it was; else what is in its place now, which must not be a link.
    fn handle(&self) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((directory, place)) = &self.opened
            && path_of(directory) == *place
        {
            return Ok(directory.clone());
        }
        let Some((parent, name)) = &self.parent else { return Err(Errno::NOENT) };
        openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map(Arc::new)
    }

    /// Reads a file of at most `most` bytes in the directory; gives its path as scripts see it. Links are followed within the
    /// directory only. `authorizer` is asked about the path before it is looked at, and about where the file really is.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn read(
        &self,
        candidate: &str,
        most: u64,
        authorizer: Authorizer<'_>,
    ) -> Result<(String, Vec<u8>), String> {
        let shown = format!("{}/{candidate}", self.shown);
        let missing = |why: &str| format!("no file '{shown}' ({why})");
        authorizer(&self.path.join(candidate)).map_err(|why| missing(&why))?;
        let opened = self.handle().and_then(|directory| open_below(&directory, Path::new(candidate)));
        let file = match opened {
            Ok(file) => {
                path_of(&file).map_or(Ok(()), |path| authorizer(&path)).map_err(|why| missing(&why))?;
                File::from(file)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(format!("no file '{shown}'")),
            Err(Errno::XDEV | Errno::LOOP) => {
                return Err(missing("it is a link out of the module directory"));
            }
            Err(failure) => return Err(missing(&std::io::Error::from(failure).kind().to_string())),
        };
        let about = file.metadata().map_err(|failure| missing(&failure.kind().to_string()))?;
        if !about.is_file() {
            return Err(missing("not a file"));
        }
        let most = most.min(MODULE_BYTES_MAX);
        if about.len() > most {
            return Err(missing(&match most {
                MODULE_BYTES_MAX => "larger than 16 MiB".into(),
                most => format!("larger than the {most} bytes that are left of --host-memory"),
            }));
        }
        let mut text = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default());
        // It may have grown meanwhile.
        let read = file.take(most).read_to_end(&mut text);
        read.map_err(|failure| missing(&failure.kind().to_string()))?;
        Ok((shown, text))
    }
}

/// Opens a file below a directory, never outside of it.
fn open_below(directory: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // Renames on the way make the kernel give up; it is tried again, but not for ever.
    for _ in 0..8 {
        match openat2(directory, path, flags, Mode::empty(), beneath) {
            Err(Errno::AGAIN) => {}
            // An old kernel, or a filter of system calls.
            Err(Errno::NOSYS | Errno::PERM) => return open_without_links(directory, path, flags),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The same in steps, of which none follows a link.
fn open_without_links(directory: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut parts = path.components().peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV) };
        let last = parts.peek().is_none();
        let how = OFlags::NOFOLLOW | if last { flags } else { DIRECTORY };
        at = Some(openat(at.as_ref().unwrap_or(directory), name, how, Mode::empty())?);
    }
    at.ok_or(Errno::ISDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_openat2_do_not_follow_links() {
        let base = std::env::temp_dir().join(format!("assay-modules-steps-{}", std::process::id()));
        std::fs::create_dir_all(base.join("m/a")).unwrap();
        std::fs::write(base.join("m/a/x.lua"), "x").unwrap();
        std::fs::write(base.join("secret.lua"), "s").unwrap();
        std::os::unix::fs::symlink("../secret.lua", base.join("m/link.lua")).unwrap();
        std::os::unix::fs::symlink("..", base.join("m/up")).unwrap();
        let directory = openat(CWD, base.join("m"), DIRECTORY, Mode::empty()).unwrap();
        let open = |path: &str| open_without_links(&directory, Path::new(path), OFlags::RDONLY);
        assert!(open("a/x.lua").is_ok());
        for path in ["link.lua", "up/secret.lua", "../secret.lua", "/etc/passwd", ""] {
            assert!(open(path).is_err(), "{path}");
        }
        std::fs::remove_dir_all(&base).unwrap();
    }
}
