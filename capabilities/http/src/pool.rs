//! Open connections of a run, kept for the next request to the same place.

use crate::caller::Caller;
use crate::connect::{self, Connection, Life, Sender};
use crate::errors::{timeout, transport};
use crate::request::Head;
use crate::upload::Upload;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, lock};
use assay_capability_net::tls::{Cache, Settings};
use assay_capability_net::{Origin, Proxy};
use hyper::client::conn::http2;
use std::collections::HashMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a connection is kept without use; servers close them after 60 to 75 seconds at the earliest
/// in common settings, and a closed one is noticed.
const IDLE: Duration = Duration::from_secs(60);
/// Idle HTTP/1.1 connections that are kept for one place.
const MAX_IDLE: usize = 100;
/// How long an idle connection may take to be ready for the next exchange. It is ready at once, unless
/// it still sends a body that the server did not want.
const READY: Duration = Duration::from_millis(20);
/// Origins whose protocol is remembered.
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

/// A connection of version 2, which carries many exchanges at once.
struct Multiplexed {
    sender: http2::SendRequest<Upload>,
    address: Option<IpAddr>,
    life: Arc<Life>,
    used: Instant,
}

/// What is known of an origin: whether one connection carries everything.
#[derive(Clone, Default)]
struct OriginState {
    /// Held while the first connection is made, so that a hundred requests at once do not open a hundred
    /// connections to a server that needs one.
    first: Arc<tokio::sync::Mutex<()>>,
    one_at_a_time: bool,
}

#[derive(Default)]
struct Inner {
    idle: HashMap<Key, Vec<Idle>>,
    shared: HashMap<Key, Multiplexed>,
    places: HashMap<Key, OriginState>,
}

/// The connections and TLS settings of a run.
#[derive(Clone, Default)]
pub struct Pool {
    inner: Arc<Mutex<Inner>>,
    under_way: Arc<UnderWay>,
    pub tls: Arc<Cache>,
}

/// The exchanges that come to their end by themselves, and give back what they hold of the run then: who finds no
/// handle waits for that. What a script holds for as long as it likes is not among them.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    ended: Notify,
}

/// One of the exchanges that are under way.
struct Passing(Arc<UnderWay>);

impl Passing {
    fn new(under_way: &Arc<UnderWay>) -> Passing {
        under_way.count.fetch_add(1, Ordering::AcqRel);
        Passing(under_way.clone())
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        match self.0.count.fetch_sub(1, Ordering::AcqRel) {
            // Nobody is left to wait for.
            1 => self.0.ended.notify_waiters(),
            _ => self.0.ended.notify_one(),
        }
    }
}

/// A connection in use. Dropping it closes it, unless others share it.
pub struct Lease {
    pub connection: Connection,
    /// It has carried an exchange before, so the server may close it at any moment.
    pub reused: bool,
    pool: Pool,
    key: Key,
    /// A handle of the exchange's own, where others share the connection and its body stays for a while.
    handle: Option<HandleGuard>,
    /// None once the script holds the body. The last field: by then all else has been given back.
    passing: Option<Passing>,
}

impl Lease {
    /// Makes sure that a body that goes to the guest piece by piece has a handle of the run: that of its connection,
    /// or one of its own where others share that. `lasting` is one that a script holds for as long as it likes.
    ///
    /// # Errors
    /// `limit`.
    pub async fn keep(&mut self, run: &Arc<Run>, lasting: bool) -> Result<(), Error> {
        if matches!(self.connection.sender, Sender::Http2(_)) && self.handle.is_none() {
            // It holds nothing that others wait for while it waits itself.
            self.passing = None;
            self.handle = Some(self.pool.handle_soon(run).await?);
        }
        self.passing = (!lasting).then(|| Passing::new(&self.pool.under_way));
        Ok(())
    }

    /// Gives the connection back when the exchange is over.
    pub fn release(self) {
        let Lease { connection, pool, key, .. } = self;
        if let Some(meter) = &connection.meter {
            // Nothing of the response is left in it.
            drop(meter.pass(usize::MAX));
        }
        if let Sender::Http1(sender) = &connection.sender
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
        lock(&self.inner)
    }

    /// A connection that the request may use: an open one whose address it was checked for again, or a
    /// new one.
    ///
    /// # Errors
    /// `denied`, `timeout`, `limit` where the run has no handle left and none comes back, and those of connecting.
    pub async fn acquire(&self, wanted: &Wanted<'_>) -> Result<Lease, Error> {
        let key = Key {
            origin: wanted.head.origin.clone(),
            tls: wanted.tls.map_or(0, |settings| settings.id),
            proxy: wanted.proxy.cloned(),
        };
        let place = {
            let mut inner = self.lock();
            if inner.places.len() >= MAX_PLACES {
                inner.places.clear();
            }
            inner.places.entry(key.clone()).or_default().clone()
        };
        let mut first = None;
        let handle = loop {
            let ended = self.under_way.ended.notified();
            tokio::pin!(ended);
            // Before the look, so that nothing is missed between the two.
            ended.as_mut().enable();
            if !wanted.fresh
                && let Some(lease) = self.open(wanted, &key).await?
            {
                return Ok(lease);
            }
            if first.is_none() && wanted.tls.is_some() && !place.one_at_a_time && !wanted.fresh {
                // Perhaps the task that had it has made a connection that will do.
                first = Some(place.first.lock().await);
                continue;
            }
            match self.try_handle(wanted.run)? {
                Some(handle) => break handle,
                None => ended.await,
            }
        };
        let passing = Passing::new(&self.under_way);
        let connection = self.connect(wanted, handle).await?;
        let mut inner = self.lock();
        if let Some(place) = inner.places.get_mut(&key) {
            place.one_at_a_time = matches!(connection.sender, Sender::Http1(_));
        }
        if let Sender::Http2(sender) = &connection.sender {
            let (sender, address, life) = (sender.clone(), connection.address, connection.life.clone());
            inner.shared.insert(key.clone(), Multiplexed { sender, address, life, used: Instant::now() });
        }
        drop(inner);
        Ok(self.lease(connection, false, key, passing))
    }

