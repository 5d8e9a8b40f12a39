//! What control groups use and may use (cgroup version 2).

mod group;
mod parse;
mod scope;

use assay_capability_api::types::Error;
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Request, Run, Scope, ScopeForm, Target,
    off_thread,
};
use bindings::assay::host::cgroup::{self, Counters, Part};
use group::{Group, Tree};
use scope::CgroupScope;
use std::path::Path;
use wasmtime::component::{Accessor, HasSelf, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/cgroup@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const CGROUP: &str = "cgroup";
/// Where the kernel's tree of groups is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The capability `cgroup`.
pub struct Cgroup;

impl Capability for Cgroup {
    fn name(&self) -> &'static str {
        CGROUP
    }

    fn summary(&self) -> &'static str {
        "what control groups use and may use"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[ScopeForm {
            form: "SLICE",
            grants: "a group and all below it; a star stands for any characters",
            example: "cgroup=system.slice/nginx*",
        }]
    }

    fn scope(&self, text: &str, _: &Path) -> Result<Box<dyn Scope>, GrantError> {
        Ok(Box::new(CgroupScope::parse(text)?))
    }

    fn needs(&self) -> &'static [Need] {
        const GROUP: Literal = Literal::Scope(|path| scope::asked(path).ok());
        const NEEDS: &[Need] = &[Need::new("cgroup.version", Literal::Any), Need::new("cgroup.*", GROUP)];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        cgroup::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        let name = match args.first() {
            Some(Val::String(path)) => scope::asked(path).ok(),
            _ => None,
        };
        match name {
            Some(name) => Target { what: Request::Name(&name).describe(CGROUP), scope: Some(name) },
            None => Target { what: format!("cgroup.{function}"), scope: None },
        }
    }
}

/// Opens a group that the run may look at.
fn open(run: &Run, tree: &Tree, path: &str) -> Result<Group, Error> {
    let name = scope::asked(path)?;
    run.check(CGROUP, &Request::Name(&name))?;
    tree.group(&name)
}

/// Runs blocking work on another thread.
async fn blocking<T: Send + 'static>(
    accessor: &Accessor<Ctx, HasSelf<Ctx>>,
    path: String,
    work: impl FnOnce(&Run, &Tree, &str) -> Result<T, Error> + Send + 'static,
) -> HostResult<T> {
    let run = accessor.with(|mut access| access.get().run.clone());
    let held = run.hold(&[&path]).await?;
    let work = move || {
        let _held = held;
        work(&run, &Tree::new(ROOT), &path)
    };
    Ok(off_thread(work).await?)
}

fn read(run: &Run, tree: &Tree, path: &str, part: Part) -> Result<Vec<Counters>, Error> {
    let group = open(run, tree, path)?;
    let one = |values| vec![Counters { device: String::new(), values }];
    match part {
        Part::Cpu => Ok(one(parse::pairs(&group.required(run, "cpu.stat", "cpu")?))),
        Part::Memory => Ok(one(group.memory(run)?)),
        Part::Io => Ok(parse::devices(&group.required(run, "io.stat", "io")?)),
        Part::Pids => Ok(one(group.pids(run)?)),
    }
}

fn children(run: &Run, tree: &Tree, path: &str) -> Result<Vec<String>, Error> {
    let group = open(run, tree, path)?;
    let names = group.children(|name| run.would_allow(CGROUP, &Request::Name(name)))?;
    run.count_bytes(names.iter().map(String::len).sum())?;
    Ok(names.into_iter().map(|name| format!("{ROOT}/{name}")).collect())
}

impl cgroup::Host for Ctx {}

impl cgroup::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn version(accessor: &Accessor<Ctx, Self>) -> HostResult<String> {
        blocking(accessor, String::new(), |run, tree, _| {
            run.check(CGROUP, &Request::Whole)?;
            Ok(tree.version()?.name().to_string())
        })
        .await
    }

    async fn children(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<Vec<String>> {
        blocking(accessor, path, children).await
    }

    async fn read(accessor: &Accessor<Ctx, Self>, path: String, part: Part) -> HostResult<Vec<Counters>> {
        blocking(accessor, path, move |run, tree, path| read(run, tree, path, part)).await
    }

    async fn processes(accessor: &Accessor<Ctx, Self>, path: String) -> HostResult<Vec<u32>> {
        blocking(accessor, path, |run, tree, path| {
            let group = open(run, tree, path)?;
            Ok(parse::processes(&group.required(run, "cgroup.procs", "")?))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
