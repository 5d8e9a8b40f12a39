//! One repository of a registry: requests with authentication, redirects and attempts (OCI distribution
//! specification).

use crate::auth::{Authorization, Realm};
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::failure::{Trouble, invalid_data, refused};
use crate::manifest::{ACCEPT, Descriptor, MAX_MANIFEST, Manifest};
use crate::reference::Reference;
use crate::scope::REDIRECT;
use crate::session::{Plain, Session};
use assay_capability_api::scope::host_and_port;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use assay_capability_http::client::{Body, Message, Payload, Reply};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use url::Url;

pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the header fields of a response, where no large body is sent.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a byte of a response's body.
pub const STALL: Duration = Duration::from_secs(60);
/// Redirects of one request.
/// Bytes of memory for each byte of JSON text, at worst: numbers of one digit in a list.
const PARSED: usize = 32;
/// What the name of a tag takes, in the list, as JSON and as text.
const TAG: usize = 512;
const MAX_REDIRECTS: usize = 5;
/// Bytes of an answer that only says what is wrong.
const MAX_REFUSAL: u64 = 64 << 10;
/// Bytes of a page of tags.
const MAX_PAGE: u64 = 4 << 20;
/// Pages and tags of one list.
const MAX_PAGES: usize = 1000;
const MAX_TAGS: usize = 100_000;

/// The header in which registries tell the digest of a manifest.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What is done to a repository; it decides what a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Pull,
    Push,
}

pub struct Repository {
    pub session: Arc<Session>,
    pub reference: Reference,
    /// `https://host:port/`.
    pub root: Url,
    pub usage: Use,
    /// A repository of the same registry that blobs are taken over from.
    pub from: Option<String>,
    /// The registry does not take blobs over from there.
    refused: AtomicBool,
    pub authorization: Authorization,
}

/// One request before it is sent.
struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    data: Bytes,
}

impl Ask {
    fn new(method: Method, url: Url) -> Ask {
        Ask { method, url, headers: HeaderMap::new(), data: Bytes::new() }
    }

    fn accept(mut self, value: &'static str) -> Ask {
        self.headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        self
    }
}

impl Repository {
    /// # Errors
    /// `invalid_argument` where the registry is no host.
    pub fn new(
        session: Arc<Session>,
        reference: Reference,
        usage: Use,
        credentials: Credentials,
    ) -> Result<Repository, Error> {
        let plain = match &session.plain {
            Plain::Local => reference.is_local(),
            Plain::All => true,
            Plain::Named(names) => names.contains(&reference.registry),
        };
        let root = reference.root(!plain)?;
        let authorization = Authorization::new(credentials);
        Ok(Repository {
            session,
            reference,
            root,
            usage,
            from: None,
            refused: AtomicBool::new(false),
            authorization,
        })
    }

    fn run(&self) -> &Arc<Run> {
        &self.session.run
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{path}", self.reference.repository));
        url
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.root.origin()
    }

    /// Where the registry sends us to: itself, or a host that is granted. Nothing goes from https to http.
    fn follow(&self, base: &Url, headers: &HeaderMap, subject: &str) -> Result<Url, Error> {
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location
            .ok_or_else(|| invalid_data(format!("{subject}: the answer does not say where to go")))?;
        let mut url = base
            .join(location)
            .map_err(|why| invalid_data(format!("{subject}: it leads to no address: {why}")))?;
        // Neither is for us to send: they would come from the registry, for somebody else.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let secure = url.scheme() == "https";
        if !secure && url.scheme() != "http" {
            return Err(invalid_data(format!(
                "{subject}: it leads to the scheme {}:, which is not HTTP",
                url.scheme()
            )));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(invalid_data(format!("{subject}: it leads to no host")));
        };
        let place = host_and_port(host, port);
        if self.is_own(&url) {
            self.session.check_own(REDIRECT, &place, &self.reference)?;
            return Ok(url);
        }
        if !secure && base.scheme() == "https" {
            self.run().record_denial("oci", &format!("oci: {REDIRECT} http://{place}"));
            return Err(error(
                ErrorCode::Denied,
                format!(
                    "{subject}: the redirect from https to http://{place} is refused, because it can be read \
                     and changed on the way"
                ),
            ));
        }
        match self.reference.is_companion(host, port) {
            true => self.session.check_own(REDIRECT, &place, &self.reference)?,
            false => self.session.check(REDIRECT, &place, &format!("redirect:{place}"))?,
        }
        Ok(url)
    }

