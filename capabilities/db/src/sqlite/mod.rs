//! SQLite, over its own interface.
//!
//! Not over sqlx's driver: that sends each row through a channel between threads, and panics where a file has names
//! that are not UTF-8. Here a batch of rows is written on a thread that may block, straight into the bytes that cross
//! to the guest, and between two batches other statements may run.

mod cache;
mod file;
mod hooks;
mod statement;
mod vfs;

use crate::effect::Words;
use crate::errors::{Failure, invalid, unsent};
use crate::pool::Lease;
use crate::run::{ConnectionSource, Work, timed_out};
use crate::scope::{MEMORY, READ_FILE, WRITE_FILE};
use crate::target::Options;
use crate::value::{Batch, Done, Sink};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Run, error, lock, off_thread};
use cache::Cache;
use hooks::Hooks;
use libsqlite3_sys::*;
use statement::{Statement, failure};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vfs::Vfs;

/// Bytes of a statement.
const MAX_SQL: i32 = 4 << 20;
/// Pages of a database in memory have this many bytes.
const PAGE: u64 = 4096;

/// The connection configuration of a database of SQLite: where it is, and how it is opened.
pub struct SqliteConfig {
    /// For messages.
    pub shown: String,
    pub read_only: bool,
    create: bool,
    /// What SQLite is to open.
    path: CString,
    vfs: Vfs,
    /// The directory that `path` leads through.
    _directory: Option<OwnedFd>,
}

/// What a check of a file asks for.
fn authorize(run: &Run, access: Access, path: &Path) -> Result<(), Error> {
    let shown = path.to_string_lossy();
    let (verb, scope) = match access {
        Access::Stat | Access::List | Access::Read => (READ_FILE, format!("sqlite:{shown}?ro")),
        Access::Write | Access::SetId => (WRITE_FILE, format!("sqlite:{shown}")),
    };
    let request = Request::Action { verb, name: &shown, scope: &scope };
    run.check("db", &request)?;
    if path.starts_with("/proc") {
        return Err(error(
            ErrorCode::Denied,
            format!("db: {shown} is refused: a file in /proc is not a database"),
        ));
    }
    Ok(())
}

/// Whether the grants cover reading, but not writing.
fn only_readable(run: &Run, path: &str) -> bool {
    let path = run.path(path);
    let name = path.to_string_lossy();
    let allowed = |verb| run.would_allow("db", &Request::Action { verb, name: &name, scope: "" });
    allowed(READ_FILE) && !allowed(WRITE_FILE)
}

impl SqliteConfig {
    /// A database in memory.
    ///
    /// # Errors
    /// `denied`.
    pub fn memory(run: &Arc<Run>, options: &Options) -> Result<SqliteConfig, Error> {
        let request = Request::Action { verb: WRITE_FILE, name: MEMORY, scope: "sqlite::memory:" };
        run.check("db", &request)?;
        let vfs = Vfs::new(run, c"", None)?;
        let shown = "sqlite::memory:".to_string();
        Ok(SqliteConfig {
            shown,
            read_only: options.read_only,
            create: true,
            path: MEMORY_PATH.into(),
            vfs,
            _directory: None,
        })
    }

    /// A file, checked. It blocks on the disk.
    ///
    /// # Errors
    /// `denied`, `not_found`, or the operating system's.
    pub fn file(run: &Arc<Run>, path: &str, create: bool, options: &Options) -> Result<SqliteConfig, Error> {
        let read_only = options.read_only || only_readable(run, path);
        // Reading first, so that what is denied altogether says the narrower grant only where that is asked for.
        let access: &[Access] = if read_only { &[Access::Read] } else { &[Access::Write, Access::Read] };
        let place =
            assay_capability_fs::locate(run, access, path, &|access, path| authorize(run, access, path))?;
        for companion in COMPANIONS.iter().filter(|_| !read_only) {
            let mut name = place.name.clone();
            name.push(companion);
            assay_capability_fs::spare(run, &place.parent, &name, path)?;
        }
        let held = format!("/proc/self/fd/{}", place.parent.as_raw_fd());
        // Without /proc the real path must do, which leaves a moment in which it may change.
        let full = match std::fs::exists(&held) {
            Ok(true) => Path::new(&held).join(&place.name),
            _ => place.real.clone(),
        };
        let full = full.into_os_string().into_encoded_bytes();
        let full = CString::new(full).map_err(|_| invalid("db: a path cannot hold a NUL byte"))?;
        Ok(SqliteConfig {
            shown: format!("sqlite:{path}"),
            read_only,
            create,
            vfs: Vfs::new(run, &full, assay_capability_fs::room(run, &place.real))?,
            path: full,
            _directory: Some(place.parent),
        })
    }
}

