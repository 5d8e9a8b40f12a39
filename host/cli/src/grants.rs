//! Grants and limits from flags, environment and manifest.

use crate::args::{GrantArgs, LimitArgs, duration, size};
use crate::prompt::Terminal;
use crate::usage;
use anyhow::{Context, Result};
use assay_capability_api::{Grants, Limits, grants};
use assay_runtime::Runtime;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// A manifest: TOML, named by the operator, never picked up from the script's folder. It repeats the fields of
/// [`Set`] because serde cannot both flatten them and refuse a misspelt one, and a misspelt `deny` must not pass.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    limits: BTreeMap<String, toml::Value>,
    /// `[set.NAME]`, chosen with -P.
    #[serde(default)]
    set: BTreeMap<String, Set>,
}

#[derive(Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields)]
struct Set {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    limits: BTreeMap<String, toml::Value>,
}

/// Puts the grants and limits of a run together. Later sources add to earlier ones; a deny of any source
/// wins.
///
/// # Errors
/// A usage error when a grant or limit cannot be read.
pub(crate) fn assemble(args: &GrantArgs, limits: &LimitArgs) -> Result<(Grants, Limits)> {
    let folder = std::env::current_dir().context("the working folder cannot be found")?;
    let mut result = (Grants::default(), Limits::default());
    let named = args.manifest.clone().or_else(|| std::env::var_os("ASSAY_MANIFEST").map(PathBuf::from));
    match &named {
        Some(path) => read_manifest(path, args.set.as_deref(), &folder, &mut result)?,
        None if args.set.is_some() => {
            return Err(usage("-P chooses a set of a manifest; name one with --manifest"));
        }
        None => {}
    }
    let (grants, effective) = &mut result;
    for (name, is_allow) in [("ASSAY_ALLOW", true), ("ASSAY_DENY", false)] {
        if let Ok(text) = std::env::var(name) {
            add(grants, &text, is_allow, &folder).with_context(|| format!("in ${name}"))?;
        }
    }
    for text in &args.allow {
        add(grants, text, true, &folder)?;
    }
    for text in &args.deny {
        add(grants, text, false, &folder)?;
    }
    if args.allow_all {
        grants.allow_all();
    }
    // A question needs somebody to answer it.
    if args.prompt && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        grants.ask(Box::new(Terminal));
    }
    apply(limits, effective);
    Ok(result)
}

fn add(grants: &mut Grants, text: &str, allow: bool, base: &Path) -> Result<()> {
    let rules =
        grants::parse(text, base, Runtime::capabilities()).map_err(|error| usage(error.to_string()))?;
    if allow {
        grants.allow(rules)
    } else {
        grants.deny(rules)
    }
    Ok(())
}

fn read_manifest(
    path: &Path,
    set: Option<&str>,
    folder: &Path,
    (grants, limits): &mut (Grants, Limits),
) -> Result<()> {
    let bad = |why: String| usage(format!("manifest {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let base = folder.join(path);
    let base = base.parent().unwrap_or(folder);
    let chosen = match set {
        None => None,
        Some(name) => Some(manifest.set.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = manifest.set.keys().map(String::as_str).collect();
            bad(format!("there is no set '{name}'; there are: {}", names.join(", ")))
        })?),
    };
    let common = Set { allow: manifest.allow, deny: manifest.deny, limits: manifest.limits };
    for set in [Some(common), chosen].into_iter().flatten() {
        for (items, allow) in [(&set.allow, true), (&set.deny, false)] {
            for item in items {
                add(grants, item, allow, base).map_err(|error| bad(error.to_string()))?;
            }
        }
        for (name, value) in &set.limits {
            limit(limits, name, value).map_err(|why| bad(format!("limit {name}: {why}")))?;
        }
    }
    Ok(())
}

/// One entry of `[limits]`: the flags' names and values.
fn limit(limits: &mut Limits, name: &str, value: &toml::Value) -> Result<(), String> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        _ => return Err("write a number or a text like \"64MiB\"".into()),
    };
    match name {
        "memory" => limits.memory = size(&text)?,
        "cpu" => limits.cpu = Some(duration(&text)?),
        "timeout" => limits.timeout = Some(duration(&text)?),
        "max-output" => limits.output = Some(size(&text)?),
        "max-log" => limits.log = Some(size(&text)?),
        "max-handles" => limits.handles = size(&text)?,
        "max-children" => limits.children = size(&text)?,
        "max-host-bytes" => limits.host_bytes = Some(size(&text)?),
        _ => {
            return Err("there is no such limit; there are memory, cpu, timeout, max-output, max-log, \
                        max-handles, max-children, max-host-bytes"
                .into());
        }
    }
    Ok(())
}

fn apply(args: &LimitArgs, limits: &mut Limits) {
    limits.memory = args.memory.unwrap_or(limits.memory);
    limits.cpu = args.cpu.or(limits.cpu);
    limits.timeout = args.timeout.or(limits.timeout);
    limits.output = args.max_output.or(limits.output);
    limits.log = args.max_log.or(limits.log);
    limits.handles = args.max_handles.unwrap_or(limits.handles);
    limits.children = args.max_children.unwrap_or(limits.children);
    limits.host_bytes = args.max_host_bytes.or(limits.host_bytes);
}

/// A manifest with these grants, as `--learn` writes it.
pub(crate) fn manifest(allow: &[String]) -> String {
    let mut items: Vec<&String> = allow.iter().collect();
    items.sort();
    let mut text = String::from("# Written by assay --learn. Read it before you use it.\nallow = [\n");
    for item in items {
        text.push_str(&format!("  {},\n", toml::Value::String(item.clone())));
    }
    text.push_str("]\n");
    text
}
