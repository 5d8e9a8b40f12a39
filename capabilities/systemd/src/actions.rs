//! What is done to units: starting, stopping, enabling, and waiting for the job.

use crate::bus::{Bus, CALL, Method, SYSTEMD};
use crate::convert;
use crate::errors::{failure, timed_out};
use crate::name;
use crate::scope::{check_unit, check_whole};
use crate::units::{load, not_found, properties, read};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use futures_core::Stream;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zbus::{MatchRule, MessageStream, OwnedObjectPath};

/// For a job that is waited for: as long as systemd itself gives a unit to start (`DefaultTimeoutStartSec`),
/// and some more to stop it.
const WAIT: Duration = Duration::from_secs(180);
/// Reading all unit files again takes its time on a large system.
const RELOAD: Duration = Duration::from_secs(120);

/// What can be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    Enable,
    Disable,
    ResetFailed,
}

impl Verb {
    /// Its name in a scope.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Reload => "reload",
            Verb::Enable => "enable",
            Verb::Disable => "disable",
            Verb::ResetFailed => "reset-failed",
        }
    }
}

/// How an action is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub wait: bool,
    pub timeout: Option<Duration>,
}

/// Does `verb` to a unit. The unit's own name is what is acted on, whatever alias was given.
///
/// # Errors
/// As for [`Bus::call`], `denied`, `not-found`; with `wait` also the job's.
pub async fn act(
    bus: &Bus,
    run: &Arc<Run>,
    verb: Verb,
    name: &str,
    options: Options,
) -> Result<String, Error> {
    let name = name::unit(name)?;
    let what = format!("cannot {} {name}", verb.name());
    let own = own_name(bus, run, &what, verb, &name).await?;
    let limit = options.timeout;
    match verb {
        Verb::Start => job(bus, run, &what, "StartUnit", &own, options).await,
        Verb::Stop => job(bus, run, &what, "StopUnit", &own, options).await,
        Verb::Restart => job(bus, run, &what, "RestartUnit", &own, options).await,
        Verb::Reload => job(bus, run, &what, "ReloadUnit", &own, options).await,
        Verb::ResetFailed => {
            let method = Method::manager("ResetFailedUnit");
            bus.call_within(run, &what, method, &own.as_str(), limit.unwrap_or(CALL)).await?;
            Ok(String::new())
        }
        Verb::Enable => {
            let arguments = (&[own.as_str()][..], false, false);
            let method = Method::manager("EnableUnitFiles");
            let answer = bus.call_within(run, &what, method, &arguments, limit.unwrap_or(CALL)).await?;
            let (installable, changes): (bool, Vec<(String, String, String)>) = read(&what, &answer)?;
            if !installable {
                return Err(error(
                    ErrorCode::Unsupported,
                    format!("{what}: its file has no [Install] section, so there is nothing to enable"),
                ));
            }
            changed(bus, run, &what, changes).await
        }
        Verb::Disable => {
            let arguments = (&[own.as_str()][..], false);
            let method = Method::manager("DisableUnitFiles");
            let answer = bus.call_within(run, &what, method, &arguments, limit.unwrap_or(CALL)).await?;
            let changes = read(&what, &answer)?;
            changed(bus, run, &what, changes).await
        }
    }
}

/// The unit's own name, where `name` may be an alias, when both are granted.
async fn own_name(bus: &Bus, run: &Arc<Run>, what: &str, verb: Verb, name: &str) -> Result<String, Error> {
    // A template has a file, and is no unit that could be loaded.
    if name.contains("@.") && matches!(verb, Verb::Enable | Verb::Disable) {
        check_unit(run, verb.name(), name)?;
        return Ok(name.to_string());
    }
    let unit = load(bus, run, what, verb.name(), name).await?;
    let missing = convert::text(&unit, "LoadState") == "not-found";
    // A unit whose file was removed can still run, and be stopped.
    if missing && (convert::text(&unit, "ActiveState") == "inactive" || verb == Verb::Start) {
        return Err(not_found(what, name));
    }
    Ok(convert::text(&unit, "Id").to_string())
}

/// The links that were made or removed; systemd must look at them, as after `systemctl enable`.
async fn changed(
    bus: &Bus,
    run: &Arc<Run>,
    what: &str,
    changes: Vec<(String, String, String)>,
) -> Result<String, Error> {
    if !changes.is_empty() {
        bus.call_within(run, what, Method::manager("Reload"), &(), RELOAD).await?;
    }
    let list = changes.into_iter().map(|(kind, file, target)| match target.is_empty() {
        true => json!({"type": kind, "file": file}),
        false => json!({"type": kind, "file": file, "target": target}),
    });
    Ok(Value::Array(list.collect()).to_string())
}

/// Makes systemd read the unit files again.
///
/// # Errors
/// As for [`Bus::call`], and `denied`.
pub async fn daemon_reload(bus: &Bus, run: &Arc<Run>) -> Result<(), Error> {
    check_whole(run, "daemon-reload")?;
    let what = "cannot make systemd read its unit files";
    bus.call_within(run, what, Method::manager("Reload"), &(), RELOAD).await?;
    Ok(())
}

