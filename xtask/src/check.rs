//! Building the executable, running it, and every check and test.

use crate::shell::{self, Result, cargo, exists, say, target};
use crate::{codegen, guest, setup};
use std::path::PathBuf;
use std::process::Command;

/// Builds the executable for development and tests.
fn executable() -> Result<PathBuf> {
    guest::build()?;
    say("building assay");
    shell::run(cargo(&["build", "--quiet", "--locked", "--package", "assay"]))?;
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
    let mut clippy = cargo(&[
        "clippy",
        "--quiet",
        "--locked",
        "--package",
        "guest-lua",
        "--target",
        "wasm32-wasip2",
        "--profile",
        "guest",
        "--",
        "-D",
        "warnings",
    ]);
    guest::environment(&mut clippy)?;
    shell::run(clippy)
}

/// The tests of the patch to the Lua VM itself, where there is a native C compiler.
fn lua_patch() -> Result<()> {
    let script = crate::shell::root().join("guest-lua/lua-patch-test/run.sh");
    if !script.is_file() || !exists("gcc") {
        return Ok(());
    }
    say("the patched Lua against the unpatched");
    let mut command = Command::new(script);
    command
        .arg(guest::patched_folder())
        .arg(guest::stock_folder()?)
        .arg(target().join("guest/lua-patch-test"));
    shell::run(command)
}

/// The benchmarks.
pub fn bench(names: &[&str]) -> Result<u8> {
    setup::packages(setup::BENCH_PACKAGES)?;
    let assay = crate::dist::executable()?;
    let mut command =
        cargo(&["run", "--quiet", "--release", "--manifest-path", "benches/native/Cargo.toml", "--"]);
    command.args(names).env("ASSAY_BIN", assay);
    shell::run(command)?;
    Ok(0)
}
