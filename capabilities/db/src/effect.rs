//! What a statement leaves behind on its connection, as far as its text tells.
//!
//! Connections of the pool are shared: what one statement set, locked or began would affect the next one, of another task.
//! So such a statement is refused on the pool, and has a connection of its own in a session. Within a transaction it may
//! run, unless it would end that; the connection is closed after it. Where the text does not show it (a function that sets
//! something), the caller must use a session.

use crate::target::Kind;
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// The words that begin, end or part transactions.
const CONTROL: [&str; 9] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "XA"];
/// The words of statements that last beyond themselves.
const LASTING_POSTGRES: [&str; 13] = [
    "SET",
    "RESET",
    "DISCARD",
    "LISTEN",
    "UNLISTEN",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "LOAD",
];
const LASTING_MYSQL: [&str; 9] =
    ["SET", "USE", "LOCK", "UNLOCK", "PREPARE", "EXECUTE", "DEALLOCATE", "HANDLER", "BACKUP"];
/// What follows SET where the transaction, or a server for all, is meant and not the session.
const LOCAL_POSTGRES: [&str; 3] = ["LOCAL", "TRANSACTION", "CONSTRAINTS"];
const GLOBAL_MYSQL: [&str; 4] = ["GLOBAL", "PERSIST", "PERSIST_ONLY", "PASSWORD"];
/// Functions whose locks and settings are the session's.
const FUNCTIONS_POSTGRES: [&str; 5] = [
    "PG_ADVISORY_LOCK",
    "PG_ADVISORY_LOCK_SHARED",
    "PG_TRY_ADVISORY_LOCK",
    "PG_TRY_ADVISORY_LOCK_SHARED",
    "SET_CONFIG",
];
const FUNCTIONS_MYSQL: [&str; 1] = ["GET_LOCK"];
/// What can be temporary; CREATE, and what is said about it, stand before.
const OBJECTS: [&str; 3] = ["TABLE", "VIEW", "SEQUENCE"];

/// Where a statement runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StatementContext {
    Pool,
    Session,
    Transaction,
}

/// The words of a statement in capital letters, as long as only space, comments and parentheses are between them.
pub struct Words<'a>(pub &'a str);

impl Words<'_> {
    /// Passes over what is between words. Comments that MySQL executes are not passed over, nor those that databases
    /// disagree about because they have others within.
    fn pass(&mut self) {
        loop {
            let rest = self.0.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
            let line = rest.starts_with("--") || rest.starts_with('#');
            let executed = rest.starts_with("/*!") || rest.starts_with("/*M!");
            let next = match rest {
                _ if line => rest.split_once('\n').map_or("", |(_, rest)| rest),
                _ if rest.starts_with("/*") && !executed => match rest[2..].split_once("*/") {
                    Some((inner, rest)) if !inner.contains("/*") => rest,
                    _ => rest,
                },
                _ => rest,
            };
            if next.len() == self.0.len() {
                return;
            }
            self.0 = next;
        }
    }

    /// Whether nothing but space and comments is left.
    fn is_over(&mut self) -> bool {
        self.pass();
        self.0.is_empty()
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.pass();
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_ascii_uppercase())
    }
}

/// What a statement leaves behind.
enum Left {
    Nothing,
    /// It may leave something, as far as the text tells.
    Perhaps,
    /// Words for what it leaves.
    Session(String),
}

/// Refuses what does not belong where it runs. True where the connection must not be used by others after it.
///
/// # Errors
/// `unsupported`.
pub fn check(kind: Kind, sql: &str, context: StatementContext) -> Result<bool, Error> {
    // Its connection is closed at its end, whatever was done on it.
    if context == StatementContext::Session || Words(sql).is_over() {
        return Ok(false);
    }
    let mut words = Words(sql);
    let Some(first) = words.next() else {
        return Err(refused(
            "a statement that does not begin with a word is not run",
            "write it without what stands before it",
        ));
    };
    let second = words.next().unwrap_or_default();
    let ends = match (kind, first.as_str(), second.as_str()) {
        (_, word, _) if CONTROL.contains(&word) => true,
        (Kind::Postgres, "PREPARE", "TRANSACTION") => true,
        // These commit what was done so far.
        (Kind::MySql, "LOCK" | "UNLOCK", _) => context == StatementContext::Transaction,
        (Kind::MySql, "SET", _) => context == StatementContext::Transaction && contains(sql, "AUTOCOMMIT"),
        _ => false,
    };
    if ends {
        let what = format!("{first} is not run as a statement, because connections are shared");
        return Err(refused(
            &what,
            "use db.transaction(conn, fn), or db.session(conn, fn) for one of its own",
        ));
    }
    match left(kind, sql, &first, &second) {
        Left::Nothing => Ok(false),
        Left::Perhaps => Ok(true),
        Left::Session(_) if context == StatementContext::Transaction => Ok(true),
        Left::Session(what) => Err(refused(
            &format!("{what} changes the session, and connections are shared"),
            "use db.session(conn, fn), whose connection is its own",
        )),
    }
}

