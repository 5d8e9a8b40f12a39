//! Manifests: the grants and limits of a run as TOML.

mod learn;

pub use learn::{Learnt, ManifestPaths, add, learn};

use assay_capability_api::{Capability, LIMITS, LimitSpec, Limits, Policy, policy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use toml::{Spanned, Value};

/// A manifest that cannot be used. The message says why, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

/// The file. It repeats the fields of [`Set`] because serde cannot both flatten them and refuse a misspelt one, and a
/// misspelt `deny` must not pass.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    #[serde(default)]
    limits: BTreeMap<String, Spanned<Value>>,
    /// `[set.NAME]`, chosen with -P.
    #[serde(default)]
    set: BTreeMap<String, Set>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Set {
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    #[serde(default)]
    limits: BTreeMap<String, Spanned<Value>>,
}

/// Adds what a manifest says to grants and limits: what stands outside of sets, then the set that is named. Relative
/// paths start at `base`.
///
/// # Errors
/// Where the text is no TOML, has a field, capability, scope or limit that there is not, or has no such set.
pub fn read(
    text: &str,
    set: Option<&str>,
    base: &Path,
    capabilities: &[&'static dyn Capability],
    (grants, limits): (&mut Policy, &mut Limits),
) -> Result<(), ManifestError> {
    let mut manifest: Manifest =
        toml::from_str(text).map_err(|why| ManifestError(why.to_string().trim_end().to_string()))?;
    let chosen = match set {
        None => None,
        Some(name) => Some(manifest.set.remove(name).ok_or_else(|| {
            let names: Vec<_> = manifest.set.keys().map(String::as_str).collect();
            ManifestError(format!("there is no set '{name}'; there are: {}", names.join(", ")))
        })?),
    };
    let common = Set { allow: manifest.allow, deny: manifest.deny, limits: manifest.limits };
    for set in [Some(common), chosen].into_iter().flatten() {
        for (items, allow) in [(&set.allow, true), (&set.deny, false)] {
            for item in items {
                if item.get_ref().is_empty() {
                    return Err(at(text, item, "a rule is empty; write CAPABILITY or CAPABILITY=SCOPE"));
                }
                let parse = if allow { policy::parse } else { policy::parse_denial };
                let rules = parse(item.get_ref(), base, capabilities)
                    .map_err(|why| at(text, item, &why.to_string()))?;
                if allow { grants.allow(rules) } else { grants.deny(rules) }
            }
        }
        for (name, value) in &set.limits {
            limit(limits, name, value.get_ref())
                .map_err(|why| at(text, value, &format!("limit {name}: {why}")))?;
        }
    }
    Ok(())
}

/// What is wrong with a value, with the line that it is in.
fn at<T>(text: &str, value: &Spanned<T>, why: &str) -> ManifestError {
    let before = text.get(..value.span().start).unwrap_or(text);
    ManifestError(format!("line {}: {why}", 1 + before.matches('\n').count()))
}

/// One entry of `[limits]`: the flags' names and values.
fn limit(limits: &mut Limits, name: &str, value: &Value) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => return Err("write a number or a text like \"64MiB\"".into()),
    };
    let Some(spec) = LimitSpec::named(name) else {
        let names: Vec<_> = LIMITS.iter().map(|spec| spec.limit.name()).collect();
        return Err(format!("there is no such limit; there are {}", names.join(", ")));
    };
    spec.set(limits, spec.read(&text)?);
    Ok(())
}
