//! From a path that a script wrote to a folder handle and a name in it, checked against the grants.
//!
//! A path is followed one component at a time, each opened relative to the folder before it and
//! never through a link; links are read and their text is followed the same way. So what is reached
//! is known by its real path, `/proc/self/root` and the like have no special meaning, and whatever
//! is swapped on the disk meanwhile, operations act in the folder that was checked.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, error, io_error, scope};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The name of this capability, in grants and messages.
pub const FS: &str = "fs";
/// Links on the way of one path, as Linux allows.
const MAX_LINKS: u32 = 40;
/// Folders that one path may lead through: each is open until it is resolved.
const MAX_FOLDERS: usize = 512;
/// Bytes of a path, as Linux allows.
const MAX_PATH: usize = 4096;

#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What to do where the last component is a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    Follow,
    /// The link itself is meant.
    Keep,
}

/// A name in an open folder.
pub struct Place {
    pub parent: OwnedFd,
    /// One component; `.` for the root.
    pub name: OsString,
    /// Absolute, without links, as it was when the folder was opened.
    pub real: PathBuf,
    /// The path was written with a slash at its end: only a folder will do.
    pub folder: bool,
    /// The path as the script wrote it, for messages.
    pub shown: String,
}

impl Place {
    /// A failure of the operating system at this place.
    pub fn failed(&self, source: impl Into<std::io::Error>) -> Error {
        failed(&self.shown, source)
    }

