//! A program that is run to its end, its output captured.

use crate::processes::{Child, Exit, Processes, Start, cannot_start};
use crate::program::{self, Executable};
use crate::stream::{self, PIECE, Stream};
use assay_capability_api::types::{Error, ErrorCode, Payload};
use assay_capability_api::{Ambient, Ctx, Held, Run, error, io_error, lock};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long output is still taken after a program's end, where something that it left behind holds it open.
const REST: Duration = Duration::from_millis(200);
/// What Linux takes of one argument or variable, and of all (execve(2)).
const WORD_MAX: usize = 128 << 10;
const WORDS_MAX: usize = 6 << 20;
/// What an argument takes beside its bytes.
const WORD: usize = 16;
/// The output that is kept of each stream, unless the caller says otherwise.
pub const MAX_OUTPUT: usize = 16 << 20;

/// A program to run for a capability whose own check has allowed what it does. It asks for no grant of `process`.
///
/// The program gets no input unless some is given, no environment but what is set here, the run's working directory,
/// a session of its own, and no terminal. It counts against the run's child processes; its input and output count
/// as the run's bytes. Dropping the call ends the program and all that it has started.
#[derive(Debug)]
pub struct Command {
    program: Arc<Executable>,
    name: Vec<u8>,
    args: Vec<Vec<u8>>,
    env: Vec<(String, Vec<u8>)>,
    directory: Option<OwnedFd>,
    stdin: Vec<u8>,
    timeout: Option<Duration>,
    max_output: usize,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// The program's code, or 128 and the number of the signal that ended it.
    pub status: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// It was killed because it took too long, with everything it had started; the output is what came until then.
    pub timed_out: bool,
    /// What the output takes of the run's budget.
    pub held: Arc<Held>,
}

impl Finished {
    /// What it wrote to its output and its errors, which it has no more then.
    ///
    /// # Errors
    /// As [`Ctx::payload`].
    pub fn payloads(&mut self, ctx: &mut Ctx) -> wasmtime::Result<[Payload; 2]> {
        let [stdout, stderr] = [&mut self.stdout, &mut self.stderr].map(std::mem::take);
        Ok([ctx.payload(stdout, Some(self.held.clone()))?, ctx.payload(stderr, Some(self.held.clone()))?])
    }
}

impl Command {
    /// A program by its name, looked for on the search path of the run, or by its path. Looks at the disk: call it
    /// where that may block.
    ///
    /// # Errors
    /// `not-found` where there is no such program.
    pub fn new(name: &str, ambient: &Ambient) -> Result<Command, Error> {
        let found = program::find(name, std::path::Path::new("/"), ambient)?;
        Ok(Command::exact(found.file, found.name.into_bytes()))
    }

    /// A program that was found, called by `name`.
    pub fn exact(program: Arc<Executable>, name: Vec<u8>) -> Command {
        Command {
            program,
            name,
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            stdin: Vec::new(),
            timeout: None,
            max_output: MAX_OUTPUT,
        }
    }

    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Command {
        self.args.push(arg.into());
        self
    }

    pub fn args<A: Into<Vec<u8>>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn envs(mut self, env: Vec<(String, Vec<u8>)>) -> Command {
        self.env.extend(env);
        self
    }

    /// The working directory, as `assay_capability_fs::open_directory` gives it.
    pub fn directory(mut self, directory: Option<OwnedFd>) -> Command {
        self.directory = directory;
        self
    }

