//! Linking by grants: a granted capability is its implementation, any other a stub whose error says what was
//! refused and which flag grants it.

use crate::{Inner, Runtime, bindings};
use assay_capability_api::linked::component::name_of;
use assay_capability_api::scope::is_own;
use assay_capability_api::types::Error;
use assay_capability_api::{
    Capability, Ctx, Determinism, Grants, Linker, Run, Target, denied, denied_without_scope,
};
use assay_wasm::wasi::{self, Ambient, Sources};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, HasSelf, ResourceType, Val};
use wasmtime::{AsContextMut, Engine, Result, StoreContextMut, bail};

/// What every run has: WASI's remains, and what is always granted.
pub(crate) fn base(engine: &Engine, component: &Component) -> Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    let sources = Sources {
        now: |ctx: &Ctx| ctx.clock().now(),
        elapsed: |ctx| ctx.clock().elapsed(),
        random: |ctx, bytes| ctx.seeds().fill(bytes),
    };
    wasi::add_to_linker(linker.plain(), engine, component, Ambient::Of(sources))?;
    steering(&mut linker)?;
    for capability in Runtime::capabilities().iter().filter(|capability| capability.always_linked()) {
        real(&mut linker, *capability)?;
    }
    Ok(linker)
}

/// What steers a run, and what its calls have in common.
fn steering(linker: &mut Linker<Ctx>) -> Result<()> {
    linker.determined_by(|function| match function {
        "cpu-time" | "seed" | "loaded" => Determinism::Virtual,
        _ => Determinism::Program,
    });
    bindings::assay::host::control::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    bindings::assay::host::console::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    bindings::assay::host::extensions::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    // Large results that the run has already.
    linker.determined_by(|_| Determinism::Pure);
    assay_capability_api::types::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
}

/// The real implementation of a capability.
fn real(linker: &mut Linker<Ctx>, capability: &'static dyn Capability) -> Result<()> {
    capability.link(linker.determined_by(|function| capability.determinism(function)))
}

/// The base with the capabilities of `set` (one flag for each capability) and stubs for the others.
pub(crate) fn for_set(runtime: &Inner, set: &[bool]) -> Result<Linker<Ctx>> {
    let mut linker = runtime.base.clone();
    for (capability, granted) in Runtime::capabilities().iter().zip(set) {
        if capability.always_linked() {
            continue;
        }
        if *granted {
            real(&mut linker, *capability)?;
        } else {
            deny(&mut linker, &runtime.engine, &runtime.component, *capability)?;
        }
    }
    Ok(linker)
}

/// Whether a run with these grants has the real implementation.
pub(crate) fn is_linked(capability: &dyn Capability, grants: &Grants) -> bool {
    capability.always_linked() || grants.reaches(capability.name())
}

struct Unreachable;

