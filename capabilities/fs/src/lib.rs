//! Files and directories: the capability `fs`, and the one check that every path argument of every
//! other builtin goes through.
//!
//! It is linked into every run, because the run's own temporary directory needs no grant; whatever is
//! not granted is denied in [`resolve`].

mod atomic;
mod copy;
mod environ;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod glob;
mod handle;
pub mod links;
mod machine;
pub mod needs;
mod open;
mod ops;
mod output;
mod pattern;
mod resolve;
mod rights;
mod temp;
mod walk;

pub use atomic::AtomicFile;
pub use open::{How, open};
pub use output::{OutputFile, open_output};
pub use resolve::{Authorizer, ResolvedPath, path_of, spare, would_allow};
pub use temp::{Temp, TempFile, remove_if_asked, remove_temp, room, seal_home, temp_directory, temp_file};

use assay_capability_api::scope::PathScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Access, Capability, Ctx, Denied, GrantError, HandleGuard, Held, HostResult, Linker, Need, Run, Scope,
    ScopeForm, error, lock, off_thread,
};
use handle::{Entries, File, Listing};
use resolve::Last;
use rustix::fs::FileType;
use std::io::SeekFrom;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/fs@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/fs@0.1.0.file": crate::handle::File,
            "assay:host/fs@0.1.0.listing": crate::handle::Listing,
        },
        require_store_data_send: true,
    });
}

use bindings::assay::host::fs;

type Outcome<T> = std::result::Result<T, Error>;

/// Whether the caller of a long operation still waits for it.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// # Errors
    /// When nobody waits any more.
    pub fn check(&self) -> Outcome<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(error(ErrorCode::Other, "cancelled")),
            false => Ok(()),
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `f` on a thread that may block. `held` is what it takes of the run's budget, its arguments first; it is given
/// back when `f` is done. When the future is dropped, `f` stops at its next check.
///
/// # Errors
/// Those of `f`; where the thread panicked, the end of the run.
pub async fn blocking<T: Send + 'static>(
    held: Held,
    f: impl FnOnce(&Cancel) -> Outcome<T> + Send + 'static,
) -> HostResult<T> {
    let guard = CancelOnDrop(Cancel::default());
    let cancel = guard.0.clone();
    let work = move || {
        let _held = held;
        f(&cancel)
    };
    Ok(off_thread(work).await?)
}

// What other capabilities use for their path arguments. All of it blocks on the disk.

/// The directory of a file that a library opens by name, held open so that nothing on the way to it can be
/// swapped, and the file's name in it, which was no link. `authorizer` decides in place of the grants of `fs`.
/// The file may not exist.
///
/// # Errors
/// The authorizer's, the operating system's, or `unsupported` where it is no regular file.
pub fn locate(run: &Run, access: &[Access], path: &str, authorizer: Authorizer<'_>) -> Outcome<ResolvedPath> {
    let place = resolve::resolve_as(run, authorizer, path, access, Last::Follow, false)?;
    match place.kind() {
        Ok(FileType::RegularFile) => Ok(place),
        Ok(FileType::Directory) => Err(place.failed(rustix::io::Errno::ISDIR)),
        Ok(_) => Err(error(ErrorCode::Unsupported, format!("{path}: it is not a regular file"))),
        Err(rustix::io::Errno::NOENT) if !place.directory => Ok(place),
        Err(source) => Err(place.failed(source)),
    }
}

/// Opens a regular file for reading.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_read(run: &Run, path: &str) -> Outcome<std::fs::File> {
    open(run, path, How { read: true, ..How::default() })
}

/// Opens a file for writing, empty; parent directories are made.
///
/// # Errors
/// `denied`, or the operating system's.
#[cfg(test)]
fn create(run: &Run, path: &str) -> Outcome<std::fs::File> {
    open(run, path, How { write: true, create: true, truncate: true, parents: true, ..How::default() })
}

