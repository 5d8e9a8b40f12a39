//! What a script asks for, checked: method, URL and header fields.

use crate::bindings::assay::host::http::Header;
use crate::errors::invalid;
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request as Asked, error};
use assay_capability_net::{Origin, basic_auth, percent_decode};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use url::Url;

/// Header fields of one message, and their bytes, in either direction.
pub const MAX_HEADERS: usize = 512;
pub const MAX_HEADER_BYTES: usize = 256 << 10;
/// Bytes of a URL; `http::Uri` holds fewer than 64 KiB.
const MAX_URL: usize = 60 << 10;

/// Fields that frame the message or belong to the connection; the host sets them itself.
pub const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that prove who asks, whose names do not say so by one of [`SECRET_WORDS`].
const CREDENTIALS: &[&str] = &["cookie2", "dpop", "x-honeycomb-team"];

/// A field whose name has one of these words proves who asks: `authorization`, `x-api-key`, `x-vault-token`,
/// `ocp-apim-subscription-key`. There is no register of such names, but this custom.
const SECRET_WORDS: &[&str] = &[
    "accesskey",
    "apikey",
    "appkey",
    "assertion",
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "key",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "session",
    "sessionid",
    "sig",
    "signature",
    "sid",
    "token",
];

/// Names with such a word that prove nothing.
const HARMLESS: &[&str] = &["idempotency-key", "sec-websocket-key", "signature-input", "x-idempotency-key"];

/// Whether a field proves who asks; it stays with the origin that it was meant for, and is not shown.
pub fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    let by_word = || {
        name.split(['-', '_', '.']).any(|word| {
            SECRET_WORDS.contains(&word)
                || ["apikey", "token", "secret"].iter().any(|end| word.ends_with(end))
        })
    };
    !HARMLESS.contains(&name) && (CREDENTIALS.contains(&name) || by_word())
}

/// One request as it is sent, without its body.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: Method,
    /// Without user name, password and fragment.
    pub url: Url,
    pub origin: Origin,
    pub headers: HeaderMap,
}

impl Head {
    /// Checks what the script gave.
    ///
    /// # Errors
    /// `invalid_argument` for a method, URL or header field that cannot be sent, `limit` for too many fields.
    pub fn new(
        method: &str,
        url: &str,
        headers: Vec<Header>,
        basic: Option<&(String, String)>,
    ) -> Result<Head, Error> {
        let method = read_method(method)?;
        let (url, origin, own) = read_url(url)?;
        let mut headers = read_headers(headers, &origin)?;
        let basic = match basic {
            Some((user, password)) => Some(basic_auth(user, password)?),
            None if !headers.contains_key(header::AUTHORIZATION) => own,
            None => None,
        };
        if let Some(value) = basic {
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Head { method, url, origin, headers })
    }

    /// A request of another capability, whose header fields are its own.
    ///
    /// # Errors
    /// `invalid_argument` for a URL that cannot be asked for. A user name and password in it are dropped.
    pub fn plain(method: Method, url: &Url, headers: HeaderMap) -> Result<Head, Error> {
        let (url, origin, _) = read_url(url.as_str())?;
        Ok(Head { method, url, origin, headers })
    }

    /// The request as grants are matched against it.
    pub fn asked(&self) -> Asked<'_> {
        Asked::Network {
            scheme: self.origin.scheme(),
            method: Some(self.method.as_str()),
            host: &self.origin.host,
            port: self.origin.port,
            path: Some(self.url.path()),
            address: None,
        }
    }

    /// The path with the query: the request target of HTTP/1.1 (RFC 9112 3.2.1).
    pub fn target(&self) -> Result<Uri, Error> {
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_string(),
        };
        to_uri(target)
    }

    /// The whole URL as a target: for HTTP/2 and for proxies (RFC 9112 3.2.2).
    pub fn absolute_target(&self) -> Result<Uri, Error> {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        to_uri(format!("{}://{}{}{query}", self.origin.scheme(), self.origin.authority(), self.url.path()))
    }

    /// What a redirect leads to (RFC 9110 15.4); none where `status` or `location` is no redirect.
    ///
    /// # Errors
    /// `invalid_argument` where `location` is not a URL that can be asked for.
    pub fn redirected(
        &self,
        status: u16,
        location: Option<&HeaderValue>,
    ) -> Result<Option<Redirected>, Error> {
        let Some(location) = location else { return Ok(None) };
        let change = match status {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::HEAD && self.method != Method::GET,
            307 | 308 => false,
            _ => return Ok(None),
        };
        let location = String::from_utf8_lossy(location.as_bytes());
        let next = self.url.join(&location).map_err(|reason| {
            error(
                ErrorCode::InvalidData,
                format!("the redirect to '{}' leads nowhere: {reason}", hide_url(&location)),
            )
        })?;
        let (url, origin, _) = read_url(next.as_str())?;
        let mut head = Head { url, origin, ..self.clone() };
        if change {
            head.method = Method::GET;
            let content: Vec<HeaderName> =
                head.headers.keys().filter(|name| name.as_str().starts_with("content-")).cloned().collect();
            for name in content {
                head.headers.remove(name);
            }
        }
        let elsewhere = head.origin != self.origin;
        if elsewhere {
            let own: Vec<HeaderName> =
                head.headers.keys().filter(|name| is_credential(name)).cloned().collect();
            for name in own {
                head.headers.remove(name);
            }
        }
        Ok(Some(Redirected { head, drops_body: change, elsewhere }))
    }
}