/// What SQLite adds to the name of a database for the files beside it.
pub(super) const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// As SQLite takes it.
const MEMORY_PATH: &std::ffi::CStr = c":memory:";

/// What all connections hold of their runs' budgets, bytes.
static HELD: AtomicU64 = AtomicU64::new(0);

/// What SQLite allocates beside what it counts for a connection, bytes.
const HEAP_SLACK: u64 = 4 << 20;

/// A connection to a database of SQLite.
pub struct SqliteConnection {
    db: *mut sqlite3,
    hooks: Box<Hooks>,
    cache: Cache<Statement>,
    cursors: HashMap<u64, Statement>,
    number: u64,
    /// Cursors that nobody reads any more.
    left: Arc<Mutex<Vec<u64>>>,
    /// A transaction of the script is open.
    pub in_transaction: bool,
    config: Arc<SqliteConfig>,
    /// What the connection holds of the run's budget.
    memory: assay_capability_api::Held,
}

// SAFETY: SQLite is built to be used from any thread, and the owner of the value has the connection alone.
unsafe impl Send for SqliteConnection {}

impl SqliteConnection {
    /// Opens a database.
    ///
    /// # Errors
    /// SQLite's: `not_found`, `invalid_data` where the file is no database...
    pub async fn open(
        run: &Arc<Run>,
        config: &Arc<SqliteConfig>,
        options: &Options,
    ) -> Result<Box<SqliteConnection>, Error> {
        let (run, config, options) = (run.clone(), config.clone(), options.clone());
        off_thread(move || SqliteConnection::open_now(&run, config, &options)).await
    }

    fn open_now(
        run: &Run,
        config: Arc<SqliteConfig>,
        options: &Options,
    ) -> Result<Box<SqliteConnection>, Error> {
        let in_memory = config.path.as_c_str() == MEMORY_PATH;
        let mode = match (config.read_only && !in_memory, config.create) {
            (true, _) => SQLITE_OPEN_READONLY,
            (false, true) => SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
            (false, false) => SQLITE_OPEN_READWRITE,
        };
        let flags = mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_PRIVATECACHE;
        let mut db = std::ptr::null_mut();
        // SAFETY: both strings outlive the call, and the connection is written even where it fails.
        let code =
            unsafe { sqlite3_open_v2(config.path.as_ptr(), &mut db, flags, config.vfs.name().as_ptr()) };
        let sqlite = Box::new(SqliteConnection {
            db,
            hooks: Box::new(Hooks::new()),
            cache: Cache::new(),
            cursors: HashMap::new(),
            number: 0,
            left: Arc::default(),
            in_transaction: false,
            config,
            memory: run.budget.nothing(),
        });
        sqlite.bound_heap(run);
        if db.is_null() {
            return Err(error(ErrorCode::Limit, "db: SQLite has no memory"));
        }
        if code != SQLITE_OK {
            // SAFETY: the connection is there, if only for its message.
            return Err(sqlite.cannot_open(sqlite.explain(unsafe { failure(db, "") })));
        }
        sqlite
            .harden(run, options, in_memory)
            .map_err(|failure| sqlite.cannot_open(sqlite.explain(failure)))?;
        Ok(sqlite)
    }

    /// Bounds what SQLite may allocate until the next call: what is left of the run's budget, beside what connections
    /// hold of it already. SQLite has one bound for the process.
    fn bound_heap(&self, run: &Run) {
        let bound = HELD.load(Ordering::Relaxed).saturating_add(run.budget.left()).saturating_add(HEAP_SLACK);
        // SAFETY: it may be called at any time.
        unsafe { sqlite3_hard_heap_limit64(i64::try_from(bound).unwrap_or(i64::MAX)) };
    }

    /// Takes from the run's budget what the connection has allocated.
    fn count_memory(&mut self) -> Result<(), Error> {
        let mut sum = 0;
        for what in [SQLITE_DBSTATUS_CACHE_USED, SQLITE_DBSTATUS_SCHEMA_USED, SQLITE_DBSTATUS_STMT_USED] {
            let (mut now, mut peak) = (0, 0);
            // SAFETY: the connection is open, and both places are ours.
            if unsafe { sqlite3_db_status(self.db, what, &mut now, &mut peak, 0) } == SQLITE_OK {
                sum += usize::try_from(now).unwrap_or(0);
            }
        }
        let before = self.memory.bytes() as u64;
        let resized = self.memory.resize(sum);
        HELD.fetch_add(self.memory.bytes() as u64, Ordering::Relaxed);
        HELD.fetch_sub(before, Ordering::Relaxed);
        resized
    }

