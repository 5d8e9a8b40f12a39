//! The programs of one run, from the run's side: its supervisor, what is started, and how it ends.

use crate::program::Executable;
use crate::supervisor::wire::{DESCRIPTORS, News, Order, PACKET, Reach, Text};
use crate::supervisor::{self, wait_readable};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Counter, Ctx, Run, error, io_error, lock};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType, recv, sendmsg, shutdown, socketpair,
};
use std::collections::HashMap;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{OnceCell, oneshot, watch};

/// How long the end of a run waits for the end of its programs; the supervisor goes on after it.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What a program is started with. The descriptors become its own; whether it may be started at all was decided
/// before.
#[derive(Debug)]
pub struct Start {
    /// The file that is executed.
    pub program: Arc<Executable>,
    /// The name it is called by, and its arguments.
    pub args: Vec<Vec<u8>>,
    pub env: Vec<(String, Vec<u8>)>,
    /// The working directory; none is the run's.
    pub directory: Option<OwnedFd>,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// `stdin` is a terminal, which becomes the program's own.
    pub terminal: bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The program's code, or 128 and the number of the signal that ended it.
    pub status: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    fn of(status: i32) -> Exit {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            return Exit { status: 128 + signal, signal: Some(signal) };
        }
        Exit { status: libc::WEXITSTATUS(status), signal: None }
    }
}

/// The programs of a run. Cheap to clone; when the last clone is gone, which is when the run is over, everything
/// that was started and all that it has started ends.
#[derive(Clone)]
pub struct Processes {
    inner: Arc<Inner>,
    /// As the call has it that these are for.
    run: Arc<Run>,
}

#[derive(Default)]
struct Inner {
    supervisor: OnceCell<Supervisor>,
}

impl Processes {
    /// Those of this run.
    pub fn of(ctx: &mut Ctx) -> Processes {
        let run = ctx.run.clone();
        Processes { inner: ctx.state::<Arc<Inner>>().clone(), run }
    }

    #[cfg(test)]
    pub(crate) fn new(run: Arc<Run>) -> Processes {
        Processes { inner: Arc::default(), run }
    }

    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Starts a program. What is dropped before it has started does not stay.
    ///
    /// # Errors
    /// `limit` where the run has as many programs as it may, else the operating system's.
    pub async fn start(&self, start: Start) -> Result<Child, Error> {
        let slot = self.take_slot()?;
        let shown = start.program.path.display().to_string();
        let failed = |source: &io::Error| cannot_start(&shown, source);
        let link = self.link().await?;
        let words = Text {
            program: start.program.path.clone().into(),
            args: start.args.into_iter().map(from_bytes).collect(),
            env: start.env.into_iter().map(|(name, value)| (name.into(), from_bytes(value))).collect(),
        };
        let packed = || -> io::Result<(OwnedFd, OwnedFd)> {
            let directory = match start.directory {
                Some(directory) => directory,
                None => std::fs::File::open(&self.run.working_directory)?.into(),
            };
            let file = rustix::fs::memfd_create("assay", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut file = std::fs::File::from(file);
            file.write_all(&words.encode())?;
            Ok((directory, file.into()))
        };
        let (directory, words) = packed().map_err(|source| failed(&source))?;
        let Executable { file, directory: home, .. } = &*start.program;
        let descriptors =
            [&start.stdin, &start.stdout, &start.stderr, &directory, &words, home, file].map(AsFd::as_fd);
        let (sender, exit) = watch::channel(None);
        let id = link.id();
        lock(&link.waiting).running.insert(id, Running { exit: sender, _slot: slot });
        let order = Order::Start { id, terminal: start.terminal };
        let answer = link.ask(id, order, &descriptors).await;
        match answer {
            Ok(News::Started { pid, .. }) => {
                Ok(Child { pid: pid.unsigned_abs(), id, exit, link: link.clone() })
            }
            Ok(News::Failed { errno, .. }) => {
                lock(&link.waiting).running.remove(&id);
                Err(failed(&io::Error::from_raw_os_error(errno)))
            }
            Ok(_) => Err(lost()),
            Err(gone) => Err(gone),
        }
    }

    fn take_slot(&self) -> Result<Slot, Error> {
        self.run.acquire(Counter::Children, 1)?;
        Ok(Slot(self.run.clone()))
    }

    async fn link(&self) -> Result<&Arc<Link>, Error> {
        let started = self.inner.supervisor.get_or_try_init(|| async { Supervisor::start() }).await;
        match started {
            Ok(supervisor) => Ok(&supervisor.link),
            Err(source) => Err(io_error("cannot start the supervisor of programs (/proc/self/exe)", &source)),
        }
    }
}

/// One of the programs that a run may have at a time.
struct Slot(Arc<Run>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.give_back(Counter::Children, 1);
    }
}

