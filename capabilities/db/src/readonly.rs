//! Which statements may run where a grant is for reading only.
//!
//! On a server, reading only rests on three things together: a statement that is no query is refused by its first
//! word; statements are sent as prepared ones, of which a server takes one at a time; and each runs in a
//! transaction that the server holds READ ONLY, which no query can change. PostgreSQL refuses to change it once a
//! snapshot was taken, which the `SELECT 1` does; on both kinds of server, functions cannot end a transaction.

use crate::effect::Words;
use crate::pool::{ConnectionConfig, Pool};
use crate::target::Kind;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// The words that queries begin with.
const QUERIES: [&str; 8] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"];
pub fn refusal(what: &str) -> Error {
    error(
        ErrorCode::Permission,
        format!(
            "db: the connection is for reading only (by its grant, or as it was asked for), and {what} may write"
        ),
    )
}

/// Refuses what is no query.
///
/// # Errors
/// `permission`.
pub fn check(sql: &str) -> Result<(), Error> {
    match Words(sql).next() {
        Some(word) if QUERIES.contains(&word.as_str()) => Ok(()),
        Some(word) => Err(refusal(&format!("a statement that begins with {word}"))),
        None => Err(refusal("a statement that does not begin with a word")),
    }
}

/// What begins a transaction.
pub fn begin(pool: &Pool) -> &'static str {
    match &pool.config {
        // At once with the lock for writing: after a read another connection may have written meanwhile.
        ConnectionConfig::Sqlite(config) if config.read_only => "BEGIN",
        ConnectionConfig::Sqlite(_) => "BEGIN IMMEDIATE",
        ConnectionConfig::Server(config) if !config.read_only => "BEGIN",
        ConnectionConfig::Server(config) => begin_reading(config.kind()),
    }
}

/// What begins a transaction that only reads.
pub fn begin_reading(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "BEGIN READ ONLY; SELECT 1",
        Kind::MySql => "START TRANSACTION READ ONLY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queries_are_for_reading() {
        for sql in
            ["SELECT 1", "with x as (select 1) select 1", "EXPLAIN SELECT 1", "SHOW TABLES", "(SELECT 1)"]
        {
            assert!(check(sql).is_ok(), "{sql}");
        }
        for sql in [
            "INSERT INTO t VALUES (1)",
            "SET TRANSACTION READ WRITE",
            "BEGIN NOT ATOMIC COMMIT; END",
            "COMMIT",
            "DO $$ BEGIN END $$",
            "CALL p()",
            "EXECUTE IMMEDIATE 'DELETE FROM t'",
            "/*! DELETE FROM t */",
            ";DELETE FROM t",
            "",
        ] {
            assert_eq!(check(sql).unwrap_err().code, ErrorCode::Permission, "{sql}");
        }
    }
}
