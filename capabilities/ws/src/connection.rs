//! An open WebSocket: one task reads, so that pings are answered and messages arrive while the script does
//! something else; sending goes on beside it.

use crate::handshake::{Socket, invalid};
use assay_capability_api::frames::{is_flood, pieces};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Held, Meter, Run, error, lock};
use assay_capability_http::dial::failed;
use futures_util::{Sink, Stream};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Error as Broken, Message, Utf8Bytes};

/// Bytes of messages that wait for the script; then the server has to wait.
const BUFFER: usize = 1 << 20;
/// What an empty message counts.
const LEAST: usize = 256;
/// How long a server may take to close the connection after both sides said that they close.
const PARTING: Duration = Duration::from_secs(2);
/// Bytes of a ping, and of the reason of a close (RFC 6455 5.5).
const MAX_PING: usize = 125;
const MAX_REASON: usize = 123;
/// Pings without an answer at a time.
const MAX_PINGS: usize = 64;
/// No code came (RFC 6455 7.4.1).
const NO_CODE: u16 = 1005;
/// The connection ended without being closed.
const ABNORMAL: u16 = 1006;

/// How a connection ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The server's code and reason.
    Closed(u16, String),
    Failed(Error),
}

struct Waiting {
    data: Vec<u8>,
    binary: bool,
    held: Held,
    _room: Option<OwnedSemaphorePermit>,
}

/// An answer that is waited for.
struct Ping {
    payload: Vec<u8>,
    answered: oneshot::Sender<()>,
}

/// What the reading task and the calls of the script share.
struct ConnectionState {
    /// None once the connection is over.
    socket: Mutex<Option<Socket>>,
    /// Held while a message is sent: what is left of it, which hold what they take of the budget.
    sending: tokio::sync::Mutex<VecDeque<Message>>,
    pings: Mutex<Vec<Ping>>,
    /// Closed once nobody wants messages any more.
    room: Arc<Semaphore>,
    end: watch::Sender<Option<End>>,
    meter: Arc<Meter>,
    subject: String,
}

/// A connection of a script.
pub struct Connection {
    shared: Arc<ConnectionState>,
    messages: tokio::sync::Mutex<mpsc::UnboundedReceiver<Waiting>>,
    run: Arc<Run>,
    max_message: u64,
    reading: AbortHandle,
    _handle: HandleGuard,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
        self.shared.shut();
    }
}

/// A message for the script, or the end.
pub enum Received {
    Text(Vec<u8>, Held),
    Binary(Vec<u8>, Held),
    Closed(u16, String),
}

/// Runs `f` within so many nanoseconds, 0 for no bound.
pub async fn within<T>(
    nanoseconds: u64,
    timed_out: impl FnOnce(Duration) -> Error,
    f: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    if nanoseconds == 0 {
        return f.await;
    }
    let bound = Duration::from_nanos(nanoseconds);
    tokio::time::timeout(bound, f).await.unwrap_or_else(|_| Err(timed_out(bound)))
}

impl ConnectionState {
    fn shut(&self) {
        lock(&self.socket).take();
        lock(&self.pings).clear();
    }

