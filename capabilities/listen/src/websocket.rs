//! WebSockets (RFC 6455): each is a task on its connection's thread, which sends and answers pings
//! while the script does something else.

use crate::body::{gone, hold};
use crate::server::Server;
use assay_capability_api::frames::{self, Frames, KEPT, PIECE, is_flood};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Budget, Held, Meter, Metered, error, lock};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// Bytes that are read before the script asks for a message: enough to see pings and closes.
const AHEAD: usize = 64 << 10;
/// Messages, and bytes of them, that wait for the client.
const BEHIND: usize = 8;
const BEHIND_BYTES: usize = 64 << 10;
/// For the client to answer a close.
const CLOSING: Duration = Duration::from_secs(5);
/// Codes of a close that no frame had (RFC 6455 7.4.1).
const NO_MEMORY: &str = "the server has no memory for it";
const ABNORMAL: u16 = 1006;
const NO_STATUS: u16 = 1005;

/// The script's end of a WebSocket.
#[derive(Clone)]
pub struct Socket {
    incoming: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Incoming>>>,
    outgoing: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    meter: Arc<Meter>,
    budget: Arc<Budget>,
    shared: Arc<CloseState>,
}

/// A message for the script, with what it takes of the run's budget.
pub struct Incoming {
    pub data: Vec<u8>,
    pub binary: bool,
    pub held: Held,
}

/// What goes to the client.
enum Outgoing {
    /// The data hold what they take of the budget.
    Message {
        data: Bytes,
        binary: bool,
        _room: Option<OwnedSemaphorePermit>,
    },
    Close(Option<CloseFrame>),
}

/// Whether and why a connection is closed.
#[derive(Default)]
struct CloseState {
    closed: AtomicBool,
    reason: Mutex<Option<(u16, String)>>,
}

impl CloseState {
    fn close(&self, code: u16, reason: impl Into<String>) {
        lock(&self.reason).get_or_insert_with(|| (code, reason.into()));
        self.closed.store(true, Ordering::Release);
    }
}

/// What of an upgrade the script decides.
pub struct Wanted {
    /// By preference.
    pub protocols: Vec<String>,
    pub origins: Vec<String>,
    pub max_message: u64,
    /// Between pings.
    pub ping: Option<Duration>,
}

/// An upgrade that may go on: the fields of its response, and the subprotocol.
pub struct Handshake {
    pub headers: HeaderMap,
    pub protocol: Option<String>,
}