fn refused(what: &str, instead: &str) -> Error {
    error(ErrorCode::Unsupported, format!("db: {what}; {instead}"))
}

fn left(kind: Kind, sql: &str, first: &str, second: &str) -> Left {
    let (lasting, functions) = match kind {
        Kind::Postgres => (&LASTING_POSTGRES[..], &FUNCTIONS_POSTGRES[..]),
        Kind::MySql => (&LASTING_MYSQL[..], &FUNCTIONS_MYSQL[..]),
    };
    match (kind, first, second) {
        (Kind::Postgres, "SET", second) if LOCAL_POSTGRES.contains(&second) => return Left::Nothing,
        // After a comma anything may follow.
        (Kind::MySql, "SET", second) if GLOBAL_MYSQL.contains(&second) && !sql.contains(',') => {
            return Left::Nothing;
        }
        (Kind::MySql, "SET", "STATEMENT") => return Left::Perhaps,
        (Kind::MySql, "FLUSH", _) if contains(sql, "LOCK") || contains(sql, "EXPORT") => {
            return Left::Session("FLUSH with a lock".into());
        }
        _ if lasting.contains(&first) => return Left::Session(first.into()),
        _ => {}
    }
    let is_temporary = |word: String| word == "TEMP" || word == "TEMPORARY";
    let mut modifiers = Words(sql).skip(1).take_while(|word| !OBJECTS.contains(&word.as_str()));
    if first == "CREATE" && modifiers.any(is_temporary) || first == "SELECT" && is_into_temporary(sql) {
        return Left::Session("a temporary table".into());
    }
    if let Some(name) = functions.iter().find(|name| calls(sql, name)) {
        return Left::Session(format!("{}()", name.to_ascii_lowercase()));
    }
    match first {
        // What they do is not in the text.
        "CALL" | "DO" => Left::Perhaps,
        _ if kind == Kind::MySql && has_variable(sql) => Left::Perhaps,
        _ => Left::Nothing,
    }
}

/// Whether a SELECT of PostgreSQL makes a temporary table of its rows.
fn is_into_temporary(sql: &str) -> bool {
    let words: Vec<&str> = sql.split_ascii_whitespace().collect();
    let is = |word: &str, wanted: &[&str]| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted));
    words.windows(2).any(|pair| is(pair[0], &["INTO"]) && is(pair[1], &["TEMP", "TEMPORARY"]))
}