    /// What the program reads.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.stdin = bytes.into();
        self
    }

    /// Kills the program and everything it has started when it takes longer; none is no bound.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Command {
        self.timeout = timeout;
        self
    }

    /// Bytes of the output and of the errors that are kept, each; a program that writes more is killed.
    pub fn max_output(mut self, bytes: usize) -> Command {
        self.max_output = bytes;
        self
    }

    /// Runs it to its end. A status other than 0 is no error.
    ///
    /// # Errors
    /// `limit` where it writes too much or the run has too many programs or has moved too many bytes,
    /// `invalid-argument` where a word holds a NUL byte, else the operating system's.
    pub async fn run(self, processes: &Processes) -> Result<Finished, Error> {
        check_words(&self.args, &self.env)?;
        let shown = String::from_utf8_lossy(&self.name).into_owned();
        let run = processes.run();
        let mut held = hold_words(run, &[&shown], &self.args, &self.env, self.stdin.len()).await?;
        let failed = |source: std::io::Error| cannot_start(&shown, &source);
        let (stdin, input) = match self.stdin.is_empty() {
            true => (stream::null().map_err(failed)?, None),
            false => {
                let (theirs, ours) = stream::input().map_err(failed)?;
                (theirs, Some(ours))
            }
        };
        let (stdout, output) = stream::output().map_err(failed)?;
        let (stderr, errors) = stream::output().map_err(failed)?;
        let args = std::iter::once(self.name).chain(self.args).collect();
        let start = Start {
            program: self.program,
            args,
            env: self.env,
            directory: self.directory,
            stdin,
            stdout,
            stderr,
            terminal: false,
        };
        let child = KillOnDrop(processes.start(start).await?);
        // The program has its words.
        held.resize(self.stdin.len())?;
        let capture = Capture {
            shown: &shown,
            run,
            max: usize::try_from(run.budget.at_most(self.max_output as u64)).unwrap_or(usize::MAX),
            held: Mutex::new(held),
            output: &output,
            errors: &errors,
        };
        capture.finish(&child.0, input, &self.stdin, self.timeout).await
    }
}

/// # Errors
/// `invalid-argument` for what no program can be given.
pub fn check_words(args: &[Vec<u8>], env: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let invalid = |message: String| Err(error(ErrorCode::InvalidArgument, message));
    if let Some(n) = args.iter().position(|arg| arg.contains(&0)) {
        return invalid(format!("argument {} holds a NUL byte, which no program can be given", n + 1));
    }
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid(format!("the environment variable {name:?}: a name has neither '=' nor NUL"));
        }
        if value.contains(&0) {
            return invalid(format!("the environment variable {name}: a value cannot hold a NUL byte"));
        }
    }
    Ok(())
}

/// Takes from the run's budget what a call that starts a program holds: its words and variables, as they came and on
/// their way, the `texts` that it names the program and files by, and `input` bytes of input.
///
/// # Errors
/// `limit`; for words that no system would take, its own error, before anything is done with them.
pub async fn hold_words(
    run: &Run,
    texts: &[&str],
    args: &[Vec<u8>],
    env: &[(String, Vec<u8>)],
    input: usize,
) -> Result<Held, Error> {
    let words = args.iter().map(Vec::len);
    let variables = env.iter().map(|(name, value)| name.len() + value.len() + 1);
    let (mut longest, mut all) = (0, 0);
    for length in words.chain(variables) {
        longest = longest.max(length);
        all += WORD + length;
    }
    if longest >= WORD_MAX || all > WORDS_MAX {
        let what = texts.first().map_or("a program", |name| &name[..name.floor_char_boundary(200)]);
        return Err(cannot_start(what, &std::io::Error::from_raw_os_error(libc::E2BIG)));
    }
    let mut held = run.hold(texts).await?;
    held.grow(4 * all + input)?;
    Ok(held)
}

/// Ends a program whose call is cancelled.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill_tree_now();
    }
}

struct Capture<'a> {
    shown: &'a str,
    run: &'a Run,
    max: usize,
    /// What input and output take of the run's budget.
    held: Mutex<Held>,
    output: &'a Stream,
    errors: &'a Stream,
}