fn from_bytes(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// Why a program was not started.
pub fn cannot_start(shown: &str, source: &io::Error) -> Error {
    let mut error = io_error(&format!("cannot start {shown}"), source);
    if error.errno == libc::E2BIG {
        error.code = ErrorCode::Limit;
        error.message.push_str("; the system bounds arguments and environment together");
    }
    error
}

fn lost() -> Error {
    error(
        ErrorCode::Unavailable,
        "the supervisor of this run's programs has gone, and with it the programs; one of them killed it, or the \
         system did",
    )
}

/// A program that was started.
#[derive(Clone)]
pub struct Child {
    pub pid: u32,
    id: u64,
    exit: watch::Receiver<Option<Exit>>,
    link: Arc<Link>,
}

impl Child {
    /// How it ended; none while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for its end, which is when the program itself is over, whatever it has left behind.
    ///
    /// # Errors
    /// `unavailable` where its supervisor was killed.
    pub async fn wait(&self) -> Result<Exit, Error> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| lost())?;
        ended.ok_or_else(lost)
    }

    /// Sends a signal; false where the program is over.
    ///
    /// # Errors
    /// `permission` where it became another user, `invalid-argument` for what is no signal.
    pub async fn signal(&self, signal: i32, reach: Reach) -> Result<bool, Error> {
        if self.exit().is_some() {
            return Ok(false);
        }
        let id = self.link.id();
        let order = Order::Signal { id, child: self.id, signal, reach };
        match self.link.ask(id, order, &[]).await? {
            News::Failed { errno: libc::ESRCH, .. } => Ok(false),
            News::Failed { errno, .. } => Err(io_error(
                &format!("cannot send signal {signal} to process {}", self.pid),
                &io::Error::from_raw_os_error(errno),
            )),
            _ => Ok(true),
        }
    }

    /// Kills it and everything that descends from it, and waits for its end.
    ///
    /// # Errors
    /// As for [`Child::wait`].
    pub async fn kill_tree(&self) -> Result<Exit, Error> {
        self.signal(libc::SIGKILL, Reach::Tree).await?;
        self.wait().await
    }

    /// Kills it and everything that descends from it, without waiting.
    pub fn kill_tree_now(&self) {
        if self.exit().is_none() {
            self.link.kill_now(self.id);
        }
    }
}

/// A program that has started and is not over.
struct Running {
    exit: watch::Sender<Option<Exit>>,
    _slot: Slot,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<News>>,
    running: HashMap<u64, Running>,
    /// The other end is closed.
    over: bool,
}

/// The connection to a supervisor.
struct Link {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Link {
    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends an order and waits for its answer.
    async fn ask(&self, id: u64, order: Order, descriptors: &[BorrowedFd<'_>]) -> Result<News, Error> {
        let (sender, answer) = oneshot::channel();
        let unsent = Unsent { link: self, id };
        {
            let mut waiting = lock(&self.waiting);
            if waiting.over {
                return Err(lost());
            }
            waiting.answers.insert(id, sender);
        }
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| put(socket, order, descriptors)).await;
        if sent.is_err() {
            return Err(lost());
        }
        // From here on, who hears the answer sees to it that a call that was cancelled leaves nothing.
        std::mem::forget(unsent);
        answer.await.map_err(|_| lost())
    }

