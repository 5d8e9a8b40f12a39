//! Links that a run leaves behind. Other programs follow them, so a run may only make links to what it may itself
//! write, wherever it puts the link.

use crate::Cancel;
use crate::ops::MAX_DEPTH;
use crate::resolve::{self, FS, Last, elsewhere, failed, follow, path_of, would_allow};
use crate::walk::{MAX_ENTRIES, too_many};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run, error, lock, scope};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat, symlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::{Mutex, MutexGuard};

static MOVING: Mutex<()> = Mutex::new(());

/// Held while something is moved, or a link is made or moved: what was found out about a place must still be so when it is acted
/// on, and only scripts' own calls could change it by the means that grants bound.
pub fn moving() -> MutexGuard<'static, ()> {
    lock(&MOVING)
}

/// Whether a run may write everywhere, so that no link of it can lead out.
fn is_unbounded(run: &Run) -> bool {
    let root = Path::new("/");
    would_allow(run, Access::Write, root)
        && would_allow(run, Access::Write, Path::new("/proc/self"))
        && run.grants.denies_in(FS, root).is_none()
}

/// Checks that a link with the text `target` may be at `name` in `directory`, the real path of a directory.
///
/// It may go upwards only at its beginning, where the directories are those that it lies in: however links lead to links,
/// each one leads to what may be written, and so does what follows them.
///
/// # Errors
/// `denied`, `invalid-argument`.
pub fn check(run: &Run, directory: &Path, name: &OsStr, target: &Path, shown: &str) -> Result<(), Error> {
    if is_unbounded(run) {
        return Ok(());
    }
    let text = target.to_string_lossy();
    let place = directory.join(name);
    let lexical = scope::normalize(&directory.join(target));
    let refuse = |why: &str| {
        run.record_denial(FS, &format!("a link {} to {}", place.display(), lexical.display()));
        error(ErrorCode::Denied, format!("the link {shown} to {text} is refused: {why}"))
    };
    if run.grants.denies_in(FS, &place).is_some() {
        return Err(refuse("a deny rule covers something below its own place"));
    }
    // What a link shows at its place must be readable there only if it is where it lies.
    let read = would_allow(run, Access::Read, &place);
    let access: &[Access] = if read { &[Access::Write, Access::Read] } else { &[Access::Write] };
    let authorizer = |access, path: &Path| match would_allow(run, access, path) {
        true => Ok(()),
        false => Err(elsewhere(&[access], shown)),
    };
    let out = "it leads to what this run may not write, and other programs would follow it";
    if access.iter().any(|access| authorizer(*access, &lexical).is_err()) {
        return Err(refuse(out));
    }
    let mut down = target.is_absolute();
    for part in target.components() {
        match part {
            Component::ParentDir if down => {
                let message = format!(
                    "{shown}: a link cannot lead down and up again, as {text} does; write where it leads"
                );
                return Err(error(ErrorCode::InvalidArgument, message));
            }
            Component::Normal(_) => down = true,
            _ => {}
        }
    }
    // What is not there yet is fine, as long as it would be granted.
    let real = match follow(
        run,
        &authorizer,
        &directory.join(target),
        &lexical,
        shown,
        (access, Last::Follow, false),
    ) {
        Ok(place) => place.real,
        Err(failure) if failure.code == ErrorCode::Denied => return Err(refuse(out)),
        Err(_) => lexical.clone(),
    };
    match run.grants.denies_in(FS, &lexical).or_else(|| run.grants.denies_in(FS, &real)) {
        Some(_) => Err(refuse("a deny rule covers something in what it leads to")),
        None => Ok(()),
    }
}

/// Makes a link at `name` in an open directory, wherever that is by now.
///
/// # Errors
/// Those of [`check`] inside; the operating system's outside.
pub fn make(
    run: &Run,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    target: &Path,
    shown: &str,
) -> Result<Result<(), Error>, Errno> {
    let _moving = moving();
    let real = match path_of(directory) {
        Some(real) => real,
        None if is_unbounded(run) => return symlinkat(target, directory, name).map(Ok),
        None => return Err(Errno::NOENT),
    };
    match check(run, &real, name, target, shown) {
        Ok(()) => symlinkat(target, directory, name).map(Ok),
        Err(refused) => Ok(Err(refused)),
    }
}

/// What is in a directory that is to be moved.
#[derive(Clone, Copy, Default, Debug)]
pub struct Content {
    pub bytes: u64,
    pub entries: u64,
}

/// Checks the links of what is to be moved to `new`, a real path, and measures it.
///
/// # Errors
/// `denied`, `limit`, or the operating system's.
pub fn survey(
    run: &Run,
    (parent, name): (&OwnedFd, &OsStr),
    new: &Path,
    shown: &str,
    measure: bool,
    cancel: &Cancel,
) -> Result<Content, Error> {
    let mut content = Content::default();
    if !measure && is_unbounded(run) {
        return Ok(content);
    }
    let mut survey = Survey { run, cancel, content: &mut content };
    survey.entry(parent.as_fd(), name, new, shown, 0)?;
    Ok(content)
}

struct Survey<'a> {
    run: &'a Run,
    cancel: &'a Cancel,
    content: &'a mut Content,
}

impl Survey<'_> {
    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        new: &Path,
        shown: &str,
        depth: usize,
    ) -> Result<(), Error> {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if depth > 0 => return Ok(()),
            Err(source) => return Err(failed(shown, source)),
        };
        self.content.entries += 1;
        if self.content.entries > MAX_ENTRIES as u64 {
            return Err(too_many(shown));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(directory, name, new, shown, depth),
            FileType::Symlink => {
                let target =
                    readlinkat(directory, name, Vec::new()).map_err(|source| failed(shown, source))?;
                let Some(place) = new.parent() else { return Ok(()) };
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                check(self.run, place, new.file_name().unwrap_or(name), target, shown)
            }
            _ => {
                self.content.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                Ok(())
            }
        }
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        new: &Path,
        shown: &str,
        depth: usize,
    ) -> Result<(), Error> {
        self.cancel.check()?;
        if depth >= MAX_DEPTH {
            return Err(error(
                ErrorCode::Limit,
                format!("{shown}: directories are nested deeper than {MAX_DEPTH}; move them one by one"),
            ));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory =
            openat(parent, name, flags, Mode::empty()).map_err(|source| resolve::failed(shown, source))?;
        for entry in Dir::read_from(&directory).map_err(|source| failed(shown, source))? {
            let entry = entry.map_err(|source| failed(shown, source))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                let shown = format!("{shown}/{}", name.to_string_lossy());
                self.entry(directory.as_fd(), name, &new.join(name), &shown, depth + 1)?;
            }
        }
        Ok(())
    }
}
