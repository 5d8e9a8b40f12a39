//! `systemd`: units, machines and the journal. The functions that scripts see are in `systemd.lua`, over the
//! natives of this file.

use super::process::set_written;
use crate::call::{Call, Error, Fields, Returned, failure, gather, prelude, push_library, set_library};
use crate::host::systemd::{
    self as host, ActionOptions, Command, Journal, JournalQuery, MachineVerb, UnitFilter, UnitVerb,
};
use crate::lua::Lua;
use crate::task::{self, Pending, wait};
use crate::userdata::{Closable, Userdata};
use crate::{function, waiting};

pub fn register(lua: Lua) {
    lua.new_table(0, 20);
    lua.push_copy(-1);
    set_library(lua, "systemd");
    push_library(
        lua,
        &[
            ("units", waiting!(units)),
            ("query", waiting!(query)),
            ("is_active", waiting!(is_active, 1)),
            ("unit", waiting!(unit)),
            ("machine", waiting!(machine)),
            ("reload", waiting!(reload, 0)),
            ("exec", waiting!(exec)),
            ("open", waiting!(open)),
            ("next", waiting!(next)),
            ("close", function!(close)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "systemd");
    prelude(lua, "systemd", include_str!("systemd.lua"));
}

fn push_json(text: String) -> impl FnMut(Call) -> Returned + 'static {
    move |call: Call| {
        super::json::push(call.lua(), text.as_bytes())?;
        Ok(1)
    }
}

/// `units(filter)`, a table with the lists `patterns`, `states` and `kinds`.
fn units(call: Call) -> Result<Pending, Error> {
    let filter = call.table(1)?;
    let list = |name| Ok::<_, Error>(filter.strings(name)?.unwrap_or_default());
    let filter = UnitFilter { patterns: list("patterns")?, states: list("states")?, kinds: list("kinds")? };
    wait(async move { Ok(push_json(host::list_units(filter).await?)) })
}

/// `query(what, name?)` gives a table.
fn query(call: Call) -> Result<Pending, Error> {
    let (what, name) = (call.string(1)?, call.opt_str(2)?.unwrap_or_default().to_owned());
    wait(async move {
        let text = match what.as_str() {
            "timers" => host::list_timers().await,
            "machines" => host::list_machines().await,
            "unit" => host::unit_status(name).await,
            _ => host::machine_status(name).await,
        };
        Ok(push_json(text?))
    })
}

fn is_active(call: Call) -> Result<Pending, Error> {
    let name = call.string(1)?;
    wait(async move {
        let active = host::is_active(name).await?;
        Ok(move |call: Call| {
            call.lua().push_bool(active);
            Ok(1)
        })
    })
}

/// The option `timeout`, in seconds, as nanoseconds; 0 is no bound.
fn timeout(options: Fields) -> Result<Option<u64>, Error> {
    match super::process::unbounded(options.number("timeout")?) {
        None => Ok(None),
        Some(seconds) => {
            match crate::value::nanoseconds(seconds) {
                Some(nanoseconds) => Ok(Some(nanoseconds)),
                None => Err(options
                    .invalid("timeout", &format!("{seconds} is not a number of seconds from 0 to 1e10"))),
            }
        }
    }
}

fn action_options(call: Call) -> Result<ActionOptions, Error> {
    Ok(match call.opt_table(2)? {
        Some(options) => {
            ActionOptions { wait: options.boolean("wait")?.unwrap_or(false), timeout: timeout(options)? }
        }
        None => ActionOptions { wait: false, timeout: None },
    })
}

/// What an action gives: a list, the path of a job, or nothing.
fn push_result(text: String) -> impl FnMut(Call) -> Returned + 'static {
    move |call: Call| {
        match text.as_bytes() {
            [] => return Ok(0),
            [b'[', ..] => super::json::push(call.lua(), text.as_bytes())?,
            _ => call.lua().push_str(&text),
        }
        Ok(1)
    }
}

