//! Which crate may use which: dependencies go one way.

use assay_tests::executable::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

pub const TESTS: &[(&str, fn())] = &[("crates_use_those_below_them_only", crates_use_those_below_them_only)];

/// Crates of this project, by their folder, and those that each may use. A capability may use `api` and no other
/// capability but those that it has here.
const ALLOWED: &[(&str, &str)] = &[
    ("stdlib", ""),
    ("capabilities/api", ""),
    ("capabilities/apt", "api fs process"),
    ("capabilities/compress", "api fs"),
    ("capabilities/crypto", "api fs"),
    ("capabilities/db", "api fs http"),
    ("capabilities/disk", "api fs"),
    ("capabilities/http", "api fs"),
    ("capabilities/listen", "api fs"),
    ("capabilities/modules", "api stdlib"),
    ("capabilities/oci", "api fs http"),
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
    ("guest-lua", ""),
    ("benches", "api runner tests"),
    ("xtask", ""),
    ("tests", ""),
];

/// What the crate in `folder` uses of this project.
fn used(folder: &str) -> BTreeSet<String> {
    let text =
        fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("every crate has a manifest");
    let own = text.split("[dev-dependencies]").next().unwrap_or_default();
    let names = own.lines().filter_map(|line| line.strip_prefix("assay-"));
    let names = names.map(|name| name.split([' ', '.', '=']).next().unwrap_or_default());
    names.map(|name| name.trim_start_matches("capability-").to_string()).collect()
}

fn crates_use_those_below_them_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut folders: Vec<String> =
        ["stdlib", "guest-lua", "benches", "xtask", "tests"].map(String::from).to_vec();
    for above in ["capabilities", "host"] {
        let found = fs::read_dir(root().join(above)).expect("the folder is there");
        let names = found.map(|entry| entry.expect("it can be read").file_name());
        folders.extend(names.map(|name| format!("{above}/{}", name.to_string_lossy())));
    }
    for folder in folders.iter().filter(|folder| *folder != "capabilities/all") {
        let may: BTreeSet<String> =
            allowed.get(folder.as_str()).unwrap_or(&"api").split_whitespace().map(String::from).collect();
        let more: Vec<_> = used(folder).difference(&may).cloned().collect();
        assert!(
            more.is_empty(),
            "{folder} uses {more:?}; if that is meant, ALLOWED and ARCHITECTURE.md say so"
        );
        let fewer: Vec<_> = match allowed.contains_key(folder.as_str()) {
            true => may.difference(&used(folder)).cloned().collect(),
            false => Vec::new(),
        };
        assert!(fewer.is_empty(), "{folder} no longer uses {fewer:?}");
    }
}
