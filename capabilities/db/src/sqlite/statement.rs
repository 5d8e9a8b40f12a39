//! One prepared statement of SQLite.

use crate::errors::{arity, invalid, position};
use crate::value::{Param, Sink};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use libsqlite3_sys::*;
use std::ffi::{CStr, c_int};

/// A prepared statement. It belongs to its connection, and is finalized before that is closed.
pub struct Statement {
    raw: *mut sqlite3_stmt,
    /// What becomes of each column's values beyond their own type. Empty until the first row: SQLite prepares a
    /// statement again where a table has changed.
    columns: Vec<Declared>,
}

#[derive(Clone, Copy, PartialEq)]
enum Declared {
    Plain,
    /// 0 and 1 are meant as booleans.
    Boolean,
    /// Text is JSON.
    Json,
}

// SAFETY: it moves together with its connection, and only one thread at a time has both.
unsafe impl Send for Statement {}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: it is finalized once. The code says how the last step went, which was told then.
        unsafe { sqlite3_finalize(self.raw) };
    }
}

/// What went wrong on `db`, by SQLite's own words.
///
/// # Safety
/// `db` is open, and the thread has it alone.
pub unsafe fn failure(db: *mut sqlite3, sql: &str) -> Error {
    // SAFETY: the message lives until the next call on the connection, and is copied before.
    let (code, message, at) = unsafe {
        let message = CStr::from_ptr(sqlite3_errmsg(db)).to_string_lossy().into_owned();
        (sqlite3_extended_errcode(db), message, sqlite3_error_offset(db))
    };
    let mut text = format!("db: {message}");
    if let Ok(at) = usize::try_from(at)
        && let Some(before) = sql.get(..at)
    {
        let (line, column) = position(sql, before.chars().count() + 1);
        text.push_str(&format!(" at line {line} column {column}"));
    }
    let class = match (code & 0xff, code) {
        (
            SQLITE_CONSTRAINT,
            SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_ROWID,
        ) => ErrorCode::Exists,
        (SQLITE_CONSTRAINT | SQLITE_MISMATCH | SQLITE_CORRUPT | SQLITE_NOTADB | SQLITE_FORMAT, _) => {
            ErrorCode::InvalidData
        }
        (SQLITE_BUSY | SQLITE_LOCKED, _) => ErrorCode::Timeout,
        (SQLITE_INTERRUPT, _) => ErrorCode::Timeout,
        (SQLITE_READONLY | SQLITE_PERM, _) => ErrorCode::Permission,
        (SQLITE_AUTH, _) => ErrorCode::Denied,
        (SQLITE_FULL | SQLITE_TOOBIG | SQLITE_NOMEM, _) => ErrorCode::Limit,
        (SQLITE_IOERR, _) => ErrorCode::Io,
        (SQLITE_CANTOPEN, _) => ErrorCode::NotFound,
        (SQLITE_ERROR, _) if message.starts_with("no such ") => ErrorCode::NotFound,
        (SQLITE_ERROR, _) if message.contains("already exists") => ErrorCode::Exists,
        (SQLITE_ERROR, _) if message.starts_with("not authorized") => ErrorCode::Denied,
        (SQLITE_ERROR, _) => ErrorCode::InvalidArgument,
        _ => ErrorCode::Other,
    };
    if class == ErrorCode::Permission {
        text.push_str(
            " (the connection is for reading only, by its grant or as it was asked for, or the file is)",
        );
    }
    error(class, text)
}

impl Statement {
    /// Prepares the first statement of `sql`, and gives what follows it. `None` where `sql` has no statement.
    ///
    /// # Errors
    /// SQLite's, with the position.
    ///
    /// # Safety
    /// `db` is open, and the thread has it alone.
    pub unsafe fn prepare(db: *mut sqlite3, sql: &str) -> Result<(Option<Statement>, &str), Error> {
        if sql.contains('\0') {
            return Err(invalid("db: a statement cannot hold a NUL byte"));
        }
        let length = c_int::try_from(sql.len())
            .map_err(|_| error(ErrorCode::Limit, "db: the statement has more than 2 GiB"))?;
        let mut raw = std::ptr::null_mut();
        let mut tail = std::ptr::null();
        // SAFETY: the text is as long as is said, and outlives the call; both results are written.
        let code = unsafe {
            sqlite3_prepare_v3(
                db,
                sql.as_ptr().cast(),
                length,
                SQLITE_PREPARE_PERSISTENT,
                &mut raw,
                &mut tail,
            )
        };
        if code != SQLITE_OK {
            // SAFETY: as for this function.
            return Err(unsafe { failure(db, sql) });
        }
        // SAFETY: the tail points into the text, or to its end.
        let used = unsafe { tail.cast::<u8>().offset_from(sql.as_ptr()) };
        let rest = usize::try_from(used).ok().and_then(|used| sql.get(used..)).unwrap_or_default();
        if raw.is_null() {
            return Ok((None, rest));
        }
        Ok((Some(Statement { raw, columns: Vec::new() }), rest))
    }

