//! The calls of the guest.

use crate::bind::{self, Listener};
use crate::bindings::assay::host::listen::{
    self as wit, Batch, CloseReason, FileOptions, Flow, Message, Options, Received, Route, WebsocketOptions,
};
use crate::body::{self, Body};
use crate::exchange::{Exchange, Exchanges, Mailbox, Phase, Request, Rest};
use crate::files::{self, Asked};
use crate::headers;
use crate::log;
use crate::router::Router;
use crate::scope::Address;
use crate::server::{Pulled, Server};
use crate::settings::{Settings, invalid};
use crate::{tls, websocket};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{
    Ctx, HandleGuard, Hold, HostResult, Replicas, Run, Shutdown, error, lock, off_thread, random,
};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use wasmtime::component::{Accessor, HasSelf, Resource};

type Host = HasSelf<Ctx>;
type Outcome<T> = Result<T, Error>;

/// Instances of one server at most.
const MAX_INSTANCES: u32 = 64;
/// Bytes that one call reads of a body.
const MAX_READ: usize = 1 << 20;
/// For a WebSocket's close frame to leave when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// A server in the hands of one instance.
pub struct Instance {
    server: Arc<Server>,
    mailbox: Arc<Mailbox>,
    /// It was the first, which the others live and end with.
    first: bool,
    /// Listens on the instance's own thread.
    task: Option<AbortHandle>,
    _handle: Option<HandleGuard>,
    _hold: Option<Hold>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.leave(&self.mailbox);
        if self.first {
            self.server.stop(Some(Duration::ZERO));
        }
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The servers that the instances of a run share, by the address that the script names.
#[derive(Clone, Default)]
struct SharedServers {
    servers: Arc<Mutex<HashMap<String, Arc<Server>>>>,
    /// This is one of the further instances.
    replica: bool,
}

/// An error about an exchange that is over.
fn over() -> Error {
    error(ErrorCode::InvalidArgument, "the request was answered already")
}

fn router(routes: &[Route]) -> Outcome<Router> {
    let mut router = Router::default();
    for (index, route) in routes.iter().enumerate() {
        if Method::from_bytes(route.method.as_bytes()).is_err() {
            return Err(invalid(format!("'{}' is not a method", route.method.escape_debug())));
        }
        let index = u32::try_from(index).map_err(|_| invalid("there are too many routes"))?;
        router.add(&route.method, &route.path, index).map_err(invalid)?;
    }
    Ok(router)
}

/// A server that does not listen yet.
struct Bound {
    server: Arc<Server>,
    listener: Listener,
    tls: Option<TlsAcceptor>,
}

/// Everything that may block: the socket's file, those of TLS.
fn bind(run: &Arc<Run>, mut options: Options, routes: &[Route]) -> Outcome<Bound> {
    let settings = Settings::new(&options, run)?;
    if options.instances == 0 || options.instances > MAX_INSTANCES {
        return Err(invalid(format!("instances must be between 1 and {MAX_INSTANCES}")));
    }
    let router = router(routes)?;
    // The grant first: what is wrong with a certificate is nothing to one who may not listen.
    let (listener, address, file) = bind::bind(run, &options.address, options.port)?;
    let tls = options.tls.take().map(|tls| tls::acceptor(run, tls)).transpose()?;
    let server = Arc::new(Server::new(settings, router, run.clone(), address, file));
    Ok(Bound { server, listener, tls })
}

impl Bound {
    /// Listens, on this thread for one instance, for more on threads beside theirs. The task is this thread's.
    fn start(self, shutdown: &Shutdown, instances: u32) -> Outcome<(Arc<Server>, Option<AbortHandle>, Hold)> {
        let Bound { server, listener, tls } = self;
        let hold = shutdown.hold(server.settings.shutdown_timeout.saturating_add(GRACE));
        if instances == 1 {
            let task = server.listen_here(listener, tls, shutdown)?;
            return Ok((server, Some(task), hold));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        server.listen(listener, tls, shutdown, cores.min(instances as usize))?;
        Ok((server, None, hold))
    }
}

fn instance(access: &mut Ctx, instance: Instance) -> wasmtime::Result<Resource<Instance>> {
    Ok(access.table.push(instance)?)
}

impl wit::HostServer for Ctx {
    fn address(&mut self, this: Resource<Instance>) -> wasmtime::Result<String> {
        Ok(self.table.get(&this)?.server.address.to_string())
    }

    fn port(&mut self, this: Resource<Instance>) -> wasmtime::Result<u16> {
        Ok(match &self.table.get(&this)?.server.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(_) => 0,
        })
    }

