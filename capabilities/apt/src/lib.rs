//! Packages of Debian and its descendants, by apt-get(8), apt(8) and dpkg-query(1).

mod change;
mod list;
mod name;
mod programs;
mod scope;
mod source;
mod sources_list;
mod version;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Access, Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Request, Run, Scope, ScopeForm,
    Target, error, off_thread,
};
use assay_capability_fs::needs;
use assay_capability_process::Processes;
use bindings::assay::host::apt::{self, Action, Added, Choices, Output, Package, Source, Upgrade};
use name::Name;
use programs::Root;
use scope::{AptScope, Verb};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Accessor, HasSelf, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/apt@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        with: { "assay:host/types@0.1.0": assay_capability_api::types },
        require_store_data_send: true,
    });
}

/// The name of this capability in grants.
const APT: &str = "apt";
/// Names in one call; more do not fit the bounds of the system on arguments either.
const MAX_NAMES: usize = 4096;

type Outcome<T> = Result<T, Error>;

/// The capability `apt`.
pub struct Apt;

impl Capability for Apt {
    fn name(&self) -> &'static str {
        APT
    }

    fn summary(&self) -> &'static str {
        "packages of Debian and its descendants"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        scope::FORMS
    }

    fn scope(&self, text: &str, base: &Path) -> Result<Box<dyn Scope>, GrantError> {
        Ok(Box::new(AptScope::parse(text, base)?))
    }

    fn needs(&self) -> &'static [Need] {
        const READ: Literal = Literal::Always(Verb::Read.word());
        const SOURCE: Literal =
            Literal::Field("id", |id| source::check_id(id).is_ok().then(|| Verb::Source.scope(id)));
        const NEEDS: &[Need] = &[
            Need::new("apt.query", READ),
            Need::new("apt.list_installed", READ),
            Need::new("apt.list_upgradable", READ),
            Need::new("apt.update", Literal::Always(Verb::Update.word())),
            Need::new("apt.install", Literal::Always(Verb::Install.word())),
            Need::new("apt.remove", Literal::Always(Verb::Remove.word())),
            Need::new("apt.add_source", SOURCE),
            Need::new("apt.*", Literal::Option("root", |root| Some(Verb::Root.scope(root)))),
            needs::by("apt.*", Literal::Option("root", |root| Some(format!("rw:{root}")))),
            needs::read_option("apt.add_source", "key_path"),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        apt::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        let first = |names: &[Val]| match names.first() {
            Some(Val::String(name)) => Name::parse(name).ok().map(|name| name.package),
            _ => None,
        };
        let about = match (function, args) {
            ("add-source", [Val::Record(fields)]) => fields.iter().find_map(|(field, value)| match value {
                Val::String(id) if field == "id" && source::check_id(id).is_ok() => {
                    Some((Verb::Source, id.clone()))
                }
                _ => None,
            }),
            ("change", [Val::Enum(action), Val::List(names), ..]) => match action.as_str() {
                "install" => first(names).map(|name| (Verb::Install, name)),
                "remove" => first(names).map(|name| (Verb::Remove, name)),
                _ => Some((Verb::Update, String::new())),
            },
            ("query" | "installed" | "upgradable", _) => Some((Verb::Read, String::new())),
            _ => None,
        };
        match about {
            Some((verb, name)) => {
                let scope = verb.scope(&name);
                let name = if name.is_empty() { verb.object() } else { &name };
                let request = Request::Action { verb: verb.word(), name, scope: &scope };
                Target { what: request.describe(APT), scope: Some(scope) }
            }
            None => Target { what: format!("apt.{function}"), scope: None },
        }
    }
}

/// Checks one request.
fn check(run: &Run, verb: Verb, name: &str) -> Outcome<()> {
    let scope = verb.scope(name);
    let name = if name.is_empty() { verb.object() } else { name };
    run.check(APT, &Request::Action { verb: verb.word(), name, scope: &scope })
}

/// Checks the directory of another system: it is written to by programs that run as the user of this process, and what
/// lies in it tells them what to do. So it takes both, the grant of the directory and that of working on it.
fn check_root(run: &Run, path: &str) -> Outcome<Root> {
    assay_capability_fs::check_written(run, Access::Read, path)?;
    let (directory, real) = assay_capability_fs::enter_directory(run, Access::Write, path)?;
    let Some(text) = real.to_str() else {
        let message = format!("{path}: the path of a root directory must be UTF-8");
        return Err(error(ErrorCode::InvalidArgument, message));
    };
    assay_capability_fs::check_written(run, Access::Read, text)?;
    check(run, Verb::Root, text)?;
    Root::new(text, directory)
}