/// `unit(name, options, verb)`
fn unit(call: Call) -> Result<Pending, Error> {
    let (name, options) = (call.string(1)?, action_options(call)?);
    let verb = match call.str(3)? {
        "start" => UnitVerb::Start,
        "stop" => UnitVerb::Stop,
        "restart" => UnitVerb::Restart,
        "reload" => UnitVerb::Reload,
        "enable" => UnitVerb::Enable,
        "disable" => UnitVerb::Disable,
        _ => UnitVerb::ResetFailed,
    };
    wait(async move { Ok(push_result(host::unit_action(verb, name, options).await?)) })
}

/// `machine(name, options, verb)`
fn machine(call: Call) -> Result<Pending, Error> {
    let (name, options) = (call.string(1)?, action_options(call)?);
    let verb = match call.str(3)? {
        "start" => MachineVerb::Start,
        "poweroff" => MachineVerb::Poweroff,
        "reboot" => MachineVerb::Reboot,
        _ => MachineVerb::Terminate,
    };
    wait(async move { Ok(push_result(host::machine_action(verb, name, options).await?)) })
}

fn reload(_: Call) -> Result<Pending, Error> {
    wait(async move {
        host::daemon_reload().await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `exec(name, options)`: `options.arguments` is the list of words, `options.variables` the list of name, value, name, value.
fn exec(call: Call) -> Result<Pending, Error> {
    let (machine, options) = (call.string(1)?, call.table(2)?);
    let mut variables = options.strings("variables")?.unwrap_or_default().into_iter();
    let pairs = std::iter::from_fn(|| Some((variables.next()?, variables.next()?)));
    let command = Command {
        machine,
        environment: gather(call.lua(), || Ok(pairs.collect()))?,
        arguments: options.strings("arguments")?.unwrap_or_default(),
        input: options.bytes("stdin")?.unwrap_or_default(),
        timeout: timeout(options)?,
    };
    wait(async move {
        let mut finished = host::machine_exec(command).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            lua.new_table(0, 4);
            lua.push_integer(finished.status.into());
            lua.raw_set(-2, "status");
            lua.push_bool(finished.timed_out);
            lua.raw_set(-2, "timed_out");
            set_written(lua, &mut finished.output, &mut finished.errors)?;
            Ok(1)
        })
    })
}

/// A journal that is read; none once it is closed.
struct Reading(Closable<Journal>);

impl Userdata for Reading {
    crate::named!(c"systemd.journal");
}

/// `open(options, follow)` gives a handle for `next`.
fn open(call: Call) -> Result<Pending, Error> {
    let (options, follow) = (call.table(1)?, call.lua().boolean(2));
    let lines = match options.integer("lines")? {
        None => None,
        Some(lines) => match u32::try_from(lines) {
            Ok(lines) => Some(lines),
            Err(_) => return Err(options.invalid("lines", "a number of entries expected")),
        },
    };
    let query = JournalQuery {
        unit: options.string("unit")?,
        machine: options.string("machine")?,
        identifier: options.string("identifier")?,
        since: options.string("since")?,
        until: options.string("until")?,
        lines,
        priority: options.string("priority")?,
        boot: options.boolean("boot")?.unwrap_or(false),
        after: options.string("after")?,
        directory: options.string("directory")?,
        follow,
    };
    wait(async move {
        let journal = host::open_journal(query).await?;
        Ok(task::handle(Reading(Closable::new(journal))))
    })
}

/// `next(handle, list)` puts the next entries into `list`, from 1 on, and gives how many there are; 0 at the end.
fn next(call: Call) -> Result<Pending, Error> {
    let Some(journal) = call.userdata::<Reading>(1)?.0.get() else {
        return wait(async move {
            Ok(|call: Call| {
                call.lua().push_integer(0);
                Ok(1)
            })
        });
    };
    call.table(2)?;
    wait(async move {
        let lines = journal.next().await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            let mut count = 0;
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                super::json::push(lua, line)?;
                count += 1;
                lua.raw_set_index(2, count);
            }
            lua.push_integer(count);
            Ok(1)
        })
    })
}

fn close(call: Call) -> Returned {
    drop(call.userdata::<Reading>(1)?.0.take());
    Ok(0)
}
