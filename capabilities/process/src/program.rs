//! Which program is meant, and the scopes that grant programs.
//!
//! A program is where it is found *and* what that leads to. Both are compared: one file under two names can be two
//! programs (busybox, pgrep and pkill), and a link can be turned to another file.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Ambient, GrantError, Request, Scope, error, io_error, text_field};
use assay_capability_fs::path_of;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, openat, readlinkat};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Links on the way to a program, as Linux allows.
const MAX_LINKS: usize = 40;

/// A program that exists. It was looked for once: what is done to its path afterwards changes nothing.
#[derive(Clone, Debug)]
pub struct Program {
    /// As it was asked for.
    pub name: String,
    /// Where it was found: the links of its directory resolved, its own name kept.
    pub path: PathBuf,
    /// The file that this leads to.
    pub file: Arc<Executable>,
}

/// The file of a program, held open, and the directory it lies in.
#[derive(Debug)]
pub struct Executable {
    pub file: OwnedFd,
    pub directory: OwnedFd,
    /// Absolute, without links; its last part is the name in the directory.
    pub path: PathBuf,
}

impl Program {
    /// What a grant is asked for.
    pub fn request(&self) -> Request<'_> {
        Request::Program { name: &self.name, path: &self.path, real: &self.file.path }
    }

    /// The name that the program sees: as on a command line, or the whole path where a path was given, because the
    /// program may have another working directory.
    pub fn call_name(&self) -> Vec<u8> {
        match self.name.contains('/') {
            true => self.path.as_os_str().as_encoded_bytes().to_vec(),
            false => self.name.clone().into_bytes(),
        }
    }
}

/// The directory of a path, opened as the system follows it, so `..` leads where it really leads; the name in it, and
/// what the whole is without the directory's links.
fn enter(at: impl AsFd, path: &Path) -> io::Result<(OwnedFd, OsString, PathBuf)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let directory = openat(at, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = path_of(&directory).ok_or(io::ErrorKind::NotFound)?.join(name);
    Ok((directory, name.to_owned(), path))
}

