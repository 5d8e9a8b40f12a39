//! What the project needs beyond Rust. Each step looks first whether it is done.

use crate::shell::{Result, cargo, exists, output, program, read, root, run, say, target, write};
use std::path::PathBuf;

/// The wheel of the C compiler, with the digests of the platforms that the project builds on.
const ZIG_REQUIREMENTS: &str = include_str!("../zig-requirements.txt");

/// Debian packages that the tests start or call.
const TEST_PACKAGES: &[(&str, &str)] = &[
    ("bzip2", "/usr/bin/bzip2"),
    ("dbus", "/usr/bin/dbus-daemon"),
    ("docker-registry", "/usr/bin/docker-registry"),
    ("mariadb-server", "/usr/sbin/mariadbd"),
    ("curl", "/usr/bin/curl"),
    ("nghttp2-client", "/usr/bin/h2load"),
    ("nginx", "/usr/sbin/nginx"),
    ("openssl", "/usr/bin/openssl"),
    ("python3-websockets", "/usr/lib/python3/dist-packages/websockets/__init__.py"),
    ("systemd", "/lib/systemd/systemd"),
    ("systemd-container", "/usr/bin/systemd-nspawn"),
    ("xz-utils", "/usr/bin/xz"),
    ("zstd", "/usr/bin/zstd"),
    ("postgresql", "/usr/share/postgresql-common/pg_wrapper"),
];

/// Debian packages that the benchmarks compare with, and what they measure with.
pub const BENCH_PACKAGES: &[(&str, &str)] = &[
    ("lua5.4", "/usr/bin/lua5.4"),
    ("postgresql", "/usr/share/postgresql-common/pg_wrapper"),
    ("python3-aiohttp", "/usr/lib/python3/dist-packages/aiohttp/__init__.py"),
    ("python3-psycopg2", "/usr/lib/python3/dist-packages/psycopg2/__init__.py"),
    ("wrk", "/usr/bin/wrk"),
];

pub fn all() -> Result<u8> {
    compiler()?;
    wasm_target()?;
    packages(TEST_PACKAGES)?;
    say("set up");
    Ok(0)
}

/// The zig executable, fetched if it is not there.
pub fn compiler() -> Result<PathBuf> {
    let folder = target().join("tools/zig");
    let zig = folder.join("ziglang/zig");
    let stamp = folder.join("requirements.txt");
    if zig.is_file() && read(&stamp).is_ok_and(|text| text == ZIG_REQUIREMENTS) {
        return Ok(zig);
    }
    say("fetching the C compiler of the guest (PyPI wheel ziglang, 100 MB)");
    // An interrupted installation is started anew.
    let _ = std::fs::remove_dir_all(&folder);
    write(&target().join("tools/zig-requirements.txt"), ZIG_REQUIREMENTS.as_bytes())?;
    let requirements = target().join("tools/zig-requirements.txt").display().to_string();
    let folder_name = folder.display().to_string();
    run(program(
        "python3",
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--target",
            &folder_name,
            "-r",
            &requirements,
        ],
    ))
    .map_err(|error| format!("{error}; it needs python3 with pip (Debian: apt-get install python3-pip)"))?;
    write(&stamp, ZIG_REQUIREMENTS.as_bytes())?;
    Ok(zig)
}

/// The Rust target of the guest.
pub fn wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-wasip2";
    let sysroot =
        output(program(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["--print", "sysroot"]))?;
    if PathBuf::from(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    say("adding the Rust target wasm32-wasip2");
    run(program("rustup", &["target", "add", TARGET]))
        .map_err(|error| format!("{error}; install the target {TARGET} of your Rust toolchain"))
}

/// Installs Debian packages whose file is not there; without root it says which are missing.
pub fn packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(_, file)| !PathBuf::from(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !exists("apt-get") {
        return Err(format!("the tests need these programs: {names}"));
    }
    if !output(program("id", &["-u"]))?.trim().eq("0") {
        return Err(format!(
            "the tests need Debian packages that are missing; run: sudo apt-get install {names}"
        ));
    }
    say(&format!("installing Debian packages: {names}"));
    let mut update = program("apt-get", &["-qq", "update"]);
    update.env("DEBIAN_FRONTEND", "noninteractive");
    run(update)?;
    let mut install = program("apt-get", &["-qq", "-y", "--no-install-recommends", "install"]);
    // Servers are started by the tests, not by the installation.
    let policy = target().join("tools/policy-rc.d");
    write(&policy, b"#!/bin/sh\nexit 101\n")?;
    install
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdout(std::process::Stdio::null());
    run(install)
}

/// The folder of a crate that `cargo fetch` brought.
pub fn crate_folder(name: &str) -> Result<PathBuf> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--locked"]);
    command.current_dir(root());
    let metadata = output(command)?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| format!("the crate {name} is not among the dependencies"))?;
    PathBuf::from(manifest).parent().map(PathBuf::from).ok_or_else(|| format!("{manifest} has no folder"))
}
