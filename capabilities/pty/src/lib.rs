//! Programs in a terminal of their own: each has a new session, whose controlling terminal the script holds the
//! other side of. The operator's own terminal is out of reach.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Capability, Ctx, Denied, Determinism, GrantError, HandleGuard, HostResult, Linker, Literal, Need, Run,
    Scope, ScopeForm, Target, error, io_error, off_thread,
};
use assay_capability_process::prepare::{self, Variables};
use assay_capability_process::stream::{PIECE, Stream};
use assay_capability_process::{
    Child, Children, Processes, ProgramScope, Reach, Shells, Start, VariableScope, command_of,
};
use bindings::assay::host::pty as wit;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/pty@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/pty@0.1.0.terminal": crate::Terminal,
        },
    });
}

/// The name of this capability in grants.
const PTY: &str = "pty";
/// What the terminal is, unless the environment says otherwise: what every terminal emulator of today understands.
const TERM: &str = "xterm-256color";
/// SIGHUP: the terminal has gone.
const SIGHUP: i32 = 1;

/// The capability `pty`.
pub struct Pty;

impl Capability for Pty {
    fn name(&self) -> &'static str {
        PTY
    }

    fn summary(&self) -> &'static str {
        "programs in a terminal of their own"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        const FORMS: &[ScopeForm] = &[
            ScopeForm {
                form: "NAME",
                grants: "one program, looked up on the PATH when the run starts; this trusts the program with whatever \
                         is typed into it",
                example: "pty=psql",
            },
            ScopeForm { form: "PATH", grants: "the program of this path", example: "pty=/usr/bin/psql" },
            ScopeForm {
                form: "env:NAME",
                grants: "setting an environment variable of granted programs, as for process",
                example: "pty=env:PGDATABASE",
            },
        ];
        FORMS
    }

    fn scope(&self, text: &str, base: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        match VariableScope::parse(PTY, text) {
            Some(variable) => Ok(Box::new(variable?)),
            None => Ok(Box::new(ProgramScope::parse(PTY, text, base)?)),
        }
    }

    /// A terminal is another way to start a program.
    fn denied_with(&self, other: &str, scope: Option<&str>, base: &Path) -> Denied {
        match (other, scope) {
            ("process", None) => Denied::Whole,
            ("process", Some(text)) => self.scope(text, base).map_or(Denied::Whole, Denied::Part),
            ("shell", None) => Denied::Part(Box::new(Shells::of_this_machine())),
            _ => Denied::Nothing,
        }
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("process.spawn_pty", Literal::PROGRAM),
            // It is in the library of `process`, whose grant it does not need.
            Need::new("process.spawn_pty", Literal::Free).of("process"),
        ];
        NEEDS
    }

    /// What is about a handle that the run has, or lets go of it.
    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "[method]terminal.pid" => Determinism::Pure,
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, _: &str, args: &[Val]) -> Target {
        match command_of(args) {
            Some(cmd) => Target { what: format!("{PTY} {cmd}"), scope: Some(cmd) },
            None => Target { what: "process.spawn_pty".into(), scope: None },
        }
    }
}

type Host = HasSelf<Ctx>;

/// The resource `terminal`.
pub struct Terminal {
    child: Child,
    /// None once it was closed.
    stream: Option<(Arc<Stream>, HandleGuard)>,
}

