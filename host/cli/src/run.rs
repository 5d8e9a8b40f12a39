//! `assay run`, `assay exec`, and what they share with the others that run scripts.

use crate::args::{Common, Exec, Mode, Run as RunArgs, RunOptions, Script};
use crate::output::Sink;
use crate::outputs::{self, Outputs};
use crate::replicas::Replicas;
use crate::{grants, logging, port, report, tool, usage, words};
use anyhow::{Context, Result, bail};
use assay_capability_api::scope::shell_word;
use assay_capability_api::{
    Access, Audit, Budget, Ctx, Identity, Limit, Limits, ReplicasPort, Run, Shared, Shutdown, Stop,
};
use assay_capability_env::Environment;
use assay_capability_modules::{Folder, Folders};
use assay_capability_stdio::Input;
use assay_runtime::{Console, Ended, Job, Late, Outcome, Runtime, Waker};
use sha2::{Digest, Sha256};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Lua's own default as far as it makes sense without an installation; files are read through the grants of `fs`.
const PACKAGE_PATH: &str = "./?.lua;./?/init.lua";

/// The audit file could not be written (sysexits.h, EX_IOERR).
const EXIT_IO: u8 = 74;
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

/// `assay run FILE`, `assay run -e CODE`, `assay run -`.
pub(crate) fn file(args: &RunArgs, _: &Common) -> Result<u8> {
    let prepared = read(&args.script, &args.options, true)?;
    match args.mode {
        Mode::Script => execute(prepared, &args.options),
        Mode::Tool => tool::run(prepared, &args.options),
    }
}

/// `assay exec -e CODE`, `assay exec FILE`, `assay exec -`: the same with the modules of the working folder.
pub(crate) fn exec(args: &Exec, _: &Common) -> Result<u8> {
    execute(read(&args.script, &args.options, false)?, &args.options)
}

/// Reads what the command line names. `beside` is whether the modules of a file lie beside it.
fn read(script: &Script, options: &RunOptions, beside: bool) -> Result<Prepared> {
    // Not its absolute path, which scripts would see in messages of require.
    let here = PathBuf::from(".");
    let (source, name, arg0, project) = match (&script.code, &script.file) {
        (Some(code), _) => (code.clone().into_bytes(), "=(command line)".into(), "-e".into(), here),
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut source = Vec::new();
            std::io::stdin().lock().read_to_end(&mut source).context("standard input cannot be read")?;
            (source, "=stdin".into(), "-".into(), here)
        }
        (None, Some(path)) => {
            if beside {
                refuse_other_files(path)?;
            }
            let (source, name) = read_script(path)?;
            (source, name, path.display().to_string(), if beside { folder_of(path) } else { here })
        }
        (None, None) => return Err(usage("nothing to run; give a file, - for standard input, or -e CODE")),
    };
    if let Some(word) = words::misplaced(&script.args, source.starts_with(b"#!")) {
        tracing::warn!(
            "{word} stands behind the script, so it is an argument of the script; flags of assay stand before \
             it, and a -- before the script's arguments says that this is meant"
        );
    }
    prepare(source, name, arg0, strip_separator(&script.args), &project, options)
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
        Some(path) if !path.is_empty() => Some((PathBuf::from(path), "$ASSAY_MODULES_PATH")),
        _ => {
            std::env::var_os("HOME").map(|home| (Path::new(&home).join(".assay/modules"), "~/.assay/modules"))
        }
    };
    let project = project.join("modules");
    let shown = project.display().to_string();
    Folders {
        project: Some(Folder::open(project, shown)),
        global: global.map(|(path, shown)| Folder::open(path, shown.into())),
    }
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
    let env = options.grants.env.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(usage(format!("--env {pair}: write NAME=VALUE"))),
    });
    let env = env.collect::<Result<Vec<_>>>()?;
    let hash = Sha256::digest(&source).iter().map(|byte| format!("{byte:02x}")).collect();
    let shared = Shared {
        budget: Budget::new(limits.host_memory()),
        limits,
        compat: std::env::var_os("ASSAY_COMPAT").is_some_and(|value| value == "1"),
        identity: Identity { tenant: None, script: arg0.clone(), script_hash: hash },
        learned: options.grants.learn.as_ref().map(|_| Default::default()),
        ..Shared::new(granted, std::env::current_dir().context("the working folder cannot be found")?)
    };
    let mut run = Run::from(shared);
    if let Some(path) = &options.grants.audit {
        let audit = Audit::to_file(outputs::open(&run, path, true)?.into_file());
        let settings =
            run.settings().context("the run has begun before its audit, which is a bug of Assay")?;
        settings.audit = audit;
    }
    warn_of_writable_programs(&run);
    let package_path = if options.no_local_modules { String::new() } else { PACKAGE_PATH.into() };
    let blocked = grants::variable("ASSAY_BLOCK_GLOBALS")?.unwrap_or_default();
    let blocked_globals =
        blocked.split(',').map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    let job = Job {
        name,
        source,
        arg0,
        args: args.into_iter().map(OsStringExt::into_vec).collect(),
        package_path,
        blocked_globals,
        check_only: false,
    };
    let input = Input::process();
    let setup = Setup { input, folders: module_folders(project, !options.no_local_modules), env };
    Ok(Prepared { job, run: Arc::new(run), setup, sink: Sink::Standard })
}

