//! The run's own temporary directory: made when it is first asked for, bounded, removed with the run.

use crate::resolve::{FS, allow, failed, path_of};
use assay_capability_api::scope::PathScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Ambient, Limit, Rule, Run, error, io_error, limit_error, lock, random};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Directories in directories that are gone through with a handle each; what is deeper is moved up when the directory is cleared.
const MAX_OPEN: usize = 128;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory, held open: nothing that is done to its name changes which one it is.
pub struct Temp {
    parent: OwnedFd,
    name: String,
    directory: OwnedFd,
    path: PathBuf,
    count: Mutex<Count>,
    /// Directories that are homes of programs.
    homes: Mutex<BTreeSet<PathBuf>>,
    /// Somebody has seen to its removal.
    removed: AtomicBool,
}

/// What was put into it since it was last measured, and what was measured: never less than there is.
#[derive(Default)]
struct Count {
    bytes: u64,
    entries: u64,
    /// Files that are open for writing. One that has been removed has its bytes all the same.
    open: Vec<Weak<File>>,
}

impl Temp {
    fn create(ambient: &Ambient) -> Result<Temp, Error> {
        let shown = "the temporary directory of the system";
        let base = ambient.temporary().map_err(|source| io_error(shown, &source))?;
        // The operator's choice, links and all; from here on it is this directory.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, base, flags, Mode::empty()).map_err(|source| failed(shown, source))?;
        let real = path_of(&parent).map_or_else(|| std::fs::canonicalize(base), Ok);
        let real = real.map_err(|source| failed(shown, source))?;
        let name = format!("assay-{}", random::name());
        mkdirat(&parent, &name, Mode::RWXU).map_err(|source| failed(shown, source))?;
        let directory =
            openat(&parent, &name, DIRECTORY, Mode::empty()).map_err(|source| failed(shown, source))?;
        let path = real.join(&name);
        Ok(Temp {
            parent,
            name,
            directory,
            path,
            count: Mutex::default(),
            homes: Mutex::default(),
            removed: AtomicBool::new(false),
        })
    }

