//! What a script connects to: the URL and the options of `db.connect`.

use crate::scope::{MEMORY, default_port};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_net::Pem;
use std::time::Duration;
use url::Url;

/// The kinds of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MySql,
}

impl Kind {
    /// The scheme of its URLs and scopes.
    pub fn scheme(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::MySql => "mysql",
        }
    }
}

/// How far the server's identity is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    Disable,
    /// TLS where the server has it.
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// A server, as the URL says it. Not `Debug`: it holds the password.
#[derive(Clone)]
pub struct Server {
    pub kind: Kind,
    /// Without the brackets of IPv6.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: Option<String>,
    pub application: String,
    /// Statements are prepared once and kept by name; behind a pooler that gives each transaction another server they are not.
    pub prepare: bool,
    pub tls: TlsMode,
    pub authority: Option<Pem>,
    pub certificate: Option<Pem>,
    pub key: Option<Pem>,
}

/// A database.
#[derive(Clone)]
pub enum Target {
    Memory,
    File { path: String, create: bool },
    Server(Box<Server>),
}

/// The options that hold for every kind.
#[derive(Clone, Debug)]
pub struct Options {
    pub max_connections: usize,
    pub connect_timeout: Duration,
    /// None: no bound.
    pub statement_timeout: Option<Duration>,
    /// Rows of one result that is read whole.
    pub max_rows: u64,
    /// Bytes of one result that is read whole, and of one row in any case.
    pub max_bytes: u64,
    /// NUMERIC as a float in place of its digits.
    pub numeric_as_number: bool,
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_connections: 4,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Some(Duration::from_secs(30)),
            max_rows: 1_000_000,
            max_bytes: 64 << 20,
            numeric_as_number: false,
            read_only: false,
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}

/// Whether a text looks like a name, and not like a piece of a password.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
}

/// The name of a parameter, for messages.
fn name_of(text: &str) -> String {
    if is_word(text) { format!("'{text}'") } else { "one that is not a name".into() }
}

fn percent_decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(tail.first()), hex(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("db.connect: the URL has percent signs that are no UTF-8"))
}

/// Both protocols end their texts with a NUL byte, so that one within would begin the next parameter.
fn refuse_nul(server: &Server) -> Result<(), Error> {
    let texts = [
        ("the user", Some(&server.user)),
        ("the password", server.password.as_ref()),
        ("the database", server.database.as_ref()),
        ("application_name", Some(&server.application)),
    ];
    match texts.iter().find(|(_, text)| text.is_some_and(|text| text.contains('\0'))) {
        Some((what, _)) => Err(invalid(format!("db.connect: {what} has a NUL byte, which no server takes"))),
        None => Ok(()),
    }
}

/// Reads a URL and the options beside it.
///
/// # Errors
/// `invalid_argument` where they cannot be used, `unsupported` for sockets of the file system. No message holds
/// the URL, which has the password.
pub fn parse(text: &str, given: &[(String, String)]) -> Result<(Target, Options), Error> {
    let mut options = Options::default();
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(invalid(
            "db.connect: a URL begins with sqlite:, postgres:// or mysql://; this text has no scheme",
        ));
    };
    let mut target = match scheme {
        "sqlite" => file(rest, &mut options)?,
        "postgres" | "postgresql" => server(Kind::Postgres, text)?,
        "mysql" | "mariadb" => server(Kind::MySql, text)?,
        // What comes before the first colon of other connection strings may be a password.
        other if !is_word(other) => {
            return Err(invalid(
                "db.connect: a URL begins with sqlite:, postgres:// or mysql://; this text does not",
            ));
        }
        other => {
            return Err(invalid(format!(
                "db.connect: no database has the scheme '{other}'; there are sqlite, postgres and mysql"
            )));
        }
    };
    if let Target::Server(server) = &mut target {
        let url =
            Url::parse(text).map_err(|why| invalid(format!("db.connect: the URL is not valid: {why}")))?;
        for (name, value) in url.query_pairs() {
            parameter(server, &mut options, &name, &value)?;
        }
    }
    for (name, value) in given {
        option(&mut target, &mut options, name, value)?;
    }
    if let Target::Server(server) = &mut target {
        refuse_nul(server)?;
        // Who names an authority wants the server checked against it.
        if server.authority.is_some() && server.tls < TlsMode::VerifyCa {
            server.tls = match server.tls {
                TlsMode::Prefer => TlsMode::VerifyFull,
                TlsMode::Require => TlsMode::VerifyCa,
                _ => return Err(invalid("db.connect: an authority is named, but TLS is disabled")),
            };
        }
        if server.certificate.is_some() != server.key.is_some() {
            return Err(invalid("db.connect: client_cert and client_key belong together"));
        }
    } else {
        // More connections would only wait for each other's locks; in memory each would be a database of its own.
        options.max_connections = 1;
    }
    Ok((target, options))
}

