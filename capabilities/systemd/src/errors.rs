//! Errors of the bus and of systemd, as scripts see them.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{error, io_error};
use std::time::Duration;
use zbus::DBusError;

/// No bus to talk to.
pub fn no_bus(what: &str, socket: &str, refused: &std::io::Error) -> Error {
    let mut failed = io_error(&format!("{what}: no system bus at {socket}"), refused);
    failed.code = ErrorCode::Unavailable;
    failed.message.push_str(
        "; it needs a machine that systemd runs, with dbus; in a container, mount /run/dbus/system_bus_socket of \
         the host, or set DBUS_SYSTEM_BUS_ADDRESS",
    );
    failed
}

/// A time limit of a call.
pub fn timed_out(what: &str, why: &str, limit: Duration) -> Error {
    error(ErrorCode::Timeout, format!("{what}: {why} within {} s", limit.as_secs_f64()))
}

/// The code for the name of a D-Bus error, and what to do about it.
fn meaning(name: &str) -> (ErrorCode, &'static str) {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "NoSuchUnit" | "NoSuchMachine" | "NoSuchImage" | "NoSuchJob" | "NoUnitForPID" | "FileNotFound"
        | "NoSuchUnitFile" => (ErrorCode::NotFound, ""),
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => (
            ErrorCode::Permission,
            "the user that runs Assay may not; run it as root, or allow the user by a rule of polkit",
        ),
        "OnlyByDependency" => {
            (ErrorCode::Permission, "the unit refuses this (RefuseManualStart, RefuseManualStop)")
        }
        "UnitMasked" => (ErrorCode::Unavailable, "run systemctl unmask to lift this"),
        "UnitExists" | "MachineExists" | "FileExists" => (ErrorCode::Exists, ""),
        "LoadFailed" | "BadUnitSetting" | "UnitGenerated" | "UnitLinked" | "UnitBadPath" => {
            (ErrorCode::InvalidData, "the unit's file is not right; systemctl status tells more")
        }
        "JobTypeNotApplicable" => (ErrorCode::Unsupported, "the unit cannot do this"),
        "InvalidArgs" | "InvalidName" => (ErrorCode::InvalidArgument, ""),
        "NotSupported" | "UnknownMethod" | "UnknownInterface" | "UnknownProperty" => {
            (ErrorCode::Unsupported, "")
        }
        "NoReply" | "Timeout" | "TimedOut" => (ErrorCode::Timeout, ""),
        "LimitsExceeded" => (ErrorCode::Unavailable, "the bus has too much to do; try again"),
        "ServiceUnknown" | "NameHasNoOwner" => (
            ErrorCode::Unavailable,
            "the service is not there; machines need systemd-machined (Debian: systemd-container)",
        ),
        "Disconnected"
        | "ShuttingDown"
        | "TransactionIsDestructive"
        | "TransactionJobsConflicting"
        | "TransactionOrderIsCyclic"
        | "NoSuchProcess" => (ErrorCode::Unavailable, ""),
        _ if name.contains(".Spawn.") => (ErrorCode::Unavailable, "the service does not start"),
        _ => (ErrorCode::Other, ""),
    }
}

fn named(what: &str, name: &str, text: Option<&str>) -> Error {
    let (code, hint) = meaning(name);
    let text = text.filter(|text| !text.is_empty()).unwrap_or(name).trim_end_matches('.');
    let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    error(code, format!("{what}: {text}{hint}"))
}

/// A failed call. `what` is what was tried: "cannot start nginx.service".
pub fn failure(what: &str, failed: &zbus::Error) -> Error {
    match failed {
        zbus::Error::MethodError(name, text, _) => named(what, name.as_str(), text.as_deref()),
        zbus::Error::FDO(inner) => named(what, inner.name().as_str(), inner.description()),
        zbus::Error::InputOutput(source) => {
            let mut broken = io_error(what, source);
            broken.code = ErrorCode::Unavailable;
            broken
                .message
                .push_str("; the connection to the system bus broke, the next call makes a new one");
            broken
        }
        zbus::Error::Handshake(why) => {
            error(ErrorCode::Permission, format!("{what}: the system bus refuses this user: {why}"))
        }
        other => error(ErrorCode::InvalidData, format!("{what}: {other}")),
    }
}

/// An answer that does not hold what the method's description says.
pub fn unexpected(what: &str, failed: &zbus::Error) -> Error {
    error(ErrorCode::InvalidData, format!("{what}: the answer is not as expected: {failed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_codes() {
        for (name, code) in [
            ("org.freedesktop.systemd1.NoSuchUnit", ErrorCode::NotFound),
            ("org.freedesktop.machine1.NoSuchMachine", ErrorCode::NotFound),
            ("org.freedesktop.DBus.Error.AccessDenied", ErrorCode::Permission),
            ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", ErrorCode::Permission),
            ("org.freedesktop.DBus.Error.ServiceUnknown", ErrorCode::Unavailable),
            ("org.freedesktop.DBus.Error.Spawn.ChildExited", ErrorCode::Unavailable),
            ("org.freedesktop.systemd1.JobTypeNotApplicable", ErrorCode::Unsupported),
            ("com.example.Whatever", ErrorCode::Other),
        ] {
            assert_eq!(meaning(name).0, code, "{name}");
        }
        let failed =
            named("cannot stop x.service", "org.freedesktop.systemd1.NoSuchUnit", Some("Unit x not loaded."));
        assert_eq!(failed.message, "cannot stop x.service: Unit x not loaded");
    }
}
