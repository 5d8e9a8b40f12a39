//! New connections: to addresses that were checked, straight or through a proxy, and TLS over them.

use crate::failure::{handshake, transport};
use crate::{Origin, Proxy, proxy, tls};
use assay_capability_api::scope::host_and_port;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error, network};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// How long one address is tried alone before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// Bytes of a proxy's answer to CONNECT.
const MAX_CONNECT_ANSWER: usize = 16 << 10;

/// Connects to one of the addresses of `place`, all of which were checked.
///
/// # Errors
/// `unavailable` where none of them answers.
pub async fn direct(
    addresses: &[SocketAddr],
    place: &str,
    subject: &str,
) -> Result<(TcpStream, SocketAddr), Error> {
    let (stream, address) = tcp(addresses).await.map_err(|failure| unreachable(subject, place, &failure))?;
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// Connects to a proxy, whose name and addresses are checked as those of any other place.
///
/// # Errors
/// `denied`, `unavailable`.
pub async fn to_proxy(run: &Run, proxy: &Proxy, subject: &str) -> Result<TcpStream, Error> {
    let place = format!("the proxy {}", host_and_port(&proxy.host, proxy.port));
    let addresses = network::resolve(run, proxy::CAPABILITY, &proxy.asked()).await;
    let addresses = addresses.map_err(|failure| explain(failure, &format!("{subject}: {place}")))?;
    Ok(direct(&addresses, &place, subject).await?.0)
}

/// Shakes hands with the server of a name, or of an address.
///
/// # Errors
/// `invalid_data` for what TLS refuses, `invalid_argument` where `host` is no name for a certificate, `unavailable`.
pub async fn secure<S>(
    stream: S,
    config: Arc<tls::ClientConfig>,
    host: &str,
    subject: &str,
) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tls::connect(stream, config, host).await.map_err(|failure| match failure.kind() {
        io::ErrorKind::InvalidInput => error(ErrorCode::InvalidArgument, format!("{subject}: {failure}")),
        _ => handshake(subject, &failure),
    })
}

/// Puts the request before what says only which name failed.
pub fn explain(mut failure: Error, subject: &str) -> Error {
    if failure.code != ErrorCode::Denied {
        failure.message = format!("{subject}: {}", failure.message);
    }
    failure
}

fn unreachable(subject: &str, place: &str, failure: &io::Error) -> Error {
    let mut error = io_error(&format!("{subject}: cannot connect to {place}"), failure);
    error.code = ErrorCode::Unavailable;
    error
}

/// Connects to the first address that answers. Each has a head start over the next.
async fn tcp(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
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
///
/// # Errors
/// `unavailable` where it refuses, `limit` where its answer is too long.
pub async fn tunnel(
    stream: &mut TcpStream,
    origin: &Origin,
    proxy: &Proxy,
    subject: &str,
) -> Result<(), Error> {
    let target = format!("{}:{}", origin.host, origin.port);
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
