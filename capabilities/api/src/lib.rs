//! What a capability is, and what all capabilities share: the grants of a run, the one place that
//! matches them, the run's limits and usage, and the audit of decisions.
//!
//! This crate knows no capability by name. A capability is a crate beside it with a WIT file of
//! the same name.

mod account;
mod address;
mod ambient;
mod audit;
mod blocking;
mod budget;
mod capability;
mod cpu;
mod ctx;
mod ending;
mod error;
mod extension;
pub mod frames;
mod grants;
mod learned;
mod limit_table;
mod limits;
pub mod linked;
mod lock;
mod metered;
pub mod network;
mod noise;
mod off_thread;
mod payload;
pub mod policy;
pub mod quantity;
pub mod random;
mod replay;
pub mod scope;
pub mod secrets;
mod service;
pub mod signals;
mod task;

pub use account::Account;
pub use ambient::Ambient;
pub use audit::{Audit, AuditFile, AuditSink, Decision, Event};
pub use blocking::blocking;
pub use budget::{Budget, Held};
pub use capability::{Capability, Denied, Literal, Need, ScopeForm, Target, text_field};
pub use cpu::{Cpu, CpuGuard};
pub use ctx::{Call, Ctx, HandleGuard, Identity, Output, Run, RunState, Stop, limit_error};
pub use ending::Ending;
pub use error::{
    Carried, HostError, HostResult, carry, denied, denied_by, denied_without_scope, denier, error, io_error,
};
pub use extension::{Extension, Extensions, Pending};
pub use grants::{Answer, Asker, Grants, Question};
pub use learned::{Learned, Use};
pub use limit_table::{Amount, LIMITS, LimitSpec, Unit};
pub use limits::{Counter, Limit, Limits, Report, Usage};
pub use linked::component::Linker;
pub use lock::lock;
pub use metered::{Meter, Metered};
pub use noise::Noise;
pub use off_thread::{OffThread, off_thread};
pub use payload::Stored;
pub use policy::{GrantError, Policy, Rule};
pub use replay::{Clock, Determinism, Entropy, RealClock, RealEntropy, Replay, Seeded, Slept};
pub use scope::{Access, Request, Scope};
pub use service::{Hold, Prepare, Replicas, Required, Services, Shutdown};
pub use signals::Signals;
pub use task::{Counted, counted, spawn_task};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:shared; world shared { import assay:host/types@0.1.0; }",
        path: "../../wit",
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => crate::HostError },
        with: { "assay:host/types@0.1.0.stored": crate::payload::Stored },
        wasmtime_crate: crate::linked,
    });
}

/// The WIT types that every capability uses.
pub use bindings::assay::host::types;

impl types::Host for Ctx {
    fn convert_error(&mut self, failure: HostError) -> wasmtime::Result<types::Error> {
        match failure {
            HostError::Script(error) => Ok(error),
            HostError::Trap(fault) => Err(fault),
        }
    }
}
