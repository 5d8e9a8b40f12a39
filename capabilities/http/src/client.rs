//! HTTP for other capabilities: the same connections, TLS and address checks. One request gives one
//! response; where a redirect may lead is for the capability to decide.

pub use crate::body::Body;
pub use crate::upload::Feed;

use crate::bindings::assay::host::http::Want;
use crate::body::Bounds;
use crate::caller::Caller;
use crate::errors::{subject, timeout};
use crate::exchange::{Hop, check_headers, prepare};
use crate::pool::Pool;
use crate::request::Head;
use crate::upload::Source;
use assay_capability_api::types::Error;
use assay_capability_api::{HandleGuard, Run};
use assay_capability_net::Trust;
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use url::Url;

/// The connections of a capability in a run. Copies share them.
#[derive(Clone)]
pub struct Client {
    caller: Caller,
    pool: Pool,
}

/// What a request carries.
pub enum Payload {
    Empty,
    Data(Bytes),
    /// This many bytes, made as they are sent. The request is not sent twice.
    Feed(Box<dyn Feed>, u64),
}

/// A request.
pub struct Message {
    pub method: Method,
    /// A user name, a password and a fragment in it are not sent.
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// Zero is no bound.
    pub connect_timeout: Duration,
    /// From the start to the header fields of the response; zero is no bound.
    pub response_timeout: Duration,
}

/// A response. Its body is as it was sent, not decoded, and unbounded.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    /// "GET https://host/path", for messages.
    pub subject: String,
}

impl Client {
    /// The connections of `capability`, which decides by rules of its own (`Run::check`) where it
    /// connects to; the addresses that names lead to are guarded here.
    pub fn new(capability: &'static str) -> Client {
        Client { caller: Caller::Decided(capability), pool: Pool::default() }
    }

    /// A handle of the run; where all are taken, an idle connection is closed for it.
    ///
    /// # Errors
    /// `limit`.
    pub fn handle(&self, run: &Arc<Run>) -> Result<HandleGuard, Error> {
        self.pool.handle(run)
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When there is no response: `denied`, `timeout`, `unavailable`, `invalid_data`, `limit`. Any status is a
    /// response.
    pub async fn send(&self, run: &Arc<Run>, trust: &Trust, message: Message) -> Result<Reply, Error> {
        let source = match message.payload {
            Payload::Empty => Source::Empty,
            Payload::Data(data) => Source::Data(data),
            Payload::Feed(feed, length) => Source::Feed(Arc::new(Mutex::new(Some((feed, length))))),
        };
        let head = Head::plain(message.method, &message.url, message.headers)?;
        let head = prepare(head, &source, Want::Whole, false);
        let about = subject(head.method.as_str(), &head.url);
        let hop = Hop {
            run,
            caller: self.caller,
            pool: &self.pool,
            head: &head,
            about: &about,
            source: &source,
            trust,
            proxy: None,
            connect_timeout: message.connect_timeout,
        };
        let bound = message.response_timeout;
        let (mut response, lease) = match bound.is_zero() {
            true => hop.exchange().await?,
            false => match tokio::time::timeout(bound, hop.exchange()).await {
                Ok(result) => result?,
                Err(_) => return Err(timeout(&about, "no response", bound)),
            },
        };
        check_headers(&head, response.headers())?;
        let mut headers = std::mem::take(response.headers_mut());
        let status = response.status().as_u16();
        let bounds = Bounds { most: 0, deadline: None, decode: false };
        let body = Body::new(run, about.clone(), response.into_body(), &mut headers, lease, &bounds)?;
        Ok(Reply { status, headers, body, subject: about })
    }
}

impl Feed for Body {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        Body::poll(self, context)
    }
}
