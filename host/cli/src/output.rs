//! The script's standard output and error.

use assay_capability_api::Output;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long output may wait in the buffer of a script that computes.
const PATIENCE: Duration = Duration::from_millis(50);

/// Stdout is written line by line to a terminal and gathered for a pipe; stderr is written at once, after
/// what stdout had gathered, so that the two keep their order.
pub(crate) struct Standard {
    buffer: Vec<u8>,
    since: Instant,
    terminal: bool,
}

impl Standard {
    pub(crate) fn new() -> Standard {
        Standard { buffer: Vec::new(), since: Instant::now(), terminal: io::stdout().is_terminal() }
    }
}

impl Output for Standard {
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        if stderr {
            self.flush()?;
            return io::stderr().lock().write_all(bytes);
        }
        if self.buffer.is_empty() {
            self.since = Instant::now();
        }
        self.buffer.extend_from_slice(bytes);
        let full = self.buffer.len() >= BUFFER_BYTES || self.since.elapsed() >= PATIENCE;
        if full || (self.terminal && bytes.contains(&b'\n')) { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.buffer).and_then(|()| stdout.flush());
        self.buffer.clear();
        written
    }
}

/// What is kept of a script's stdout at most.
const KEPT_BYTES: usize = 512 << 10;

/// Where a script's stdout goes.
#[derive(Clone)]
pub(crate) enum Sink {
    Standard,
    Kept(Kept),
}

impl Sink {
    pub(crate) fn open(&self) -> Box<dyn Output> {
        match self {
            Sink::Standard => Box::new(Standard::new()),
            Sink::Kept(kept) => Box::new(kept.clone()),
        }
    }
}

/// Stdout that is kept in memory; stderr is the process's.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    kept: Vec<u8>,
    more: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What was kept as text, and whether there was more. What is no UTF-8 is replaced.
    pub(crate) fn text(&self) -> (String, bool) {
        let mut bytes = self.lock();
        let kept = std::mem::take(&mut bytes.kept);
        let whole = match std::str::from_utf8(&kept) {
            // The first bytes of a character whose rest was cut off.
            Err(error) if bytes.more && error.error_len().is_none() => &kept[..error.valid_up_to()],
            _ => &kept[..],
        };
        (String::from_utf8_lossy(whole).into_owned(), bytes.more)
    }
}

impl Output for Kept {
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        if stderr {
            return io::stderr().lock().write_all(bytes);
        }
        let mut gathered = self.lock();
        let room = KEPT_BYTES - gathered.kept.len();
        gathered.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        gathered.more |= bytes.len() > room;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
