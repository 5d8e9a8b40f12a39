//! Writing to the process's own stdout and stderr without ever waiting for who reads them.
//!
//! The two may be shared with other processes, so they cannot be made non-blocking. A pipe takes 4 KiB (`PIPE_BUF`)
//! whenever `poll` says that it is writable (pipe(7)), a socket says itself whether it would block, and a terminal is opened
//! anew for writing without waiting.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a writable pipe takes at least, bytes.
const PIPE_PIECE: usize = 4096;
/// What a terminal gets at a time that cannot be opened anew.
const TERMINAL_PIECE: usize = 128;
/// How much is kept of log lines that nobody reads; what comes then is left out.
const LINES_MAX: usize = 1 << 20;
/// Looked at again where the system cannot tell when a stream is writable.
const AGAIN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How a stream is written.
enum Kind {
    /// A file or a device that takes what it gets.
    File,
    Pipe,
    Socket,
    Terminal(Option<OwnedFd>),
}

/// One of the two streams, with what could not be written yet.
pub(crate) struct Port {
    stream: Stream,
    kind: Kind,
    queue: Vec<u8>,
    /// How much of `queue` is written.
    written: usize,
    /// Log lines that were left out.
    dropped: u64,
}

/// The process's stderr: what the script writes there, log lines and messages share one queue.
pub(crate) fn stderr() -> MutexGuard<'static, Port> {
    static STDERR: LazyLock<Mutex<Port>> = LazyLock::new(|| Mutex::new(Port::new(Stream::Stderr)));
    STDERR.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Port {
    pub(crate) fn new(stream: Stream) -> Port {
        Port { stream, kind: kind(stream), queue: Vec::new(), written: 0, dropped: 0 }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match (&self.kind, self.stream) {
            (Kind::Terminal(Some(own)), _) => own.as_fd(),
            (_, Stream::Stdout) => rustix::stdio::stdout(),
            (_, Stream::Stderr) => rustix::stdio::stderr(),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.kind, Kind::Terminal(_))
    }

    /// Bytes that are not written yet.
    pub(crate) fn kept(&self) -> usize {
        self.queue.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept() == 0
    }

    /// Keeps `bytes` for the next time that something is written.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
    }

    /// Writes `bytes` after what is kept, and keeps what the reader does not take.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pump()?;
        let mut rest = bytes;
        if self.is_empty() {
            while !rest.is_empty() {
                match self.write_some(rest)? {
                    Some(count) => rest = &rest[count..],
                    None => break,
                }
            }
        }
        self.keep(rest);
        Ok(())
    }

    /// Writes what is kept, as far as the reader takes it. What a failed write leaves is given up.
    pub(crate) fn pump(&mut self) -> io::Result<()> {
        while self.written < self.queue.len() {
            let queue = std::mem::take(&mut self.queue);
            let wrote = self.write_some(&queue[self.written..]);
            self.queue = queue;
            match wrote {
                Ok(Some(count)) => self.written += count,
                Ok(None) => {
                    // Only a full reader's worth is ever moved.
                    self.queue.drain(..self.written);
                    self.written = 0;
                    return Ok(());
                }
                Err(error) => {
                    self.clear();
                    return Err(error);
                }
            }
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.written = 0;
        self.queue.clear();
        self.queue.shrink_to(64 << 10);
    }

    /// Writes the first of `bytes`; none where it would have to wait.
    fn write_some(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let fd = self.descriptor();
        let written = match &self.kind {
            Kind::Socket => rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::File | Kind::Terminal(Some(_)) => rustix::io::write(fd, bytes),
            Kind::Pipe | Kind::Terminal(None) => {
                if !is_writable(fd) {
                    return Ok(None);
                }
                let most = if matches!(self.kind, Kind::Pipe) { PIPE_PIECE } else { TERMINAL_PIECE };
                rustix::io::write(fd, &bytes[..bytes.len().min(most)])
            }
        };
        match written {
            Ok(count) => Ok(Some(count)),
            Err(Errno::INTR) => Ok(Some(0)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves when more can be written. It holds nothing of the port, which others may use meanwhile.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let copy = self.descriptor().try_clone_to_owned();
        async move {
            // SAFETY: an owned descriptor stays open and the same until it is dropped, after its registration.
            let register = |copy| unsafe { AsyncFd::register_with_interest(copy, Interest::WRITABLE) };
            let registered = copy.and_then(|copy| register(copy).map_err(io::Error::from));
            let waited = match &registered {
                Ok(registered) => registered.writable().await.map(drop),
                Err(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            };
            if waited.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Waits until all is written, `patience` at most; for the end of the process, when nothing else runs.
    pub(crate) fn finish(&mut self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        loop {
            self.pump()?;
            let left = until.saturating_duration_since(Instant::now());
            if self.is_empty() || left.is_zero() {
                return Ok(());
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.min(AGAIN * 10).as_nanos() as i64 };
            // Whatever it says, the next try tells.
            let _ = poll(&mut [PollFd::new(&self.descriptor(), PollFlags::OUT)], Some(&timeout));
        }
    }
}

fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A closed reader is writable, too: the write says so.
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&now)).is_ok_and(|ready| ready > 0)
}

fn kind(stream: Stream) -> Kind {
    let number = if stream == Stream::Stdout { 1 } else { 2 };
    let fd = if stream == Stream::Stdout { rustix::stdio::stdout() } else { rustix::stdio::stderr() };
    let Ok(about) = rustix::fs::fstat(fd) else { return Kind::File };
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice if rustix::termios::isatty(fd) => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            Kind::Terminal(rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty()).ok())
        }
        _ => Kind::File,
    }
}

/// Writes lines to stderr that nobody waits for: log lines and messages. Those that cannot be written are left out, and
/// counted where their reader stalls.
pub(crate) struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut port = stderr();
        // Neither a full disk nor a reader that went away is told where nothing can be told.
        let _ = port.pump();
        if port.kept() + bytes.len() > LINES_MAX {
            port.dropped += 1;
            return Ok(bytes.len());
        }
        if port.dropped > 0 && port.is_empty() {
            let note = format!("assay: {} lines were left out because nobody read stderr\n", port.dropped);
            port.dropped = 0;
            let _ = port.write(note.as_bytes());
        }
        let _ = port.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
