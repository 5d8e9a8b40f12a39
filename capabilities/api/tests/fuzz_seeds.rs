//! The properties that `fuzz/fuzz_targets/grants.rs` seeks counterexamples to, on its seeds, on mixtures of them and on
//! every combination of their lines.

#[path = "../../../fuzz/properties/grants.rs"]
mod grants;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn scopes_and_urls() {
    seeds::run("grants", 20_000, grants::check);
}

#[test]
fn every_scope_with_every_url() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/grants");
    let entries = std::fs::read_dir(&directory).expect("the seeds are there");
    let seeds: Vec<Vec<u8>> =
        entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a seed")).collect();
    let mut lines: Vec<&[u8]> = seeds.iter().flat_map(|seed| seed.split(|c| *c == b'\n')).collect();
    lines.sort();
    lines.dedup();
    for scope in &lines {
        for url in &lines {
            grants::check(&[*scope, *url, b"10.1.2.3"].join(&b'\n'));
        }
    }
}
