//! Writing manifests: what a run was allowed as the fewest rules that are not much wider, added to what a file has.

use crate::{ManifestError, at};
use assay_capability_api::scope::{normalize, rule_text};
use assay_capability_api::{Access, Capability, Policy, Request, Use, policy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml_edit::{Array, DocumentMut, Value};

/// So many files of one directory are written as they are; more as the directory.
const FILES_MAX: usize = 8;
/// So many paths of one place are written as they are; more as what they begin with.
const URLS_MAX: usize = 3;
/// What a new file begins with.
const HEAD: &str = "# Written by assay --learn. Read it before you use it.\n";

/// Where a manifest is, and whose paths are in it. All are absolute.
#[derive(Clone, Copy, Debug)]
pub struct ManifestPaths<'a> {
    /// The manifest's directory, which relative paths in it start from.
    pub base: &'a Path,
    /// The working directory of the run: no directory above it is granted for the sake of its files.
    pub working: &'a Path,
    /// The same for the home directory itself.
    pub home: Option<&'a Path>,
}

/// A manifest with what a run was allowed.
#[derive(Debug)]
pub struct Learnt {
    pub text: String,
    /// Rules that are not in it, because they would grant much more than was used.
    pub left_out: Vec<String>,
}

/// Adds what was used to the text of a manifest, which may be empty. What its rules allow already is not added.
///
/// # Errors
/// Where the text is no manifest.
pub fn learn(
    text: &str,
    uses: &BTreeSet<Use>,
    place: ManifestPaths<'_>,
    capabilities: &[&'static dyn Capability],
) -> Result<Learnt, ManifestError> {
    let mut document = document(text)?;
    let mut known = Policy::default();
    if let Some(allow) = document.get("allow").and_then(|allow| allow.as_array()) {
        for item in allow {
            let rules = policy::parse(item.as_str().unwrap_or_default(), place.base, capabilities);
            known.allow(rules.map_err(|why| ManifestError(why.to_string()))?);
        }
    }
    let uses: Vec<&Use> = uses.iter().filter(|one| !is_known(&known, one)).collect();
    let mut rules = BTreeSet::new();
    let mut left_out = Vec::new();
    files(&uses, place, &mut rules, &mut left_out);
    urls(&uses, &mut rules);
    for one in &uses {
        if let Use::Other { capability, scope } = one {
            let scope = scope.as_deref().map(|scope| with_relative_path(scope, place));
            rules.insert(rule_text(capability, scope.as_deref()));
        }
    }
    // What may be written may be read.
    let is_part = |rule: &String| rule.strip_suffix("?ro").is_some_and(|whole| rules.contains(whole));
    let rules = rules.iter().filter(|rule| !is_part(rule)).cloned().collect();
    insert(&mut document, rules)?;
    let head = if text.trim().is_empty() { HEAD } else { "" };
    Ok(Learnt { text: format!("{head}{document}"), left_out })
}

/// Adds one rule to the text of a manifest.
///
/// # Errors
/// Where the text is no manifest.
pub fn add(text: &str, rule: &str) -> Result<String, ManifestError> {
    let mut document = document(text)?;
    insert(&mut document, BTreeSet::from([rule.to_string()]))?;
    Ok(document.to_string())
}

fn document(text: &str) -> Result<DocumentMut, ManifestError> {
    // As it is read: a field that there is not is told now, not by the next run.
    if let Err(why) = toml::from_str::<crate::Manifest>(text) {
        return Err(ManifestError(why.to_string().trim_end().to_string()));
    }
    text.parse().map_err(|why: toml_edit::TomlError| {
        let start = why.span().map_or(0, |span| span.start);
        at(text, &toml::Spanned::new(start..start, ()), why.message())
    })
}

/// Puts rules into `allow`, in order and one a line. Comments stay with what they stand before.
fn insert(document: &mut DocumentMut, rules: BTreeSet<String>) -> Result<(), ManifestError> {
    let item = document.entry("allow").or_insert_with(|| Array::new().into());
    let Some(allow) = item.as_array_mut() else {
        return Err(ManifestError("allow is not a list of rules".into()));
    };
    let there: BTreeSet<String> = allow.iter().filter_map(|item| item.as_str().map(String::from)).collect();
    let mut items: Vec<Value> = allow.iter().cloned().collect();
    items.extend(rules.difference(&there).map(|rule| Value::from(rule.as_str())));
    items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    allow.clear();
    for mut item in items {
        let decor = item.decor_mut();
        let before = decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        let comments: String = before
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| format!("\n  {line}"))
            .collect();
        decor.set_prefix(format!("{comments}\n  "));
        decor.set_suffix("");
        allow.push_formatted(item);
    }
    let after = allow.trailing().as_str().unwrap_or_default().trim_end().to_string();
    allow.set_trailing(format!("{after}\n"));
    allow.set_trailing_comma(!allow.is_empty());
    Ok(())
}

