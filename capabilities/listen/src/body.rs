//! Bodies: of requests as the guest reads them, of responses as hyper sends them.

use crate::exchange::ResponseSlot;
use crate::frames::{Progress, Working};
use crate::server::Server;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Budget, Held, Limit, Run, error, limit_error};
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Request bodies up to this many bytes come with their request.
pub const INLINE: usize = 64 << 10;
/// Bytes of one piece of a response.
pub const PIECE: usize = 64 << 10;
/// Pieces that wait for the client.
const AHEAD: usize = 4;
/// A comment is sent on a stream of events after this long without an event: proxies close what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What is left of a request body.
pub struct Upload {
    incoming: Incoming,
    first: Bytes,
    done: u64,
    /// 0 is no bound.
    most: u64,
    /// For each piece.
    timeout: Option<Duration>,
    ended: bool,
}

/// A body that ended before it was handed over, or what is left of it.
pub enum Begun {
    Whole(Bytes),
    Rest(Upload),
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Broken {
    TooLarge,
    TimedOut,
    /// The client broke off or sent what is no body.
    Lost(String),
}

impl Upload {
    pub fn new(incoming: Incoming, most: u64, timeout: Option<Duration>) -> Upload {
        Upload { incoming, first: Bytes::new(), done: 0, most, timeout, ended: false }
    }

    /// The next bytes, never none; `None` at the end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        while !self.ended {
            match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    self.done += data.len() as u64;
                    if self.most > 0 && self.done > self.most {
                        self.ended = true;
                        return Poll::Ready(Err(Broken::TooLarge));
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(failure)) => {
                    self.ended = true;
                    return Poll::Ready(Err(Broken::Lost(failure.to_string())));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(Ok(None))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        let timeout = self.timeout;
        let next = poll_fn(|context| self.poll_next(context));
        match timeout {
            None => next.await,
            Some(timeout) => tokio::time::timeout(timeout, next).await.unwrap_or(Err(Broken::TimedOut)),
        }
    }

    /// Reads a body that is announced to be small, or what is there of another one.
    ///
    /// # Errors
    /// When it breaks off or is too large.
    pub async fn begin(mut self) -> Result<Begun, Broken> {
        let small = self.incoming.size_hint().exact().is_some_and(|length| length <= INLINE as u64);
        let mut whole = BytesMut::new();
        while whole.len() <= INLINE {
            let piece = if small {
                self.piece().await?
            } else {
                match poll_fn(|context| Poll::Ready(self.poll_next(context))).await {
                    Poll::Ready(piece) => piece?,
                    Poll::Pending => break,
                }
            };
            match piece {
                // Nearly always the body is one piece.
                Some(piece) if whole.is_empty() && self.incoming.is_end_stream() => {
                    return Ok(Begun::Whole(piece));
                }
                Some(piece) => whole.extend_from_slice(&piece),
                None => return Ok(Begun::Whole(whole.freeze())),
            }
        }
        self.first = whole.freeze();
        Ok(Begun::Rest(self))
    }

    /// At most `max` bytes; `None` at the end.
    ///
    /// # Errors
    /// `limit`, `timeout`, `unavailable`.
    pub async fn read(&mut self, run: &Run, max: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut data = match self.piece().await {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(None),
            Err(broken) => return Err(self.failure(&broken)),
        };
        if data.len() > max {
            self.first = data.split_off(max);
        }
        run.count_bytes(data.len())?;
        Ok(Some(data.into()))
    }

