//! New connections: name, TCP, proxy, TLS, and the start of HTTP.

use crate::caller::Caller;
use crate::errors::{handshake, transport};
use crate::proxy::Proxy;
use crate::request::{Head, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::tls::Settings;
use crate::upload::Upload;
use assay_capability_api::scope::host_and_port;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Held, Meter, Metered, Run, error, io_error, network};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long one address is tried alone before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// Bytes of a body that are read before they are asked for.
const AHEAD: usize = 64 << 10;
/// What a connection of HTTP/2 may have sent before it is read: a part of the run's budget, within these.
const WINDOW_MIN: u32 = 64 << 10;
const WINDOW_MAX: u32 = 4 << 20;
/// Bytes of a proxy's answer to CONNECT.
const MAX_CONNECT_ANSWER: usize = 16 << 10;

/// What one message goes through.
pub enum Sender {
    /// HTTP/1.1: one exchange at a time.
    One(http1::SendRequest<Upload>),
    /// HTTP/2: copies share the connection.
    Two(http2::SendRequest<Upload>),
}

/// What ends a connection when nothing uses it any more.
pub struct Life {
    driver: AbortHandle,
    _handle: HandleGuard,
    /// What the windows of HTTP/2 take of the run's budget.
    _windows: Held,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An open connection.
pub struct Connection {
    pub sender: Sender,
    /// The address that was checked and connected to; none through a proxy.
    pub address: Option<IpAddr>,
    /// Requests carry the whole URL: a proxy for plain HTTP.
    pub absolute: bool,
    /// How much of it is read; none where the windows of HTTP/2 say that.
    pub meter: Option<Arc<Meter>>,
    pub life: Arc<Life>,
}

impl Connection {
    /// Whether somebody waits for more of a body.
    pub fn ask(&self, asked: bool) {
        if let Some(meter) = &self.meter {
            meter.ask(asked);
        }
    }

    /// Begins to wait for a response, or has one: what comes after it waits until it is asked for.
    pub fn listen(&self, waits: bool) {
        if let Some(meter) = &self.meter {
            if waits {
                drop(meter.pass(usize::MAX));
            }
            meter.ask(waits);
        }
    }
}

/// Connects for the request `head`, to an address that it was checked for.
///
/// # Errors
/// `denied`, `unavailable`, `invalid_data` for what TLS refuses.
pub async fn connect(
    run: &Arc<Run>,
    caller: Caller,
    head: &Head,
    subject: &str,
    tls: Option<&Settings>,
    proxy: Option<&Proxy>,
    handle: HandleGuard,
) -> Result<Connection, Error> {
    let (stream, address) = match proxy {
        None => {
            let addresses = caller.resolve(run, head).await.map_err(|failure| explain(failure, subject))?;
            let place = host_and_port(&head.origin.host, head.origin.port);
            let (stream, address) =
                tcp(&addresses).await.map_err(|failure| unreachable(subject, &place, &failure))?;
            (stream, Some(address.ip()))
        }
        Some(proxy) => {
            let place = host_and_port(&proxy.host, proxy.port);
            let addresses = network::resolve_undenied(run, "http", &proxy.asked()).await?;
            let (stream, _) = tcp(&addresses)
                .await
                .map_err(|failure| unreachable(subject, &format!("the proxy {place}"), &failure))?;
            (stream, None)
        }
    };
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let meter = Meter::buffered(&run.budget, AHEAD, 2 * MAX_HEADER_BYTES);
    meter.ask(true);
    let Some(tls) = tls else {
        let absolute = proxy.is_some();
        let stream = Metered::new(stream, meter.clone());
        return start(run, stream, Some(meter), subject, handle, address, absolute).await;
    };
    let mut stream = stream;
    if let Some(proxy) = proxy {
        tunnel(&mut stream, head, proxy, subject).await?;
    }
    let stream = Metered::new(stream, meter.clone());
    let host = head.origin.host.trim_matches(['[', ']']).trim_end_matches('.').to_string();
    let name = ServerName::try_from(host).map_err(|_| {
        error(ErrorCode::InvalidArgument, format!("{subject}: the host is no name for a certificate"))
    })?;
    let stream = TlsConnector::from(tls.config.clone())
        .connect(name, stream)
        .await
        .map_err(|failure| handshake(subject, &failure))?;
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // The windows of HTTP/2 bound what is read; the meter is only there for what comes before them.
    drop(meter.pass(usize::MAX));
    let meter = (!two).then_some(meter);
    start(run, stream, meter, subject, handle, address, false).await
}

/// Puts the request before what says only which name failed.
pub(crate) fn explain(mut failure: Error, subject: &str) -> Error {
    if failure.code != ErrorCode::Denied {
        failure.message = format!("{subject}: {}", failure.message);
    }
    failure
}

pub(crate) fn unreachable(subject: &str, place: &str, failure: &io::Error) -> Error {
    let mut error = io_error(&format!("{subject}: cannot connect to {place}"), failure);
    error.code = ErrorCode::Unavailable;
    error
}

/// Connects to the first address that answers. Each has a head start over the next.
pub(crate) async fn tcp(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.iter().copied();
    let mut trying = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    let try_next = |trying: &mut JoinSet<_>, waiting: &mut dyn Iterator<Item = SocketAddr>| match waiting
        .next()
    {
        Some(address) => {
            trying.spawn(async move { TcpStream::connect(address).await.map(|stream| (stream, address)) });
            true
        }
        None => false,
    };
    let mut more = try_next(&mut trying, &mut waiting);
    loop {
        tokio::select! {
            joined = trying.join_next() => match joined {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(failure))) => {
                    last = failure;
                    more = try_next(&mut trying, &mut waiting);
                }
                Some(Err(failure)) => last = io::Error::other(failure),
                None if more => more = try_next(&mut trying, &mut waiting),
                None => return Err(last),
            },
            () = tokio::time::sleep(STAGGER), if more => more = try_next(&mut trying, &mut waiting),
        }
    }
}