fn deny(
    linker: &mut Linker<Ctx>,
    engine: &Engine,
    component: &Component,
    capability: &'static dyn Capability,
) -> Result<()> {
    let wanted = format!("assay:host/{}@", capability.name());
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !interface.starts_with(&wanted) {
            continue;
        }
        let mut linker = linker.plain().instance(interface)?;
        for (name, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::Resource(_) => {
                    linker.resource(name, ResourceType::host::<Unreachable>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(function) => {
                    let stub =
                        Stub { capability, function: name.to_string(), fallible: is_fallible(&function) };
                    if function.async_() {
                        linker.func_new_concurrent(name, move |accessor, _, args, results| {
                            let refused =
                                accessor.with(|mut store| stub.refuse(store.as_context_mut(), args, results));
                            Box::pin(async move { refused })
                        })?;
                    } else {
                        linker.func_new(name, move |store, _, args, results| {
                            stub.refuse(store, args, results)
                        })?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_fallible(function: &ComponentFunc) -> bool {
    matches!(function.results().next(), Some(Type::Result(result)) if result.err().is_some())
}

/// The error of a call of a capability that is not linked; audited.
pub(crate) fn refusal(run: &Run, capability: &dyn Capability, target: &Target) -> Error {
    let name = capability.name();
    if let Some(rule) = run.grants.denial_of_all(name) {
        return run.refuse_by(name, &target.what, rule);
    }
    run.record_denial(name, &target.what);
    match &target.scope {
        // What a script names may be a pattern in a scope, or nothing that a scope can say.
        Some(scope) if !is_own(scope) || capability.scope(scope, &run.working_directory).is_err() => {
            denied_without_scope(&target.what)
        }
        scope => denied(&target.what, name, scope.as_deref()),
    }
}

/// One function of a capability that is not granted.
struct Stub {
    capability: &'static dyn Capability,
    function: String,
    fallible: bool,
}

impl Stub {
    fn refuse(&self, store: StoreContextMut<'_, Ctx>, args: &[Val], results: &mut [Val]) -> Result<()> {
        let name = self.capability.name();
        // In a run that is replayed a grant would not help.
        let outside = self.capability.determinism(&self.function) == Determinism::Outside;
        let outside = outside.then(|| store.data().refused(&name_of(name, &self.function))).flatten();
        let error = outside.unwrap_or_else(|| {
            let target = self.capability.target(&self.function, args);
            refusal(&store.data().run, self.capability, &target)
        });
        let Some(result) = results.first_mut() else { return Ok(()) };
        if self.fallible {
            *result = Val::Result(Err(Some(Box::new(Val::Record(vec![
                ("code".into(), Val::Enum("denied".into())),
                ("message".into(), Val::String(error.message)),
                ("errno".into(), Val::S32(0)),
            ])))));
        } else {
            bail!("{name}.{} was called, but {name} is not granted", self.function);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::Determinism::{Outside, Program, Pure, Virtual};

    /// What a script of a replayed run may call, by interface: all else reaches outside. A function that is added is
    /// refused until its capability says otherwise, and this does.
    const GO_ON: &[(Determinism, &str, &[&str])] = &[
        (Pure, "compress", &["packer", "unpacker", "[method]coder.step"]),
        (Program, "console", &["next", "help"]),
        (Virtual, "control", &["cpu-time", "loaded", "seed"]),
        (
            Program,
            "control",
            &["tick", "signal", "signal-answered", "closing", "closed", "exit", "calling", "room"],
        ),
        (Pure, "crypto", &["hash", "hmac", "hkdf", "decrypt", "jwt-decode"]),
        (Virtual, "crypto", &["random", "jwt-verify"]),
        // Decided for each function of each extension.
        (Program, "extensions", &["call"]),
        (
            Pure,
            "listen",
            &["[method]server.address", "[method]server.port", "[method]server.stop", "finish", "release"],
        ),
        (Program, "log", &["enabled", "write"]),
        (Program, "modules", &["find"]),
        (Pure, "process", &["[method]child.pid", "[method]child.close-stdin"]),
        (Pure, "pty", &["[method]terminal.pid"]),
        (Program, "stdio", &["write", "flush"]),
        (Virtual, "time", &["now", "monotonic", "zone", "sleep"]),
        (Pure, "types", &["[method]stored.size", "[method]stored.take"]),
    ];

    /// Every function of the world goes through the switch of a replayed run, and one that reaches outside has an error
    /// to say that it must not: linking fails for one that has none.
    #[test]
    fn every_function_is_covered_by_the_switch() {
        let runtime = Runtime::new(1).expect("the guest is built");
        let Inner { engine, component, .. } = &*runtime.inner;
        let mut linker = Linker::new(engine).noting();
        steering(&mut linker).unwrap();
        for capability in Runtime::capabilities() {
            real(&mut linker, *capability).unwrap();
        }
        let mut seen = linker.seen().to_vec();

        let mut imported = Vec::new();
        for (interface, import) in component.component_type().imports(engine) {
            let ComponentItem::ComponentInstance(instance) = import.ty else { panic!("{interface}") };
            for (name, export) in instance.exports(engine) {
                let ComponentItem::ComponentFunc(function) = export.ty else { continue };
                let Some(short) = interface.strip_prefix("assay:host/") else {
                    // Those that are there have what they give from the run; see `assay_wasm::wasi`.
                    assert!(interface.starts_with("wasi:"), "{interface}");
                    continue;
                };
                let short = short.split('@').next().unwrap_or_default();
                let listed =
                    GO_ON.iter().find(|(_, of, functions)| *of == short && functions.contains(&name));
                let determinism = listed.map_or(Outside, |(determinism, ..)| *determinism);
                assert!(
                    determinism != Outside || is_fallible(&function),
                    "{interface}#{name} cannot be refused"
                );
                imported.push((interface.to_string(), name.to_string(), determinism));
            }
        }
        let name = |function: &(String, String, Determinism)| (function.0.clone(), function.1.clone());
        imported.sort_by_key(name);
        seen.sort_by_key(name);
        // The guest does not import what no binding of it calls.
        seen.retain(|function| imported.iter().any(|other| name(other) == name(function)));
        assert!(imported.len() > 100, "{}", imported.len());
        assert_eq!(seen, imported);
        let listed: usize = GO_ON.iter().map(|(_, _, functions)| functions.len()).sum();
        assert_eq!(
            imported.iter().filter(|(_, _, determinism)| *determinism != Outside).count(),
            listed,
            "GO_ON names others"
        );
    }
}
