//! Where standard input comes from.

use assay_capability_api::lock;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use tokio::sync::Notify;

/// How much is read ahead of the script, bytes.
const PIECE: usize = 64 << 10;

/// The standard input of a run. The runtime puts one in place with `Ctx::set_state`; without it there is
/// none, so that a hosted script never reads what belongs to the server.
#[derive(Clone)]
pub struct Input(Arc<SharedInput>);

impl Default for Input {
    fn default() -> Input {
        Input::bytes(Vec::new())
    }
}

/// What the reading thread and those who wait for input share.
#[derive(Default)]
struct SharedInput {
    state: Mutex<State>,
    /// Tells the reading thread that input is wanted.
    wanted: Condvar,
    /// Tells those who wait that something came.
    came: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// How much of `buffer` has been taken.
    taken: usize,
    ended: bool,
    failed: Option<io::Error>,
    wanted: bool,
    /// What the thread will read, until it is started.
    reader: Option<Box<dyn Read + Send>>,
}

impl SharedInput {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Input {
    /// Input that is known already.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Input {
        let state = State { buffer: bytes.into(), ended: true, ..State::default() };
        Input(Arc::new(SharedInput { state: Mutex::new(state), ..SharedInput::default() }))
    }

    /// The standard input of this process, the same for every run that gets it.
    pub fn process() -> Input {
        static PROCESS: OnceLock<Input> = OnceLock::new();
        PROCESS.get_or_init(|| Input::reader(io::stdin())).clone()
    }

    /// What `reader` gives. It is read by a thread of its own, started when input is first wanted and reading
    /// only while somebody waits: a thread of the async runtime would hold up the exit of the process until a
    /// line is typed.
    pub fn reader(reader: impl Read + Send + 'static) -> Input {
        let state = State { reader: Some(Box::new(reader)), ..State::default() };
        Input(Arc::new(SharedInput { state: Mutex::new(state), ..SharedInput::default() }))
    }

    /// Takes at most `max` bytes, as soon as there are any; nothing at the end. A call that is dropped
    /// takes nothing.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        loop {
            let mut came = std::pin::pin!(self.0.came.notified());
            // From here on nothing that comes is missed.
            came.as_mut().enable();
            {
                let mut state = self.0.state();
                if state.taken < state.buffer.len() || max == 0 {
                    let end = state.buffer.len().min(state.taken.saturating_add(max));
                    let bytes = state.buffer[state.taken..end].to_vec();
                    state.taken = end;
                    if end == state.buffer.len() {
                        state.buffer.clear();
                        state.taken = 0;
                    }
                    return Ok(bytes);
                }
                if let Some(failed) = state.failed.take() {
                    return Err(failed);
                }
                if state.ended {
                    return Ok(Vec::new());
                }
                if !state.wanted {
                    if let Some(reader) = state.reader.take() {
                        start(self.0.clone(), reader)?;
                    }
                    state.wanted = true;
                    self.0.wanted.notify_one();
                }
            }
            came.await;
        }
    }
}

/// Starts the thread that reads whenever input is wanted, until the end.
fn start(own: Arc<SharedInput>, mut reader: Box<dyn Read + Send>) -> io::Result<()> {
    let work = move || {
        let mut piece = vec![0; PIECE];
        loop {
            let mut state = own.state();
            while !state.wanted {
                state = own.wanted.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            drop(state);
            let read = reader.read(&mut piece);
            let mut state = own.state();
            match read {
                Ok(0) => state.ended = true,
                Ok(length) => state.buffer.extend_from_slice(&piece[..length]),
                Err(failed) if failed.kind() == io::ErrorKind::Interrupted => continue,
                Err(failed) => state.failed = Some(failed),
            }
            state.wanted = false;
            let ended = state.ended;
            drop(state);
            own.came.notify_waiters();
            if ended {
                return;
            }
        }
    };
    std::thread::Builder::new().name("stdin".into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::mpsc::{Receiver, channel};
    use std::task::{Context, Poll, Waker};

    /// Gives one piece for each that is sent; fails where an empty one is.
    struct Pieces(Receiver<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(piece) if piece.is_empty() => Err(io::ErrorKind::Other.into()),
                Ok(piece) => {
                    out[..piece.len()].copy_from_slice(&piece);
                    Ok(piece.len())
                }
                Err(_) => Ok(0),
            }
        }
    }

    #[tokio::test]
    async fn pieces_errors_and_the_end() {
        let (send, receive) = channel();
        let input = Input::reader(Pieces(receive));
        send.send(b"hello".to_vec()).unwrap();
        assert_eq!(input.read(3).await.unwrap(), b"hel");
        assert_eq!(input.read(0).await.unwrap(), b"");
        assert_eq!(input.read(100).await.unwrap(), b"lo");
        send.send(Vec::new()).unwrap();
        assert!(input.read(1).await.is_err());
        send.send(b"\0\xff".to_vec()).unwrap();
        assert_eq!(input.read(9).await.unwrap(), b"\0\xff");
        drop(send);
        assert_eq!(input.read(9).await.unwrap(), b"");
        assert_eq!(input.read(9).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (send, receive) = channel();
        let input = Input::reader(Pieces(receive));
        {
            let mut read = std::pin::pin!(input.read(9));
            assert!(matches!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        }
        send.send(b"kept".to_vec()).unwrap();
        assert_eq!(input.read(2).await.unwrap(), b"ke");
        assert_eq!(input.read(2).await.unwrap(), b"pt");
    }

    #[tokio::test]
    async fn none_by_default() {
        assert_eq!(Input::default().read(9).await.unwrap(), b"");
        assert_eq!(Input::bytes("ab").read(1).await.unwrap(), b"a");
    }
}