    /// The type of what is there, links not followed.
    pub fn kind(&self) -> Result<FileType, Errno> {
        let stat = statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

/// A failure of the operating system on a path.
pub fn failed(shown: &str, source: impl Into<std::io::Error>) -> Error {
    io_error(shown, &source.into())
}

/// Decides one access to one absolute path: the grants, and what they do not reach into by being wide.
///
/// # Errors
/// `denied`.
pub fn allow(run: &Run, access: Access, path: &Path) -> Result<(), Error> {
    let request = Request::File { access, path };
    run.check(FS, &request)?;
    // /proc holds this very process: its environment, its memory, its open files. A grant of `/`
    // was not meant to give these away.
    let proc = Path::new("/proc");
    if path.starts_with(proc) && !run.grants.anchored(FS, &request, proc) {
        return Err(refuse(run, &request, "a grant of a folder above /proc does not cover it"));
    }
    Ok(())
}

/// A denial for another reason than that no rule matches; audited.
pub fn refuse(run: &Run, request: &Request<'_>, why: &str) -> Error {
    let what = request.describe(FS);
    let scope = request.scope();
    run.record_denial(FS, &what, scope.as_deref());
    let flag = scope::escape(scope.as_deref().unwrap_or_default());
    error(
        ErrorCode::Denied,
        format!("{what} is refused: {why}; run again with --allow {FS}={flag} if it is meant"),
    )
}

/// Decides one access to one absolute path: [`allow`], or what another capability has in its place.
pub type Judge<'a> = &'a (dyn Fn(Access, &Path) -> Result<(), Error> + 'a);

fn allow_all(judge: Judge<'_>, access: &[Access], path: &Path) -> Result<(), Error> {
    access.iter().try_for_each(|access| judge(*access, path))
}

/// Resolves a path and checks it: as it was written, and as what it really is.
///
/// `parents` makes missing folders on the way, each of which must be granted for writing.
///
/// # Errors
/// `denied`, or the operating system's where a folder on the way cannot be entered. A failure at a
/// place that is not granted is a denial too, so that nothing shows whether something is there.
pub fn resolve(run: &Run, path: &str, access: &[Access], last: Last, parents: bool) -> Result<Place, Error> {
    resolve_as(run, &|access, path| allow(run, access, path), path, access, last, parents)
}

/// [`resolve`] with another judge than the grants of `fs`.
///
/// # Errors
/// As for `resolve`, and the judge's.
pub fn resolve_as(
    run: &Run,
    judge: Judge<'_>,
    path: &str,
    access: &[Access],
    last: Last,
    parents: bool,
) -> Result<Place, Error> {
    if path.is_empty() {
        return Err(failed("the path is empty", Errno::NOENT));
    }
    if path.contains('\0') {
        let shown = path.replace('\0', "\\0");
        return Err(Error {
            errno: Errno::INVAL.raw_os_error(),
            ..error(ErrorCode::InvalidArgument, format!("{shown}: a path cannot hold a NUL byte"))
        });
    }
    if path.len() > MAX_PATH {
        let start: String = path.chars().take(60).collect();
        return Err(failed(&format!("{start}... ({} bytes)", path.len()), Errno::NAMETOOLONG));
    }
    let lexical = run.path(path);
    allow_all(judge, access, &lexical)?;
    let absolute = run.working_folder.join(path);
    let place = match direct(&absolute, &lexical, last, path) {
        Some(place) => place,
        None => Walk::new(judge, access, parents, &lexical, path)?.run(&absolute, last)?,
    };
    if place.real != lexical {
        allow_all(judge, access, &place.real)?;
    }
    Ok(place)
}

/// The common case in one call of the system: a folder without links on the way to it.
#[cfg(target_os = "linux")]
fn direct(absolute: &Path, lexical: &Path, last: Last, shown: &str) -> Option<Place> {
    use rustix::fs::{ResolveFlags, openat2};
    if absolute.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let (parent, name) = (lexical.parent()?, lexical.file_name()?);
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let parent = openat2(CWD, parent, FOLDER, Mode::empty(), no_links).ok()?;
    if last == Last::Follow
        && !matches!(readlinkat(&parent, name, Vec::new()), Err(Errno::INVAL | Errno::NOENT))
    {
        return None;
    }
    let folder = ends_as_folder(absolute);
    Some(Place { parent, name: name.to_owned(), real: lexical.to_owned(), folder, shown: shown.to_owned() })
}

#[cfg(not(target_os = "linux"))]
fn direct(_: &Path, _: &Path, _: Last, _: &str) -> Option<Place> {
    None
}

/// `x/`, `x/.` and `x/..` name folders only.
fn ends_as_folder(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"/..")
}

struct Walk<'a> {
    judge: Judge<'a>,
    access: &'a [Access],
    parents: bool,
    lexical: &'a Path,
    shown: &'a str,
    /// The folders from the root to where the walk is.
    folders: Vec<OwnedFd>,
    /// The real path of the last of them.
    real: PathBuf,
    /// What is still to go, the next component last.
    pending: Vec<OsString>,
    links: u32,
    folder: bool,
}

impl<'a> Walk<'a> {
    fn new(
        judge: Judge<'a>,
        access: &'a [Access],
        parents: bool,
        lexical: &'a Path,
        shown: &'a str,
    ) -> Result<Self, Error> {
        let root = openat(CWD, "/", FOLDER, Mode::empty()).map_err(|source| failed("/", source))?;
        Ok(Walk {
            judge,
            access,
            parents,
            lexical,
            shown,
            folders: vec![root],
            real: PathBuf::from("/"),
            pending: Vec::new(),
            links: 0,
            folder: false,
        })
    }

