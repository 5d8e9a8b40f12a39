//! From the command line to a script with all that it takes to run it.

use crate::args::{RunOptions, Script};
use crate::output::Standard;
use crate::{grants, outputs, usage, words};
use anyhow::{Context, Result, bail};
use assay_capability_api::scope::shell_word;
use assay_capability_api::{Access, Ambient, Audit, Budget, Run, RunState, Services};
use assay_capability_log::{LogSink, Tracing};
use assay_capability_modules::{Directories, Directory};
use assay_capability_stdio::Input as Stdin;
use assay_runner::{Input, RunSpec, Script as Source};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lua's own default as far as it makes sense without an installation; files are read through the grants of `fs`.
const PACKAGE_PATH: &str = "./?.lua;./?/init.lua";

/// A script and all that it takes to run it.
pub(crate) struct Prepared {
    pub(crate) script: Source,
    pub(crate) input: Input,
    pub(crate) spec: RunSpec,
}

/// Reads what the command line names. `beside` is whether the modules of a file lie beside it.
pub(crate) fn read(script: &Script, options: &RunOptions, beside: bool) -> Result<Prepared> {
    // Not its absolute path, which scripts would see in messages of require.
    let here = PathBuf::from(".");
    let (source, project) = match (&script.code, &script.file) {
        (Some(code), _) => (Source::named("=(command line)", "-e", code.as_bytes()), here),
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut source = Vec::new();
            std::io::stdin().lock().read_to_end(&mut source).context("standard input cannot be read")?;
            (Source::named("=stdin", "-", source), here)
        }
        (None, Some(path)) => {
            if beside {
                refuse_other_files(path)?;
            }
            (read_script(path)?, if beside { directory_of(path) } else { here })
        }
        (None, None) => return Err(usage("nothing to run; give a file, - for standard input, or -e CODE")),
    };
    if let Some(word) = words::misplaced(&script.args, source.source().starts_with(b"#!")) {
        tracing::warn!(
            "{word} stands behind the script, so it is an argument of the script; flags of assay stand before \
             it, and a -- before the script's arguments says that this is meant"
        );
    }
    let arguments = strip_separator(&script.args).into_iter().map(OsStringExt::into_vec).collect();
    prepare(source, Input::Arguments(arguments), &project, options)
}

/// What would give only a syntax error.
fn refuse_other_files(path: &Path) -> Result<()> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => Err(usage(format!(
            "{}: YAML files of checks are not supported by this version; write the checks as a .lua script",
            path.display()
        ))),
        Some("lua") | None => Ok(()),
        Some(other) => bail!("{}: a script ends in .lua, not in .{other}", path.display()),
    }
}

fn strip_separator(args: &[OsString]) -> Vec<OsString> {
    match args.split_first() {
        Some((first, rest)) if first == "--" => rest.to_vec(),
        _ => args.to_vec(),
    }
}

/// The script in a file.
pub(crate) fn read_script(path: &Path) -> Result<Source> {
    let source =
        std::fs::read(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(Source::new(&path.display().to_string(), source))
}

/// The directory that the project's modules lie beside.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Where `require` looks, for a script in `project`.
pub(crate) fn module_directories(project: &Path, local: bool) -> Directories {
    if !local {
        return Directories::default();
    }
    let global = match std::env::var_os("ASSAY_MODULES_PATH") {
        Some(path) if !path.is_empty() => Some((PathBuf::from(path), "$ASSAY_MODULES_PATH")),
        _ => {
            std::env::var_os("HOME").map(|home| (Path::new(&home).join(".assay/modules"), "~/.assay/modules"))
        }
    };
    let project = project.join("modules");
    let shown = project.display().to_string();
    Directories {
        project: Some(Directory::open(project, shown)),
        global: global.map(|(path, shown)| Directory::open(path, shown.into())),
    }
}

/// Puts everything together for one script: what it is given of this process is decided here.
pub(crate) fn prepare(
    script: Source,
    input: Input,
    project: &Path,
    options: &RunOptions,
) -> Result<Prepared> {
    let (granted, limits) = grants::assemble(&options.grants, &options.limits)?;
    let variables = options.grants.env.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(usage(format!("--env {pair}: write NAME=VALUE"))),
    });
    let variables = variables.collect::<Result<Vec<_>>>()?;
    let mut shared = RunState {
        budget: Budget::new(limits.host_memory()),
        limits,
        compat: std::env::var_os("ASSAY_COMPAT").is_some_and(|value| value == "1"),
        identity: script.identity(None),
        ambient: Ambient::inherited().into(),
        learned: options.grants.learn.as_ref().map(|_| Default::default()),
        ..RunState::new(granted, std::env::current_dir().context("the working directory cannot be found")?)
    };
    if let Some(asker) = grants::asker(&options.grants)? {
        shared.grants.ask(asker);
    }
    let mut run = Run::from(shared);
    if let Some(path) = &options.grants.audit {
        let file = outputs::open(&run, path, true)?;
        file.withhold(&run, &outputs::writes("--audit"));
        let audit = Audit::to_file(file.into_file());
        let settings =
            run.settings().context("the run has begun before its audit, which is a bug of Assay")?;
        settings.audit = audit;
    }
    grants::withhold_manifest(&options.grants, &run)?;
    warn_of_writable_programs(&run);
    let blocked = grants::variable("ASSAY_BLOCK_GLOBALS")?.unwrap_or_default();
    let mut services = Services::default();
    services.offer::<dyn LogSink>(Arc::new(Tracing));
    let spec = RunSpec {
        variables,
        stdin: Stdin::process(),
        modules: module_directories(project, !options.no_local_modules),
        package_path: if options.no_local_modules { String::new() } else { PACKAGE_PATH.into() },
        blocked_globals: names(&blocked),
        full_tracebacks: tracing::enabled!(tracing::Level::DEBUG),
        output: Arc::new(|| Box::new(Standard::new())),
        services,
        ..RunSpec::new(run)
    };
    Ok(Prepared { script, input, spec })
}

/// Names with commas between them.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect()
}

/// A program that the script may write is any program.
fn warn_of_writable_programs(run: &Run) {
    let mut told = BTreeSet::new();
    for (file, rule) in run.grants.programs("process") {
        if assay_capability_fs::would_allow(run, Access::Write, file) && told.insert(rule) {
            tracing::warn!(
                "{rule} grants a program that the script may write, {}: it can run whatever it likes; take that back with \
                 {}",
                file.display(),
                shell_word(&format!("--deny=fs=write:{}", file.display()))
            );
        }
    }
}
