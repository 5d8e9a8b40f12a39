//! Linking by grants: a granted capability is the real thing, any other a stub that says what was asked
//! for and which flag grants it.

use crate::{Inner, Runtime, bindings};
use assay_capability_api::scope::is_own;
use assay_capability_api::types::Error;
use assay_capability_api::{Capability, Ctx, Grants, Run, Target, denied, denied_without_scope};
use assay_wasm::wasi::{self, Ambient};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, HasSelf, Linker, ResourceType, Val};
use wasmtime::{AsContextMut, Engine, Result, StoreContextMut, bail};

/// What every run has: WASI's remains, and what is always granted.
pub(crate) fn base(engine: &Engine, component: &Component) -> Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker, engine, component, Ambient::Real)?;
    bindings::assay::host::control::add_to_linker::<_, HasSelf<Ctx>>(&mut linker, |ctx| ctx)?;
    bindings::assay::host::console::add_to_linker::<_, HasSelf<Ctx>>(&mut linker, |ctx| ctx)?;
    bindings::assay::host::extensions::add_to_linker::<_, HasSelf<Ctx>>(&mut linker, |ctx| ctx)?;
    assay_capability_api::types::add_to_linker::<_, HasSelf<Ctx>>(&mut linker, |ctx| ctx)?;
    for capability in Runtime::capabilities().iter().filter(|capability| capability.always_linked()) {
        capability.link(&mut linker)?;
    }
    Ok(linker)
}

/// The base with the capabilities of `set` (one flag for each capability) and stubs for the others.
pub(crate) fn for_set(runtime: &Inner, set: &[bool]) -> Result<Linker<Ctx>> {
    let mut linker = runtime.base.clone();
    for (capability, granted) in Runtime::capabilities().iter().zip(set) {
        if capability.always_linked() {
            continue;
        }
        if *granted {
            capability.link(&mut linker)?;
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
        let mut linker = linker.instance(interface)?;
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
        Some(scope) if !is_own(scope) || capability.scope(scope, &run.working_folder).is_err() => {
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
        let target = self.capability.target(&self.function, args);
        let name = self.capability.name();
        let error = refusal(&store.data().run, self.capability, &target);
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
