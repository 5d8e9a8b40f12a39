//! From a URL to an open WebSocket (RFC 6455 section 4.1).

use crate::bindings::assay::host::ws::Target;
use assay_capability_api::frames::{Frames, KEPT, PIECE};
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Meter, Metered, Run, error};
use assay_capability_http::dial::{Dial, Settings, Stream, dial, failed};
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as Broken;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

const USER_AGENT: &str = concat!("assay/", env!("CARGO_PKG_VERSION"));
/// Subprotocols that one handshake offers.
const MAX_PROTOCOLS: usize = 64;
/// What a header field takes beside its texts.
const FIELD: usize = 64;

pub type Socket = WebSocketStream<Frames<Metered<Box<dyn Stream>>>>;

/// An open WebSocket.
pub struct Opened {
    pub socket: Socket,
    /// Takes what is read from the run's budget.
    pub meter: Arc<Meter>,
    /// What its buffers take of it.
    pub kept: Held,
    pub protocol: Option<String>,
    pub headers: HeaderMap,
    pub subject: String,
}

pub fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

/// Connects and shakes hands.
///
/// # Errors
/// `denied`, `invalid_argument`, `timeout`, `unavailable` also where the server refuses, `invalid_data`
/// for what is no WebSocket or what TLS refuses.
pub async fn open(run: &Arc<Run>, settings: &Settings, target: Target) -> Result<Opened, Error> {
    let fields = target.headers.iter().map(|field| FIELD + 2 * (field.name.len() + field.value.len()));
    let protocols_size = target.protocols.iter().map(|name| FIELD + 2 * name.len());
    let mut held = run.hold(&[&target.url, target.proxy.as_deref().unwrap_or_default()]).await?;
    held.grow(fields.chain(protocols_size).sum())?;
    let kept = run.budget.take(KEPT)?;
    let (most, most_of_frame) = (bound(run, target.max_message), bound(run, target.max_frame));
    let config = WebSocketConfig::default()
        .read_buffer_size(PIECE)
        .write_buffer_size(PIECE)
        .max_message_size(Some(most))
        .max_frame_size(Some(most_of_frame))
        .max_write_buffer_size(KEPT);
    let protocols = protocols(&target.protocols)?;
    if let Some(field) = target.headers.iter().find(|field| is_own(&field.name)) {
        return Err(invalid(format!(
            "the header '{}' cannot be set: it is part of the handshake; subprotocols are the option protocols",
            field.name.escape_debug()
        )));
    }
    let (scheme, url) = read_url(&target.url)?;
    let dialing = Dial {
        capability: crate::WS,
        scheme,
        url,
        headers: target.headers,
        basic_auth: target.basic_auth,
        authorities: target.authorities,
        identity: target.identity,
        proxy: target.proxy,
        timeout: Duration::from_nanos(target.connect_timeout),
    };
    let dialed = dial(run, settings, dialing).await?;
    let (subject, mut headers) = (dialed.subject, dialed.headers);
    let fixed = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (header::SEC_WEBSOCKET_KEY, HeaderValue::try_from(generate_key()).map_err(|_| invalid("no key"))?),
    ];
    for (name, value) in fixed {
        headers.insert(name, value);
    }
    if let Some(protocols) = protocols {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    headers.entry(header::USER_AGENT).or_insert_with(|| HeaderValue::from_static(USER_AGENT));
    let authority = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut request = Request::new(());
    *request.uri_mut() = format!("{scheme}://{authority}{}", dialed.target)
        .parse()
        .map_err(|reason| invalid(format!("the URL cannot be sent: {reason}")))?;
    *request.headers_mut() = headers;
    let meter = Meter::new(&run.budget, usize::MAX);
    let stream = Metered::new(dialed.stream, meter.clone());
    let stream = Frames::after_handshake(stream, most.min(most_of_frame));
    let (socket, response) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|failure| refused(&subject, &failure))?;
    drop(meter.became(0));
    let (parts, _) = response.into_parts();
    let protocol = parts.headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    Ok(Opened {
        socket,
        meter,
        kept,
        protocol: protocol.map(str::to_string),
        headers: parts.headers,
        subject,
    })
}

