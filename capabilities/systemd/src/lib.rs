//! systemd: units, machines and the journal.
//!
//! Units and machines by D-Bus ([`bus`]); the journal by journalctl ([`journal`]) and programs in machines by
//! systemd-run ([`exec`]), because both would need C libraries otherwise. Names are checked and written in full
//! ([`name`]) before anything is decided about them.

mod actions;
mod bus;
mod convert;
mod errors;
mod exec;
mod journal;
mod machines;
mod moment;
mod name;
mod scope;
mod units;

use assay_capability_api::types::ErrorCode;
use assay_capability_api::{
    Capability, Ctx, GrantError, HostResult, Linker, Literal, Need, Run, Scope, ScopeForm, Target, error,
};
use assay_capability_fs::needs;
use assay_capability_process::Processes;
use bindings::assay::host::systemd::{
    self as wit, ActionOptions, JournalQuery, MachineVerb, UnitFilter, UnitVerb,
};
use bus::Bus;
use journal::{Entries, Query};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/systemd@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/systemd@0.1.0.journal": crate::Journal,
        },
    });
}

/// The capability `systemd`.
pub struct Systemd;

/// A journal that a script reads. Shared, so that a call that is given up loses nothing.
pub struct Journal(Arc<Mutex<Entries>>);

/// The scope of a verb on a unit, as far as a script's text tells it.
fn literal(verb: &str, text: &str) -> Option<String> {
    Some(format!("{}:{verb}", name::unit(text).ok()?))
}

fn machine_literal(verb: &str, text: &str) -> Option<String> {
    Some(scope::machine_scope(verb, name::machine(text).ok()?))
}

const READ: Literal = Literal::Always("read");
/// Of a unit or a machine less would do; that takes the options of the call.
const JOURNAL: Literal = Literal::Always("journal");

impl Capability for Systemd {
    fn name(&self) -> &'static str {
        scope::SYSTEMD
    }

    fn summary(&self) -> &'static str {
        "systemd's units, machines and journal"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "read",
                grants: "lists and states of units, timers and machines",
                example: "systemd=read",
            },
            ScopeForm {
                form: "UNIT:VERB[+VERB]",
                grants: "doing this to units: status, start, stop, restart, reload, enable, disable, reset-failed; \
                         `*` is all of them",
                example: "systemd=nginx.service:restart+reload",
            },
            ScopeForm { form: "journal", grants: "the whole journal", example: "systemd=journal" },
            ScopeForm {
                form: "journal:UNIT",
                grants: "the entries of these units",
                example: "systemd=journal:nginx.service",
            },
            ScopeForm {
                form: "machine:NAME:VERB[+VERB]",
                grants: "doing this to machines: status, start, poweroff, reboot, terminate, journal, exec; exec is \
                         any program in the machine, as its root",
                example: "systemd=machine:web:start+exec",
            },
            ScopeForm {
                form: "daemon-reload",
                grants: "making systemd read its unit files again",
                example: "systemd=daemon-reload",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, _: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        scope::parse(text)
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("systemd.list_units", READ),
            Need::new("systemd.list_timers", READ),
            Need::new("systemd.list_machines", READ),
            Need::new("systemd.unit_status", READ),
            Need::new("systemd.is_active", READ),
            Need::new("systemd.machine_status", READ),
            Need::new("systemd.start", Literal::Scope(|unit| literal("start", unit))),
            Need::new("systemd.stop", Literal::Scope(|unit| literal("stop", unit))),
            Need::new("systemd.restart", Literal::Scope(|unit| literal("restart", unit))),
            Need::new("systemd.reload", Literal::Scope(|unit| literal("reload", unit))),
            Need::new("systemd.enable", Literal::Scope(|unit| literal("enable", unit))),
            Need::new("systemd.disable", Literal::Scope(|unit| literal("disable", unit))),
            Need::new("systemd.reset_failed", Literal::Scope(|unit| literal("reset-failed", unit))),
            Need::new("systemd.machine_start", Literal::Scope(|name| machine_literal("start", name))),
            Need::new("systemd.machine_poweroff", Literal::Scope(|name| machine_literal("poweroff", name))),
            Need::new("systemd.machine_reboot", Literal::Scope(|name| machine_literal("reboot", name))),
            Need::new("systemd.machine_terminate", Literal::Scope(|name| machine_literal("terminate", name))),
            Need::new("systemd.machine_exec", Literal::Scope(|name| machine_literal("exec", name))),
            Need::new("systemd.journal", JOURNAL),
            Need::new("systemd.journal_follow", JOURNAL),
            needs::read_option("systemd.journal", "directory"),
            needs::read_option("systemd.journal_follow", "directory"),
            Need::new("systemd.daemon_reload", Literal::Always("daemon-reload")),
            Need::new("systemd.*", Literal::Nothing),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Target {
        target(function, args)
    }
}

