//! From a URL to an open WebSocket (RFC 6455 section 4.1).

use crate::bindings::assay::host::ws::Target;
use assay_capability_api::frames::{Frames, KEPT, PIECE};
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Meter, Metered, Run, error};
use assay_capability_http::dial::{Dial, Settings, Switch, Switched, dial, switch};
use http::{HeaderMap, HeaderValue, Request, header};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

const USER_AGENT: &str = concat!("assay/", env!("CARGO_PKG_VERSION"));
/// Subprotocols that one handshake offers.
const MAX_PROTOCOLS: usize = 64;
/// What a header field takes beside its texts.
const FIELD: usize = 64;

pub type Socket = WebSocketStream<Frames<Switched>>;

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
        fingerprints: target.fingerprints,
        proxy: target.proxy,
        timeout: Duration::from_nanos(target.connect_timeout),
    };
    let dialed = dial(run, settings, dialing).await?;
    let (subject, mut headers) = (dialed.subject, dialed.headers);
    let key = generate_key();
    let fixed = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (header::SEC_WEBSOCKET_KEY, HeaderValue::try_from(&key).map_err(|_| invalid("no key"))?),
    ];
    for (name, value) in fixed {
        headers.insert(name, value);
    }
    if let Some(protocols) = protocols {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    headers.entry(header::USER_AGENT).or_insert_with(|| HeaderValue::from_static(USER_AGENT));
    let mut request = Request::new(());
    *request.uri_mut() =
        dialed.target.parse().map_err(|reason| invalid(format!("the URL cannot be sent: {reason}")))?;
    *request.headers_mut() = headers;
    let meter = Meter::new(&run.budget, usize::MAX);
    let stream = Metered::new(dialed.stream, meter.clone());
    let (stream, headers) = match switch(stream, request, &subject).await? {
        Switch::Done { stream, headers } => (stream, headers),
        Switch::Refused(status) => {
            let message = format!("{subject}: the server answered {status} and opened no WebSocket");
            return Err(error(ErrorCode::Unavailable, message));
        }
    };
    let protocol = verify(&headers, &key, &target.protocols).map_err(|why| {
        error(ErrorCode::InvalidData, format!("{subject}: the answer opens no WebSocket: {why}"))
    })?;
    let stream = Frames::new(stream, most.min(most_of_frame));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    drop(meter.became(0));
    Ok(Opened { socket, meter, kept, protocol, headers, subject })
}

/// Checks the answer to a handshake (RFC 6455 4.1); gives the subprotocol. Whatever else the fields of the connection
/// list is nothing to us.
///
/// # Errors
/// What is wrong with it.
fn verify(headers: &HeaderMap, key: &str, offered: &[String]) -> Result<Option<String>, String> {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has(header::UPGRADE, "websocket") {
        return Err("it has no 'Upgrade: websocket'".into());
    } else if !has(header::CONNECTION, "upgrade") {
        return Err("it has no 'Connection: Upgrade'".into());
    } else if headers
        .get(header::SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|accept| accept != &derive_accept_key(key.as_bytes()))
    {
        return Err("its Sec-WebSocket-Accept does not answer this handshake".into());
    } else if headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().any(|value| !value.is_empty()) {
        return Err("it has an extension that was not asked for".into());
    }
    let mut chosen = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    match (chosen.next(), chosen.next()) {
        (None, _) if offered.is_empty() => Ok(None),
        (None, _) => Err("it has none of the subprotocols that were offered".into()),
        (Some(one), None) => match offered.iter().find(|name| one == name.as_str()) {
            Some(name) => Ok(Some(name.clone())),
            None => Err("it has a subprotocol that was not offered".into()),
        },
        (Some(_), Some(_)) => Err("it has several subprotocols".into()),
    }
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
    fn answers_are_lists() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let answer = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::SEC_WEBSOCKET_ACCEPT,
                HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            );
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            headers
        };
        let read = |fields: &[(&'static str, &str)]| verify(&answer(fields), key, &["chat".to_string()]);
        let chat = ("sec-websocket-protocol", "chat");
        for fields in [
            &[("upgrade", "websocket"), ("connection", "Upgrade"), chat][..],
            &[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"), chat],
            &[("upgrade", "websocket"), ("connection", "keep-alive"), ("connection", "upgrade"), chat],
            &[("upgrade", "h2c"), ("upgrade", "x, websocket"), ("connection", "Upgrade,close"), chat],
        ] {
            assert_eq!(read(fields).unwrap().as_deref(), Some("chat"), "{fields:?}");
        }
        let right = [("upgrade", "websocket"), ("connection", "Upgrade")];
        for more in [
            &[][..],
            &[("sec-websocket-protocol", "other")],
            &[chat, chat],
            &[chat, ("sec-websocket-extensions", "permessage-deflate")],
        ] {
            assert!(read(&[&right[..], more].concat()).is_err(), "{more:?}");
        }
        for fields in [&[("connection", "Upgrade"), chat], &[("upgrade", "websocket"), chat]] {
            assert!(read(fields).is_err(), "{fields:?}");
        }
        assert_eq!(verify(&answer(&right), key, &[]), Ok(None));
        assert!(verify(&answer(&right), "AAAAAAAAAAAAAAAAAAAAAA==", &[]).is_err());
    }

    #[test]
    fn the_handshake_has_its_own_fields() {
        assert!(is_own("Sec-WebSocket-Key") && is_own("sec-websocket-extensions"));
        assert!(!is_own("sec-websocke") && !is_own("x-sec-websocket-key") && !is_own("ää"));
    }
}
