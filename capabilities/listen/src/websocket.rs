//! WebSockets (RFC 6455): each is a task on its connection's thread, which answers pings and sends its own
//! while the script does something else.

use crate::body::gone;
use crate::server::Server;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::exchange::lock;

/// Messages that wait for the script, and for the client.
const AHEAD: usize = 8;
/// For the client to answer a close.
const CLOSING: Duration = Duration::from_secs(5);
/// Codes of a close that no frame had (RFC 6455 7.4.1).
const ABNORMAL: u16 = 1006;
const NO_STATUS: u16 = 1005;

/// The script's end of a WebSocket.
#[derive(Clone)]
pub struct Socket {
    incoming: Arc<tokio::sync::Mutex<mpsc::Receiver<Message>>>,
    outgoing: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    reason: Mutex<Option<(u16, String)>>,
}

impl Shared {
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
    pub max_message: usize,
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
pub fn start(
    server: Arc<Server>,
    upgrade: OnUpgrade,
    wanted: &Wanted,
) -> (Socket, impl Future<Output = ()> + use<>) {
    let (to_script, incoming) = mpsc::channel(AHEAD);
    let (outgoing, from_script) = mpsc::channel(AHEAD);
    let shared = Arc::new(Shared::default());
    let socket =
        Socket { incoming: Arc::new(tokio::sync::Mutex::new(incoming)), outgoing, shared: shared.clone() };
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(wanted.max_message);
    config.max_frame_size = Some(wanted.max_message);
    config.max_write_buffer_size = wanted.max_message.saturating_mul(2).max(1 << 20);
    let ping = wanted.ping;
    let task = async move {
        match upgrade.await {
            Ok(upgraded) => {
                let stream =
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config))
                        .await;
                let task = Task { stream, to_script, from_script, shared, ping };
                task.run(&server).await;
            }
            Err(failure) => {
                tracing::debug!(%failure, "a WebSocket was not upgraded");
                shared.close(ABNORMAL, "");
            }
        }
    };
    (socket, task)
}

struct Task {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    to_script: mpsc::Sender<Message>,
    from_script: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
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
            while rest && let Ok(message) = self.from_script.try_recv() {
                if message.is_close() {
                    break;
                }
                if self.stream.feed(message).await.is_err() {
                    return;
                }
            }
            if self.stream.close(frame).await.is_ok() {
                while let Some(Ok(message)) = self.stream.next().await {
                    if let Message::Close(Some(frame)) = message {
                        self.shared.close(frame.code.into(), frame.reason.to_string());
                    }
                }
            }
        };
        let _ = tokio::time::timeout(CLOSING, closing).await;
        self.shared.close(code, reason);
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
            // Nothing is read while the script has not taken what was read before.
            let room = self.to_script.reserve();
            tokio::select! {
                message = async {
                    let room = room.await;
                    (room, self.stream.next().await)
                } => {
                    heard = true;
                    match message {
                        (Err(_), _) => return End::Leave(CloseCode::Away, ""),
                        (Ok(room), Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => room.send(message),
                        (_, Some(Ok(Message::Close(frame)))) => {
                            let (code, reason) = frame
                                .map_or((NO_STATUS, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                            self.shared.close(code, reason);
                            // Sends the answer that tungstenite has ready.
                            let _ = tokio::time::timeout(CLOSING, self.stream.next()).await;
                            return End::Gone;
                        }
                        (_, Some(Ok(_))) => {}
                        (_, Some(Err(failure))) => return refusal(&failure),
                        (_, None) => return End::Gone,
                    }
                }
                message = self.from_script.recv() => match message {
                    Some(Message::Close(frame)) => return End::Closed(frame),
                    Some(message) => {
                        if self.stream.send(message).await.is_err() {
                            return End::Gone;
                        }
                    }
                    None => return End::Leave(CloseCode::Normal, ""),
                },
                () = tick(&mut timer) => {
                    // What the script has not taken keeps the answer from being read.
                    let held_up = self.to_script.capacity() == 0;
                    if !std::mem::replace(&mut heard, false) && !held_up {
                        return End::Leave(CloseCode::Away, "no answer to a ping");
                    }
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
        _ => End::Gone,
    }
}

impl Socket {
    /// The next message; the close code and reason at the end.
    ///
    /// # Errors
    /// Where another task reads already.
    pub async fn receive(&self) -> Result<Result<Message, (u16, String)>, Error> {
        let Ok(mut incoming) = self.incoming.try_lock() else {
            return Err(error(ErrorCode::InvalidArgument, "another task is reading this WebSocket"));
        };
        match incoming.recv().await {
            Some(message) => Ok(Ok(message)),
            None => {
                let reason = lock(&self.shared.reason).clone();
                Ok(Err(reason.unwrap_or((ABNORMAL, String::new()))))
            }
        }
    }

    /// # Errors
    /// `unavailable` when it is closed.
    pub async fn send(&self, message: Message) -> Result<(), Error> {
        if self.is_closed() {
            return Err(gone());
        }
        self.outgoing.send(message).await.map_err(|_| gone())
    }

    /// Closes it; one that is closed stays so.
    pub async fn close(&self, code: u16, reason: String) {
        let frame = (code != NO_STATUS).then(|| CloseFrame { code: code.into(), reason: reason.into() });
        self.shared.closed.store(true, Ordering::Release);
        let _ = self.outgoing.send(Message::Close(frame)).await;
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire) || self.outgoing.is_closed()
    }
}
