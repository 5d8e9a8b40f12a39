//! The run's ends of pipes and terminals.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// What one read asks for at most: what a pipe holds.
pub const PIECE: usize = 64 << 10;

/// One end of a pipe, or the controlling side of a terminal. Reading and writing never block.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// # Errors
    /// The operating system's.
    pub fn new(fd: OwnedFd) -> io::Result<Stream> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: the descriptor is owned, and neither replaced nor closed before it is dropped.
        Ok(Stream(unsafe { AsyncFd::register(fd)? }))
    }

    pub fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Waits for bytes, at most `max` of them; none is the end.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| read(fd.get_ref(), max)) {
                Ok(result) => return result,
                Err(_) => continue,
            }
        }
    }

    /// What is there now, at most `max` bytes: none where nothing is, empty at the end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read_now(&self, max: usize) -> io::Result<Option<Vec<u8>>> {
        match read(self.fd(), max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until all of `bytes` are written.
    ///
    /// # Errors
    /// The operating system's, `EPIPE` where nobody reads any more.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| retry(|| rustix::io::write(fd.get_ref(), bytes))) {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Ok(Err(error)) => return Err(error),
                Err(_) => continue,
            }
        }
        Ok(())
    }
}

/// The result of a call that signals may interrupt.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn read(fd: &OwnedFd, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max.clamp(1, PIECE)];
    match retry(|| rustix::io::read(fd, &mut bytes)) {
        Ok(read) => bytes.truncate(read),
        // How a terminal says that its last program has gone.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => bytes.clear(),
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

/// A pipe: what the program writes to and the run reads from.
///
/// # Errors
/// The operating system's.
pub fn output() -> io::Result<(OwnedFd, Stream)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((theirs, Stream::new(ours)?))
}

/// A pipe: what the program reads from and the run writes to.
///
/// # Errors
/// The operating system's.
pub fn input() -> io::Result<(OwnedFd, Stream)> {
    let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((theirs, Stream::new(ours)?))
}

/// Nothing to read, and nothing kept of what is written.
///
/// # Errors
/// The operating system's.
pub fn null() -> io::Result<OwnedFd> {
    Ok(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}
