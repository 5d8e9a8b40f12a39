//! The audit of dependencies by cargo-deny: licences, sources, bans and advisories.
//!
//! Advisories are checked against the snapshot in `advisories/`, which needs no network, and against the whole
//! database where that can be reached. The output says what was not checked.

use crate::shell::{self, Result, cargo, exists, output, program, read, root, run, say, target};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The directory that cargo-deny expects the database in: the end of its address, and a hash of it.
const DATABASE: &str = "advisory-db-3157b0e258782691";

/// A version of a crate that the snapshot must find fault with, so that a check that checks nothing is noticed.
const CONTROL: (&str, &str, &str) = ("h2", "0.4.15", "RUSTSEC-2026-0258");

pub fn audit() -> Result<u8> {
    let deny = cargo_deny()?;
    run(program(&deny, &["--all-features", "check", "bans", "licenses", "sources"]))?;
    let snapshot = Snapshot::read()?;
    snapshot.check(&deny)?;
    if program(&deny, &["fetch", "db"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        run(program(&deny, &["--all-features", "check", "advisories"]))?;
        say("advisories: the database as it is today was checked too");
        return Ok(0);
    }
    say(&format!(
        "advisories: the database cannot be reached from here. NOT checked: what was published after {}, and crates that \
         advisories/crates.txt does not name",
        snapshot.date
    ));
    Ok(0)
}

fn cargo_deny() -> Result<String> {
    let tools = target().join("tools");
    let installed = tools.join("bin/cargo-deny");
    if installed.is_file() {
        return Ok(installed.display().to_string());
    }
    if exists("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    say("installing cargo-deny, which takes some minutes");
    let root = tools.display().to_string();
    run(cargo(&["install", "--quiet", "--locked", "--root", &root, "cargo-deny"]))?;
    Ok(installed.display().to_string())
}

/// The advisories in `advisories/`.
struct Snapshot {
    /// Of the newest advisory in the copy of the database that it was made from.
    date: String,
    /// Crates that were looked up.
    crates: BTreeSet<String>,
    /// The advisories, relative to `advisories/`.
    files: Vec<PathBuf>,
}

impl Snapshot {
    fn read() -> Result<Snapshot> {
        let directory = root().join("advisories");
        let date = read(&directory.join("date.txt"))?.trim().to_string();
        let crates = read(&directory.join("crates.txt"))?.lines().map(str::to_string).collect();
        let mut files = Vec::new();
        for name in entries(&directory.join("crates"))? {
            for file in entries(&name)? {
                files.push(file.strip_prefix(&directory).unwrap_or(&file).to_path_buf());
            }
        }
        Ok(Snapshot { date, crates, files })
    }

    /// Checks `Cargo.lock` against it, and says what that covers.
    fn check(&self, deny: &str) -> Result<()> {
        let directory = target().join("advisories");
        // Files that the snapshot has no more must not stay.
        let _ = std::fs::remove_dir_all(&directory);
        let database = directory.join(DATABASE);
        for file in &self.files {
            shell::write(&database.join(file), read(&root().join("advisories").join(file))?.as_bytes())?;
        }
        // cargo-deny takes the time of this file for that of the last fetch, and refuses a database that is old.
        let fetched = database.join(".git/FETCH_HEAD");
        shell::write(&fetched, b"")?;
        let age = set_time(&fetched, &self.date)?;
        let config = directory.join("deny.toml");
        shell::write(&config, self.config(&directory)?.as_bytes())?;
        let arguments = ["--offline", "--all-features", "--config"];
        let check = |more: &[&str]| {
            let mut check = program(deny, &arguments);
            check.arg(&config).args(more).args(["check", "advisories"]);
            check
        };
        run(check(&[]))?;

        let (name, version, id) = CONTROL;
        let control = directory.join("control.json");
        shell::write(&control, with_version(name, version)?.as_bytes())?;
        let done = check(&["--metadata-path", &control.display().to_string()])
            .output()
            .map_err(|error| format!("cannot run {deny}: {error}"))?;
        if done.status.success() || !String::from_utf8_lossy(&done.stderr).contains(id) {
            return Err(format!(
                "the check of advisories does not work: it finds no fault with {name} {version} ({id})"
            ));
        }

        let locked = locked_crates()?;
        let covered = locked.intersection(&self.crates).count();
        say(&format!(
            "advisories: a snapshot of the database of {} ({age} days old) with {} advisories was checked; \
             {covered} of the {} crates in Cargo.lock were looked up for it",
            self.date,
            self.files.len(),
            locked.len()
        ));
        Ok(())
    }

    /// `deny.toml`, with the database in this directory.
    fn config(&self, directory: &Path) -> Result<String> {
        let text = read(&root().join("deny.toml"))?;
        let (head, tail) =
            text.split_once("[advisories]\n").ok_or("deny.toml has no section [advisories]")?;
        Ok(format!("{head}[advisories]\ndb-path = {:?}\n{tail}", directory.display().to_string()))
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Sets the time of a file to a date, and gives how many days ago that was.
fn set_time(path: &Path, date: &str) -> Result<u64> {
    let days = days_since_1970(date).ok_or_else(|| format!("advisories/date.txt: {date} is no date"))?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let file = std::fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .map_err(|error| format!("cannot set the time of {}: {error}", path.display()))?;
    Ok(time.elapsed().map_or(0, |age| age.as_secs() / 86_400))
}

/// The days from 1970-01-01 to `YYYY-MM-DD` in the Gregorian calendar.
fn days_since_1970(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469)
}

/// The crates in `Cargo.lock` that are not ours.
fn locked_crates() -> Result<BTreeSet<String>> {
    let text = read(&root().join("Cargo.lock"))?;
    let foreign = text.split("[[package]]").filter(|package| package.contains("\nsource = "));
    let name = |package: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(line.trim_matches('"').to_string())
    };
    Ok(foreign.filter_map(name).collect())
}

/// What `cargo metadata` says of the project, with another version of a crate.
fn with_version(name: &str, version: &str) -> Result<String> {
    let text = output(cargo(&["metadata", "--format-version", "1", "--all-features", "--locked"]))?;
    let mut metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array_mut().ok_or("cargo metadata has no packages")?;
    let package = packages.iter_mut().find(|package| package["name"] == name);
    package.ok_or_else(|| format!("the crate {name} is not among the dependencies"))?["version"] =
        version.into();
    Ok(metadata.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_whole() {
        let snapshot = Snapshot::read().expect("advisories/ can be read");
        assert!(days_since_1970(&snapshot.date).is_some(), "{}", snapshot.date);
        assert!(!snapshot.files.is_empty());
        for file in &snapshot.files {
            let text = read(&root().join("advisories").join(file)).expect("it is there");
            let id = file.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let name = file.parent().and_then(Path::file_name).expect("it is below crates").to_string_lossy();
            assert!(text.contains(&format!("id = \"{id}\"\npackage = \"{name}\"\n")), "{}", file.display());
            assert!(snapshot.crates.contains(name.as_ref()), "crates.txt does not name {name}");
        }
    }

    #[test]
    fn ignored_advisories_are_in_the_snapshot() {
        let deny = read(&root().join("deny.toml")).expect("it is there");
        let snapshot = Snapshot::read().expect("advisories/ can be read");
        for id in deny.split("id = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = format!("{id}.md");
            assert!(snapshot.files.iter().any(|path| path.ends_with(&file)), "{id}");
        }
    }

    #[test]
    fn dates_are_days() {
        for (date, days) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("2000-02-29", Some(11_016)),
            ("2026-10-02", Some(20_728)),
            ("2026-13-01", None),
            ("2026-10", None),
            ("soon", None),
        ] {
            assert_eq!(days_since_1970(date), days, "{date}");
        }
    }

    #[test]
    fn our_own_crates_are_not_counted() {
        let locked = locked_crates().expect("Cargo.lock can be read");
        assert!(locked.contains("wasmtime") && !locked.contains("assay") && locked.len() > 100);
    }
}
