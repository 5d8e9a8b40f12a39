//! `assay modules`.

use crate::prepare::module_directories;
use crate::print;
use anyhow::{Context, Result};
use assay_capability_modules::Origin;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  assay modules                                     what require finds from here
  assay modules --no-local-modules                  what is built in")]
pub(crate) struct Modules {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Find modules in the standard library only
    #[arg(long)]
    pub(crate) no_local_modules: bool,
}

pub(crate) fn list(args: &Modules) -> Result<u8> {
    let here = std::env::current_dir().context("the working directory cannot be found")?;
    let directories = module_directories(&here, !args.no_local_modules);
    let mut names = BTreeMap::new();
    for path in assay_stdlib::paths() {
        names.insert(format!("assay.{}", module_name(path)), ());
    }
    for directory in [&directories.project, &directories.global].into_iter().flatten() {
        collect(directory.path(), "", &mut names);
    }
    // What require would load is what is listed: the same search decides which source wins.
    let found: Vec<_> = names
        .into_keys()
        .filter_map(|name| directories.find(&name).ok().map(|found| (name, found)))
        .map(|(name, found)| (name, found.origin, description(&found.text), directories.real_path(&found)))
        .collect();
    if args.json {
        let list: Vec<_> = found
            .iter()
            .map(|(name, origin, description, path)| {
                json!({ "module": name, "source": origin.name(), "description": description, "path": path })
            })
            .collect();
        return print(format!("{:#}\n", json!(list)).as_bytes());
    }
    let width = found.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max("MODULE".len());
    let mut text = format!("{:<width$}  {:<7}  DESCRIPTION\n", "MODULE", "SOURCE");
    for (name, origin, description, _) in &found {
        text.push_str(format!("{name:<width$}  {:<7}  {description}", Origin::name(*origin)).trim_end());
        text.push('\n');
    }
    print(text.as_bytes())
}

/// `a/b.lua` and `a/b/init.lua` are the module `a.b`.
fn module_name(path: &str) -> String {
    let stem = path.strip_suffix(".lua").unwrap_or(path);
    stem.strip_suffix("/init").unwrap_or(stem).replace('/', ".")
}

fn collect(directory: &Path, prefix: &str, names: &mut BTreeMap<String, ()>) {
    // A directory that is not there or cannot be read has no modules.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{prefix}{name}/"), names),
            Ok(_) if name.ends_with(".lua") => {
                names.insert(module_name(&format!("{prefix}{name}")), ());
            }
            _ => {}
        }
    }
}

/// The `@description` of a module's header, or its first comment line.
fn description(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let header: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with("--"))
        .map(|line| line.trim_start_matches('-').trim())
        .collect();
    let tagged = header.iter().find_map(|line| line.strip_prefix("@description"));
    tagged.or_else(|| header.first().copied()).unwrap_or_default().trim().to_string()
}
