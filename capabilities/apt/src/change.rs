//! Updating the lists, installing and removing.

use crate::bindings::assay::host::apt::{Action, Choices};
use crate::name::Name;
use crate::programs::{APT_GET, Program, Root};
use crate::scope::Verb;
use crate::{MAX_NAMES, Outcome, check};
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Run, error};
use assay_capability_process::{Finished, Processes};
use std::time::Duration;

/// For all of a change, where the script says nothing. Packages unpack for minutes on slow disks.
pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// For waiting until another package manager is done.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings that go before the system's own.
const SETTINGS: [&str; 6] = [
    // An argument is a name, not a regular expression (`lib.c` would be every package that matches it).
    "APT::Cmd::Pattern-Only=true",
    "APT::Get::Assume-Yes=true",
    "DPkg::Use-Pty=false",
    // Nobody is there to be asked: configuration files that were changed by hand stay.
    "DPkg::Options::=--force-confdef",
    "DPkg::Options::=--force-confold",
    "APT::Get::Show-User-Simulation-Note=false",
];

/// The checked names of a change.
///
/// # Errors
/// `invalid-argument` where one is not a name, or names are missing.
pub fn names(action: Action, names: &[String]) -> Outcome<Vec<Name>> {
    let invalid = |message: &str| Err(error(ErrorCode::InvalidArgument, message));
    match action {
        Action::Update if !names.is_empty() => return invalid("an update is of all lists, without names"),
        Action::Install | Action::Remove if names.is_empty() => {
            return invalid("there is nothing to do: 'names' is an empty list");
        }
        _ if names.len() > MAX_NAMES => {
            return invalid(&format!("{} names are too many for one call; {MAX_NAMES} are not", names.len()));
        }
        _ => {}
    }
    let names: Vec<Name> = names.iter().map(|name| Name::parse(name)).collect::<Outcome<_>>()?;
    match names.iter().find(|name| name.version.is_some()) {
        Some(name) if action == Action::Remove => {
            invalid(&format!("{}: what is removed is named without a version", name.full))
        }
        _ => Ok(names),
    }
}

fn verb(action: Action) -> Verb {
    match action {
        Action::Update => Verb::Update,
        Action::Install => Verb::Install,
        Action::Remove => Verb::Remove,
    }
}

/// Checks what the script asks for itself.
///
/// # Errors
/// `denied`.
pub fn check_names(run: &Run, action: Action, names: &[Name]) -> Outcome<()> {
    match action {
        Action::Update => check(run, Verb::Update, ""),
        _ => names.iter().try_for_each(|name| check(run, verb(action), &name.package)),
    }
}

/// One change.
pub struct Change {
    pub action: Action,
    pub names: Vec<Name>,
    pub choices: Choices,
    pub root: Option<Root>,
    pub timeout: Duration,
    pub lock_timeout: Duration,
}

/// What apt-get would do, by its simulation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    installs: Vec<String>,
    removes: Vec<String>,
}

/// Lines such as `Inst nginx [1.18] (1.22 Debian:12/stable [amd64])`, `Remv x [1]`, `Purg x [1]`.
fn plan(simulation: &str) -> Plan {
    let mut plan = Plan::default();
    for line in simulation.lines() {
        let mut words = line.split_ascii_whitespace();
        let list = match words.next() {
            Some("Inst") => &mut plan.installs,
            Some("Remv" | "Purg") => &mut plan.removes,
            _ => continue,
        };
        if let Some(name) = words.next() {
            let name = name.split(':').next().unwrap_or(name).to_string();
            if !list.contains(&name) {
                list.push(name);
            }
        }
    }
    plan
}

impl Change {
    fn args(&self, simulate: bool, no_remove: bool) -> Vec<String> {
        let mut args = vec!["-q".to_string()];
        // Whole seconds; at least one where any waiting is wanted.
        let lock = self.lock_timeout.as_secs_f64().ceil() as u64;
        let settings = SETTINGS.iter().map(|setting| (*setting).to_string());
        for setting in settings.chain([format!("DPkg::Lock::Timeout={lock}")]) {
            args.extend(["-o".into(), setting]);
        }
        let mut flag = |wanted: bool, flag: &str| {
            if wanted {
                args.push(flag.into());
            }
        };
        flag(simulate, "--simulate");
        flag(no_remove, "--no-remove");
        flag(self.choices.contains(Choices::ONLY_UPGRADE), "--only-upgrade");
        flag(self.choices.contains(Choices::NO_RECOMMENDS), "--no-install-recommends");
        flag(self.choices.contains(Choices::ALLOW_DOWNGRADES), "--allow-downgrades");
        flag(self.choices.contains(Choices::PURGE), "--purge");
        flag(self.choices.contains(Choices::AUTOREMOVE), "--auto-remove");
        args.push(verb(self.action).word().into());
        if !self.names.is_empty() {
            args.push("--".into());
            args.extend(self.names.iter().map(|name| name.full.clone()));
        }
        args
    }

