//! Open connections of a run, kept for the next request to the same place.

use crate::caller::Caller;
use crate::connect::{Connection, Life, Sender, connect};
use crate::errors::{timeout, transport};
use crate::proxy::Proxy;
use crate::request::{Head, Origin};
use crate::tls::{Cache, Settings};
use crate::upload::Upload;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run};
use hyper::client::conn::http2;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a connection is kept without use; servers close them after 60 to 75 seconds at the earliest
/// in common settings, and a closed one is noticed.
const IDLE: Duration = Duration::from_secs(60);
/// Idle HTTP/1.1 connections that are kept for one place.
const MAX_IDLE: usize = 100;
/// How long an idle connection may take to be ready for the next exchange. It is ready at once, unless
/// it still sends a body that the server did not want.
const READY: Duration = Duration::from_millis(20);
/// Places whose protocol is remembered.
const MAX_PLACES: usize = 1024;

/// What must be the same for a connection to be used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub origin: Origin,
    /// The number of the TLS settings, 0 for none.
    pub tls: u64,
    pub proxy: Option<Proxy>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

struct Shared {
    sender: http2::SendRequest<Upload>,
    address: Option<IpAddr>,
    life: Arc<Life>,
    used: Instant,
}

/// What is known of a place: whether one connection carries everything.
#[derive(Clone, Default)]
struct Place {
    /// Held while the first connection is made, so that a hundred requests at once do not open a hundred
    /// connections to a server that needs one.
    first: Arc<tokio::sync::Mutex<()>>,
    one_at_a_time: bool,
}

#[derive(Default)]
struct Inner {
    idle: HashMap<Key, Vec<Idle>>,
    shared: HashMap<Key, Shared>,
    places: HashMap<Key, Place>,
}

/// The connections and TLS settings of a run.
#[derive(Clone, Default)]
pub struct Pool {
    inner: Arc<Mutex<Inner>>,
    pub tls: Arc<Cache>,
}

/// A connection in use. Dropping it closes it, unless others share it.
pub struct Lease {
    pub connection: Connection,
    /// It has carried an exchange before, so the server may close it at any moment.
    pub reused: bool,
    pool: Pool,
    key: Key,
}

impl Lease {
    /// Gives the connection back when the exchange is over.
    pub fn release(self) {
        let Lease { connection, pool, key, .. } = self;
        if let Some(meter) = &connection.meter {
            // Nothing of the response is left in it.
            drop(meter.pass(usize::MAX));
        }
        if let Sender::One(sender) = &connection.sender
            && !sender.is_closed()
        {
            let mut inner = pool.lock();
            let list = inner.idle.entry(key).or_default();
            if list.len() < MAX_IDLE {
                list.push(Idle { connection, since: Instant::now() });
            }
        }
    }
}

