//! One connection: TLS, the protocol's version, and each request from its head to its response.

use crate::body::{Begun, Body, Broken, Upload};
use crate::exchange::{After, Peer, Request, ResponseSlot, Upgrade, Waiting};
use crate::frames::Progress;
use crate::io::{Guarded, Plain, Stream};
use crate::log;
use crate::router::Found;
use crate::server::Server;
use crate::target;
use assay_capability_api::lock;
use assay_wire::{Bad, fields};
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;

/// Header fields of a request.
const MAX_HEADERS: usize = 100;
/// Requests of one HTTP/2 connection at a time, and those that a client has taken back before they were looked at or
/// that are against the protocol.
const MAX_STREAMS: u32 = 128;
const MAX_RESETS: usize = 64;
/// What a client may send ahead of the script, of one request and of all on a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// What waits for a client on each stream.
const SEND_BUFFER: usize = 64 << 10;
/// What HTTP/1 holds of a connection, either way; a head may be larger.
const MAX_BUFFER: usize = 32 << 10;
/// For a connection that is ended to say so.
const PARTING: Duration = Duration::from_secs(1);
/// Between pings of an HTTP/2 connection, and for their answer.
const PING: Duration = Duration::from_secs(20);

/// What the requests of a connection share.
struct Connection {
    server: Arc<Server>,
    peer: Peer,
    secure: bool,
    after: After,
    /// It became something else than HTTP.
    upgraded: Arc<AtomicBool>,
    /// Of HTTP/2, where hyper does not end what is idle.
    progress: Option<Arc<Progress>>,
}

/// Serves a connection to its end.
pub async fn serve(server: Arc<Server>, stream: Plain, peer: Peer, tls: Option<TlsAcceptor>) {
    let patience = server.settings.header_timeout;
    let secure = tls.is_some();
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match within(patience, tls.accept(stream)).await {
            Some(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Some(Err(failure)) => {
                return tracing::debug!(%peer, %failure, "the TLS handshake failed");
            }
            None => return tracing::debug!(%peer, "the TLS handshake took too long"),
        },
    };
    let negotiated = match &stream {
        Stream::Tls(stream) => stream.get_ref().1.alpn_protocol().map(|name| name == b"h2"),
        Stream::Plain(_) => None,
    };
    let mut stream = Guarded::new(stream, server.settings.body_timeout);
    let version2 = match negotiated {
        Some(version2) => version2,
        None => match within(patience, stream.has_preface()).await {
            Some(Ok(version2)) => version2,
            _ => return,
        },
    };
    let (progress, upgraded) = match version2 {
        true => (Some(stream.check_frames()), Arc::default()),
        false => (None, stream.check_framing()),
    };
    let connection = Arc::new(Connection {
        server: server.clone(),
        peer,
        secure,
        after: After::default(),
        upgraded,
        progress: progress.clone(),
    });
    let handler = connection.clone();
    let service = service_fn(move |request| handle(handler.clone(), request));
    let settings = &server.settings;
    let result = if version2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(settings.max_header).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let stopped = async {
            match &progress {
                Some(progress) => progress.stopped(settings.header_timeout, settings.body_timeout).await,
                None => std::future::pending().await,
            }
        };
        until_stopped(&server, serving, |serving| serving.graceful_shutdown(), stopped).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_header_size(settings.max_header)
            .max_buf_size(MAX_BUFFER.max(settings.max_header));
        let serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        until_stopped(&server, serving, |serving| serving.graceful_shutdown(), std::future::pending()).await
    };
    if let Some(Err(failure)) = result {
        tracing::debug!(peer = %connection.peer, %failure, "a connection broke off");
    }
    let after = lock(&connection.after).take();
    if let Some(after) = after {
        after.await;
    }
}

async fn within<F: Future>(timeout: Option<Duration>, future: F) -> Option<F::Output> {
    match timeout {
        None => Some(future.await),
        Some(timeout) => tokio::time::timeout(timeout, future).await.ok(),
    }
}

/// Drives a connection; when the server stops, it finishes what it has begun. Once `idle` resolves it has a moment left
/// to say that it ends; none where it had to be cut off.
async fn until_stopped<C: Future>(
    server: &Server,
    mut serving: Pin<&mut C>,
    mut finish: impl FnMut(Pin<&mut C>),
    idle: impl Future<Output = ()>,
) -> Option<C::Output> {
    let mut stopping = pin!(server.stopping());
    let mut finishing = false;
    let served = poll_fn(|context| {
        if let Poll::Ready(result) = serving.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        if !finishing && stopping.as_mut().poll(context).is_ready() {
            finishing = true;
            finish(serving.as_mut());
            return serving.as_mut().poll(context);
        }
        Poll::Pending
    });
    tokio::select! {
        biased;
        result = served => return Some(result),
        () = idle => {}
    }
    finish(serving.as_mut());
    tokio::time::timeout(PARTING, serving).await.ok()
}

