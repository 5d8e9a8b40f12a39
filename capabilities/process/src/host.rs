//! The interface `process` of the guest.

use crate::bindings::assay::host::process::{
    self as wit, Exit as WitExit, Finished as WitFinished, Info, Input as WitInput, Output as WitOutput,
    Program as WitProgram,
};
use crate::children::{Children, Known};
use crate::command::check_words;
use crate::prepare::{self, Input, Output, Variables};
use crate::stream::{PIECE, Stream};
use crate::{Command, Exit, Outcome, PROCESS, Processes, Reach, Start, list};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Ctx, HandleGuard, Held as Taken, HostResult, Request, Run, error, io_error, off_thread,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};

type Host = HasSelf<Ctx>;
/// The run's end of a pipe, and its handle where the script holds it.
type Held = (Arc<Stream>, Option<HandleGuard>);

/// The resource `child`.
pub struct Handle {
    pid: u32,
    stdin: Option<Held>,
    stdout: Option<Held>,
    stderr: Option<Held>,
}

/// `errno` of a pipe that was not asked for.
fn no_pipe(pid: u32, stream: &str) -> Error {
    error(
        ErrorCode::InvalidArgument,
        format!(
            "the {stream} of process {pid} is not a pipe of this script, or was closed; spawn it with {stream} = \"pipe\""
        ),
    )
}

fn exit(exit: Exit) -> WitExit {
    WitExit { status: exit.status, signal: exit.signal.unwrap_or(0) }
}

fn variables(accessor: &Accessor<Ctx, Host>, program: &mut WitProgram) -> (Variables, Processes) {
    let own = std::mem::take(&mut program.env);
    accessor.with(|mut access| {
        let ctx = access.get();
        (Variables::new(ctx, program.clear_env, own), Processes::of(ctx))
    })
}

/// What a call that starts a program holds of the budget; `files` are those of its streams.
async fn hold(
    run: &Run,
    program: &WitProgram,
    variables: &Variables,
    files: &[&str],
    input: usize,
) -> Outcome<Taken> {
    let mut texts = vec![program.cmd.as_str(), program.cwd.as_deref().unwrap_or_default()];
    texts.extend(files);
    prepare::hold_words(run, &texts, &program.args, &variables.list, input).await
}

/// The file that output goes to; empty where it goes to none.
fn path(output: &Output) -> &str {
    match output {
        Output::File { path, .. } => path,
        _ => "",
    }
}

/// What [`Start`] needs and was checked.
struct Checked {
    program: crate::Program,
    args: Vec<Vec<u8>>,
    env: Vec<(String, Vec<u8>)>,
    directory: Option<OwnedFd>,
}

fn checked(run: &Run, wanted: WitProgram, variables: Variables) -> Outcome<Checked> {
    let program = prepare::program(run, PROCESS, &wanted.cmd)?;
    variables.check(run, PROCESS)?;
    check_words(&wanted.args, &variables.list)?;
    let directory = prepare::directory(run, wanted.cwd.as_deref())?;
    Ok(Checked { program, args: wanted.args, env: variables.list, directory })
}

/// A program that is ready to start, with the run's ends of its streams.
struct Opened {
    start: Start,
    streams: [Option<Held>; 3],
}

fn open(
    run: &Arc<Run>,
    checked: Checked,
    stdin: &Input,
    stdout: &Output,
    stderr: Option<&Output>,
) -> Outcome<Opened> {
    let (stdin, stdout) = (stdin.open(run)?, stdout.open(run)?);
    let (stderr, errors) = match stderr {
        Some(stderr) => {
            let ends = stderr.open(run)?;
            (ends.theirs, ends.ours)
        }
        None => (prepare::same(&stdout.theirs)?, None),
    };
    let args = std::iter::once(checked.program.call_name()).chain(checked.args).collect();
    let start = Start {
        program: checked.program.file,
        args,
        env: checked.env,
        directory: checked.directory,
        stdin: stdin.theirs,
        stdout: stdout.theirs,
        stderr,
        terminal: false,
    };
    let streams =
        [stdin.ours, stdout.ours, errors].map(|ours| ours.map(|(stream, handle)| (Arc::new(stream), handle)));
    Ok(Opened { start, streams })
}

/// Where the output goes, and whether to the run's own; none for errors that go where the output goes.
fn output(wanted: WitOutput) -> (Option<Output>, bool) {
    match wanted {
        WitOutput::Null => (Some(Output::Null), false),
        WitOutput::Inherit => (Some(Output::Inherit), true),
        WitOutput::Pipe => (Some(Output::Pipe), false),
        WitOutput::Merge => (None, false),
        WitOutput::File(path) => (Some(Output::File { path, append: false }), false),
        WitOutput::Append(path) => (Some(Output::File { path, append: true }), false),
    }
}

impl wit::Host for Ctx {
    fn pid(&mut self) -> HostResult<u32> {
        Ok(std::process::id())
    }
}

