//! The Lua guest: patched sources, component, snapshot, machine code.

use crate::setup;
use crate::shell::{Result, cargo, read, root, run, say, target, write};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a cargo command on the guest is told.
pub const PACKAGE: [&str; 8] =
    ["--quiet", "--locked", "--package", "guest-lua", "--target", "wasm32-wasip2", "--profile", "guest"];

/// Where the patched sources of Lua are.
pub fn patched_directory() -> PathBuf {
    target().join("guest/lua")
}

/// Where the sources of Lua are as they are released.
pub fn stock_directory() -> Result<PathBuf> {
    Ok(setup::crate_directory("lua-src")?.join("lua-5.5.1"))
}

/// What a cargo command for the guest needs: the C compiler and the sources of Lua.
pub fn environment(command: &mut Command) -> Result<()> {
    let toolchain = root().join("guest-lua/toolchain");
    command
        .env("ASSAY_ZIG", setup::compiler()?)
        .env("ASSAY_LUA_DIR", patched_directory())
        .env("CC_wasm32_wasip2", toolchain.join("zigcc"))
        .env("AR_wasm32_wasip2", toolchain.join("zigar"));
    Ok(())
}

/// Brings `target/guest/guest.cwasm` up to date.
pub fn build() -> Result<u8> {
    setup::compiler()?;
    setup::wasm_target()?;
    patched_lua(&patched_directory())?;

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

/// A patch of the series, by its name: `0004-budget`.
struct Patch {
    name: String,
    text: String,
}

/// The series in `guest-lua/patches`, in the order in which it is applied.
fn series() -> Result<Vec<Patch>> {
    let directory = root().join("guest-lua/patches");
    let entries =
        fs::read_dir(&directory).map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| Ok(Patch { name: name(path), text: read(path)? })).collect()
}

/// The files of Lua by name, as they are released.
fn stock() -> Result<BTreeMap<String, String>> {
    let directory = stock_directory()?;
    let entries =
        fs::read_dir(&directory).map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    entries.flatten().map(|entry| Ok((name(&entry.path()), read(&entry.path())?))).collect()
}

/// Applies `patch` to the files that it names.
fn apply(patch: &Patch, files: &mut BTreeMap<String, String>) -> Result<()> {
    let of = &patch.name;
    for part in split_patch(&patch.text) {
        let parsed = diffy::Patch::from_str(part).map_err(|error| format!("the patch {of}: {error}"))?;
        let name = parsed.modified().and_then(|name| name.rsplit('/').next()).unwrap_or_default().trim();
        let text = files
            .get_mut(name)
            .ok_or_else(|| format!("the patch {of} names {name}, which Lua does not have"))?;
        *text = diffy::apply(text, &parsed)
            .map_err(|error| format!("the patch {of} does not apply to {name}: {error}"))?;
    }
    Ok(())
}

/// Writes the files that are not in `directory` as they are here.
fn write_all(directory: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    files.iter().try_for_each(|(name, text)| write(&directory.join(name), text.as_bytes()).map(drop))
}

/// The sources of Lua with the whole series applied.
fn patched_lua(directory: &Path) -> Result<()> {
    let mut files = stock()?;
    series()?.iter().try_for_each(|patch| apply(patch, &mut files))?;
    write_all(directory, &files)
}

/// The sources of Lua after each patch of the series: a directory in `directory` for each, with its name.
pub fn prefixes(directory: &Path) -> Result<()> {
    // What is left of another series would be tested too.
    if directory.exists() {
        fs::remove_dir_all(directory)
            .map_err(|error| format!("cannot remove {}: {error}", directory.display()))?;
    }
    let mut files = stock()?;
    for patch in series()? {
        apply(&patch, &mut files)?;
        write_all(&directory.join(&patch.name), &files)?;
    }
    Ok(())
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
