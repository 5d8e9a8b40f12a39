//! Building the executable, running it, and every check and test.

use crate::shell::{self, Result, cargo, exists, say, target};
use crate::{codegen, guest, setup};
use std::path::PathBuf;
use std::process::Command;

/// Builds the executable for development and tests.
fn executable() -> Result<PathBuf> {
    guest::build()?;
    say("building assay");
    // The whole workspace is selected, so that this and the tests share one set of features and builds.
    shell::run(cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--exclude",
        "guest-lua",
        "--bin",
        "assay",
    ]))?;
    Ok(target().join("debug/assay"))
}

/// `cargo xtask run ARGS...` is `assay run ARGS...`.
pub fn run(args: &[&str]) -> Result<u8> {
    let assay = executable()?;
    let status = Command::new(&assay)
        .arg("run")
        .args(args)
        .status()
        .map_err(|error| format!("cannot run {}: {error}", assay.display()))?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

/// Every check and test, or the tests whose name contains the filter.
pub fn test(filter: &[&str]) -> Result<u8> {
    setup::all()?;
    let assay = executable()?;
    if filter.is_empty() {
        say("formatting");
        shell::run(cargo(&["fmt", "--all", "--check"]))?;
        say("generated files");
        codegen::check()?;
        say("clippy");
        shell::run(cargo(&[
            "clippy",
            "--quiet",
            "--locked",
            "--workspace",
            "--exclude",
            "guest-lua",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))?;
        clippy_guest()?;
        native()?;
        lua_patch()?;
    }
    say("tests");
    let nextest = exists("cargo-nextest");
    let mut command = if nextest {
        cargo(&["nextest", "run", "--locked", "--workspace", "--exclude", "guest-lua", "--no-fail-fast"])
    } else {
        cargo(&["test", "--locked", "--workspace", "--exclude", "guest-lua", "--no-fail-fast"])
    };
    command.args(filter).env("ASSAY_BIN", assay);
    shell::run(command)?;
    Ok(0)
}

fn clippy_guest() -> Result<()> {
    let mut clippy = cargo(&["clippy"]);
    clippy.args(guest::PACKAGE).args(["--", "-D", "warnings"]);
    guest::environment(&mut clippy)?;
    shell::run(clippy)
}

/// The native program of the benchmarks is a workspace of its own, and has files of the guest in it.
fn native() -> Result<()> {
    say("the native program of the benchmarks");
    let manifest = ["--manifest-path", "benches/native/Cargo.toml"];
    let mut check = cargo(&["check", "--quiet", "--locked"]);
    check.args(manifest).arg("--target-dir").arg(target().join("bench-native"));
    shell::run(check)
}

/// The tests of the patches to the Lua VM themselves, after each of them, with the native C compiler.
fn lua_patch() -> Result<()> {
    say("the patched Lua against the unpatched");
    let prefixes = target().join("guest/prefixes");
    guest::prefixes(&prefixes)?;
    let mut command = Command::new(shell::root().join("guest-lua/lua-patch-test/run.sh"));
    command.arg(guest::stock_directory()?).arg(prefixes);
    shell::run(command)
}

/// The benchmarks, of the executable as it is shipped; `--quick` and the names of groups are passed on.
pub fn bench(args: &[&str]) -> Result<u8> {
    setup::packages(setup::BENCH_PACKAGES)?;
    // `limits` has the servers of the tests.
    setup::all()?;
    guest::build()?;
    // One build, so that the measured runtime and the measured executable are the same code.
    say("building assay for shipping");
    shell::run(cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--profile",
        "dist",
        "--package",
        "assay",
        "--package",
        "assay-bench",
    ]))?;
    say("building the native program");
    let native = target().join("bench-native");
    let mut build =
        cargo(&["build", "--quiet", "--locked", "--release", "--manifest-path", "benches/native/Cargo.toml"]);
    build.arg("--target-dir").arg(&native);
    shell::run(build)?;
    let mut command = Command::new(target().join("dist/assay-bench"));
    command
        .args(args)
        .env("ASSAY_BIN", target().join("dist/assay"))
        .env("ASSAY_BENCH_NATIVE", native.join("release/assay-bench-native"));
    shell::run(command)?;
    Ok(0)
}