/// A response that the host gives itself.
pub fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Data(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// A response after which the connection cannot go on: a body was not read.
pub fn last(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = plain(status, text);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn handle(
    connection: Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let settings = &connection.server.settings;
    if !settings.access_log {
        return Ok(answer(&connection, request).await);
    }
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let response = answer(&connection, request).await;
    log::access(
        &connection.server.run,
        &log::Access {
            method: method.as_str(),
            path: &path,
            status: response.status().as_u16(),
            bytes: http_body::Body::size_hint(response.body()).exact(),
            seconds: began.elapsed().as_secs_f64(),
            peer: &connection.peer,
        },
    );
    Ok(response)
}

async fn answer(connection: &Connection, request: hyper::Request<Incoming>) -> Response<Body> {
    let head = *request.method() == Method::HEAD;
    let working = connection.progress.as_ref().map(Progress::work);
    let mut response = respond(connection, request).await;
    drop(working);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.upgraded.store(true, Ordering::Relaxed);
    }
    if let (Some(progress), Body::Channel(channel)) = (&connection.progress, response.body_mut()) {
        channel.watch(progress.clone());
    }
    if head { without_body(response) } else { response }
}

/// What HEAD gets: the length that the body would have had (RFC 9110 9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = http_body::Body::size_hint(response.body()).exact()
        && length > 0
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::Empty;
    response
}

async fn respond(connection: &Connection, request: hyper::Request<Incoming>) -> Response<Body> {
    let server = &connection.server;
    let (mut parts, incoming) = request.into_parts();
    if let Err((status, text)) = target::check(&parts, connection.secure) {
        return last(status, text);
    }
    let (route, parameters) = match server.router.find(parts.method.as_str(), parts.uri.path()) {
        Found::Route(route, parameters) => (route, parameters),
        Found::OtherMethods(methods) => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                response.headers_mut().insert(ALLOW, allow);
            }
            return response;
        }
        Found::Nothing => return plain(StatusCode::NOT_FOUND, "not found"),
    };
    let Ok(head) = head(connection, &parts, &parameters) else {
        return last(StatusCode::BAD_REQUEST, "the head of the request has a zero byte");
    };
    let upgrade = match parts.headers.contains_key(UPGRADE) {
        true => parts.extensions.remove::<OnUpgrade>().map(|ready| Upgrade {
            ready,
            after: connection.after.clone(),
            secure: connection.secure,
        }),
        false => None,
    };
    let Some(counted) = server.count() else {
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    let (body, rest) = if http_body::Body::is_end_stream(&incoming) {
        (Bytes::new(), None)
    } else {
        match begin(server, &parts, incoming).await {
            Ok(Begun::Whole(body)) => (body, None),
            Ok(Begun::Rest(rest)) => (Bytes::new(), Some(rest)),
            Err(response) => return *response,
        }
    };
    let Ok(held) = server.run.budget.take(head.len() + body.len()) else {
        return last(StatusCode::SERVICE_UNAVAILABLE, "the server has no memory for the request");
    };
    let response_slot = Arc::new(ResponseSlot::default());
    let waiting = Waiting::new(response_slot.clone());
    server.push(Request { parts, route, head, body, rest, upgrade, response_slot, counted, held });
    match within(server.settings.timeout, waiting).await {
        Some(Some(response)) => response,
        Some(None) => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error"),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "the request took too long"),
    }
}

async fn begin(server: &Server, parts: &Parts, incoming: Incoming) -> Result<Begun, Box<Response<Body>>> {
    let most = server.settings.max_body;
    let announced = http_body::Body::size_hint(&incoming).exact();
    if most > 0 && announced.is_some_and(|length| length > most) {
        return Err(Box::new(last(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large")));
    }
    let upload = Upload::new(incoming, most, server.settings.body_timeout);
    if waits_to_be_asked(parts) {
        return Ok(Begun::Rest(upload));
    }
    upload.begin().await.map_err(|broken| {
        Box::new(match broken {
            Broken::TooLarge => last(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large"),
            Broken::TimedOut => last(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"),
            Broken::Lost(why) => {
                tracing::debug!(path = parts.uri.path(), why, "a request body broke off");
                last(StatusCode::BAD_REQUEST, "the request body is not complete")
            }
        })
    })
}

/// Whether the client sends the body only once it is asked for it (RFC 9110 10.1.1). The first read asks: a handler that
/// refuses the request must not invite a body that it will not read.
fn waits_to_be_asked(parts: &Parts) -> bool {
    let continues = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    parts.version != Version::HTTP_10 && parts.headers.get_all(EXPECT).iter().any(continues)
}

/// The head for the guest.
///
/// # Errors
/// Where something in it has a zero byte, which hyper takes nowhere.
fn head(connection: &Connection, parts: &Parts, parameters: &[(&str, &str)]) -> Result<Vec<u8>, Bad> {
    let version: &[u8] = match parts.version {
        Version::HTTP_2 => b"HTTP/2",
        Version::HTTP_10 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    };
    let peer = connection.peer.to_string();
    let start = [
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        parts.uri.query().unwrap_or_default().as_bytes(),
        version,
        peer.as_bytes(),
        if connection.secure { b"https" } else { b"http" },
    ];
    let mut out = fields::begin(start, parameters)?;
    // What HTTP/1.1 calls the host is part of the target in HTTP/2.
    if let (false, Some(authority)) = (parts.headers.contains_key(HOST), parts.uri.authority()) {
        fields::field(&mut out, b"host", authority.as_str().as_bytes())?;
    }
    for (name, value) in &parts.headers {
        fields::field(&mut out, name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(out)
}