    fn stop(&mut self, this: Resource<Instance>, within: Option<u64>) -> wasmtime::Result<()> {
        self.table.get(&this)?.server.stop(within.map(Duration::from_nanos));
        Ok(())
    }

    fn drop(&mut self, this: Resource<Instance>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::HostServerWithStore<Ctx> for Host {
    async fn accept(accessor: &Accessor<Ctx, Self>, this: Resource<Instance>, max: u32) -> HostResult<Batch> {
        let (server, mailbox) = accessor.with(|mut access| {
            let instance = access.get().table.get(&this)?;
            Ok::<_, wasmtime::Error>((instance.server.clone(), instance.mailbox.clone()))
        })?;
        let pulled = poll_fn(|context| server.poll_pull(context, &mailbox, max as usize)).await;
        let Pulled { requests, ended, open } = pulled;
        let exchanges = accessor.with(|mut access| {
            let exchanges = access.get().state::<Exchanges>();
            requests.into_iter().filter_map(|request| take(&server, &mailbox, exchanges, request)).collect()
        });
        Ok(Batch { exchanges, ended, open })
    }
}

/// Makes a request an exchange of this instance; none where nobody waits for it any more.
fn take(
    server: &Arc<Server>,
    mailbox: &Arc<Mailbox>,
    exchanges: &mut Exchanges,
    request: Request,
) -> Option<wit::Exchange> {
    let Request { parts, route, head, body, rest, upgrade, response_slot, counted, held: _held } = request;
    let more = rest.is_some();
    let id = exchanges.insert(Box::new(Exchange {
        server: server.clone(),
        parts,
        response_slot: response_slot.clone(),
        rest: rest.map_or(Rest::None, Rest::Some),
        upgrade,
        phase: Phase::Waiting,
        _counted: counted,
    }));
    if !response_slot.take_over(mailbox, id) {
        exchanges.remove(id);
        return None;
    }
    Some(wit::Exchange { id, route, head, body: body.into(), more })
}

/// Builds a response whose body has no special way.
fn response(status: StatusCode, fields: &[u8], body: Body) -> Outcome<Response<Body>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers::parse(fields)?;
    Ok(response)
}

impl wit::Host for Ctx {
    fn respond(&mut self, id: u64, status: u16, fields: Vec<u8>, body: Vec<u8>) -> HostResult<()> {
        Ok(respond(self, id, status, &fields, body)?)
    }

    fn begin(&mut self, id: u64, status: u16, fields: Vec<u8>, kind: Flow) -> HostResult<bool> {
        Ok(begin(self, id, status, &fields, kind)?)
    }

    fn finish(&mut self, id: u64, complete: bool) -> wasmtime::Result<()> {
        if let Some(mut exchange) = self.state::<Exchanges>().remove(id)
            && let Phase::Writing(writer) = std::mem::replace(&mut exchange.phase, Phase::Answered)
            && complete
        {
            writer.finish();
        }
        Ok(())
    }

    fn is_closed(&mut self, id: u64) -> HostResult<bool> {
        Ok(match self.state::<Exchanges>().get(id) {
            Some(Exchange { phase: Phase::Socket(socket), .. }) => socket.is_closed(),
            _ => true,
        })
    }

    fn is_closing(&mut self, id: u64) -> HostResult<bool> {
        let exchange = self.state::<Exchanges>().get(id);
        Ok(exchange.is_none_or(|exchange| exchange.server.is_stopping() || exchange.response_slot.is_over()))
    }

    fn fail(&mut self, id: u64, status: u16, reason: String) -> HostResult<Option<String>> {
        let clients = (400..500).contains(&status);
        let logged = || (!clients).then(random::name);
        let Some(mut exchange) = self.state::<Exchanges>().remove(id) else { return Ok(logged()) };
        if !matches!(exchange.phase, Phase::Waiting | Phase::Answering) {
            return Ok(logged());
        }
        exchange.phase = Phase::Answered;
        if let Rest::Refused(status, text) = exchange.rest {
            let _ = exchange.response_slot.answer(crate::connection::last(status, text));
            return Ok(None);
        }
        let number = logged();
        // A client that is gone does not get it; the log line is written all the same.
        let _ = exchange.response_slot.answer(failed(status, &reason, number.as_deref()));
        Ok(number)
    }