/// Starts a file that takes the place of `path` when it is committed; parent directories are made.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn create_atomic(run: &Arc<Run>, path: &str) -> Outcome<AtomicFile> {
    AtomicFile::create(run, path)
}

/// Puts a file in the place of another, whose permission bits it gets. What leads to the other one stays.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn replace(run: &Run, source: &str, destination: &str) -> Outcome<()> {
    let place = resolve::resolve(run, destination, &[Access::Write], resolve::Last::Follow, true)?;
    match ops::stat(run, destination, true) {
        Ok((old, _)) => ops::chmod(run, source, old.permissions().mode() & 0o777)?,
        Err(failure) if failure.code == ErrorCode::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let real = place.real.to_str().ok_or_else(|| place.failed(rustix::io::Errno::ILSEQ))?;
    ops::rename(run, source, real, &Cancel::default())
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn remove_file(run: &Run, path: &str) -> Outcome<()> {
    match ops::remove(run, path, ops::Remove::One, &Cancel::default()) {
        Err(failure) if failure.code == ErrorCode::NotFound => Ok(()),
        removed => removed,
    }
}

/// Checks a path as the script wrote it, before anything is fetched for it; where it leads is checked when it is opened.
///
/// # Errors
/// `denied`.
pub fn check_written(run: &Run, access: Access, path: &str) -> Outcome<()> {
    resolve::allow_written(run, access, &run.path(path), path)
}

/// Opens a directory for listing it, or for working relative to it.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_directory(run: &Run, access: Access, path: &str) -> Outcome<OwnedFd> {
    let place = resolve::resolve(run, path, &[access], Last::Follow, false)?;
    resolve::open_directory(run, &[access], &place)
}

/// Makes a directory and its missing parents; one that is there is no error.
///
/// # Errors
/// `denied`, `exists` where there is something else, or the operating system's.
pub fn make_directory(run: &Run, path: &str) -> Outcome<()> {
    ops::mkdir(run, path)
}

/// Opens a directory for working relative to it, and gives its path without links.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn enter_directory(run: &Run, access: Access, path: &str) -> Outcome<(OwnedFd, PathBuf)> {
    let place = resolve::resolve(run, path, &[access], Last::Follow, false)?;
    Ok((resolve::open_directory(run, &[access], &place)?, place.real))
}

/// Opens whatever is at `path` for looking at it (`fstat`, `fstatvfs`), not at its content.
///
/// # Errors
/// `denied`, or the operating system's.
pub fn open_path(run: &Run, access: Access, path: &str) -> Outcome<OwnedFd> {
    let place = resolve::resolve(run, path, &[access], Last::Follow, false)?;
    resolve::open_path(run, &[access], &place)
}

/// The capability `fs`.
pub struct Fs;

impl Capability for Fs {
    fn name(&self) -> &'static str {
        resolve::FS
    }

    fn summary(&self) -> &'static str {
        "files and directories"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm {
                form: "PATH",
                grants: "reading a file, or a directory and all under it",
                example: "fs=./config",
            },
            ScopeForm { form: "read:PATH", grants: "the same", example: "fs=read:./config" },
            ScopeForm {
                form: "write:PATH",
                grants: "writing, making and removing",
                example: "fs=write:/var/log/app",
            },
            ScopeForm { form: "rw:PATH", grants: "both", example: "fs=rw:./data" },
            ScopeForm {
                form: "list:PATH",
                grants: "the names in this directory, not what is in them; part of read",
                example: "fs=list:/srv",
            },
            ScopeForm {
                form: "stat:PATH",
                grants: "asking whether this path is there, and its size, type and times; part of read",
                example: "fs=stat:/etc/debian_version",
            },
            ScopeForm {
                form: "setid:PATH",
                grants: "setting the bits setuid, setgid and sticky, beside write; nothing wider includes it",
                example: "fs=setid:./image",
            },
        ]
    }

    fn scope(&self, text: &str, base: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        Ok(Box::new(PathScope::parse(text, base)?))
    }

    fn denied_with(&self, other: &str, scope: Option<&str>, _: &Path) -> Denied {
        match other {
            "env" => Denied::Part(Box::new(environ::Environ)),
            "os" => Denied::Part(Box::new(machine::Machine::denied(scope))),
            _ => Denied::Nothing,
        }
    }

    fn needs(&self) -> &'static [Need] {
        needs::OWN
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        fs::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