    /// One exchange with the registry itself, or, without any credentials, with a host it redirects to.
    async fn exchange(&self, ask: &Ask, url: &Url) -> Result<Reply, Trouble> {
        let own = self.is_own(url);
        let mut challenged = 0;
        loop {
            let mut headers = ask.headers.clone();
            let known = self.authorization.current().await;
            if own && let Some(value) = &known.value {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
            let payload = match ask.data.is_empty() {
                true => Payload::Empty,
                false => Payload::Data(ask.data.clone()),
            };
            let reply = self.send(ask.method.clone(), url, headers, payload, RESPONSE_TIMEOUT).await?;
            if reply.status != 401 || !own || challenged == 2 {
                return Ok(reply);
            }
            challenged += 1;
            if !self.authorization.meet(self, &reply.headers, &known).await? {
                return Ok(reply);
            }
        }
    }

    /// One request, wherever it goes; the address was decided before.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        payload: Payload,
        response_timeout: Duration,
    ) -> Result<Reply, Error> {
        let trust = &self.session.trust;
        let message = Message {
            method,
            url: url.clone(),
            headers,
            payload,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout,
        };
        match self.is_own(url) {
            true => self.session.client.send(self.run(), trust, message).await,
            false => self.session.client.send(self.run(), &trust.anonymous(false), message).await,
        }
    }

