//! Authentication: credentials go to the registry that asks for them, or to its token server
//! where that is granted.

use crate::challenge::{Challenge, challenges};
use crate::credentials::{Credentials, basic, bearer};
use crate::failure::{Trouble, invalid_data};
use crate::reference::Reference;
use crate::registry::{RESPONSE_TIMEOUT, Repository, whole};
use crate::scope::TOKEN;
use crate::session::Session;
use assay_capability_api::error;
use assay_capability_api::scope::host_and_port;
use assay_capability_api::secrets::hide_url;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_http::client::Payload;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::Serializer;

/// Bytes of a token server's answer.
const MAX_ANSWER: u64 = 1 << 20;

/// The value of `Authorization` that is sent now.
#[derive(Clone, Default)]
pub struct Known {
    pub value: Option<HeaderValue>,
    /// How often it was changed, so that many requests at once ask for one token.
    generation: u64,
}

pub struct Authorization {
    credentials: Credentials,
    known: Mutex<Known>,
}

/// Which token servers a registry may name.
pub struct Realm<'a> {
    pub reference: &'a Reference,
    pub root: &'a Url,
    pub session: &'a Session,
}

impl Realm<'_> {
    /// Reads the address of a token server and decides whether it is asked: the registry's own origin is,
    /// another host where it is granted. Never over http for a registry that is reached over https.
    ///
    /// # Errors
    /// `invalid_data` where it is not an address, `denied`.
    fn check(&self, realm: &str) -> Result<Url, Error> {
        let what = format!("the token server of {}", self.reference.registry);
        let mut url = Url::parse(realm)
            .map_err(|why| invalid_data(format!("{what}: '{}' is not an address: {why}", hide_url(realm))))?;
        let secure = url.scheme() == "https";
        if !secure && url.scheme() != "http" {
            return Err(invalid_data(format!("{what}: the scheme {}: is not HTTP", url.scheme())));
        }
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(invalid_data(format!("{what} has no host")));
        };
        let place = host_and_port(host, port);
        if url.origin() == self.root.origin() {
            self.session.check_own(TOKEN, &place, self.reference)?;
            return Ok(url);
        }
        if !secure && self.root.scheme() == "https" {
            self.session.run.record_denial("oci", &format!("oci: {TOKEN} http://{place}"));
            return Err(error(
                ErrorCode::Denied,
                format!("{what} is http://{place}: tokens and passwords are not sent without encryption"),
            ));
        }
        match self.reference.is_companion(host, port) {
            true => self.session.check_own(TOKEN, &place, self.reference)?,
            false => self.session.check(TOKEN, &place, &format!("token:{place}"))?,
        }
        Ok(url)
    }
}

impl Authorization {
    pub fn new(credentials: Credentials) -> Authorization {
        let value = match &credentials {
            Credentials::Token(value) => Some(value.clone()),
            _ => None,
        };
        Authorization { credentials, known: Mutex::new(Known { value, generation: 0 }) }
    }

    pub fn is_anonymous(&self) -> bool {
        matches!(self.credentials, Credentials::Anonymous)
    }

    pub async fn current(&self) -> Known {
        self.known.lock().await.clone()
    }

    /// Answers the challenge in the `headers` of a reply to a request that was sent with `used`. False where there is nothing
    /// to answer with.
    pub async fn meet(
        &self,
        repository: &Repository,
        headers: &HeaderMap,
        used: &Known,
    ) -> Result<bool, Trouble> {
        let mut known = self.known.lock().await;
        if known.generation != used.generation {
            return Ok(true);
        }
        let found = challenges(headers);
        let token = found.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service.as_deref())),
            Challenge::Basic => None,
        });
        let value = match (&self.credentials, token) {
            // It was sent already.
            (Credentials::Token(_), _) => return Ok(false),
            (_, Some((realm, service))) => {
                let url = repository.realm().check(realm)?;
                let for_two = repository.taken_from().is_some();
                match self.token(repository, url.clone(), service).await {
                    // It gives no token for the repository that blobs would be taken over from.
                    Err(Trouble::Final(failure)) if for_two && repository.refuse_taking(&failure) => {
                        self.token(repository, url, service).await?
                    }
                    given => given?,
                }
            }
            (Credentials::Password { username, password }, None) if found.contains(&Challenge::Basic) => {
                if known.value.is_some() {
                    return Ok(false);
                }
                let value = basic(username, password);
                value.ok_or_else(|| invalid_data("the user name and password cannot be sent in a header"))?
            }
            _ => return Ok(false),
        };
        *known = Known { value: Some(value), generation: known.generation + 1 };
        Ok(true)
    }

    /// Asks for a token. What it may do is what this call does, whatever the challenge asked for.
    async fn token(
        &self,
        repository: &Repository,
        mut url: Url,
        service: Option<&str>,
    ) -> Result<HeaderValue, Trouble> {
        let scopes = repository.scopes();
        let mut headers = HeaderMap::new();
        let (method, payload) = match &self.credentials {
            Credentials::Identity(refresh) => {
                let mut form = Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "assay")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("scope", &scopes.join(" "))
                    .append_pair("refresh_token", refresh);
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, kind);
                (Method::POST, Payload::Data(form.finish().into()))
            }
            other => {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in &scopes {
                    query.append_pair("scope", scope);
                }
                drop(query);
                if let Credentials::Password { username, password } = other
                    && let Some(value) = basic(username, password)
                {
                    headers.insert(header::AUTHORIZATION, value);
                }
                (Method::GET, Payload::Empty)
            }
        };
        let reply = repository.send(method, &url, headers, payload, RESPONSE_TIMEOUT).await?;
        if !(200..300).contains(&reply.status) {
            return Err(repository.refusal(reply).await);
        }
        let subject = reply.subject.clone();
        let data = whole(reply.body, MAX_ANSWER, &subject).await?;
        let json: serde_json::Value = serde_json::from_slice(&data)
            .map_err(|_| invalid_data(format!("{subject}: the token server's answer is not JSON")))?;
        let field = |name: &str| json.get(name).and_then(|value| value.as_str()).and_then(bearer);
        let value = field("token").or_else(|| field("access_token"));
        Ok(value.ok_or_else(|| invalid_data(format!("{subject}: the token server's answer has no token")))?)
    }
}
