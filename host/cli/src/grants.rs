//! Grants and limits from flags, environment and manifest.

use crate::args::{GrantArgs, LimitArgs};
use crate::prompt::{self, Terminal};
use crate::usage;
use anyhow::{Context, Result};
use assay_capability_api::{Asker, GrantError, Limits, Policy, Run, policy};
use assay_runner::Runner;
use std::env::VarError;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Puts the grants and limits of a run together. Later sources add to earlier ones; a deny of any source
/// wins.
///
/// # Errors
/// A usage error when a grant or limit cannot be read.
pub(crate) fn assemble(args: &GrantArgs, limits: &LimitArgs) -> Result<(Policy, Limits)> {
    let directory = std::env::current_dir().context("the working directory cannot be found")?;
    let mut result = (Policy::default(), Limits::default());
    match &manifest(args) {
        Some(path) => read_manifest(path, args.set.as_deref(), &directory, &mut result)?,
        None if args.set.is_some() => {
            return Err(usage("-P chooses a set of a manifest; name one with --manifest"));
        }
        None => {}
    }
    let (grants, effective) = &mut result;
    for (name, is_allow) in [("ASSAY_ALLOW", true), ("ASSAY_DENY", false)] {
        if let Some(text) = variable(name)? {
            add(grants, &text, is_allow, &directory).with_context(|| format!("in ${name}"))?;
        }
    }
    for text in &args.allow {
        add(grants, text, true, &directory)?;
    }
    for text in &args.deny {
        add(grants, text, false, &directory)?;
    }
    if args.allow_all {
        grants.allow_all();
    }
    limits.apply(effective);
    Ok(result)
}

/// The manifest that was named, if one was.
fn manifest(args: &GrantArgs) -> Option<PathBuf> {
    args.manifest.clone().or_else(|| std::env::var_os("ASSAY_MANIFEST").map(PathBuf::from))
}

/// Keeps the script from changing the manifest in use: the next run would be granted what it writes there.
///
/// # Errors
/// A usage error where the manifest is gone.
pub(crate) fn withhold_manifest(args: &GrantArgs, run: &Run) -> Result<()> {
    let Some(path) = manifest(args) else { return Ok(()) };
    let file = File::open(&path).map_err(|error| usage(format!("manifest {}: {error}", path.display())))?;
    let real = assay_capability_fs::path_of(&file).unwrap_or_else(|| run.path(&path.to_string_lossy()));
    run.grants.withhold(&file, real, "the host, which reads the grants of the run from it");
    Ok(())
}

/// Who is asked for what is not granted, where somebody can be.
///
/// # Errors
/// A usage error where the terminal cannot be opened.
pub(crate) fn asker(args: &GrantArgs) -> Result<Option<Box<dyn Asker>>> {
    // A question needs somebody to answer it.
    if !args.prompt || !prompt::is_possible() {
        return Ok(None);
    }
    let terminal = Terminal::open(manifest(args).as_deref())
        .ok_or_else(|| usage("--prompt: /dev/tty cannot be opened to ask on it"))?;
    Ok(Some(Box::new(terminal)))
}

/// A variable of this process that is about grants; an empty one counts as none.
///
/// # Errors
/// A usage error where it is not UTF-8: what it denies must not be let through.
pub(crate) fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(usage(format!("${name} is not UTF-8"))),
    }
}

fn add(grants: &mut Policy, text: &str, allow: bool, base: &Path) -> Result<()> {
    // An empty variable of the shell, most of all: a denial would deny nothing.
    if text.is_empty() {
        return Err(usage("a rule is empty; write CAPABILITY or CAPABILITY=SCOPE, or leave the flag out"));
    }
    let capabilities = Runner::capabilities();
    let wrong = |error: GrantError| usage(error.to_string());
    match allow {
        true => grants.allow(policy::parse(text, base, capabilities).map_err(wrong)?),
        false => grants.deny(policy::parse_denial(text, base, capabilities).map_err(wrong)?),
    }
    Ok(())
}

/// Reads a manifest, which the operator named: none is picked up from the script's directory.
fn read_manifest(
    path: &Path,
    set: Option<&str>,
    directory: &Path,
    (grants, limits): &mut (Policy, Limits),
) -> Result<()> {
    let bad = |why: String| usage(format!("manifest {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let base = directory.join(path);
    let base = base.parent().unwrap_or(directory);
    assay_manifest::read(&text, set, base, Runner::capabilities(), (grants, limits))
        .map_err(|error| bad(error.to_string()))
}
