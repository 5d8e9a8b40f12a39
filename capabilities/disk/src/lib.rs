//! Space on file systems, and sweeping directories.

mod mounts;
mod tree;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Access, Capability, Ctx, HostResult, Linker, Literal, Need, Request, Run, error, io_error, off_thread,
};
use assay_capability_fs::needs;
use bindings::assay::host::disk::{self, Mount, Space};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use wasmtime::component::{Accessor, HasSelf};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/disk@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const DISK: &str = "disk";

/// The capability `disk`.
pub struct Disk;

impl Capability for Disk {
    fn name(&self) -> &'static str {
        DISK
    }

    fn summary(&self) -> &'static str {
        "space on file systems, mounts, sizes of directories and sweeping them"
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("disk.*", Literal::Whole),
            needs::stat("disk.usage"),
            needs::read("disk.dir_size"),
            needs::write("disk.sweep"),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        disk::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// Whether the caller of a long walk still waits for it.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicBool>);

struct EndOnDrop(Alive);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Alive {
    fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(error(ErrorCode::Other, "cancelled")) } else { Ok(()) }
    }
}

/// Runs blocking work on another thread, once the capability itself is granted. When the call is dropped,
/// the work stops at its next check.
async fn blocking<T: Send + 'static>(
    accessor: &Accessor<Ctx, HasSelf<Ctx>>,
    path: String,
    work: impl FnOnce(&Run, &str, &Alive) -> Result<T, Error> + Send + 'static,
) -> HostResult<T> {
    let run = accessor.with(|mut access| access.get().run.clone());
    let guard = EndOnDrop(Alive::default());
    let alive = guard.0.clone();
    let held = run.hold(&[&path]).await?;
    let work = move || {
        let _held = held;
        run.check(DISK, &Request::Whole)?;
        work(&run, &path, &alive)
    };
    Ok(off_thread(work).await?)
}

fn usage(run: &Run, path: &str) -> Result<Space, Error> {
    let lexical = run.path(path);
    let is_mount = mounts::read()?.iter().any(|mount| Path::new(&mount.path) == lexical);
    // The mount point itself, which the table shows to everybody; what has taken its place needs the grant.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mounted = is_mount.then(|| openat(CWD, &lexical, flags, Mode::empty()).ok()).flatten();
    let opened = match mounted.filter(|mount| assay_capability_fs::path_of(mount).as_ref() == Some(&lexical))
    {
        Some(mount) => mount,
        None => assay_capability_fs::open_path(run, Access::Stat, path)?,
    };
    let stat = rustix::fs::fstatvfs(&opened)
        .map_err(|failed| io_error(&format!("reading the space of {path}"), &failed.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bfree), available: bytes(stat.f_bavail) })
}

impl disk::Host for Ctx {}

impl disk::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn usage(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<Space> {
        blocking(accessor, path, |run, path, _| usage(run, path)).await
    }

    async fn mounts(accessor: &Accessor<Ctx, Self>) -> HostResult<Vec<Mount>> {
        blocking(accessor, String::new(), |run, _, _| {
            let mounts = mounts::read()?;
            run.count_bytes(mounts.iter().map(mounts::size).sum())?;
            Ok(mounts)
        })
        .await
    }

    async fn sweep(accessor: &Accessor<Ctx, Self>, path: String, age_seconds: f64) -> HostResult<u64> {
        // Anything else, NaN above all, must not read as "everything".
        let Ok(age) = Duration::try_from_secs_f64(age_seconds) else {
            let message = format!("sweeping {path}: {age_seconds} is not a number of seconds from 0");
            return Err(error(ErrorCode::InvalidArgument, message).into());
        };
        blocking(accessor, path, move |run, path, alive| {
            let before = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
            tree::sweep(run, path, before, alive)
        })
        .await
    }

    async fn dir_size(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<u64> {
        blocking(accessor, path, tree::size).await
    }
}

#[cfg(test)]
mod tests;