impl wit::HostWithStore<Ctx> for Host {
    async fn spawn(
        accessor: &Accessor<Ctx, Self>,
        mut program: WitProgram,
        stdin: WitInput,
        stdout: WitOutput,
        stderr: WitOutput,
    ) -> HostResult<Resource<Handle>> {
        let (variables, processes) = variables(accessor, &mut program);
        let run = processes.run().clone();
        let stdin = match stdin {
            WitInput::Null => Input::Null,
            WitInput::Pipe => Input::Pipe,
            WitInput::File(path) => Input::File(path),
        };
        let (stdout, inherits_output) = output(stdout);
        let (stderr, inherits_errors) = output(stderr);
        let files = [
            if let Input::File(path) = &stdin { path } else { "" },
            stdout.as_ref().map_or("", path),
            stderr.as_ref().map_or("", path),
        ];
        let words = hold(&run, &program, &variables, &files, 0).await?;
        let opened = off_thread(move || {
            let _words = words;
            let checked = checked(&run, program, variables)?;
            open(&run, checked, &stdin, stdout.as_ref().unwrap_or(&Output::Null), stderr.as_ref())
        });
        let Opened { start, streams: [stdin, mut stdout, mut stderr] } = opened.await?;
        let child = processes.start(start).await?;
        let mut inherited = Vec::new();
        for (stream, is_error, inherits) in
            [(&mut stdout, false, inherits_output), (&mut stderr, true, inherits_errors)]
        {
            if inherits && let Some((stream, _)) = stream.take() {
                inherited.push((stream, is_error));
            }
        }
        let handle = Handle { pid: child.pid, stdin, stdout, stderr };
        Children::add(accessor, child, inherited)?;
        Ok(accessor.with(|mut access| access.get().table.push(handle))?)
    }

    async fn run(
        accessor: &Accessor<Ctx, Self>,
        mut program: WitProgram,
        stdin: Vec<u8>,
        timeout: u64,
        max_output: u64,
    ) -> HostResult<WitFinished> {
        let (variables, processes) = variables(accessor, &mut program);
        let run = processes.run().clone();
        let words = hold(&run, &program, &variables, &[], stdin.len()).await?;
        let command = off_thread(move || {
            let checked = checked(&run, program, variables)?;
            let name = checked.program.call_name();
            Ok(Command::exact(checked.program.file, name)
                .args(checked.args)
                .envs(checked.env)
                .directory(checked.directory))
        });
        let command = command.await?;
        let timeout = (timeout > 0).then(|| Duration::from_nanos(timeout));
        let max_output = usize::try_from(max_output).unwrap_or(usize::MAX);
        // From here on the command holds them.
        drop(words);
        let mut finished =
            command.stdin(stdin).timeout(timeout).max_output(max_output).run(&processes).await?;
        let [stdout, stderr] = accessor.with(|mut access| finished.payloads(access.get()))?;
        Ok(WitFinished {
            exit: WitExit { status: finished.status, signal: finished.signal.unwrap_or(0) },
            stdout,
            stderr,
            timed_out: finished.timed_out,
        })
    }

    async fn wait(
        accessor: &Accessor<Ctx, Self>,
        pid: i64,
        timeout: Option<u64>,
    ) -> HostResult<Option<WitExit>> {
        let Some(known) = known(accessor, pid) else {
            return Err(error(
                ErrorCode::NotFound,
                format!("cannot wait for process {pid}: this script has not started it"),
            )
            .into());
        };
        let waiting = known.child.wait();
        let ended = match timeout {
            None => Some(waiting.await),
            Some(timeout) => tokio::time::timeout(Duration::from_nanos(timeout), waiting).await.ok(),
        };
        if let Some(Ok(_)) = ended {
            known.drain(accessor).await?;
        }
        Ok(ended.transpose()?.map(exit))
    }

    async fn kill(accessor: &Accessor<Ctx, Self>, pid: i64, signal: i32, group: bool) -> HostResult<bool> {
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        let Some(number) = number else {
            return Err(
                error(ErrorCode::InvalidArgument, format!("{pid} is not the number of a process")).into()
            );
        };
        if !(0..=64).contains(&signal) {
            return Err(
                error(ErrorCode::InvalidArgument, format!("{signal} is not the number of a signal")).into()
            );
        }
        if let Some(known) = known(accessor, pid) {
            let reach = if group { Reach::Group } else { Reach::Process };
            return Ok(known.child.signal(signal, reach).await?);
        }
        let run = accessor.with(|mut access| access.get().run.clone());
        run.check(PROCESS, &Request::Whole).map_err(|mut error| {
            error.message = format!("process {pid} was not started by this script: {}", error.message);
            error
        })?;
        Ok(send(number, signal, group)?)
    }