/// A program that the script may write is any program.
fn warn_of_writable_programs(run: &Run) {
    let mut told = BTreeSet::new();
    for (file, rule) in run.grants.programs() {
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

fn execute(prepared: Prepared, options: &RunOptions) -> Result<u8> {
    let run = prepared.run.clone();
    let outputs = Outputs::open(&run, options)?;
    let options = options.clone();
    let host = Host::new(move |run, outcome| Ok(conclude(run, outcome, &options, &outputs)))?;
    let outcome = host.run(prepared, None)?;
    host.conclude(&run, &outcome)
}

/// For work that is still under way on other threads when a run has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// For the last words of a run that had to end.
const PARTING: Duration = Duration::from_millis(100);

/// Tells how a run ended and gives the exit code; on another thread where its own does not come to it.
type Tell = dyn Fn(&Run, &Outcome) -> Result<u8> + Send + Sync;

/// What runs scripts in this process, one at a time.
pub(crate) struct Host {
    runtime: Runtime,
    reactor: tokio::runtime::Runtime,
    tell: Arc<Tell>,
}

impl Host {
    pub(crate) fn new(tell: impl Fn(&Run, &Outcome) -> Result<u8> + Send + Sync + 'static) -> Result<Host> {
        let runtime = Runtime::new(1).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let reactor =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let tell: Arc<Tell> = Arc::new(tell);
        let parting = tell.clone();
        runtime.on_overdue(Box::new(move |late| overdue(late, parting.clone())));
        Ok(Host { runtime, reactor, tell })
    }

    /// Runs a script to its end, or until a signal ends it.
    pub(crate) fn run(&self, prepared: Prepared, console: Option<Arc<dyn Console>>) -> Result<Outcome> {
        let run = prepared.run.clone();
        let waker = self.runtime.waker();
        let shutdown = watched_shutdown(&run, &waker);
        watch_signals(&run, &shutdown, &waker)?;
        let replicas = Replicas::new(self.runtime.clone(), prepared.clone(), shutdown.clone());
        let Prepared { job, setup, sink, .. } = prepared;
        let outcome = self.reactor.block_on(async {
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
            }
        });
        replicas.join();
        Ok(outcome)
    }

    /// Blocking work that a script left behind must not hold the process for long; what it made is removed when it ends.
    pub(crate) fn leave(self) {
        self.reactor.shutdown_timeout(PATIENCE);
    }

    /// Leaves, and tells how the last run ended.
    pub(crate) fn conclude(self, run: &Run, outcome: &Outcome) -> Result<u8> {
        let tell = self.tell.clone();
        self.leave();
        tell(run, outcome)
    }
}

/// The first SIGINT or SIGTERM is put into the run, where the watchdog finds it; the second ends the process.
fn watch_signals(run: &Arc<Run>, shutdown: &Shutdown, waker: &Waker) -> Result<()> {
    let seen = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let (pending, seen) = (run.signal.clone(), seen.clone());
        let (shutdown, waker) = (shutdown.clone(), waker.clone());
        let on_signal = move || {
            if seen.fetch_add(1, Ordering::Relaxed) > 0 {
                signal_hook::low_level::exit(EXIT_SIGNAL_BASE + signal);
            }
            if !shutdown.is_held() {
                pending.store(signal.unsigned_abs(), Ordering::Relaxed);
                waker.wake();
            }
        };
        // SAFETY: the handler touches atomics, writes to an eventfd and calls _exit, all async-signal-safe.
        unsafe { signal_hook::low_level::register(signal, on_signal) }
            .context("signals cannot be watched")?;
    }
    Ok(())
}

/// A host function holds up a run that had to end: the process ends instead, and tells the same.
fn overdue(mut late: Late, tell: Arc<Tell>) {
    let outcome = Outcome { ended: Ended::Stopped(late.why.clone()), assertions: 0, unwritten: None };
    let code = verdict(&outcome).0;
    let (sender, told) = mpsc::sync_channel(1);
    // What holds the run up may hold what is needed here too: a lock, a file system, a reader. So another thread tries,
    // and is not waited for.
    let parting = move || {
        late.flush();
        let code = tell(&late.run, &outcome).unwrap_or(code);
        // The process may be at its end already.
        let _ = sender.send(code);
    };
    let code = match std::thread::Builder::new().name("parting".into()).spawn(parting) {
        Ok(_) => told.recv_timeout(PARTING).unwrap_or(code),
        Err(_) => code,
    };
    signal_hook::low_level::exit(code.into());
}