    fn lease(&self, connection: Connection, reused: bool, key: Key, passing: Passing) -> Lease {
        Lease { connection, reused, pool: self.clone(), key, handle: None, passing: Some(passing) }
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
            let passing = Passing::new(&self.under_way);
            match (connection.address, wanted.proxy) {
                (Some(address), None) => wanted.caller.check_open(wanted.run, wanted.head, address)?,
                (_, Some(proxy)) => check_through(wanted, proxy)?,
                (None, None) => continue,
            }
            let ready = match &mut connection.sender {
                Sender::Http1(sender) => {
                    tokio::time::timeout(READY, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
                }
                Sender::Http2(sender) => sender.ready().await.is_ok(),
            };
            if ready {
                return Ok(Some(self.lease(connection, true, key.clone(), passing)));
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
                    sender: Sender::Http2(shared.sender.clone()),
                    address: shared.address,
                    absolute: false,
                    meter: None,
                    life: shared.life.clone(),
                });
            }
        }
        let list = inner.idle.get_mut(key)?;
        while let Some(idle) = list.pop() {
            let closed = matches!(&idle.connection.sender, Sender::Http1(sender) if sender.is_closed());
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

    async fn connect(&self, wanted: &Wanted<'_>, handle: HandleGuard) -> Result<Connection, Error> {
        if let Some(proxy) = wanted.proxy {
            check_through(wanted, proxy)?;
        }
        let Wanted { run, caller, head, subject, tls, proxy, .. } = *wanted;
        let connecting = connect::open(run, caller, head, subject, tls, proxy, handle);
        if wanted.connect_timeout.is_zero() {
            return connecting.await;
        }
        match tokio::time::timeout(wanted.connect_timeout, connecting).await {
            Ok(result) => result,
            Err(_) => Err(timeout(wanted.subject, "no connection", wanted.connect_timeout)),
        }
    }

    /// A handle of the run; where all are taken, an idle connection is closed for it.
    pub fn handle(&self, run: &Arc<Run>) -> Result<HandleGuard, Error> {
        match run.take_handle() {
            Err(failure) if failure.code == ErrorCode::Limit => {
                self.close_idle();
                run.take_handle()
            }
            taken => taken,
        }
    }

    fn close_idle(&self) {
        let mut inner = self.lock();
        let idle = std::mem::take(&mut inner.idle);
        inner.shared.retain(|_, shared| Arc::strong_count(&shared.life) > 1);
        drop(inner);
        drop(idle);
    }

    /// The same; none where others are under way, and will give back theirs. Then a part of the handles stays for the
    /// rest of the run, which may be the server that is asked.
    fn try_handle(&self, run: &Arc<Run>) -> Result<Option<HandleGuard>, Error> {
        if self.under_way.count.load(Ordering::Acquire) == 0 {
            return self.handle(run).map(Some);
        }
        if !run.has_handles_to_spare() {
            self.close_idle();
        }
        Ok(if run.has_handles_to_spare() { self.handle(run).ok() } else { None })
    }

    /// A handle of the run, as soon as others that are under way have given one back.
    async fn handle_soon(&self, run: &Arc<Run>) -> Result<HandleGuard, Error> {
        loop {
            let ended = self.under_way.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            match self.try_handle(run)? {
                Some(handle) => return Ok(handle),
                None => ended.await,
            }
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
    pub seen: Seen,
}

/// What the server has seen of a request that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It may have done what was asked for.
    Perhaps,
    /// Nothing: the request did not leave.
    Nothing,
    /// It says that it has done nothing, and goes on with others (REFUSED_STREAM, RFC 9113 8.7).
    Refused,
    /// It says that it has done nothing, and that the connection ends (GOAWAY, RFC 9113 6.8).
    GoneAway,
}

/// What a failure of HTTP/2 says about the request.
fn seen(failure: &hyper::Error) -> Seen {
    let cause = std::iter::successors(failure.source(), |error| (*error).source());
    // What a stream below GOAWAY's last one fails with is another error.
    match cause.filter_map(|error| error.downcast_ref::<h2::Error>()).find(|error| error.is_remote()) {
        Some(error) if error.is_go_away() => Seen::GoneAway,
        Some(error) if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Seen::Refused
        }
        _ => Seen::Perhaps,
    }
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
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        result.map_err(|mut failure| {
            let seen = match failure.take_message() {
                Some(_) => Seen::Nothing,
                None => seen(failure.error()),
            };
            Lost { error: transport(subject, failure.error()), seen }
        })
    }
}