    async fn apt_get(&self, processes: &Processes, args: Vec<String>) -> Outcome<Finished> {
        Program { path: APT_GET, args, root: self.root.as_ref(), timeout: self.timeout }.run(processes).await
    }

    /// Checks what comes along. Dependencies are what a grant of installing is for, but a package that goes because
    /// another one does, or comes in the place of one, is more than was asked for.
    fn check_plan(&self, run: &Run, plan: &Plan) -> Outcome<()> {
        plan.removes.iter().try_for_each(|name| check(run, Verb::Remove, name))?;
        match self.action {
            Action::Remove => plan.installs.iter().try_for_each(|name| check(run, Verb::Install, name)),
            _ => Ok(()),
        }
    }

    /// Does it, once what else it would do is granted too.
    ///
    /// # Errors
    /// `denied`, or those of running a program. A failure of apt-get is not an error: the output says why.
    pub async fn run(&self, run: &Run, processes: &Processes) -> Outcome<Finished> {
        if self.action == Action::Update {
            return self.apt_get(processes, self.args(false, false)).await;
        }
        let simulated = self.apt_get(processes, self.args(true, false)).await?;
        if simulated.timed_out || simulated.status != 0 {
            return Ok(simulated);
        }
        let plan = plan(&String::from_utf8_lossy(&simulated.stdout));
        self.check_plan(run, &plan)?;
        // Between the simulation and this the lists may change; nothing is removed that was not foreseen.
        let no_remove = plan.removes.is_empty();
        self.apt_get(processes, self.args(false, no_remove)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action, names: &[&str], choices: Choices) -> Change {
        let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
        let names = super::names(action, &names).unwrap();
        let lock_timeout = Duration::from_millis(1500);
        Change { action, names, choices, root: None, timeout: TIMEOUT, lock_timeout }
    }

    #[test]
    fn names_come_after_the_options() {
        let change = change(Action::Install, &["g++", "bash=5.2"], Choices::ONLY_UPGRADE);
        let args = change.args(true, true);
        assert_eq!(args[args.len() - 4..], ["install", "--", "g++", "bash=5.2"]);
        for wanted in [
            "--simulate",
            "--no-remove",
            "--only-upgrade",
            "DPkg::Lock::Timeout=2",
            "APT::Cmd::Pattern-Only=true",
        ] {
            assert!(args.iter().any(|arg| arg == wanted), "{wanted}");
        }
        assert!(!args.iter().any(|arg| arg == "--purge"));
    }

    #[test]
    fn how_many_names() {
        let many = |count: usize| vec!["bash".to_string(); count];
        assert!(names(Action::Install, &many(MAX_NAMES)).is_ok());
        for (action, names_of) in [
            (Action::Install, many(MAX_NAMES + 1)),
            (Action::Install, vec![]),
            (Action::Remove, vec![]),
            (Action::Update, many(1)),
            (Action::Remove, vec!["bash=1".into()]),
        ] {
            assert_eq!(names(action, &names_of).unwrap_err().code, ErrorCode::InvalidArgument);
        }
    }

    #[test]
    fn what_a_simulation_says() {
        let found = plan(
            "Reading package lists...\nThe following packages will be REMOVED:\n  exim4\nRemv exim4 [4.96]\nInst libc6:i386 [2.36] (2.37 Debian:12/stable [i386]) []\nInst postfix (3.7 Debian:12/stable [amd64])\nConf postfix (3.7)\nPurg old [1]\nRemv old [1]\nInst\n",
        );
        assert_eq!(found.installs, ["libc6", "postfix"]);
        assert_eq!(found.removes, ["exim4", "old"]);
    }
}