/// Where a redirect leads.
pub struct Redirected {
    pub head: Head,
    /// The method became GET.
    pub drops_body: bool,
    /// To another origin, where no credentials go.
    pub elsewhere: bool,
}

fn to_uri(target: String) -> Result<Uri, Error> {
    Uri::try_from(target).map_err(|reason| invalid(format!("the URL cannot be sent: {reason}")))
}

fn read_method(method: &str) -> Result<Method, Error> {
    const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(method)) {
        return Method::from_bytes(known.as_bytes()).map_err(|_| invalid("not a method"));
    }
    if method.eq_ignore_ascii_case("CONNECT") || method.eq_ignore_ascii_case("TRACE") {
        return Err(invalid(format!("the method {method} is not offered")));
    }
    Method::from_bytes(method.as_bytes())
        .map_err(|_| invalid(format!("'{}' is not a method", method.escape_debug())))
}

/// Reads a URL as WHATWG does, so that every spelling of an address becomes the one that is matched.
/// Gives it without credentials, its origin, and the credentials as a header value.
fn read_url(text: &str) -> Result<(Url, Origin, Option<HeaderValue>), Error> {
    if text.len() > MAX_URL {
        return Err(invalid(format!("the URL is longer than {MAX_URL} bytes")));
    }
    let mut url = Url::parse(text).map_err(|reason| {
        invalid(format!(
            "'{}' is not a URL: {reason}; write http://host/path or https://host/path",
            hide_url(text)
        ))
    })?;
    let secure = match url.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(invalid(format!("the scheme {other}: is not HTTP; write http:// or https://"))),
    };
    let (Some(host), Some(port)) = (url.host_str().map(str::to_string), url.port_or_known_default()) else {
        return Err(invalid(format!("'{}' has no host", hide_url(text))));
    };
    let credentials = if url.username().is_empty() && url.password().is_none() {
        None
    } else {
        let decode = |text: &str| percent_decode(text);
        Some(basic_auth(&decode(url.username()), &decode(url.password().unwrap_or_default()))?)
    };
    // They fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok((url, Origin { secure, host, port }, credentials))
}

fn read_headers(fields: Vec<Header>, origin: &Origin) -> Result<HeaderMap, Error> {
    let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len()).sum();
    if fields.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(error(
            ErrorCode::Limit,
            format!(
                "{} header fields with {bytes} bytes are too many; a request has at most {MAX_HEADERS} with {MAX_HEADER_BYTES} bytes",
                fields.len()
            ),
        ));
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| invalid(format!("'{}' is not a header name", field.name.escape_debug())))?;
        if name == header::HOST {
            check_host(&field.value, origin)?;
            continue;
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(invalid(format!(
                "the header '{name}' cannot be set: it is part of how the message is sent"
            )));
        }
        let mut value = HeaderValue::from_bytes(&field.value).map_err(|_| {
            invalid(format!("the value of the header '{name}' has a line break or another control character"))
        })?;
        value.set_sensitive(is_credential(&name));
        headers
            .try_append(name, value)
            .map_err(|_| error(ErrorCode::Limit, "too many header fields for one request"))?;
    }
    Ok(headers)
}