    /// A request that follows redirects where it only reads. Statuses from 400 on are failures.
    async fn ask(&self, ask: &Ask) -> Result<Reply, Trouble> {
        let mut url = ask.url.clone();
        let reads = matches!(ask.method, Method::GET | Method::HEAD);
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.exchange(ask, &url).await?;
            match reply.status {
                301 | 302 | 303 | 307 | 308 if reads => {
                    url = self.follow(&url, &reply.headers, &reply.subject)?;
                }
                200..=299 => return Ok(reply),
                _ => return Err(self.refusal(reply).await),
            }
        }
        let what = format!("{} {}", ask.method, ask.url.path());
        Err(Trouble::Final(invalid_data(format!("{what}: more than {MAX_REDIRECTS} redirects"))))
    }

    /// What an answer that is a failure says.
    pub async fn refusal(&self, reply: Reply) -> Trouble {
        let Reply { status, headers, body, subject } = reply;
        let said = whole(body, MAX_REFUSAL, &subject).await.unwrap_or_default();
        match status {
            401 if self.authorization.is_anonymous() => {
                let mut error = Error::from(refused(&subject, status, &headers, &said));
                error.message.push_str("; give a username and a password, a token, or docker_config");
                Trouble::Final(error)
            }
            300..=399 => {
                Trouble::Final(invalid_data(format!("{subject}: a redirect ({status}) is not followed here")))
            }
            _ => refused(&subject, status, &headers, &said),
        }
    }

    /// Fetches a manifest. By digest it is verified; by tag it is what the registry says.
    ///
    /// # Errors
    /// `not_found`, `permission`, `unavailable`, `invalid_data`, `unsupported`, `limit`, `denied`.
    pub async fn manifest(&self, selector: &str) -> Result<Manifest, Error> {
        let ask = Ask::new(Method::GET, self.address(&format!("manifests/{selector}"))).accept(ACCEPT);
        let ask = &ask;
        self.session
            .retry(|| async move {
                let reply = self.ask(ask).await?;
                let subject = reply.subject.clone();
                let said = reply.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let said = said.map(str::to_string);
                let raw = whole(reply.body, MAX_MANIFEST, &subject).await?;
                let expected = Digest::parse(selector);
                Ok(Manifest::parse(raw, said.as_deref(), expected.as_ref(), &subject)?)
            })
            .await
    }

    /// The digest that the registry tells for a tag; none where it does not.
    ///
    /// # Errors
    /// As for [`Repository::manifest`].
    pub async fn digest(&self, selector: &str) -> Result<Option<Digest>, Error> {
        let ask = Ask::new(Method::HEAD, self.address(&format!("manifests/{selector}"))).accept(ACCEPT);
        let ask = &ask;
        self.session
            .retry(|| async move {
                let reply = self.ask(ask).await?;
                let value = reply.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
                Ok(value.and_then(Digest::parse))
            })
            .await
    }

    /// Writes a manifest under a tag or its digest.
    ///
    /// # Errors
    /// As for [`Repository::manifest`].
    pub async fn put_manifest(&self, manifest: &Manifest, selector: &str) -> Result<(), Error> {
        let mut ask = Ask::new(Method::PUT, self.address(&format!("manifests/{selector}")));
        let content_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|_| invalid_data("the manifest's media type cannot be sent in a header"))?;
        ask.headers.insert(header::CONTENT_TYPE, content_type);
        ask.data = manifest.raw.clone();
        let ask = &ask;
        self.session.retry(|| async move { self.ask(ask).await.map(|_| ()) }).await
    }

    /// Every tag, in the registry's order.
    ///
    /// # Errors
    /// As for [`Repository::manifest`]; `limit` for too many.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let first = self.address("tags/list");
        let mut url = first.clone();
        url.set_query(Some("n=1000"));
        let mut tags: Vec<String> = Vec::new();
        let mut held = self.run().budget.nothing();
        for _ in 0..MAX_PAGES {
            let ask = &Ask::new(Method::GET, url.clone()).accept("application/json");
            let (page, link) = self
                .session
                .retry(|| async move {
                    let reply = self.ask(ask).await?;
                    let link = crate::link::next(reply.headers.get_all(header::LINK)).map_err(|why| {
                        invalid_data(format!("{}: the header 'link' cannot be read: {why}", reply.subject))
                    })?;
                    Ok((whole(reply.body, MAX_PAGE, &reply.subject).await?, link))
                })
                .await?;
            let what = format!("GET {}", first);
            let json: serde_json::Value = serde_json::from_slice(&page)
                .map_err(|why| invalid_data(format!("{what}: the list is not JSON: {why}")))?;
            let before = tags.len();
            // A repository without tags has null.
            for tag in json.get("tags").and_then(|tags| tags.as_array()).into_iter().flatten() {
                match tag.as_str().filter(|tag| crate::reference::is_tag(tag)) {
                    Some(tag) => {
                        held.grow(TAG)?;
                        tags.push(tag.to_string());
                    }
                    None => {
                        return Err(invalid_data(format!("{what}: the list has an entry that is not a tag")));
                    }
                }
            }
            let Some(link) = link else { return Ok(tags) };
            let next = next_page(&url, &link).map_err(|why| {
                invalid_data(format!("{what}: the next page {why}; the list is not complete"))
            })?;
            if tags.len() == before || next == url {
                return Err(invalid_data(format!("{what}: the pages of the list go round in a circle")));
            }
            if tags.len() > MAX_TAGS {
                break;
            }
            url = next;
        }
        Err(error(
            ErrorCode::Limit,
            format!("{}: more than {MAX_TAGS} tags or {MAX_PAGES} pages", self.reference.name()),
        ))
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// As for [`Repository::manifest`].
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let ask = &Ask::new(Method::HEAD, self.address(&format!("blobs/{digest}")));
        let answer = self.session.retry(|| async move { self.ask(ask).await.map(|_| ()) }).await;
        match answer {
            Ok(()) => Ok(true),
            Err(failure) if failure.code == ErrorCode::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Starts to fetch a blob. One attempt; what comes is not verified yet.
    pub async fn open_blob(&self, blob: &Descriptor) -> Result<Body, Trouble> {
        let ask = Ask::new(Method::GET, self.address(&format!("blobs/{}", blob.digest)));
        let reply = self.ask(&ask).await?;
        match reply.body.length() {
            Some(length) if length != blob.size => Err(Trouble::Final(invalid_data(format!(
                "{}: the blob has {length} bytes, not {}",
                reply.subject, blob.size
            )))),
            _ => Ok(reply.body),
        }
    }

    /// Starts an upload, or takes the blob over from `self.from`: gives the address to send it to, or none
    /// where it is there now. One attempt.
    pub async fn start_upload(&self, digest: &Digest) -> Result<Option<Url>, Trouble> {
        let ask = Ask::new(Method::POST, self.address("blobs/uploads/"));
        if let Some(from) = self.taken_from() {
            let mut mount = Ask::new(Method::POST, ask.url.clone());
            mount.url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            match self.ask(&mount).await {
                Ok(reply) if reply.status == 201 => return Ok(None),
                Ok(reply) => return Ok(Some(self.upload_address(&mount, &reply, digest)?)),
                // It is a favour that a registry need not do. Whatever is wrong otherwise, the plain request meets too.
                Err(Trouble::Final(failure)) if self.refuse_taking(&failure) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let reply = self.ask(&ask).await?;
        Ok(Some(self.upload_address(&ask, &reply, digest)?))
    }

    fn upload_address(&self, ask: &Ask, reply: &Reply, digest: &Digest) -> Result<Url, Error> {
        let mut url = self.follow(&ask.url, &reply.headers, &reply.subject)?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        Ok(url)
    }

    /// The repository that blobs are taken over from, as long as the registry does that.
    pub fn taken_from(&self) -> Option<&str> {
        self.from.as_deref().filter(|_| !self.refused.load(Ordering::Relaxed))
    }

    /// Takes no more blobs over where the registry, or who gives tokens for it, refused it; whether that is so.
    pub fn refuse_taking(&self, failure: &Error) -> bool {
        let refused = matches!(
            failure.code,
            ErrorCode::Permission | ErrorCode::NotFound | ErrorCode::Unsupported | ErrorCode::Other
        );
        self.refused.fetch_or(refused, Ordering::Relaxed);
        refused
    }

    /// Sends a blob to the address of an upload. One attempt, and no answer to a challenge: what was sent
    /// cannot be made again here.
    pub async fn upload(&self, url: &Url, payload: Payload) -> Result<(), Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let known = self.authorization.current().await;
        if self.is_own(url)
            && let Some(value) = &known.value
        {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        // How long it takes depends on the size; the call's own timeout bounds it.
        let reply = self.send(Method::PUT, url, headers, payload, Duration::ZERO).await?;
        match reply.status {
            200..=299 => Ok(()),
            // The token may have run out since the upload began; the next attempt has a new one.
            401 if self.is_own(url) && self.authorization.meet(self, &reply.headers, &known).await? => {
                let error = error(
                    ErrorCode::Unavailable,
                    format!("{}: the registry asks for authentication again", reply.subject),
                );
                Err(Trouble::Passing { error, after: Some(Duration::ZERO) })
            }
            _ => Err(self.refusal(reply).await),
        }
    }

    /// The token scopes of what is done here.
    pub fn scopes(&self) -> Vec<String> {
        let own = match self.usage {
            Use::Pull => "pull",
            // A push reads whether a blob is there already.
            Use::Push => "pull,push",
        };
        let mut scopes = vec![format!("repository:{}:{own}", self.reference.repository)];
        scopes.extend(self.taken_from().map(|from| format!("repository:{from}:pull")));
        scopes
    }

    /// Where tokens may come from.
    pub fn realm(&self) -> Realm<'_> {
        Realm { reference: &self.reference, root: &self.root, session: &self.session }
    }
}

/// The page of a list that `link` leads to from `page`. A registry behind a proxy that ends TLS may think that it is called
/// by another scheme or port; the page is asked of where the others came from.
///
/// # Errors
/// What is wrong with it.
fn next_page(page: &Url, link: &str) -> Result<Url, String> {
    let found = page.join(link).map_err(|why| format!("is at no address: {why}"))?;
    let plain = |url: &Url| url.path().replace("%2F", "/").replace("%2f", "/");
    if !matches!(found.scheme(), "http" | "https")
        || found.host() != page.host()
        || plain(&found) != plain(page)
    {
        return Err("leads to another place".into());
    }
    let query = found.query().filter(|query| !query.is_empty()).ok_or("is the first one")?;
    let mut next = page.clone();
    next.set_query(Some(query));
    Ok(next)
}

/// A small answer as a whole, which holds what it takes of the run's budget as JSON that is taken apart.
///
/// # Errors
/// `limit` where it has more than `most` bytes, `unavailable` where it stalls.
pub async fn whole(mut body: Body, most: u64, subject: &str) -> Result<Bytes, Error> {
    let too_large = || error(ErrorCode::Limit, format!("{subject}: the answer has more than {most} bytes"));
    if body.length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let (mut data, mut held) = (Vec::new(), body.budget().nothing());
    loop {
        match tokio::time::timeout(STALL, body.next()).await {
            Err(_) => return Err(stalled(subject)),
            Ok(piece) => match piece? {
                None => return Ok(held.with(data)),
                Some(piece) if (data.len() + piece.len()) as u64 > most => return Err(too_large()),
                Some(piece) => {
                    held.grow(PARSED * piece.len())?;
                    data.extend_from_slice(&piece);
                }
            },
        }
    }
}

pub fn stalled(subject: &str) -> Error {
    error(ErrorCode::Unavailable, format!("{subject}: nothing came for {} seconds", STALL.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_pages_are_of_the_same_list() {
        let page = Url::parse("https://r.example:5000/v2/a/b/tags/list?n=1000").unwrap();
        for link in [
            "/v2/a/b/tags/list?n=2&last=x",
            "list?n=2&last=x",
            "?n=2&last=x",
            "https://r.example:5000/v2/a/b/tags/list?n=2&last=x",
            "http://r.example/v2/a/b/tags/list?n=2&last=x",
            "http://R.EXAMPLE:80/v2/a%2fb/tags/list?n=2&last=x",
            "//r.example:5001/v2/a/b/tags/list?n=2&last=x#y",
        ] {
            let next = next_page(&page, link).unwrap();
            assert_eq!(next.as_str(), "https://r.example:5000/v2/a/b/tags/list?n=2&last=x", "{link}");
        }
        for link in [
            "https://other.example/v2/a/b/tags/list?n=2",
            "/v2/a/c/tags/list?n=2",
            "ftp://r.example:5000/v2/a/b/tags/list?n=2",
            "/v2/a/b/tags/list",
            "https://",
        ] {
            assert!(next_page(&page, link).is_err(), "{link}");
        }
    }
}