fn field<'a>(record: &'a Val, wanted: &str) -> Option<&'a str> {
    let Val::Record(fields) = record else { return None };
    let (_, value) = fields.iter().find(|(name, _)| name == wanted)?;
    match value {
        Val::String(text) => Some(text),
        Val::Option(Some(inner)) => match &**inner {
            Val::String(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// What a call of an ungranted capability was about.
fn target(function: &str, args: &[Val]) -> Target {
    let told = |verb: &str, name: &str, scope: String| Target {
        what: format!("systemd: {verb} {name}"),
        scope: Some(scope),
    };
    let unit = |text: &str| name::unit(text).unwrap_or_else(|_| text.to_string());
    match (function, args) {
        ("list-units", _) => told("list", "units", "read".into()),
        ("list-timers", _) => told("list", "timers", "read".into()),
        ("list-machines", _) => told("list", "machines", "read".into()),
        ("unit-status" | "is-active", [Val::String(name), ..]) => told("status", &unit(name), "read".into()),
        ("machine-status", [Val::String(name), ..]) => {
            told("status", &scope::machine_name(name), "read".into())
        }
        ("unit-action", [Val::Enum(verb), Val::String(name), ..]) => {
            let name = unit(name);
            told(verb, &name, format!("{name}:{verb}"))
        }
        ("machine-action", [Val::Enum(verb), Val::String(name), ..]) => {
            told(verb, &scope::machine_name(name), scope::machine_scope(verb, name))
        }
        ("machine-exec", [command, ..]) => {
            let name = field(command, "machine").unwrap_or_default();
            told("exec", &scope::machine_name(name), scope::machine_scope("exec", name))
        }
        ("open-journal", [query, ..]) => match (field(query, "machine"), field(query, "unit")) {
            (Some(machine), _) => {
                told("journal", &scope::machine_name(machine), scope::machine_scope("journal", machine))
            }
            (None, Some(name)) => told("journal", &unit(name), format!("journal:{}", unit(name))),
            (None, None) => told("journal", scope::EVERYTHING, "journal".into()),
        },
        ("daemon-reload", _) => told("daemon-reload", scope::EVERYTHING, "daemon-reload".into()),
        _ => Target { what: format!("systemd.{function}"), scope: None },
    }
}

type Host = HasSelf<Ctx>;

fn parts(accessor: &Accessor<Ctx, Host>) -> (Arc<Run>, Bus) {
    accessor.with(|mut access| {
        let ctx = access.get();
        (ctx.run.clone(), ctx.state::<Bus>().clone())
    })
}

fn options(given: ActionOptions) -> actions::Options {
    actions::Options { wait: given.wait, timeout: given.timeout.map(Duration::from_nanos) }
}

impl wit::Host for Ctx {}

impl wit::HostWithStore<Ctx> for Host {
    async fn list_units(accessor: &Accessor<Ctx, Self>, filter: UnitFilter) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        let UnitFilter { patterns, states, kinds } = filter;
        let texts: Vec<&str> =
            [&patterns, &states, &kinds].into_iter().flatten().map(String::as_str).collect();
        let _held = run.hold(&texts).await?;
        Ok(units::list(&bus, &run, units::Filter { patterns, states, kinds }).await?)
    }

    async fn unit_status(accessor: &Accessor<Ctx, Self>, name: String) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        let _held = run.hold(&[&name]).await?;
        Ok(units::status(&bus, &run, &name).await?)
    }

    async fn is_active(accessor: &Accessor<Ctx, Self>, name: String) -> HostResult<bool> {
        let (run, bus) = parts(accessor);
        let _held = run.hold(&[&name]).await?;
        Ok(units::is_active(&bus, &run, &name).await?)
    }

    async fn list_timers(accessor: &Accessor<Ctx, Self>) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        Ok(units::timers(&bus, &run).await?)
    }

    async fn unit_action(
        accessor: &Accessor<Ctx, Self>,
        verb: UnitVerb,
        name: String,
        how: ActionOptions,
    ) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        let verb = match verb {
            UnitVerb::Start => actions::Verb::Start,
            UnitVerb::Stop => actions::Verb::Stop,
            UnitVerb::Restart => actions::Verb::Restart,
            UnitVerb::Reload => actions::Verb::Reload,
            UnitVerb::Enable => actions::Verb::Enable,
            UnitVerb::Disable => actions::Verb::Disable,
            UnitVerb::ResetFailed => actions::Verb::ResetFailed,
        };
        let _held = run.hold(&[&name]).await?;
        Ok(actions::act(&bus, &run, verb, &name, options(how)).await?)
    }

    async fn daemon_reload(accessor: &Accessor<Ctx, Self>) -> HostResult<()> {
        let (run, bus) = parts(accessor);
        Ok(actions::daemon_reload(&bus, &run).await?)
    }

    async fn list_machines(accessor: &Accessor<Ctx, Self>) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        Ok(machines::list(&bus, &run).await?)
    }

    async fn machine_status(accessor: &Accessor<Ctx, Self>, name: String) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        let _held = run.hold(&[&name]).await?;
        Ok(machines::status(&bus, &run, &name).await?)
    }

    async fn machine_action(
        accessor: &Accessor<Ctx, Self>,
        verb: MachineVerb,
        name: String,
        how: ActionOptions,
    ) -> HostResult<String> {
        let (run, bus) = parts(accessor);
        let verb = match verb {
            MachineVerb::Start => machines::Verb::Start,
            MachineVerb::Poweroff => machines::Verb::Poweroff,
            MachineVerb::Reboot => machines::Verb::Reboot,
            MachineVerb::Terminate => machines::Verb::Terminate,
        };
        let _held = run.hold(&[&name]).await?;
        Ok(machines::act(&bus, &run, verb, &name, options(how)).await?)
    }

    async fn machine_exec(
        accessor: &Accessor<Ctx, Self>,
        command: wit::Command,
    ) -> HostResult<wit::Finished> {
        let (run, bus) = parts(accessor);
        let processes = accessor.with(|mut access| Processes::of(access.get()));
        let mut texts: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        texts.extend(command.environment.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        texts.push(&command.machine);
        let mut held = run.hold(&texts).await?;
        held.grow(command.input.len())?;
        let task = exec::Task {
            machine: command.machine,
            arguments: command.arguments,
            environment: command.environment,
            input: command.input,
            timeout: command.timeout.map(Duration::from_nanos),
        };
        let mut finished = exec::exec(&bus, &run, &processes, task).await?;
        let [output, errors] = accessor.with(|mut access| finished.payloads(access.get()))?;
        Ok(wit::Finished { status: finished.status, output, errors, timed_out: finished.timed_out })
    }

    async fn open_journal(
        accessor: &Accessor<Ctx, Self>,
        query: JournalQuery,
    ) -> HostResult<Resource<Journal>> {
        let (run, processes) = accessor.with(|mut access| {
            let ctx = access.get();
            (ctx.run.clone(), Processes::of(ctx))
        });
        let query = Query {
            unit: query.unit,
            machine: query.machine,
            identifier: query.identifier,
            since: query.since,
            until: query.until,
            lines: query.lines,
            priority: query.priority,
            boot: query.boot,
            after: query.after,
            directory: query.directory,
            follow: query.follow,
        };
        let texts = [
            &query.unit,
            &query.machine,
            &query.identifier,
            &query.since,
            &query.until,
            &query.priority,
            &query.after,
            &query.directory,
        ];
        let texts = texts.map(|text| text.as_deref().unwrap_or_default());
        let _held = run.hold(&texts).await?;
        let entries = journal::open(run, processes, query).await?;
        let journal = Journal(Arc::new(Mutex::new(entries)));
        Ok(accessor.with(|mut access| access.get().table.push(journal))?)
    }
}

