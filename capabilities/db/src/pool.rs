//! The connections of one database, shared by all that a script does with it.

use crate::connect::{Session, Way};
use crate::errors::Failure;
use crate::sqlite::{Lite, Place};
use crate::target::Options;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, error, lock, off_thread};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that was idle for longer is asked whether it still lives.
const FRESH: Duration = Duration::from_secs(1);

/// How a connection is made.
pub enum Source {
    Server(Arc<Way>),
    File(Arc<Place>),
}

/// An open connection.
pub enum Conn {
    Server(Session),
    Lite(Box<Lite>),
}

struct Idle {
    conn: Conn,
    handle: HandleGuard,
    /// Since when; none where it must be asked whether it lives.
    since: Option<Instant>,
}

/// The connections of one database.
pub struct Pool {
    pub run: Arc<Run>,
    pub options: Options,
    pub source: Source,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
}

/// A connection in use. Dropping it gives it back, or ends what is under way on it.
pub struct Lease {
    conn: Option<Conn>,
    handle: Option<HandleGuard>,
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
}

pub fn closed() -> Error {
    error(ErrorCode::InvalidArgument, "db: the connection is closed")
}

impl Pool {
    pub fn new(run: Arc<Run>, options: Options, source: Source) -> Arc<Pool> {
        let permits = Arc::new(Semaphore::new(options.max_connections));
        Arc::new(Pool {
            run,
            options,
            source,
            permits,
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Whether the database refuses to be changed in this pool.
    pub fn is_read_only(&self) -> bool {
        match &self.source {
            Source::Server(way) => way.read_only,
            Source::File(place) => place.read_only,
        }
    }

    /// A free connection, or a new one, or the next that comes free.
    ///
    /// # Errors
    /// `timeout` where none comes free or answers in time, `limit` where the run has no more handles, and those of
    /// connecting.
    pub async fn take(self: &Arc<Self>) -> Result<Lease, Error> {
        let timeout = self.options.connect_timeout;
        let seconds = timeout.as_secs_f64();
        let permit = match tokio::time::timeout(timeout, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(closed()),
            Err(_) => {
                let most = self.options.max_connections;
                return Err(error(
                    ErrorCode::Timeout,
                    format!(
                        "db: no connection came free within {seconds} seconds, all {most} are in use; end transactions \
                         and rows that are open, use the transaction's own argument in it, or raise max_connections"
                    ),
                ));
            }
        };
        match tokio::time::timeout(timeout, self.connection()).await {
            Ok(Ok((conn, handle))) => {
                Ok(Lease { conn: Some(conn), handle: Some(handle), pool: self.clone(), permit: Some(permit) })
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let place = match &self.source {
                    Source::Server(way) => way.place(),
                    Source::File(place) => place.shown.clone(),
                };
                Err(error(
                    ErrorCode::Timeout,
                    format!("db: {place} did not answer within {seconds} seconds (connect_timeout)"),
                ))
            }
        }
    }

    async fn connection(&self) -> Result<(Conn, HandleGuard), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        loop {
            // Outside of the loop's condition, which would keep the lock over the wait.
            let idle = lock(&self.idle).pop();
            let Some(Idle { mut conn, handle, since }) = idle else { break };
            let usable = match &mut conn {
                Conn::Lite(_) => true,
                Conn::Server(session) => {
                    let fresh = since.is_some_and(|since| since.elapsed() < FRESH);
                    !session.is_gone() && (fresh || session.is_alive().await)
                }
            };
            if usable {
                return Ok((conn, handle));
            }
        }
        let handle = self.run.take_handle()?;
        let conn = match &self.source {
            Source::Server(way) => Conn::Server(way.connect(&self.run).await?),
            Source::File(place) => Conn::Lite(Lite::open(&self.run, place, &self.options).await?),
        };
        Ok((conn, handle))
    }

    /// Where one connection broke off, the others may have too: each is asked before it is used again.
    fn doubt(&self) {
        lock(&self.idle).iter_mut().for_each(|idle| idle.since = None);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes what is idle now, and the rest when it comes back.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let idle = std::mem::take(&mut *lock(&self.idle));
        for Idle { conn, .. } in idle {
            match conn {
                Conn::Server(session) => session.close().await,
                // Writes back the log.
                Conn::Lite(lite) => {
                    let work = move || {
                        drop(lite);
                        Ok(())
                    };
                    drop(off_thread(work).await);
                }
            }
        }
    }

    fn put_back(&self, conn: Conn, handle: HandleGuard) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        lock(&self.idle).push(Idle { conn, handle, since: Some(Instant::now()) });
    }
}

impl Lease {
    /// One without a connection, for when that was lost.
    pub fn gone(pool: Arc<Pool>) -> Lease {
        Lease { conn: None, handle: None, pool, permit: None }
    }

    /// # Errors
    /// Where it is a file of SQLite, which no caller has mixed up.
    pub fn session(&mut self) -> Result<&mut Session, Error> {
        match &mut self.conn {
            Some(Conn::Server(session)) => Ok(session),
            _ => Err(closed()),
        }
    }

    /// # Errors
    /// Where it is a server, which no caller has mixed up.
    pub fn lite(&mut self) -> Result<&mut Lite, Error> {
        match &mut self.conn {
            Some(Conn::Lite(lite)) => Ok(lite),
            _ => Err(closed()),
        }
    }

    /// Says whether a transaction of the script's is open on it.
    pub fn set_in_transaction(&mut self, open: bool) {
        match &mut self.conn {
            Some(Conn::Server(session)) => session.in_transaction = open,
            Some(Conn::Lite(lite)) => lite.in_transaction = open,
            None => {}
        }
    }

    /// A connection to a server is closed when it is given back: something of its user's may be left on it. A file of
    /// SQLite has one connection for all.
    pub fn spoil(&mut self) {
        if let Some(Conn::Server(session)) = &mut self.conn {
            session.spoilt = true;
        }
    }

    /// What a failure means for the connection, and for the others of the pool.
    pub fn after(&mut self, failure: &Failure) {
        let Some(Conn::Server(session)) = &mut self.conn else { return };
        let gone = failure.broken && failure.error.code == ErrorCode::Unavailable;
        // Where the server is gone, there is no statement to end on it.
        session.busy = failure.broken && !gone;
        session.spoilt |= failure.broken;
        if gone {
            self.pool.doubt();
        }
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(conn), Some(handle)) = (self.conn.take(), self.handle.take()) else { return };
        match conn {
            // Its own drop ends what is under way.
            Conn::Server(session) if session.busy || session.in_transaction || session.spoilt => {}
            Conn::Lite(mut lite) if lite.is_dirty() => {
                let (pool, permit) = (self.pool.clone(), self.permit.take());
                let clean = move || {
                    lite.roll_back();
                    pool.put_back(Conn::Lite(lite), handle);
                    drop(permit);
                    Ok(())
                };
                // It writes to the disk. Without a runtime the process is about to end, and may wait.
                match tokio::runtime::Handle::try_current() {
                    Ok(_) => drop(off_thread(clean)),
                    Err(_) => drop(clean()),
                }
            }
            conn => self.pool.put_back(conn, handle),
        }
    }
}
