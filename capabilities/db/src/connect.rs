//! Connections to servers: to an address that was checked, and with nothing of the host's environment in them.

use crate::errors::{Failure, about_connect, connecting, tls_refused};
use crate::mysql;
use crate::postgres::tls::Tls;
use crate::postgres::wire::{CancelKey, Client, Login};
use crate::relay::Relay;
use crate::target::{Kind, Server, TlsMode};
use assay_capability_api::scope::{READ, host_and_port};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Budget, Request, Run, error, io_error, network};
use assay_capability_net::pem::certificates;
use assay_capability_net::{Trust, connect};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, ValueRef};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long ending a statement or a connection that nobody waits for may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The method of a request for a connection that may also write.
const WRITE: &str = "WRITE";

/// The client of a server's protocol, with its socket.
pub enum Driver {
    Postgres(Box<Client>),
    MySql(Box<mysql::Client>),
}

/// How the server knows a connection.
enum BackendId {
    Postgres(CancelKey),
    /// By its number.
    MySql(u64),
}

/// Ends a statement on the server, over another connection that names this one.
struct Canceller {
    config: Arc<ServerConfig>,
    address: SocketAddr,
    budget: Arc<Budget>,
    id: BackendId,
}

/// A connection to a server.
pub struct ServerConnection {
    driver: Option<Driver>,
    canceller: Option<Canceller>,
    /// A statement is under way, so that closing alone would let it run on.
    pub busy: bool,
    /// A transaction is open.
    pub in_transaction: bool,
    /// Nobody else may use it, so that it is closed.
    pub spoilt: bool,
}

/// The connection configuration of a server: what is needed to connect to it.
pub struct ServerConfig {
    server: Server,
    trust: Trust,
    /// Made for the first connection; those of MySQL make their own.
    tls: tokio::sync::OnceCell<Tls>,
    pub read_only: bool,
}

impl ServerConfig {
    /// Takes what the URL and the options say, and reads the files that they name.
    ///
    /// # Errors
    /// Those of the files: `denied`, `not_found`...
    pub async fn new(run: &Arc<Run>, server: Server, read_only: bool) -> Result<ServerConfig, Error> {
        let identity = server.certificate.clone().map(|certificate| (certificate, server.key.clone()));
        let trust = Trust::load(run, server.authority.clone(), identity, &[]).await.map_err(about_connect)?;
        if let Some(text) = trust.authorities() {
            certificates(text, "ca_cert").map_err(about_connect)?;
        }
        Ok(ServerConfig { server, trust, tls: tokio::sync::OnceCell::new(), read_only })
    }

    pub fn kind(&self) -> Kind {
        self.server.kind
    }

    /// `postgres://host:port/database`, for messages.
    pub fn shown(&self) -> String {
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
    pub async fn connect(self: &Arc<Self>, run: &Run) -> Result<ServerConnection, Error> {
        let mut last = None;
        for address in self.check(run).await? {
            match self.open(address, &run.budget).await {
                Ok(connection) => return Ok(connection),
                // Another address may answer, but not give another answer.
                Err(failure) if failure.code == ErrorCode::Unavailable => last = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| {
            error(
                ErrorCode::Unavailable,
                format!("db: cannot connect to {}: it has no address", self.shown()),
            )
        }))
    }

    /// Connects to an address that was checked.
    async fn open(
        self: &Arc<Self>,
        address: SocketAddr,
        budget: &Arc<Budget>,
    ) -> Result<ServerConnection, Error> {
        let (driver, id) = match self.server.kind {
            Kind::Postgres => {
                let client = self.postgres(address, budget).await?;
                let id = BackendId::Postgres(client.key);
                (Driver::Postgres(Box::new(client)), Some(id))
            }
            Kind::MySql => {
                let (client, number) = self.mysql(address, budget).await?;
                (Driver::MySql(Box::new(client)), number.map(BackendId::MySql))
            }
        };
        let canceller = id.map(|id| Canceller { config: self.clone(), address, budget: budget.clone(), id });
        Ok(ServerConnection {
            driver: Some(driver),
            canceller,
            busy: false,
            in_transaction: false,
            spoilt: false,
        })
    }

    fn unreachable(&self, source: &std::io::Error) -> Error {
        /// It may be named itself.
        const OWN_AUTHORITY: &str = "to trust it for this server, name that very certificate with ca_cert";
        if let Some(refused) = tls_refused(source, &self.shown(), OWN_AUTHORITY) {
            return refused;
        }
        let mut failure = io_error(&format!("db: cannot connect to {}", self.shown()), source);
        failure.code = match source.kind() {
            // There is no TLS, or the host is no name for a certificate.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                failure.message.push_str("; see the options tls and ca_cert");
                ErrorCode::InvalidData
            }
            _ => ErrorCode::Unavailable,
        };
        failure
    }

