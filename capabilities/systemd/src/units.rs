//! Units: lists, states, timers.

use crate::bus::{Bus, Method, PROPERTIES, SYSTEMD};
use crate::convert::{self, As, Properties};
use crate::errors::unexpected;
use crate::name;
use crate::scope::{check_list, check_unit};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use zbus::{Message, OwnedObjectPath, Type};

/// Patterns and states of one call.
const MAX_FILTERS: usize = 64;

/// What `ListUnitsByPatterns` says of a unit: name, description, load, active and sub state, the unit that it
/// follows, its object, and its job's id, type and object.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// What is shown of every unit.
const UNIT: &[(&str, &str, As)] = &[
    ("Id", "name", As::Plain),
    ("Names", "names", As::Plain),
    ("Description", "description", As::Plain),
    ("Documentation", "documentation", As::Plain),
    ("LoadState", "load_state", As::Plain),
    ("LoadError", "load_error", As::Message),
    ("ActiveState", "active_state", As::Plain),
    ("SubState", "sub_state", As::Plain),
    ("FreezerState", "freezer_state", As::Plain),
    ("Following", "following", As::Plain),
    ("UnitFileState", "unit_file_state", As::Plain),
    ("UnitFilePreset", "unit_file_preset", As::Plain),
    ("FragmentPath", "fragment_path", As::Plain),
    ("SourcePath", "source_path", As::Plain),
    ("DropInPaths", "drop_in_paths", As::Plain),
    ("NeedDaemonReload", "need_daemon_reload", As::Plain),
    ("InvocationID", "invocation_id", As::Hex),
    ("Requires", "requires", As::Plain),
    ("Wants", "wants", As::Plain),
    ("RequiredBy", "required_by", As::Plain),
    ("WantedBy", "wanted_by", As::Plain),
    ("Triggers", "triggers", As::Plain),
    ("TriggeredBy", "triggered_by", As::Plain),
    ("CanStart", "can_start", As::Plain),
    ("CanStop", "can_stop", As::Plain),
    ("CanReload", "can_reload", As::Plain),
    ("StateChangeTimestamp", "state_change_realtime", As::Nonzero),
    ("ActiveEnterTimestamp", "active_enter_realtime", As::Nonzero),
    ("ActiveExitTimestamp", "active_exit_realtime", As::Nonzero),
    ("InactiveEnterTimestamp", "inactive_enter_realtime", As::Nonzero),
    ("InactiveExitTimestamp", "inactive_exit_realtime", As::Nonzero),
];

/// What is shown besides, where the kind of unit has it. No environment: it is where passwords are.
const KIND: &[(&str, &str, As)] = &[
    ("Type", "type", As::Plain),
    ("Result", "result", As::Plain),
    ("Restart", "restart", As::Plain),
    ("RestartUSec", "restart_usec", As::Plain),
    ("NRestarts", "n_restarts", As::Plain),
    ("TimeoutStartUSec", "timeout_start_usec", As::Plain),
    ("TimeoutStopUSec", "timeout_stop_usec", As::Plain),
    ("WatchdogUSec", "watchdog_usec", As::Nonzero),
    ("MainPID", "main_pid", As::Nonzero),
    ("ControlPID", "control_pid", As::Nonzero),
    ("StatusText", "status_text", As::Plain),
    ("StatusErrno", "status_errno", As::Nonzero),
    ("ExecStart", "exec_start", As::Commands),
    ("ExecReload", "exec_reload", As::Commands),
    ("ExecMainCode", "exec_main_code", As::Plain),
    ("ExecMainStatus", "exec_main_status", As::Plain),
    ("ExecMainPID", "exec_main_pid", As::Nonzero),
    ("ExecMainStartTimestamp", "exec_main_start_realtime", As::Nonzero),
    ("ExecMainExitTimestamp", "exec_main_exit_realtime", As::Nonzero),
    ("User", "user", As::Plain),
    ("Group", "group", As::Plain),
    ("WorkingDirectory", "working_directory", As::Plain),
    ("Slice", "slice", As::Plain),
    ("ControlGroup", "control_group", As::Plain),
    ("MemoryCurrent", "memory_current", As::Plain),
    ("MemoryPeak", "memory_peak", As::Plain),
    ("MemoryMax", "memory_max", As::Plain),
    ("CPUUsageNSec", "cpu_usage_nsec", As::Plain),
    ("TasksCurrent", "tasks_current", As::Plain),
    ("TasksMax", "tasks_max", As::Plain),
    ("IOReadBytes", "io_read_bytes", As::Plain),
    ("IOWriteBytes", "io_write_bytes", As::Plain),
    ("IPIngressBytes", "ip_ingress_bytes", As::Plain),
    ("IPEgressBytes", "ip_egress_bytes", As::Plain),
    ("NAccepted", "n_accepted", As::Plain),
    ("NConnections", "n_connections", As::Plain),
    ("Where", "where", As::Plain),
    ("What", "what", As::Plain),
];

