//! The script's standard output and error.

use assay_capability_api::Output;
use std::io::{self, IsTerminal, Write};
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
