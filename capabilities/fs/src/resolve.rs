//! From a path that a script wrote to a directory handle and a name in it, checked against the grants.
//!
//! A path is followed one component at a time, each opened relative to the directory before it and
//! never through a link; links are read and their text is followed the same way. So what is reached
//! is known by its real path, `/proc/self/root` and the like have no special meaning, and whatever
//! is swapped on the disk meanwhile, operations act in the directory that was checked.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Access, Request, Run, denied, denied_by, denied_without_scope, error, io_error, scope,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The name of this capability, in grants and messages.
pub const FS: &str = "fs";
/// What is wrong with an empty path.
const EMPTY: &str = "'': the path is empty";
/// Links on the way of one path, as Linux allows.
const MAX_LINKS: u32 = 40;
/// Directories that one path may lead through: each is open until it is resolved.
const MAX_DIRECTORIES: usize = 512;
/// Bytes of a path, as Linux allows.
const MAX_PATH: usize = 4096;

#[cfg(target_os = "linux")]
pub const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What to do where the last component is a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    Follow,
    /// The link itself is meant.
    Keep,
}

/// A path that was resolved: a name in an open directory.
pub struct ResolvedPath {
    pub parent: OwnedFd,
    /// One component; `.` for the root.
    pub name: OsString,
    /// Absolute, without links, as it was when the directory was opened.
    pub real: PathBuf,
    /// The path was written with a slash at its end: only a directory will do.
    pub directory: bool,
    /// The path as the script wrote it, for messages.
    pub shown: String,
}

impl ResolvedPath {
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
    if is_guarded(run, &request, path) {
        return Err(refuse(run, &request, None, "a grant of a directory above /proc does not cover it"));
    }
    Ok(())
}

/// [`allow`] without asking, auditing or learning.
pub fn would_allow(run: &Run, access: Access, path: &Path) -> bool {
    let request = Request::File { access, path };
    run.would_allow(FS, &request) && !is_guarded(run, &request, path)
}

/// /proc holds this very process: its environment, its memory, its open files. A grant of `/` was not meant to give
/// these away.
fn is_guarded(run: &Run, request: &Request<'_>, path: &Path) -> bool {
    let proc = Path::new("/proc");
    path.starts_with(proc) && !run.grants.anchored(FS, request, proc)
}

/// A path as the script wrote it, in a request of that access: what may be said to the script, which must not learn
/// from a message which directory it runs in. The scope is read in the same directory.
fn written(access: Access, shown: &str) -> (String, String) {
    let shown = if shown.starts_with('~') { format!("./{shown}") } else { shown.to_owned() };
    let request = Request::File { access, path: Path::new(&shown) };
    (request.describe(FS), request.scope().unwrap_or_default())
}

/// [`allow`] of the path that the script wrote; the denial has it as it was written.
pub fn allow_written(run: &Run, access: Access, path: &Path, shown: &str) -> Result<(), Error> {
    let request = Request::File { access, path };
    run.check(FS, &request).map_err(|failure| {
        if failure.code != ErrorCode::Denied || shown.starts_with('/') {
            return failure;
        }
        let (what, scope) = written(access, shown);
        match run.grants.denial(FS, &request) {
            Some(rule) => denied_by(&what, &rule),
            None if !request.has_own_scope() => denied_without_scope(&what),
            None => denied(&what, FS, Some(&scope)),
        }
    })?;
    if is_guarded(run, &request, path) {
        return Err(refuse(
            run,
            &request,
            Some(shown),
            "a grant of a directory above /proc does not cover it",
        ));
    }
    Ok(())
}

/// A denial for another reason than that no rule matches; audited. `shown` is the path as the script wrote it.
pub fn refuse(run: &Run, request: &Request<'_>, shown: Option<&str>, why: &str) -> Error {
    let (mut what, mut scope) = (request.describe(FS), request.scope());
    run.record_denial(FS, &what);
    if let (Request::File { access, .. }, Some(shown)) = (request, shown) {
        let (own, own_scope) = written(*access, shown);
        (what, scope) = (own, Some(own_scope));
    }
    let flag = scope::allow_flag(FS, scope.as_deref());
    error(ErrorCode::Denied, format!("{what} is refused: {why}; run again with {flag} if it is meant"))
}

