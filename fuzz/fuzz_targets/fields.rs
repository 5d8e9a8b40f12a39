//! Header fields of responses, as the guest writes them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_listen::fuzz::fields(data));
