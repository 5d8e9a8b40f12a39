//! The host side of `control` and `console`, and the limit on memory.

use crate::bindings::assay::host::{console, control, extensions};
use crate::run::{CARRIED, Console};
use crate::{Runtime, link};
use assay_capability_api::linked::component::name_of;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{
    Call, Counter, Ctx, Determinism, Entropy, Extensions, HostResult, Run, Stop, Target, error, signals,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::component::{Accessor, HasSelf};
use wasmtime::{ResourceLimiter, Result};

/// What a run ends by whose signal has no name.
const SIGTERM: i32 = 15;

/// What the runtime keeps in a run's [`Ctx`].
#[derive(Default)]
pub(crate) struct Steering {
    pub(crate) console: Option<Arc<dyn Console>>,
    /// Which instance it is: several may have the same run.
    instance: u64,
}

impl Steering {
    pub(crate) fn new(console: Option<Arc<dyn Console>>) -> Steering {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        Steering { console, instance: INSTANCES.fetch_add(1, Ordering::Relaxed) }
    }
}

impl control::Host for Ctx {
    /// Gives way to what else is on the thread: timers, connections that the script serves or has open.
    async fn tick(&mut self) -> Result<bool> {
        self.run.ending.check()?;
        tokio::task::yield_now().await;
        Ok(self.run.signals.is_waiting())
    }

    fn signal_answered(&mut self, name: String) -> Result<()> {
        self.run.signals.answer(&name);
        Ok(())
    }

    fn closing(&mut self) -> Result<()> {
        self.run.signals.close();
        Ok(())
    }

    fn closed(&mut self, name: String) -> Result<()> {
        let stop = Stop::Signal(signals::number(&name).unwrap_or(SIGTERM));
        // Other instances of the script end too.
        self.run.ending.end(stop.clone());
        Err(wasmtime::Error::new(stop))
    }

    fn exit(&mut self, code: i32) -> Result<()> {
        Err(wasmtime::Error::new(Stop::Exit(code)))
    }

    fn calling(&mut self, number: u64, line: String) -> Result<()> {
        let number = (self.state::<Steering>().instance, number);
        self.run = Arc::new(self.run.for_call(Call { number, line }));
        Ok(())
    }

    fn cpu_time(&mut self) -> Result<f64> {
        if self.is_replayed() {
            return Ok(self.clock().elapsed().as_secs_f64());
        }
        Ok(self.run.cpu.nanoseconds() as f64 / 1e9)
    }

    fn room(&mut self, capability: String) -> HostResult<u64> {
        let named = Runtime::capabilities().iter().find(|known| known.name() == capability);
        if let Some(capability) = named
            && !link::is_linked(*capability, &self.run.grants)
        {
            // In a run that is replayed a grant would not help.
            if let Some(refused) = self.refused(capability.name()) {
                return Err(refused.into());
            }
            let what = format!("a call of {} with that much in its arguments", capability.name());
            return Err(link::refusal(&self.run, *capability, &Target { what, scope: None }).into());
        }
        Ok(self.run.budget.left().saturating_add(CARRIED))
    }

    fn loaded(&mut self) -> Result<Option<(u64, u64)>> {
        self.begin_replay().then(|| seed(self.entropy().as_ref())).transpose()
    }

    fn seed(&mut self) -> Result<(u64, u64)> {
        seed(self.seeds().as_ref())
    }
}

fn seed(entropy: &dyn Entropy) -> Result<(u64, u64)> {
    let mut bytes = [[0; 8]; 2];
    for half in &mut bytes {
        entropy.fill(half)?;
    }
    Ok((u64::from_le_bytes(bytes[0]), u64::from_le_bytes(bytes[1])))
}

impl control::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn signal(accessor: &Accessor<Ctx, Self>) -> Result<String> {
        let run = accessor.with(|mut access| access.get().run.clone());
        Ok(run.signals.next().await)
    }
}

impl console::Host for Ctx {
    fn help(&mut self, topic: String) -> Result<Option<String>> {
        Ok(self.state::<Steering>().console.as_ref().and_then(|console| console.help(&topic)))
    }
}

impl console::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn next(accessor: &Accessor<Ctx, Self>, last: console::Reply) -> Result<Option<console::Request>> {
        let console = accessor.with(|mut access| access.get().state::<Steering>().console.clone());
        match console {
            Some(console) => Ok(console.next(last.into()).await.map(console::Request::from)),
            None => Ok(None),
        }
    }
}

impl extensions::Host for Ctx {}

impl extensions::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn call(
        accessor: &Accessor<Ctx, Self>,
        extension: String,
        function: String,
        arguments: String,
    ) -> HostResult<String> {
        let (run, found, refused) = accessor.with(|mut access| {
            let ctx = access.get();
            let found = ctx.service::<Extensions>().and_then(|offered| offered.find(&extension));
            let reaches = found.is_some_and(|found| found.determinism(&function) == Determinism::Outside);
            let refused = reaches.then(|| ctx.refused(&name_of(&extension, &function))).flatten();
            (ctx.run.clone(), found, refused)
        });
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        match found {
            Some(found) => Ok(found.call(&run, &function, arguments).await?),
            None => Err(error(ErrorCode::NotFound, format!("there is no extension {extension}")).into()),
        }
    }
}

/// What the engine's own heap (exceptions that are under way) may grow to, beside the script's memory: an
/// error that says that there is no memory must not itself run out of memory.
const EXCEPTIONS_BYTES_MAX: usize = 4 << 20;

/// The limit on the memory of an instance.
pub(crate) struct MemoryLimit {
    run: Arc<Run>,
    /// Size of the component's linear memory, which is the first that is made.
    linear: usize,
    /// A growth was refused; a trap after that was caused by lack of memory.
    pub(crate) refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(run: Arc<Run>) -> MemoryLimit {
        MemoryLimit { run, linear: 0, refused: false }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.run.give_back(Counter::Memory, self.linear as u64);
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if current != self.linear {
            return Ok(desired <= EXCEPTIONS_BYTES_MAX);
        }
        if desired as u64 > self.run.limits.memory {
            self.refused = true;
            return Ok(false);
        }
        if self.run.acquire(Counter::Memory, (desired - self.linear) as u64).is_err() {
            self.refused = true;
            return Ok(false);
        }
        self.linear = desired;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        // The component's tables have a fixed size; the bound is for a component that is not ours.
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// The engine's pool has no larger tables.
const TABLE_ELEMENTS_MAX: usize = 20_000;
