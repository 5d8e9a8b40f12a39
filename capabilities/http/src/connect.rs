//! New connections, from the name to the start of HTTP.

use crate::caller::Caller;
use crate::errors::transport;
use crate::request::{Head, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::upload::Upload;
use assay_capability_api::scope::host_and_port;
use assay_capability_api::types::Error;
use assay_capability_api::{HandleGuard, Held, Meter, Metered, Run};
use assay_capability_net::tls::Settings;
use assay_capability_net::{Proxy, connect};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

/// Bytes of a body that are read before they are asked for.
const AHEAD: usize = 64 << 10;
/// What a connection of HTTP/2 may have sent before it is read: a part of the run's budget, within these.
const WINDOW_MIN: u32 = 64 << 10;
const WINDOW_MAX: u32 = 4 << 20;
/// What one message goes through.
pub enum Sender {
    /// HTTP/1.1: one exchange at a time.
    Http1(http1::SendRequest<Upload>),
    /// HTTP/2: copies share the connection.
    Http2(http2::SendRequest<Upload>),
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
pub async fn open(
    run: &Arc<Run>,
    caller: Caller,
    head: &Head,
    subject: &str,
    tls: Option<&Settings>,
    proxy: Option<&Proxy>,
    handle: HandleGuard,
) -> Result<Connection, Error> {
    let (mut stream, address) = match proxy {
        None => {
            let addresses =
                caller.resolve(run, head).await.map_err(|failure| connect::explain(failure, subject))?;
            let place = host_and_port(&head.origin.host, head.origin.port);
            let (stream, address) = connect::direct(&addresses, &place, subject).await?;
            (stream, Some(address.ip()))
        }
        Some(proxy) => (connect::to_proxy(run, proxy, subject).await?, None),
    };
    let meter = Meter::buffered(&run.budget, AHEAD, 2 * MAX_HEADER_BYTES);
    meter.ask(true);
    let Some(tls) = tls else {
        let absolute = proxy.is_some();
        let stream = Metered::new(stream, meter.clone());
        return start(run, stream, Some(meter), subject, handle, address, absolute).await;
    };
    if let Some(proxy) = proxy {
        connect::tunnel(&mut stream, &head.origin, proxy, subject).await?;
    }
    let stream = Metered::new(stream, meter.clone());
    let stream = connect::secure(stream, tls.config.clone(), &head.origin.host, subject).await?;
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // The windows of HTTP/2 bound what is read; the meter is only there for what comes before them.
    drop(meter.pass(usize::MAX));
    let meter = (!two).then_some(meter);
    start(run, stream, meter, subject, handle, address, false).await
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
        (Sender::Http2(sender), driver)
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
        (Sender::Http1(sender), driver)
    };
    let life = Arc::new(Life { driver: driver.abort_handle(), _handle: handle, _windows: windows });
    Ok(Connection { sender, address, absolute, meter, life })
}