    /// Connects to one address, so that the next is tried also where this one answers and refuses.
    async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        Ok(connect::direct(&[address], &self.shown(), "db").await?.0)
    }

    /// A stream to PostgreSQL at an address that was checked.
    async fn stream(&self, address: SocketAddr) -> Result<Box<dyn crate::postgres::wire::Stream>, Error> {
        let server = &self.server;
        let make = || Tls::new(server.tls, &server.host, &self.trust);
        let tls = self.tls.get_or_try_init(make).await?;
        let stream = self.tcp(address).await?;
        tls.secure(stream).await.map_err(|source| self.unreachable(&source))
    }

    async fn postgres(&self, address: SocketAddr, budget: &Arc<Budget>) -> Result<Client, Error> {
        let stream = self.stream(address).await?;
        let server = &self.server;
        let login = Login {
            user: &server.user,
            password: server.password.as_deref(),
            database: server.database.as_deref().unwrap_or(&server.user),
            application: &server.application,
        };
        let failed = |failure: Failure| {
            let mut error = failure.error;
            let why = error.message.trim_start_matches("db: ").to_string();
            error.message = format!("db: cannot connect to {}: {why}", self.shown());
            error
        };
        let mut client = Client::connect(stream, &login, server.prepare, budget).await.map_err(failed)?;
        // Behind a pooler settings would be met by others.
        if server.prepare {
            // Notices go nowhere. A server that works for a client that is gone shall notice (PostgreSQL 14 on). Where
            // that cannot be set the statements fail as a whole, which is no harm.
            const SETTINGS: &str = "SELECT set_config('client_min_messages', 'error', false); \
                                    SELECT set_config('client_connection_check_interval', '1000', false) \
                                    WHERE current_setting('client_connection_check_interval', true) = '0'";
            match client.simple(SETTINGS, drop).await {
                Err(failure) if failure.broken => return Err(failed(failure)),
                _ => {}
            }
        }
        Ok(client)
    }

    /// The driver knows only names, and would look them up again. So it connects to a local socket, from which a relay
    /// leads to the address; the name, or the address, is for TLS to check.
    async fn mysql(
        &self,
        address: SocketAddr,
        budget: &Arc<Budget>,
    ) -> Result<(mysql::Client, Option<u64>), Error> {
        let stream = self.tcp(address).await?;
        let relay = Relay::start(stream, budget).map_err(|source| self.unreachable(&source))?;
        let host = match self.server.host.parse::<IpAddr>() {
            Ok(_) => address.ip().to_canonical().to_string(),
            Err(_) => self.server.host.clone(),
        };
        let server = &self.server;
        let mut options = MySqlConnectOptions::new()
            .host(&host)
            .port(address.port())
            .socket(relay.path())
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
        if let Some(authority) = self.trust.authorities() {
            options = options.ssl_ca_from_pem(authority.to_vec());
        }
        if let Some((certificate, key)) = self.trust.identity() {
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        let place = self.shown();
        let mut connection = options.connect().await.map_err(|source| connecting(source, &place))?;
        let number = number(&mut connection).await.map_err(|source| connecting(source, &place))?;
        Ok((mysql::Client { connection, relay }, number))
    }
}

impl ServerConnection {
    pub fn driver(&mut self) -> Option<&mut Driver> {
        self.driver.as_mut()
    }

    /// Whether the server has closed the connection, as far as that can be told without asking it.
    pub fn is_gone(&mut self) -> bool {
        match &mut self.driver {
            Some(Driver::Postgres(client)) => client.is_gone(),
            Some(Driver::MySql(_)) => false,
            None => true,
        }
    }

    /// Whether the server still answers.
    pub async fn is_alive(&mut self) -> bool {
        let ping = async {
            match &mut self.driver {
                Some(Driver::Postgres(client)) => client.is_alive().await,
                Some(Driver::MySql(client)) => client.connection.ping().await.is_ok(),
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
            Driver::Postgres(client) => client.close().await,
            Driver::MySql(client) => {
                // The relay ends after it.
                let mysql::Client { connection, relay: _relay } = *client;
                drop(connection.close().await);
            }
        }
    };
    // It is closed in any case.
    let _ = tokio::time::timeout(FAREWELL, close).await;
}

/// The server's number for a connection of MySQL, by which it can be told to stop.
async fn number(connection: &mut MySqlConnection) -> Result<Option<u64>, sqlx::Error> {
    let row = connection.fetch_one("SELECT CONNECTION_ID()").await?;
    let value = row.try_get_raw(0)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = <&[u8] as sqlx::Decode<sqlx::MySql>>::decode(value).map_err(sqlx::Error::Decode)?;
    Ok(std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()))
}

impl Canceller {
    /// Ends the statement that the connection is at.
    async fn cancel(self) {
        let failed = |why: &dyn std::fmt::Display| {
            tracing::debug!(%why, "a statement that nobody waits for could not be ended");
        };
        match self.id {
            BackendId::Postgres(key) => {
                let Ok(stream) = self.config.stream(self.address).await else { return };
                if let Err(why) = key.cancel(stream).await {
                    failed(&why);
                }
            }
            BackendId::MySql(id) => {
                let Ok(mut other) = self.config.open(self.address, &self.budget).await else { return };
                if let Some(Driver::MySql(client)) = &mut other.driver
                    && let Err(why) =
                        client.connection.execute(AssertSqlSafe(format!("KILL QUERY {id}"))).await
                {
                    failed(&why);
                }
                other.close().await;
            }
        }
    }
}

impl Drop for ServerConnection {
    /// Closing the socket rolls back what is open. A statement that runs is ended on the server too.
    fn drop(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.busy && !self.in_transaction {
            runtime.spawn(goodbye(driver));
        } else if let Some(canceller) = self.canceller.take().filter(|_| self.busy) {
            // A pooler knows what to end only as long as this is open.
            runtime.spawn(async move {
                let _ = tokio::time::timeout(FAREWELL, canceller.cancel()).await;
                drop(driver);
            });
        }
    }
}
