//! Scopes of network grants against the `url` crate.
#![no_main]

#[path = "../properties/grants.rs"]
mod grants;

libfuzzer_sys::fuzz_target!(|data: &[u8]| grants::check(data));