/// What asks a script that serves to end. A thread of its own watches, because the script may compute when the
/// signal comes; after the grace it ends the run, whatever the script does.
fn watched_shutdown(run: &Arc<Run>, waker: &Waker) -> Shutdown {
    let (pending, waker) = (run.signal.clone(), waker.clone());
    Shutdown::watched(move |shutdown| {
        let shutdown = shutdown.clone();
        let signals = Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]);
        let watch = move || {
            let Some(signal) = signals.ok().and_then(|mut signals| signals.forever().next()) else { return };
            shutdown.request();
            std::thread::sleep(shutdown.grace());
            pending.store(signal.unsigned_abs(), Ordering::Relaxed);
            waker.wake();
        };
        if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(watch) {
            tracing::error!(%error, "no thread to watch signals; the script cannot end in good order");
        }
    })
}

/// Tells how a run ended: messages on stderr, reports, the exit code.
pub(crate) fn conclude(run: &Run, outcome: &Outcome, options: &RunOptions, outputs: &Outputs) -> u8 {
    let (mut code, ended) = verdict(outcome);
    if let Some(message) = explain(outcome, &run.limits) {
        crate::say(&message);
    }
    if let Some(format) = options.report {
        let text = report::report(run, format, code, &ended, outcome.assertions);
        match &outputs.report {
            None => crate::say(&text),
            Some(file) if outputs::write(file, text.as_bytes()) => {}
            Some(_) => code = code.max(1),
        }
    }
    if !outputs::write_learnt(outputs, run) {
        code = code.max(1);
    }
    // Its time is over, and so is that of who does not read its last words.
    if matches!(outcome.ended, Ended::Stopped(Stop::Limit(_) | Stop::Signal(_))) {
        port::stderr().part(PARTING);
        assay_capability_fs::remove_temp(run, PARTING);
    }
    code
}

/// The exit code, and a word for how the run ended.
pub(crate) fn verdict(outcome: &Outcome) -> (u8, String) {
    match &outcome.ended {
        Ended::Returned(_) if outcome.unwritten.is_some() => (1, "unwritten".into()),
        Ended::Returned(_) => (0, "returned".into()),
        Ended::Failed(failure) if failure.memory => (EXIT_LIMIT, "memory".into()),
        Ended::Failed(_) => (1, "error".into()),
        // As the operating system does with exit codes.
        Ended::Stopped(Stop::Exit(0)) if outcome.unwritten.is_some() => (1, "unwritten".into()),
        Ended::Stopped(Stop::Exit(code)) => ((code & 0xff) as u8, "exit".into()),
        Ended::Stopped(Stop::Limit(Limit::Timeout)) => (EXIT_TIMEOUT, "timeout".into()),
        Ended::Stopped(Stop::Limit(limit)) => (EXIT_LIMIT, limit.name().into()),
        Ended::Stopped(Stop::Signal(signal)) => {
            (u8::try_from(EXIT_SIGNAL_BASE + signal).unwrap_or(EXIT_LIMIT), format!("signal {signal}"))
        }
        Ended::Stopped(Stop::Unaudited(_)) => (EXIT_IO, "unaudited".into()),
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
        Ended::Returned(_) | Ended::Stopped(Stop::Exit(_) | Stop::Signal(_)) => {
            let error = outcome.unwritten.as_ref().filter(|error| error.kind() != ErrorKind::BrokenPipe)?;
            format!("the script's output could not be written: {error}")
        }
        Ended::Failed(failure) => failure.message.clone(),
        Ended::Stopped(Stop::Limit(limit)) => {
            let (allowed, flag) = match limit {
                Limit::Timeout => (limits.timeout.map(|time| format!("{} s", time.as_secs_f64())), "timeout"),
                Limit::Cpu => (limits.cpu.map(|time| format!("{} s of CPU", time.as_secs_f64())), "cpu"),
                Limit::Memory => (Some(format!("{:.0} MiB", limits.memory as f64 / 1048576.0)), "memory"),
                Limit::Audit => (Some(format!("{} bytes of the audit file", limits.audit)), "max-audit"),
                other => (None, other.name()),
            };
            let allowed = allowed.map(|allowed| format!(" of {allowed}")).unwrap_or_default();
            format!("stopped: the {flag} limit{allowed} was reached; raise it with --{flag}")
        }
        Ended::Stopped(Stop::Unaudited(why)) => {
            format!("stopped: a decision could not be written to the audit file: {why}")
        }
        Ended::Broken(error) => {
            format!("the sandbox broke down, which is a bug of Assay; please report it: {error:?}")
        }
    })
}
