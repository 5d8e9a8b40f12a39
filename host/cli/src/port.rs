//! Writing to the process's own stdout and stderr without ever waiting for who reads them.
//!
//! The two may be shared with other processes, so they cannot be made non-blocking. A pipe takes 4 KiB (`PIPE_BUF`)
//! whenever `poll` says that it is writable (pipe(7)), a socket says itself whether it would block, and a terminal is opened
//! again for writing without waiting.

use assay_capability_api::lock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a writable pipe takes at least, bytes.
const PIPE_PIECE: usize = 4096;
/// How much is written at a time to a terminal that cannot be opened again.
const TERMINAL_PIECE: usize = 128;
/// How much is kept of log lines that nobody reads; what comes then is left out.
const LINES_MAX: usize = 1 << 20;
/// How long log lines may take before a question is asked.
const BEFORE_QUESTION: Duration = Duration::from_millis(500);
/// Looked at again where the system cannot tell when a stream is writable.
const AGAIN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Whether somebody is asked for grants on the terminal: the script must not be able to write what looks like a question.
static GUARDED: AtomicBool = AtomicBool::new(false);
/// Whether a question is open, which nothing may be written over.
static HELD: AtomicBool = AtomicBool::new(false);

/// From now on nothing that is written to a terminal, a pipe or a socket has control characters but line breaks, with or
/// without a carriage return, and tabs.
pub(crate) fn guard() {
    GUARDED.store(true, Ordering::Relaxed);
}

pub(crate) fn is_guarded() -> bool {
    GUARDED.load(Ordering::Relaxed)
}

/// Writes what stderr has, and then nothing on either stream until it is dropped.
pub(crate) fn hold() -> Hold {
    let _ = stderr().finish(BEFORE_QUESTION);
    HELD.store(true, Ordering::SeqCst);
    Hold
}

/// See [`hold`].
pub(crate) struct Hold;

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.store(false, Ordering::SeqCst);
    }
}

/// Takes control characters out of a stream of UTF-8 that comes in pieces.
#[derive(Default)]
struct Cleaner {
    /// The first bytes of a character.
    begun: Vec<u8>,
}

impl Cleaner {
    fn clean(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut clean = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        for chunk in all.utf8_chunks() {
            let mut chars = chunk.valid().chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\n' | '\t' => clean.push(c),
                    // Alone it goes back to the start of the line.
                    '\r' if chars.peek() == Some(&'\n') => clean.push(c),
                    c if c.is_control() => clean.extend(c.escape_unicode()),
                    c => clean.push(c),
                }
            }
            let invalid = chunk.invalid();
            rest = &rest[chunk.valid().len() + invalid.len()..];
            let goes_on = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            match rest.is_empty() && goes_on {
                true => self.begun = invalid.to_vec(),
                false if invalid.is_empty() => {}
                false => clean.push(char::REPLACEMENT_CHARACTER),
            }
        }
        clean.into_bytes()
    }
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
    cleaner: Cleaner,
}

/// The process's stderr: what the script writes there, log lines and messages share one queue.
pub(crate) fn stderr() -> MutexGuard<'static, Port> {
    lock(&STDERR)
}

static STDERR: LazyLock<Mutex<Port>> = LazyLock::new(|| Mutex::new(Port::new(Stream::Stderr)));

impl Port {
    pub(crate) fn new(stream: Stream) -> Port {
        Port {
            stream,
            kind: kind(stream),
            queue: Vec::new(),
            written: 0,
            dropped: 0,
            cleaner: Cleaner::default(),
        }
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
        let bytes = self.clean(bytes);
        self.queue.extend_from_slice(&bytes);
    }

    fn clean<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        // What reads a pipe may be on the terminal too: `| tee log`.
        match is_guarded() && !matches!(self.kind, Kind::File) {
            true => self.cleaner.clean(bytes).into(),
            false => bytes.into(),
        }
    }

    /// Writes `bytes` after what is kept, and keeps what the reader does not take.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pump()?;
        let bytes = self.clean(bytes);
        let mut rest = &*bytes;
        if self.is_empty() {
            while !rest.is_empty() {
                match self.write_some(rest)? {
                    Some(count) => rest = &rest[count..],
                    None => break,
                }
            }
        }
        self.queue.extend_from_slice(rest);
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
        if HELD.load(Ordering::SeqCst) {
            return Ok(None);
        }
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
            if HELD.load(Ordering::SeqCst) {
                tokio::time::sleep(AGAIN).await;
            }
            let waited = match &registered {
                Ok(registered) => registered.writable().await.map(drop),
                Err(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            };
            if waited.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// [`Port::finish`], and gives up what is left then.
    pub(crate) fn part(&mut self, patience: Duration) {
        // Where it fails there is nothing left to say it with.
        let _ = self.finish(patience);
        self.clear();
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

#[cfg(test)]
mod tests {
    use super::Cleaner;

    #[test]
    fn nothing_that_moves_is_left() {
        for (pieces, clean) in [
            (&[&b"a\tb\r\n"[..]][..], "a\tb\r\n"),
            (&[b"a\rb"], "a\\u{d}b"),
            (&[b"\x1b[7m assay"], "\\u{1b}[7m assay"),
            (&[b"\x1b", b"[7m"], "\\u{1b}[7m"),
            (&[b"\x08\x7f\x00"], "\\u{8}\\u{7f}\\u{0}"),
            // The eight-bit forms of control characters, whole, in two pieces, and alone.
            (&[b"\xc2\x9b7m"], "\\u{9b}7m"),
            (&[b"\xc2", b"\x9b7m"], "\\u{9b}7m"),
            (&[b"\x9b7m"], "\u{fffd}7m"),
            (&["\u{e9}\u{4e2d}".as_bytes()], "\u{e9}\u{4e2d}"),
            (&[b"\xe4", b"\xb8", b"\xad"], "\u{4e2d}"),
            (&[b"\xe4", b"x"], "\u{fffd}x"),
        ] {
            let mut cleaner = Cleaner::default();
            let written: Vec<u8> = pieces.iter().flat_map(|piece| cleaner.clean(piece)).collect();
            assert_eq!(String::from_utf8(written).as_deref(), Ok(clean), "{pieces:?}");
        }
    }
}