fn file(rest: &str, options: &mut Options) -> Result<Target, Error> {
    if let Some(rest) = rest.strip_prefix("//")
        && rest.split('/').next().is_some_and(|place| place.contains('@'))
    {
        return Err(invalid(
            "db.connect: a database of SQLite is a file, and the URL has a user name; write sqlite:PATH for a path \
             with '@'",
        ));
    }
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut create = true;
    let mut memory = path == MEMORY;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair {
            "ro" | "mode=ro" => options.read_only = true,
            "mode=rw" => create = false,
            "mode=rwc" => {}
            "mode=memory" => memory = true,
            _ => {
                return Err(invalid(format!(
                    "db.connect: sqlite URLs have the parameter mode=ro, rw, rwc or memory, not {}",
                    name_of(pair.split('=').next().unwrap_or_default())
                )));
            }
        }
    }
    if memory {
        return Ok(Target::Memory);
    }
    match percent_decode(path)? {
        path if path.is_empty() => Err(invalid(
            "db.connect: the path is missing; write sqlite:PATH, or sqlite::memory: for one in memory",
        )),
        path => Ok(Target::File { path, create }),
    }
}

fn server(kind: Kind, text: &str) -> Result<Target, Error> {
    let url = Url::parse(text).map_err(|why| invalid(format!("db.connect: the URL is not valid: {why}")))?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(error(
            ErrorCode::Unsupported,
            "db.connect: the URL names no host; sockets of the file system are not supported, \
             write 127.0.0.1 or a name",
        ));
    };
    let host = percent_decode(host)?;
    if host.contains('/') {
        return Err(error(
            ErrorCode::Unsupported,
            "db.connect: the host is a path; sockets of the file system are not supported",
        ));
    }
    // Schemes that browsers do not know have hosts of any characters, and no one spelling of an address.
    let host = url::Host::parse(&host)
        .map_err(|why| invalid(format!("db.connect: the host of the URL is not valid: {why}")))?
        .to_string();
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    if host.is_empty() {
        return Err(invalid("db.connect: the host of the URL is a dot"));
    }
    if url.port() == Some(0) {
        return Err(invalid("db.connect: the URL has the port 0, where nothing can listen"));
    }
    let database = percent_decode(url.path().trim_start_matches('/'))?;
    let user = percent_decode(url.username())?;
    let user = match (user.is_empty(), kind) {
        (false, _) => user,
        (true, Kind::Postgres) => "postgres".into(),
        (true, Kind::MySql) => "root".into(),
    };
    let database = match (database.is_empty(), kind) {
        (false, _) => Some(database),
        // What the server would do, said so that it can be matched with the grants.
        (true, Kind::Postgres) => Some(user.clone()),
        (true, Kind::MySql) => None,
    };
    Ok(Target::Server(Box::new(Server {
        kind,
        host: host.to_ascii_lowercase(),
        port: url.port().unwrap_or_else(|| default_port(kind.scheme())),
        user,
        password: url.password().map(percent_decode).transpose()?,
        database,
        application: "assay".into(),
        prepare: true,
        tls: TlsMode::Prefer,
        authority: None,
        certificate: None,
        key: None,
    })))
}

