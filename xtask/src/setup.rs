//! What the project needs beyond Rust. Each step looks first whether it is done.

use crate::shell::{Result, cargo, exists, output, program, read, root, run, say, target, write};
use std::path::PathBuf;
use std::process::Command;

/// The wheel of the C compiler, with the digests of the platforms that the project builds on.
const ZIG_REQUIREMENTS: &str = include_str!("../zig-requirements.txt");

/// The wheels that the servers of the tests import, with their digests.
const TEST_REQUIREMENTS: &str = include_str!("../test-requirements.txt");

/// Debian's Python, which the tests run; a user's own may be first on `PATH`.
const PYTHON: &str = "/usr/bin/python3";

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
    ("perl", "/usr/bin/perl"),
    ("python3", PYTHON),
    ("systemd", "/lib/systemd/systemd"),
    ("systemd-container", "/usr/bin/systemd-nspawn"),
    ("xz-utils", "/usr/bin/xz"),
    ("zstd", "/usr/bin/zstd"),
    ("pgbouncer", "/usr/sbin/pgbouncer"),
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
    test_wheels()?;
    say("set up");
    Ok(0)
}

/// The zig executable, fetched if it is not there.
pub fn compiler() -> Result<PathBuf> {
    let what = "the C compiler of the guest (PyPI wheel ziglang, 100 MB)";
    Ok(wheels("zig", ZIG_REQUIREMENTS, what)?.join("ziglang/zig"))
}

/// What the servers of the tests import.
fn test_wheels() -> Result<()> {
    wheels("python", TEST_REQUIREMENTS, "what the servers of the tests import (PyPI wheel websockets)")
        .map(drop)
}

/// The directory `target/tools/NAME` with the wheels of a requirements file, fetched if they are not there.
fn wheels(name: &str, requirements: &str, what: &str) -> Result<PathBuf> {
    let directory = target().join("tools").join(name);
    let stamp = directory.join("requirements.txt");
    if read(&stamp).is_ok_and(|text| text == requirements) {
        return Ok(directory);
    }
    say(&format!("fetching {what}"));
    // An interrupted installation is started again.
    let _ = std::fs::remove_dir_all(&directory);
    let list = target().join(format!("tools/{name}-requirements.txt"));
    write(&list, requirements.as_bytes())?;
    run(pip_install(&directory.display().to_string(), &list.display().to_string())).map_err(|error| {
        format!("{error}; it needs python3 with pip (Debian: apt-get install python3-pip)")
    })?;
    write(&stamp, requirements.as_bytes())?;
    Ok(directory)
}

/// Debian's pip where it is installed, else the one of the Python on `PATH`; the wheels are the same. Settings of the
/// user count for how PyPI is reached, not for what is installed where.
fn pip_install(directory: &str, requirements: &str) -> Command {
    let debian = PathBuf::from("/usr/lib/python3/dist-packages/pip").is_dir();
    let mut pip =
        program(if debian { PYTHON } else { "python3" }, &["-I", "-m", "pip", "install", "--quiet"]);
    pip.args(["--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]);
    pip.args(["--target", directory, "-r", requirements]);
    pip.env("PIP_USER", "0").env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_ROOT_USER_ACTION", "ignore");
    for name in ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_NO_BINARY"]
    {
        pip.env_remove(name);
    }
    pip
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

/// The directory of a crate that `cargo fetch` brought.
pub fn crate_directory(name: &str) -> Result<PathBuf> {
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
    PathBuf::from(manifest).parent().map(PathBuf::from).ok_or_else(|| format!("{manifest} has no directory"))
}