    fn count(&self) -> std::sync::MutexGuard<'_, Count> {
        lock(&self.count)
    }

    /// Whether a real path is the directory or lies in it.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
    }

    /// Takes room for what is about to be put into it.
    ///
    /// # Errors
    /// `limit` where there is not so much left.
    pub fn take(&self, run: &Run, bytes: u64, entries: u64) -> Result<(), Error> {
        let limits = &run.limits;
        let mut count = self.count();
        let sums = |count: &Count| (count.bytes.saturating_add(bytes), count.entries.saturating_add(entries));
        let fits =
            |(bytes, entries): (u64, u64)| bytes <= limits.temp_bytes && entries <= limits.temp_entries;
        if !fits(sums(&count))
            && let Some((bytes, entries)) = self.measure(&count, limits.temp_entries)
        {
            // What was removed meanwhile, or moved away, no longer counts.
            (count.bytes, count.entries) = (bytes, entries);
        }
        let sum = sums(&count);
        if sum.0 > limits.temp_bytes {
            return Err(limit_error(Limit::TempBytes, limits.temp_bytes));
        }
        if sum.1 > limits.temp_entries {
            return Err(limit_error(Limit::TempEntries, limits.temp_entries));
        }
        (count.bytes, count.entries) = sum;
        run.usage.temp_bytes_peak.fetch_max(sum.0, Ordering::Relaxed);
        run.usage.temp_entries_peak.fetch_max(sum.1, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps an eye on a file that is open for writing.
    pub fn watch(&self, file: &Arc<File>) {
        let mut count = self.count();
        count.open.retain(|file| file.strong_count() > 0);
        count.open.push(Arc::downgrade(file));
    }

    /// Bytes and entries that there are. None where a part of it cannot be looked at, which counts as it did.
    fn measure(&self, count: &Count, most: u64) -> Option<(u64, u64)> {
        let (mut bytes, mut entries) = (0, 0);
        measure(&self.directory, 0, &mut (&mut bytes, &mut entries), most)?;
        for file in count.open.iter().filter_map(Weak::upgrade) {
            let stat = fstat(&*file).ok()?;
            if stat.st_nlink == 0 {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
        Some((bytes, entries))
    }
}

fn measure(directory: &OwnedFd, depth: usize, sum: &mut (&mut u64, &mut u64), most: u64) -> Option<()> {
    if depth > MAX_OPEN {
        return None;
    }
    for entry in Dir::read_from(directory).ok()? {
        let entry = entry.ok()?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(_) => return None,
        };
        *sum.1 += 1;
        // Programs may have put in more than the run might; there is no need to see all of it.
        if *sum.1 > most.saturating_add(1) {
            return Some(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => match openat(directory, name, DIRECTORY, Mode::empty()) {
                Ok(below) => measure(&below, depth + 1, sum, most)?,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(_) => return None,
            },
            _ => *sum.0 += u64::try_from(stat.st_size).unwrap_or(0),
        }
    }
    Some(())
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.removed.load(Ordering::Relaxed) && clear(&self.directory, None) {
            // What fails is the system's to clean up.
            let _ = unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes the run's temporary directory now, for a run whose time is over: what is not done after `patience` is left to a
/// process of its own.
pub fn remove_temp(run: &Run, patience: Duration) {
    let Some(own) = own(run).filter(|own| !own.removed.swap(true, Ordering::Relaxed)) else { return };
    if clear(&own.directory, Some(Instant::now() + patience)) {
        let _ = unlinkat(&own.parent, &own.name, AtFlags::REMOVEDIR);
        return;
    }
    let Ok(directory) = own.directory.try_clone() else { return };
    // If the remover cannot be started, cleaning up the directory is left to the system.
    let _ = Command::new("/proc/self/exe")
        .arg0(REMOVER)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(directory))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
}

/// The name that makes this executable remove the directory that is its standard input.
const REMOVER: &str = "assay-remover";

/// Removes a directory, and never returns, if this process was started to. To be called first in `main`.
pub fn remove_if_asked() {
    if std::env::args_os().next().is_none_or(|name| name != REMOVER) {
        return;
    }
    let directory = std::io::stdin().as_fd().try_clone_to_owned();
    if let Ok(directory) = directory
        && clear(&directory, None)
        && let Some(path) = path_of(&directory)
    {
        let _ = rustix::fs::rmdir(&path);
    }
    std::process::exit(0)
}

/// Removes what is in a directory; false where the time was over before.
fn clear(top: &OwnedFd, until: Option<Instant>) -> bool {
    let mut clearing = Clearing { top, until, late: false };
    // Each round moves what is nested too deep up to the top.
    while clearing.clear(top, 0) {}
    !clearing.late
}

struct Clearing<'a> {
    top: &'a OwnedFd,
    until: Option<Instant>,
    late: bool,
}

impl Clearing<'_> {
    /// Whether there is more to do, because something was moved to the top.
    fn clear(&mut self, directory: &OwnedFd, depth: usize) -> bool {
        // The script may have taken its own permissions away.
        let _ = rustix::fs::fchmod(directory, Mode::RWXU);
        let Ok(entries) = Dir::read_from(directory) else { return false };
        let mut more = false;
        for entry in entries.flatten() {
            self.late |= self.until.is_some_and(|until| Instant::now() >= until);
            if self.late {
                return false;
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." || unlinkat(directory, name, AtFlags::empty()).is_ok() {
                continue;
            }
            let mut below = openat(directory, name, DIRECTORY, Mode::empty());
            if matches!(below, Err(Errno::ACCESS)) {
                let _ = rustix::fs::chmodat(directory, name, Mode::RWXU, AtFlags::empty());
                below = openat(directory, name, DIRECTORY, Mode::empty());
            }
            let Ok(below) = below else { continue };
            if depth >= MAX_OPEN {
                let _ = rustix::fs::fchmod(&below, Mode::RWXU);
                more |= renameat(directory, name, self.top, format!("deep-{}", random::name())).is_ok();
            } else {
                more |= self.clear(&below, depth + 1);
                let _ = unlinkat(directory, name, AtFlags::REMOVEDIR);
            }
        }
        more
    }
}

/// The run's temporary directory, where it has one.
fn own(run: &Run) -> Option<Arc<Temp>> {
    let own = lock(&run.temporary);
    own.clone().and_then(|own| own.downcast().ok())
}

/// The run's temporary directory, where the real path `path` lies in it: what is written there takes its room.
pub fn room(run: &Run, path: &Path) -> Option<Arc<Temp>> {
    own(run).filter(|own| own.holds(path))
}

fn own_or_new(run: &Run) -> Result<Arc<Temp>, Error> {
    let mut own = lock(&run.temporary);
    if let Some(own) = own.clone().and_then(|own| own.downcast().ok()) {
        return Ok(own);
    }
    let made = Arc::new(Temp::create(&run.ambient)?);
    let scope = PathScope::new(true, true, made.path.clone());
    let rule = Rule::new(FS, Some(Box::new(scope)), "the run's temporary directory");
    run.grants.set_own(made.path.clone(), rule);
    *own = Some(made.clone());
    Ok(made)
}

/// Makes a new directory in the run's temporary directory and gives its path.
///
/// # Errors
/// `denied` by a deny rule, `limit`, or the operating system's.
pub fn temp_directory(run: &Run) -> Result<String, Error> {
    let own = own_or_new(run)?;
    allow(run, Access::Write, &own.path)?;
    own.take(run, 0, 1)?;
    let name = random::name();
    mkdirat(&own.directory, &name, Mode::RWXU)
        .map_err(|source| failed("the run's temporary directory", source))?;
    own.path.join(&name).into_os_string().into_string().map_err(|_| {
        error(ErrorCode::InvalidData, "the system's temporary directory has a path that is not UTF-8")
    })
}

fn is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a directory in the run's temporary one the home of a program: it must be empty, and the script can put nothing
/// into it from now on, because programs run what their configuration there says.
///
/// # Errors
/// Why it cannot be one.
pub fn seal_home(run: &Run, path: &Path) -> Result<(), String> {
    let Some(own) = own(run).filter(|own| path != own.path && own.holds(path)) else {
        return Err("it is not a directory that fs.tempdir() made".into());
    };
    let mut homes = lock(&own.homes);
    if path.ancestors().any(|directory| homes.contains(directory)) {
        return Ok(());
    }
    let below = path.strip_prefix(&own.path).map_err(|_| "it lies elsewhere")?;
    let wrong = |source: Errno| format!("it cannot be opened: {}", std::io::Error::from(source).kind());
    let (mut directory, mut parts) = (None, below.components().peekable());
    while let Some(part) = parts.next() {
        let parent = directory.as_ref().unwrap_or(&own.directory);
        if parts.peek().is_some() {
            directory = Some(openat(parent, part.as_os_str(), DIRECTORY, Mode::empty()).map_err(wrong)?);
            continue;
        }
        let name = part.as_os_str();
        // What is refused stays the script's to write.
        if !is_empty(&openat(parent, name, DIRECTORY, Mode::empty()).map_err(wrong)?).map_err(wrong)? {
            return Err("it is not empty".into());
        }
        run.grants.seal(FS, path.to_owned(), "the HOME of a program, which is that directory");
        // What the script has begun to write there goes on in the old directory, out of everybody's way.
        let aside = format!("assay-{}", random::name());
        renameat(parent, name, &own.parent, &aside).map_err(wrong)?;
        if unlinkat(&own.parent, &aside, AtFlags::REMOVEDIR).is_err() {
            renameat(&own.parent, &aside, parent, name).map_err(wrong)?;
            return Err("it is not empty".into());
        }
        mkdirat(parent, name, Mode::RWXU).map_err(wrong)?;
        // An empty directory could still be replaced by a rename that is under way.
        let home = openat(parent, name, DIRECTORY, Mode::empty()).map_err(wrong)?;
        mkdirat(&home, ".cache", Mode::RWXU).map_err(wrong)?;
    }
    homes.insert(path.to_owned());
    Ok(())
}

/// A file without a name in the run's temporary directory.
///
/// # Errors
/// `denied` by a deny rule, `limit`, or the operating system's.
pub fn temp_file(run: &Arc<Run>) -> Result<TempFile, Error> {
    let own = own_or_new(run)?;
    allow(run, Access::Write, &own.path)?;
    let name = random::name();
    let wrong = |source: Errno| failed("a temporary file", source);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&own.directory, &name, flags, Mode::RUSR | Mode::WUSR).map_err(wrong)?;
    unlinkat(&own.directory, &name, AtFlags::empty()).map_err(wrong)?;
    let file = Arc::new(File::from(file));
    own.watch(&file);
    Ok(TempFile { file, own, run: run.clone() })
}

/// A file without a name; it lives as long as it is open.
#[derive(Clone)]
pub struct TempFile {
    file: Arc<File>,
    own: Arc<Temp>,
    run: Arc<Run>,
}

impl TempFile {
    /// For reading. What is written goes through the `Write` of the whole.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl std::io::Write for TempFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let full = |failure: Error| std::io::Error::new(std::io::ErrorKind::StorageFull, failure.message);
        self.own.take(&self.run, bytes.len() as u64, 0).map_err(full)?;
        (&*self.file).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
