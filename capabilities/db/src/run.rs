//! Running statements: from the text and its parameters to the rows that a script pulls.

use crate::connect::Driver;
use crate::effect::{self, StatementContext};
use crate::errors::Failure;
use crate::pool::{ConnectionConfig, Lease, Pool, closed};
use crate::value::{Batch, Bounds, Done, Held, Param, Sink};
use crate::{mysql, postgres, readonly, sqlite};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, lock};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// A statement with one list of parameters, or many.
pub struct Work {
    pub sql: String,
    pub sets: Vec<Vec<Param>>,
    /// Parameters were given, if only an empty list of them.
    pub given: bool,
    /// What they take of the run's budget.
    pub _memory: assay_capability_api::Held,
}

/// How often a driver has a parameter at a time: as it came, as a value, among the arguments and in the message to the
/// server, both of which grow by doubling.
const COPIES: usize = 6;

/// Takes what a statement and its parameters need from the run's budget: as they came, as values, and as the driver
/// keeps them.
///
/// # Errors
/// `limit`.
pub fn hold(run: &Run, sql: &str, params: &[u8]) -> Result<assay_capability_api::Held, Error> {
    run.budget.take((sql.len() + params.len()).saturating_mul(COPIES))
}

/// A transaction, or a session, which is a connection for one user. A transaction in a session, and a part of a
/// transaction that can be rolled back by itself, share the connection, one deeper.
pub struct Transaction {
    pool: Arc<Pool>,
    state: Arc<Mutex<TransactionState>>,
    depth: u32,
    /// The outermost is a session.
    in_session: bool,
    ended: AtomicBool,
}

impl Transaction {
    /// How many transactions are nested here: 0 for a session, more than 1 for a savepoint.
    fn nesting(&self) -> u32 {
        self.depth - u32::from(self.in_session)
    }
}

/// What a transaction and those nested in it share.
struct TransactionState {
    /// None while a statement has it, and when it is over.
    lease: Option<Lease>,
    /// How many transactions are open, one in the other.
    depth: u32,
    /// The rest of a statement is read that the script has left.
    draining: bool,
    /// Tells when that is over, or the transaction is.
    changed: Arc<Notify>,
}

/// Where statements get their connection from.
#[derive(Clone)]
pub enum ConnectionSource {
    Pool(Arc<Pool>),
    Transaction(Arc<Transaction>),
}

impl ConnectionSource {
    pub fn pool(&self) -> &Arc<Pool> {
        match self {
            ConnectionSource::Pool(pool) => pool,
            ConnectionSource::Transaction(transaction) => &transaction.pool,
        }
    }

    fn context(&self) -> StatementContext {
        match self {
            ConnectionSource::Pool(_) => StatementContext::Pool,
            ConnectionSource::Transaction(transaction) if transaction.nesting() == 0 => {
                StatementContext::Session
            }
            ConnectionSource::Transaction(_) => StatementContext::Transaction,
        }
    }

    /// Whether a transaction of the script's is open.
    pub fn in_transaction(&self) -> bool {
        self.context() == StatementContext::Transaction
    }

    /// A connection for one statement.
    ///
    /// # Errors
    /// Those of the pool; where a transaction is over, or busy.
    pub async fn take(&self) -> Result<Lease, Error> {
        let transaction = match self {
            ConnectionSource::Pool(pool) => return pool.take().await,
            ConnectionSource::Transaction(transaction) => transaction,
        };
        let changed = lock(&transaction.state).changed.clone();
        loop {
            let mut waiting = pin!(changed.notified());
            // From here on no change is missed.
            waiting.as_mut().enable();
            {
                let mut state = lock(&transaction.state);
                if transaction.ended.load(Ordering::Acquire) || state.depth == 0 {
                    return Err(over());
                }
                if let Some(lease) = state.lease.take() {
                    return Ok(lease);
                }
                if !state.draining {
                    break;
                }
            }
            waiting.await;
        }
        Err(error(
            ErrorCode::Unsupported,
            "db: another statement of this transaction or session is under way; a server's connection does one thing at a time, so \
                 read its rows with query, or leave the loop over db.rows first. Where a statement was cancelled or timed \
                 out, the transaction is rolled back",
        ))
    }

    /// Gives it back, free for the next.
    pub fn give(&self, lease: Lease) {
        if let ConnectionSource::Transaction(transaction) = self {
            let mut state = lock(&transaction.state);
            if state.depth > 0 {
                state.lease = Some(lease);
            }
        }
    }
}

fn over() -> Error {
    error(ErrorCode::InvalidArgument, "db: the transaction or session is over")
}

