//! One call of a script: the request, its redirects, and what may be sent again.

use crate::bindings::assay::host::http::{Request, Want};
use crate::body::{Body, Bounds};
use crate::caller::Caller;
use crate::connect::{Connection, Sender};
use crate::errors::{subject, timeout};
use crate::pool::{Lease, Pool, Seen, Wanted};
use crate::request::{Head, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::trust;
use crate::upload::Source;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Held, Run, error};
use assay_capability_net::{Trust, proxy};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// More redirects are a loop, whatever the script asks for.
const MAX_REDIRECTS: u32 = 50;
/// How often a request is sent again that the server has not begun with. The first time is at once; then it waits for so
/// long, four and nine times as long.
const MAX_REFUSALS: u32 = 4;
const BETWEEN_REFUSALS: Duration = Duration::from_millis(100);
/// What a header field takes beside its texts.
const FIELD: usize = 64;
const USER_AGENT: &str = concat!("assay/", env!("CARGO_PKG_VERSION"));

/// A response whose body is still to come.
pub struct Answer {
    pub status: u16,
    pub url: String,
    pub version: &'static str,
    pub headers: HeaderMap,
    pub body: Body,
    pub elapsed: Duration,
    pub redirects: u32,
    pub subject: String,
    /// `text/event-stream` was asked for and came.
    pub events: bool,
}

/// Everything that stays the same over the redirects of a call.
struct Call {
    run: Arc<Run>,
    pool: Pool,
    source: Source,
    trust: Trust,
    proxy: Option<String>,
    connect_timeout: Duration,
}

/// Makes a call.
///
/// # Errors
/// When there is no response: `denied`, `invalid_argument`, `timeout`, `unavailable`, `invalid_data`, `limit`.
pub async fn perform(run: Arc<Run>, pool: Pool, request: Request) -> Result<Answer, Error> {
    let started = Instant::now();
    let _held = hold(&run, &request).await?;
    let head = Head::new(&request.method, &request.url, request.headers, request.basic_auth.as_ref())?;
    let about = subject(head.method.as_str(), &head.url);
    let whole = Duration::from_nanos(request.timeout);
    let until_response = Duration::from_nanos(request.response_timeout);
    let (want, decode, most) = (request.want, request.decode, request.max_body);
    let most_redirects = request.max_redirects;
    let first = [whole, until_response].into_iter().filter(|bound| !bound.is_zero()).min();
    let exchange = async {
        let trust = trust::load(&run, request.authorities, request.identity, &request.fingerprints).await?;
        let call = Call {
            run: run.clone(),
            pool,
            source: Source::new(&run, request.body)?,
            trust,
            proxy: request.proxy,
            connect_timeout: Duration::from_nanos(request.connect_timeout),
        };
        let head = prepare(head, &call.source, want, decode);
        call.follow(head, most_redirects).await
    };
    let (mut response, lease, head, redirects) = match first {
        None => exchange.await?,
        Some(bound) => match tokio::time::timeout(bound, exchange).await {
            Ok(result) => result?,
            Err(_) => return Err(timeout(&about, "no response", bound)),
        },
    };
    check_headers(&head, response.headers())?;
    let elapsed = started.elapsed();
    let events = want == Want::Events && is_event_stream(response.headers());
    // A body that was to be a stream of events and is not one is read whole, under the bound of the response.
    let bound = if want == Want::Events && !events && whole.is_zero() { until_response } else { whole };
    let deadline = if bound.is_zero() { None } else { started.checked_add(bound).map(|at| (at, bound)) };
    let version = match response.version() {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let mut headers = std::mem::take(response.headers_mut());
    let status = response.status().as_u16();
    let about = subject(head.method.as_str(), &head.url);
    let bounds = Bounds { most, deadline, decode };
    let body = Body::new(&run, about.clone(), response.into_body(), &mut headers, lease, &bounds)?;
    Ok(Answer {
        status,
        url: head.url.into(),
        version,
        headers,
        body,
        elapsed,
        redirects,
        subject: about,
        events,
    })
}

/// What the texts of a request take until it is answered.
async fn hold(run: &Run, request: &Request) -> Result<Held, Error> {
    let fields: usize =
        request.headers.iter().map(|field| FIELD + field.name.len() + field.value.len()).sum();
    let auth = request.basic_auth.as_ref().map_or(0, |(user, password)| user.len() + password.len());
    let mut held =
        run.hold(&[&request.method, &request.url, request.proxy.as_deref().unwrap_or_default()]).await?;
    held.grow(2 * fields + 2 * auth)?;
    Ok(held)
}

/// Adds the fields that every request has.
pub fn prepare(mut head: Head, source: &Source, want: Want, decode: bool) -> Head {
    let fields = &mut head.headers;
    let mut default = |name: header::HeaderName, value: &'static str| {
        fields.entry(name).or_insert_with(|| HeaderValue::from_static(value));
    };
    default(header::USER_AGENT, USER_AGENT);
    default(header::ACCEPT, if want == Want::Events { "text/event-stream, */*;q=0.5" } else { "*/*" });
    default(header::ACCEPT_ENCODING, if decode { "gzip, deflate, br, zstd" } else { "identity" });
    if let Some(value) = source.content_type() {
        fields.insert(header::CONTENT_TYPE, value);
    }
    head
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// # Errors
/// `limit` where a response has more header fields than are accepted.
pub fn check_headers(head: &Head, headers: &HeaderMap) -> Result<(), Error> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES {
        return Ok(());
    }
    Err(error(
        ErrorCode::Limit,
        format!(
            "{}: the response has more header fields than are accepted",
            subject(head.method.as_str(), &head.url)
        ),
    ))
}

