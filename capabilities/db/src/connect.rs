//! Connections to servers: to an address that was checked, and with nothing of the host's environment in them.

use crate::errors::{connecting, invalid};
use crate::relay::Relay;
use crate::target::{Kind, Pem, Server, TlsMode};
use assay_capability_api::scope::{READ, host_and_port};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Request, Run, error, io_error, network};
use assay_capability_fs::How;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, ValueRef};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long ending a statement or a connection that nobody waits for may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The method of a request for a connection that may also write.
const WRITE: &str = "WRITE";
/// Bytes of a PEM file.
const MAX_PEM: u64 = 4 << 20;
/// Variables that the driver of PostgreSQL reads and gives no way to take back.
const STUBBORN: [&str; 3] = ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"];

/// The connection of a driver.
pub enum Driver {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
}

/// What ends a statement on the server: another connection that names this one.
#[derive(Clone)]
struct Ending {
    way: Arc<Way>,
    address: SocketAddr,
    /// The server's number for the connection.
    id: u64,
}

/// An open connection to a server.
pub struct Session {
    driver: Option<Driver>,
    ending: Option<Ending>,
    /// A statement is under way, so that closing alone would let it run on.
    pub busy: bool,
    /// A transaction is open.
    pub in_transaction: bool,
    _relay: Option<Relay>,
}

/// Everything that is needed to connect to a server.
pub struct Way {
    server: Server,
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    pub read_only: bool,
}

async fn pem(run: &Arc<Run>, pem: &Option<Pem>) -> Result<Option<Vec<u8>>, Error> {
    let path = match pem {
        None => return Ok(None),
        Some(Pem::Text(text)) => return Ok(Some(text.clone().into_bytes())),
        Some(Pem::File(path)) => path.clone(),
    };
    let run = run.clone();
    let read = move || {
        let file = assay_capability_fs::open(&run, &path, How { read: true, ..How::default() })?;
        let mut data = Vec::new();
        file.take(MAX_PEM + 1).read_to_end(&mut data).map_err(|failure| io_error(&path, &failure))?;
        match data.len() as u64 > MAX_PEM {
            true => Err(error(ErrorCode::Limit, format!("{path}: the file has more than {MAX_PEM} bytes"))),
            false => Ok(Some(data)),
        }
    };
    match assay_capability_api::spawn_counted(read).await {
        Ok(result) => result,
        Err(failure) => Err(error(ErrorCode::Other, format!("db: reading a certificate failed: {failure}"))),
    }
}

impl Way {
    /// Takes what the URL and the options say, and reads the files that they name.
    ///
    /// # Errors
    /// Those of the files: `denied`, `not_found`...
    pub async fn new(run: &Arc<Run>, server: Server, read_only: bool) -> Result<Way, Error> {
        let authority = pem(run, &server.authority).await?;
        let is_pem = |text: &[u8]| text.windows(11).any(|part| part == b"-----BEGIN ");
        if authority.as_deref().is_some_and(|text| !is_pem(text)) {
            return Err(invalid(
                "db.connect: ca_cert has no certificate; it must be PEM, -----BEGIN CERTIFICATE-----",
            ));
        }
        let identity = pem(run, &server.certificate).await?.zip(pem(run, &server.key).await?);
        Ok(Way { server, authority, identity, read_only })
    }

    pub fn kind(&self) -> Kind {
        self.server.kind
    }

    /// `postgres://host:port/database`, for messages.
    pub fn place(&self) -> String {
        let place = host_and_port(&self.server.host, self.server.port);
        let database = self.server.database.as_deref().unwrap_or_default();
        format!("{}://{place}/{database}", self.server.kind.scheme())
    }

    /// Whether the grants cover connecting for reading, but not for more.
    pub fn only_readable(&self, run: &Run) -> bool {
        let path = self.path();
        let allowed = |method| run.would_allow("db", &self.request(method, &path));
        allowed(READ) && !allowed(WRITE)
    }

    fn path(&self) -> String {
        format!("/{}", self.server.database.as_deref().unwrap_or_default())
    }