    fn declare(&mut self) {
        // SAFETY: the statement lives.
        let count = unsafe { sqlite3_column_count(self.raw) };
        let declared = |n| {
            // SAFETY: the statement lives and has this column; the text is null or lives until it is finalized.
            let text = unsafe {
                let text = sqlite3_column_decltype(self.raw, n);
                if text.is_null() {
                    return Declared::Plain;
                }
                CStr::from_ptr(text)
            };
            match text.to_bytes().to_ascii_uppercase().as_slice() {
                b"BOOLEAN" | b"BOOL" => Declared::Boolean,
                b"JSON" => Declared::Json,
                _ => Declared::Plain,
            }
        };
        self.columns = (0..count).map(declared).collect();
    }

    /// Whether it gives rows.
    pub fn has_columns(&self) -> bool {
        // SAFETY: the statement lives.
        unsafe { sqlite3_column_count(self.raw) > 0 }
    }

    /// Makes it ready for another run, without what was bound.
    pub fn reset(&mut self) {
        self.columns.clear();
        // SAFETY: the statement lives. The code of `reset` repeats what the last step said.
        unsafe {
            sqlite3_reset(self.raw);
            sqlite3_clear_bindings(self.raw);
        }
    }

    /// Which of the values the parameter `n` takes, from 0: `?` stands for the next, `?3` and `$3` for the third.
    fn place(&self, n: c_int) -> Result<usize, Error> {
        // SAFETY: the statement lives; the name is null or lives as long.
        let name = unsafe {
            let name = sqlite3_bind_parameter_name(self.raw, n);
            if name.is_null() { None } else { Some(CStr::from_ptr(name)) }
        };
        let name = name.map(CStr::to_string_lossy);
        let number = match name.as_deref().map(|name| (name, name.strip_prefix('$'))) {
            None => usize::try_from(n).ok(),
            Some((name, None)) => usize::try_from(n).ok().filter(|_| name.starts_with('?')),
            Some((_, Some(digits))) => digits.parse().ok(),
        };
        number.and_then(|number: usize| number.checked_sub(1)).ok_or_else(|| {
            let name = name.unwrap_or_default();
            invalid(format!("db: parameters of SQLite are written ? (or ?1, $1), not {name}"))
        })
    }

    /// Binds the parameters.
    ///
    /// # Errors
    /// Where there are too many or none, or one is too large.
    pub fn bind(&mut self, params: &[Param], given: bool, sql: &str) -> Result<(), Error> {
        // SAFETY: the statement lives.
        let count = unsafe { sqlite3_bind_parameter_count(self.raw) };
        let places = (1..=count).map(|n| self.place(n)).collect::<Result<Vec<_>, _>>()?;
        let expected = places.iter().map(|place| place.saturating_add(1)).max().unwrap_or(0);
        arity(expected, params.len(), given, sql, "?")?;
        for (n, place) in (1..).zip(places) {
            let Some(param) = params.get(place) else { continue };
            // SAFETY: the statement lives, has this parameter, and copies what is bound.
            let code = unsafe {
                match param {
                    Param::Null => sqlite3_bind_null(self.raw, n),
                    Param::Bool(value) => sqlite3_bind_int64(self.raw, n, i64::from(*value)),
                    Param::Integer(value) => sqlite3_bind_int64(self.raw, n, *value),
                    Param::Float(value) => sqlite3_bind_double(self.raw, n, *value),
                    Param::Json(text) => bind_text(self.raw, n, text.as_bytes()),
                    Param::Text(bytes) if std::str::from_utf8(bytes).is_ok() => bind_text(self.raw, n, bytes),
                    Param::Text(bytes) | Param::Bytes(bytes) => sqlite3_bind_blob64(
                        self.raw,
                        n,
                        bytes.as_ptr().cast(),
                        bytes.len() as u64,
                        SQLITE_TRANSIENT(),
                    ),
                }
            };
            match code {
                SQLITE_OK => {}
                SQLITE_TOOBIG => {
                    let message = format!("db: parameter {n} is too large; raise max_bytes of db.connect");
                    return Err(error(ErrorCode::Limit, message));
                }
                code => return Err(invalid(format!("db: parameter {n} cannot be bound (error {code})"))),
            }
        }
        Ok(())
    }

