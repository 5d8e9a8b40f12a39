//! A stream and its buffers. Reads and writes of scripts are small; the host is asked for kilobytes.

use crate::bindings::fs::write_all;
use crate::host::fs::{File, Origin};
use crate::host::shell::{Exit, Pipe};
use crate::host::stdio::{self, Target};
use crate::host::types::{self, ErrorCode};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

/// The first read, and what is gathered before it is written.
pub const BUFFER: usize = 8 * 1024;
/// Reads grow up to this as a file is read on.
const LARGEST: usize = 64 * 1024;
/// `EBADF`, `EPIPE`'s neighbour `ESPIPE`: what C gives for a stream of the wrong direction or kind.
const BAD_FILE: i32 = 9;
const ILLEGAL_SEEK: i32 = 29;

/// What a stream reads from or writes to.
pub enum Source {
    Stdin,
    Output(Target),
    File {
        file: File,
        read: bool,
        write: bool,
    },
    /// A command: its output, or its input where `write` says so.
    Command {
        pipe: Pipe,
        write: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Full,
    Line,
    No,
}

/// Bytes that were read and not yet taken. Shared, so that who pushes a part of them as a Lua string
/// keeps them alive whatever a finalizer does to the stream meanwhile.
#[derive(Clone, Default)]
pub struct Unread {
    pub bytes: Rc<Vec<u8>>,
    pub at: usize,
}

impl Unread {
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

pub struct Stream {
    pub source: Source,
    unread: RefCell<Unread>,
    next_read: Cell<usize>,
    unwritten: RefCell<Vec<u8>>,
    /// How far the host's position is ahead of the script's.
    ahead: Cell<i64>,
    mode: Cell<Mode>,
    capacity: Cell<usize>,
    busy: Cell<bool>,
    listed: Cell<bool>,
    closed: Cell<bool>,
}

thread_local! {
    /// Streams that may hold something unwritten when the run ends.
    static WRITERS: RefCell<Vec<Weak<Stream>>> = const { RefCell::new(Vec::new()) };
}

/// Held while a call of a stream waits.
pub struct Busy(Rc<Stream>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(false);
    }
}

fn failure(errno: i32, message: &str) -> types::Error {
    types::Error { code: ErrorCode::Io, message: message.into(), errno }
}

impl Stream {
    pub fn new(source: Source) -> Rc<Stream> {
        Rc::new(Stream {
            source,
            unread: RefCell::default(),
            next_read: Cell::new(BUFFER),
            unwritten: RefCell::default(),
            ahead: Cell::new(0),
            mode: Cell::new(Mode::Full),
            capacity: Cell::new(BUFFER),
            busy: Cell::new(false),
            listed: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    /// The standard streams cannot be closed.
    pub fn is_standard(&self) -> bool {
        !matches!(self.source, Source::File { .. } | Source::Command { .. })
    }

    /// Takes the stream for one call that waits.
    pub fn lock(self: &Rc<Stream>) -> Result<Busy, types::Error> {
        if self.busy.replace(true) {
            return Err(types::Error {
                code: ErrorCode::Other,
                message: "the file is in use: another task waits for it".into(),
                errno: 0,
            });
        }
        Ok(Busy(self.clone()))
    }

    pub fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Whether a reader may look at the buffer at once.
    pub fn is_ready(&self) -> bool {
        !self.busy.get() && self.unwritten.borrow().is_empty()
    }

    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.borrow().is_empty()
    }

    /// What was read and not yet taken.
    pub fn unread(&self) -> Unread {
        self.unread.borrow().clone()
    }

    /// Marks `n` more bytes as taken.
    pub fn take(&self, n: usize) {
        self.unread.borrow_mut().at += n;
    }

    pub fn check_readable(&self) -> Result<(), types::Error> {
        match self.source {
            Source::Stdin | Source::File { read: true, .. } | Source::Command { write: false, .. } => Ok(()),
            _ => Err(failure(BAD_FILE, "Bad file descriptor")),
        }
    }

    pub fn check_writable(&self) -> Result<(), types::Error> {
        match self.source {
            Source::Output(_) | Source::File { write: true, .. } | Source::Command { write: true, .. } => {
                Ok(())
            }
            _ => Err(failure(BAD_FILE, "Bad file descriptor")),
        }
    }

    /// Reads on, with nothing unread left; false at the end.
    pub async fn fill(&self) -> Result<bool, types::Error> {
        self.flush().await?;
        let size = self.next_read.get();
        let bytes = match &self.source {
            Source::Stdin => stdio::read(size as u32).await?,
            Source::File { file, .. } => file.read(size as u32).await?,
            Source::Command { pipe, .. } => pipe.read(size as u32).await?,
            Source::Output(_) => return Err(failure(BAD_FILE, "Bad file descriptor")),
        };
        if bytes.len() == size {
            self.next_read.set((size * 2).min(LARGEST));
        }
        let any = !bytes.is_empty();
        *self.unread.borrow_mut() = Unread { bytes: Rc::new(bytes), at: 0 };
        Ok(any)
    }

    /// Reads past the buffer, for what is large; an empty list is the end.
    pub async fn read_direct(&self, max: usize) -> Result<Vec<u8>, types::Error> {
        match &self.source {
            Source::Stdin => stdio::read(max as u32).await,
            Source::File { file, .. } => file.read(max as u32).await,
            Source::Command { pipe, .. } => pipe.read(max as u32).await,
            Source::Output(_) => Err(failure(BAD_FILE, "Bad file descriptor")),
        }
    }

    /// Bytes left in a file, as a hint.
    pub async fn size_hint(&self) -> usize {
        match &self.source {
            Source::File { file, .. } => {
                let size = file.size().await.unwrap_or(0);
                let at = file.seek(Origin::Current, 0).await.unwrap_or(size);
                usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX)
            }
            _ => 0,
        }
    }

    /// Gives up what was read ahead, because the script writes or moves.
    fn forget_unread(&self) {
        let mut unread = self.unread.borrow_mut();
        self.ahead.set(self.ahead.get() + unread.rest().len() as i64);
        *unread = Unread::default();
    }

    /// Whether `len` more bytes only need to be kept.
    pub fn only_keeps(&self, len: usize, newline: bool) -> bool {
        let fits = self.unwritten.borrow().len().saturating_add(len) <= self.capacity.get();
        match (&self.source, self.mode.get()) {
            (Source::File { .. } | Source::Command { .. }, Mode::Full) => fits,
            (Source::File { .. } | Source::Command { .. }, Mode::Line) => fits && !newline,
            _ => false,
        }
    }

    /// Keeps bytes until they are written.
    pub fn keep(self: &Rc<Stream>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.forget_unread();
        self.unwritten.borrow_mut().extend_from_slice(bytes);
        if !self.listed.replace(true) {
            WRITERS.with_borrow_mut(|writers| {
                if writers.len() >= 64 && writers.len().is_power_of_two() {
                    writers.retain(|writer| writer.strong_count() > 0);
                }
                writers.push(Rc::downgrade(self));
            });
        }
    }

    /// Whether what is kept has to be written now.
    pub fn is_due(&self, newline: bool) -> bool {
        match self.mode.get() {
            Mode::No => true,
            Mode::Line => newline || self.unwritten.borrow().len() >= self.capacity.get(),
            Mode::Full => self.unwritten.borrow().len() >= self.capacity.get(),
        }
    }

    /// Writes what is kept. What cannot be written is given up, as it would fail again.
    pub async fn flush(&self) -> Result<(), types::Error> {
        loop {
            let bytes = self.unwritten.take();
            if bytes.is_empty() {
                return Ok(());
            }
            match &self.source {
                Source::File { file, .. } => {
                    self.align(file).await?;
                    write_all(file, &bytes).await?;
                }
                Source::Command { pipe, .. } => pipe.write(bytes).await?,
                Source::Stdin | Source::Output(_) => {}
            }
        }
    }

    /// Brings the host's position to the script's.
    async fn align(&self, file: &File) -> Result<(), types::Error> {
        let ahead = self.ahead.take();
        if ahead != 0 {
            file.seek(Origin::Current, -ahead).await?;
        }
        Ok(())
    }

    /// Writes a large piece past the buffer; what was kept is written before.
    pub async fn write_direct(&self, bytes: &[u8]) -> Result<(), types::Error> {
        match &self.source {
            Source::Output(target) => write_output(*target, bytes),
            Source::File { file, .. } => {
                self.flush().await?;
                self.forget_unread();
                self.align(file).await?;
                write_all(file, bytes).await
            }
            Source::Command { pipe, .. } => {
                self.flush().await?;
                for piece in bytes.chunks(crate::call::piece()) {
                    pipe.write(piece.to_vec()).await?;
                }
                Ok(())
            }
            Source::Stdin => Err(failure(BAD_FILE, "Bad file descriptor")),
        }
    }

    /// Writes what is kept; closes the pipe of a command, and waits for its end.
    ///
    /// # Errors
    /// The write's, where nobody reads any more, or the host's.
    pub async fn close(&self) -> Result<Option<Exit>, types::Error> {
        let written = self.flush().await;
        match &self.source {
            Source::Command { pipe, .. } if !self.closed.replace(true) => {
                let exit = pipe.close().await?;
                written.map(|()| Some(exit))
            }
            _ => written.map(|()| None),
        }
    }

    /// Writes to a standard stream, whose buffer is the host's.
    pub fn write_output(&self, target: Target, bytes: &[u8]) -> Result<(), types::Error> {
        write_output(target, bytes)?;
        match self.mode.get() {
            Mode::No => stdio::flush(target),
            Mode::Line if bytes.contains(&b'\n') => stdio::flush(target),
            _ => Ok(()),
        }
    }

    /// Moves the position.
    pub async fn seek(&self, origin: Origin, offset: i64) -> Result<u64, types::Error> {
        let Source::File { file, .. } = &self.source else {
            return Err(failure(ILLEGAL_SEEK, "Illegal seek"));
        };
        self.flush().await?;
        self.forget_unread();
        self.next_read.set(BUFFER);
        // From where the script believes to be.
        self.align(file).await?;
        file.seek(origin, offset).await
    }

    pub fn set_mode(&self, mode: Mode, capacity: usize) {
        self.mode.set(mode);
        // No script needs megabytes kept, and what is kept is not counted as Lua's memory.
        self.capacity.set(capacity.clamp(1, LARGEST));
    }
}

fn write_output(target: Target, bytes: &[u8]) -> Result<(), types::Error> {
    bytes.chunks(crate::call::piece()).try_for_each(|piece| stdio::write(target, piece))
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.has_unwritten() {
            // Collected: nobody is left to be told that it failed.
            let _ = wit_bindgen::block_on(self.flush());
        }
    }
}

/// The streams that are open and were written to since this was last asked.
fn writers() -> Vec<Rc<Stream>> {
    let open: Vec<_> = WRITERS.take().iter().filter_map(Weak::upgrade).collect();
    open.iter().for_each(|stream| stream.listed.set(false));
    open
}

/// Closes what the script left open, after `last`, the last that the script does: finalizers, which may still write. Gives why
/// something could not be written.
pub fn finish(last: impl FnOnce()) -> Vec<String> {
    let mut open = writers();
    last();
    open.extend(writers());
    let failed = open.iter().filter_map(|stream| wit_bindgen::block_on(stream.close()).err());
    failed.map(|error| format!("a file that was left open could not be written: {}", error.message)).collect()
}

/// Writes what open files hold, between two lines of a session.
pub fn write_out() {
    for stream in writers() {
        if let Err(error) = wit_bindgen::block_on(stream.flush()) {
            crate::host::log::write(crate::host::log::Level::Error, &error.message, "");
        }
    }
}
