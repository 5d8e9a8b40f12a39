//! Command lines through `/bin/sh -c`. A shell can start anything, so the grant has no scopes, and includes
//! `process` and `pty`.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, HandleGuard, HostResult, Linker, Literal, Need, Request, Run, Target, error, io_error,
    off_thread,
};
use assay_capability_process::prepare::{self, Input, Output, Variables};
use assay_capability_process::stream::{PIECE, Stream};
use assay_capability_process::{Children, Command, Exit, Known, Processes, Start, cwd, find};
use bindings::assay::host::shell as wit;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/shell@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/shell@0.1.0.pipe": crate::Pipe,
        },
    });
}

/// The name of this capability in grants.
const SHELL: &str = "shell";
/// The shell of POSIX systems.
const SH: &str = "/bin/sh";

/// The capability `shell`.
pub struct Shell;

impl Capability for Shell {
    fn name(&self) -> &'static str {
        SHELL
    }

    fn summary(&self) -> &'static str {
        "any command line through /bin/sh; includes process and pty"
    }

    fn includes(&self) -> &'static [&'static str] {
        &["process", "pty"]
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[Need::new("shell.*", Literal::Whole), cwd("shell.*")];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, _: &str, _: &[Val]) -> Target {
        Target { what: "a command line through /bin/sh".into(), scope: None }
    }
}

type Host = HasSelf<Ctx>;

/// The resource `pipe`.
pub struct Pipe {
    known: Known,
    stream: Option<(Arc<Stream>, Option<HandleGuard>)>,
}

fn exit(exit: Exit) -> wit::Exit {
    wit::Exit { status: exit.status, signal: exit.signal.unwrap_or(0) }
}

/// What `sh` is called with.
fn words(line: Vec<u8>) -> std::result::Result<[Vec<u8>; 2], Error> {
    match line.contains(&0) {
        true => Err(error(ErrorCode::InvalidArgument, "a command line cannot hold a NUL byte")),
        false => Ok([b"-c".to_vec(), line]),
    }
}

impl wit::Host for Ctx {
    fn available(&mut self) -> HostResult<bool> {
        self.run.check(SHELL, &Request::Whole)?;
        Ok(find(SH, Path::new("/"), &self.run.ambient).is_ok())
    }
}

impl wit::HostWithStore<Ctx> for Host {
    async fn run(
        accessor: &Accessor<Ctx, Self>,
        command: wit::Command,
        stdin: Vec<u8>,
        timeout: u64,
        max_output: u64,
    ) -> HostResult<wit::Finished> {
        let (run, processes, variables) = accessor.with(|mut access| {
            let ctx = access.get();
            let variables = Variables::new(ctx, command.clear_env, command.env);
            (ctx.run.clone(), Processes::of(ctx), variables)
        });
        let (line, cwd) = (vec![command.line], command.cwd);
        let texts = [SH, cwd.as_deref().unwrap_or_default()];
        let held = prepare::hold_words(&run, &texts, &line, &variables.list, stdin.len()).await?;
        let ready = off_thread(move || {
            run.check(SHELL, &Request::Whole)?;
            let args = words(line.concat())?;
            let directory = prepare::directory(&run, cwd.as_deref())?;
            Ok(Command::exact(find(SH, Path::new("/"), &run.ambient)?.file, b"sh".to_vec())
                .args(args)
                .directory(directory))
        });
        let ready = ready.await?.envs(variables.list);
        let timeout = (timeout > 0).then(|| Duration::from_nanos(timeout));
        let max_output = usize::try_from(max_output).unwrap_or(usize::MAX);
        // From here on the command holds them.
        drop(held);
        let mut finished = ready.stdin(stdin).timeout(timeout).max_output(max_output).run(&processes).await?;
        let [stdout, stderr] = accessor.with(|mut access| finished.payloads(access.get()))?;
        Ok(wit::Finished {
            exit: wit::Exit { status: finished.status, signal: finished.signal.unwrap_or(0) },
            stdout,
            stderr,
            timed_out: finished.timed_out,
        })
    }