/// What is shown of a timer.
const TIMER: &[(&str, &str, As)] = &[
    ("Unit", "unit", As::Plain),
    ("Persistent", "persistent", As::Plain),
    ("AccuracyUSec", "accuracy_usec", As::Plain),
    ("TimersCalendar", "calendar", As::Second),
    ("NextElapseUSecRealtime", "next_elapse_realtime", As::Nonzero),
    ("NextElapseUSecMonotonic", "next_elapse_monotonic", As::Nonzero),
    ("LastTriggerUSec", "last_trigger_realtime", As::Nonzero),
];

/// What an answer holds.
///
/// # Errors
/// `invalid-data` where it holds something else.
pub fn read<T: DeserializeOwned + Type>(what: &str, answer: &Message) -> Result<T, Error> {
    answer.body().deserialize::<T>().map_err(|failed| unexpected(what, &failed))
}

/// All properties of an object, of all its interfaces.
///
/// # Errors
/// As for [`Bus::call`].
pub async fn properties(
    bus: &Bus,
    run: &Arc<Run>,
    what: &str,
    service: &'static str,
    path: &str,
) -> Result<Properties, Error> {
    let method = Method { service, path, interface: PROPERTIES, name: "GetAll" };
    read(what, &bus.call(run, what, method, &"").await?)
}

/// The properties of a unit, loaded if it was not, and its own name: an alias leads to another unit, which must
/// be granted too.
///
/// # Errors
/// As for [`Bus::call`], and `denied`.
pub async fn load(
    bus: &Bus,
    run: &Arc<Run>,
    what: &str,
    verb: &str,
    name: &str,
) -> Result<Properties, Error> {
    check_unit(run, verb, name)?;
    let path: OwnedObjectPath = read(what, &bus.call(run, what, Method::manager("LoadUnit"), &name).await?)?;
    let properties = properties(bus, run, what, SYSTEMD, path.as_str()).await?;
    let own = convert::text(&properties, "Id");
    if own != name {
        check_unit(run, verb, own)?;
    }
    Ok(properties)
}

/// The error for a unit of which there is no file.
pub fn not_found(what: &str, name: &str) -> Error {
    error(ErrorCode::NotFound, format!("{what}: there is no unit {name}"))
}

async fn listed(
    bus: &Bus,
    run: &Arc<Run>,
    what: &str,
    states: &[String],
    patterns: &[String],
) -> Result<Vec<Listed>, Error> {
    let answer = bus.call(run, what, Method::manager("ListUnitsByPatterns"), &(states, patterns)).await?;
    read(what, &answer)
}

/// Which units to list.
pub struct Filter {
    pub patterns: Vec<String>,
    pub states: Vec<String>,
    pub kinds: Vec<String>,
}

impl Filter {
    fn check(&mut self) -> Result<(), Error> {
        let wrong =
            |why: String| Err(error(ErrorCode::InvalidArgument, format!("systemd.list_units: {why}")));
        if self.patterns.len() > MAX_FILTERS || self.states.len() > MAX_FILTERS {
            return wrong(format!("more than {MAX_FILTERS} names or states"));
        }
        for pattern in &mut self.patterns {
            *pattern = name::unit_pattern(pattern)?;
        }
        if let Some(state) = self
            .states
            .iter()
            .find(|state| state.is_empty() || !state.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        {
            return wrong(format!("{state:?} is not a state (active, failed, running, ...)"));
        }
        if let Some(kind) = self.kinds.iter().find(|kind| !name::KINDS.contains(&kind.as_str())) {
            return wrong(format!("{kind:?} is not a type of unit; there are {}", name::KINDS.join(", ")));
        }
        Ok(())
    }
}

/// The units in memory, by name.
///
/// # Errors
/// As for [`Bus::call`], `denied`, and `invalid-argument` for the filter.
pub async fn list(bus: &Bus, run: &Arc<Run>, mut filter: Filter) -> Result<String, Error> {
    filter.check()?;
    check_list(run, "units")?;
    let mut units = listed(bus, run, "cannot list units", &filter.states, &filter.patterns).await?;
    units.retain(|unit| {
        filter.kinds.is_empty()
            || name::kind(&unit.0).is_some_and(|kind| filter.kinds.iter().any(|wanted| wanted == kind))
    });
    units.sort_by(|a, b| a.0.cmp(&b.0));
    let units = units.into_iter().map(|unit| {
        let (name, description, load, active, sub, following, path, job, job_type, job_path) = unit;
        let mut object = Map::new();
        let texts = [
            ("name", name),
            ("description", description),
            ("load_state", load),
            ("active_state", active),
            ("sub_state", sub),
            ("following", following),
            ("path", path.as_str().to_string()),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                object.insert(key.into(), text.into());
            }
        }
        if job != 0 {
            object.insert("job".into(), json!({"id": job, "type": job_type, "path": job_path.as_str()}));
        }
        Value::Object(object)
    });
    Ok(Value::Array(units.collect()).to_string())
}

