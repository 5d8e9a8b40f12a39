//! The properties that `fuzz/fuzz_targets/manifest.rs` seeks counterexamples to, on its seeds and mixtures of them.

#[path = "../../../fuzz/properties/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn manifests() {
    seeds::run("manifest", 5_000, manifest::check);
}
