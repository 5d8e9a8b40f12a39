//! The protocol of PostgreSQL (version 3) over a stream that is open already: connecting, messages, prepared statements.
//! Messages are written and read by `postgres-protocol`; docs/adr/0003-postgres-driver.md says why no driver is used.

use super::kind::{self, Kind, Type};
use crate::errors::{self, Failure, invalid, unsent};
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Budget, Held, error, io_error};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use futures_util::FutureExt;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are read at a time, where a message is not larger.
const READ: usize = 16 << 10;
/// Statements that are kept prepared, and how long the text of one may be.
const MAX_STATEMENTS: usize = 100;
const MAX_KEPT_TEXT: usize = 16 << 10;
/// How often types that are made of others are looked up, one level at a time.
const MAX_LEVELS: usize = 16;

/// The stream under the protocol, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The user, the database and what else a connection begins with.
pub struct Login<'a> {
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a str,
    pub application: &'a str,
}

/// What ends a statement on the server: a message on another stream.
#[derive(Clone, Copy)]
pub struct CancelKey {
    process: i32,
    secret: i32,
}

impl CancelKey {
    /// Asks the server to end what the connection does, and waits until it has heard.
    ///
    /// # Errors
    /// The stream's.
    pub async fn cancel(self, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
        let mut message = BytesMut::new();
        frontend::cancel_request(self.process, self.secret, &mut message);
        stream.write_all(&message).await?;
        stream.flush().await?;
        // The server closes the stream and says nothing.
        stream.read(&mut [0]).await.map(drop)
    }
}

/// A statement that the server knows.
pub struct Prepared {
    /// Empty for the one that the next replaces.
    pub name: String,
    pub parameters: Vec<Arc<Type>>,
    pub columns: Vec<(String, Arc<Type>)>,
}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    input: BytesMut,
    output: BytesMut,
    /// The input has room for a message that is larger than most.
    large: bool,
    /// What the input takes of the run's budget.
    held: Held,
    /// How often the server still has to say that it is ready.
    owed: usize,
    /// Something was sent that no Sync has followed yet.
    open: bool,
    /// `I` outside of a transaction, `T` in one, `E` in one that has failed.
    status: u8,
    /// The SQLSTATE of the last error.
    pub state: String,
    pub key: CancelKey,
    /// Statements have names, and live as long as the connection.
    keeps: bool,
    /// Something was changed in the transaction that is open, and with it what statements mean.
    pub changed: bool,
    kept: HashMap<String, Arc<Prepared>>,
    order: VecDeque<String>,
    number: u64,
    types: HashMap<u32, Arc<Type>>,
}

fn cut_off(source: &std::io::Error) -> Failure {
    let mut failure = io_error("db: the connection broke off", source);
    failure.code = ErrorCode::Unavailable;
    Failure { error: failure, broken: true }
}

/// A failure of the protocol.
pub fn not_understood(what: impl std::fmt::Display) -> Failure {
    let message = format!("db: the server's answer is not understood: {what}");
    Failure { error: error(ErrorCode::InvalidData, message), broken: true }
}

/// A text on the wire ends with a NUL byte.
fn check(sql: &str) -> Result<(), Failure> {
    match sql.contains('\0') {
        true => Err(unsent(invalid("db: a statement cannot hold a NUL byte"))),
        false => Ok(()),
    }
}

fn unwritable(source: impl std::fmt::Display) -> Failure {
    unsent(invalid(format!("db: the statement cannot be sent: {source}")))
}