/// Follows a path, each part of it once: directories and files are opened, and links are read through what was opened.
fn look(path: &Path) -> io::Result<(PathBuf, Executable)> {
    let (mut directory, mut name, found) = enter(CWD, path)?;
    let mut real = found.clone();
    for _ in 0..MAX_LINKS {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&directory, &name, flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(&file, "", Vec::new())?;
                (directory, name, real) = enter(&directory, Path::new(OsStr::from_bytes(target.as_bytes())))?;
            }
            FileType::Directory => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            _ => {
                accessat(&directory, &name, Access::EXEC_OK, AtFlags::empty())?;
                return Ok((found, Executable { file, directory, path: real }));
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Looks for a bare name on the search path.
fn look_up(name: &str, ambient: &Ambient) -> io::Result<(PathBuf, Executable)> {
    let mut failed = io::Error::from_raw_os_error(libc::ENOENT);
    for directory in ambient.search_directories() {
        match look(&directory.join(name)) {
            Ok(found) => return Ok(found),
            // There is one that may not be executed; the next may.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

fn find_io(name: &str, base: &Path, ambient: &Ambient) -> io::Result<(PathBuf, Executable)> {
    match name {
        "" | "." | ".." => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        _ if name.contains('\0') => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        _ if name.contains('/') => look(&base.join(name)),
        _ => look_up(name, ambient),
    }
}

/// Finds a program: a bare name on the search path of the run (never on the script's `PATH`), anything with a slash
/// relative to `base`.
///
/// # Errors
/// `not-found`, `permission`, or the operating system's.
pub fn find(name: &str, base: &Path, ambient: &Ambient) -> Result<Program, Error> {
    match find_io(name, base, ambient) {
        Ok((path, file)) => Ok(Program { name: name.to_string(), path, file: Arc::new(file) }),
        Err(source) if source.kind() == io::ErrorKind::NotFound && !name.contains('/') => {
            let mut error =
                error(ErrorCode::NotFound, format!("cannot start {name}: no such program on the PATH"));
            error.errno = libc::ENOENT;
            Err(error)
        }
        Err(source) => Err(io_error(&format!("cannot start {name}"), &source)),
    }
}

/// The field `cmd` of the record among a call's arguments, where it could be a scope.
pub fn command(args: &[wasmtime::component::Val]) -> Option<String> {
    text_field(args, "cmd").filter(|cmd| !cmd.is_empty()).map(str::to_string)
}

/// A granted program: a name, which is looked up when the run starts, or a path.
#[derive(Debug)]
pub struct ProgramScope {
    /// As it was written, if it is a bare name.
    name: Option<String>,
    /// As in [`Program`]; the name itself where it was not found.
    path: PathBuf,
    /// None for what did not exist when the run started: then it must not be a link.
    real: Option<PathBuf>,
    denies: bool,
    /// Of a denial: every program of that name on the PATH, and what it leads to.
    others: Vec<PathBuf>,
}

impl ProgramScope {
    /// Reads `NAME` or `PATH`; a relative path, which has a slash, starts at `base`.
    ///
    /// # Errors
    /// When it is empty or a pattern.
    pub fn parse(capability: &str, text: &str, base: &Path) -> Result<ProgramScope, GrantError> {
        let forms = format!(
            "write {capability}=NAME, which is looked for on the PATH, or {capability}=PATH with a slash; without a \
             scope every program is granted"
        );
        if matches!(text, "" | "." | "..") || text.ends_with('/') || text.contains(['*', '\0']) {
            return Err(GrantError::new(format!("{text:?} is not the name of a program; {forms}")));
        }
        let bare = !text.contains('/');
        let wrong = match bare {
            true if text.contains(char::is_whitespace) => {
                Some("a program is named without its arguments".into())
            }
            true if text.contains(':') => Some("there is no such form".into()),
            true if text.contains(['"', '\'', '$']) => Some("quotes and variables are the shell's".into()),
            true => None,
            false => assay_capability_api::scope::read_path(text).err(),
        };
        if let Some(wrong) = wrong {
            return Err(GrantError::new(format!("{text:?}: {wrong}; {forms}, or {capability}=env:NAME")));
        }
        let (path, real) = match find_io(text, base, &Ambient::inherited()) {
            Ok((path, file)) => (path, Some(file.path)),
            // What a request for what is not there has; a program that appears later is found elsewhere.
            Err(_) if bare => (PathBuf::from(text), None),
            Err(_) => (assay_capability_api::scope::normalize(&base.join(text)), None),
        };
        Ok(ProgramScope {
            name: bare.then(|| text.to_string()),
            path,
            real,
            denies: false,
            others: Vec::new(),
        })
    }
}

impl Scope for ProgramScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Program { path, real, .. } = *request else { return false };
        let same_path = self.path == path;
        if self.denies {
            let same_name = self.name.as_deref().is_some_and(|name| path.file_name() == Some(name.as_ref()));
            let other = self.others.iter().any(|other| other == path || other == real);
            return same_path || same_name || other || self.real.as_deref() == Some(real);
        }
        same_path && real == self.real.as_deref().unwrap_or(path)
    }

    fn programs(&self) -> Vec<&Path> {
        let path = Some(self.path.as_path()).filter(|path| path.is_absolute());
        path.into_iter().chain(self.real.as_deref()).collect()
    }

    /// A denied program stays denied under its other names, and a denied name in every directory.
    fn widen_for_denial(&mut self) {
        self.denies = true;
        let Some(name) = &self.name else { return };
        for directory in Ambient::inherited().search_directories() {
            if let Ok((path, file)) = look(&directory.join(name)) {
                self.others.extend([path, file.path]);
            }
        }
    }
}