    fn cannot_open(&self, mut failure: Error) -> Error {
        let why = failure.message.trim_start_matches("db: ");
        failure.message = format!("db: cannot open {}: {why}", self.config.shown);
        failure
    }

    /// Takes away what no script needs, and bounds the rest.
    fn harden(&self, run: &Run, options: &Options, in_memory: bool) -> Result<(), Error> {
        let off = [
            SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
            SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER,
            SQLITE_DBCONFIG_TRUSTED_SCHEMA,
            SQLITE_DBCONFIG_WRITABLE_SCHEMA,
        ];
        let on = [SQLITE_DBCONFIG_DEFENSIVE];
        let largest = i32::try_from(crate::run::max_bytes(run, options.max_bytes)).unwrap_or(i32::MAX);
        let limits = [
            (SQLITE_LIMIT_LENGTH, largest),
            (SQLITE_LIMIT_SQL_LENGTH, MAX_SQL),
            // One for VACUUM, which works by attaching.
            (SQLITE_LIMIT_ATTACHED, 1),
            (SQLITE_LIMIT_WORKER_THREADS, 0),
        ];
        // SAFETY: the connection is open and ours alone; each option takes an int and a place for one.
        unsafe {
            for (options, value) in [(&off[..], 0), (&on[..], 1)] {
                for option in options {
                    let code = sqlite3_db_config(self.db, *option, value, std::ptr::null_mut::<i32>());
                    if code != SQLITE_OK {
                        return Err(failure(self.db, ""));
                    }
                }
            }
            for (limit, value) in limits {
                sqlite3_limit(self.db, limit, value);
            }
        }
        if in_memory {
            // It is the host's memory, which the limit on the script's own does not see.
            let pages = (run.budget.limit() / PAGE).max(64);
            self.execute(&format!("PRAGMA max_page_count = {pages}"))?;
            if self.config.read_only {
                self.execute("PRAGMA query_only = 1")?;
            }
        }
        // Sorting and temporary tables stay in memory, where the budget bounds them, and a page is looked at before it
        // is trusted.
        self.execute("PRAGMA temp_store = memory")?;
        self.execute("PRAGMA cell_size_check = 1")?;
        // SAFETY: the hooks are boxed and dropped after the connection is closed.
        unsafe { self.hooks.install(self.db) };
        // Reads the file for the first time: what is no database shows now.
        self.execute("SELECT count(*) FROM sqlite_schema")
    }

    /// Runs a statement of this crate.
    fn execute(&self, sql: &str) -> Result<(), Error> {
        // SAFETY: the connection is open, and this thread has it alone.
        let (statement, _) = unsafe { Statement::prepare(self.db, sql) }?;
        if let Some(mut statement) = statement {
            while statement.step(sql)? {}
        }
        Ok(())
    }

    /// Adds to an error why the authorizer refused, or that nobody waited; says which room was too small.
    fn explain(&self, mut failure: Error) -> Error {
        if let Some(refusal) = self.config.vfs.take_refusal() {
            return Error { message: format!("db: {}", refusal.message), ..refusal };
        }
        if let Some(why) = self.hooks.take_refusal()
            && failure.code == ErrorCode::Denied
        {
            failure.message = format!("{}: {why}", failure.message);
        }
        failure
    }

    /// Whether giving it back must roll something back.
    pub fn is_dirty(&self) -> bool {
        // SAFETY: the connection is open or null, which is answered with 0.
        self.in_transaction || (!self.db.is_null() && unsafe { sqlite3_get_autocommit(self.db) } == 0)
    }

    pub fn roll_back(&mut self) {
        self.hooks.stop.store(false, Ordering::Relaxed);
        self.tidy();
        if let Err(failure) = self.control("ROLLBACK") {
            tracing::debug!(%failure.message, "nothing was rolled back");
        }
        self.in_transaction = false;
    }

    /// Ends cursors that nobody reads.
    fn tidy(&mut self) {
        for number in std::mem::take(&mut *lock(&self.left)) {
            self.cursors.remove(&number);
        }
    }

    fn control(&mut self, sql: &str) -> Result<(), Error> {
        self.tidy();
        self.hooks.control.store(true, Ordering::Relaxed);
        let result = self.execute(sql);
        self.hooks.control.store(false, Ordering::Relaxed);
        result.map_err(|failure| self.explain(failure))
    }

