//! Clocks and waiting. Always granted: they reach nothing outside the run.

use assay_capability_api::{Capability, Ctx, Determinism, Linker, Literal, Need};
use jiff::tz::TimeZone;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/time@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
    });
}

use bindings::assay::host::time;

/// The capability `time`.
pub struct Time;

impl Capability for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn summary(&self) -> &'static str {
        "clocks and waiting"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[Need::new("time.*", Literal::Free), Need::new("sleep", Literal::Free)];
        NEEDS
    }

    fn determinism(&self, _: &str) -> Determinism {
        Determinism::Virtual
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        time::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl time::Host for Ctx {
    fn now(&mut self) -> Result<u64> {
        Ok(nanoseconds(self.clock().now()))
    }

    fn monotonic(&mut self) -> Result<u64> {
        Ok(nanoseconds(self.clock().elapsed()))
    }

    fn zone(&mut self, unix_seconds: i64) -> Result<(i32, bool, String)> {
        // A run that is replayed may be so on a machine elsewhere.
        let timestamp = jiff::Timestamp::from_second(unix_seconds).ok().filter(|_| !self.is_replayed());
        let Some(timestamp) = timestamp else {
            return Ok((0, false, "UTC".into()));
        };
        let zone = TimeZone::system();
        let info = zone.to_offset_info(timestamp);
        Ok((info.offset().seconds(), info.dst().is_dst(), info.abbreviation().to_string()))
    }
}

impl time::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn sleep(accessor: &Accessor<Ctx, Self>, nanoseconds: u64) -> Result<()> {
        let slept = accessor.with(|mut access| access.get().clock().sleep(Duration::from_nanos(nanoseconds)));
        slept.await;
        Ok(())
    }
}
