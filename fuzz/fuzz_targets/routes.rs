//! The router of http.serve, against one that looks at every route.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_listen::fuzz::routes(data));