    /// A statement that was prepared before, or is now.
    fn statement(&mut self, sql: &str) -> Result<Option<Statement>, Error> {
        if let Some(statement) = self.cache.take(sql) {
            return Ok(Some(statement));
        }
        // SAFETY: the connection is open, and this thread has it alone.
        let (statement, rest) = unsafe { Statement::prepare(self.db, sql) }?;
        let rest = rest.trim_matches(|c: char| c.is_whitespace() || c == ';');
        // SAFETY: as above.
        if !rest.is_empty() && unsafe { Statement::prepare(self.db, rest) }?.0.is_some() {
            return Err(invalid("db: that is more than one statement; db.script(conn, sql) runs several"));
        }
        Ok(statement)
    }

    fn keep(&mut self, sql: &str, mut statement: Statement) {
        statement.reset();
        self.cache.put(sql, statement);
    }

    /// Runs a statement to its next batch of rows, or to its end, which gives what it did.
    fn advance(&mut self, state: &mut State, sink: &mut Sink) -> Result<Option<Done>, Error> {
        self.tidy();
        // Vacuuming is a transaction of SQLite's own.
        self.hooks
            .control
            .store(Words(&state.work.sql).next().as_deref() == Some("VACUUM"), Ordering::Relaxed);
        let result = self.advance_now(state, sink);
        self.hooks.control.store(false, Ordering::Relaxed);
        result.map_err(|failure| self.explain(failure))
    }

    fn advance_now(&mut self, state: &mut State, sink: &mut Sink) -> Result<Option<Done>, Error> {
        let sql = &state.work.sql;
        if let Some(cursor) = &state.cursor {
            let mut statement = self
                .cursors
                .remove(&cursor.number)
                .ok_or_else(|| invalid("db: the rows were ended by the end of their transaction"))?;
            if fill(&mut statement, sink, sql)? {
                self.cursors.insert(cursor.number, statement);
                return Ok(None);
            }
            self.keep(sql, statement);
            return Ok(Some(state.done));
        }
        // SAFETY: the connection is open, and this thread has it alone.
        let total = || unsafe { sqlite3_total_changes64(self.db) };
        let before = total();
        let Some(mut statement) = self.statement(sql)? else { return Ok(Some(Done::default())) };
        let rows = statement.has_columns() && sink.wants_rows();
        for set in &state.work.sets {
            if self.hooks.stop.load(Ordering::Relaxed) {
                return Err(error(ErrorCode::Timeout, "db: interrupted"));
            }
            statement.bind(set, state.work.given, sql)?;
            if rows {
                if fill(&mut statement, sink, sql)? {
                    self.number += 1;
                    self.cursors.insert(self.number, statement);
                    state.cursor = Some(Cursor {
                        number: self.number,
                        over: false,
                        left: self.left.clone(),
                        source: state.source.clone(),
                    });
                    return Ok(None);
                }
            } else {
                while statement.step(sql)? {}
            }
            statement.reset();
        }
        // SAFETY: as above. `changes` leaves out what triggers and foreign keys did.
        let (after, changes, id) = unsafe {
            (sqlite3_total_changes64(self.db), sqlite3_changes64(self.db), sqlite3_last_insert_rowid(self.db))
        };
        // A statement that changes nothing leaves the figures of the one before.
        let single = state.work.sets.len() == 1;
        let affected = if after == before {
            0
        } else if single {
            changes
        } else {
            after - before
        };
        self.keep(sql, statement);
        state.done = Done {
            affected: u64::try_from(affected).unwrap_or(0),
            id: (after != before && id != 0).then_some(id),
        };
        Ok(Some(state.done))
    }

    /// Runs statement after statement.
    fn script(&mut self, sql: &str, in_transaction: bool) -> Result<(), Error> {
        self.tidy();
        self.hooks.control.store(!in_transaction, Ordering::Relaxed);
        let mut rest = sql;
        let mut run = || {
            while !rest.trim().is_empty() {
                // SAFETY: the connection is open, and this thread has it alone.
                let (statement, tail) = unsafe { Statement::prepare(self.db, rest) }?;
                if let Some(mut statement) = statement {
                    statement.bind(&[], false, rest)?;
                    while statement.step(rest)? {}
                }
                rest = tail;
            }
            Ok(())
        };
        let result: Result<(), Error> = run();
        self.hooks.control.store(false, Ordering::Relaxed);
        // What the script began and did not end is rolled back when the connection is given back.
        result.map_err(|failure| self.explain(failure))
    }
}