    /// Orders the end of a program that nobody waits for.
    fn kill_now(self: &Arc<Link>, child: u64) {
        let order = Order::Signal { id: self.id(), child, signal: libc::SIGKILL, reach: Reach::Tree };
        match put(self.socket.get_ref(), order, &[]) {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                let link = self.clone();
                // Outside the async runtime nothing could send it later: the run is at its end then.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        let _ =
                            link.socket.async_io(Interest::WRITABLE, |socket| put(socket, order, &[])).await;
                    });
                }
            }
            // Where the supervisor is gone, so is the program.
            _ => {}
        }
    }

    /// Takes what the supervisor tells; false at the end.
    fn hear(self: &Arc<Link>, packet: &[u8]) -> bool {
        let Some(news) = News::decode(packet) else {
            let mut waiting = lock(&self.waiting);
            // Those that wait for an answer or an end learn that it will not come.
            *waiting = Waiting { over: true, ..Waiting::default() };
            return false;
        };
        let id = match news {
            News::Ended { id, status } => {
                let running = lock(&self.waiting).running.remove(&id);
                if let Some(running) = running {
                    running.exit.send_replace(Some(Exit::of(status)));
                }
                return true;
            }
            News::Started { id, .. } | News::Failed { id, .. } | News::Done { id } => id,
        };
        let sender = lock(&self.waiting).answers.remove(&id);
        let taken = sender.is_some_and(|sender| sender.send(news).is_ok());
        match news {
            // The call that asked for it was cancelled.
            News::Started { .. } if !taken => self.kill_now(id),
            News::Failed { .. } if !taken => drop(lock(&self.waiting).running.remove(&id)),
            _ => {}
        }
        true
    }

    async fn listen(self: Arc<Link>) {
        loop {
            let mut packet = [0; PACKET];
            let read = self.socket.async_io(Interest::READABLE, |socket| take(socket, &mut packet)).await;
            if !self.hear(packet.get(..read.unwrap_or(0)).unwrap_or_default()) {
                return;
            }
        }
    }
}

/// Takes back what waits for the answer to an order that was not sent.
struct Unsent<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.link.waiting);
        waiting.answers.remove(&self.id);
        waiting.running.remove(&self.id);
    }
}

fn put(socket: &OwnedFd, order: Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let packet = order.encode();
    loop {
        match sendmsg(
            socket,
            &[IoSlice::new(&packet)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

fn take(socket: &OwnedFd, packet: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *packet, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((read, _)) => return Ok(read),
        }
    }
}

/// The supervisor's process, ended when dropped.
struct Supervisor {
    link: Arc<Link>,
    process: std::process::Child,
}

impl Supervisor {
    fn start() -> io::Result<Supervisor> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // SAFETY: the socket is owned, and neither replaced nor closed before it is dropped.
        let socket = unsafe { AsyncFd::register(ours)? };
        // Nothing of this process goes on to it: no environment, no descriptor, no directory.
        let process = Command::new("/proc/self/exe")
            .arg0(supervisor::NAME)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let link = Arc::new(Link { socket, next: AtomicU64::new(1), waiting: Mutex::default() });
        tokio::spawn(link.clone().listen());
        Ok(Supervisor { link, process })
    }

    /// Closes the connection, which ends everything below the supervisor, and waits until that is so.
    fn end(&mut self) {
        let socket = self.link.socket.get_ref();
        if shutdown(socket, Shutdown::Write).is_err() {
            tracing::debug!("the supervisor of a run's programs was gone before the run");
        }
        let until = Instant::now() + END_PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let [ready] = wait_readable([socket.as_raw_fd()], i32::try_from(left.as_millis()).unwrap_or(0));
            let mut packet = [0; PACKET];
            match take(socket, &mut packet) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && (ready || !left.is_zero()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tracing::error!("programs of the run do not end; their supervisor goes on trying");
                    return;
                }
                Err(_) => break,
            }
        }
        if let Err(error) = self.process.wait() {
            tracing::debug!(%error, "the supervisor of a run's programs cannot be reaped");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        use tokio::runtime::{Handle, RuntimeFlavor};
        // It takes milliseconds; where other runs share the threads, they get another one meanwhile.
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.end()),
            _ => self.end(),
        }
    }
}