/// A `Host` field may only repeat the URL's: another name would reach another site behind the address
/// that was checked.
fn check_host(value: &[u8], origin: &Origin) -> Result<(), Error> {
    let value = String::from_utf8_lossy(value);
    let same = [origin.authority(), origin.host.clone(), format!("{}:{}", origin.host, origin.port)]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(value.trim()));
    if same {
        return Ok(());
    }
    Err(invalid(format!(
        "the header 'host' cannot name another host ({}) than the URL ({})",
        value.escape_debug(),
        origin.authority()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(url: &str, headers: &[(&str, &str)]) -> Result<Head, Error> {
        let headers = headers
            .iter()
            .map(|(name, value)| Header { name: (*name).into(), value: value.as_bytes().to_vec() })
            .collect();
        Head::new("get", url, headers, None)
    }

    #[test]
    fn addresses_have_one_spelling() {
        for (url, host) in [
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://017700000001/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]/", "[::ffff:7f00:1]"),
            ("http://granted.example@127.0.0.1/", "127.0.0.1"),
            ("http://127.0.0.1\\@granted.example/", "127.0.0.1"),
            ("http://EXAMPLE.com/", "example.com"),
            ("http://ⓔxample.com/", "example.com"),
        ] {
            assert_eq!(head(url, &[]).unwrap().origin.host, host, "{url}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for url in [
            "",
            "x",
            "/x",
            "file:///etc/passwd",
            "ftp://a/",
            "gopher://a/",
            "http://",
            "http://[::1",
            "http://a:99999/",
        ] {
            assert_eq!(head(url, &[]).unwrap_err().code, ErrorCode::InvalidArgument, "{url}");
        }
    }

    #[test]
    fn refusals_hold_no_secrets() {
        for url in [
            "http://me:secret@a.example:99999/x",
            "http://me:sec/secret@a b/",
            "http:///?token=secret",
            "secret@",
        ] {
            let message = head(url, &[]).unwrap_err().message;
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(
            head("http://a.example:99999/x", &[]).unwrap_err().message.contains("'http://a.example:99999/x'")
        );
    }

    #[test]
    fn fields_that_frame_the_message_are_refused() {
        for name in
            ["content-length", "Transfer-Encoding", "connection", "proxy-authorization", "bad name", "x\r\ny"]
        {
            assert!(head("http://a/", &[(name, "1")]).is_err(), "{name}");
        }
        assert!(head("http://a/", &[("x", "a\r\nb: c")]).is_err());
        assert!(head("http://a:81/", &[("Host", "b")]).is_err());
        assert!(head("http://a:81/", &[("Host", "A:81")]).unwrap().headers.is_empty());
    }

    #[test]
    fn user_names_become_basic_authentication() {
        let head = head("http://al:p%40ss@a.example/x#y", &[]).unwrap();
        assert_eq!(head.headers["authorization"], "Basic YWw6cEBzcw==");
        assert_eq!(head.url.as_str(), "http://a.example/x");
    }

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "Authorization",
            "Cookie",
            "X-API-Key",
            "Api-Key",
            "apikey",
            "X-ApiKey",
            "X-Goog-Api-Key",
            "Ocp-Apim-Subscription-Key",
            "X-Functions-Key",
            "DD-APPLICATION-KEY",
            "X-Auth-Token",
            "X-Auth-Key",
            "X-Access-Token",
            "X-Amz-Security-Token",
            "X-Vault-Token",
            "X-GitHub-Token",
            "PRIVATE-TOKEN",
            "Job-Token",
            "X-Octopus-ApiKey",
            "X-Rundeck-AuthToken",
            "X-Client-Secret",
            "X-Auth-Password",
            "X-Session-Id",
            "X-CSRF-Token",
            "X-Hub-Signature",
            "api_key",
        ] {
            assert!(is_credential(&HeaderName::try_from(name).unwrap()), "{name}");
        }
        for name in [
            "Accept",
            "Content-Type",
            "Idempotency-Key",
            "X-Request-Id",
            "X-Keyboard",
            "Keep-Me",
            "Author",
            "If-None-Match",
            "User-Agent",
            "X-Monkey",
        ] {
            assert!(!is_credential(&HeaderName::try_from(name).unwrap()), "{name}");
        }
    }

    #[test]
    fn redirects_change_methods_and_drop_credentials() {
        let post = Head::new(
            "POST",
            "https://a.example/x",
            vec![
                Header { name: "authorization".into(), value: b"Bearer x".to_vec() },
                Header { name: "content-type".into(), value: b"text/plain".to_vec() },
            ],
            None,
        )
        .unwrap();
        let to = |status: u16, location: &'static str| {
            post.redirected(status, Some(&HeaderValue::from_static(location))).unwrap()
        };
        let same = to(303, "/y?z=1").unwrap();
        assert_eq!((same.head.method.as_str(), same.head.url.as_str()), ("GET", "https://a.example/y?z=1"));
        assert!(same.drops_body && !same.elsewhere);
        assert!(same.head.headers.contains_key("authorization"));
        assert!(!same.head.headers.contains_key("content-type"));
        let other = to(307, "https://a.example:8443/").unwrap();
        assert_eq!(other.head.method, Method::POST);
        assert!(other.elsewhere && !other.head.headers.contains_key("authorization"));
        assert!(to(304, "/y").is_none() && to(300, "/y").is_none());
        assert!(post.redirected(302, None).unwrap().is_none());
        assert!(post.redirected(302, Some(&HeaderValue::from_static("file:///etc/passwd"))).is_err());
    }
}
