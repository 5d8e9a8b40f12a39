//! `assay run`, `assay exec`, and what they share with the others that run scripts.

use crate::args::{Common, Exec, Mode, Run as RunArgs, RunOptions};
use crate::output::Sink;
use crate::replicas::Replicas;
use crate::{grants, logging, report, tool, usage};
use anyhow::{Context, Result};
use assay_capability_api::{Audit, Ctx, Identity, Limit, Limits, ReplicasPort, Run, Shutdown, Stop};
use assay_capability_env::Environment;
use assay_capability_modules::Folders;
use assay_capability_stdio::Input;
use assay_runtime::{Console, Ended, Job, Outcome, Runtime};
use sha2::{Digest, Sha256};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// Lua's own default as far as it makes sense without an installation; files are read through the grants of `fs`.
const PACKAGE_PATH: &str = "./?.lua;./?/init.lua";

const EXIT_TIMEOUT: u8 = 124;
const EXIT_LIMIT: u8 = 137;
const EXIT_SIGNAL_BASE: i32 = 128;

/// A script and all that it takes to run it.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) job: Job,
    pub(crate) run: Arc<Run>,
    pub(crate) setup: Setup,
    pub(crate) sink: Sink,
}

/// What capabilities keep in the run's data.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) folders: Folders,
    pub(crate) input: Input,
    pub(crate) env: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn apply(self, ctx: &mut Ctx) {
        ctx.set_state(self.folders);
        ctx.set_state(self.input);
        if !self.env.is_empty() {
            ctx.set_state(Environment::new(std::env::vars_os(), self.env));
        }
    }
}

/// `assay run FILE`.
pub(crate) fn file(args: &RunArgs, _: &Common) -> Result<u8> {
    let path = &args.file;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => {
            return Err(usage(format!(
                "{}: YAML files of checks are not supported by this version; write the checks as a .lua script",
                path.display()
            )));
        }
        Some("lua") | None => {}
        Some(other) => {
            eprintln!("assay: {}: a script ends in .lua, not in .{other}", path.display());
            return Ok(1);
        }
    }
    let (source, name) = read_script(path)?;
    let args_of_script = strip_separator(&args.args);
    let arg0 = path.display().to_string();
    let prepared = prepare(source, name, arg0, args_of_script, &folder_of(path), &args.options)?;
    match args.mode {
        Mode::Script => execute(prepared, &args.options),
        Mode::Tool => tool::run(prepared, &args.options),
    }
}

/// `assay exec -e CODE`, `assay exec FILE`, `assay exec -`.
pub(crate) fn exec(args: &Exec, _: &Common) -> Result<u8> {
    let here = std::env::current_dir().context("the working folder cannot be found")?;
    let run = |source, name, arg0, rest: &[OsString]| {
        let prepared = prepare(source, name, arg0, strip_separator(rest), &here, &args.options)?;
        execute(prepared, &args.options)
    };
    if let Some(code) = &args.code {
        return run(code.clone().into_bytes(), "=(command line)".into(), "-e".into(), &args.rest);
    }
    let Some((first, rest)) = args.rest.split_first() else {
        return Err(usage("nothing to run; give -e CODE, a file, or - for standard input"));
    };
    if first == "-" {
        let mut source = Vec::new();
        std::io::stdin().lock().read_to_end(&mut source).context("standard input cannot be read")?;
        return run(source, "=stdin".into(), "-".into(), rest);
    }
    let path = Path::new(first);
    let (source, name) = read_script(path)?;
    run(source, name, path.display().to_string(), rest)
}

fn strip_separator(args: &[OsString]) -> Vec<OsString> {
    match args.split_first() {
        Some((first, rest)) if first == "--" => rest.to_vec(),
        _ => args.to_vec(),
    }
}