    /// Polls the socket; none where the connection is over.
    fn with<T>(&self, f: impl FnOnce(Pin<&mut Socket>) -> T) -> Option<T> {
        lock(&self.socket).as_mut().map(|socket| f(Pin::new(socket)))
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Broken>>> {
        self.with(|socket| socket.poll_next(context)).unwrap_or(Poll::Ready(None))
    }

    fn over(&self) -> Error {
        let why = match &*self.end.borrow() {
            Some(End::Closed(code, reason)) if reason.is_empty() => format!("it was closed (code {code})"),
            Some(End::Closed(code, reason)) => format!("it was closed (code {code}: {reason})"),
            Some(End::Failed(error)) => return error.clone(),
            None => "it is closed".to_string(),
        };
        error(ErrorCode::Unavailable, format!("{}: {why}; open another connection", self.subject))
    }

    fn broken(&self, failure: &Broken) -> Error {
        let say = |code, why: String| error(code, format!("{}: {why}", self.subject));
        match failure {
            Broken::Io(failure) if failure.kind() == ErrorKind::QuotaExceeded => {
                say(ErrorCode::Limit, format!("what the server sends does not fit: {failure}"))
            }
            Broken::Io(failure) if is_flood(failure) => {
                say(ErrorCode::Limit, format!("the connection was given up: {failure}"))
            }
            Broken::Io(failure) => failed(&self.subject, failure),
            Broken::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                let raise = match *max_size as u64 == self.meter.limit() {
                    true => "--host-memory",
                    false => "max_message or max_frame",
                };
                let why = format!(
                    "a message or frame of {size} bytes comes, {max_size} are accepted; raise {raise}"
                );
                say(ErrorCode::Limit, why)
            }
            Broken::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                say(ErrorCode::Unavailable, "the connection broke off without being closed".into())
            }
            Broken::WriteBufferFull(_) => {
                say(ErrorCode::Unavailable, "the server takes nothing any more".into())
            }
            Broken::ConnectionClosed
            | Broken::AlreadyClosed
            | Broken::Protocol(ProtocolError::SendAfterClosing) => self.over(),
            other => say(ErrorCode::InvalidData, format!("the server breaks the protocol: {other}")),
        }
    }

    /// Hands one message over and waits until it is on its way. Where the future is dropped before, what was handed
    /// over is sent before the next one.
    async fn send(&self, message: impl Iterator<Item = Message>) -> Result<(), Error> {
        let mut unsent = self.sending.lock().await;
        let sent = async {
            self.hand_over(&mut unsent).await?;
            unsent.extend(message);
            self.hand_over(&mut unsent).await?;
            poll_fn(|context| self.polled(|socket| socket.poll_flush(context))).await
        };
        let sent = sent.await;
        if sent.is_err() {
            unsent.clear();
        }
        sent.map_err(|failure| self.broken(&failure))
    }

    async fn hand_over(&self, unsent: &mut VecDeque<Message>) -> Result<(), Broken> {
        while !unsent.is_empty() {
            poll_fn(|context| self.polled(|socket| socket.poll_ready(context))).await?;
            let Some(message) = unsent.pop_front() else { break };
            self.with(|socket| socket.start_send(message)).unwrap_or(Err(Broken::AlreadyClosed))?;
        }
        Ok(())
    }

    fn polled(
        &self,
        poll: impl FnOnce(Pin<&mut Socket>) -> Poll<Result<(), Broken>>,
    ) -> Poll<Result<(), Broken>> {
        self.with(poll).unwrap_or(Poll::Ready(Err(Broken::AlreadyClosed)))
    }

    /// The next pong is the answer to a ping that is sent now.
    fn expect_pong(&self) {
        self.with(|socket| socket.get_mut().get_mut().expect_pong());
    }

    /// Answers the ping with this payload, and those before it: a server may leave them out (RFC 6455 5.5.3).
    fn answer(&self, payload: &[u8]) {
        let mut pings = lock(&self.pings);
        if let Some(at) = pings.iter().position(|ping| ping.payload == payload) {
            for ping in pings.drain(..=at) {
                // Nobody may wait any more.
                let _ = ping.answered.send(());
            }
        }
    }

    /// Tells the server why we give up; it need not hear it.
    async fn give_up(&self, failure: &Broken) {
        let code = match failure {
            Broken::Capacity(_) => CloseCode::Size,
            Broken::Utf8(_) => CloseCode::Invalid,
            Broken::Io(failure) if is_flood(failure) => CloseCode::Policy,
            Broken::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Broken::Io(_) => return,
            _ => CloseCode::Protocol,
        };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
        let _ = tokio::time::timeout(PARTING, self.send(one(Message::Close(Some(frame))))).await;
    }

    /// Reads until the connection is over.
    async fn read(&self, to: mpsc::UnboundedSender<Waiting>, keepalive: Option<Duration>) -> End {
        let mut alive = Instant::now();
        let mut asked = false;
        loop {
            let next = poll_fn(|context| self.poll_next(context));
            let next = match keepalive {
                None => next.await,
                Some(every) => match tokio::time::timeout_at((alive + every).into(), next).await {
                    Ok(next) => next,
                    Err(_) if asked => {
                        let message = format!(
                            "{}: the server gave no sign of life for {} seconds",
                            self.subject,
                            (2 * every).as_secs_f64()
                        );
                        return End::Failed(error(ErrorCode::Timeout, message));
                    }
                    Err(_) => {
                        self.ask().await;
                        (alive, asked) = (Instant::now(), true);
                        continue;
                    }
                },
            };
            (alive, asked) = (Instant::now(), false);
            let next = match next {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    let binary = message.is_binary();
                    let mut data = Vec::from(message.into_data());
                    data.shrink_to_fit();
                    let held = match self.meter.became(data.len()) {
                        Ok(held) => held,
                        Err(failure) => return End::Failed(failure),
                    };
                    let size = data.len().clamp(LEAST, BUFFER);
                    let room = u32::try_from(size).unwrap_or(u32::MAX);
                    // Without room to be had the message is dropped: the script is closing.
                    if let Ok(room) = self.room.clone().acquire_many_owned(room).await {
                        let _ = to.send(Waiting { data, binary, held, _room: Some(room) });
                        // The time that the script took is not the server's.
                        alive = Instant::now();
                    }
                    continue;
                }
                other => other,
            };
            drop(self.meter.became(0));
            match next {
                Some(Ok(Message::Pong(payload))) => self.answer(&payload),
                Some(Ok(Message::Close(frame))) => {
                    let end = match frame {
                        Some(frame) => End::Closed(frame.code.into(), frame.reason.as_str().to_string()),
                        None => End::Closed(NO_CODE, String::new()),
                    };
                    // The answer to it goes out while the rest is read.
                    let rest = async {
                        while let Some(Ok(_)) = poll_fn(|context| self.poll_next(context)).await {
                            drop(self.meter.became(0));
                        }
                    };
                    let _ = tokio::time::timeout(PARTING, rest).await;
                    return end;
                }
                // The answer is ready; nothing more is read before the server has taken it, so that answers do not pile
                // up for one that only asks.
                Some(Ok(Message::Ping(_))) => {
                    let answered = poll_fn(|context| self.polled(|socket| socket.poll_flush(context)));
                    if let Err(failure) = answered.await {
                        return End::Failed(self.broken(&failure));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(failure)) => {
                    let end = End::Failed(self.broken(&failure));
                    self.give_up(&failure).await;
                    return end;
                }
                None => {
                    return End::Failed(
                        self.broken(&Broken::Protocol(ProtocolError::ResetWithoutClosingHandshake)),
                    );
                }
            }
        }
    }

    /// Asks for a sign of life. Where a message is being sent, that is sign enough.
    async fn ask(&self) {
        let Ok(_sending) = self.sending.try_lock() else { return };
        self.expect_pong();
        poll_fn(|context| {
            self.with(|mut socket| {
                if socket.as_mut().start_send(Message::Ping(Bytes::new())).is_ok() {
                    let _ = socket.poll_flush(context);
                }
            });
            Poll::Ready(())
        })
        .await;
    }
}

