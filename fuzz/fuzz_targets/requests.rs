//! HTTP requests and redirects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_http::fuzz::one(data));