/// Refuses to change what the host withholds from the script, whatever it is called: the file at `name` in `parent`.
///
/// # Errors
/// `denied`.
pub fn spare(run: &Run, parent: impl AsFd, name: &OsStr, shown: &str) -> Result<(), Error> {
    if !run.grants.withholds() {
        return Ok(());
    }
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => spare_file(run, &stat, shown),
        Err(_) => Ok(()),
    }
}

fn spare_file(run: &Run, stat: &Stat, shown: &str) -> Result<(), Error> {
    match run.grants.withheld(stat.st_dev, stat.st_ino) {
        Some(why) => Err(run.refuse_by(FS, &written(Access::Write, shown).0, &why)),
        None => Ok(()),
    }
}

/// A denial of a place that the script did not name: a link leads there, or something was moved there meanwhile. It
/// does not say where that is; the audit does.
pub fn elsewhere(access: &[Access], shown: &str) -> Error {
    let access = access.first().copied().unwrap_or(Access::Read);
    let (what, _) = written(access, shown);
    let why = "its way leads, by a link or '..', to a place that is not granted; --audit FILE tells which";
    error(ErrorCode::Denied, format!("{what} is refused: {why}"))
}

/// Decides one access to one absolute path: [`allow`], or what another capability has in its place.
pub type Authorizer<'a> = &'a (dyn Fn(Access, &Path) -> Result<(), Error> + 'a);

fn allow_all(authorizer: Authorizer<'_>, access: &[Access], path: &Path) -> Result<(), Error> {
    access.iter().try_for_each(|access| authorizer(*access, path))
}

/// Resolves a path and checks it: as it was written, and as what it really is.
///
/// `parents` makes missing directories on the way, each of which must be granted for writing.
///
/// # Errors
/// `denied`, or the operating system's where a directory on the way cannot be entered. A failure at a
/// place that is not granted is a denial too, so that nothing shows whether something is there.
pub fn resolve(
    run: &Run,
    path: &str,
    access: &[Access],
    last: Last,
    parents: bool,
) -> Result<ResolvedPath, Error> {
    let first = |access, lexical: &Path| allow_written(run, access, lexical, path);
    resolve_with(run, (&first, &|access, path| allow(run, access, path)), path, access, last, parents)
}

/// [`resolve`] with another authorizer than the grants of `fs`.
///
/// # Errors
/// As for `resolve`, and the authorizer's.
pub fn resolve_as(
    run: &Run,
    authorizer: Authorizer<'_>,
    path: &str,
    access: &[Access],
    last: Last,
    parents: bool,
) -> Result<ResolvedPath, Error> {
    resolve_with(run, (authorizer, authorizer), path, access, last, parents)
}

/// `first` authorizes the path as it was written, `authorizer` what it really is.
fn resolve_with(
    run: &Run,
    (first, authorizer): (Authorizer<'_>, Authorizer<'_>),
    path: &str,
    access: &[Access],
    last: Last,
    parents: bool,
) -> Result<ResolvedPath, Error> {
    if path.is_empty() {
        return Err(Error { errno: Errno::NOENT.raw_os_error(), ..error(ErrorCode::NotFound, EMPTY) });
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
    allow_all(first, access, &lexical)?;
    follow(run, authorizer, &run.working_directory.join(path), &lexical, path, (access, last, parents))
}

/// Follows an absolute path, of which `lexical` is the form without `.` and `..`, and authorizes what it really is.
pub fn follow(
    run: &Run,
    authorizer: Authorizer<'_>,
    absolute: &Path,
    lexical: &Path,
    shown: &str,
    (access, last, parents): (&[Access], Last, bool),
) -> Result<ResolvedPath, Error> {
    let place = match direct(absolute, lexical, last, shown) {
        Some(place) => place,
        None => Walk::new(run, authorizer, access, parents, lexical, shown)?.run(absolute, last)?,
    };
    if place.real != lexical {
        allow_all(authorizer, access, &place.real).map_err(|failure| unnamed(failure, access, shown))?;
    }
    if access.contains(&Access::Write) {
        spare(run, &place.parent, &place.name, shown)?;
    }
    Ok(place)
}

/// A denial of a place that the script did not name.
fn unnamed(failure: Error, access: &[Access], shown: &str) -> Error {
    if failure.code == ErrorCode::Denied { elsewhere(access, shown) } else { failure }
}

/// The common case in one call of the system: a directory without links on the way to it.
#[cfg(target_os = "linux")]
fn direct(absolute: &Path, lexical: &Path, last: Last, shown: &str) -> Option<ResolvedPath> {
    use rustix::fs::{ResolveFlags, openat2};
    if absolute.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let (parent, name) = (lexical.parent()?, lexical.file_name()?);
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let parent = openat2(CWD, parent, DIRECTORY, Mode::empty(), no_links).ok()?;
    if last == Last::Follow
        && !matches!(readlinkat(&parent, name, Vec::new()), Err(Errno::INVAL | Errno::NOENT))
    {
        return None;
    }
    let directory = ends_as_directory(absolute);
    Some(ResolvedPath {
        parent,
        name: name.to_owned(),
        real: lexical.to_owned(),
        directory,
        shown: shown.to_owned(),
    })
}

#[cfg(not(target_os = "linux"))]
fn direct(_: &Path, _: &Path, _: Last, _: &str) -> Option<ResolvedPath> {
    None
}

/// `x/`, `x/.` and `x/..` name directories only.
fn ends_as_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"/..")
}

