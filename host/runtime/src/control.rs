//! The host side of `control` and `console`, and the limit on memory.

use crate::bindings::assay::host::{console, control};
use crate::meter::Meter;
use crate::run::Console;
use assay_capability_api::{Ctx, Run, Stop};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wasmtime::component::{Accessor, HasSelf};
use wasmtime::{ResourceLimiter, Result, format_err};

/// What the runtime keeps in a run's [`Ctx`].
#[derive(Default)]
pub(crate) struct Steering {
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) console: Option<Arc<dyn Console>>,
}

impl control::Host for Ctx {
    fn tick(&mut self) -> Result<()> {
        match &self.state::<Steering>().meter {
            Some(meter) => meter.check().map_err(wasmtime::Error::new),
            None => Ok(()),
        }
    }

    fn exit(&mut self, code: i32) -> Result<()> {
        Err(wasmtime::Error::new(Stop::Exit(code)))
    }

    fn cpu_time(&mut self) -> Result<f64> {
        let meter = self.state::<Steering>().meter.clone();
        Ok(meter.map_or(0.0, |meter| meter.nanoseconds() as f64 / 1e9))
    }

    fn seed(&mut self) -> Result<(u64, u64)> {
        let mut bytes = [[0; 8]; 2];
        for half in &mut bytes {
            getrandom::fill(half).map_err(|error| format_err!("the system gives no random numbers: {error}"))?;
        }
        Ok((u64::from_le_bytes(bytes[0]), u64::from_le_bytes(bytes[1])))
    }
}

impl console::Host for Ctx {}

impl console::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn next(accessor: &Accessor<Ctx, Self>, last: console::Reply) -> Result<Option<Vec<u8>>> {
        let console = accessor.with(|mut access| access.get().state::<Steering>().console.clone());
        match console {
            Some(console) => Ok(console.next(last.into()).await),
            None => Ok(None),
        }
    }
}

/// The limit on linear memory, over all memories and tables of the instance.
pub(crate) struct MemoryLimit {
    run: Arc<Run>,
    used: u64,
    /// A growth was refused; what traps after that trapped for want of memory.
    pub(crate) refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(run: Arc<Run>) -> MemoryLimit {
        MemoryLimit { run, used: 0, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize, unit: u64) -> bool {
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        let sum = self.used.saturating_add(more);
        if sum > self.run.limits.memory {
            self.refused = true;
            return false;
        }
        self.used = sum;
        self.run.usage.memory_peak.fetch_max(sum, Ordering::Relaxed);
        true
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired, 1))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired, size_of::<usize>() as u64))
    }
}