    fn failure(&self, broken: &Broken) -> Error {
        match broken {
            Broken::TooLarge => error(
                ErrorCode::Limit,
                format!("the request body has more than {} bytes; raise max_body of http.serve", self.most),
            ),
            Broken::TimedOut => error(
                ErrorCode::Timeout,
                "the client sent nothing of the request body for too long (body_timeout of http.serve)",
            ),
            Broken::Lost(why) => {
                error(ErrorCode::Unavailable, format!("the client broke off the request body: {why}"))
            }
        }
    }
}

/// A response body.
pub enum Body {
    Empty,
    Data(Bytes),
    Channel(Box<Channel>),
    File(Box<FileBody>),
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Body {
        if data.is_empty() { Body::Empty } else { Body::Data(data) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        match this {
            Body::Empty => Poll::Ready(None),
            // In pieces, so that no more waits for a client than it takes.
            Body::Data(data) => {
                let piece = data.split_to(data.len().min(PIECE));
                if data.is_empty() {
                    *this = Body::Empty;
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Body::Channel(channel) => channel.poll(context),
            Body::File(file) => file.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Data(_) | Body::Channel(_) => false,
            Body::File(file) => file.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Data(data) => SizeHint::with_exact(data.len() as u64),
            Body::Channel(_) => SizeHint::default(),
            Body::File(file) => SizeHint::with_exact(file.left),
        }
    }
}

/// What a client that does not read keeps in memory, with what it takes of the run's budget.
struct Owned(Vec<u8>, #[expect(dead_code, reason = "given back when it is dropped")] Held);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes from the budget what waits for a client. The last quarter is for what is small: clients that take nothing of
/// what is large must not keep the others from being answered.
///
/// # Errors
/// `limit`.
pub fn hold(budget: &Arc<Budget>, bytes: usize) -> Result<Held, Error> {
    let left = budget.left().saturating_sub(budget.limit() / 4);
    if bytes > PIECE && bytes as u64 > left {
        return Err(limit_error(Limit::HostMemory, budget.limit()));
    }
    budget.take(bytes)
}

/// Bytes of the script for a client, counted against the run's limits.
///
/// # Errors
/// `limit`.
pub fn counted(run: &Run, data: Vec<u8>) -> Result<Bytes, Error> {
    let held = hold(&run.budget, data.len())?;
    run.count_bytes(data.len())?;
    Ok(if data.is_empty() { Bytes::new() } else { Bytes::from_owner(Owned(data, held)) })
}

/// A piece of a body on its way; none is its end.
type Item = Option<Bytes>;

/// The end that the guest writes to.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Item>);

/// The end that hyper reads.
pub struct Channel {
    items: mpsc::Receiver<Item>,
    /// Of a stream of events, which has no end of its own: resolves when the server stops.
    stopping: Option<Stopping>,
    stopped: bool,
    events: bool,
    /// Made when it is first polled: its clock is that of the connection's thread.
    keep_alive: Option<Pin<Box<Sleep>>>,
    ended: bool,
    response_slot: Arc<ResponseSlot>,
    /// Told while it is the script that is waited for.
    progress: Option<Arc<Progress>>,
    working: Option<Working>,
}

type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body that the guest writes. When the client goes away, `response_slot` tells the guest. A stream of events ends when its
/// server stops.
pub fn channel(events: Option<Arc<Server>>, response_slot: Arc<ResponseSlot>) -> (Writer, Channel) {
    let (sender, items) = mpsc::channel(AHEAD);
    let channel = Channel {
        items,
        events: events.is_some(),
        stopped: false,
        stopping: events.map(|server| Box::pin(async move { server.stopping().await }) as Stopping),
        keep_alive: None,
        ended: false,
        response_slot,
        progress: None,
        working: None,
    };
    (Writer(sender), channel)
}

impl Writer {
    /// # Errors
    /// `unavailable` when the client is gone.
    pub async fn write(&self, mut data: Bytes) -> Result<(), Error> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            self.0.send(Some(piece)).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    /// Ends the body well; one that is dropped without it breaks off.
    pub fn finish(self) {
        let sender = self.0;
        if let Err(mpsc::error::TrySendError::Full(end)) = sender.try_send(None) {
            // The client is slower than the script: the end waits behind what it still takes.
            tokio::spawn(async move { sender.send(end).await });
        }
    }
}

/// The error of a handler that still sends.
pub fn gone() -> Error {
    error(ErrorCode::Unavailable, "the connection is closed: the client has gone, or the server stops")
}

impl Channel {
    /// Tells `progress` while it is the script that is waited for, and not the client.
    pub fn watch(&mut self, progress: Arc<Progress>) {
        self.progress = Some(progress);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = self.poll_item(context);
        match polled.is_ready() {
            true => self.working = None,
            false if self.working.is_none() => self.working = self.progress.as_ref().map(Progress::work),
            false => {}
        }
        polled
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            // What was sent before still leaves.
            self.stopping = None;
            self.stopped = true;
            self.items.close();
        }
        match self.items.poll_recv(context) {
            Poll::Ready(Some(Some(data))) => {
                if let Some(timer) = &mut self.keep_alive {
                    timer.as_mut().reset(Instant::now() + KEEP_ALIVE);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(None)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(None) if self.stopped => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Some(Err(io::Error::other("the handler failed"))))
            }
            Poll::Pending => {
                if !self.events {
                    return Poll::Pending;
                }
                let timer = self.keep_alive.get_or_insert_with(|| Box::pin(tokio::time::sleep(KEEP_ALIVE)));
                ready!(timer.as_mut().poll(context));
                timer.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if !self.ended {
            self.items.close();
            self.response_slot.tell_owner();
        }
    }
}

/// A stretch of a file.
pub struct FileBody {
    file: tokio::fs::File,
    left: u64,
    budget: Arc<Budget>,
    /// What is read next, with what it takes of the budget.
    piece: Option<Owned>,
}

impl FileBody {
    /// `file` stands where the stretch begins.
    pub fn new(file: std::fs::File, left: u64, run: &Run) -> FileBody {
        FileBody { file: tokio::fs::File::from_std(file), left, budget: run.budget.clone(), piece: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.piece {
            Some(piece) => piece,
            none => {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
                let held = self.budget.take(most).map_err(|failure| io::Error::other(failure.message))?;
                none.insert(Owned(vec![0; most], held))
            }
        };
        let mut buffer = ReadBuf::new(&mut piece.0);
        ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer))?;
        let filled = buffer.filled().len();
        piece.0.truncate(filled);
        let Some(piece) = self.piece.take().filter(|_| filled > 0) else {
            let shorter = io::Error::other("the file became shorter while it was sent");
            return Poll::Ready(Some(Err(shorter)));
        };
        self.left -= filled as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }
}