fn tls_mode(text: &str) -> Result<TlsMode, Error> {
    Ok(match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => TlsMode::Disable,
        "prefer" | "preferred" => TlsMode::Prefer,
        "require" | "required" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" | "verify-identity" => TlsMode::VerifyFull,
        _ => {
            return Err(invalid(format!(
                "db.connect: tls is disable, prefer, require, verify-ca or verify-full, not '{text}'"
            )));
        }
    })
}

fn seconds(name: &str, text: &str) -> Result<Duration, Error> {
    text.parse::<f64>()
        .ok()
        .and_then(|value| Duration::try_from_secs_f64(value).ok())
        .ok_or_else(|| invalid(format!("db.connect: {name} is a number of seconds, not '{text}'")))
}

/// 0 is no bound: longer than any run lasts.
fn unbounded(timeout: Duration) -> Duration {
    const FOREVER: Duration = Duration::from_secs(1_000_000_000);
    if timeout.is_zero() { FOREVER } else { timeout }
}

fn count(name: &str, text: &str) -> Result<u64, Error> {
    text.parse::<u64>()
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| invalid(format!("db.connect: {name} is a positive integer, not '{text}'")))
}

fn boolean(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(format!("db.connect: {name} is true or false, not '{text}'"))),
    }
}

/// A parameter of a server's URL, as other clients of it name them.
fn parameter(server: &mut Server, options: &mut Options, name: &str, value: &str) -> Result<(), Error> {
    match name {
        "sslmode" | "ssl-mode" => server.tls = tls_mode(value)?,
        "sslrootcert" | "ssl-ca" => server.authority = Some(Pem::File(value.into())),
        "sslcert" | "ssl-cert" => server.certificate = Some(Pem::File(value.into())),
        "sslkey" | "ssl-key" => server.key = Some(Pem::File(value.into())),
        "application_name" => server.application = value.into(),
        "prepare" if server.kind == Kind::Postgres => server.prepare = boolean(name, value)?,
        "connect_timeout" => options.connect_timeout = unbounded(seconds(name, value)?),
        "ro" if value.is_empty() => options.read_only = true,
        _ => {
            return Err(invalid(format!(
                "db.connect: the URL has the parameter {}, which is not known; there are sslmode, sslrootcert, \
                 sslcert, sslkey, application_name, prepare (of PostgreSQL), connect_timeout and ro",
                name_of(name)
            )));
        }
    }
    Ok(())
}