/// Whether the rules that there are allow a use.
fn is_known(known: &Policy, one: &Use) -> bool {
    match one {
        Use::File { capability, access, path } => {
            known.allows(capability, &Request::File { access: *access, path })
        }
        Use::Url { capability, method, place, path } => {
            let (scheme, authority) = place.split_once("://").unwrap_or_default();
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
                _ => (authority, None),
            };
            let port = port.unwrap_or(if matches!(scheme, "https" | "wss") { 443 } else { 80 });
            let (method, path) = (method.as_deref(), path.as_deref());
            known.allows(capability, &Request::Network { scheme, method, host, port, path, address: None })
        }
        Use::Other { capability, scope } => match scope {
            Some(name) => known.allows(capability, &Request::Name(name)),
            None => known.allows(capability, &Request::Whole),
        },
    }
}

fn files(uses: &[&Use], place: ManifestPaths<'_>, rules: &mut BTreeSet<String>, left_out: &mut Vec<String>) {
    let mut all: BTreeMap<&str, BTreeMap<Access, BTreeSet<PathBuf>>> = BTreeMap::new();
    for one in uses {
        if let Use::File { capability, access, path } = one {
            all.entry(capability).or_default().entry(*access).or_default().insert(path.clone());
        }
    }
    for (capability, mut accesses) in all {
        let mut paths = |access| accesses.remove(&access).unwrap_or_default();
        let (read, write) = (fewest(paths(Access::Read), place), fewest(paths(Access::Write), place));
        let mut add = |access: &str, path: &Path| {
            rules.insert(rule_text(capability, Some(&format!("{access}:{}", relative(path, place)))));
        };
        for path in read.union(&write) {
            let access = match (read.contains(path), write.contains(path)) {
                (true, true) => "rw",
                (true, false) => "read",
                _ => "write",
            };
            if path.parent().is_none() {
                left_out.push(format!("{capability}={access}:/"));
                continue;
            }
            add(access, path);
        }
        // These are about the path alone, so that one for the root grants no more than was used.
        let is_read =
            |path: &&PathBuf| path.ancestors().any(|above| above.parent().is_some() && read.contains(above));
        let (stat, list) = (paths(Access::Stat), paths(Access::List));
        list.iter().filter(|path| !is_read(path)).for_each(|path| add("list", path));
        stat.difference(&list).filter(|path| !is_read(path)).for_each(|path| add("stat", path));
        paths(Access::SetId).iter().for_each(|path| add("setid", path));
    }
}

/// Directories in place of many files, and nothing that lies in another directory of the set.
fn fewest(mut paths: BTreeSet<PathBuf>, place: ManifestPaths<'_>) -> BTreeSet<PathBuf> {
    // The root covers all, and is left out: what lies below it stays.
    let root = paths.take(Path::new("/"));
    loop {
        let mut children: BTreeMap<&Path, usize> = BTreeMap::new();
        for parent in paths.iter().filter_map(|path| path.parent()) {
            *children.entry(parent).or_default() += 1;
        }
        let crowded =
            children.into_iter().filter(|(parent, count)| *count > FILES_MAX && may_stand(parent, place));
        // The deepest first: what it gives may crowd the one above.
        let Some(directory) = crowded.map(|(parent, _)| parent).max_by_key(|path| path.components().count())
        else {
            break;
        };
        let directory = directory.to_path_buf();
        paths.retain(|path| !path.starts_with(&directory));
        paths.insert(directory);
    }
    let covered = |path: &PathBuf| path.ancestors().skip(1).any(|above| paths.contains(above));
    let mut fewest: BTreeSet<PathBuf> = paths.iter().filter(|path| !covered(path)).cloned().collect();
    fewest.extend(root);
    fewest
}