fn check_optional_root(run: &Run, path: Option<&str>) -> Outcome<Option<Root>> {
    path.map(|path| check_root(run, path)).transpose()
}

/// Seconds as the script gave them, or `default`.
fn duration(seconds: Option<f64>, default: Duration, what: &str) -> Outcome<Duration> {
    let Some(seconds) = seconds else { return Ok(default) };
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        error(ErrorCode::InvalidArgument, format!("{what}: {seconds} is not a number of seconds from 0"))
    })
}

type Host = HasSelf<Ctx>;

fn context(accessor: &Accessor<Ctx, Host>) -> (Arc<Run>, Processes) {
    accessor.with(|mut access| {
        let ctx = access.get();
        (ctx.run.clone(), Processes::of(ctx))
    })
}

/// What every question begins with: the grants.
async fn to_read(run: &Arc<Run>, root: Option<String>) -> Outcome<Option<Root>> {
    let run = run.clone();
    off_thread(move || {
        check(&run, Verb::Read, "")?;
        check_optional_root(&run, root.as_deref())
    })
    .await
}

impl apt::Host for Ctx {}

impl apt::HostWithStore<Ctx> for Host {
    async fn query(
        accessor: &Accessor<Ctx, Self>,
        name: String,
        root: Option<String>,
    ) -> HostResult<Option<Package>> {
        let (run, processes) = context(accessor);
        let _held = run.hold(&[&name, root.as_deref().unwrap_or_default()]).await?;
        let root = to_read(&run, root).await?;
        let name = Name::parse(&name)?;
        if name.version.is_some() {
            let message = format!("{}: a question is about a name, without a version", name.full);
            return Err(error(ErrorCode::InvalidArgument, message).into());
        }
        Ok(list::query(&processes, root.as_ref(), &name).await?)
    }

    async fn installed(accessor: &Accessor<Ctx, Self>, root: Option<String>) -> HostResult<Vec<Package>> {
        let (run, processes) = context(accessor);
        let _held = run.hold(&[root.as_deref().unwrap_or_default()]).await?;
        let root = to_read(&run, root).await?;
        Ok(list::installed(&processes, root.as_ref()).await?)
    }

    async fn upgradable(accessor: &Accessor<Ctx, Self>, root: Option<String>) -> HostResult<Vec<Upgrade>> {
        let (run, processes) = context(accessor);
        let _held = run.hold(&[root.as_deref().unwrap_or_default()]).await?;
        let root = to_read(&run, root).await?;
        Ok(list::upgradable(&processes, root.as_ref()).await?)
    }

    async fn add_source(accessor: &Accessor<Ctx, Self>, source: Source) -> HostResult<Added> {
        let (run, _) = context(accessor);
        let optional = [source.key.as_deref(), source.root.as_deref()].map(Option::unwrap_or_default);
        let held = run.hold(&[&source.id, &source.text, optional[0], optional[1]]).await?;
        Ok(off_thread(move || {
            let _held = held;
            source::check_id(&source.id)?;
            check(&run, Verb::Source, &source.id)?;
            let root = check_optional_root(&run, source.root.as_deref())?;
            source::add(&run, &source, root.as_ref())
        })
        .await?)
    }

    async fn change(
        accessor: &Accessor<Ctx, Self>,
        action: Action,
        names: Vec<String>,
        choices: Choices,
        root: Option<String>,
        timeout: Option<f64>,
        lock_timeout: Option<f64>,
    ) -> HostResult<Output> {
        let (run, processes) = context(accessor);
        let mut texts: Vec<&str> = names.iter().map(String::as_str).collect();
        texts.push(root.as_deref().unwrap_or_default());
        let _held = run.hold(&texts).await?;
        let names = change::names(action, &names)?;
        let checked = {
            let (run, names, root) = (run.clone(), names.clone(), root.clone());
            move || {
                change::check_names(&run, action, &names)?;
                check_optional_root(&run, root.as_deref())
            }
        };
        let change = change::Change {
            action,
            names,
            choices,
            root: off_thread(checked).await?,
            timeout: duration(timeout, change::TIMEOUT, "timeout")?,
            lock_timeout: duration(lock_timeout, change::LOCK_TIMEOUT, "lock_timeout")?,
        };
        let mut finished = change.run(&run, &processes).await?;
        let [stdout, stderr] = accessor.with(|mut access| finished.payloads(access.get()))?;
        Ok(Output { status: finished.status, stdout, stderr, timed_out: finished.timed_out })
    }
}

#[cfg(test)]
mod tests;
