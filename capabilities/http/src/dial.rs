//! Connections for a protocol that begins as HTTP/1.1 and is something else then: WebSocket.

use crate::bindings::assay::host::http::{ClientIdentity, Header, Pem};
use crate::errors::{subject, timeout, transport};
use crate::pool::Pool;
use crate::request::{Head, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::trust;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Ctx, Request, Run, error, network};
use assay_capability_net::{Proxy, connect, proxy};
use http::{HeaderMap, StatusCode, Version};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// What is connected to, and with what.
pub struct Dial {
    /// The capability whose grants are asked, and the scheme that they see.
    pub capability: &'static str,
    pub scheme: &'static str,
    /// The same place as an `http:` or `https:` URL.
    pub url: String,
    pub headers: Vec<Header>,
    pub basic_auth: Option<(String, String)>,
    pub authorities: Option<Pem>,
    pub identity: Option<ClientIdentity>,
    /// Of the server's certificate.
    pub fingerprints: Vec<String>,
    /// As for requests: needs `http=proxy:HOST:PORT`.
    pub proxy: Option<String>,
    /// For the name, the TCP connection and the TLS handshake; zero is no bound.
    pub timeout: Duration,
}

/// An open connection, and what is to be sent first.
pub struct Dialed {
    pub stream: Box<dyn Stream>,
    /// Checked, with those of the user name and password, and `host`.
    pub headers: HeaderMap,
    /// The path with the query.
    pub target: String,
    /// `SCHEME://host/path`, without secrets: what messages are about.
    pub subject: String,
}

/// What bytes go through.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The TLS settings that a run keeps.
pub fn settings(ctx: &mut Ctx) -> Settings {
    Settings(ctx.state::<Pool>().clone())
}

/// See [`settings`].
#[derive(Default)]
pub struct Settings(Pool);

/// Connects to an address that was checked.
///
/// # Errors
/// `denied`, `invalid_argument`, `timeout`, `unavailable`, and `invalid_data` for what TLS refuses.
pub async fn dial(run: &Arc<Run>, settings: &Settings, dial: Dial) -> Result<Dialed, Error> {
    let mut head = Head::new("GET", &dial.url, dial.headers, dial.basic_auth.as_ref())?;
    let subject = {
        let of_http = subject("", &head.url);
        match of_http.split_once("://") {
            Some((_, place)) => format!("{}://{place}", dial.scheme),
            None => of_http,
        }
    };
    let asked = Request::Network {
        scheme: dial.scheme,
        method: None,
        host: &head.origin.host,
        port: head.origin.port,
        path: Some(head.url.path()),
        address: None,
    };
    let connecting = async {
        let proxy = proxy::choose(run, dial.proxy.as_deref(), &head.origin)?;
        let trust = trust::load(run, dial.authorities, dial.identity, &dial.fingerprints).await?;
        let tcp = match &proxy {
            None => {
                let addresses = network::resolve(run, dial.capability, &asked).await;
                let addresses = addresses.map_err(|failure| connect::explain(failure, &subject))?;
                let place = asked.scope().unwrap_or_default();
                connect::direct(&addresses, &place, &subject).await?.0
            }
            Some(proxy) => through(run, (dial.capability, &asked), &head, proxy, &subject).await?,
        };
        if !head.origin.secure {
            return Ok(Box::new(tcp) as Box<dyn Stream>);
        }
        let mut config = (*settings.0.tls.settings(&run.ambient, &trust, &head.origin).await?.config).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = connect::secure(tcp, Arc::new(config), &head.origin.host, &subject).await?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    let stream = match dial.timeout.is_zero() {
        true => connecting.await?,
        false => match tokio::time::timeout(dial.timeout, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(timeout(&subject, "no connection", dial.timeout)),
        },
    };
    let target = head.target()?.to_string();
    let authority = http::HeaderValue::try_from(head.origin.authority())
        .map_err(|_| error(ErrorCode::InvalidArgument, format!("{subject}: the host cannot be sent")))?;
    head.headers.insert(http::header::HOST, authority);
    Ok(Dialed { stream, headers: head.headers, target, subject })
}

/// Through a tunnel, with or without TLS: a proxy must not look into what it does not understand.
async fn through(
    run: &Arc<Run>,
    (capability, asked): (&str, &Request<'_>),
    head: &Head,
    proxy: &Proxy,
    subject: &str,
) -> Result<TcpStream, Error> {
    proxy.check(run)?;
    match head.origin.host.trim_matches(['[', ']']).parse() {
        Ok(address) => network::check_open(run, capability, asked, address)?,
        Err(_) => run.check(capability, asked)?,
    }
    let mut stream = connect::to_proxy(run, proxy, subject).await?;
    connect::tunnel(&mut stream, &head.origin, proxy, subject).await?;
    Ok(stream)
}

/// A connection behind the request for another protocol.
pub type Switched = TokioIo<Upgraded>;

/// What a server says to a request for another protocol.
pub enum Switch {
    /// It speaks it from here on.
    Done { stream: Switched, headers: HeaderMap },
    /// It goes on with HTTP.
    Refused(StatusCode),
}

/// Asks for another protocol on a connection (RFC 9110 7.8). Interim responses are passed over.
///
/// # Errors
/// When there is no response: `unavailable`, `invalid_data`, `limit`.
pub async fn switch<S>(stream: S, mut request: http::Request<()>, subject: &str) -> Result<Switch, Error>
where
    S: Stream + 'static,
{
    let failed = |failure: hyper::Error| transport(subject, &failure);
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let driver = assay_capability_api::spawn_task(async move { drop(connection.with_upgrades().await) });
    let _life = AbortOnDrop(driver.abort_handle());
    *request.version_mut() = Version::HTTP_11;
    let mut response = sender.send_request(request.map(|()| String::new())).await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Switch::Refused(response.status()));
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(failed)?;
    let headers = std::mem::take(response.headers_mut());
    Ok(Switch::Done { stream: TokioIo::new(upgraded), headers })
}

/// The task that drives a connection, until it has given the connection away.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error of a stream that broke off.
pub fn failed(subject: &str, failure: &(dyn std::error::Error + 'static)) -> Error {
    transport(subject, failure)
}
