//! What went wrong, as the errors that scripts see. No message that is made here holds a password or a parameter's value.

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{error, io_error};
use assay_capability_net::failure;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;
use sqlx::mysql::MySqlDatabaseError;

/// A failure, and whether the connection can still be used.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    pub broken: bool,
}

impl From<Error> for Failure {
    /// A failure on this side in the middle of a statement, whose rest is not read.
    fn from(error: Error) -> Failure {
        Failure { error, broken: true }
    }
}

/// A failure before anything was sent.
pub fn unsent(error: Error) -> Failure {
    Failure { error, broken: false }
}

pub fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

/// What the driver of MySQL says about a statement.
pub fn statement(source: sqlx::Error) -> Failure {
    match source {
        sqlx::Error::Database(database) => {
            Failure { error: from_database(database.as_ref()), broken: is_fatal(database.as_ref()) }
        }
        sqlx::Error::Io(io) => {
            let mut error = io_error("db: the connection broke off", &io);
            error.code = ErrorCode::Unavailable;
            Failure { error, broken: true }
        }
        sqlx::Error::Protocol(text) => Failure {
            error: error(
                ErrorCode::InvalidData,
                format!("db: the server's answer is not understood: {text}"),
            ),
            broken: true,
        },
        other => Failure { error: error(ErrorCode::Other, format!("db: {other}")), broken: true },
    }
}

/// Names the function in an error about its options.
pub fn about_connect(mut failure: Error) -> Error {
    if failure.code == ErrorCode::InvalidArgument {
        failure.message = format!("db.connect: {}", failure.message);
    }
    failure
}

/// Why there is no connection to `place`, where TLS is why. `own_authority` is what to do about a certificate that is its
/// own authority.
pub fn tls_refused(
    source: &(dyn std::error::Error + 'static),
    place: &str,
    own_authority: &str,
) -> Option<Error> {
    let why = failure::of_tls(source, own_authority)?;
    let message = format!("db: cannot connect to {place}: TLS failed: {why}; see the option tls");
    Some(error(ErrorCode::InvalidData, message))
}

/// What a driver says about connecting to `place`.
pub fn connecting(source: sqlx::Error, place: &str) -> Error {
    /// What to do about a certificate that is its own authority: the driver of MySQL trusts none for its own server.
    const OWN_AUTHORITY: &str = "give the server one that an authority has signed, and name that one with ca_cert; or \
                                 let nobody check who it is, with tls = \"require\"";
    if let Some(refused) = tls_refused(&source, place, OWN_AUTHORITY) {
        return refused;
    }
    let what = format!("db: cannot connect to {place}");
    match source {
        sqlx::Error::Database(database) => {
            let mut error = from_database(database.as_ref());
            error.message = format!("{what}: {}", error.message.trim_start_matches("db: "));
            error
        }
        sqlx::Error::Io(io) => {
            let mut error = io_error(&what, &io);
            // A name that TLS refuses comes as an error of reading.
            error.code = match io.kind() {
                std::io::ErrorKind::InvalidData => ErrorCode::InvalidData,
                _ => ErrorCode::Unavailable,
            };
            error
        }
        sqlx::Error::Tls(why) => error(
            ErrorCode::InvalidData,
            format!("{what}: TLS failed: {why}; see the options tls and ca_cert"),
        ),
        sqlx::Error::Configuration(why) if why.to_string().contains("RSA") => error(
            ErrorCode::Unsupported,
            format!("{what}: the server wants the password over TLS only; set the option tls to \"require\""),
        ),
        other => error(ErrorCode::Unavailable, format!("{what}: {other}")),
    }
}

/// The code that scripts see for an SQLSTATE (PostgreSQL's appendix A) or a number of MySQL.
fn code(sqlstate: &str, number: u16) -> ErrorCode {
    match (sqlstate, number) {
        ("23505", _) | (_, 1062 | 1169 | 1586) => ErrorCode::Exists,
        ("42P01" | "42703" | "42704" | "42883" | "3D000" | "3F000", _) | (_, 1049 | 1054 | 1146 | 1305) => {
            ErrorCode::NotFound
        }
        ("42P04" | "42P06" | "42P07" | "42710", _) | (_, 1007 | 1050) => ErrorCode::Exists,
        ("57014", _) | (_, 1205 | 1317 | 1969 | 3024) => ErrorCode::Timeout,
        ("42501" | "25006", _) | (_, 1044 | 1045 | 1142 | 1143 | 1227 | 1290 | 1792 | 1698) => {
            ErrorCode::Permission
        }
        ("0A000", _) | (_, 1148 | 1235 | 1295 | 3948 | 4166) => ErrorCode::Unsupported,
        (_, 1153) => ErrorCode::Limit,
        (_, 1053 | 1077..=1079 | 1927 | 4031) => ErrorCode::Unavailable,
        (state, _) => match state.get(..2).unwrap_or_default() {
            "08" | "57" => ErrorCode::Unavailable,
            "22" | "23" => ErrorCode::InvalidData,
            "28" => ErrorCode::Permission,
            "42" => ErrorCode::InvalidArgument,
            "53" | "54" => ErrorCode::Limit,
            _ => ErrorCode::Other,
        },
    }
}

/// Whether the server of MySQL closes the connection with this error: of communication (class 08), a shutdown, a KILL,
/// or one that was idle for too long.
fn is_fatal(source: &dyn sqlx::error::DatabaseError) -> bool {
    let number = source.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
    source.code().is_some_and(|state| state.starts_with("08"))
        || matches!(number, 1053 | 1077..=1079 | 1927 | 4031)
}

fn from_database(source: &dyn sqlx::error::DatabaseError) -> Error {
    let Some(mysql) = source.try_downcast_ref::<MySqlDatabaseError>() else {
        return error(ErrorCode::Other, format!("db: {}", source.message()));
    };
    let state = mysql.code().unwrap_or_default();
    let advice = if mysql.number() == 1153 { "; max_allowed_packet of the server bounds them" } else { "" };
    let message = format!("db: {}{advice} [SQLSTATE {state}, error {}]", mysql.message(), mysql.number());
    error(code(state, mysql.number()), message)
}

/// An error of PostgreSQL.
pub struct Postgres {
    pub state: String,
    error: Error,
    /// The server closes the connection with it.
    fatal: bool,
}

impl Postgres {
    pub fn failure(self) -> Failure {
        Failure { error: self.error, broken: self.fatal }
    }
}

/// Reads an error of PostgreSQL about a statement.
///
/// # Errors
/// Where it cannot be understood.
pub fn postgres(body: &ErrorResponseBody, sql: Option<&str>) -> Result<Postgres, Failure> {
    let (mut state, mut message, mut at) = (String::new(), String::new(), None);
    let (mut fatal, mut more, mut constraint) = (false, Vec::new(), None);
    let mut fields = body.fields();
    loop {
        let field = match fields.next() {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(why) => return Err(crate::postgres::wire::not_understood(why)),
        };
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            // The severity in English, whatever language the message has.
            b'V' => fatal = text == "FATAL" || text == "PANIC",
            b'C' => state = text,
            b'M' => message = text,
            b'P' => at = text.parse().ok(),
            b'D' | b'H' => more.push(text),
            b'n' => constraint = Some(text),
            _ => {}
        }
    }
    let mut message = format!("db: {message}");
    if let (Some(at), Some(sql)) = (at, sql) {
        let (line, column) = position(sql, at);
        message.push_str(&format!(" at line {line} column {column}"));
    }
    for more in more {
        message.push_str("; ");
        message.push_str(more.trim_end_matches('.'));
    }
    if let Some(constraint) = constraint {
        message.push_str(&format!(" (constraint {constraint})"));
    }
    message.push_str(&format!(" [SQLSTATE {state}]"));
    let code = if fatal && !state.starts_with("28") && !state.starts_with("3D") && !state.starts_with("42") {
        match code(&state, 0) {
            // Too many connections are a limit, all else that ends one is the server's going away.
            ErrorCode::Limit => ErrorCode::Limit,
            _ => ErrorCode::Unavailable,
        }
    } else {
        code(&state, 0)
    };
    Ok(Postgres { error: error(code, message), state, fatal })
}

