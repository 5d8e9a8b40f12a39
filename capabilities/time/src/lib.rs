//! Clocks and waiting. Always granted: they reach nothing outside the run.

use assay_capability_api::{Capability, Ctx, Literal, Need};
use jiff::tz::TimeZone;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Linker};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/time@0.1.0; }",
        path: "../../wit",
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

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        time::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

impl time::Host for Ctx {
    fn now(&mut self) -> Result<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.run.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn zone(&mut self, unix_seconds: i64) -> Result<(i32, bool, String)> {
        let Ok(timestamp) = jiff::Timestamp::from_second(unix_seconds) else {
            return Ok((0, false, "UTC".into()));
        };
        let zone = TimeZone::system();
        let info = zone.to_offset_info(timestamp);
        Ok((info.offset().seconds(), info.dst().is_dst(), info.abbreviation().to_string()))
    }
}

impl time::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn sleep(_: &Accessor<Ctx, Self>, nanoseconds: u64) -> Result<()> {
        if nanoseconds == 0 {
            // The timer rounds up to its next millisecond; whoever waits for nothing only gives way.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_nanos(nanoseconds)).await;
        }
        Ok(())
    }
}