    fn release(&mut self, id: u64) -> wasmtime::Result<()> {
        self.state::<Exchanges>().remove(id);
        Ok(())
    }
}

/// Bytes of a reason that a client is told.
const MAX_REASON: usize = 200;

/// The response of a handler that failed, with the number of the log line where it is the server's fault.
fn failed(status: u16, reason: &str, number: Option<&str>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let what = status.canonical_reason().unwrap_or("error").to_ascii_lowercase();
    let text = match number {
        Some(number) => format!("{what} ({number})"),
        None => {
            let end = reason.floor_char_boundary(MAX_REASON);
            let shown: String = reason[..end].chars().filter(|c| !c.is_control()).collect();
            format!("{what}: {shown}")
        }
    };
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn respond(ctx: &mut Ctx, id: u64, status: u16, fields: &[u8], body: Vec<u8>) -> Outcome<()> {
    let status = headers::status(status)?;
    let body = match headers::has_body(status) {
        true => Body::from(body::counted(&ctx.run, body)?),
        false => Body::Empty,
    };
    let response = response(status, fields, body)?;
    let exchanges = ctx.state::<Exchanges>();
    if !matches!(exchanges.get(id), Some(Exchange { phase: Phase::Waiting, .. })) {
        return Err(over());
    }
    if let Some(mut exchange) = exchanges.remove(id) {
        exchange.phase = Phase::Answered;
        // A client that is gone gets nothing, which is no fault of the script's.
        let _ = exchange.response_slot.answer(response);
    }
    Ok(())
}

fn begin(ctx: &mut Ctx, id: u64, status: u16, fields: &[u8], kind: Flow) -> Outcome<bool> {
    let status = headers::status(status)?;
    let exchanges = ctx.state::<Exchanges>();
    let Some(exchange) = exchanges.get(id).filter(|exchange| matches!(exchange.phase, Phase::Waiting)) else {
        return Err(over());
    };
    let wanted = exchange.parts.method != Method::HEAD && headers::has_body(status);
    let mut response = response(status, fields, Body::Empty)?;
    let events = matches!(kind, Flow::Events);
    if events {
        let headers = response.headers_mut();
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/event-stream"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        // nginx would gather the events.
        headers.entry("x-accel-buffering").or_insert(HeaderValue::from_static("no"));
    }
    if !wanted {
        exchange.phase = Phase::Answered;
        let _ = exchange.response_slot.answer(response);
        exchanges.remove(id);
        return Ok(false);
    }
    let server = events.then(|| exchange.server.clone());
    let (writer, channel) = body::channel(server, exchange.response_slot.clone());
    *response.body_mut() = Body::Channel(Box::new(channel));
    exchange.phase = Phase::Writing(writer);
    let _ = exchange.response_slot.answer(response);
    Ok(true)
}

/// Changes an exchange; an error where it is over.
fn with<T>(
    accessor: &Accessor<Ctx, Host>,
    id: u64,
    f: impl FnOnce(&mut Exchange) -> Outcome<T>,
) -> Outcome<T> {
    accessor.with(|mut access| match access.get().state::<Exchanges>().get(id) {
        Some(exchange) => f(exchange),
        None => Err(over()),
    })
}

fn socket(accessor: &Accessor<Ctx, Host>, id: u64) -> Outcome<websocket::Socket> {
    with(accessor, id, |exchange| match &exchange.phase {
        Phase::Socket(socket) => Ok(socket.clone()),
        _ => Err(error(ErrorCode::InvalidArgument, "this is no WebSocket")),
    })
}

fn run(accessor: &Accessor<Ctx, Host>) -> Arc<Run> {
    accessor.with(|mut access| access.get().run.clone())
}

impl wit::HostWithStore<Ctx> for Host {
    async fn bind(
        accessor: &Accessor<Ctx, Self>,
        options: Options,
        routes: Vec<Route>,
    ) -> HostResult<Resource<Instance>> {
        let (run, shutdown, replicas, shared) = accessor.with(|mut access| {
            let ctx = access.get();
            let run = ctx.run.clone();
            let shutdown = ctx.service::<Shutdown>().map(|shutdown| (*shutdown).clone()).unwrap_or_default();
            (run, shutdown, ctx.service::<dyn Replicas>(), ctx.state::<SharedServers>().clone())
        });
        let key = format!("{} {}", options.address, options.port);
        if shared.replica {
            let server = lock(&shared.servers).get(&key).cloned();
            let Some(server) = server else {
                return Err(invalid(
                    "this instance of the script serves another address than the first one did",
                )
                .into());
            };
            if !server.router.has_routes(routes.iter().map(|route| (&*route.method, &*route.path))) {
                return Err(invalid(
                    "this instance of the script has other routes than the first one, or in another order",
                )
                .into());
            }
            let joined = Instance {
                server,
                mailbox: Arc::default(),
                first: false,
                task: None,
                _handle: None,
                _hold: None,
            };
            return Ok(accessor.with(|mut access| instance(access.get(), joined))?);
        }
        let handle = run.take_handle()?;
        let instances = options.instances;
        if instances > 1 && replicas.is_none() {
            return Err(error(
                ErrorCode::Unsupported,
                "http.serve: this program runs one instance of a script only; leave instances out",
            )
            .into());
        }
        let bound = off_thread(move || bind(&run, options, &routes)).await?;
        let (server, task, hold) = bound.start(&shutdown, instances)?;
        let first = Instance {
            server: server.clone(),
            mailbox: Arc::default(),
            first: true,
            task,
            _handle: Some(handle),
            _hold: Some(hold),
        };
        if let Some(replicas) = replicas.filter(|_| instances > 1) {
            lock(&shared.servers).insert(key, server);
            let shared = SharedServers { servers: shared.servers, replica: true };
            let prepare = Arc::new(move |ctx: &mut Ctx| ctx.set_state(shared.clone()));
            replicas.start(instances - 1, prepare)?;
        }
        Ok(accessor.with(|mut access| instance(access.get(), first))?)
    }

    async fn read(accessor: &Accessor<Ctx, Self>, id: u64, max: u32) -> HostResult<Option<Vec<u8>>> {
        let taken =
            with(accessor, id, |exchange| match std::mem::replace(&mut exchange.rest, Rest::Taken) {
                Rest::Some(upload) => Ok(Some(upload)),
                Rest::None => {
                    exchange.rest = Rest::None;
                    Ok(None)
                }
                other => {
                    exchange.rest = other;
                    Err(error(
                        ErrorCode::InvalidArgument,
                        "the request body is being read, or was broken off",
                    ))
                }
            })?;
        let Some(mut upload) = taken else { return Ok(None) };
        let run = run(accessor);
        let read = upload.read(&run, (max as usize).clamp(1, MAX_READ)).await;
        // An exchange that was answered meanwhile needs the rest no more.
        let _ = with(accessor, id, |exchange| {
            exchange.rest = match &read {
                Ok(Some(_)) => Rest::Some(upload),
                Ok(None) => Rest::None,
                Err(failure) => match failure.code {
                    ErrorCode::Limit => {
                        Rest::Refused(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large")
                    }
                    ErrorCode::Timeout => {
                        Rest::Refused(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time")
                    }
                    ErrorCode::Unavailable => {
                        Rest::Refused(StatusCode::BAD_REQUEST, "the request body is not complete")
                    }
                    _ => Rest::Taken,
                },
            };
            Ok(())
        });
        Ok(read?)
    }

    async fn write(accessor: &Accessor<Ctx, Self>, id: u64, data: Vec<u8>) -> HostResult<()> {
        let run = run(accessor);
        let writer = with(accessor, id, |exchange| match &exchange.phase {
            Phase::Writing(writer) => Ok(writer.clone()),
            _ => Err(over()),
        })?;
        Ok(writer.write(body::counted(&run, data)?).await?)
    }

    async fn send_file(
        accessor: &Accessor<Ctx, Self>,
        id: u64,
        status: u16,
        fields: Vec<u8>,
        root: String,
        path: String,
        options: FileOptions,
    ) -> HostResult<()> {
        let run = run(accessor);
        let (wanted, asked) = with(accessor, id, |exchange| {
            let cache_control = match options.cache_control.map(HeaderValue::try_from).transpose() {
                Ok(value) => value,
                Err(_) => {
                    return Err(error(ErrorCode::InvalidArgument, "cache_control is not a header value"));
                }
            };
            let wanted = files::Wanted {
                status: headers::status(status)?,
                root,
                path,
                index: options.index,
                dotfiles: options.dotfiles,
                cache_control,
                headers: headers::parse(&fields)?,
            };
            if !matches!(exchange.phase, Phase::Waiting) {
                return Err(over());
            }
            let asked = Asked {
                method: exchange.parts.method.clone(),
                path: exchange.parts.uri.path().to_string(),
                query: exchange.parts.uri.query().map(str::to_string),
                headers: exchange.parts.headers.clone(),
            };
            exchange.phase = Phase::Answering;
            Ok((wanted, asked))
        })?;
        let logged = run.clone();
        let made = off_thread(move || files::respond(&run, wanted, &asked)).await;
        // A link out of what was granted is the request's affair, not the script's: it is audited, and the others go on.
        let made = made.or_else(|failure| match failure.code {
            ErrorCode::Denied | ErrorCode::Permission => {
                log::warn(&logged, &failure.message);
                Ok(crate::connection::plain(StatusCode::FORBIDDEN, "forbidden"))
            }
            _ => Err(failure),
        });
        accessor.with(|mut access| {
            let exchanges = access.get().state::<Exchanges>();
            match made {
                Ok(response) => {
                    if let Some(mut exchange) = exchanges.remove(id) {
                        exchange.phase = Phase::Answered;
                        let _ = exchange.response_slot.answer(response);
                    }
                    Ok(())
                }
                Err(failure) => {
                    if let Some(exchange) = exchanges.get(id) {
                        exchange.phase = Phase::Waiting;
                    }
                    Err(failure.into())
                }
            }
        })
    }

    async fn upgrade(
        accessor: &Accessor<Ctx, Self>,
        id: u64,
        fields: Vec<u8>,
        options: WebsocketOptions,
    ) -> HostResult<Option<String>> {
        Ok(with(accessor, id, |exchange| upgrade(exchange, &fields, options))?)
    }

    async fn receive(accessor: &Accessor<Ctx, Self>, id: u64) -> HostResult<Received> {
        let run = run(accessor);
        let socket = socket(accessor, id)?;
        match socket.receive().await? {
            Err((code, reason)) => Ok(Received::Closed(CloseReason { code, reason })),
            Ok(websocket::Incoming { data, binary, held }) => {
                run.count_bytes(data.len())?;
                let data = accessor.with(|mut access| access.get().payload(data, Some(Arc::new(held))))?;
                Ok(Received::Message(wit::Incoming { data, binary }))
            }
        }
    }

    async fn send(accessor: &Accessor<Ctx, Self>, id: u64, message: Message) -> HostResult<()> {
        let run = run(accessor);
        let socket = socket(accessor, id)?;
        run.count_bytes(message.data.len())?;
        if !message.binary && std::str::from_utf8(&message.data).is_err() {
            let why = "a text message must be UTF-8; send it with binary = true";
            return Err(error(ErrorCode::InvalidData, why).into());
        }
        Ok(socket.send(message.data, message.binary).await?)
    }

    async fn close(accessor: &Accessor<Ctx, Self>, id: u64, reason: CloseReason) -> HostResult<()> {
        let socket = socket(accessor, id)?;
        // RFC 6455 7.4: what an endpoint may send, and what fits into a control frame.
        if !matches!(reason.code, 1000..=1003 | 1007..=1014 | 3000..=4999) || reason.reason.len() > 123 {
            return Err(error(
                ErrorCode::InvalidArgument,
                format!(
                    "a WebSocket cannot be closed with code {} and a reason of {} bytes; codes are 1000, 1001 to \
                     1003, 1007 to 1014 and 3000 to 4999, reasons have at most 123 bytes",
                    reason.code,
                    reason.reason.len()
                ),
            ).into());
        }
        socket.close(reason.code, reason.reason).await;
        Ok(())
    }
}

fn upgrade(exchange: &mut Exchange, fields: &[u8], options: WebsocketOptions) -> Outcome<Option<String>> {
    if !matches!(exchange.phase, Phase::Waiting) {
        return Err(over());
    }
    let wanted = websocket::Wanted {
        protocols: options.protocols,
        origins: options.origins,
        max_message: options.max_message,
        ping: (options.ping_interval > 0).then(|| Duration::from_nanos(options.ping_interval)),
    };
    let secure = exchange.upgrade.as_ref().is_some_and(|upgrade| upgrade.secure);
    let mut refuse = |(status, text): (StatusCode, &'static str)| {
        let mut response = crate::connection::plain(status, text);
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(http::header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        exchange.phase = Phase::Answered;
        let _ = exchange.response_slot.answer(response);
        Ok(None)
    };
    let handshake = match websocket::handshake(&exchange.parts, secure, &wanted) {
        Ok(handshake) => handshake,
        Err(refusal) => return refuse(refusal),
    };
    let mut given = headers::parse(fields)?;
    let Some(upgrade) = exchange.upgrade.take() else {
        return refuse((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket, over HTTP/1.1"));
    };
    given.extend(handshake.headers);
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = given;
    let (socket, task) = websocket::start(exchange.server.clone(), upgrade.ready, &wanted)?;
    *lock(&upgrade.after) = Some(Box::pin(task));
    exchange.phase = Phase::Socket(socket);
    let _ = exchange.response_slot.answer(response);
    Ok(Some(handshake.protocol.unwrap_or_default()))
}