    fn queue(&mut self, path: &Path) {
        if self.pending.is_empty() {
            self.folder |= ends_as_folder(path);
        }
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.pending.push(name.to_owned()),
                Component::ParentDir => self.pending.push("..".into()),
                _ => {}
            }
        }
    }

    fn top(&self) -> &OwnedFd {
        &self.folders[self.folders.len() - 1]
    }

    /// The error of the operating system, if the script may know about that place at all.
    fn failed(&self, name: &OsStr, source: Errno) -> Error {
        let mut at = self.real.join(name);
        at.extend(self.pending.iter().rev());
        let at = scope::normalize(&at);
        if at != self.lexical
            && let Err(denied) = allow_all(self.judge, self.access, &at)
        {
            return denied;
        }
        failed(self.shown, source)
    }

    /// Goes on with the text of the link `name`.
    fn follow(&mut self, name: &OsStr, target: &Path) -> Result<(), Error> {
        self.links += 1;
        let length: usize = self.pending.iter().map(|part| part.len() + 1).sum();
        if self.links > MAX_LINKS || length > 2 * MAX_PATH {
            return Err(self.failed(name, Errno::LOOP));
        }
        if target.is_absolute() {
            self.folders.truncate(1);
            self.real = PathBuf::from("/");
        }
        self.queue(target);
        Ok(())
    }

    fn read_link(&self, name: &OsStr) -> Result<PathBuf, Errno> {
        let target = readlinkat(self.top(), name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    fn enter(&mut self, name: OsString) -> Result<(), Error> {
        if self.folders.len() > MAX_FOLDERS {
            return Err(self.failed(&name, Errno::NAMETOOLONG));
        }
        match openat(self.top(), &name, FOLDER, Mode::empty()) {
            Ok(folder) => {
                self.folders.push(folder);
                self.real.push(&name);
                Ok(())
            }
            Err(Errno::NOTDIR | Errno::LOOP) => match self.read_link(&name) {
                Ok(target) => self.follow(&name, &target),
                Err(Errno::INVAL) => Err(self.failed(&name, Errno::NOTDIR)),
                Err(source) => Err(self.failed(&name, source)),
            },
            Err(Errno::NOENT) if self.parents => {
                (self.judge)(Access::Write, &self.real.join(&name))?;
                match rustix::fs::mkdirat(self.top(), &name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(source) => return Err(self.failed(&name, source)),
                }
                // A link that leads nowhere makes both fail; it counts as one, so this ends.
                self.links += 1;
                if self.links > MAX_PATH as u32 {
                    return Err(self.failed(&name, Errno::LOOP));
                }
                self.pending.push(name);
                Ok(())
            }
            Err(source) => Err(self.failed(&name, source)),
        }
    }

    fn run(mut self, absolute: &Path, last: Last) -> Result<Place, Error> {
        self.queue(absolute);
        while let Some(name) = self.pending.pop() {
            if name == ".." {
                if self.folders.len() > 1 {
                    self.folders.pop();
                    self.real.pop();
                }
            } else if !self.pending.is_empty() {
                self.enter(name)?;
            } else if last == Last::Keep {
                return Ok(self.place(name));
            } else {
                match self.read_link(&name) {
                    Ok(target) => self.follow(&name, &target)?,
                    Err(Errno::INVAL | Errno::NOENT) => return Ok(self.place(name)),
                    Err(source) => return Err(self.failed(&name, source)),
                }
            }
        }
        // The path ended in `..`, or is the root: the last folder itself is meant.
        match self.real.file_name().map(OsStr::to_owned) {
            Some(name) => {
                self.folders.pop();
                self.real.pop();
                Ok(self.place(name))
            }
            None => Ok(self.place(".".into())),
        }
    }

    fn place(mut self, name: OsString) -> Place {
        let real = if name == "." { self.real } else { self.real.join(&name) };
        // There is always the root.
        let parent = self.folders.swap_remove(self.folders.len() - 1);
        Place { parent, name, real, folder: self.folder, shown: self.shown.to_owned() }
    }
}

/// Where an open file really is, by the kernel's own account. None where that cannot be told, or
/// where it has been removed since.
fn path_of(file: &OwnedFd) -> Option<PathBuf> {
    let stat = rustix::fs::fstat(file).ok()?;
    if stat.st_nlink == 0 {
        return None;
    }
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Checks once more, by what was opened: a swap between check and open loses.
///
/// # Errors
/// `denied`, where it is at another place that is not granted.
pub fn verify(run: &Run, access: &[Access], opened: &OwnedFd, place: &Place) -> Result<(), Error> {
    match path_of(opened) {
        Some(path) if path != place.real => {
            allow_all(&|access, path| allow(run, access, path), access, &path)
        }
        _ => Ok(()),
    }
}

/// Opens a handle for looking at what is at `place`, of any type and without its content.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_path(run: &Run, access: &[Access], place: &Place) -> Result<OwnedFd, Error> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(&place.parent, &place.name, flags, Mode::empty()).map_err(|source| place.failed(source))?;
    verify(run, access, &opened, place)?;
    Ok(opened)
}

/// Opens the folder at `place` for reading its entries.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_folder(run: &Run, access: &[Access], place: &Place) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(&place.parent, &place.name, flags, Mode::empty()).map_err(|source| place.failed(source))?;
    verify(run, access, &opened, place)?;
    Ok(opened)
}