impl Call {
    /// Sends the request and goes where redirects lead, each checked like a request of its own.
    async fn follow(
        self,
        mut head: Head,
        most_redirects: u32,
    ) -> Result<(http::Response<Incoming>, Lease, Head, u32), Error> {
        let Call { mut source, mut trust, .. } = self;
        let most_redirects = most_redirects.min(MAX_REDIRECTS);
        let mut redirects = 0;
        loop {
            let about = subject(head.method.as_str(), &head.url);
            let hop = Hop {
                run: &self.run,
                caller: Caller::Places("http"),
                pool: &self.pool,
                head: &head,
                about: &about,
                source: &source,
                trust: &trust,
                proxy: self.proxy.as_deref(),
                connect_timeout: self.connect_timeout,
            };
            let (response, lease) = hop.exchange().await?;
            let location = response.headers().get(header::LOCATION);
            let next = match most_redirects {
                0 => None,
                _ => head.redirected(response.status().as_u16(), location).map_err(|mut failure| {
                    failure.message = format!("{about}: {}", failure.message);
                    failure
                })?,
            };
            let Some(next) = next else { return Ok((response, lease, head, redirects)) };
            if redirects == most_redirects {
                return Err(error(
                    ErrorCode::Limit,
                    format!("{about}: more than {most_redirects} redirects"),
                ));
            }
            redirects += 1;
            if head.origin.secure
                && !next.head.origin.secure
                && !self.run.grants_scheme("http", &next.head.asked())
            {
                let mut refused = self.run.refuse("http", &next.head.asked());
                refused.message = format!(
                    "{about}: the redirect from https to http can be read and changed on the way: {}",
                    refused.message
                );
                return Err(refused);
            }
            // What is redirected is rarely worth reading, but its connection is worth keeping.
            let bounds = Bounds { most: 0, deadline: None, decode: false };
            let mut headers = HeaderMap::new();
            Body::new(&self.run, about, response.into_body(), &mut headers, lease, &bounds)?.drain().await;
            if next.drops_body {
                source = Source::Empty;
            }
            if next.elsewhere {
                trust = trust.anonymous(head.origin.host == next.head.origin.host);
            }
            head = next.head;
        }
    }
}

/// One request on one connection.
pub struct Hop<'a> {
    pub run: &'a Arc<Run>,
    pub caller: Caller,
    pub pool: &'a Pool,
    pub head: &'a Head,
    pub about: &'a str,
    pub source: &'a Source,
    pub trust: &'a Trust,
    /// As for [`proxy::choose`].
    pub proxy: Option<&'a str>,
    pub connect_timeout: Duration,
}

impl Hop<'_> {
    /// Sends it, and again where a kept connection turns out to be closed or the server has not begun with it.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn exchange(&self) -> Result<(http::Response<Incoming>, Lease), Error> {
        let proxy = proxy::choose(self.run, self.proxy, &self.head.origin)?;
        let tls = match self.head.origin.secure {
            true => Some(self.pool.tls.settings(&self.run.ambient, self.trust, &self.head.origin).await?),
            false => None,
        };
        let (mut fresh, mut refusals) = (false, 0);
        loop {
            let wanted = Wanted {
                run: self.run,
                caller: self.caller,
                head: self.head,
                subject: self.about,
                tls: tls.as_ref(),
                proxy: proxy.as_ref(),
                fresh,
                connect_timeout: self.connect_timeout,
            };
            let mut lease = self.pool.acquire(&wanted).await?;
            lease.connection.listen(true);
            let authorization = proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref());
            let request = self.message(&lease.connection, authorization).await?;
            let lost = match lease.connection.send(request, self.about).await {
                Ok(response) => {
                    // What follows is read as it is asked for.
                    lease.connection.listen(false);
                    return Ok((response, lease));
                }
                Err(lost) => lost,
            };
            let again = match lost.seen {
                // A kept connection may be closed by the server just as it is used. The request goes out once more
                // where it was not seen, or where seeing it twice changes nothing.
                Seen::Nothing => lease.reused,
                Seen::Perhaps => lease.reused && self.head.method.is_idempotent(),
                Seen::Refused | Seen::GoneAway => refusals < MAX_REFUSALS,
            };
            if lost.seen != Seen::Refused {
                self.pool.discard(lease);
            }
            if !again || !self.source.repeats() || lost.error.code != ErrorCode::Unavailable {
                return Err(lost.error);
            }
            match lost.seen {
                Seen::Nothing | Seen::Perhaps => fresh = true,
                // Another connection will do for all that this one has sent away.
                Seen::Refused | Seen::GoneAway => {
                    tokio::time::sleep(BETWEEN_REFUSALS * refusals * refusals).await;
                    refusals += 1;
                }
            }
        }
    }

    async fn message(
        &self,
        connection: &Connection,
        proxy_authorization: Option<&HeaderValue>,
    ) -> Result<http::Request<crate::upload::Upload>, Error> {
        let body = self.source.open(self.run).await?;
        let one = matches!(connection.sender, Sender::Http1(_));
        let target = match one && !connection.absolute {
            true => self.head.target()?,
            false => self.head.absolute_target()?,
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = target;
        *request.headers_mut() = self.head.headers.clone();
        let headers = request.headers_mut();
        if one {
            let host = HeaderValue::try_from(self.head.origin.authority())
                .map_err(|_| crate::errors::invalid("the host of the URL cannot be sent"))?;
            headers.insert(header::HOST, host);
        } else {
            *request.version_mut() = Version::HTTP_2;
        }
        if connection.absolute
            && let Some(value) = proxy_authorization
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        // An empty body is said to be empty where one is expected (RFC 9110 8.6).
        let expected = [Method::POST, Method::PUT, Method::PATCH].contains(&self.head.method);
        if expected && http_body::Body::is_end_stream(request.body()) {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }
}