/// Whether the text has `wanted`, in whatever case.
fn contains(sql: &str, wanted: &str) -> bool {
    sql.as_bytes().windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether the text has a call of the function.
fn calls(sql: &str, name: &str) -> bool {
    let bytes = sql.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.windows(name.len()).enumerate().any(|(at, part)| {
        let after =
            || bytes[at + name.len()..].iter().find(|byte| !byte.is_ascii_whitespace() && **byte != b'"');
        part.eq_ignore_ascii_case(name.as_bytes())
            && !at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(is_word)
            && after() == Some(&b'(')
    })
}

/// Whether the text has a variable of MySQL's session, `@x`. Text in quotes does not count, nor do `@@settings`.
fn has_variable(sql: &str) -> bool {
    let mut quote = None;
    let mut previous = ' ';
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == '@' && previous != '@' && rest.peek() != Some(&'@') => return true,
            None => {}
        }
        previous = c;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: Kind, sql: &str, context: StatementContext) -> bool {
        check(kind, sql, context).is_err()
    }

    #[test]
    fn the_first_word() {
        for (sql, word) in [
            ("select 1", Some("SELECT")),
            ("  -- x\n /* y */ ((SELECT 1))", Some("SELECT")),
            ("# x\nDELETE FROM t", Some("DELETE")),
            ("/*! DELETE */ FROM t", None),
            ("/*M! DELETE */ FROM t", None),
            ("/* /* SELECT */ DELETE */ x", None),
            ("/* open", None),
            ("", None),
            (";BEGIN", None),
        ] {
            assert_eq!(Words(sql).next().as_deref(), word, "{sql}");
        }
    }

    #[test]
    fn what_lasts_is_refused_on_the_pool_only() {
        for (kind, sql) in [
            (Kind::Postgres, "SET search_path = x"),
            (Kind::Postgres, "set session characteristics as transaction read only"),
            (Kind::Postgres, "/* x */ RESET ALL"),
            (Kind::Postgres, "DISCARD ALL"),
            (Kind::Postgres, "CREATE TEMP TABLE t (v int)"),
            (Kind::Postgres, "CREATE LOCAL TEMPORARY VIEW v AS SELECT 1"),
            (Kind::Postgres, "SELECT 1 INTO TEMP t"),
            (Kind::Postgres, "SELECT pg_advisory_lock (1)"),
            (Kind::Postgres, "SELECT pg_catalog.set_config('a', 'b', false)"),
            (Kind::MySql, "USE other"),
            (Kind::MySql, "SET NAMES latin1"),
            (Kind::MySql, "SET @@session.sql_mode = ''"),
            (Kind::MySql, "SET @x = 1"),
            (Kind::MySql, "SET GLOBAL a = 1, SESSION b = 2"),
            (Kind::MySql, "SET ROLE r"),
            (Kind::MySql, "CREATE OR REPLACE TEMPORARY TABLE t (v int)"),
            (Kind::MySql, "FLUSH TABLES WITH READ LOCK"),
            (Kind::MySql, "SELECT GET_LOCK('x', 1)"),
        ] {
            assert!(refused(kind, sql, StatementContext::Pool), "{sql}");
            assert!(check(kind, sql, StatementContext::Transaction).unwrap(), "{sql}");
            assert!(!check(kind, sql, StatementContext::Session).unwrap(), "{sql}");
        }
    }

    #[test]
    fn what_ends_a_transaction_is_refused_in_it() {
        for (kind, sql) in [
            (Kind::Postgres, "BEGIN"),
            (Kind::Postgres, "PREPARE TRANSACTION 'x'"),
            (Kind::Postgres, ";BEGIN"),
            (Kind::Postgres, "/* /* */ */ COMMIT"),
            (Kind::MySql, "LOCK TABLES t WRITE"),
            (Kind::MySql, "UNLOCK TABLES"),
            (Kind::MySql, "SET autocommit = 1"),
            (Kind::MySql, "/*!40101 COMMIT */"),
        ] {
            assert!(refused(kind, sql, StatementContext::Pool), "{sql}");
            assert!(refused(kind, sql, StatementContext::Transaction), "{sql}");
            assert!(!refused(kind, sql, StatementContext::Session), "{sql}");
        }
    }

    #[test]
    fn what_may_leave_something_spoils_the_connection() {
        for (kind, sql, spoils) in [
            (Kind::Postgres, "DO $$ BEGIN END $$", true),
            (Kind::Postgres, "CALL p()", true),
            (Kind::MySql, "CALL p()", true),
            (Kind::MySql, "SELECT @n := 1", true),
            (Kind::MySql, "SET STATEMENT max_statement_time = 1 FOR SELECT 1", true),
            (Kind::MySql, "SELECT @@version", false),
            (Kind::MySql, "SELECT 'me@example.com', \"@x\"", false),
            (Kind::MySql, "SET GLOBAL max_connections = 9", false),
            (Kind::Postgres, "SET LOCAL search_path = x", false),
            (Kind::Postgres, "SELECT pg_advisory_xact_lock(1)", false),
            (Kind::Postgres, "SELECT '@x'", false),
            (Kind::Postgres, "CREATE TABLE temp (v int)", false),
            (Kind::Postgres, "SELECT settings FROM t", false),
            (Kind::Postgres, "INSERT INTO temp SELECT 1", false),
            (Kind::Postgres, "SELECT 1 INTO temperatures", false),
            (Kind::Postgres, "-- nothing", false),
            (Kind::Postgres, "", false),
        ] {
            assert_eq!(check(kind, sql, StatementContext::Pool).unwrap(), spoils, "{sql}");
        }
    }
}