/// What ends a transaction or a part of one.
fn ending(commit: bool, nesting: u32) -> String {
    match (commit, nesting) {
        (true, 1) => "COMMIT".into(),
        (false, 1) => "ROLLBACK".into(),
        (true, _) => format!("RELEASE SAVEPOINT assay_{nesting}"),
        (false, _) => format!("ROLLBACK TO SAVEPOINT assay_{nesting}"),
    }
}

/// Runs one statement of this crate on a connection.
async fn control(mut lease: Lease, sql: String, timeout: Option<Duration>) -> (Lease, Result<(), Failure>) {
    if matches!(lease.pool().config, ConnectionConfig::Sqlite(_)) {
        return sqlite::control(lease, sql).await;
    }
    let result = async {
        let session = lease.server()?;
        session.busy = true;
        let executed = async {
            match session.driver() {
                Some(Driver::Postgres(connection)) => postgres::control(connection, &sql).await,
                Some(Driver::MySql(connection)) => mysql::control(connection, &sql).await,
                None => Err(closed().into()),
            }
        };
        let result = within(timeout, executed).await;
        session.busy = false;
        result
    }
    .await;
    if let Err(failure) = &result {
        lease.after(failure);
    }
    (lease, result)
}

/// Bounds the wait for a server.
async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout {
        None => work.await,
        Some(timeout) => match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(timeout).into()),
        },
    }
}

pub fn timed_out(after: Duration) -> Error {
    error(
        ErrorCode::Timeout,
        format!("db: the statement was ended after {} seconds (statement_timeout)", after.as_secs_f64()),
    )
}

/// Begins a transaction on a free connection or in a session, or a savepoint in one.
///
/// # Errors
/// Those of the pool and of the database.
pub async fn begin(source: &ConnectionSource) -> Result<Transaction, Error> {
    let pool = source.pool().clone();
    let timeout = pool.options.statement_timeout;
    let lease = source.take().await?;
    let nesting = match source {
        ConnectionSource::Pool(_) => 1,
        ConnectionSource::Transaction(outer) => outer.nesting() + 1,
    };
    let sql = match nesting {
        1 => readonly::begin(&pool).into(),
        _ => format!("SAVEPOINT assay_{nesting}"),
    };
    let (mut lease, result) = control(lease, sql, timeout).await;
    if nesting == 1 && result.is_ok() {
        lease.set_in_transaction(true);
    }
    let outer = match source {
        ConnectionSource::Pool(_) => {
            result.map_err(|failure| failure.error)?;
            return Ok(Transaction::new(pool, lease, false));
        }
        ConnectionSource::Transaction(outer) => outer,
    };
    if !result.as_ref().is_err_and(|failure| failure.broken) {
        source.give(lease);
    }
    result.map_err(|failure| failure.error)?;
    let depth = outer.depth + 1;
    lock(&outer.state).depth = depth;
    let (state, in_session) = (outer.state.clone(), outer.in_session);
    Ok(Transaction { pool, state, depth, in_session, ended: AtomicBool::new(false) })
}

/// Takes a connection out of the pool for one user.
///
/// # Errors
/// Those of the pool; `unsupported` where there is one already.
pub async fn session(source: &ConnectionSource) -> Result<Transaction, Error> {
    let ConnectionSource::Pool(pool) = source else {
        let what = if source.in_transaction() { "transaction" } else { "session" };
        let message = format!("db.session: a {what} has a connection of its own already; use its argument");
        return Err(error(ErrorCode::Unsupported, message));
    };
    let mut lease = source.take().await?;
    lease.spoil();
    Ok(Transaction::new(pool.clone(), lease, true))
}

impl Transaction {
    fn new(pool: Arc<Pool>, lease: Lease, in_session: bool) -> Transaction {
        let state =
            TransactionState { lease: Some(lease), depth: 1, draining: false, changed: Arc::default() };
        let ended = AtomicBool::new(false);
        Transaction { pool, state: Arc::new(Mutex::new(state)), depth: 1, in_session, ended }
    }
}

