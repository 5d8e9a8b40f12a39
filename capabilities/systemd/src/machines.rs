//! Machines: containers and virtual machines that systemd-machined knows.

use crate::actions::{self, Options};
use crate::bus::{Bus, CALL, MACHINED, Method};
use crate::convert::{self, As};
use crate::name;
use crate::scope::{check_list, check_machine};
use crate::units::{properties, read};
use assay_capability_api::Run;
use assay_capability_api::types::Error;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use zbus::OwnedObjectPath;

/// What tells the init of a container to power off, SIGRTMIN+4 (systemd(1), "Signals"). The number is the GNU C
/// library's, which systemd is built with, whatever we are built with.
const POWEROFF: i32 = 34 + 4;
/// SIGINT, what a container's init takes for Ctrl-Alt-Delete: it reboots.
const REBOOT: i32 = 2;

/// What is shown of a machine.
const MACHINE: &[(&str, &str, As)] = &[
    ("Name", "name", As::Plain),
    ("Id", "id", As::Hex),
    ("Class", "class", As::Plain),
    ("Service", "service", As::Plain),
    ("Unit", "unit", As::Plain),
    ("Leader", "leader", As::Nonzero),
    ("RootDirectory", "root_directory", As::Plain),
    ("State", "state", As::Plain),
    ("NetworkInterfaces", "network_interfaces", As::Plain),
    ("Timestamp", "timestamp_realtime", As::Nonzero),
];

/// What can be done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Start,
    Poweroff,
    Reboot,
    Terminate,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Poweroff => "poweroff",
            Verb::Reboot => "reboot",
            Verb::Terminate => "terminate",
        }
    }
}

/// The running machines, by name.
///
/// # Errors
/// As for [`Bus::call`], and `denied`.
pub async fn list(bus: &Bus, run: &Arc<Run>) -> Result<String, Error> {
    check_list(run, "machines")?;
    let what = "cannot list machines";
    let answer = bus.call(run, what, Method::machines("ListMachines"), &()).await?;
    let mut machines: Vec<(String, String, String, OwnedObjectPath)> = read(what, &answer)?;
    // The host is in its own list, as `.host`.
    machines.retain(|machine| name::machine(&machine.0).is_ok());
    machines.sort_by(|a, b| a.0.cmp(&b.0));
    let machines = machines.into_iter().map(|(name, class, service, path)| {
        let mut object = Map::new();
        for (key, text) in
            [("name", name), ("class", class), ("service", service), ("path", path.as_str().to_string())]
        {
            if !text.is_empty() {
                object.insert(key.into(), text.into());
            }
        }
        Value::Object(object)
    });
    Ok(Value::Array(machines.collect()).to_string())
}

/// An address of machined's: the family, and 4 or 16 bytes.
fn address((_, bytes): &(i32, Vec<u8>)) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(IpAddr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(IpAddr::from(bytes).to_string())
}

/// The state of a running machine.
///
/// # Errors
/// As for [`Bus::call`], `denied`, and `not-found`.
pub async fn status(bus: &Bus, run: &Arc<Run>, name: &str) -> Result<String, Error> {
    let name = name::machine(name)?;
    check_machine(run, "status", name)?;
    let what = format!("cannot tell the status of machine {name}");
    let answer = bus.call(run, &what, Method::machines("GetMachine"), &name).await?;
    let path: OwnedObjectPath = read(&what, &answer)?;
    let properties = properties(bus, run, &what, MACHINED, path.as_str()).await?;
    let mut object = convert::take(&properties, MACHINE);
    // Both look into the machine, which may be no Linux, or have no network: then they are left out.
    if let Ok(answer) = bus.call(run, &what, Method::machines("GetMachineAddresses"), &name).await {
        let addresses: Vec<(i32, Vec<u8>)> = read(&what, &answer)?;
        let addresses: Vec<String> = addresses.iter().filter_map(address).collect();
        if !addresses.is_empty() {
            object.insert("addresses".into(), json!(addresses));
        }
    }
    if let Ok(answer) = bus.call(run, &what, Method::machines("GetMachineOSRelease"), &name).await {
        let release: HashMap<String, String> = read(&what, &answer)?;
        object.insert("os_release".into(), json!(release));
    }
    Ok(Value::Object(object).to_string())
}

/// Does `verb` to a machine. Gives the path of the job for `start`.
///
/// # Errors
/// As for [`Bus::call`], `denied`, and `not-found`.
pub async fn act(
    bus: &Bus,
    run: &Arc<Run>,
    verb: Verb,
    name: &str,
    options: Options,
) -> Result<String, Error> {
    let name = name::machine(name)?;
    check_machine(run, verb.name(), name)?;
    let what = format!("cannot {} machine {name}", verb.name());
    let limit = options.timeout.unwrap_or(CALL);
    let kill = |signal: i32| {
        let (run, what) = (run.clone(), what.clone());
        async move {
            let method = Method::machines("KillMachine");
            bus.call_within(&run, &what, method, &(name, "leader", signal), limit).await
        }
    };
    match verb {
        // A machine that does not run is a service that could, as machinectl has it.
        Verb::Start => {
            let unit = format!("systemd-nspawn@{name}.service");
            return actions::job(bus, run, &what, "StartUnit", &unit, options).await;
        }
        Verb::Poweroff => kill(POWEROFF).await?,
        Verb::Reboot => kill(REBOOT).await?,
        Verb::Terminate => {
            bus.call_within(run, &what, Method::machines("TerminateMachine"), &name, limit).await?
        }
    };
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address(&(2, vec![10, 0, 0, 1])).as_deref(), Some("10.0.0.1"));
        let mut six = vec![0; 16];
        six[15] = 1;
        assert_eq!(address(&(10, six)).as_deref(), Some("::1"));
        assert_eq!(address(&(1, vec![1, 2, 3])), None);
    }
}