fn one(message: Message) -> impl Iterator<Item = Message> {
    std::iter::once(message)
}

/// A message in frames that leave no large buffer behind.
fn frames(data: Bytes, binary: bool) -> impl Iterator<Item = Message> {
    pieces(data).map(move |(first, last, piece)| {
        let kind = match (first, binary) {
            (false, _) => Data::Continue,
            (true, true) => Data::Binary,
            (true, false) => Data::Text,
        };
        Message::Frame(Frame::message(piece, OpCode::Data(kind), last))
    })
}

impl Connection {
    /// Takes over an open socket, `kept` being what its buffers take of the budget. `keepalive` is how often the server
    /// is asked for a sign of life.
    pub fn start(
        run: Arc<Run>,
        (socket, meter, kept, subject): (Socket, Arc<Meter>, Held, String),
        max_message: u64,
        keepalive: Option<Duration>,
        handle: HandleGuard,
    ) -> Connection {
        let shared = Arc::new(ConnectionState {
            socket: Mutex::new(Some(socket)),
            sending: tokio::sync::Mutex::default(),
            pings: Mutex::default(),
            room: Arc::new(Semaphore::new(BUFFER)),
            end: watch::Sender::new(None),
            meter,
            subject,
        });
        let (to, messages) = mpsc::unbounded_channel();
        let reader = shared.clone();
        let reading = assay_capability_api::spawn_task(async move {
            let _kept = kept;
            // Kept until the end is known, so that a script that waits for a message finds it.
            let waiting = to.clone();
            let end = reader.read(to, keepalive).await;
            reader.shut();
            reader.end.send_replace(Some(end));
            drop(waiting);
        });
        Connection {
            shared,
            messages: tokio::sync::Mutex::new(messages),
            run,
            max_message,
            reading: reading.abort_handle(),
            _handle: handle,
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// `limit` for one that is too large, `invalid_argument` for text that is not UTF-8, `unavailable`
    /// where the connection is over, `timeout` where the server does not take it; it may still arrive then.
    pub async fn send(&self, data: Vec<u8>, binary: bool, timeout: u64) -> Result<(), Error> {
        let subject = &self.shared.subject;
        if self.max_message > 0 && data.len() as u64 > self.max_message {
            let message = format!(
                "{subject}: the message has {} bytes, at most {} are sent; raise max_message",
                data.len(),
                self.max_message
            );
            return Err(error(ErrorCode::Limit, message));
        }
        let held = self.run.budget.take(data.len())?;
        self.run.count_bytes(data.len())?;
        if let (false, Err(wrong)) = (binary, std::str::from_utf8(&data)) {
            return Err(invalid(format!(
                "{subject}: the message is not UTF-8 (byte {}); send it with binary = true",
                wrong.valid_up_to() + 1
            )));
        }
        let message = frames(held.with(data), binary);
        let late = |bound: Duration| {
            let message =
                format!("{subject}: the server did not take the message in {} seconds", bound.as_secs_f64());
            error(ErrorCode::Timeout, message)
        };
        within(timeout, late, self.shared.send(message)).await
    }

    /// The next message, or how the connection was closed.
    ///
    /// # Errors
    /// `timeout`, and what ended the connection where it was not closed.
    pub async fn receive(&self, timeout: u64) -> Result<Received, Error> {
        let next = async {
            let Some(Waiting { data, binary, held, .. }) = self.messages.lock().await.recv().await else {
                return match &*self.shared.end.borrow() {
                    Some(End::Closed(code, reason)) => Ok(Received::Closed(*code, reason.clone())),
                    _ => Err(self.shared.over()),
                };
            };
            self.run.count_bytes(data.len())?;
            Ok(if binary { Received::Binary(data, held) } else { Received::Text(data, held) })
        };
        let late = |bound: Duration| {
            let message =
                format!("{}: no message came in {} seconds", self.shared.subject, bound.as_secs_f64());
            error(ErrorCode::Timeout, message)
        };
        within(timeout, late, next).await
    }

    /// Sends a ping and waits for its answer.
    ///
    /// # Errors
    /// `timeout`, `invalid_argument` for a payload of more than 125 bytes, `limit` for too many at a time,
    /// `unavailable` where the connection is over.
    pub async fn ping(&self, payload: Vec<u8>, timeout: u64) -> Result<Duration, Error> {
        let subject = &self.shared.subject;
        if payload.len() > MAX_PING {
            return Err(invalid(format!("a ping carries at most {MAX_PING} bytes, not {}", payload.len())));
        }
        let (answered, answer) = oneshot::channel();
        let started = Instant::now();
        let asking = async {
            {
                let mut pings = lock(&self.shared.pings);
                pings.retain(|ping| !ping.answered.is_closed());
                if pings.len() >= MAX_PINGS {
                    let message = format!("{subject}: {MAX_PINGS} pings are without an answer");
                    return Err(error(ErrorCode::Limit, message));
                }
                pings.push(Ping { payload: payload.clone(), answered });
            }
            self.shared.expect_pong();
            self.shared.send(one(Message::Ping(payload.into()))).await?;
            answer.await.map_err(|_| self.shared.over())
        };
        let late = |bound: Duration| {
            let message = format!("{subject}: the ping was not answered in {} seconds", bound.as_secs_f64());
            error(ErrorCode::Timeout, message)
        };
        within(timeout, late, asking).await?;
        Ok(started.elapsed())
    }

    /// Closes the connection and waits for the server to do so too; what it still sends is dropped.
    ///
    /// # Errors
    /// `invalid_argument` for a code or reason that cannot be sent, `timeout` where the server does not
    /// answer; the connection is over all the same.
    pub async fn close(&self, code: u16, reason: String, timeout: u64) -> Result<(u16, String), Error> {
        // RFC 6455 7.4: what a client may send.
        if !matches!(code, 1000 | 1001 | 1002 | 1003 | 1007..=1011 | 3000..=4999) {
            return Err(invalid(format!(
                "{code} is not a code to close with; use 1000, 1001 or one from 3000 to 4999"
            )));
        } else if reason.len() > MAX_REASON {
            return Err(invalid(format!(
                "the reason of a close has at most {MAX_REASON} bytes, not {}",
                reason.len()
            )));
        }
        self.shared.room.close();
        match &*self.shared.end.borrow() {
            Some(End::Closed(code, reason)) => return Ok((*code, reason.clone())),
            Some(End::Failed(_)) => return Ok((ABNORMAL, String::new())),
            None => {}
        }
        let parting = async {
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            let mut end = self.shared.end.subscribe();
            // Where that fails, the reading task knows why.
            let _ = self.shared.send(one(Message::Close(Some(frame)))).await;
            let ended = end.wait_for(Option::is_some).await.map(|end| end.clone());
            match ended {
                Ok(Some(End::Closed(code, reason))) => Ok((code, reason)),
                // It is closed, if not as it should be; that is no failure of closing it.
                Ok(Some(End::Failed(error))) if error.code == ErrorCode::Unavailable => {
                    Ok((ABNORMAL, String::new()))
                }
                Ok(Some(End::Failed(error))) => Err(error),
                _ => Err(self.shared.over()),
            }
        };
        let late = |bound: Duration| {
            let message = format!(
                "{}: the server did not close in {} seconds",
                self.shared.subject,
                bound.as_secs_f64()
            );
            error(ErrorCode::Timeout, message)
        };
        let closed = within(timeout, late, parting).await;
        if let Err(failure) = &closed {
            self.reading.abort();
            self.shared.shut();
            self.shared.end.send_if_modified(|end| {
                let first = end.is_none();
                end.get_or_insert_with(|| End::Failed(failure.clone()));
                first
            });
        }
        closed
    }
}