fn option(target: &mut Target, options: &mut Options, name: &str, value: &str) -> Result<(), Error> {
    match name {
        "max_connections" => {
            let most = count(name, value)?;
            options.max_connections =
                usize::try_from(most).ok().filter(|most| *most <= 1000).ok_or_else(|| {
                    invalid(format!("db.connect: max_connections is a number from 1 to 1000, not {most}"))
                })?;
        }
        "connect_timeout" => options.connect_timeout = unbounded(seconds(name, value)?),
        "statement_timeout" => {
            options.statement_timeout = Some(seconds(name, value)?).filter(|timeout| !timeout.is_zero());
        }
        "max_rows" => options.max_rows = count(name, value)?,
        // SQLite and the crossing into the guest count in 32 bits.
        "max_bytes" => options.max_bytes = count(name, value)?.min(1 << 30),
        "read_only" => options.read_only = boolean(name, value)? || options.read_only,
        "numeric" => {
            options.numeric_as_number = match value {
                "string" => false,
                "number" => true,
                _ => return Err(invalid("db.connect: numeric is \"string\" or \"number\"")),
            };
        }
        _ => {
            let Target::Server(server) = target else { return Err(unknown(name)) };
            match name {
                "tls" => server.tls = tls_mode(value)?,
                "ca_cert" => server.authority = Some(Pem::Text(value.as_bytes().to_vec())),
                "ca_cert_file" => server.authority = Some(Pem::File(value.into())),
                "client_cert" => server.certificate = Some(Pem::Text(value.as_bytes().to_vec())),
                "client_cert_file" => server.certificate = Some(Pem::File(value.into())),
                "client_key" => server.key = Some(Pem::Text(value.as_bytes().to_vec())),
                "client_key_file" => server.key = Some(Pem::File(value.into())),
                "application_name" => server.application = value.into(),
                "prepare" if server.kind == Kind::Postgres => server.prepare = boolean(name, value)?,
                _ => return Err(unknown(name)),
            }
        }
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    invalid(format!("db.connect: there is no option '{name}' for this kind of database"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_server(text: &str) -> Server {
        match parse(text, &[]).unwrap().0 {
            Target::Server(server) => *server,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn servers() {
        let server = at_server("postgres://me:p%40ss@DB.example./app?sslmode=verify-full&connect_timeout=3");
        assert_eq!((server.host.as_str(), server.port), ("db.example", 5432));
        assert_eq!((server.user.as_str(), server.password.as_deref()), ("me", Some("p@ss")));
        assert_eq!((server.database.as_deref(), server.tls), (Some("app"), TlsMode::VerifyFull));
        let server = at_server("mariadb://[::1]:3307");
        assert_eq!((server.kind, server.host.as_str(), server.port), (Kind::MySql, "::1", 3307));
        assert_eq!((server.user.as_str(), server.database), ("root", None));
        for (url, host) in [
            ("postgres://0x7f.1/d", "127.0.0.1"),
            ("postgres://b%C3%BCcher.example/d", "xn--bcher-kva.example"),
            ("mysql://[::ffff:127.0.0.1]/d", "::ffff:7f00:1"),
            ("mysql://my_db/d", "my_db"),
        ] {
            assert_eq!(at_server(url).host, host, "{url}");
        }
        assert_eq!(at_server("postgresql://h").database.as_deref(), Some("postgres"));
    }

    #[test]
    fn files() {
        for (text, expected) in [
            ("sqlite:a/b.db", "a/b.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///x/a.db", "/x/a.db"),
            ("sqlite:a%3Fb.db?mode=ro", "a?b.db"),
        ] {
            match parse(text, &[]).unwrap().0 {
                Target::File { path, .. } => assert_eq!(path, expected),
                _ => panic!("{text}"),
            }
        }
        assert!(matches!(parse("sqlite::memory:", &[]).unwrap().0, Target::Memory));
        assert!(matches!(parse("sqlite://:memory:", &[]).unwrap().0, Target::Memory));
        assert!(parse("sqlite:x?ro", &[]).unwrap().1.read_only);
    }

    #[test]
    fn what_is_not_understood_is_refused_without_its_secrets() {
        for text in [
            "",
            "x",
            "oracle://u:secret@h/d",
            "sqlite:",
            "sqlite:x?cache=shared",
            "postgres://u:secret@h/d?host=/run",
            "postgres://u:secret@h:99999/d",
            "postgres://u:secret@h:0/d",
            "postgres://u:secret@/d",
            "postgres:///d",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres://u:secret@h%3Fro/d",
            "postgres://u:secret@a%20b/d",
            "postgres://u:secret@./d",
            "postgres://u:secret@h/app%00database%00other",
            "postgres://u%00options%00x:secret@h/d",
            "postgres://u:secret%00@h/d",
            "postgres://u:secret@h/d?application_name=x%00database%00other",
            "mysql://u%00:secret@h/d",
            "mysql://u:secret@h/d%00",
            "mysql://u:secret@h/d?ssl-mode=maybe",
        ] {
            match parse(text, &[]) {
                Err(error) => assert!(!error.message.contains("secret"), "{}", error.message),
                Ok(_) => panic!("{text}"),
            }
        }
    }
}