/// The line and column, both from 1, of the character number `at`, from 1.
pub fn position(sql: &str, at: usize) -> (usize, usize) {
    let before: String = sql.chars().take(at.saturating_sub(1)).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Whether the text has the placeholder of another database: `?`, or `$1`. Text in quotes does not count.
fn has_placeholder(sql: &str, wanted: char) -> bool {
    let mut quote = None;
    let mut previous = ' ';
    for c in sql.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None if wanted == '?' && c == '?' => return true,
            None if wanted == '$' && previous == '$' && c.is_ascii_digit() => return true,
            None => {}
        }
        previous = c;
    }
    false
}

/// Adds what is likely wrong to an error about a statement with the placeholders of another database.
pub fn hint(mut failure: Failure, sql: &str, postgres: bool) -> Failure {
    let likely = matches!(failure.error.code, ErrorCode::InvalidArgument | ErrorCode::NotFound);
    if likely && postgres && has_placeholder(sql, '?') {
        failure.error.message.push_str("; parameters of PostgreSQL are written $1, $2");
    } else if likely && !postgres && has_placeholder(sql, '$') {
        failure.error.message.push_str("; parameters of MySQL are written ?");
    }
    failure
}

/// Checks how many parameters there are. Those that are missing at the end of a list that was given are NULL: `nil`
/// leaves no trace in a table.
///
/// # Errors
/// `invalid_argument` where there are too many, or none at all.
pub fn arity(expected: usize, count: usize, given: bool, sql: &str, written: &str) -> Result<(), Error> {
    if count <= expected && (given || expected == 0) {
        return Ok(());
    }
    let mut message = format!("db: the statement has {expected} parameters, and {count} were given");
    let other = if written == "$1" { '?' } else { '$' };
    if expected == 0 && has_placeholder(sql, other) {
        message.push_str(&format!("; here they are written {written}"));
    }
    Err(invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(position("SELECT x", 8), (1, 8));
        assert_eq!(position("SELECT\n 'é', x", 14), (2, 7));
    }

    #[test]
    fn placeholders_in_quotes_do_not_count() {
        assert!(has_placeholder("SELECT ?", '?') && !has_placeholder("SELECT '?'", '?'));
        assert!(has_placeholder("SELECT $1", '$') && !has_placeholder("SELECT '$1'", '$'));
    }

    #[test]
    fn parameters_are_counted() {
        assert!(arity(2, 1, true, "", "?").is_ok() && arity(0, 0, false, "", "?").is_ok());
        assert!(arity(1, 0, true, "", "?").is_ok() && arity(1, 0, false, "", "?").is_err());
        assert!(arity(1, 2, true, "", "?").is_err());
        assert!(arity(0, 1, true, "SELECT $1", "?").unwrap_err().message.contains("written ?"));
    }
}
