//! The pool of connections to one database, which all statements of a script share.

use crate::connect::{ServerConfig, ServerConnection};
use crate::errors::Failure;
use crate::sqlite::{SqliteConfig, SqliteConnection};
use crate::target::Options;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{HandleGuard, Run, error, lock, off_thread};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that was idle for longer is asked whether it still lives.
const FRESH: Duration = Duration::from_secs(1);

/// The connection configuration of a pool.
pub enum ConnectionConfig {
    Server(Arc<ServerConfig>),
    Sqlite(Arc<SqliteConfig>),
}

/// A connection.
pub enum Connection {
    Server(ServerConnection),
    Sqlite(Box<SqliteConnection>),
}

struct Idle {
    connection: Connection,
    handle: HandleGuard,
    /// Since when; none where it must be asked whether it lives.
    since: Option<Instant>,
}

/// The connections of one database.
pub struct Pool {
    pub run: Arc<Run>,
    pub options: Options,
    pub config: ConnectionConfig,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
}

/// A connection that was taken from its pool. Dropping the lease gives it back, or ends what is under way on it.
pub struct Lease {
    connection: Option<Connection>,
    handle: Option<HandleGuard>,
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
}

pub fn closed() -> Error {
    error(ErrorCode::InvalidArgument, "db: the connection is closed")
}

impl Pool {
    pub fn new(run: Arc<Run>, options: Options, config: ConnectionConfig) -> Arc<Pool> {
        let permits = Arc::new(Semaphore::new(options.max_connections));
        Arc::new(Pool {
            run,
            options,
            config,
            permits,
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Whether the database refuses to be changed in this pool.
    pub fn is_read_only(&self) -> bool {
        match &self.config {
            ConnectionConfig::Server(config) => config.read_only,
            ConnectionConfig::Sqlite(config) => config.read_only,
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
        match tokio::time::timeout(timeout, self.open_or_reuse()).await {
            Ok(Ok((connection, handle))) => Ok(Lease {
                connection: Some(connection),
                handle: Some(handle),
                pool: self.clone(),
                permit: Some(permit),
            }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let place = match &self.config {
                    ConnectionConfig::Server(config) => config.shown(),
                    ConnectionConfig::Sqlite(config) => config.shown.clone(),
                };
                Err(error(
                    ErrorCode::Timeout,
                    format!("db: {place} did not answer within {seconds} seconds (connect_timeout)"),
                ))
            }
        }
    }

    async fn open_or_reuse(&self) -> Result<(Connection, HandleGuard), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        loop {
            // Outside of the loop's condition, which would keep the lock over the wait.
            let idle = lock(&self.idle).pop();
            let Some(Idle { mut connection, handle, since }) = idle else { break };
            let usable = match &mut connection {
                Connection::Sqlite(_) => true,
                Connection::Server(server) => {
                    let fresh = since.is_some_and(|since| since.elapsed() < FRESH);
                    !server.is_gone() && (fresh || server.is_alive().await)
                }
            };
            if usable {
                return Ok((connection, handle));
            }
        }
        let handle = self.run.take_handle()?;
        let connection = match &self.config {
            ConnectionConfig::Server(config) => Connection::Server(config.connect(&self.run).await?),
            ConnectionConfig::Sqlite(config) => {
                Connection::Sqlite(SqliteConnection::open(&self.run, config, &self.options).await?)
            }
        };
        Ok((connection, handle))
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
        for Idle { connection, .. } in idle {
            match connection {
                Connection::Server(server) => server.close().await,
                // Writes back the log.
                Connection::Sqlite(sqlite) => {
                    let work = move || {
                        drop(sqlite);
                        Ok(())
                    };
                    drop(off_thread(work).await);
                }
            }
        }
    }

    fn put_back(&self, connection: Connection, handle: HandleGuard) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        lock(&self.idle).push(Idle { connection, handle, since: Some(Instant::now()) });
    }
}

impl Lease {
    /// One without a connection, for when that was lost.
    pub fn gone(pool: Arc<Pool>) -> Lease {
        Lease { connection: None, handle: None, pool, permit: None }
    }

    /// # Errors
    /// Where it is a file of SQLite, which no caller has mixed up.
    pub fn server(&mut self) -> Result<&mut ServerConnection, Error> {
        match &mut self.connection {
            Some(Connection::Server(server)) => Ok(server),
            _ => Err(closed()),
        }
    }

    /// # Errors
    /// Where it is a server, which no caller has mixed up.
    pub fn sqlite(&mut self) -> Result<&mut SqliteConnection, Error> {
        match &mut self.connection {
            Some(Connection::Sqlite(sqlite)) => Ok(sqlite),
            _ => Err(closed()),
        }
    }

    /// Says whether a transaction of the script's is open on it.
    pub fn set_in_transaction(&mut self, open: bool) {
        match &mut self.connection {
            Some(Connection::Server(server)) => server.in_transaction = open,
            Some(Connection::Sqlite(sqlite)) => sqlite.in_transaction = open,
            None => {}
        }
    }

    /// A connection to a server is closed when it is given back: something of its user's may be left on it. A file of
    /// SQLite has one connection for all.
    pub fn spoil(&mut self) {
        if let Some(Connection::Server(server)) = &mut self.connection {
            server.spoilt = true;
        }
    }

    /// What a failure means for the connection, and for the others of the pool.
    pub fn after(&mut self, failure: &Failure) {
        let Some(Connection::Server(server)) = &mut self.connection else { return };
        let gone = failure.broken && failure.error.code == ErrorCode::Unavailable;
        // Where the server is gone, there is no statement to end on it.
        server.busy = failure.broken && !gone;
        server.spoilt |= failure.broken;
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
        let (Some(connection), Some(handle)) = (self.connection.take(), self.handle.take()) else { return };
        match connection {
            // Its own drop ends what is under way.
            Connection::Server(server) if server.busy || server.in_transaction || server.spoilt => {}
            Connection::Sqlite(mut sqlite) if sqlite.is_dirty() => {
                let (pool, permit) = (self.pool.clone(), self.permit.take());
                let clean = move || {
                    sqlite.roll_back();
                    pool.put_back(Connection::Sqlite(sqlite), handle);
                    drop(permit);
                    Ok(())
                };
                // It writes to the disk. Without a runtime the process is about to end, and may wait.
                match tokio::runtime::Handle::try_current() {
                    Ok(_) => drop(off_thread(clean)),
                    Err(_) => drop(clean()),
                }
            }
            connection => self.pool.put_back(connection, handle),
        }
    }
}