impl wit::HostJournal for Ctx {
    fn drop(&mut self, this: Resource<Journal>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::HostJournalWithStore<Ctx> for Host {
    async fn next(accessor: &Accessor<Ctx, Self>, this: Resource<Journal>) -> HostResult<Vec<u8>> {
        let entries =
            accessor.with(|mut access| Ok::<_, wasmtime::Error>(access.get().table.get(&this)?.0.clone()))?;
        let Ok(mut entries) = entries.try_lock() else {
            return Err(error(ErrorCode::InvalidArgument, "another task waits for this journal").into());
        };
        Ok(entries.next().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_name_the_narrowest_scope() {
        let text = |text: &str| Val::String(text.into());
        let scope = |function: &str, args: &[Val]| target(function, args).scope;
        assert_eq!(scope("unit-status", &[text("nginx")]).as_deref(), Some("read"));
        assert_eq!(
            scope("unit-action", &[Val::Enum("restart".into()), text("nginx")]).as_deref(),
            Some("nginx.service:restart")
        );
        assert_eq!(
            scope("machine-action", &[Val::Enum("reboot".into()), text("web")]).as_deref(),
            Some("machine:web:reboot")
        );
        let query = |unit: Option<&str>| {
            let unit = unit.map(|unit| Box::new(Val::String(unit.into())));
            [Val::Record(vec![("unit".into(), Val::Option(unit)), ("machine".into(), Val::Option(None))])]
        };
        assert_eq!(scope("open-journal", &query(None)).as_deref(), Some("journal"));
        assert_eq!(scope("open-journal", &query(Some("ssh"))).as_deref(), Some("journal:ssh.service"));
        for function in ["list-units", "unit-status", "daemon-reload"] {
            let scope = scope(function, &[text("x")]).unwrap_or_default();
            assert!(scope::parse(&scope).is_ok(), "{function}: {scope}");
        }
    }
}
