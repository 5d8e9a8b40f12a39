//! What is shipped, and the audit of dependencies.

use crate::guest;
use crate::shell::{Result, cargo, exists, run, say, target};
use std::path::PathBuf;

/// The executable as it is shipped.
pub fn executable() -> Result<PathBuf> {
    guest::build()?;
    say("building assay for shipping");
    run(cargo(&["build", "--quiet", "--locked", "--package", "assay", "--profile", "dist"]))?;
    Ok(target().join("dist/assay"))
}

pub fn dist() -> Result<u8> {
    let path = executable()?;
    let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
    println!("{} {:.1} MB", path.display(), size as f64 / 1e6);
    Ok(0)
}

/// cargo-deny with deny.toml. Without a network for the advisory database the other checks still run.
pub fn audit() -> Result<u8> {
    let tools = target().join("tools");
    let installed = tools.join("bin/cargo-deny");
    if !installed.is_file() && !exists("cargo-deny") {
        say("installing cargo-deny, which takes some minutes");
        let root = tools.display().to_string();
        run(cargo(&["install", "--quiet", "--locked", "--root", &root, "cargo-deny"]))?;
    }
    let deny = if installed.is_file() { installed.display().to_string() } else { "cargo-deny".into() };
    run(crate::shell::program(&deny, &["--all-features", "check", "bans", "licenses", "sources"]))?;
    if let Err(error) = run(crate::shell::program(&deny, &["--all-features", "check", "advisories"])) {
        let offline = !can_fetch_advisories(&deny);
        if !offline {
            return Err(error);
        }
        say("advisories were NOT checked: the database cannot be reached from here");
    }
    Ok(0)
}

fn can_fetch_advisories(deny: &str) -> bool {
    crate::shell::program(deny, &["fetch", "db"]).status().is_ok_and(|status| status.success())
}
