//! What may be done where a grant is for reading only, and what must go through transactions.
//!
//! On a server, reading only rests on three things together: a statement that is no query is refused by its first
//! word; statements are sent as prepared ones, of which a server takes one at a time; and each runs in a
//! transaction that the server holds READ ONLY, which no query can change. PostgreSQL refuses that once a
//! snapshot was taken, which the `SELECT 1` does; functions of both cannot end a transaction.

use crate::pool::{Pool, Source};
use crate::target::Kind;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// The words that queries begin with.
const QUERIES: [&str; 8] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"];
/// The words that begin, end or part transactions.
const CONTROL: [&str; 9] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "XA"];

/// The first word in capital letters; empty where there is none. Comments are passed over, but not those of
/// MySQL that it executes.
pub fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        let line = rest.starts_with("--") || rest.starts_with('#');
        let executed = rest.starts_with("/*!") || rest.starts_with("/*M!");
        rest = match rest {
            _ if line => rest.split_once('\n').map_or("", |(_, rest)| rest),
            _ if rest.starts_with("/*") && !executed => match comment(rest) {
                Some(rest) => rest,
                None => return String::new(),
            },
            _ => break,
        };
    }
    rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// What follows a comment. Where databases disagree about comments within comments, there is no answer.
fn comment(text: &str) -> Option<&str> {
    let (inner, rest) = text[2..].split_once("*/")?;
    (!inner.contains("/*")).then_some(rest)
}

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
    match first_word(sql) {
        word if QUERIES.contains(&word.as_str()) => Ok(()),
        word if word.is_empty() => Err(refusal("a statement that does not begin with a word")),
        word => Err(refusal(&format!("a statement that begins with {word}"))),
    }
}

/// Refuses what would leave a connection of the pool in a transaction, or end one that is not the statement's own.
///
/// # Errors
/// `unsupported`.
pub fn check_control(sql: &str) -> Result<(), Error> {
    let word = first_word(sql);
    if !CONTROL.contains(&word.as_str()) {
        return Ok(());
    }
    Err(error(
        ErrorCode::Unsupported,
        format!(
            "db: {word} is not run as a statement, because connections are shared; use db.transaction(conn, fn)"
        ),
    ))
}

/// What begins a transaction.
pub fn begin(pool: &Pool) -> &'static str {
    match &pool.source {
        // At once with the lock for writing: who reads first may find that another wrote meanwhile.
        Source::File(place) if place.read_only => "BEGIN",
        Source::File(_) => "BEGIN IMMEDIATE",
        Source::Server(way) if !way.read_only => "BEGIN",
        Source::Server(way) => begin_reading(way.kind()),
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
    fn the_first_word() {
        for (sql, word) in [
            ("select 1", "SELECT"),
            ("  -- x\n /* y */ ((SELECT 1))", "SELECT"),
            ("# x\nDELETE FROM t", "DELETE"),
            ("/*! DELETE */ FROM t", ""),
            ("/*M! DELETE */ FROM t", ""),
            ("/* /* SELECT */ DELETE */ x", ""),
            ("/* open", ""),
            ("", ""),
            ("1", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }

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