impl Capture<'_> {
    async fn finish(
        self,
        child: &Child,
        input: Option<Stream>,
        stdin: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Finished, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let work = self.work(child, input, stdin, (&mut stdout, &mut stderr));
        let done = match timeout {
            None => Some(work.await),
            Some(timeout) => tokio::time::timeout(timeout, work).await.ok(),
        };
        let (exit, timed_out) = match done {
            Some(Ok(exit)) => (exit, false),
            Some(Err(failed)) => {
                child.kill_tree().await?;
                return Err(failed);
            }
            None => {
                let exit = child.kill_tree().await?;
                // What it wrote before is still in the pipes.
                let rest = async {
                    tokio::try_join!(
                        self.collect(self.output, &mut stdout),
                        self.collect(self.errors, &mut stderr)
                    )
                };
                if let Ok(Err(failed)) = tokio::time::timeout(REST, rest).await {
                    return Err(failed);
                }
                (exit, true)
            }
        };
        let Exit { status, signal } = exit;
        let held = Arc::new(self.held.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(Finished { status, signal, stdout, stderr, timed_out, held })
    }

    async fn work(
        &self,
        child: &Child,
        input: Option<Stream>,
        stdin: &[u8],
        (stdout, stderr): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<Exit, Error> {
        let feed = self.feed(input, stdin);
        let collect =
            async { tokio::try_join!(self.collect(self.output, stdout), self.collect(self.errors, stderr)) };
        tokio::pin!(feed, collect);
        let (mut fed, mut collected) = (false, false);
        let exit = loop {
            tokio::select! {
                result = &mut feed, if !fed => { result?; fed = true; }
                result = &mut collect, if !collected => { result?; collected = true; }
                exit = child.wait() => break exit?,
            }
        };
        if !collected && let Ok(Err(failed)) = tokio::time::timeout(REST, collect).await {
            return Err(failed);
        }
        Ok(exit)
    }

    /// Writes the input, and closes it. A program that does not want all of it is no failure.
    async fn feed(&self, input: Option<Stream>, bytes: &[u8]) -> Result<(), Error> {
        let Some(input) = input else { return Ok(()) };
        for piece in bytes.chunks(PIECE) {
            self.run.count_bytes(piece.len())?;
            match input.write_all(piece).await {
                Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(source) => return Err(io_error(&format!("cannot write to {}", self.shown), &source)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Makes room for `more` bytes, of which the run's budget is asked first.
    fn hold(&self, bytes: &mut Vec<u8>, more: usize) -> Result<(), Error> {
        if bytes.capacity() - bytes.len() >= more {
            return Ok(());
        }
        let needed = bytes.len() + more;
        // In steps that double, as long as the budget lasts.
        let wanted = bytes.len().saturating_mul(2).min(self.max).max(needed);
        let mut held = lock(&self.held);
        let room = match held.grow(wanted - bytes.capacity()) {
            Ok(()) => wanted,
            Err(_) => {
                held.grow(needed - bytes.capacity()).map_err(|mut failure| {
                    failure.message = format!(
                        "{} was killed: what it writes does not fit: {}",
                        self.shown, failure.message
                    );
                    failure
                })?;
                needed
            }
        };
        bytes.reserve_exact(room - bytes.len());
        Ok(())
    }

    async fn collect(&self, stream: &Stream, bytes: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            let piece = stream
                .read(PIECE)
                .await
                .map_err(|source| io_error(&format!("cannot read what {} writes", self.shown), &source))?;
            if piece.is_empty() {
                return Ok(());
            }
            self.run.count_bytes(piece.len())?;
            if bytes.len() + piece.len() > self.max {
                let raise = match self.max as u64 == self.run.budget.limit() {
                    true => "--host-memory",
                    false => "max_output",
                };
                return Err(error(
                    ErrorCode::Limit,
                    format!(
                        "{} was killed: it wrote more than {} bytes; raise {raise}, or read its output as it comes",
                        self.shown, self.max
                    ),
                ));
            }
            self.hold(bytes, piece.len())?;
            bytes.extend_from_slice(&piece);
        }
    }
}