fn kind(kind: FileType) -> fs::Kind {
    match kind {
        FileType::RegularFile => fs::Kind::File,
        FileType::Directory => fs::Kind::Directory,
        FileType::Symlink => fs::Kind::Symlink,
        _ => fs::Kind::Other,
    }
}

fn seconds(time: std::io::Result<SystemTime>) -> Option<f64> {
    let time = time.ok()?;
    Some(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    })
}

fn metadata(about: &std::fs::Metadata, is_symlink: bool) -> fs::Metadata {
    use std::os::unix::fs::MetadataExt;
    fs::Metadata {
        kind: kind(FileType::from_raw_mode(about.mode())),
        is_symlink,
        size: about.len(),
        modified: seconds(about.modified()),
        created: seconds(about.created()),
        permissions: about.mode() & 0o7777,
    }
}

type Host = HasSelf<Ctx>;

fn run(accessor: &Accessor<Ctx, Host>) -> Arc<Run> {
    accessor.with(|mut access| access.get().run.clone())
}

/// Takes a handle, does the opening, and gives the script the result.
async fn opened(
    accessor: &Accessor<Ctx, Host>,
    path: String,
    f: impl FnOnce(Arc<Run>, HandleGuard, String) -> Outcome<File> + Send + 'static,
) -> HostResult<Resource<File>> {
    let run = run(accessor);
    let handle = run.take_handle()?;
    let file = blocking(run.hold(&[&path]).await?, move |_| f(run, handle, path)).await?;
    Ok(accessor.with(|mut access| access.get().table.push(file))?)
}

async fn listed(
    accessor: &Accessor<Ctx, Host>,
    text: String,
    f: impl FnOnce(&Arc<Run>, &str, &Cancel) -> Outcome<Entries> + Send + 'static,
) -> HostResult<Resource<Listing>> {
    let run = run(accessor);
    let handle = run.take_handle()?;
    // The listing keeps it for its batches.
    let mut held = run.hold(&[&text]).await?;
    held.resize(handle::BATCH_BYTES)?;
    let listing = blocking(run.budget.nothing(), move |cancel| {
        let entries = f(&run, &text, cancel)?;
        Ok(Listing { entries: Arc::new(Mutex::new(entries)), run, _handle: handle, _held: held })
    })
    .await?;
    Ok(accessor.with(|mut access| access.get().table.push(listing))?)
}

fn file(accessor: &Accessor<Ctx, Host>, file: &Resource<File>) -> Result<Arc<handle::Inner>> {
    accessor.with(|mut access| Ok(access.get().table.get(file)?.inner.clone()))
}

/// Waits before a pipe or device is tried again; longer each time, up to 50 ms.
async fn pause(tried: &mut u32) {
    tokio::time::sleep(Duration::from_millis(u64::from((*tried).clamp(1, 50)))).await;
    *tried += 1;
}

impl fs::Host for Ctx {}

impl fs::HostWithStore<Ctx> for Host {
    async fn open(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        how: fs::OpenFlags,
    ) -> HostResult<Resource<File>> {
        let how = How {
            read: how.contains(fs::OpenFlags::READ),
            write: how.contains(fs::OpenFlags::WRITE),
            append: how.contains(fs::OpenFlags::APPEND),
            truncate: how.contains(fs::OpenFlags::TRUNCATE),
            create: how.contains(fs::OpenFlags::CREATE),
            parents: how.contains(fs::OpenFlags::PARENTS),
        };
        opened(accessor, path, move |run, handle, path| File::open(run, handle, path, how)).await
    }