/// Checks a request for the upgrade (RFC 6455 4.2.1).
///
/// # Errors
/// The status and text to refuse it with.
pub fn handshake(
    parts: &Parts,
    secure: bool,
    wanted: &Wanted,
) -> Result<Handshake, (StatusCode, &'static str)> {
    let headers = &parts.headers;
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if parts.method != Method::GET || !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken here"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24) else {
        return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"));
    };
    if !may_connect(headers, secure, &wanted.origins) {
        return Err((StatusCode::FORBIDDEN, "this origin may not connect"));
    }
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    let protocol = wanted.protocols.iter().find(|own| offered.contains(&own.as_str())).cloned();
    let mut headers = HeaderMap::new();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key cannot be used"))?;
    headers.insert(http::header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = &protocol {
        let value = HeaderValue::from_str(protocol)
            .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the subprotocol is not a header value"))?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(Handshake { headers, protocol })
}

/// Whether a page of this origin may connect: browsers let any page open a WebSocket with the cookies of the
/// server, so another site's page may not, unless the script says so. Programs send no origin.
fn may_connect(headers: &HeaderMap, secure: bool, origins: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if origins.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let Some(host) = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    // A proxy in front may have taken TLS away, never added it.
    let schemes: &[&str] = if secure { &["https"] } else { &["https", "http"] };
    origin
        .split_once("://")
        .is_some_and(|(scheme, place)| schemes.contains(&scheme) && place.eq_ignore_ascii_case(host))
}

/// Starts the task of a WebSocket whose response is on its way.
///
/// # Errors
/// `limit` where the run's budget has no room for its buffers.
pub fn start(
    server: Arc<Server>,
    upgrade: OnUpgrade,
    wanted: &Wanted,
) -> Result<(Socket, impl Future<Output = ()> + use<>), Error> {
    let (to_script, incoming) = mpsc::unbounded_channel();
    let (outgoing, from_script) = mpsc::channel(BEHIND);
    let shared = Arc::new(CloseState::default());
    let budget = server.run.budget.clone();
    let kept = hold(&budget, KEPT)?;
    let meter = Meter::new(&budget, AHEAD);
    let max_message = usize::try_from(budget.at_most(wanted.max_message)).unwrap_or(usize::MAX);
    let socket = Socket {
        incoming: Arc::new(tokio::sync::Mutex::new(incoming)),
        outgoing,
        room: Arc::new(Semaphore::new(BEHIND_BYTES)),
        meter: meter.clone(),
        budget,
        shared: shared.clone(),
    };
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = PIECE;
    config.write_buffer_size = PIECE;
    config.max_message_size = Some(max_message);
    config.max_frame_size = Some(max_message);
    config.max_write_buffer_size = KEPT;
    let ping = wanted.ping;
    let task = async move {
        let _kept = kept;
        match upgrade.await {
            Ok(upgraded) => {
                let stream = Frames::new(Metered::new(TokioIo::new(upgraded), meter.clone()), max_message);
                let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
                let task = Task { stream, meter, to_script, from_script, shared, ping };
                task.run(&server).await;
            }
            Err(failure) => {
                tracing::debug!(%failure, "a WebSocket was not upgraded");
                shared.close(ABNORMAL, "");
            }
        }
    };
    Ok((socket, task))
}

struct Task {
    stream: WebSocketStream<Frames<Metered<TokioIo<Upgraded>>>>,
    meter: Arc<Meter>,
    to_script: mpsc::UnboundedSender<Incoming>,
    from_script: mpsc::Receiver<Outgoing>,
    shared: Arc<CloseState>,
    ping: Option<Duration>,
}

/// Why the loop of a WebSocket ended.
enum End {
    /// The script closed it.
    Closed(Option<CloseFrame>),
    /// The client did, or the connection broke.
    Gone,
    /// We must: the script let go of it, or the server stops, or the client does not answer.
    Leave(CloseCode, &'static str),
}

impl Task {
    async fn run(mut self, server: &Server) {
        let end = self.exchange(server).await;
        let (frame, rest) = match end {
            End::Gone => return self.shared.close(ABNORMAL, ""),
            End::Closed(frame) => (frame, false),
            End::Leave(code, reason) => (Some(CloseFrame { code, reason: reason.into() }), true),
        };
        let (code, reason) = match &frame {
            Some(frame) => (frame.code.into(), frame.reason.to_string()),
            None => (NO_STATUS, String::new()),
        };
        let closing = async {
            // The close reaches the client behind what was sent before; then its own ends the connection.
            while rest && let Ok(Outgoing::Message { data, binary, .. }) = self.from_script.try_recv() {
                if self.send(data, binary).await.is_err() {
                    return;
                }
            }
            if self.stream.close(frame).await.is_ok() {
                // What comes before the client's close is for nobody.
                self.meter.ask(true);
                while let Some(Ok(message)) = self.stream.next().await {
                    drop(self.meter.became(0));
                    if let Message::Close(Some(frame)) = message {
                        self.shared.close(frame.code.into(), frame.reason.to_string());
                    }
                }
            }
        };
        let _ = tokio::time::timeout(CLOSING, closing).await;
        self.shared.close(code, reason);
    }

    /// Sends a message, in frames that leave no large buffer behind.
    async fn send(&mut self, data: Bytes, binary: bool) -> Result<(), tungstenite::Error> {
        for (first, last, piece) in frames::pieces(data) {
            let kind = match (first, binary) {
                (false, _) => Data::Continue,
                (true, true) => Data::Binary,
                (true, false) => Data::Text,
            };
            let frame = Frame::message(piece, OpCode::Data(kind), last);
            self.stream.feed(Message::Frame(frame)).await?;
        }
        self.stream.flush().await
    }

    async fn exchange(&mut self, server: &Server) -> End {
        let mut stopping = std::pin::pin!(server.stopping());
        let mut timer = self.ping.map(|every| {
            let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            timer
        });
        let mut heard = true;
        loop {
            let Task { stream, meter, from_script, .. } = &mut *self;
            tokio::select! {
                message = async {
                    // Nothing more is read while the script has not taken what was read before.
                    poll_fn(|context| meter.poll_room(context)).await;
                    stream.next().await
                } => {
                    heard = true;
                    match message {
                        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                            let binary = message.is_binary();
                            let mut data = Vec::from(message.into_data());
                            data.shrink_to_fit();
                            let Ok(held) = self.meter.became(data.len()) else {
                                return End::Leave(CloseCode::Again, NO_MEMORY);
                            };
                            self.meter.queue(data.len());
                            if self.to_script.send(Incoming { data, binary, held }).is_err() {
                                return End::Leave(CloseCode::Away, "");
                            }
                        }
                        Some(Ok(Message::Close(frame))) => {
                            let (code, reason) = frame
                                .map_or((NO_STATUS, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                            self.shared.close(code, reason);
                            // Sends the answer that tungstenite has ready.
                            let _ = tokio::time::timeout(CLOSING, self.stream.next()).await;
                            return End::Gone;
                        }
                        // Answers must not pile up for a client that only asks.
                        Some(Ok(Message::Ping(_))) => {
                            drop(self.meter.became(0));
                            if self.stream.flush().await.is_err() {
                                return End::Gone;
                            }
                        }
                        Some(Ok(_)) => drop(self.meter.became(0)),
                        Some(Err(_)) if self.meter.is_over() => return End::Leave(CloseCode::Again, NO_MEMORY),
                        Some(Err(failure)) => return refusal(&failure),
                        None => return End::Gone,
                    }
                }
                outgoing = from_script.recv() => match outgoing {
                    Some(Outgoing::Close(frame)) => return End::Closed(frame),
                    Some(Outgoing::Message { data, binary, _room }) => {
                        if self.send(data, binary).await.is_err() {
                            return End::Gone;
                        }
                    }
                    None => return End::Leave(CloseCode::Normal, ""),
                },
                () = tick(&mut timer) => {
                    // What the script has not taken keeps the answer from being read.
                    let held_up = self.meter.is_full();
                    if !std::mem::replace(&mut heard, false) && !held_up {
                        return End::Leave(CloseCode::Away, "no answer to a ping");
                    }
                    self.stream.get_mut().expect_pong();
                    if self.stream.send(Message::Ping(Default::default())).await.is_err() {
                        return End::Gone;
                    }
                }
                () = &mut stopping => return End::Leave(CloseCode::Away, "the server stops"),
            }
        }
    }
}

async fn tick(timer: &mut Option<tokio::time::Interval>) {
    match timer {
        Some(timer) => {
            timer.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// How a client that breaks the protocol or a limit is told (RFC 6455 7.4.1).
fn refusal(failure: &tungstenite::Error) -> End {
    tracing::debug!(%failure, "a WebSocket broke off");
    match failure {
        tungstenite::Error::Capacity(_) => End::Leave(CloseCode::Size, "the message is too large"),
        tungstenite::Error::Utf8(_) => End::Leave(CloseCode::Invalid, "text is not UTF-8"),
        tungstenite::Error::Protocol(_) => End::Leave(CloseCode::Protocol, ""),
        tungstenite::Error::Io(failure) if is_flood(failure) => {
            End::Leave(CloseCode::Policy, "too many frames that carry nothing")
        }
        _ => End::Gone,
    }
}

/// While it lives, the connection is read until there is a message.
struct Asking<'a>(&'a Meter);

impl Asking<'_> {
    fn new(meter: &Meter) -> Asking<'_> {
        meter.ask(true);
        Asking(meter)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.ask(false);
    }
}

impl Socket {
    /// The next message; the close code and reason at the end.
    ///
    /// # Errors
    /// Where another task reads already.
    pub async fn receive(&self) -> Result<Result<Incoming, (u16, String)>, Error> {
        let Ok(mut incoming) = self.incoming.try_lock() else {
            return Err(error(ErrorCode::InvalidArgument, "another task is reading this WebSocket"));
        };
        let asking = Asking::new(&self.meter);
        let received = incoming.recv().await;
        drop(asking);
        match received {
            Some(message) => {
                self.meter.unqueue(message.data.len());
                Ok(Ok(message))
            }
            None => {
                let reason = lock(&self.shared.reason).clone();
                Ok(Err(reason.unwrap_or((ABNORMAL, String::new()))))
            }
        }
    }

    /// # Errors
    /// `unavailable` when it is closed, `limit` where the run's budget does not hold the message.
    pub async fn send(&self, data: Vec<u8>, binary: bool) -> Result<(), Error> {
        if self.is_closed() {
            return Err(gone());
        }
        let bytes = data.len();
        let data = hold(&self.budget, bytes)?.with(data);
        let room = u32::try_from(bytes.min(BEHIND_BYTES)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(room) => room.ok(),
            () = self.outgoing.closed() => return Err(gone()),
        };
        let outgoing = Outgoing::Message { data, binary, _room: room };
        self.outgoing.send(outgoing).await.map_err(|_| gone())
    }

    /// Closes it; one that is closed stays so.
    pub async fn close(&self, code: u16, reason: String) {
        let frame = (code != NO_STATUS).then(|| CloseFrame { code: code.into(), reason: reason.into() });
        self.shared.closed.store(true, Ordering::Release);
        let _ = self.outgoing.send(Outgoing::Close(frame)).await;
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire) || self.outgoing.is_closed()
    }
}
