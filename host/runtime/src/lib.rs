//! Runs scripts: the wasmtime engine and its one component, linking by grants, instances, limits.

mod control;
mod failure;
mod job;
mod link;
mod meter;
mod run;
mod watchdog;

pub use failure::{Failure, Frame};
pub use job::{Call, Job, Names, What};
pub use run::{Console, ConsoleReply, ConsoleRequest, Ended, Outcome, Returned, Start};
pub use watchdog::{GRACE, Late, Overdue, Waker};

use assay_capability_api::{Capability, Ctx, Grants, Linker, lock};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, bail};
use watchdog::Watchdog;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        world: "guest",
        imports: { "assay:host/control.tick": async | trappable, default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
    });
}

/// The alignment lets the operating system protect the code where it lies in the executable.
#[repr(C, align(65536))]
struct Aligned<Bytes: ?Sized>(Bytes);

static GUEST: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/guest.cwasm")));

/// The engine with the guest loaded. One per process; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    component: Component,
    base: Linker<Ctx>,
    /// Linked once per set of granted capabilities.
    linked: Mutex<HashMap<Vec<bool>, InstancePre<Ctx>>>,
    /// The export `run`.
    run: ComponentExportIndex,
    watchdog: Watchdog,
    /// The last field, so that it goes when the code is no longer used.
    _only: Only,
}

/// Held by the one runtime of a process: the code lies in the executable, where two engines cannot have it.
struct Only;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Only {
    fn take() -> Result<Only> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            bail!("this process has a runtime already; clone that one");
        }
        Ok(Only)
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

impl Runtime {
    /// Every capability of this build, by name.
    pub fn capabilities() -> &'static [&'static dyn Capability] {
        assay_capabilities::ALL
    }

    /// Loads the guest, with room for so many instances at a time.
    ///
    /// # Errors
    /// When the build has no guest, the process has a runtime already, or memory cannot be reserved.
    pub fn new(instances: u32) -> Result<Runtime> {
        if GUEST.0.is_empty() {
            bail!("this build has no guest; build it with `cargo xtask guest`");
        }
        let only = Only::take()?;
        let engine = Engine::new(&assay_wasm::runtime_config(instances))
            .context("cannot reserve address space for the instances")?;
        // SAFETY: the bytes are this build's own compiled guest, aligned to the largest page size, mapped
        // privately from the executable for as long as the process lives, and nothing else uses them.
        let component = unsafe {
            let start = NonNull::from(&GUEST.0);
            Component::deserialize_raw(&engine, start)
        }
        .context("cannot load the compiled guest")?;
        let base = link::base(&engine, &component)?;
        let run = component.get_export_index(None, "run").context("the guest has no export run")?;
        let watchdog = Watchdog::new()?;
        let inner = Inner { engine, component, base, linked: Mutex::default(), run, watchdog, _only: only };
        Ok(Runtime { inner: Arc::new(inner) })
    }

    /// What is done with a run that does not end within [`GRACE`] after it had to. Without it, it is logged.
    pub fn on_overdue(&self, overdue: Overdue) {
        self.inner.watchdog.on_overdue(overdue);
    }

    /// Wakes what watches the runs, after a signal was put into one.
    pub fn waker(&self) -> Waker {
        self.inner.watchdog.waker()
    }

    /// The guest linked for these grants: what cannot be reached is not there.
    fn linked(&self, grants: &Grants) -> Result<InstancePre<Ctx>> {
        let set: Vec<bool> =
            Self::capabilities().iter().map(|capability| link::is_linked(*capability, grants)).collect();
        let mut linked = lock(&self.inner.linked);
        if let Some(pre) = linked.get(&set) {
            return Ok(pre.clone());
        }
        let linker = link::for_set(&self.inner, &set)?;
        let pre = linker.instantiate_pre(&self.inner.component)?;
        linked.insert(set, pre.clone());
        Ok(pre)
    }
}