    async fn replace(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<Resource<File>> {
        opened(accessor, path, |run, handle, path| {
            let file = AtomicFile::create(&run, &path)?;
            Ok(File::atomic(run, handle, path, file))
        })
        .await
    }

    async fn walk(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        depth: Option<u32>,
    ) -> HostResult<Resource<Listing>> {
        let depth = depth.map(|depth| usize::try_from(depth).unwrap_or(usize::MAX));
        let walk = move |run: &Arc<Run>, path: &str, _: &_| {
            Ok(Entries::Walk(walk::Walker::new(run.clone(), path, depth)?))
        };
        listed(accessor, path, walk).await
    }

    async fn glob(
        accessor: &Accessor<Ctx, Self>,
        pattern: String,
        hidden: bool,
    ) -> HostResult<Resource<Listing>> {
        listed(accessor, pattern, move |run, pattern, cancel| {
            let (mut found, held) = glob::glob(run, pattern, hidden, cancel)?;
            found.reverse();
            Ok(Entries::Found { paths: found, _held: held })
        })
        .await
    }

    async fn remove(accessor: &Accessor<Ctx, Self>, path: String, recursive: bool) -> HostResult<()> {
        let run = run(accessor);
        let how = if recursive { ops::Remove::Tree } else { ops::Remove::Entry };
        blocking(run.hold(&[&path]).await?, move |cancel| ops::remove(&run, &path, how, cancel)).await
    }

    async fn remove_one(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<()> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |cancel| ops::remove(&run, &path, ops::Remove::One, cancel))
            .await
    }

    async fn copy(accessor: &Accessor<Ctx, Self>, source: String, destination: String) -> HostResult<u64> {
        let run = run(accessor);
        let paths = 4 * (source.len() + destination.len());
        let held = match paths > copy::COPIED {
            true => run.budget.take(copy::COPIED + paths)?,
            false => run.budget.take_soon(copy::COPIED + paths).await?,
        };
        blocking(held, move |cancel| copy::copy(&run, &source, &destination, cancel)).await
    }

    async fn rename(accessor: &Accessor<Ctx, Self>, source: String, destination: String) -> HostResult<()> {
        let run = run(accessor);
        blocking(run.hold(&[&source, &destination]).await?, move |cancel| {
            ops::rename(&run, &source, &destination, cancel)
        })
        .await
    }

    async fn chmod(accessor: &Accessor<Ctx, Self>, path: String, mode: u32) -> HostResult<()> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |_| ops::chmod(&run, &path, mode)).await
    }

    async fn mkdir(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<()> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |_| ops::mkdir(&run, &path)).await
    }

    async fn stat(accessor: &Accessor<Ctx, Self>, path: String, follow: bool) -> HostResult<fs::Metadata> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |_| {
            ops::stat(&run, &path, follow).map(|(about, is_link)| metadata(&about, is_link))
        })
        .await
    }

    async fn symlink(accessor: &Accessor<Ctx, Self>, target: String, path: String) -> HostResult<()> {
        let run = run(accessor);
        blocking(run.hold(&[&target, &path]).await?, move |_| ops::symlink(&run, &target, &path)).await
    }

    async fn readlink(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<String> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |_| ops::readlink(&run, &path)).await
    }

    async fn canonicalize(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<String> {
        let run = run(accessor);
        blocking(run.hold(&[&path]).await?, move |_| ops::canonicalize(&run, &path)).await
    }

    async fn temp_directory(accessor: &Accessor<Ctx, Self>) -> HostResult<String> {
        let run = run(accessor);
        blocking(run.budget.nothing(), move |_| temp::temp_directory(&run)).await
    }
}

impl fs::HostFile for Ctx {
    fn drop(&mut self, file: Resource<File>) -> Result<()> {
        self.table.delete(file)?;
        Ok(())
    }
}

