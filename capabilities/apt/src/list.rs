//! What is installed, and what could be upgraded.

use crate::Outcome;
use crate::bindings::assay::host::apt::{Package, Upgrade};
use crate::name::Name;
use crate::programs::{APT, DPKG_QUERY, Program, Root};
use crate::version::compare;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_process::{Finished, Processes};
use std::cmp::Ordering;
use std::time::Duration;

/// Questions are answered from local files.
const TIMEOUT: Duration = Duration::from_secs(120);
const FORMAT: &str = "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n";

/// The error of a program that ended with another status than it should have.
fn failed(program: &str, finished: &Finished) -> Error {
    if finished.timed_out {
        let message = format!("{program} took more than {} seconds", TIMEOUT.as_secs());
        return error(ErrorCode::Timeout, message);
    }
    let stderr = String::from_utf8_lossy(&finished.stderr);
    let reason = stderr.trim().lines().next_back().unwrap_or("it says nothing about why").to_string();
    error(ErrorCode::Other, format!("{program} failed with status {}: {reason}", finished.status))
}

async fn dpkg_query(processes: &Processes, root: Option<&Root>, name: Option<&str>) -> Outcome<Finished> {
    let mut args = Vec::new();
    if let Some(root) = root {
        args.push(format!("--admindir={}", root.path().join("var/lib/dpkg").display()));
    }
    args.extend(["--show".to_string(), format!("--showformat={FORMAT}")]);
    if let Some(name) = name {
        args.extend(["--".to_string(), name.to_string()]);
    }
    Program { path: DPKG_QUERY, args, root, timeout: TIMEOUT }.run(processes).await
}

/// Lines in [`FORMAT`] of packages that are installed; those whose triggers are still to run are, too.
fn packages(output: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut fields = line.split('\t');
        let (status, name) = (fields.next()?, fields.next()?);
        let (version, architecture) = (fields.next()?, fields.next()?);
        matches!(status, "installed" | "triggers-awaited" | "triggers-pending").then(|| Package {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
        })
    };
    output.lines().filter_map(package).collect()
}

/// The installed package of a name; of several architectures the machine's own comes first.
pub async fn query(processes: &Processes, root: Option<&Root>, name: &Name) -> Outcome<Option<Package>> {
    let finished = dpkg_query(processes, root, Some(&name.full)).await?;
    // 1: there is no such package.
    if finished.timed_out || !matches!(finished.status, 0 | 1) {
        return Err(failed(DPKG_QUERY, &finished));
    }
    Ok(packages(&String::from_utf8_lossy(&finished.stdout)).into_iter().next())
}

/// Everything that is installed, sorted by name.
pub async fn installed(processes: &Processes, root: Option<&Root>) -> Outcome<Vec<Package>> {
    let finished = dpkg_query(processes, root, None).await?;
    let stderr = String::from_utf8_lossy(&finished.stderr);
    // A system without any package is an answer, too.
    let empty = finished.status == 1 && stderr.contains("no packages found");
    if finished.timed_out || (finished.status != 0 && !empty) {
        return Err(failed(DPKG_QUERY, &finished));
    }
    let mut packages = packages(&String::from_utf8_lossy(&finished.stdout));
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(packages)
}

/// `nginx/stable,stable-security 1.22.1-9 amd64 [upgradable from: 1.18.0-6]`. Other lines are headings and warnings.
fn upgrade(line: &str) -> Option<Upgrade> {
    let (name, rest) = line.split_once('/')?;
    let (suites, rest) = rest.split_once(' ')?;
    let (candidate, rest) = rest.split_once(' ')?;
    let (architecture, rest) = rest.split_once(" [")?;
    let (_, current) = rest.strip_suffix(']')?.rsplit_once(": ")?;
    let suites: Vec<&str> =
        suites.split(',').filter(|suite| !matches!(*suite, "now" | "unknown" | "")).collect();
    Some(Upgrade {
        name: name.into(),
        current: current.into(),
        candidate: candidate.into(),
        suite: (!suites.is_empty()).then(|| suites.join(",")),
        architecture: architecture.into(),
    })
}

/// What apt would choose another version of, where that is a newer one: a pin may ask for an older.
fn upgrades(output: &str) -> Vec<Upgrade> {
    let is_newer = |upgrade: &Upgrade| compare(&upgrade.candidate, &upgrade.current) == Ordering::Greater;
    output.lines().filter_map(upgrade).filter(is_newer).collect()
}

/// Packages of which the lists have a newer version, as of the last update.
pub async fn upgradable(processes: &Processes, root: Option<&Root>) -> Outcome<Vec<Upgrade>> {
    let args = ["-q", "-o", "APT::Color=0", "list", "--upgradable"].map(String::from).to_vec();
    let finished = Program { path: APT, args, root, timeout: TIMEOUT }.run(processes).await?;
    if finished.timed_out || finished.status != 0 {
        return Err(failed(APT, &finished));
    }
    let mut upgrades = upgrades(&String::from_utf8_lossy(&finished.stdout));
    upgrades.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(upgrades)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages() {
        let found = packages(
            "installed\tbash\t5.2.15-2+b7\tamd64\nconfig-files\told\t1\tall\nnot-installed\tx\t\t\ntriggers-pending\tman-db\t2.11\tamd64\nhalf-configured\ty\t1\tall\nshort\tline\n\n",
        );
        let names: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["bash", "man-db"]);
        assert_eq!((found[0].version.as_str(), found[0].architecture.as_str()), ("5.2.15-2+b7", "amd64"));
    }

    #[test]
    fn upgradable_packages() {
        let found = upgrades(
            "Listing...\nWARNING: x/y z\nlibc6/stable,stable-security 2.36-9+deb12u9 amd64 [upgradable from: 2.36-9+deb12u4]\ndemo/unknown 2.0 all [upgradable from: 1.0]\ndown/stable 1.0 all [upgradable from: 2.0]\nnow/stable,now 1:2~rc1 i386 [upgradable from: 1:1]\nbroken/x\nbroken/x 1 all []\n",
        );
        let names: Vec<_> = found.iter().map(|upgrade| upgrade.name.as_str()).collect();
        assert_eq!(names, ["libc6", "demo", "now"]);
        assert_eq!(found[0].suite.as_deref(), Some("stable,stable-security"));
        assert_eq!(
            (found[0].current.as_str(), found[0].candidate.as_str()),
            ("2.36-9+deb12u4", "2.36-9+deb12u9")
        );
        assert_eq!((found[1].suite.as_deref(), found[1].architecture.as_str()), (None, "all"));
        assert_eq!(found[2].suite.as_deref(), Some("stable"));
    }
}