/// Source and chunk name of a script's file.
pub(crate) fn read_script(path: &Path) -> Result<(Vec<u8>, String)> {
    let source =
        std::fs::read(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    Ok((source, format!("@{}", path.display())))
}

/// The folder that the project's modules lie beside.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Where `require` looks, for a script in `project`.
pub(crate) fn module_folders(project: &Path, local: bool) -> Folders {
    if !local {
        return Folders::default();
    }
    let global = match std::env::var_os("ASSAY_MODULES_PATH") {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => std::env::var_os("HOME").map(|home| Path::new(&home).join(".assay/modules")),
    };
    Folders { project: Some(project.join("modules")), global }
}

/// Puts everything together for one script.
pub(crate) fn prepare(
    source: Vec<u8>,
    name: String,
    arg0: String,
    args: Vec<OsString>,
    project: &Path,
    options: &RunOptions,
) -> Result<Prepared> {
    let (granted, limits) = grants::assemble(&options.grants, &options.limits)?;
    let audit = match &options.grants.audit {
        None => Audit::default(),
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            Audit::to_file(file.map_err(|error| usage(format!("cannot write {}: {error}", path.display())))?)
        }
    };
    let env = options.grants.env.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(usage(format!("--env {pair}: write NAME=VALUE"))),
    });
    let env = env.collect::<Result<Vec<_>>>()?;
    let hash = Sha256::digest(&source).iter().map(|byte| format!("{byte:02x}")).collect();
    let run = Run {
        grants: granted,
        limits,
        usage: Default::default(),
        audit,
        identity: Identity { tenant: None, script: arg0.clone(), script_hash: hash },
        working_folder: std::env::current_dir().context("the working folder cannot be found")?,
        started: Instant::now(),
        signal: Arc::default(),
        learned: options.grants.learn.as_ref().map(|_| Default::default()),
    };
    let package_path = if options.no_local_modules { String::new() } else { PACKAGE_PATH.into() };
    let blocked = std::env::var("ASSAY_BLOCK_GLOBALS").unwrap_or_default();
    let blocked_globals =
        blocked.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    let job = Job {
        name,
        source,
        arg0,
        args: args.into_iter().map(OsStringExt::into_vec).collect(),
        package_path,
        blocked_globals,
    };
    let input = Input::process();
    let setup = Setup { input, folders: module_folders(project, !options.no_local_modules), env };
    Ok(Prepared { job, run: Arc::new(run), setup, sink: Sink::Standard })
}

fn execute(prepared: Prepared, options: &RunOptions) -> Result<u8> {
    let run = prepared.run.clone();
    let host = Host::new()?;
    let outcome = host.run(prepared, None)?;
    host.leave();
    Ok(conclude(&run, &outcome, options))
}

/// What runs scripts in this process, one at a time.
pub(crate) struct Host {
    runtime: Runtime,
    reactor: tokio::runtime::Runtime,
}

impl Host {
    pub(crate) fn new() -> Result<Host> {
        let runtime = Runtime::new(1).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let reactor =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        Ok(Host { runtime, reactor })
    }

    /// Runs a script to its end, or until a signal ends it.
    pub(crate) fn run(&self, prepared: Prepared, console: Option<Arc<dyn Console>>) -> Result<Outcome> {
        let run = prepared.run.clone();
        let late = Arc::new(Notify::new());
        let shutdown = watched_shutdown(&run, &late);
        watch_signals(&run, &shutdown)?;
        let replicas = Replicas::new(self.runtime.clone(), prepared.clone(), shutdown.clone());
        let Prepared { job, setup, sink, .. } = prepared;
        let outcome = self.reactor.block_on(async {
            // Listening begins before the script does: a signal in between must not be lost.
            let signals = signalled();
            let output = sink.open();
            let prepare = |ctx: &mut Ctx| {
                setup.apply(ctx);
                ctx.set_state(shutdown.clone());
                ctx.set_state(ReplicasPort(Some(replicas.port())));
            };
            let work = self.runtime.run(job, run.clone(), output, prepare, console);
            tokio::select! {
                outcome = work => outcome,
                outcome = replicas.outcome() => outcome,
                signal = ended_by(signals, &shutdown, &late) => {
                    Outcome { ended: Ended::Stopped(Stop::Signal(signal)), assertions: 0 }
                }
            }
        });
        replicas.join();
        Ok(outcome)
    }

    /// Blocking work that a script left behind (a read of stdin) must not hold the process.
    pub(crate) fn leave(self) {
        self.reactor.shutdown_background();
    }
}

/// The first SIGINT or SIGTERM is a flag that the run's ticks look at, the second ends the process.
fn watch_signals(run: &Arc<Run>, shutdown: &Shutdown) -> Result<()> {
    let seen = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let (pending, seen, shutdown) = (run.signal.clone(), seen.clone(), shutdown.clone());
        let on_signal = move || {
            if seen.fetch_add(1, Ordering::Relaxed) > 0 {
                signal_hook::low_level::exit(EXIT_SIGNAL_BASE + signal);
            }
            if !shutdown.is_held() {
                pending.store(signal.unsigned_abs(), Ordering::Relaxed);
            }
        };
        // SAFETY: the handler touches atomics and calls _exit, both async-signal-safe.
        unsafe { signal_hook::low_level::register(signal, on_signal) }
            .context("signals cannot be watched")?;
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM from now on, for a run that waits itself.
fn signalled() -> impl Future<Output = i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let streams = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = streams else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => signal_hook::consts::SIGINT,
            _ = terminate.recv() => signal_hook::consts::SIGTERM,
        }
    }
}

