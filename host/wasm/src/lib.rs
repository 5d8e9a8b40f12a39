//! How Assay configures wasmtime. The compiler of the guest and the host that runs it share this
//! file: a precompiled component loads only into an engine of the same configuration.

pub mod code;
pub mod wasi;

#[cfg(feature = "compile")]
pub mod compile;

use std::sync::Arc;
use wasmtime::{
    Collector, Config, Enabled, Inlining, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures,
};

/// The wasm stack of one instance. Lua's own limits on C calls and the recursion limits of the data
/// formats stay well below it.
pub const STACK_BYTES: usize = 1 << 20;

/// The largest linear memory of an instance; the limit of a run is below it.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;

/// The proposals of WebAssembly that the guest is made of. Every other one is off, those of later versions of
/// wasmtime too: what the engine does not take cannot be wrong in it.
///
/// - what compilers of C and Rust emit by default (WebAssembly 2.0 without its vectors)
/// - exceptions, which Lua's errors are, with the objects of the engine that they need
/// - components, with `async` functions and streams
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::CM_ASYNC);

/// What compiled code depends on.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES)
        .memory_init_cow(true)
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        // Exceptions are objects, and a script may throw without end.
        .collector(Collector::DeferredReferenceCounting)
        // CPU and wall limits are the VM's budget counter, see docs/adr/0001-whole.md.
        .epoch_interruption(false)
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

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Engine, Module};

    /// The smallest module of each proposal that is off, with the reason for which it is refused.
    const OFF: &[(&str, &str)] = &[
        ("(module (func (result v128) (v128.const i64x2 0 0)))", "SIMD support is not enabled"),
        ("(module (memory 1 1 shared))", "threads must be enabled"),
        (
            "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
            "threads support is not enabled",
        ),
        ("(module (func $f (return_call $f)))", "tail calls support is not enabled"),
        ("(module (memory 1) (memory 1))", "multiple memories"),
        ("(module (memory i64 1))", "memory64 must be enabled"),
        ("(module (table i64 1 funcref))", "memory64 must be enabled"),
        ("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))", "non-constant operator"),
        ("(module (type $t (func)) (func (param (ref null $t))))", "function references required"),
        ("(module (type (struct (field i32))))", "not supported without the gc feature"),
        ("(module (func (drop (ref.i31 (i32.const 0)))))", "gc support is not enabled"),
        ("(module (memory 1 (pagesize 1)))", "custom page sizes proposal must be enabled"),
        (
            "(module (func (result i64 i64) (i64.mul_wide_u (i64.const 1) (i64.const 1))))",
            "wide arithmetic support is not enabled",
        ),
        ("(module (type $f (func)) (type (cont $f)))", "stack switching"),
        ("(module (global (shared i32) (i32.const 0)))", "shared-everything-threads proposal"),
        ("(module (func try catch_all end))", "legacy_exceptions feature required"),
    ];

    /// What the guest is made of.
    const ON: &[(&str, &str)] = &[
        ("bulk memory", "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))"),
        ("reference types", "(module (table 1 externref))"),
        ("multi-value", "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))"),
        ("sign extension", "(module (func (drop (i32.extend8_s (i32.const 1)))))"),
        ("saturating conversion", "(module (func (drop (i32.trunc_sat_f64_s (f64.const 1)))))"),
        ("exceptions", "(module (tag $t (param i32)) (func (try_table (throw $t (i32.const 1)))))"),
        ("exnref", "(module (func (param exnref) (throw_ref (local.get 0))))"),
    ];

    fn validate(text: &str) -> wasmtime::Result<()> {
        let binary = wat::parse_str(text).expect("the test's own module is well formed");
        Module::validate(&Engine::new(&config())?, &binary)
    }

    #[test]
    fn a_module_with_a_proposal_that_is_off_is_refused() {
        for (text, reason) in OFF {
            let error = format!("{:?}", validate(text).expect_err(text));
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_guest_is_made_of_is_on() {
        for (name, text) in ON {
            validate(text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}
