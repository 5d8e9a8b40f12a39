//! The little of WASI that the guest's C and Rust libraries ask for.
//!
//! The guest reaches the world through Assay's own interfaces. Its libraries import WASI all the same;
//! they get an empty environment, clocks and random numbers of the run, and everything else traps. Files,
//! sockets and streams of WASI do not exist.

use std::io;
use std::time::Duration;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};
use wasmtime::{Engine, Result, StoreContextMut, bail};

/// Where clocks and random numbers come from. In the snapshot there are none: what is frozen into every instance must
/// hold neither entropy nor time.
pub enum Ambient<T> {
    /// From the data of the store.
    Of(Sources<T>),
    Trap,
}

/// What a store's data gives.
pub struct Sources<T> {
    /// Time since 1970.
    pub now: fn(&T) -> Duration,
    /// Time that never goes back.
    pub elapsed: fn(&T) -> Duration,
    /// Fills all of a buffer with random bytes.
    pub random: fn(&T, &mut [u8]) -> io::Result<()>,
}

impl<T> Clone for Sources<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Sources<T> {}

struct Nothing;

/// Defines every `wasi:` import of `component`.
///
/// # Errors
/// When an interface cannot be defined, which is a bug of the build.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    engine: &Engine,
    component: &Component,
    ambient: Ambient<T>,
) -> Result<()> {
    stub_imports(linker, engine, component, "wasi:", |linker, interface, function| match &ambient {
        Ambient::Of(sources) => define(linker, interface, function, *sources),
        Ambient::Trap => Ok(false),
    })
}

/// Defines every import of `component` whose interface starts with `prefix`: by `define` where that
/// says true, else as a function that traps when it is called.
///
/// # Errors
/// When an interface cannot be defined.
pub fn stub_imports<T: Send + 'static>(
    linker: &mut Linker<T>,
    engine: &Engine,
    component: &Component,
    prefix: &str,
    define: impl Fn(&mut LinkerInstance<'_, T>, &str, &str) -> Result<bool>,
) -> Result<()> {
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !interface.starts_with(prefix) {
            continue;
        }
        let mut linker = linker.instance(interface)?;
        for (name, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::Resource(_) => {
                    linker.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(function) => {
                    if define(&mut linker, interface, name)? {
                        continue;
                    }
                    let what = format!("{interface}#{name}");
                    if function.async_() {
                        linker.func_new_concurrent(name, move |_, _, _, _| {
                            let what = what.clone();
                            Box::pin(
                                async move { bail!("the guest called {what}, which does not exist here") },
                            )
                        })?;
                    } else {
                        linker.func_new(name, move |_, _, _, _| {
                            bail!("the guest called {what}, which does not exist here")
                        })?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn define<T: Send + 'static>(
    linker: &mut LinkerInstance<'_, T>,
    interface: &str,
    name: &str,
    sources: Sources<T>,
) -> Result<bool> {
    let Sources { now, elapsed, random } = sources;
    let interface = interface.split('@').next().unwrap_or(interface);
    match (interface, name) {
        ("wasi:cli/environment", "get-environment") => {
            linker.func_wrap(name, |_: StoreContextMut<'_, T>, ()| Ok((Vec::<(String, String)>::new(),)))?;
        }
        ("wasi:cli/environment", "get-arguments") => {
            linker.func_wrap(name, |_: StoreContextMut<'_, T>, ()| Ok((Vec::<String>::new(),)))?;
        }
        ("wasi:random/random", "get-random-u64") => {
            linker.func_wrap(name, move |store: StoreContextMut<'_, T>, ()| {
                let mut bytes = [0; 8];
                random(store.data(), &mut bytes)?;
                Ok((u64::from_le_bytes(bytes),))
            })?;
        }
        ("wasi:random/random", "get-random-bytes") => {
            linker.func_wrap(name, move |store: StoreContextMut<'_, T>, (len,): (u64,)| {
                // The guest's libraries ask for seeds, not for data.
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0).min(4096)];
                random(store.data(), &mut bytes)?;
                Ok((bytes,))
            })?;
        }
        ("wasi:random/insecure-seed", "insecure-seed") => {
            linker.func_wrap(name, move |store: StoreContextMut<'_, T>, ()| {
                let mut bytes = [0; 16];
                random(store.data(), &mut bytes)?;
                let (first, second) = bytes.split_at(8);
                Ok(((number(first), number(second)),))
            })?;
        }
        ("wasi:clocks/monotonic-clock", "now") => {
            linker.func_wrap(name, move |store: StoreContextMut<'_, T>, ()| {
                Ok((u64::try_from(elapsed(store.data()).as_nanos()).unwrap_or(u64::MAX),))
            })?;
        }
        ("wasi:clocks/wall-clock", "now") => {
            // A record of seconds and nanoseconds, by value: there is no generated type to name here.
            linker.func_new(name, move |store, _, _, results| {
                let now = now(store.data());
                results[0] = Val::Record(vec![
                    ("seconds".into(), Val::U64(now.as_secs())),
                    ("nanoseconds".into(), Val::U32(now.subsec_nanos())),
                ]);
                Ok(())
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
