//! Takes the precompiled guest that `cargo xtask guest` made. Without one (clippy, documentation) an empty
//! file stands in, and the runtime says so when it starts.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=ASSAY_GUEST");
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let guest = match std::env::var_os("ASSAY_GUEST") {
        Some(path) => PathBuf::from(path),
        None => root.join("target/guest/guest.cwasm"),
    };
    println!("cargo:rerun-if-changed={}", guest.display());
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it")).join("guest.cwasm");
    let code = std::fs::read(&guest).unwrap_or_default();
    std::fs::write(out, code).expect("the build directory is writable");
}