/// Queues a job for a unit and gives its path; with `wait`, when it has ended well.
///
/// # Errors
/// As for [`Bus::call`]; `timeout`, and `other` where the job failed.
pub async fn job(
    bus: &Bus,
    run: &Arc<Run>,
    what: &str,
    method: &'static str,
    unit: &str,
    options: Options,
) -> Result<String, Error> {
    // `replace`: what systemctl does, a queued job that conflicts gives way.
    let arguments = (unit, "replace");
    if !options.wait {
        let limit = options.timeout.unwrap_or(CALL);
        let answer = bus.call_within(run, what, Method::manager(method), &arguments, limit).await?;
        return Ok(read::<OwnedObjectPath>(what, &answer)?.as_str().to_string());
    }
    let limit = options.timeout.unwrap_or(WAIT);
    let deadline = Instant::now() + limit;
    let ended = async {
        // Listening begins before the job is queued: it may end at once.
        let mut removed = job_signals(bus, run, what).await?;
        let answer = bus.call_within(run, what, Method::manager(method), &arguments, limit).await?;
        let path: OwnedObjectPath = read(what, &answer)?;
        let result = result_of(&mut removed, what, path.as_str()).await?;
        Ok::<_, Error>((path, result))
    };
    let (path, result) = tokio::time::timeout_at(deadline, ended)
        .await
        .unwrap_or_else(|_| Err(timed_out(what, "the job did not end", limit)))?;
    match result.as_str() {
        "done" => Ok(path.as_str().to_string()),
        _ => Err(failed_job(bus, run, what, unit, &result).await),
    }
}

async fn job_signals(bus: &Bus, run: &Arc<Run>, what: &str) -> Result<MessageStream, Error> {
    let connection = bus.connection(run, what).await?;
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(SYSTEMD)
        .interface("org.freedesktop.systemd1.Manager")
        .member("JobRemoved")
        .build()
        .map_err(|failed| failure(what, &failed))?;
    let stream = MessageStream::for_match_rule(rule, &connection, None)
        .await
        .map_err(|failed| failure(what, &failed))?;
    // systemd sends signals of jobs only when somebody has asked for them. Once is enough for a connection, and
    // a second time is an error that says so.
    let asked = connection
        .call_method(
            Some(SYSTEMD),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.systemd1.Manager"),
            "Subscribe",
            &(),
        )
        .await;
    match asked {
        Ok(_) => Ok(stream),
        Err(zbus::Error::MethodError(name, ..)) if name.as_str().ends_with(".AlreadySubscribed") => {
            Ok(stream)
        }
        Err(failed) => Err(failure(what, &failed)),
    }
}

/// Waits for the end of the job at `path`; gives its result.
async fn result_of(stream: &mut MessageStream, what: &str, path: &str) -> Result<String, Error> {
    loop {
        let signal = poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await;
        let Some(signal) = signal else {
            return Err(error(
                ErrorCode::Unavailable,
                format!("{what}: the connection to the system bus ended before the job"),
            ));
        };
        let signal = signal.map_err(|failed| failure(what, &failed))?;
        let (_, job, _, result): (u32, OwnedObjectPath, String, String) = read(what, &signal)?;
        if job.as_str() == path {
            return Ok(result);
        }
    }
}

/// The error of a job that did not end well, with what the unit itself says.
async fn failed_job(bus: &Bus, run: &Arc<Run>, what: &str, unit: &str, result: &str) -> Error {
    let code = match result {
        "timeout" => ErrorCode::Timeout,
        "canceled" | "dependency" => ErrorCode::Unavailable,
        "unsupported" => ErrorCode::Unsupported,
        _ => ErrorCode::Other,
    };
    let why = match result {
        "failed" => "it failed",
        "timeout" => "it took longer than systemd allows",
        "canceled" => "another job took its place",
        "dependency" => "a unit that it depends on failed",
        "skipped" => "it does not apply in the unit's state",
        other => other,
    };
    let mut message = format!("{what}: {why}");
    if let Some(detail) = detail(bus, run, what, unit).await {
        message.push_str(&format!(" ({detail})"));
    }
    message.push_str(&format!("; systemd.journal({{unit = \"{unit}\"}}) tells more"));
    error(code, message)
}

/// "exit-code, status 3". The job's result is told without it where it cannot be had.
async fn detail(bus: &Bus, run: &Arc<Run>, what: &str, unit: &str) -> Option<String> {
    let answer = bus.call(run, what, Method::manager("GetUnit"), &unit).await.ok()?;
    let path: OwnedObjectPath = read(what, &answer).ok()?;
    let unit = properties(bus, run, what, SYSTEMD, path.as_str()).await.ok()?;
    let result = convert::text(&unit, "Result");
    if result.is_empty() || result == "success" {
        return None;
    }
    let status = convert::take(&unit, &[("ExecMainStatus", "status", convert::As::Nonzero)]);
    Some(match status.get("status") {
        Some(status) => format!("{result}, status {status}"),
        None => result.to_string(),
    })
}