    /// Goes on to the next row; false at the end.
    ///
    /// # Errors
    /// SQLite's.
    pub fn step(&mut self, sql: &str) -> Result<bool, Error> {
        // SAFETY: the statement lives, and the thread has its connection alone.
        match unsafe { sqlite3_step(self.raw) } {
            SQLITE_ROW => Ok(true),
            SQLITE_DONE => Ok(false),
            // SAFETY: as above.
            _ => Err(unsafe { failure(sqlite3_db_handle(self.raw), sql) }),
        }
    }

    /// Whether no row has told its columns yet.
    pub fn is_undescribed(&self) -> bool {
        self.columns.is_empty()
    }

    /// Gives the names of the columns.
    pub fn names(&self, sink: &mut Sink) {
        // SAFETY: the statement lives.
        let count = unsafe { sqlite3_column_count(self.raw) };
        let names: Vec<String> = (0..count)
            .map(|n| {
                // SAFETY: the statement lives and has this column; the name is null where memory is out.
                unsafe {
                    let name = sqlite3_column_name(self.raw, n);
                    if name.is_null() {
                        String::new()
                    } else {
                        CStr::from_ptr(name).to_string_lossy().into_owned()
                    }
                }
            })
            .collect();
        sink.columns(names.iter().map(String::as_str));
    }

    /// Gives the row that the last step came to.
    ///
    /// # Errors
    /// The sink's limits.
    pub fn row(&mut self, sink: &mut Sink) -> Result<(), Error> {
        if self.columns.is_empty() {
            self.declare();
            self.names(sink);
        }
        sink.start_row();
        for (n, declared) in self.columns.iter().enumerate() {
            let n = n as c_int;
            // SAFETY: a row is there, and has this column; its bytes live until the next step and are copied before.
            unsafe {
                match sqlite3_column_type(self.raw, n) {
                    SQLITE_INTEGER => match (sqlite3_column_int64(self.raw, n), declared) {
                        (value @ 0..=1, Declared::Boolean) => sink.boolean(value == 1),
                        (value, _) => sink.integer(value),
                    },
                    SQLITE_FLOAT => sink.float(sqlite3_column_double(self.raw, n)),
                    SQLITE_TEXT => {
                        let bytes = sqlite3_column_text(self.raw, n);
                        let bytes = bytes_of(bytes.cast(), sqlite3_column_bytes(self.raw, n));
                        match declared {
                            Declared::Json => sink.json(bytes),
                            _ => sink.text(bytes),
                        }
                    }
                    SQLITE_BLOB => {
                        let bytes = sqlite3_column_blob(self.raw, n);
                        sink.text(bytes_of(bytes.cast(), sqlite3_column_bytes(self.raw, n)));
                    }
                    _ => sink.null(),
                }
            }
        }
        sink.end_row()
    }
}

/// # Safety
/// The statement lives and has the parameter.
unsafe fn bind_text(raw: *mut sqlite3_stmt, n: c_int, text: &[u8]) -> c_int {
    // SAFETY: the text is as long as is said, and is copied.
    unsafe {
        sqlite3_bind_text64(
            raw,
            n,
            text.as_ptr().cast(),
            text.len() as u64,
            SQLITE_TRANSIENT(),
            SQLITE_UTF8 as u8,
        )
    }
}

/// # Safety
/// `start` is null or points to `length` bytes that outlive the result.
unsafe fn bytes_of<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as for this function.
        Ok(length) if length > 0 && !start.is_null() => unsafe { std::slice::from_raw_parts(start, length) },
        _ => &[],
    }
}