/// The state of a unit.
///
/// # Errors
/// As for [`Bus::call`], `denied`, and `not-found`.
pub async fn status(bus: &Bus, run: &Arc<Run>, name: &str) -> Result<String, Error> {
    let name = name::unit(name)?;
    let what = format!("cannot tell the status of {name}");
    let properties = load(bus, run, &what, "status", &name).await?;
    if convert::text(&properties, "LoadState") == "not-found"
        && convert::text(&properties, "ActiveState") == "inactive"
    {
        return Err(not_found(&what, &name));
    }
    let mut object = convert::take(&properties, UNIT);
    object.append(&mut convert::take(&properties, KIND));
    if name::kind(convert::text(&properties, "Id")) == Some("timer") {
        object.append(&mut convert::take(&properties, TIMER));
    }
    Ok(Value::Object(object).to_string())
}

/// Whether a unit is active.
///
/// # Errors
/// As for [`Bus::call`], and `denied`.
pub async fn is_active(bus: &Bus, run: &Arc<Run>, name: &str) -> Result<bool, Error> {
    let name = name::unit(name)?;
    let what = format!("cannot tell whether {name} is active");
    let properties = load(bus, run, &what, "status", &name).await?;
    Ok(matches!(convert::text(&properties, "ActiveState"), "active" | "reloading"))
}

/// Microseconds of systemd's clocks: since 1970, and monotonic.
fn clocks() -> (u64, u64) {
    let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(monotonic.tv_nsec).unwrap_or(0);
    (u64::try_from(realtime.as_micros()).unwrap_or(0), seconds * 1_000_000 + nanoseconds / 1000)
}

/// When a timer elapses next, in microseconds since 1970: the sooner of its calendar and its monotonic time.
fn next_elapse(calendar: Option<u64>, monotonic: Option<u64>, now: (u64, u64)) -> Option<u64> {
    let converted = monotonic.map(|at| now.0.saturating_add(at).saturating_sub(now.1));
    match (calendar, converted) {
        (Some(calendar), Some(converted)) => Some(calendar.min(converted)),
        (calendar, converted) => calendar.or(converted),
    }
}

/// The timers, the next one first.
///
/// # Errors
/// As for [`Bus::call`], and `denied`.
pub async fn timers(bus: &Bus, run: &Arc<Run>) -> Result<String, Error> {
    check_list(run, "timers")?;
    let what = "cannot list timers";
    let units = listed(bus, run, what, &[], &["*.timer".to_string()]).await?;
    let now = clocks();
    let mut timers = Vec::new();
    for (name, description, load, active, sub, _, path, ..) in units {
        if load == "not-found" {
            continue;
        }
        let properties = properties(bus, run, what, SYSTEMD, path.as_str()).await?;
        let mut object = convert::take(&properties, TIMER);
        for (key, text) in
            [("name", name), ("description", description), ("active_state", active), ("sub_state", sub)]
        {
            object.insert(key.into(), text.into());
        }
        let next = next_elapse(
            convert::number(&properties, "NextElapseUSecRealtime"),
            convert::number(&properties, "NextElapseUSecMonotonic"),
            now,
        );
        if let Some(next) = next {
            object.insert("next_realtime".into(), next.into());
        }
        timers.push((next.unwrap_or(u64::MAX), object));
    }
    timers.sort_by(|a, b| {
        let name = |object: &Map<String, Value>| object["name"].as_str().unwrap_or_default().to_string();
        a.0.cmp(&b.0).then_with(|| name(&a.1).cmp(&name(&b.1)))
    });
    Ok(Value::Array(timers.into_iter().map(|(_, object)| Value::Object(object)).collect()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_the_sooner_one() {
        let now = (1_000_000, 400);
        assert_eq!(next_elapse(None, None, now), None);
        assert_eq!(next_elapse(Some(1_000_500), None, now), Some(1_000_500));
        assert_eq!(next_elapse(None, Some(500), now), Some(1_000_100));
        assert_eq!(next_elapse(Some(1_000_500), Some(500), now), Some(1_000_100));
        assert_eq!(next_elapse(None, Some(300), now), Some(999_900));
    }

    #[test]
    fn filters_are_checked() {
        let filter = |patterns: &[&str], states: &[&str], kinds: &[&str]| {
            let strings = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect();
            Filter { patterns: strings(patterns), states: strings(states), kinds: strings(kinds) }.check()
        };
        assert!(filter(&["nginx*", "ssh"], &["active", "auto-restart"], &["timer"]).is_ok());
        assert!(filter(&["a b"], &[], &[]).is_err());
        assert!(filter(&[], &["active;x"], &[]).is_err());
        assert!(filter(&[], &[], &["services"]).is_err());
        assert!(filter(&["x"; 65], &[], &[]).is_err());
        assert!(filter(&["x"; 64], &[], &[]).is_ok());
    }
}
