//! What must hold for every manifest: it is read as TOML says, grants what it names and nothing else, or is refused with
//! the line that is wrong.

use assay_capability_api::{Limits, Policy};
use std::path::Path;

/// Checks one input: the first line is the name of the set that is chosen, or empty; the rest is the manifest.
///
/// # Panics
/// When something does not hold.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (set, text) = text.split_once('\n').unwrap_or(("", &text));
    let set = Some(set).filter(|set| !set.is_empty());
    let (grants, limits) = match read(text, set) {
        Ok(read) => read,
        Err(why) => return refused(text, set, &why),
    };
    let table: toml::Table = text.parse().unwrap_or_else(|why| panic!("it was read, and is no TOML: {why}"));
    let chosen = set.and_then(|name| table.get("set")?.get(name)?.as_table());
    let tables: Vec<&toml::Table> = [Some(&table), chosen].into_iter().flatten().collect();
    let (allow, deny) = grants.describe();
    assert_eq!(allow, items(&tables, "allow"), "what is granted");
    assert_eq!(deny, items(&tables, "deny"), "what is denied");
    let number = |name: &str| {
        let last = tables.iter().filter_map(|table| table.get("limits")?.get(name)).next_back()?;
        u64::try_from(last.as_integer()?).ok()
    };
    for (name, value) in [
        ("memory", Some(limits.memory)),
        ("max-output", limits.output),
        ("max-log", limits.log),
        ("max-handles", Some(limits.handles)),
        ("max-children", Some(limits.children)),
        ("max-host-bytes", limits.host_bytes),
    ] {
        assert!(number(name).is_none_or(|number| Some(number) == value), "{name} became {value:?}");
    }
    for (name, value) in [("cpu", limits.cpu), ("timeout", limits.timeout)] {
        let seconds = number(name).map(|number| number as f64);
        assert!(seconds.is_none_or(|seconds| value.map(|it| it.as_secs_f64()) == Some(seconds)), "{name}");
    }
    written(allow);
}

fn read(text: &str, set: Option<&str>) -> Result<(Policy, Limits), String> {
    let (mut grants, mut limits) = (Policy::default(), Limits::default());
    let both = (&mut grants, &mut limits);
    match assay_manifest::read(text, set, Path::new("/base"), assay_capabilities::ALL, both) {
        Ok(()) => Ok((grants, limits)),
        Err(why) => Err(why.to_string()),
    }
}

/// The items of the lists of this name.
fn items<'a>(tables: &[&'a toml::Table], name: &str) -> Vec<&'a str> {
    let lists = tables.iter().filter_map(|table| table.get(name)?.as_array());
    let texts = lists.flatten().filter_map(toml::Value::as_str);
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// An error names a line that there is, unless it is about the set.
fn refused(text: &str, set: Option<&str>, why: &str) {
    if why.starts_with("there is no set ") {
        let known = text.parse::<toml::Table>().ok().and_then(|table| table.get("set")?.get(set?).cloned());
        return assert_eq!(known, None, "{why}");
    }
    let line = why
        .split_once("line ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let lines = 1 + text.matches('\n').count();
    assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{why}\nin {text:?}");
}

/// A manifest to which these grants are added gives them back, sorted and each once; what is added again changes nothing.
fn written(allow: Vec<&str>) {
    let add = |text: String, rule: &&str| match assay_manifest::add(&text, rule) {
        Ok(text) => text,
        Err(why) => panic!("{rule} cannot be added to {text}: {why}"),
    };
    let text = allow.iter().fold(String::new(), add);
    let (again, _) = read(&text, None).unwrap_or_else(|why| panic!("{text} cannot be read: {why}"));
    let mut sorted = allow.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let (again, deny) = again.describe();
    assert_eq!((again, deny.len()), (sorted.clone(), 0), "{text}");
    assert_eq!(sorted.iter().rev().fold(text.clone(), add), text);
}