fn size(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A new terminal: the controlling side, and the program's.
fn open_terminal(cols: u16, rows: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    tcsetwinsize(&ours, size(cols, rows))?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
    Ok((ours, theirs))
}

impl wit::Host for Ctx {}

/// What was checked and opened for a program.
fn ready(
    run: &Arc<Run>,
    wanted: wit::Program,
    mut variables: Variables,
    (cols, rows): (u16, u16),
) -> std::result::Result<(Start, Stream, HandleGuard), Error> {
    let program = prepare::program(run, PTY, &wanted.cmd)?;
    variables.check(run, PTY)?;
    if !variables.list.iter().any(|(name, _)| name == "TERM") {
        variables.list.push(("TERM".into(), TERM.into()));
    }
    prepare::check_words(&wanted.args, &variables.list)?;
    let directory = prepare::directory(run, wanted.cwd.as_deref())?;
    let handle = run.take_handle()?;
    let failed = |source: io::Error| io_error("cannot open a terminal", &source);
    let (ours, theirs) = open_terminal(cols, rows).map_err(failed)?;
    let start = Start {
        args: std::iter::once(program.call_name()).chain(wanted.args).collect(),
        program: program.file,
        env: variables.list,
        directory,
        stdout: prepare::same(&theirs)?,
        stderr: prepare::same(&theirs)?,
        stdin: theirs,
        terminal: true,
    };
    Ok((start, Stream::new(ours).map_err(failed)?, handle))
}

impl wit::HostWithStore<Ctx> for Host {
    async fn spawn(
        accessor: &Accessor<Ctx, Self>,
        mut program: wit::Program,
        cols: u16,
        rows: u16,
    ) -> HostResult<Resource<Terminal>> {
        let own = std::mem::take(&mut program.env);
        let (variables, processes) = accessor.with(|mut access| {
            let ctx = access.get();
            (Variables::new(ctx, program.clear_env, own), Processes::of(ctx))
        });
        let run = processes.run().clone();
        let texts = [program.cmd.as_str(), program.cwd.as_deref().unwrap_or_default()];
        let held = prepare::hold_words(&run, &texts, &program.args, &variables.list, 0).await?;
        let (start, stream, handle) =
            off_thread(move || ready(&run, program, variables, (cols, rows))).await?;
        let child = processes.start(start).await?;
        drop(held);
        Children::add(accessor, child.clone(), Vec::new())?;
        let terminal = Terminal { child, stream: Some((Arc::new(stream), handle)) };
        Ok(accessor.with(|mut access| access.get().table.push(terminal))?)
    }
}

fn closed(pid: u32) -> Error {
    error(ErrorCode::InvalidArgument, format!("the terminal of process {pid} was closed"))
}

impl wit::HostTerminal for Ctx {
    fn pid(&mut self, this: Resource<Terminal>) -> Result<u32> {
        Ok(self.table.get(&this)?.child.pid)
    }

    fn resize(&mut self, this: Resource<Terminal>, cols: u16, rows: u16) -> HostResult<()> {
        let terminal = self.table.get(&this)?;
        let Some((stream, _)) = &terminal.stream else { return Err(closed(terminal.child.pid).into()) };
        let failed = |source: rustix::io::Errno| io_error("cannot resize the terminal", &source.into());
        Ok(tcsetwinsize(stream.fd(), size(cols, rows)).map_err(failed)?)
    }

    fn is_alive(&mut self, this: Resource<Terminal>) -> HostResult<bool> {
        Ok(self.table.get(&this)?.child.exit().is_none())
    }

    fn drop(&mut self, this: Resource<Terminal>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

type Parts = (Option<Arc<Stream>>, Child, Arc<Run>);

fn parts(accessor: &Accessor<Ctx, Host>, this: &Resource<Terminal>) -> Result<Parts> {
    accessor.with(|mut access| {
        let ctx = access.get();
        let terminal = ctx.table.get(this)?;
        let stream = terminal.stream.as_ref().map(|(stream, _)| stream.clone());
        Ok((stream, terminal.child.clone(), ctx.run.clone()))
    })
}

impl wit::HostTerminalWithStore<Ctx> for Host {
    async fn write(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Terminal>,
        bytes: Vec<u8>,
    ) -> HostResult<()> {
        let (stream, child, run) = parts(accessor, &this)?;
        let Some(stream) = stream else { return Err(closed(child.pid).into()) };
        run.count_bytes(bytes.len())?;
        let _held = run.budget.take(bytes.len())?;
        let what = format!("cannot write to the terminal of process {}", child.pid);
        Ok(stream.write_all(&bytes).await.map_err(|source| io_error(&what, &source))?)
    }

    async fn read(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Terminal>,
        max: u32,
        timeout: Option<u64>,
    ) -> HostResult<Option<Vec<u8>>> {
        let (stream, child, run) = parts(accessor, &this)?;
        let Some(stream) = stream else { return Err(closed(child.pid).into()) };
        let reading = stream.read(usize::try_from(max).unwrap_or(PIECE));
        let read = match timeout {
            None => reading.await,
            Some(timeout) => match tokio::time::timeout(Duration::from_nanos(timeout), reading).await {
                Ok(read) => read,
                Err(_) => return Ok(None),
            },
        };
        let what = format!("cannot read from the terminal of process {}", child.pid);
        let bytes = read.map_err(|source| io_error(&what, &source))?;
        run.count_bytes(bytes.len())?;
        Ok(Some(bytes))
    }

    async fn close(accessor: &Accessor<Ctx, Self>, this: Resource<Terminal>) -> HostResult<()> {
        let child = accessor.with(|mut access| {
            let terminal = access.get().table.get_mut(&this)?;
            terminal.stream = None;
            Ok::<_, wasmtime::Error>(terminal.child.clone())
        })?;
        // The kernel sends it when the last holder closes; another task may still wait for output.
        child.signal(SIGHUP, Reach::Group).await?;
        Ok(())
    }

    async fn wait(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Terminal>,
        timeout: Option<u64>,
    ) -> HostResult<Option<wit::Exit>> {
        let (_, child, _) = parts(accessor, &this)?;
        let ended = match timeout {
            None => Some(child.wait().await),
            Some(timeout) => tokio::time::timeout(Duration::from_nanos(timeout), child.wait()).await.ok(),
        };
        let exit = ended.transpose()?;
        Ok(exit.map(|exit| wit::Exit { status: exit.status, signal: exit.signal.unwrap_or(0) }))
    }

    async fn kill(accessor: &Accessor<Ctx, Self>, this: Resource<Terminal>, signal: i32) -> HostResult<bool> {
        let (_, child, _) = parts(accessor, &this)?;
        if !(0..=64).contains(&signal) {
            return Err(
                error(ErrorCode::InvalidArgument, format!("{signal} is not the number of a signal")).into()
            );
        }
        Ok(child.signal(signal, Reach::Group).await?)
    }
}