/// The signal that ends the run: the first, or, where the script serves, the end of its grace.
async fn ended_by(signals: impl Future<Output = i32>, shutdown: &Shutdown, late: &Notify) -> i32 {
    let signal = signals.await;
    if shutdown.is_held() {
        late.notified().await;
    }
    signal
}

/// What asks a script that serves to end. A thread of its own watches, because the script may compute when the
/// signal comes; after the grace it ends the run, whatever the script does.
fn watched_shutdown(run: &Arc<Run>, late: &Arc<Notify>) -> Shutdown {
    let (pending, late) = (run.signal.clone(), late.clone());
    Shutdown::watched(move |shutdown| {
        let shutdown = shutdown.clone();
        let signals = Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]);
        let watch = move || {
            let Some(signal) = signals.ok().and_then(|mut signals| signals.forever().next()) else { return };
            shutdown.request();
            std::thread::sleep(shutdown.grace());
            pending.store(signal.unsigned_abs(), Ordering::Relaxed);
            late.notify_one();
        };
        if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(watch) {
            tracing::error!(%error, "no thread to watch signals; the script cannot end in good order");
        }
    })
}

/// Tells how a run ended: messages on stderr, reports, the exit code.
pub(crate) fn conclude(run: &Run, outcome: &Outcome, options: &RunOptions) -> u8 {
    let (code, ended) = verdict(outcome);
    if let Some(message) = explain(outcome, &run.limits) {
        eprint!("{message}");
    }
    if let Some(format) = options.report {
        let text = report::report(run, format, code, &ended, outcome.assertions);
        match &options.report_file {
            None => eprint!("{text}"),
            Some(path) => {
                if let Err(error) = std::fs::write(path, text) {
                    eprintln!("assay: cannot write {}: {error}", path.display());
                }
            }
        }
    }
    if let (Some(path), Some(learned)) = (&options.grants.learn, &run.learned) {
        let learned = learned.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(error) = std::fs::write(path, assay_manifest::write(&learned)) {
            eprintln!("assay: cannot write {}: {error}", path.display());
        }
    }
    code
}

/// The exit code, and a word for how the run ended.
pub(crate) fn verdict(outcome: &Outcome) -> (u8, String) {
    match &outcome.ended {
        Ended::Returned(_) => (0, "returned".into()),
        Ended::Failed(failure) if failure.memory => (EXIT_LIMIT, "memory".into()),
        Ended::Failed(_) => (1, "error".into()),
        // As the operating system does with exit codes.
        Ended::Stopped(Stop::Exit(code)) => ((code & 0xff) as u8, "exit".into()),
        Ended::Stopped(Stop::Limit(Limit::Timeout)) => (EXIT_TIMEOUT, "timeout".into()),
        Ended::Stopped(Stop::Limit(limit)) => (EXIT_LIMIT, limit.name().into()),
        Ended::Stopped(Stop::Signal(signal)) => {
            (u8::try_from(EXIT_SIGNAL_BASE + signal).unwrap_or(EXIT_LIMIT), format!("signal {signal}"))
        }
        Ended::Broken(_) => (1, "broken".into()),
    }
}

/// What a person is told about a run that did not end well.
pub(crate) fn explain(outcome: &Outcome, limits: &Limits) -> Option<String> {
    let (bold, plain) = if logging::colours() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut text = format!("{bold}assay:{plain} {}\n", problem(outcome, limits)?);
    if let Ended::Failed(failure) = &outcome.ended
        && !failure.traceback.is_empty()
    {
        text.push_str(&failure.traceback);
        text.push('\n');
    }
    Some(text)
}

/// Why a run did not end well, where it did not end by the script's own decision or a signal.
pub(crate) fn problem(outcome: &Outcome, limits: &Limits) -> Option<String> {
    Some(match &outcome.ended {
        Ended::Returned(_) | Ended::Stopped(Stop::Exit(_) | Stop::Signal(_)) => return None,
        Ended::Failed(failure) => failure.message.clone(),
        Ended::Stopped(Stop::Limit(limit)) => {
            let (allowed, flag) = match limit {
                Limit::Timeout => (limits.timeout.map(|time| format!("{} s", time.as_secs_f64())), "timeout"),
                Limit::Cpu => (limits.cpu.map(|time| format!("{} s of CPU", time.as_secs_f64())), "cpu"),
                Limit::Memory => (Some(format!("{:.0} MiB", limits.memory as f64 / 1048576.0)), "memory"),
                other => (None, other.name()),
            };
            let allowed = allowed.map(|allowed| format!(" of {allowed}")).unwrap_or_default();
            format!("stopped: the {flag} limit{allowed} was reached; raise it with --{flag}")
        }
        Ended::Broken(error) => {
            format!("the sandbox broke down, which is a bug of Assay; please report it: {error:?}")
        }
    })
}