    fn request<'a>(&'a self, method: &'a str, path: &'a str) -> Request<'a> {
        Request::Network {
            scheme: self.server.kind.scheme(),
            method: Some(method),
            host: &self.server.host,
            port: self.server.port,
            path: Some(path),
            address: None,
        }
    }

    /// The addresses that a connection may go to.
    ///
    /// # Errors
    /// `denied`, or `unavailable` where the name does not resolve.
    pub async fn check(&self, run: &Run) -> Result<Vec<SocketAddr>, Error> {
        let path = self.path();
        let request = self.request(if self.read_only { READ } else { WRITE }, &path);
        network::resolve(run, "db", &request).await
    }

    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// `denied`, `unavailable`, `permission` where the server refuses the user, `invalid_data` where TLS does.
    pub async fn connect(self: &Arc<Self>, run: &Run) -> Result<Session, Error> {
        let mut last = None;
        for address in self.check(run).await? {
            match self.open(address).await {
                Ok(session) => return Ok(session),
                // Another address may answer, but not give another answer.
                Err(failure) if failure.code == ErrorCode::Unavailable => last = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| {
            error(
                ErrorCode::Unavailable,
                format!("db: cannot connect to {}: it has no address", self.place()),
            )
        }))
    }

    /// Connects to an address that was checked.
    ///
    /// The drivers know only names, and would look them up again. So they get the address in place of the name.
    /// Where TLS must name or check the host, they keep the name, but connect to a socket of ours from which a
    /// relay leads to the address.
    async fn open(self: &Arc<Self>, address: SocketAddr) -> Result<Session, Error> {
        let place = self.place();
        let named = self.server.tls != TlsMode::Disable && self.server.host.parse::<IpAddr>().is_err();
        let relay = match named {
            false => None,
            true => {
                let failed = |source: &std::io::Error| {
                    let mut failure = io_error(&format!("db: cannot connect to {place}"), source);
                    failure.code = ErrorCode::Unavailable;
                    failure
                };
                let stream = TcpStream::connect(address).await.map_err(|source| failed(&source))?;
                Some(Relay::start(stream, address.port()).map_err(|source| failed(&source))?)
            }
        };
        let host = match named {
            true => self.server.host.clone(),
            false => address.ip().to_canonical().to_string(),
        };
        let driver = match self.server.kind {
            Kind::Postgres => self.postgres(&host, address.port(), relay.as_ref()).await?,
            Kind::MySql => self.mysql(&host, address.port(), relay.as_ref()).await?,
        };
        let mut session =
            Session { driver: Some(driver), ending: None, busy: false, in_transaction: false, _relay: relay };
        let id = session.set_up().await.map_err(|source| connecting(source, &place))?;
        session.ending = id.map(|id| Ending { way: self.clone(), address, id });
        Ok(session)
    }

    async fn postgres(&self, host: &str, port: u16, relay: Option<&Relay>) -> Result<Driver, Error> {
        if let Some(name) = STUBBORN.iter().find(|name| std::env::var_os(name).is_some()) {
            return Err(error(
                ErrorCode::Unsupported,
                format!(
                    "db: the environment of assay has {name}, which would leak into the connection; unset it"
                ),
            ));
        }
        let server = &self.server;
        // Each thing that the driver would take from the environment is set.
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(port)
            .username(&server.user)
            .password(server.password.as_deref().unwrap_or_default())
            .database(server.database.as_deref().unwrap_or(&server.user))
            .application_name(&server.application)
            .extra_float_digits(None)
            .ssl_mode(match server.tls {
                TlsMode::Disable => PgSslMode::Disable,
                TlsMode::Prefer => PgSslMode::Prefer,
                TlsMode::Require => PgSslMode::Require,
                TlsMode::VerifyCa => PgSslMode::VerifyCa,
                TlsMode::VerifyFull => PgSslMode::VerifyFull,
            })
            .ssl_root_cert_from_pem(self.authority.clone().unwrap_or_default())
            .disable_statement_logging();
        if let Some((certificate, key)) = &self.identity {
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        if let Some(relay) = relay {
            options = options.socket(relay.folder());
        }
        let connection = options.connect().await.map_err(|source| connecting(source, &self.place()))?;
        Ok(Driver::Postgres(Box::new(connection)))
    }

    async fn mysql(&self, host: &str, port: u16, relay: Option<&Relay>) -> Result<Driver, Error> {
        let server = &self.server;
        let mut options = MySqlConnectOptions::new()
            .host(host)
            .port(port)
            .username(&server.user)
            .ssl_mode(match server.tls {
                TlsMode::Disable => MySqlSslMode::Disabled,
                TlsMode::Prefer => MySqlSslMode::Preferred,
                TlsMode::Require => MySqlSslMode::Required,
                TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
                TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
            })
            // What the server is set to, so that `||` and engines mean what they mean there.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .disable_statement_logging();
        if let Some(password) = &server.password {
            options = options.password(password);
        }
        if let Some(database) = &server.database {
            options = options.database(database);
        }
        if let Some(authority) = &self.authority {
            options = options.ssl_ca_from_pem(authority.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        if let Some(relay) = relay {
            options = options.socket(relay.path());
        }
        let connection = options.connect().await.map_err(|source| connecting(source, &self.place()))?;
        Ok(Driver::MySql(Box::new(connection)))
    }
}

impl Session {
    pub fn driver(&mut self) -> Option<&mut Driver> {
        self.driver.as_mut()
    }

    /// Asks for the connection's number, by which it can be told to stop.
    async fn set_up(&mut self) -> Result<Option<u64>, sqlx::Error> {
        match &mut self.driver {
            Some(Driver::Postgres(connection)) => {
                // A server that works for a client that is gone shall notice (PostgreSQL 14 on). Where this cannot be
                // set the statement fails as a whole, which is no harm.
                const WATCH: &str = "SELECT set_config('client_connection_check_interval', '1000', false) \
                                     WHERE current_setting('client_connection_check_interval', true) = '0'";
                match connection.execute(WATCH).await {
                    Ok(_) | Err(sqlx::Error::Database(_)) => {}
                    Err(other) => return Err(other),
                }
                // Notices go nowhere.
                const WHO: &str =
                    "SELECT pg_backend_pid(), set_config('client_min_messages', 'error', false)";
                let row = match connection.fetch_one(WHO).await {
                    Ok(row) => row,
                    Err(sqlx::Error::Database(_)) => return Ok(None),
                    Err(other) => return Err(other),
                };
                let text = row.try_get_raw(0)?;
                Ok(text.as_str().ok().and_then(|text| text.parse().ok()))
            }
            Some(Driver::MySql(connection)) => {
                let row = connection.fetch_one("SELECT CONNECTION_ID()").await?;
                let value = row.try_get_raw(0)?;
                if value.is_null() {
                    return Ok(None);
                }
                let bytes =
                    <&[u8] as sqlx::Decode<sqlx::MySql>>::decode(value).map_err(sqlx::Error::Decode)?;
                Ok(std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()))
            }
            None => Ok(None),
        }
    }

    /// Whether the server still answers.
    pub async fn is_alive(&mut self) -> bool {
        let ping = async {
            match &mut self.driver {
                Some(Driver::Postgres(connection)) => connection.ping().await.is_ok(),
                Some(Driver::MySql(connection)) => connection.ping().await.is_ok(),
                None => false,
            }
        };
        tokio::time::timeout(FAREWELL, ping).await.unwrap_or(false)
    }

    /// Says goodbye, so that the server has nothing to complain about.
    pub async fn close(mut self) {
        if let Some(driver) = self.driver.take() {
            goodbye(driver).await;
        }
    }
}

async fn goodbye(driver: Driver) {
    let close = async {
        match driver {
            Driver::Postgres(connection) => drop(connection.close().await),
            Driver::MySql(connection) => drop(connection.close().await),
        }
    };
    // It is closed in any case.
    let _ = tokio::time::timeout(FAREWELL, close).await;
}

impl Ending {
    /// Ends the statement that the connection is at, from another one.
    async fn end(self) {
        let Ok(mut other) = self.way.open(self.address).await else { return };
        let id = self.id;
        let ended = match &mut other.driver {
            Some(Driver::Postgres(connection)) => {
                connection.execute(AssertSqlSafe(format!("SELECT pg_cancel_backend({id})"))).await.map(drop)
            }
            Some(Driver::MySql(connection)) => {
                connection.execute(AssertSqlSafe(format!("KILL QUERY {id}"))).await.map(drop)
            }
            None => Ok(()),
        };
        if let Err(failure) = ended {
            tracing::debug!(%failure, "a statement that nobody waits for could not be ended");
        }
        other.close().await;
    }
}

impl Drop for Session {
    /// Closing the socket rolls back what is open. A statement that runs is ended on the server too.
    fn drop(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.busy && !self.in_transaction {
            runtime.spawn(goodbye(driver));
        } else if let Some(ending) = self.ending.take().filter(|_| self.busy) {
            drop(driver);
            runtime.spawn(async move {
                let _ = tokio::time::timeout(FAREWELL, ending.end()).await;
            });
        }
    }
}