impl fs::HostFileWithStore<Ctx> for Host {
    async fn read(accessor: &Accessor<Ctx, Self>, this: Resource<File>, max: u32) -> HostResult<Vec<u8>> {
        let inner = file(accessor, &this)?;
        let mut tried = 0;
        loop {
            let inner = inner.clone();
            // Held until the bytes are on their way to the guest.
            let held = Arc::new(run(accessor).budget.take_soon((max as usize).min(handle::MAX_READ)).await?);
            let held_by_work = held.clone();
            let reading = move |_: &Cancel| {
                let _held = held_by_work;
                inner.read(max)
            };
            match blocking(run(accessor).budget.nothing(), reading).await? {
                Some(bytes) => return Ok(bytes),
                None => pause(&mut tried).await,
            }
        }
    }

    async fn write(accessor: &Accessor<Ctx, Self>, this: Resource<File>, bytes: Vec<u8>) -> HostResult<()> {
        let inner = file(accessor, &this)?;
        inner.count(bytes.len())?;
        let bytes = run(accessor).budget.take(bytes.len())?.with(bytes);
        let mut written = 0;
        let mut tried = 0;
        loop {
            let (inner, piece) = (inner.clone(), bytes.clone());
            written +=
                blocking(run(accessor).budget.nothing(), move |_| inner.write(&piece[written..])).await?;
            if written >= bytes.len() {
                return Ok(());
            }
            pause(&mut tried).await;
        }
    }

    async fn seek(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<File>,
        origin: fs::Origin,
        offset: i64,
    ) -> HostResult<u64> {
        let inner = file(accessor, &this)?;
        let to = match origin {
            fs::Origin::Start => match u64::try_from(offset) {
                Ok(offset) => SeekFrom::Start(offset),
                Err(_) => return Err(resolve::failed("seek", rustix::io::Errno::INVAL).into()),
            },
            fs::Origin::Current => SeekFrom::Current(offset),
            fs::Origin::End => SeekFrom::End(offset),
        };
        blocking(run(accessor).budget.nothing(), move |_| inner.seek(to)).await
    }

    async fn size(accessor: &Accessor<Ctx, Self>, this: Resource<File>) -> HostResult<u64> {
        let inner = file(accessor, &this)?;
        blocking(run(accessor).budget.nothing(), move |_| inner.size()).await
    }

    async fn sync(accessor: &Accessor<Ctx, Self>, this: Resource<File>) -> HostResult<()> {
        let inner = file(accessor, &this)?;
        blocking(run(accessor).budget.nothing(), move |_| inner.sync()).await
    }

    async fn commit(accessor: &Accessor<Ctx, Self>, this: Resource<File>) -> HostResult<()> {
        let inner = file(accessor, &this)?;
        blocking(run(accessor).budget.nothing(), move |_| inner.commit()).await
    }
}

impl fs::HostListing for Ctx {
    fn drop(&mut self, listing: Resource<Listing>) -> Result<()> {
        self.table.delete(listing)?;
        Ok(())
    }
}

impl fs::HostListingWithStore<Ctx> for Host {
    async fn next(accessor: &Accessor<Ctx, Self>, this: Resource<Listing>) -> HostResult<Vec<fs::Entry>> {
        let (entries, run) = accessor.with(|mut access| {
            let listing = access.get().table.get(&this)?;
            wasmtime::error::Ok((listing.entries.clone(), listing.run.clone()))
        })?;
        blocking(run.budget.nothing(), move |cancel| {
            let batch = lock(&entries).next(cancel)?;
            run.count_bytes(handle::size_of(&batch))?;
            Ok(batch
                .into_iter()
                .map(|entry| fs::Entry {
                    name: entry.name,
                    path: entry.path,
                    kind: entry.kind.map_or(fs::Kind::Other, kind),
                })
                .collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