/// Ends a transaction or a session.
///
/// # Errors
/// Where it is over already, or the database refuses to commit it; then it is rolled back.
pub async fn end(transaction: &Arc<Transaction>, commit: bool) -> Result<(), Error> {
    let source = ConnectionSource::Transaction(transaction.clone());
    let (depth, nesting) = (transaction.depth, transaction.nesting());
    if lock(&transaction.state).depth > depth {
        return Err(error(ErrorCode::InvalidArgument, "db: a transaction within this one is still open"));
    }
    let mut lease = source.take().await?;
    transaction.ended.store(true, Ordering::Release);
    if nesting == 0 {
        lock(&transaction.state).depth = 0;
        return Ok(());
    }
    let timeout = transaction.pool.options.statement_timeout;
    // What a transaction that only reads may have done all the same goes with it.
    let commit = commit && !(nesting == 1 && transaction.pool.is_read_only());
    let result;
    (lease, result) = control(lease, ending(commit, nesting), timeout).await;
    let result = result.map_err(|failure| {
        // After a refused COMMIT the transaction may be open still; dropping the lease rolls it back then.
        (failure.error, failure.broken || nesting == 1)
    });
    let goes_on = depth > 1 && !result.as_ref().is_err_and(|(_, lost)| *lost);
    if nesting == 1 && result.is_ok() {
        lease.set_in_transaction(false);
    }
    let mut state = lock(&transaction.state);
    state.depth = if goes_on { depth - 1 } else { 0 };
    if goes_on {
        state.lease = Some(lease);
    }
    drop(state);
    result.map_err(|(error, _)| error)
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // With a transaction that was not ended its session is over too: nobody can tell where it stands.
        if (self.depth == 1 || self.nesting() == 1) && !self.ended.load(Ordering::Acquire) {
            let mut state = lock(&self.state);
            state.depth = 0;
            state.changed.notify_waiters();
            let lease = state.lease.take();
            drop(state);
            drop(lease);
        }
    }
}

type Producing = Pin<Box<dyn Future<Output = Result<(Done, Batch), Error>> + Send>>;

/// A statement on its way, which runs only while its rows are waited for. Dropping it ends the statement.
pub struct Running {
    future: Option<Producing>,
    batches: mpsc::Receiver<Batch>,
    /// The end, where a batch must be given before it.
    finished: Option<(Done, Batch)>,
    timeout: Option<Duration>,
    held: Held,
    /// What shares its connection, where that must go on after it.
    state: Option<Arc<Mutex<TransactionState>>>,
}

/// What a statement gave when it was asked.
pub enum Step {
    Batch(Batch),
    /// The rest, and the end.
    Done(Done, Batch),
}

impl Running {
    /// Starts a statement; nothing happens before the first step.
    pub fn new(source: ConnectionSource, work: Work, bounds: Bounds) -> Running {
        let pool = source.pool().clone();
        let (sender, batches) = mpsc::channel(1);
        let sink = Sink::new(pool.run.clone(), sender, bounds);
        let timeout = pool.options.statement_timeout;
        let held = sink.held.clone();
        let state = match (&source, &pool.config) {
            (ConnectionSource::Transaction(transaction), ConnectionConfig::Server(_)) => {
                Some(transaction.state.clone())
            }
            _ => None,
        };
        let future: Producing = match &pool.config {
            ConnectionConfig::Sqlite(_) => Box::pin(sqlite::produce(source, work, sink)),
            ConnectionConfig::Server(_) => Box::pin(produce(source, work, sink)),
        };
        Running { future: Some(future), batches, finished: None, timeout, held, state }
    }

    /// The next rows.
    ///
    /// # Errors
    /// Those of the statement; `timeout` where they do not come in time.
    pub async fn step(&mut self) -> Result<Step, Error> {
        let Some(timeout) = self.timeout else { return self.untimed().await };
        let begun = Instant::now();
        let mut wait = timeout;
        loop {
            if let Ok(step) = tokio::time::timeout(wait, self.untimed()).await {
                return step;
            }
            // Waiting for a connection has its own bound.
            let held = *lock(&self.held);
            let passed = held.map_or(Duration::ZERO, |since| since.max(begun).elapsed());
            if passed >= timeout {
                self.future = None;
                return Err(timed_out(timeout));
            }
            wait = timeout - passed;
        }
    }

    async fn untimed(&mut self) -> Result<Step, Error> {
        let Some(future) = &mut self.future else {
            let (done, rest) = self.finished.take().unwrap_or_default();
            return Ok(Step::Done(done, rest));
        };
        tokio::select! {
            biased;
            Some(batch) = self.batches.recv() => Ok(Step::Batch(batch)),
            result = future => {
                self.future = None;
                let (done, rest) = result?;
                // A batch may have been handed over in the same moment.
                match self.batches.try_recv() {
                    Ok(batch) => {
                        self.finished = Some((done, rest));
                        Ok(Step::Batch(batch))
                    }
                    Err(_) => Ok(Step::Done(done, rest)),
                }
            }
        }
    }

