//! Manifests: what is granted is what the text says.
#![no_main]

#[path = "../properties/manifest.rs"]
mod manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| manifest::check(data));