impl Drop for SqliteConnection {
    fn drop(&mut self) {
        self.cache.clear();
        self.cursors.clear();
        // SAFETY: every statement is finalized, and nothing uses the connection after this. It rolls back what is open.
        unsafe { sqlite3_close(self.db) };
        HELD.fetch_sub(self.memory.bytes() as u64, Ordering::Relaxed);
    }
}

/// Writes rows until a batch is full: true, and there may be more. False: they are over.
fn fill(statement: &mut Statement, sink: &mut Sink, sql: &str) -> Result<bool, Error> {
    while statement.step(sql)? {
        statement.row(sink)?;
        if sink.is_full() {
            return Ok(true);
        }
    }
    // Where there was no row to tell them with; only the first step finds those of a schema that has changed.
    if statement.is_undescribed() {
        statement.names(sink);
    }
    Ok(false)
}

/// A statement between two batches.
struct State {
    work: Work,
    cursor: Option<Cursor>,
    done: Done,
    source: ConnectionSource,
}

/// A statement whose rows are being read. Dropping it ends the statement, which holds a lock on the file.
struct Cursor {
    number: u64,
    over: bool,
    left: Arc<Mutex<Vec<u64>>>,
    source: ConnectionSource,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        lock(&self.left).push(self.number);
        // In a transaction the lock stays in any case, and its next statement tidies up.
        let ConnectionSource::Pool(pool) = &self.source else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = pool.clone();
        runtime.spawn(async move {
            if let Ok(lease) = pool.take().await {
                let _ = blocking(lease, SqliteConnection::tidy).await;
            }
        });
    }
}

struct StopOnDrop(Option<Arc<AtomicBool>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Works on a database where blocking is allowed. When nobody waits any more, SQLite stops soon.
async fn blocking<T: Send + 'static>(
    mut lease: Lease,
    work: impl FnOnce(&mut SqliteConnection) -> T + Send + 'static,
) -> Result<(Lease, T), Error> {
    let stop = lease.sqlite()?.hooks.stop.clone();
    stop.store(false, Ordering::Relaxed);
    let mut guard = StopOnDrop(Some(stop));
    let (lease, out) = assay_capability_api::blocking(move || {
        let run = lease.pool().run.clone();
        let out = lease.sqlite().and_then(|sqlite| {
            sqlite.bound_heap(&run);
            // One of before that did not matter.
            sqlite.config.vfs.take_refusal();
            let out = work(sqlite);
            sqlite.count_memory()?;
            Ok(out)
        });
        (lease, out)
    })
    .await;
    guard.0 = None;
    Ok((lease, out?))
}

/// A statement of a script.
///
/// # Errors
/// SQLite's, and the limits.
pub async fn produce(source: ConnectionSource, work: Work, mut sink: Sink) -> Result<(Done, Batch), Error> {
    let mut state = State { work, cursor: None, done: Done::default(), source: source.clone() };
    loop {
        let lease = source.take().await?;
        *lock(&sink.held) = Some(Instant::now());
        let held = sink.held.clone();
        let (lease, (back, result)) = blocking(lease, move |sqlite| {
            let result = sqlite.advance(&mut state, &mut sink);
            ((state, sink), result)
        })
        .await?;
        source.give(lease);
        *lock(&held) = None;
        (state, sink) = back;
        match result? {
            Some(done) => {
                // The statement is back among those that are kept, so that there is nothing to end.
                if let Some(cursor) = &mut state.cursor {
                    cursor.over = true;
                }
                return Ok((done, sink.take()?));
            }
            None => sink.flush().await?,
        }
    }
}

/// A statement of this crate.
pub async fn control(lease: Lease, sql: String) -> (Lease, Result<(), Failure>) {
    let pool = lease.pool().clone();
    match blocking(lease, move |sqlite| sqlite.control(&sql)).await {
        Ok((lease, result)) => (lease, result.map_err(unsent)),
        // The connection is gone; another lease stands for it, which has nothing to roll back.
        Err(failure) => (Lease::gone(pool), Err(failure.into())),
    }
}

/// Several statements of a script.
///
/// # Errors
/// SQLite's.
pub async fn script(source: ConnectionSource, sql: String, timeout: Option<Duration>) -> Result<(), Error> {
    let in_transaction = source.in_transaction();
    let lease = source.take().await?;
    let work = blocking(lease, move |sqlite| sqlite.script(&sql, in_transaction));
    let (lease, result) = match timeout {
        None => work.await?,
        Some(timeout) => match tokio::time::timeout(timeout, work).await {
            Ok(done) => done?,
            Err(_) => return Err(timed_out(timeout)),
        },
    };
    source.give(lease);
    result
}
