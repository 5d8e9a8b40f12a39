//! How Assay configures wasmtime. The compiler of the guest and the host that runs it share this
//! file: a precompiled component loads only into an engine of the same configuration.

pub mod code;
pub mod wasi;

#[cfg(feature = "compile")]
pub mod compile;

use std::sync::Arc;
use wasmtime::{Collector, Config, Enabled, Inlining, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The wasm stack of one instance. Lua's own limits on C calls and the recursion limits of the data
/// formats stay well below it.
pub const STACK_BYTES: usize = 1 << 20;

/// The largest linear memory of an instance; the limit of a run is below it.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;

/// What compiled code depends on.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES)
        .memory_init_cow(true)
        // Lua's errors are wasm exceptions, which are objects; a script may throw without end.
        .wasm_exceptions(true)
        .collector(Collector::DeferredReferenceCounting)
        .wasm_component_model_async(true)
        // CPU and wall limits are the VM's budget counter, see docs/adr/0001-whole.md.
        .epoch_interruption(false)
        // Features that the guest does not use, set alike whatever wasmtime was built with.
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_backtrace_max_frames(None)
        // Nothing unwinds or walks the guest's frames from outside; Lua has its own tracebacks.
        .generate_address_map(false)
        .native_unwind_info(false)
        // The guest's own compiler inlines what is worth it (guest-lua/build.rs); this one takes everything that
        // fits, and twice the machine code, for no gain.
        .compiler_inlining(Inlining::No)
        .memory_reservation(MEMORY_BYTES_MAX as u64);
    config
}

/// [`config`] with what only a running engine needs: room for `instances` at a time.
pub fn runtime_config(instances: u32) -> Config {
    let mut config = config();
    config.with_custom_code_memory(Some(Arc::new(code::InPlace)));
    if instances <= 1 {
        // A pool of one gains nothing and takes half a millisecond to set up.
        return config;
    }
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(8))
        // One for the component and one for its heap of exceptions.
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(4))
        .total_stacks(instances.saturating_mul(2))
        .total_gc_heaps(instances)
        .max_component_instance_size(2 << 20)
        .max_core_instance_size(2 << 20)
        .table_elements(20_000)
        .max_memory_size(MEMORY_BYTES_MAX)
        // The pages that an ordinary script writes stay mapped between instances.
        .linear_memory_keep_resident(4 << 20)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::No);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
