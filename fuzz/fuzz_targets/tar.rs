//! Archives, unpacked into a directory that nothing may leave.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assay_capability_tar::fuzz::one(data));
