//! Glob patterns and paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_fs::fuzz::one(data));
