//! From the guest's component to what is embedded: the snapshot of an initialised Lua, compiled ahead
//! of time.

use crate::wasi::{self, Ambient};
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, OptLevel, Result, Store, Strategy};
use wasmtime_wizer::Wizer;

/// What the machine code may use beyond the architecture's baseline: x86-64-v2, which every server of the last
/// fifteen years has (System V ABI for AMD64, 3.1.1). v3 gains less than 1%.
#[cfg(target_arch = "x86_64")]
const FEATURES: &[&str] =
    &["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
#[cfg(not(target_arch = "x86_64"))]
const FEATURES: &[&str] = &[];

/// [`crate::config`] with the compiler's choices. The code runs on any machine of this architecture, not only on
/// the one that compiles it.
///
/// # Errors
/// When the compiler does not know this architecture.
pub fn config() -> Result<Config> {
    let mut config = crate::config();
    config.strategy(Strategy::Cranelift).cranelift_opt_level(OptLevel::Speed);
    config.target(&target_lexicon::HOST.to_string())?;
    for feature in FEATURES {
        // SAFETY: the loader refuses code whose features its machine lacks.
        unsafe { config.cranelift_flag_enable(feature) };
    }
    Ok(config)
}

/// Runs the component's `init` and gives the component with the memory it left.
///
/// Every import traps meanwhile: what is frozen into all instances cannot have asked for time,
/// randomness, the environment or anything else outside.
///
/// # Errors
/// When `init` traps.
pub async fn snapshot(component: &[u8]) -> Result<Vec<u8>> {
    let mut fast = config()?;
    fast.cranelift_opt_level(OptLevel::None);
    let engine = Engine::new(&fast)?;
    let mut store = Store::new(&engine, ());
    let mut wizer = Wizer::new();
    wizer.init_func("init()").keep_init_func(true);
    let (snapshot, _) = wizer
        .run_component(&mut store, component, async |store, component| {
            let mut linker = Linker::new(store.engine());
            let engine = store.engine().clone();
            wasi::add_to_linker(&mut linker, &engine, component, Ambient::Trap)?;
            wasi::stub_imports(&mut linker, &engine, component, "assay:", |_, _, _| Ok(false))?;
            linker.instantiate_async(store, component).await
        })
        .await?;
    Ok(snapshot)
}

/// Machine code of the component, for an engine of [`crate::runtime_config`].
///
/// # Errors
/// When the component is not valid.
pub fn precompile(component: &[u8]) -> Result<Vec<u8>> {
    Engine::new(&config()?)?.precompile_component(component)
}