struct Walk<'a> {
    run: &'a Run,
    authorizer: Authorizer<'a>,
    access: &'a [Access],
    parents: bool,
    lexical: &'a Path,
    shown: &'a str,
    /// The directories from the root to where the walk is.
    directories: Vec<OwnedFd>,
    /// The real path of the last of them.
    real: PathBuf,
    /// What is still to go, the next component last.
    pending: Vec<OsString>,
    links: u32,
    directory: bool,
}

impl<'a> Walk<'a> {
    fn new(
        run: &'a Run,
        authorizer: Authorizer<'a>,
        access: &'a [Access],
        parents: bool,
        lexical: &'a Path,
        shown: &'a str,
    ) -> Result<Self, Error> {
        let root = openat(CWD, "/", DIRECTORY, Mode::empty()).map_err(|source| failed("/", source))?;
        Ok(Walk {
            run,
            authorizer,
            access,
            parents,
            lexical,
            shown,
            directories: vec![root],
            real: PathBuf::from("/"),
            pending: Vec::new(),
            links: 0,
            directory: false,
        })
    }

    fn queue(&mut self, path: &Path) {
        if self.pending.is_empty() {
            self.directory |= ends_as_directory(path);
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
        &self.directories[self.directories.len() - 1]
    }

    /// The error of the operating system, if the script may know about that place at all.
    fn failed(&self, name: &OsStr, source: Errno) -> Error {
        let mut at = self.real.join(name);
        at.extend(self.pending.iter().rev());
        let at = scope::normalize(&at);
        if at != self.lexical
            && let Err(denied) = allow_all(self.authorizer, self.access, &at)
        {
            return unnamed(denied, self.access, self.shown);
        }
        let leads_up = self.pending.iter().any(|part| part == "..");
        match leads_up.then(|| self.check_known(&self.real.join(name))) {
            Some(Err(denied)) => denied,
            _ => failed(self.shown, source),
        }
    }

    /// Whether the script may know that there is a directory: it is on the way to what it asked for or to where it runs,
    /// or it is granted. Else `x/../../other/../x` would tell whether there is `other`.
    fn check_known(&self, directory: &Path) -> Result<(), Error> {
        if self.lexical.starts_with(directory)
            || self.run.working_directory.starts_with(directory)
            || [Access::Read, Access::Write].iter().any(|access| would_allow(self.run, *access, directory))
        {
            return Ok(());
        }
        allow_all(self.authorizer, self.access, directory)
            .map_err(|failure| unnamed(failure, self.access, self.shown))
    }

    /// Goes on with the text of the link `name`.
    fn follow(&mut self, name: &OsStr, target: &Path) -> Result<(), Error> {
        self.links += 1;
        let length: usize = self.pending.iter().map(|part| part.len() + 1).sum();
        if self.links > MAX_LINKS || length > 2 * MAX_PATH {
            return Err(self.failed(name, Errno::LOOP));
        }
        if target.is_absolute() {
            self.directories.truncate(1);
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
        if self.directories.len() > MAX_DIRECTORIES {
            return Err(self.failed(&name, Errno::NAMETOOLONG));
        }
        match openat(self.top(), &name, DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                self.directories.push(directory);
                self.real.push(&name);
                Ok(())
            }
            Err(Errno::NOTDIR | Errno::LOOP) => match self.read_link(&name) {
                Ok(target) => self.follow(&name, &target),
                Err(Errno::INVAL) => Err(self.failed(&name, Errno::NOTDIR)),
                Err(source) => Err(self.failed(&name, source)),
            },
            Err(Errno::NOENT) if self.parents => {
                self.may_make(&name)?;
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

    /// Checks that a missing directory on the way may be made.
    fn may_make(&self, name: &OsStr) -> Result<(), Error> {
        let directory = self.real.join(name);
        (self.authorizer)(Access::Write, &directory).map_err(|failure| {
            let own = match directory.strip_prefix(&self.run.working_directory) {
                Ok(own) if !self.shown.starts_with('/') => own,
                _ => directory.as_path(),
            };
            let named =
                self.lexical.starts_with(&directory) && (self.shown.starts_with('/') || own != directory);
            if failure.code != ErrorCode::Denied || !named {
                return unnamed(failure, self.access, self.shown);
            }
            let what = format!("making {}, which is missing on the way to {},", own.display(), self.shown);
            denied(&what, FS, Some(&format!("write:{}", own.display())))
        })
    }

    fn run(mut self, absolute: &Path, last: Last) -> Result<ResolvedPath, Error> {
        self.queue(absolute);
        while let Some(name) = self.pending.pop() {
            if name == ".." {
                self.check_known(&self.real)?;
                if self.directories.len() > 1 {
                    self.directories.pop();
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
        // The path ended in `..`, or is the root: the last directory itself is meant.
        match self.real.file_name().map(OsStr::to_owned) {
            Some(name) => {
                self.directories.pop();
                self.real.pop();
                Ok(self.place(name))
            }
            None => Ok(self.place(".".into())),
        }
    }

    fn place(mut self, name: OsString) -> ResolvedPath {
        let real = if name == "." { self.real } else { self.real.join(&name) };
        // There is always the root.
        let parent = self.directories.swap_remove(self.directories.len() - 1);
        ResolvedPath { parent, name, real, directory: self.directory, shown: self.shown.to_owned() }
    }
}

/// Where an open file really is, by the kernel's own account. None where that cannot be told, or
/// where it has been removed since.
pub fn path_of(file: impl AsFd) -> Option<PathBuf> {
    let file = file.as_fd();
    let stat = fstat(file).ok()?;
    if stat.st_nlink == 0 {
        return None;
    }
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Checks once more, by what was opened: a swap between check and open loses.
///
/// # Errors
/// `denied`, where it is at another place that is not granted.
pub fn verify(run: &Run, access: &[Access], opened: &OwnedFd, place: &ResolvedPath) -> Result<(), Error> {
    if access.contains(&Access::Write) && run.grants.withholds() {
        spare_file(run, &fstat(opened).map_err(|source| place.failed(source))?, &place.shown)?;
    }
    match path_of(opened) {
        Some(path) if path != place.real => {
            allow_all(&|access, path| allow(run, access, path), access, &path)
                .map_err(|failure| unnamed(failure, access, &place.shown))
        }
        _ => Ok(()),
    }
}

/// Opens a handle for looking at what is at `place`, of any type and without its content.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_path(run: &Run, access: &[Access], place: &ResolvedPath) -> Result<OwnedFd, Error> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(&place.parent, &place.name, flags, Mode::empty()).map_err(|source| place.failed(source))?;
    verify(run, access, &opened, place)?;
    Ok(opened)
}

/// Opens the directory at `place` for reading its entries.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_directory(run: &Run, access: &[Access], place: &ResolvedPath) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(&place.parent, &place.name, flags, Mode::empty()).map_err(|source| place.failed(source))?;
    verify(run, access, &opened, place)?;
    Ok(opened)
}