    async fn open(
        accessor: &Accessor<Ctx, Self>,
        line: Vec<u8>,
        mode: wit::Mode,
    ) -> HostResult<Resource<Pipe>> {
        let (run, processes, variables) = accessor.with(|mut access| {
            let ctx = access.get();
            let variables = Variables::new(ctx, false, Vec::new());
            (ctx.run.clone(), Processes::of(ctx), variables)
        });
        let line = vec![line];
        let held = prepare::hold_words(&run, &[SH], &line, &variables.list, 0).await?;
        let opened = off_thread(move || {
            let _held = held;
            run.check(SHELL, &Request::Whole)?;
            let args = words(line.concat())?;
            let output = if mode == wit::Mode::Read { Output::Pipe } else { Output::Inherit };
            let input = if mode == wit::Mode::Write { Input::Pipe } else { Input::Null };
            let (stdin, stdout, stderr) =
                (input.open(&run)?, output.open(&run)?, Output::Inherit.open(&run)?);
            let start = Start {
                program: find(SH, Path::new("/"), &run.ambient)?.file,
                args: std::iter::once(b"sh".to_vec()).chain(args).collect(),
                env: variables.list,
                directory: None,
                stdin: stdin.theirs,
                stdout: stdout.theirs,
                stderr: stderr.theirs,
                terminal: false,
            };
            Ok((start, stdin.ours, stdout.ours, stderr.ours))
        });
        let (start, stdin, stdout, stderr) = opened.await?;
        let child = processes.start(start).await?;
        let (stream, output) = match mode {
            wit::Mode::Read => (stdout, None),
            wit::Mode::Write => (stdin, stdout),
            wit::Mode::None => (None, stdout),
        };
        let mut inherited = Vec::new();
        inherited.extend(output.map(|(stream, _)| (Arc::new(stream), false)));
        inherited.extend(stderr.map(|(stream, _)| (Arc::new(stream), true)));
        let known = Children::add(accessor, child, inherited)?;
        let pipe = Pipe { known, stream: stream.map(|(stream, handle)| (Arc::new(stream), handle)) };
        Ok(accessor.with(|mut access| access.get().table.push(pipe))?)
    }

    async fn which(accessor: &Accessor<Ctx, Self>, name: String) -> HostResult<Option<String>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        let held = run.hold(&[&name]).await?;
        let found = off_thread(move || {
            let _held = held;
            run.check(SHELL, &Request::Whole)?;
            Ok(find(&name, &run.working_directory, &run.ambient).ok())
        });
        Ok(found.await?.map(|program| program.path.display().to_string()))
    }
}

impl wit::HostPipe for Ctx {
    fn drop(&mut self, this: Resource<Pipe>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

fn stream(accessor: &Accessor<Ctx, Host>, this: &Resource<Pipe>) -> Result<(Option<Arc<Stream>>, Arc<Run>)> {
    accessor.with(|mut access| {
        let ctx = access.get();
        let stream = ctx.table.get(this)?.stream.as_ref().map(|(stream, _)| stream.clone());
        Ok((stream, ctx.run.clone()))
    })
}

fn closed() -> Error {
    error(ErrorCode::InvalidArgument, "the pipe of the command is closed")
}

impl wit::HostPipeWithStore<Ctx> for Host {
    async fn read(accessor: &Accessor<Ctx, Self>, this: Resource<Pipe>, max: u32) -> HostResult<Vec<u8>> {
        let (stream, run) = stream(accessor, &this)?;
        let Some(stream) = stream else { return Err(closed().into()) };
        let read = stream.read(usize::try_from(max).unwrap_or(PIECE)).await;
        let bytes = read.map_err(|source| io_error("cannot read from the command", &source))?;
        run.count_bytes(bytes.len())?;
        Ok(bytes)
    }

    async fn write(accessor: &Accessor<Ctx, Self>, this: Resource<Pipe>, bytes: Vec<u8>) -> HostResult<()> {
        let (stream, run) = stream(accessor, &this)?;
        let Some(stream) = stream else { return Err(closed().into()) };
        run.count_bytes(bytes.len())?;
        let _held = run.budget.take(bytes.len())?;
        let written = stream.write_all(&bytes).await;
        Ok(written.map_err(|source| {
            let mut failed = io_error("cannot write to the command", &source);
            if source.kind() == ErrorKind::BrokenPipe {
                failed.code = ErrorCode::Unavailable;
            }
            failed
        })?)
    }

    async fn close(accessor: &Accessor<Ctx, Self>, this: Resource<Pipe>) -> HostResult<wit::Exit> {
        let known = accessor.with(|mut access| {
            let pipe = access.get().table.get_mut(&this)?;
            pipe.stream = None;
            Ok::<_, wasmtime::Error>(pipe.known.clone())
        })?;
        let ended = known.child.wait().await;
        known.drain(accessor).await?;
        Ok(exit(ended?))
    }
}