/// An option lowers the bound, which is the run's budget; 0 leaves it.
fn bound(run: &Run, bytes: u64) -> usize {
    let most = if bytes > 0 { run.budget.at_most(bytes) } else { run.budget.limit() };
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn is_own(name: &str) -> bool {
    name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("sec-websocket-"))
}

/// The scheme, and the URL as one of HTTP: the handshake is a request.
fn read_url(text: &str) -> Result<(&'static str, String), Error> {
    let url = Url::parse(text).map_err(|reason| {
        invalid(format!(
            "'{}' is not a URL: {reason}; write ws://host/path or wss://host/path",
            hide_url(text)
        ))
    })?;
    let scheme = match url.scheme() {
        "ws" => "ws",
        "wss" => "wss",
        other => {
            return Err(invalid(format!("the scheme {other}: is not WebSocket; write ws:// or wss://")));
        }
    };
    Ok((scheme, format!("http{}", &url.as_str()[2..])))
}

fn protocols(names: &[String]) -> Result<Option<HeaderValue>, Error> {
    if names.len() > MAX_PROTOCOLS {
        return Err(invalid(format!(
            "{} subprotocols are too many; {MAX_PROTOCOLS} can be offered",
            names.len()
        )));
    }
    for (at, name) in names.iter().enumerate() {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
            return Err(invalid(format!("'{}' is not the name of a subprotocol", name.escape_debug())));
        } else if names[..at].contains(name) {
            return Err(invalid(format!("the subprotocol '{name}' is there twice")));
        }
    }
    match names {
        [] => Ok(None),
        names => HeaderValue::try_from(names.join(", ")).map(Some).map_err(|_| invalid("not a subprotocol")),
    }
}

fn refused(subject: &str, failure: &Broken) -> Error {
    let message = |code, why: String| error(code, format!("{subject}: {why}"));
    match failure {
        Broken::Http(response) => message(
            ErrorCode::Unavailable,
            format!("the server answered {} and opened no WebSocket", response.status()),
        ),
        Broken::Io(failure) => failed(subject, failure),
        Broken::Protocol(ProtocolError::HandshakeIncomplete) => {
            message(ErrorCode::Unavailable, "the server closed the connection before it answered".into())
        }
        Broken::AttackAttempt | Broken::Capacity(CapacityError::TooManyHeaders) => {
            message(ErrorCode::Limit, "the answer has more header fields than are accepted".into())
        }
        other => message(ErrorCode::InvalidData, format!("the answer opens no WebSocket: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_those_of_http() {
        for (text, scheme, url) in [
            ("ws://a.example/x?y", "ws", "http://a.example/x?y"),
            ("WSS://A.example", "wss", "https://a.example/"),
            ("ws://0x7f.1:81/", "ws", "http://127.0.0.1:81/"),
            ("ws:/\\a.example", "ws", "http://a.example/"),
        ] {
            assert_eq!(read_url(text).unwrap(), (scheme, url.to_string()), "{text}");
        }
        for text in ["", "a.example", "http://a.example", "file:///x", "ws://"] {
            assert_eq!(read_url(text).unwrap_err().code, ErrorCode::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn subprotocols_are_tokens() {
        let of = |names: &[&str]| protocols(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["chat.v2", "chat"]).unwrap().unwrap(), "chat.v2, chat");
        for bad in [&["a b"][..], &[""], &["a,b"], &["a\r\nx: y"], &["a", "a"], &["ü"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_handshake_has_its_own_fields() {
        assert!(is_own("Sec-WebSocket-Key") && is_own("sec-websocket-extensions"));
        assert!(!is_own("sec-websocke") && !is_own("x-sec-websocket-key") && !is_own("ää"));
    }
}
