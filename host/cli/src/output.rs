//! The script's standard output and error.

use crate::port::{self, Port, Stream};
use assay_capability_api::{Output, lock};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// How much is kept for a reader that does not read, before the script has to wait.
const KEPT_FOR_READER: usize = 256 * 1024;
/// How long output may wait in the buffer of a script that computes.
const PATIENCE: Duration = Duration::from_millis(50);

/// Stdout is written line by line to a terminal and gathered for a pipe; stderr is written at once, after
/// what stdout had gathered, so that the two keep their order. Neither blocks the thread where a reader stalls.
pub(crate) struct Standard {
    stdout: Port,
    since: Instant,
}

impl Standard {
    pub(crate) fn new() -> Standard {
        Standard { stdout: Port::new(Stream::Stdout), since: Instant::now() }
    }
}

impl Output for Standard {
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        if stderr {
            self.stdout.pump()?;
            return port::stderr().write(bytes);
        }
        if self.stdout.is_empty() {
            self.since = Instant::now();
        }
        let due = self.since.elapsed() >= PATIENCE || (self.stdout.is_terminal() && bytes.contains(&b'\n'));
        if due || self.stdout.kept() + bytes.len() >= BUFFER_BYTES {
            self.stdout.write(bytes)
        } else {
            self.stdout.keep(bytes);
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        self.stdout.pump()?;
        let mut stderr = port::stderr();
        // What of stderr cannot be written was told to who wrote it.
        let _ = stderr.pump();
        Ok(self.stdout.is_empty() && stderr.is_empty())
    }

    fn is_congested(&self) -> bool {
        self.stdout.kept() > KEPT_FOR_READER || port::stderr().kept() > KEPT_FOR_READER
    }

    fn ready(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.stdout.is_empty() {
            true => Box::pin(port::stderr().ready()),
            false => Box::pin(self.stdout.ready()),
        }
    }
}

/// What is kept of a script's stdout at most.
const KEPT_BYTES: usize = 512 << 10;

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
        lock(&self.0)
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
            return port::stderr().write(bytes);
        }
        let mut gathered = self.lock();
        let room = KEPT_BYTES - gathered.kept.len();
        gathered.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        gathered.more |= bytes.len() > room;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<bool> {
        let mut stderr = port::stderr();
        let _ = stderr.pump();
        Ok(stderr.is_empty())
    }

    fn is_congested(&self) -> bool {
        port::stderr().kept() > KEPT_FOR_READER
    }

    fn ready(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(port::stderr().ready())
    }
}