/// What a request needs of the pool.
pub struct Wanted<'a> {
    pub run: &'a Arc<Run>,
    pub caller: Caller,
    pub head: &'a Head,
    pub subject: &'a str,
    pub tls: Option<&'a Settings>,
    pub proxy: Option<&'a Proxy>,
    /// Not one that was used before.
    pub fresh: bool,
    /// Zero is no bound.
    pub connect_timeout: Duration,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A connection that the request may use: an open one whose address it was checked for again, or a
    /// new one.
    ///
    /// # Errors
    /// `denied`, `timeout`, `limit` where the run has no handle left, and those of connecting.
    pub async fn acquire(&self, wanted: &Wanted<'_>) -> Result<Lease, Error> {
        let key = Key {
            origin: wanted.head.origin.clone(),
            tls: wanted.tls.map_or(0, |settings| settings.id),
            proxy: wanted.proxy.cloned(),
        };
        if !wanted.fresh
            && let Some(lease) = self.open(wanted, &key).await?
        {
            return Ok(lease);
        }
        let place = {
            let mut inner = self.lock();
            if inner.places.len() >= MAX_PLACES {
                inner.places.clear();
            }
            inner.places.entry(key.clone()).or_default().clone()
        };
        let _first = match wanted.tls {
            Some(_) if !place.one_at_a_time && !wanted.fresh => {
                let first = place.first.lock().await;
                if let Some(lease) = self.open(wanted, &key).await? {
                    return Ok(lease);
                }
                Some(first)
            }
            _ => None,
        };
        let connection = self.connect(wanted).await?;
        let mut inner = self.lock();
        if let Some(place) = inner.places.get_mut(&key) {
            place.one_at_a_time = matches!(connection.sender, Sender::One(_));
        }
        if let Sender::Two(sender) = &connection.sender {
            let (sender, address, life) = (sender.clone(), connection.address, connection.life.clone());
            inner.shared.insert(key.clone(), Shared { sender, address, life, used: Instant::now() });
        }
        drop(inner);
        Ok(Lease { connection, reused: false, pool: self.clone(), key })
    }

    /// An open connection, checked for this request.
    async fn open(&self, wanted: &Wanted<'_>, key: &Key) -> Result<Option<Lease>, Error> {
        if !wanted.head.method.is_idempotent() && self.has_kept(key) {
            // Such a request is not sent twice, so it must not meet a connection that the server has closed: the
            // reactor gets a turn to hear of that, and then the connection's task.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        while let Some(mut connection) = self.take(key) {
            match (connection.address, wanted.proxy) {
                (Some(address), None) => wanted.caller.check_open(wanted.run, wanted.head, address)?,
                (_, Some(proxy)) => check_through(wanted, proxy)?,
                (None, None) => continue,
            }
            let ready = match &mut connection.sender {
                Sender::One(sender) => {
                    tokio::time::timeout(READY, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
                }
                Sender::Two(sender) => sender.ready().await.is_ok(),
            };
            if ready {
                return Ok(Some(Lease { connection, reused: true, pool: self.clone(), key: key.clone() }));
            }
            self.forget(key, &connection);
        }
        Ok(None)
    }

    fn has_kept(&self, key: &Key) -> bool {
        let inner = self.lock();
        inner.shared.contains_key(key) || inner.idle.contains_key(key)
    }

    fn take(&self, key: &Key) -> Option<Connection> {
        let mut inner = self.lock();
        if let Some(shared) = inner.shared.get_mut(key) {
            let unused = Arc::strong_count(&shared.life) == 1;
            if shared.sender.is_closed() || (unused && shared.used.elapsed() > IDLE) {
                inner.shared.remove(key);
            } else {
                shared.used = Instant::now();
                return Some(Connection {
                    sender: Sender::Two(shared.sender.clone()),
                    address: shared.address,
                    absolute: false,
                    meter: None,
                    life: shared.life.clone(),
                });
            }
        }
        let list = inner.idle.get_mut(key)?;
        while let Some(idle) = list.pop() {
            let closed = matches!(&idle.connection.sender, Sender::One(sender) if sender.is_closed());
            if !closed && idle.since.elapsed() <= IDLE {
                return Some(idle.connection);
            }
        }
        inner.idle.remove(key);
        None
    }

    /// Forgets a shared connection that does not work any more.
    fn forget(&self, key: &Key, connection: &Connection) {
        let mut inner = self.lock();
        if inner.shared.get(key).is_some_and(|shared| Arc::ptr_eq(&shared.life, &connection.life)) {
            inner.shared.remove(key);
        }
    }

    /// Forgets the connection of a lease, after an exchange on it was lost.
    pub fn discard(&self, lease: Lease) {
        self.forget(&lease.key, &lease.connection);
    }

    async fn connect(&self, wanted: &Wanted<'_>) -> Result<Connection, Error> {
        if let Some(proxy) = wanted.proxy {
            check_through(wanted, proxy)?;
        }
        let handle = self.handle(wanted.run)?;
        let Wanted { run, caller, head, subject, tls, proxy, .. } = *wanted;
        let connecting = connect(run, caller, head, subject, tls, proxy, handle);
        if wanted.connect_timeout.is_zero() {
            return connecting.await;
        }
        match tokio::time::timeout(wanted.connect_timeout, connecting).await {
            Ok(result) => result,
            Err(_) => Err(timeout(wanted.subject, "no connection", wanted.connect_timeout)),
        }
    }

    /// A handle of the run; idle connections make room where there is none.
    pub fn handle(&self, run: &Arc<Run>) -> Result<HandleGuard, Error> {
        match run.take_handle() {
            Err(failure) if failure.code == ErrorCode::Limit => {
                let mut inner = self.lock();
                let idle = std::mem::take(&mut inner.idle);
                inner.shared.retain(|_, shared| Arc::strong_count(&shared.life) > 1);
                drop(inner);
                drop(idle);
                run.take_handle()
            }
            taken => taken,
        }
    }
}

/// Checks a request that a proxy will carry: by name, and by address where the URL has one. The proxy
/// alone knows where a name leads.
fn check_through(wanted: &Wanted<'_>, proxy: &Proxy) -> Result<(), Error> {
    let Wanted { run, caller, head, .. } = *wanted;
    proxy.check(run)?;
    match head.origin.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => caller.check_open(run, head, address),
        Err(_) => caller.check_name(run, head),
    }
}

/// An exchange that did not come to a response.
pub struct Lost {
    pub error: Error,
    /// The server has certainly not seen the request.
    pub unsent: bool,
}

impl Connection {
    /// Sends one request and gives the head of its response.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn send(
        &mut self,
        request: http::Request<Upload>,
        subject: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, Lost> {
        let result = match &mut self.sender {
            Sender::One(sender) => sender.try_send_request(request).await,
            Sender::Two(sender) => sender.try_send_request(request).await,
        };
        result.map_err(|mut failure| {
            let unsent = failure.take_message().is_some();
            Lost { error: transport(subject, failure.error()), unsent }
        })
    }
}