/// Whether a directory may be granted because many of its files were used: none at the top of the file system, none
/// that holds the working directory, not the home directory.
fn may_stand(directory: &Path, place: ManifestPaths<'_>) -> bool {
    let above_work = place.working.starts_with(directory) && place.working != directory;
    directory.components().count() > 2 && !above_work && place.home != Some(directory)
}

/// A path as the manifest has it: relative below its directory, or below the working directory where both are.
fn relative(path: &Path, place: ManifestPaths<'_>) -> String {
    let up = |from: &Path| place.base.strip_prefix(from).map_or(0, |below| below.components().count());
    let start = match (path.starts_with(place.base), place.base.starts_with(place.working)) {
        (true, _) => place.base,
        (false, true) if path.starts_with(place.working) => place.working,
        _ => return path.display().to_string(),
    };
    let below = path.strip_prefix(start).unwrap_or(path).display().to_string();
    let steps = "../".repeat(up(start));
    let text = format!("{steps}{below}");
    match text.trim_end_matches('/') {
        "" => ".".into(),
        // What might be read as more than a name.
        plain if !plain.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.') => {
            format!("./{plain}")
        }
        plain => plain.to_string(),
    }
}

/// Scopes of other capabilities that are a path behind a word.
fn with_relative_path(scope: &str, place: ManifestPaths<'_>) -> String {
    for word in ["sqlite:", "unix:"] {
        if let Some(path) = scope.strip_prefix(word).filter(|path| path.starts_with('/')) {
            let (path, mark) = path.strip_suffix("?ro").map_or((path, ""), |path| (path, "?ro"));
            return format!("{word}{}{mark}", relative(&normalize(Path::new(path)), place));
        }
    }
    scope.to_string()
}

fn urls(uses: &[&Use], rules: &mut BTreeSet<String>) {
    /// Capability, place and method.
    type Target<'a> = (&'a str, &'a str, Option<&'a str>);
    let mut paths: BTreeMap<Target<'_>, BTreeSet<Option<&str>>> = BTreeMap::new();
    for one in uses {
        if let Use::Url { capability, method, place, path } = one {
            paths.entry((capability, place, method.as_deref())).or_default().insert(path.as_deref());
        }
    }
    // Methods that were used alike stand together.
    let mut alike: BTreeMap<(&str, &str, Vec<String>), Vec<&str>> = BTreeMap::new();
    for ((capability, place, method), paths) in paths {
        let methods = alike.entry((capability, place, beginnings(&paths))).or_default();
        methods.extend(method);
    }
    for ((capability, place, paths), methods) in alike {
        let methods = if methods.is_empty() { String::new() } else { format!("{}:", methods.join("+")) };
        for path in paths {
            rules.insert(rule_text(capability, Some(&format!("{methods}{place}{path}"))));
        }
    }
}

/// Few paths as they are, many as the directory that all lie in. An empty one is every path.
fn beginnings(paths: &BTreeSet<Option<&str>>) -> Vec<String> {
    let Some(all) = paths.iter().copied().collect::<Option<Vec<&str>>>() else { return vec![String::new()] };
    if all.len() <= URLS_MAX {
        return all.into_iter().map(String::from).collect();
    }
    let (first, last) = (all[0], all[all.len() - 1]);
    // They are sorted, so what the first and the last share all share.
    let shared = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    let directory = first.as_bytes()[..shared].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    match directory {
        0 => vec![String::new()],
        end => vec![format!("{}/*", &first[..end])],
    }
}