impl Client {
    /// Introduces itself to the server.
    ///
    /// # Errors
    /// The server's; where it wants a way of authentication that there is not.
    pub async fn connect(
        stream: Box<dyn Stream>,
        login: &Login<'_>,
        keeps: bool,
        budget: &Arc<Budget>,
    ) -> Result<Client, Failure> {
        let mut client = Client {
            stream,
            input: BytesMut::with_capacity(READ),
            output: BytesMut::new(),
            large: false,
            held: budget.take(READ)?,
            owed: 1,
            open: false,
            status: b'I',
            state: String::new(),
            key: CancelKey { process: 0, secret: 0 },
            keeps,
            changed: false,
            kept: HashMap::new(),
            order: VecDeque::new(),
            number: 0,
            types: HashMap::new(),
        };
        // A text cannot hold a NUL byte; `target` has refused those.
        let parameters = [
            ("user", login.user),
            ("database", login.database),
            ("application_name", login.application),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "UTC"),
        ];
        frontend::startup_message(parameters, &mut client.output).map_err(unwritable)?;
        client.send().await?;
        client.authenticate(login).await?;
        while client.owed > 0 {
            match client.message().await? {
                Message::BackendKeyData(body) => {
                    client.key = CancelKey { process: body.process_id(), secret: body.secret_key() };
                }
                Message::ErrorResponse(body) => return Err(errors::postgres(&body, None)?.failure()),
                _ => {}
            }
        }
        Ok(client)
    }

    async fn authenticate(&mut self, login: &Login<'_>) -> Result<(), Failure> {
        let password = login.password.unwrap_or_default();
        let mut scram = None;
        loop {
            match self.message().await? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password.as_bytes(), &mut self.output).map_err(unwritable)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output).map_err(unwritable)?;
                }
                Message::AuthenticationSasl(body) => {
                    let mut mechanisms = body.mechanisms();
                    let mut known = false;
                    while let Some(mechanism) = mechanisms.next().map_err(not_understood)? {
                        known |= mechanism == sasl::SCRAM_SHA_256;
                    }
                    if !known {
                        return Err(unknown_authentication("SASL without SCRAM-SHA-256"));
                    }
                    let exchange =
                        sasl::ScramSha256::new(password.as_bytes(), sasl::ChannelBinding::unsupported());
                    frontend::sasl_initial_response(
                        sasl::SCRAM_SHA_256,
                        exchange.message(),
                        &mut self.output,
                    )
                    .map_err(unwritable)?;
                    scram = Some(exchange);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let exchange = scram.as_mut().ok_or_else(|| not_understood("SASL out of order"))?;
                    exchange.update(body.data()).map_err(not_understood)?;
                    frontend::sasl_response(exchange.message(), &mut self.output).map_err(unwritable)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let exchange = scram.as_mut().ok_or_else(|| not_understood("SASL out of order"))?;
                    exchange.finish(body.data()).map_err(not_understood)?;
                }
                Message::ErrorResponse(body) => return Err(errors::postgres(&body, None)?.failure()),
                Message::AuthenticationKerberosV5
                | Message::AuthenticationGss
                | Message::AuthenticationScmCredential
                | Message::AuthenticationSspi => return Err(unknown_authentication("Kerberos or SSPI")),
                _ => return Err(not_understood("a message out of order while connecting")),
            }
            self.send().await?;
        }
    }

    /// Sends what was written.
    async fn send(&mut self) -> Result<(), Failure> {
        let written = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let result = written.await;
        self.output.clear();
        if self.output.capacity() > READ {
            self.output = BytesMut::new();
        }
        match result {
            Ok(()) => Ok(()),
            // What the server said before it hung up tells more.
            Err(source) => Err(self.last_words().await.unwrap_or_else(|| cut_off(&source))),
        }
    }

    /// An error that the server sent before it closed the connection.
    async fn last_words(&mut self) -> Option<Failure> {
        loop {
            match self.message().await {
                Ok(Message::ErrorResponse(body)) => {
                    let mut failure = errors::postgres(&body, None).ok()?.failure();
                    failure.broken = true;
                    return Some(failure);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next message that is not only for information.
    pub async fn message(&mut self) -> Result<Message, Failure> {
        // The message before is over by now, and with it the memory that was made for it.
        if std::mem::take(&mut self.large) {
            let mut input = BytesMut::with_capacity(READ.max(self.input.len()));
            input.extend_from_slice(&self.input);
            self.input = input;
        }
        self.held.resize(self.input.capacity().max(READ))?;
        loop {
            let need = match Header::parse(&self.input).map_err(not_understood)? {
                // A length is 32 bits, and was checked to be positive.
                Some(header) => header.len() as usize + 1,
                None => 5,
            };
            if self.input.len() < need {
                self.read(need).await?;
                continue;
            }
            let message = Message::parse(&mut self.input).map_err(not_understood)?;
            match message {
                Some(
                    Message::NoticeResponse(_)
                    | Message::NotificationResponse(_)
                    | Message::ParameterStatus(_),
                )
                | None => {}
                Some(Message::ReadyForQuery(body)) => {
                    self.owed = self.owed.saturating_sub(1);
                    self.status = body.status();
                    return Ok(Message::ReadyForQuery(body));
                }
                Some(message) => return Ok(message),
            }
        }
    }

    /// Reads, into as much memory as a message of `need` bytes takes and no more.
    async fn read(&mut self, need: usize) -> Result<(), Failure> {
        if self.input.capacity() < need || self.input.capacity() == self.input.len() {
            let room = need.max(self.input.len() + 1).max(READ);
            self.held.resize(self.input.capacity().max(READ) + room)?;
            let mut input = BytesMut::with_capacity(room);
            input.extend_from_slice(&self.input);
            self.input = input;
            self.large = room > READ;
            self.held.resize(self.input.capacity().max(READ))?;
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(cut_off(&std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(source) => Err(cut_off(&source)),
        }
    }

    /// Whether the server has closed the connection, or has said that it will, as far as that is here already.
    pub fn is_gone(&mut self) -> bool {
        loop {
            match self.message().now_or_never() {
                None => return false,
                Some(Ok(Message::ReadyForQuery(_))) => {}
                Some(_) => return true,
            }
        }
    }

    /// Whether the server answers.
    pub async fn is_alive(&mut self) -> bool {
        if self.is_gone() {
            return false;
        }
        self.open = true;
        self.settle().await.is_ok()
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.status != b'I'
    }

    /// Reads to where the server is ready for more.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        if self.open {
            self.sync().await?;
        }
        while self.owed > 0 {
            if let Message::ErrorResponse(body) = self.message().await? {
                let failure = errors::postgres(&body, None)?.failure();
                if failure.broken {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Failure> {
        frontend::sync(&mut self.output);
        self.open = false;
        self.owed += 1;
        self.send().await
    }

    /// What an error of the server means, once the server is ready again.
    pub async fn failed(
        &mut self,
        body: &postgres_protocol::message::backend::ErrorResponseBody,
        sql: &str,
    ) -> Failure {
        let parsed = match errors::postgres(body, Some(sql)) {
            Ok(parsed) => parsed,
            Err(failure) => return failure,
        };
        self.state = parsed.state.clone();
        let mut failure = parsed.failure();
        if !failure.broken {
            failure.broken = self.settle().await.is_err();
        }
        failure
    }

    /// Runs statements without parameters, whose rows do not count. `row` gets the values of each as text.
    pub async fn simple(
        &mut self,
        sql: &str,
        mut row: impl FnMut(Vec<Option<String>>),
    ) -> Result<(), Failure> {
        self.settle().await?;
        check(sql)?;
        frontend::query(sql, &mut self.output).map_err(unwritable)?;
        self.owed += 1;
        self.send().await?;
        let (mut result, mut copied) = (Ok(()), false);
        loop {
            match self.message().await? {
                Message::DataRow(body) => {
                    let text = |range: Option<std::ops::Range<usize>>| {
                        range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned())
                    };
                    let values = body.ranges().map(|range| Ok(text(range))).collect::<Vec<_>>();
                    row(values.map_err(not_understood)?);
                }
                Message::ErrorResponse(body) => {
                    let parsed = errors::postgres(&body, Some(sql))?;
                    self.state = parsed.state.clone();
                    let failure = parsed.failure();
                    if failure.broken {
                        return Err(failure);
                    }
                    result = Err(if copied { no_copy(false) } else { failure });
                }
                Message::CopyInResponse(_) => {
                    copied = true;
                    self.refuse_copy(false).await?;
                }
                Message::CopyOutResponse(_) => return Err(no_copy(true)),
                Message::ReadyForQuery(_) => return result,
                _ => {}
            }
        }
    }

    /// Ends a COPY that waits for data. What was sent as Sync before it is passed over by the server.
    pub async fn refuse_copy(&mut self, extended: bool) -> Result<(), Failure> {
        frontend::copy_fail("not supported", &mut self.output).map_err(unwritable)?;
        if extended {
            frontend::sync(&mut self.output);
        }
        self.send().await
    }

    /// Whether a statement is prepared.
    pub fn knows(&self, sql: &str) -> bool {
        self.kept.contains_key(sql)
    }

    /// The statement as the server knows it, prepared now or before.
    pub async fn prepare(&mut self, sql: &str) -> Result<Arc<Prepared>, Failure> {
        self.settle().await?;
        check(sql)?;
        if let Some(prepared) = self.kept.get(sql) {
            let prepared = prepared.clone();
            self.order.retain(|known| known != sql);
            self.order.push_back(sql.to_string());
            return Ok(prepared);
        }
        let keep = self.keeps && sql.len() <= MAX_KEPT_TEXT;
        let name = match keep {
            true => {
                self.number += 1;
                format!("assay_{}", self.number)
            }
            false => String::new(),
        };
        // Where types must be looked up first, a statement without a name is lost, and prepared once more.
        for _ in 0..3 {
            let (parameters, columns) = self.describe(sql, &name, keep).await?;
            let oids = parameters.iter().chain(columns.iter().map(|(_, oid)| oid)).copied();
            let unknown: BTreeSet<u32> = oids.filter(|oid| !self.types.contains_key(oid)).collect();
            let own = unknown.iter().filter_map(|oid| Type::own(*oid));
            let own: Vec<Type> = own.collect();
            self.types.extend(own.into_iter().map(|own| (own.oid, Arc::new(own))));
            let unknown: Vec<u32> = unknown.into_iter().filter(|oid| !self.types.contains_key(oid)).collect();
            if !unknown.is_empty() {
                self.look_up(unknown).await?;
                if !keep {
                    continue;
                }
            }
            let known =
                |oid: &u32| self.types.get(oid).cloned().ok_or_else(|| not_understood("a type is gone"));
            let parameters = parameters.iter().map(known).collect::<Result<_, _>>()?;
            let columns = columns.into_iter().map(|(name, oid)| Ok((name, known(&oid)?)));
            let columns = columns.collect::<Result<_, Failure>>()?;
            let prepared = Arc::new(Prepared { name, parameters, columns });
            if keep {
                self.keep(sql, &prepared)?;
            }
            return Ok(prepared);
        }
        Err(not_understood("the types of the statement change all the time"))
    }

    fn keep(&mut self, sql: &str, prepared: &Arc<Prepared>) -> Result<(), Failure> {
        if self.kept.len() >= MAX_STATEMENTS
            && let Some(oldest) = self.order.pop_front()
            && let Some(old) = self.kept.remove(&oldest)
        {
            // It goes with the next message.
            frontend::close(b'S', &old.name, &mut self.output).map_err(unwritable)?;
        }
        self.kept.insert(sql.to_string(), prepared.clone());
        self.order.push_back(sql.to_string());
        Ok(())
    }

    /// Forgets all statements: what they name may have changed.
    pub fn forget(&mut self) {
        self.order.clear();
        for (_, old) in self.kept.drain() {
            // Names that were given here have no NUL byte, which is all that could fail.
            let _ = frontend::close(b'S', &old.name, &mut self.output);
        }
    }

    /// Has the server prepare a statement, and gives the types of its parameters, and the names and types of its columns.
    async fn describe(
        &mut self,
        sql: &str,
        name: &str,
        keep: bool,
    ) -> Result<(Vec<u32>, Vec<(String, u32)>), Failure> {
        self.settle().await?;
        frontend::parse(name, sql, [], &mut self.output)
            .and_then(|()| frontend::describe(b'S', name, &mut self.output))
            .map_err(unwritable)?;
        if keep {
            self.sync().await?;
        } else {
            // Behind a pooler what follows must meet the same server: only a Sync ends the transaction that this begins.
            frontend::flush(&mut self.output);
            self.open = true;
            self.send().await?;
        }
        let (mut parameters, mut columns) = (Vec::new(), Vec::new());
        loop {
            match self.message().await? {
                Message::ParseComplete | Message::CloseComplete => {}
                Message::ParameterDescription(body) => {
                    parameters = body.parameters().collect().map_err(not_understood)?;
                }
                Message::RowDescription(body) => {
                    let fields = body.fields().map(|field| Ok((field.name().to_string(), field.type_oid())));
                    columns = fields.collect().map_err(not_understood)?;
                    break;
                }
                Message::NoData => break,
                Message::ErrorResponse(body) => return Err(self.failed(&body, sql).await),
                _ => return Err(not_understood("a message out of order while preparing")),
            }
        }
        if keep {
            self.settle().await?;
        }
        Ok((parameters, columns))
    }

    /// Asks what types are that are not PostgreSQL's own, and what those are made of.
    async fn look_up(&mut self, mut wanted: Vec<u32>) -> Result<(), Failure> {
        let mut found: HashMap<u32, Found> = HashMap::new();
        let all = wanted.clone();
        for _ in 0..MAX_LEVELS {
            if wanted.is_empty() {
                break;
            }
            let list = wanted.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let sql = format!(
                "SELECT t.oid, t.typname, t.typtype, t.typlen, t.typelem, t.typbasetype, coalesce(r.rngsubtype, 0) \
                 FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid \
                 WHERE t.oid IN ({list})"
            );
            let mut next = Vec::new();
            self.simple(&sql, |row| {
                if let Some((oid, of)) = Found::read(&row) {
                    next.extend([of.array, of.domain, of.range].into_iter().filter(|oid| *oid != 0));
                    found.insert(oid, of);
                }
            })
            .await?;
            next.retain(|oid| {
                !self.types.contains_key(oid) && !found.contains_key(oid) && Type::own(*oid).is_none()
            });
            wanted = next;
        }
        for oid in all {
            let made = self.made(oid, &found, MAX_LEVELS);
            self.types.insert(oid, Arc::new(made));
        }
        Ok(())
    }

    /// A type from what was found about it.
    fn made(&self, oid: u32, found: &HashMap<u32, Found>, levels: usize) -> Type {
        if let Some(own) = Type::own(oid) {
            return own;
        }
        if let Some(known) = self.types.get(&oid) {
            return known.as_ref().clone();
        }
        let (Some(of), Some(levels)) = (found.get(&oid), levels.checked_sub(1)) else {
            let name = format!("number {oid}");
            return Type { oid, name: name.clone(), kind: Kind::Other(name) };
        };
        let inner = |oid| Box::new(self.made(oid, found, levels).kind);
        let name = of.name.clone();
        let kind = match of.sort {
            'e' => Kind::Text,
            'd' => *inner(of.domain),
            'r' => Kind::Range(inner(of.range)),
            'b' if of.array != 0 => Kind::Array(inner(of.array), of.array),
            _ => kind::kind(oid, &name),
        };
        let name = match &kind {
            Kind::Array(..) => format!("{}[]", self.made(of.array, found, levels).name),
            _ => name,
        };
        Type { oid, name, kind }
    }

    /// Writes a message that runs a prepared statement with these parameters, and sends it.
    pub async fn execute(&mut self, prepared: &Prepared, values: &[Option<Vec<u8>>]) -> Result<(), Failure> {
        let write = |value: &Option<Vec<u8>>, out: &mut BytesMut| match value {
            None => Ok(postgres_protocol::IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(postgres_protocol::IsNull::No)
            }
        };
        let before = self.output.len();
        // All parameters, and all columns, are in binary.
        let bound = frontend::bind("", &prepared.name, [1], values, write, [1], &mut self.output);
        if let Err(why) = bound {
            self.output.truncate(before);
            return Err(unwritable(match why {
                frontend::BindError::Conversion(why) => why.to_string(),
                frontend::BindError::Serialization(why) => why.to_string(),
            }));
        }
        frontend::execute("", 0, &mut self.output).map_err(unwritable)?;
        frontend::close(b'P', "", &mut self.output).map_err(unwritable)?;
        self.sync().await
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.output);
        let _ = self.stream.write_all(&self.output).await;
        let _ = self.stream.shutdown().await;
    }
}

/// What the server says about a type: `typtype`, and what it is made of, 0 for nothing.
struct Found {
    name: String,
    sort: char,
    array: u32,
    domain: u32,
    range: u32,
}

impl Found {
    fn read(row: &[Option<String>]) -> Option<(u32, Found)> {
        let text = |n: usize| row.get(n).and_then(Option::as_deref);
        let number = |n: usize| text(n)?.parse().ok();
        // Others have elements that can be written as if they were arrays, but are not arrays on the wire.
        let array = if text(3)? == "-1" { number(4)? } else { 0 };
        let sort = text(2)?.chars().next()?;
        Some((
            number(0)?,
            Found { name: text(1)?.into(), sort, array, domain: number(5)?, range: number(6)? },
        ))
    }
}

fn unknown_authentication(what: &str) -> Failure {
    let message =
        format!("db: the server wants authentication by {what}; there are passwords (SCRAM-SHA-256, MD5)");
    Failure { error: error(ErrorCode::Unsupported, message), broken: true }
}

/// COPY is refused; where data already comes, the connection is lost with it.
pub fn no_copy(broken: bool) -> Failure {
    let message = "db: COPY from or to the client is not supported; use db.batch and db.rows";
    Failure { error: error(ErrorCode::Unsupported, message), broken }
}