    async fn all(accessor: &Accessor<Ctx, Self>) -> HostResult<Vec<Info>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        run.check(PROCESS, &Request::Whole)?;
        // Which processes there are is what `linux.proc_stat` tells, number by number.
        if let Some(rule) = run.grants.denial("linux", &Request::Name("proc")) {
            return Err(run.refuse_by(PROCESS, "process.list", &rule).into());
        }
        let list = off_thread(|| Ok(list::all())).await?;
        run.count_bytes(list.iter().map(|one| one.name.len() + one.cmdline.len()).sum())?;
        let info =
            |one: list::Shown| Info { pid: one.pid.unsigned_abs(), name: one.name, cmdline: one.cmdline };
        Ok(list.into_iter().map(info).collect())
    }

    async fn running(accessor: &Accessor<Ctx, Self>, names: Vec<String>) -> HostResult<u32> {
        let run = accessor.with(|mut access| access.get().run.clone());
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        let held = run.hold(&texts).await?;
        Ok(off_thread(move || {
            let _held = held;
            for name in &names {
                match prepare::program(&run, PROCESS, name) {
                    // What is not installed can run all the same.
                    Err(error) if error.code == ErrorCode::Denied => return Err(error),
                    _ => {}
                }
            }
            Ok(u32::try_from(list::running(&names)).unwrap_or(u32::MAX))
        })
        .await?)
    }
}

fn known(accessor: &Accessor<Ctx, Host>, pid: i64) -> Option<Known> {
    accessor.with(|mut access| access.get().state::<Children>().get(pid))
}

/// Sends a signal to a process that the run did not start.
fn send(pid: Pid, signal: i32, group: bool) -> Outcome<bool> {
    let raw = pid.as_raw_nonzero().get();
    // A process that is there when it is opened is the one that the script means, or one that nobody could tell
    // from it.
    let sent = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) if !group => {
            // SAFETY: plain arguments; the descriptor is open. rustix has no form for signal 0.
            unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    process.as_raw_fd(),
                    signal,
                    std::ptr::null::<u8>(),
                    0,
                )
            }
        }
        // SAFETY: plain arguments.
        _ => unsafe { libc::kill(if group { -raw } else { raw }, signal) }.into(),
    };
    if sent == 0 {
        return Ok(true);
    }
    let source = std::io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::ESRCH) => Ok(false),
        _ => Err(io_error(&format!("cannot send signal {signal} to process {raw}"), &source)),
    }
}

impl wit::HostChild for Ctx {
    fn pid(&mut self, this: Resource<Handle>) -> Result<u32> {
        Ok(self.table.get(&this)?.pid)
    }

    fn close_stdin(&mut self, this: Resource<Handle>) -> Result<()> {
        self.table.get_mut(&this)?.stdin = None;
        Ok(())
    }

    fn drop(&mut self, this: Resource<Handle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// A pipe of the program, its number, and the run.
fn held(
    accessor: &Accessor<Ctx, Host>,
    this: &Resource<Handle>,
    which: fn(&Handle) -> &Option<Held>,
) -> Result<(Option<Arc<Stream>>, u32, Arc<Run>)> {
    accessor.with(|mut access| {
        let ctx = access.get();
        let handle = ctx.table.get(this)?;
        let stream = which(handle).as_ref().map(|(stream, _)| stream.clone());
        Ok((stream, handle.pid, ctx.run.clone()))
    })
}

impl wit::HostChildWithStore<Ctx> for Host {
    async fn write(accessor: &Accessor<Ctx, Self>, this: Resource<Handle>, bytes: Vec<u8>) -> HostResult<()> {
        let (stream, pid, run) = held(accessor, &this, |handle| &handle.stdin)?;
        let Some(stream) = stream else { return Err(no_pipe(pid, "stdin").into()) };
        run.count_bytes(bytes.len())?;
        let _held = run.budget.take(bytes.len())?;
        let written = stream.write_all(&bytes).await;
        Ok(written.map_err(|source| match source.kind() {
            std::io::ErrorKind::BrokenPipe => Error {
                code: ErrorCode::Unavailable,
                message: format!("cannot write to process {pid}: it has closed its input or is over"),
                errno: libc::EPIPE,
            },
            _ => io_error(&format!("cannot write to process {pid}"), &source),
        })?)
    }

    async fn read(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Handle>,
        stderr: bool,
        max: u32,
    ) -> HostResult<Vec<u8>> {
        let which: fn(&Handle) -> &Option<Held> =
            if stderr { |handle| &handle.stderr } else { |handle| &handle.stdout };
        let (stream, pid, run) = held(accessor, &this, which)?;
        let Some(stream) = stream else {
            return Err(no_pipe(pid, if stderr { "stderr" } else { "stdout" }).into());
        };
        let max = usize::try_from(max).unwrap_or(PIECE);
        let failed = |source: std::io::Error| io_error(&format!("cannot read from process {pid}"), &source);
        let bytes = stream.read(max).await.map_err(failed)?;
        run.count_bytes(bytes.len())?;
        Ok(bytes)
    }
}
