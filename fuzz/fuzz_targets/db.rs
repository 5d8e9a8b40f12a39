//! Values, parameters and URLs of databases.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_db::fuzz::one(data));