    /// Leaves a statement whose rows are not wanted any more. In a transaction on a server its rest is read, because
    /// whatever else would end it would end the transaction; elsewhere it is ended.
    pub fn leave(mut self) {
        let (Some(state), Some(_)) = (self.state.clone(), &self.future) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let changed = {
            let mut state = lock(&state);
            state.draining = true;
            state.changed.clone()
        };
        runtime.spawn(async move {
            loop {
                let mut waiting = pin!(changed.notified());
                waiting.as_mut().enable();
                if lock(&state).depth == 0 {
                    break;
                }
                tokio::select! {
                    step = self.step() => if !matches!(step, Ok(Step::Batch(_))) { break },
                    () = waiting => {}
                }
            }
            // Before anybody hears of it.
            drop(self);
            lock(&state).draining = false;
            changed.notify_waiters();
        });
    }

    /// Runs to the end of a statement whose rows do not count.
    ///
    /// # Errors
    /// As for `step`, with one timeout for all.
    pub async fn finish(&mut self) -> Result<Done, Error> {
        loop {
            if let Step::Done(done, _) = self.step().await? {
                return Ok(done);
            }
        }
    }
}

/// A statement on a server.
async fn produce(source: ConnectionSource, work: Work, mut sink: Sink) -> Result<(Done, Batch), Error> {
    let pool = source.pool().clone();
    let ConnectionConfig::Server(config) = &pool.config else { return Err(closed()) };
    if config.read_only {
        readonly::check(&work.sql)?;
    }
    let spoils = effect::check(config.kind(), &work.sql, source.context())?;
    // Within a transaction that was begun so, nothing needs to be done for it.
    let only_read = config.read_only && !source.in_transaction();
    let mut lease = source.take().await?;
    *lock(&sink.held) = Some(Instant::now());
    if spoils {
        lease.spoil();
    }
    let session = lease.server()?;
    session.busy = true;
    let numeric = pool.options.numeric_as_number;
    let alone = !source.in_transaction();
    let result = match session.driver() {
        Some(Driver::Postgres(connection)) => {
            postgres::run(connection, &work, &mut sink, only_read, alone, numeric).await
        }
        Some(Driver::MySql(connection)) => mysql::run(connection, &work, &mut sink, only_read, numeric).await,
        None => Err(closed().into()),
    };
    // What no text tells may have begun a transaction.
    let left = matches!(session.driver(), Some(Driver::Postgres(client)) if client.in_transaction());
    if left && source.context() == StatementContext::Pool {
        session.in_transaction = true;
    }
    match result {
        Ok(done) => {
            session.busy = false;
            source.give(lease);
            Ok((done, sink.take()?))
        }
        Err(failure) => {
            lease.after(&failure);
            if !failure.broken {
                source.give(lease);
            }
            Err(failure.error)
        }
    }
}

/// Several statements at once.
///
/// # Errors
/// The first that fails ends them.
pub async fn script(source: &ConnectionSource, sql: String) -> Result<(), Error> {
    let pool = source.pool().clone();
    if let ConnectionConfig::Sqlite(_) = pool.config {
        return sqlite::script(source.clone(), sql, pool.options.statement_timeout).await;
    }
    if pool.is_read_only() {
        return Err(readonly::refusal("several statements at once"));
    }
    if source.in_transaction() {
        return Err(error(
            ErrorCode::Unsupported,
            "db.script: statements of a script may end a transaction; run them one by one with execute",
        ));
    }
    let timeout = pool.options.statement_timeout;
    let mut lease = source.take().await?;
    // Whatever its statements set or lock is gone after it.
    lease.spoil();
    let (lease, result) = control(lease, sql, timeout).await;
    if source.context() == StatementContext::Session {
        if !result.as_ref().is_err_and(|failure| failure.broken) {
            source.give(lease);
        }
        return result.map_err(|failure| failure.error);
    }
    // What a script begins and does not end is rolled back.
    let (lease, after) = match result.as_ref().is_err_and(|failure| failure.broken) {
        true => (lease, Ok(())),
        false => control(lease, "ROLLBACK".into(), timeout).await,
    };
    drop(lease);
    result.and(after).map_err(|failure| failure.error)
}

/// What a result may have at most: the option of the connection, and no more than a quarter of what the host may hold,
/// because the driver, the rows and the batch that is handed on each have a copy.
pub fn max_bytes(run: &Run, wanted: u64) -> u64 {
    wanted.min(run.budget.limit() / 4)
}

/// The bounds of a result that a script asked for.
pub fn bounds(pool: &Pool, whole: bool, discard: bool) -> Bounds {
    let options = &pool.options;
    let most = max_bytes(&pool.run, options.max_bytes);
    Bounds {
        rows: (whole && !discard).then_some(options.max_rows),
        bytes: (whole && !discard).then_some(most),
        row_bytes: most,
        discard,
    }
}

/// Counts what a script sends.
///
/// # Errors
/// `limit`.
pub fn count(run: &Run, sql: &str, params: &[u8]) -> Result<(), Error> {
    run.count_bytes(sql.len() + params.len())
}