/// Asks a proxy to connect onwards (RFC 9110 9.3.6).
pub(crate) async fn tunnel(
    stream: &mut TcpStream,
    head: &Head,
    proxy: &Proxy,
    subject: &str,
) -> Result<(), Error> {
    let target = format!("{}:{}", head.origin.host, head.origin.port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(value) = proxy.authorization.as_ref().and_then(|value| value.to_str().ok()) {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    let broken = |failure: io::Error| transport(subject, &failure);
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_CONNECT_ANSWER {
            return Err(error(
                ErrorCode::Limit,
                format!("{subject}: the proxy's answer has too many header fields"),
            ));
        }
        // Byte by byte, because what follows belongs to TLS.
        let byte = stream.read_u8().await.map_err(broken)?;
        answer.push(byte);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(error(
            ErrorCode::Unavailable,
            format!("{subject}: the proxy {} refused: {line}", host_and_port(&proxy.host, proxy.port)),
        )),
    }
}

async fn start<S>(
    run: &Run,
    stream: S,
    meter: Option<Arc<Meter>>,
    subject: &str,
    handle: HandleGuard,
    address: Option<IpAddr>,
    absolute: bool,
) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    let failed = |failure: hyper::Error| transport(subject, &failure);
    // What a connection fails with is told to the exchange that it carries.
    let mut windows = run.budget.nothing();
    let (sender, driver) = if meter.is_none() {
        let window = u32::try_from(run.budget.limit() / 16).unwrap_or(u32::MAX).clamp(WINDOW_MIN, WINDOW_MAX);
        windows.grow(window as usize)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window.min(1 << 20))
            .initial_connection_window_size(window)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .handshake(io)
            .await
            .map_err(failed)?;
        let driver = assay_capability_api::spawn_task(async move { drop(connection.await) });
        (Sender::Two(sender), driver)
    } else {
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            // A line that goes on in the next one becomes one line with a space (RFC 9112 5.2).
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(io)
            .await
            .map_err(failed)?;
        let driver = assay_capability_api::spawn_task(async move { drop(connection.await) });
        (Sender::One(sender), driver)
    };
    let life = Arc::new(Life { driver: driver.abort_handle(), _handle: handle, _windows: windows });
    Ok(Connection { sender, address, absolute, meter, life })
}
