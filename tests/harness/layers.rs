//! Which crate may use which: dependencies go one way.

use assay_tests::executable::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub const TESTS: &[(&str, fn())] = &[
    ("crates_use_those_below_them_only", crates_use_those_below_them_only),
    ("the_api_names_no_capability", the_api_names_no_capability),
];

/// Crates of this project, by their directory, and those that each may use. A capability may use `api` and no other
/// capability but those that it has here.
const ALLOWED: &[(&str, &str)] = &[
    ("stdlib", ""),
    ("wire", ""),
    ("capabilities/api", ""),
    ("capabilities/apt", "api fs process"),
    ("capabilities/compress", "api fs"),
    ("capabilities/crypto", "api fs"),
    ("capabilities/db", "api fs net wire"),
    ("capabilities/disk", "api fs"),
    ("capabilities/http", "api fs net"),
    ("capabilities/listen", "api fs net wire"),
    ("capabilities/modules", "api stdlib"),
    ("capabilities/net", "api fs"),
    ("capabilities/oci", "api fs http net"),
    ("capabilities/process", "api env fs"),
    ("capabilities/pty", "api process"),
    ("capabilities/shell", "api process"),
    ("capabilities/systemd", "api fs process"),
    ("capabilities/tar", "api compress fs"),
    ("capabilities/ws", "api fs http"),
    ("host/wasm", ""),
    ("host/manifest", "api"),
    ("host/runtime", "api capabilities wasm"),
    ("host/runner", "api env modules runtime stdio"),
    ("host/cli", "api capabilities env fs log manifest modules process runner stdio stdlib"),
    ("guest-lua", "wire"),
    ("benches", "api runner tests"),
    ("xtask", ""),
    ("tests", ""),
];

/// What the crate in `directory` uses of this project.
fn used(directory: &str) -> BTreeSet<String> {
    let text =
        fs::read_to_string(root().join(directory).join("Cargo.toml")).expect("every crate has a manifest");
    let own = text.split("[dev-dependencies]").next().unwrap_or_default();
    let names = own.lines().filter_map(|line| line.strip_prefix("assay-"));
    let names = names.map(|name| name.split([' ', '.', '=']).next().unwrap_or_default());
    names.map(|name| name.trim_start_matches("capability-").to_string()).collect()
}

fn crates_use_those_below_them_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut directories: Vec<String> =
        ["stdlib", "wire", "guest-lua", "benches", "xtask", "tests"].map(String::from).to_vec();
    for above in ["capabilities", "host"] {
        let found = fs::read_dir(root().join(above)).expect("the directory is there");
        let names = found.map(|entry| entry.expect("it can be read").file_name());
        directories.extend(names.map(|name| format!("{above}/{}", name.to_string_lossy())));
    }
    for directory in directories.iter().filter(|directory| *directory != "capabilities/all") {
        let may: BTreeSet<String> =
            allowed.get(directory.as_str()).unwrap_or(&"api").split_whitespace().map(String::from).collect();
        let more: Vec<_> = used(directory).difference(&may).cloned().collect();
        assert!(
            more.is_empty(),
            "{directory} uses {more:?}; if that is meant, ALLOWED and ARCHITECTURE.md say so"
        );
        let fewer: Vec<_> = match allowed.contains_key(directory.as_str()) {
            true => may.difference(&used(directory)).cloned().collect(),
            false => Vec::new(),
        };
        assert!(fewer.is_empty(), "{directory} no longer uses {fewer:?}");
    }
}

/// The Rust files below a directory, without those that are tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            found.push(path);
        }
    }
}

fn the_api_names_no_capability() {
    let wit = fs::read_dir(root().join("wit")).expect("the directory is there");
    let stems = wit.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()));
    // These are schemes of URLs and a system too, which the api does know.
    let names: Vec<String> = stems.filter(|name| !["http", "ws", "linux"].contains(&name.as_str())).collect();
    assert!(names.iter().any(|name| name == "fs"), "{names:?}");
    let mut files = Vec::new();
    sources(&root().join("capabilities/api/src"), &mut files);
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("it can be read");
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = own.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, name) in code.flat_map(|line| names.iter().map(move |name| (line, name))) {
            assert!(!line.contains(&format!("\"{name}\"")), "{}: {line}", file.display());
        }
    }
}
