//! The Lua guest: patched sources, component, snapshot, machine code.

use crate::setup;
use crate::shell::{Result, cargo, read, root, run, say, target, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a cargo command on the guest is told.
pub const PACKAGE: [&str; 8] =
    ["--quiet", "--locked", "--package", "guest-lua", "--target", "wasm32-wasip2", "--profile", "guest"];

/// Where the patched sources of Lua are.
pub fn patched_folder() -> PathBuf {
    target().join("guest/lua")
}

/// Where the sources of Lua are as they are released.
pub fn stock_folder() -> Result<PathBuf> {
    Ok(setup::crate_folder("lua-src")?.join("lua-5.5.1"))
}

/// What a cargo command for the guest needs: the C compiler and the sources of Lua.
pub fn environment(command: &mut Command) -> Result<()> {
    let toolchain = root().join("guest-lua/toolchain");
    command
        .env("ASSAY_ZIG", setup::compiler()?)
        .env("ASSAY_LUA_DIR", patched_folder())
        .env("CC_wasm32_wasip2", toolchain.join("zigcc"))
        .env("AR_wasm32_wasip2", toolchain.join("zigar"));
    Ok(())
}

/// Brings `target/guest/guest.cwasm` up to date.
pub fn build() -> Result<u8> {
    setup::compiler()?;
    setup::wasm_target()?;
    patched_lua(&patched_folder())?;

    say("building the guest");
    let mut build = cargo(&["build"]);
    build.args(PACKAGE);
    environment(&mut build)?;
    run(build)?;
    let compiler = cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "assay-wasm",
        "--features",
        "compile",
        "--bin",
        "assay-precompile",
    ]);
    run(compiler)?;

    let component = target().join("wasm32-wasip2/guest/guest_lua.wasm");
    let precompile = target().join("debug/assay-precompile");
    let code = target().join("guest/guest.cwasm");
    if is_newer(&code, &[&component, &precompile]) {
        return Ok(0);
    }
    say("compiling the guest ahead of time");
    let mut command = Command::new(precompile);
    command.arg(component).arg(&code);
    run(command)?;
    Ok(0)
}

fn is_newer(made: &Path, from: &[&Path]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(made) = time(made) else { return false };
    from.iter().all(|path| time(path).is_some_and(|time| time <= made))
}

/// The sources of Lua from the crate `lua-src`, with `guest-lua/lua.patch` applied. Only files that change are
/// written.
fn patched_lua(folder: &Path) -> Result<()> {
    let sources = stock_folder()?;
    let patch = read(&root().join("guest-lua/lua.patch"))?;
    let entries =
        fs::read_dir(&sources).map_err(|error| format!("cannot read {}: {error}", sources.display()))?;
    let mut patches = std::collections::BTreeMap::new();
    for part in split_patch(&patch) {
        let parsed = diffy::Patch::from_str(part).map_err(|error| format!("guest-lua/lua.patch: {error}"))?;
        let name =
            parsed.modified().and_then(|name| name.rsplit('/').next()).unwrap_or_default().trim().to_string();
        patches.insert(name, parsed);
    }
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut text = read(&entry.path())?;
        if let Some(patch) = patches.remove(&name) {
            text = diffy::apply(&text, &patch)
                .map_err(|error| format!("guest-lua/lua.patch does not apply to {name}: {error}"))?;
        }
        write(&folder.join(name), text.as_bytes())?;
    }
    match patches.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("guest-lua/lua.patch names {name}, which Lua does not have")),
    }
}

/// The parts of a patch, one a file.
fn split_patch(patch: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = patch.match_indices("\n--- ").map(|(at, _)| at + 1).collect();
    if patch.starts_with("--- ") {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain(std::iter::once(patch.len()));
    starts.iter().zip(ends).map(|(start, end)| without_headers(&patch[*start..end])).collect()
}

/// Without the `diff` line of the next file, which is no part of a hunk.
fn without_headers(part: &str) -> &str {
    match part.find("\ndiff ") {
        Some(at) => &part[..=at],
        None => part,
    }
}
