//! `listen`: `http.serve` and `http.files`. Requests are pulled from the host in batches into a queue here, from
//! which worker coroutines take them; what a request and a response look like is in `listen.lua`.
//!
//! A worker handles one request after another without leaving Lua while its handlers do not wait. Only when
//! one waits does the next request get a worker of its own.

mod request;
mod socket;

use crate::call::{Call, Error, ITEM, Returned, failure, gather, keep, prelude, push_library};
use crate::host::listen::{self, Exchange, FileOptions, Flow, Options, Route};
use crate::host::types;
use crate::lua::Lua;
use crate::scheduler::{self, TaskState};
use crate::task::{self, Pending, wait, wait_on_tasks};
use crate::userdata::{Closable, Userdata};
use crate::{function, waiting};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_int;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Requests that are pulled at a time.
const BATCH: u32 = 64;
/// Workers that wait for a request; more end.
const SPARE: usize = 32;
/// Bytes of a request body that are read at a time.
const PIECE: u32 = 64 << 10;

pub fn register(lua: Lua) {
    push_library(
        lua,
        &[
            ("bind", waiting!(bind)),
            ("address", function!(address)),
            ("stop", function!(stop)),
            ("supervise", waiting!(supervise)),
            ("wait", waiting!(wait_for_request)),
            ("take", function!(take)),
            ("taken", function!(taken)),
            ("shed", function!(shed)),
            ("settle", waiting!(settle)),
            ("close", function!(close)),
            ("respond", function!(respond)),
            ("begin", function!(begin)),
            ("write", waiting!(write)),
            ("finish", function!(finish)),
            ("fail", function!(fail)),
            ("release", function!(release)),
            ("send_file", waiting!(send_file)),
            ("read", waiting!(read)),
            ("head", function!(request::head)),
            ("headers", function!(request::headers)),
            ("decode", function!(request::decode)),
            ("upgrade", waiting!(socket::upgrade)),
            ("receive", waiting!(socket::receive)),
            ("send", waiting!(socket::send)),
            ("close_socket", waiting!(socket::close)),
            ("is_closed", function!(socket::is_closed)),
            ("is_closing", function!(is_closing)),
            ("failure", function!(failure)),
            ("error", function!(log_error)),
            ("traceback", function!(crate::fault::traceback_here)),
            ("describe", function!(crate::fault::describe)),
        ],
    );
    lua.push_globals();
    lua.raw_get(-1, "http");
    lua.insert(-3);
    lua.pop(1);
    lua.insert(-2);
    lua.raw_set(-2, "http");
    // The first part adds to the natives what the second one uses.
    lua.push_copy(-1);
    prelude(lua, "listen", include_str!("listen/options.lua"));
    prelude(lua, "listen", include_str!("listen.lua"));
}

/// A worker that ended or waits for a request has no exchange.
struct Worker {
    task: Rc<TaskState>,
    exchange: Option<u64>,
    /// The request until it is in Lua: where memory runs out on the way, it must not be lost.
    request: Option<Box<Exchange>>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Exchange>,
    workers: Vec<Option<Worker>>,
    /// Workers that wait for a request.
    idle: Vec<(usize, Waker)>,
    /// Of the task that pulls, while it waits for a worker to begin.
    supervisor: Option<Waker>,
    /// The pull that is under way. It outlives the call that waits for it: a batch that is dropped is lost.
    accept: Option<Accept>,
    /// Of the call that waits for the workers to finish.
    settling: Option<Waker>,
    ended: bool,
}

type Accept = Pin<Box<dyn Future<Output = Result<listen::Batch, types::Error>>>>;

/// A server in the hands of a script.
struct Server {
    host: Closable<listen::Server>,
    queue: Rc<RefCell<Queue>>,
}

impl Userdata for Server {
    crate::named!(c"http.server");
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Ends it at once: handlers that are under way are cancelled.
    fn end(&self) {
        drop(self.host.take());
        let mut queue = self.queue.borrow_mut();
        queue.ended = true;
        let workers = std::mem::take(&mut queue.workers);
        let idle = std::mem::take(&mut queue.idle);
        queue.requests.clear();
        let accept = queue.accept.take();
        drop(queue);
        drop(accept);
        for worker in workers.into_iter().flatten().filter(|worker| worker.exchange.is_some()) {
            worker.task.cancel();
        }
        idle.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// `bind(options, routes)`: everything was checked by `listen.lua`.
fn bind(call: Call) -> Result<Pending, Error> {
    let (options, routes) = gather(call.lua(), || Ok((options(call)?, routes(call)?)))?;
    wait(async move {
        let server = listen::bind(options, routes).await?;
        Ok(task::handle(Server { host: Closable::new(server), queue: Rc::default() }))
    })
}

fn options(call: Call) -> Result<Options, Error> {
    let table = call.table(1)?;
    let number = |name: &str| Ok::<_, Error>(table.integer(name)?.unwrap_or(0));
    let small = |name: &str| Ok::<_, Error>(u32::try_from(number(name)?).unwrap_or(u32::MAX));
    let bytes = |name: &str| Ok::<_, Error>(u64::try_from(number(name)?).unwrap_or(0));
    let seconds = |name: &str| match table.number(name)? {
        None => Ok(0),
        Some(seconds) => crate::value::nanoseconds(seconds).ok_or_else(|| {
            Error::failed(
                crate::host::types::ErrorCode::InvalidArgument,
                format!("http.serve: field '{name}': {seconds} is not a number of seconds"),
            )
        }),
    };
    let pem = |name: &str| -> Result<Option<listen::Pem>, Error> {
        if let Some(text) = table.bytes(name)? {
            return Ok(Some(listen::Pem::Text(text)));
        }
        Ok(table.string(&format!("{name}_file"))?.map(listen::Pem::File))
    };
    let tls = match (pem("cert")?, pem("key")?) {
        (Some(certificate), Some(key)) => {
            Some(listen::Tls { certificate, key, client_authorities: pem("client_ca")? })
        }
        _ => None,
    };
    Ok(Options {
        address: table.string("addr")?.unwrap_or_default(),
        port: u16::try_from(number("port")?).unwrap_or(0),
        tls,
        instances: small("instances")?,
        max_body: bytes("max_body")?,
        max_header: small("max_header")?,
        max_connections: small("max_connections")?,
        max_requests: small("max_requests")?,
        header_timeout: seconds("header_timeout")?,
        body_timeout: seconds("body_timeout")?,
        timeout: seconds("timeout")?,
        shutdown_timeout: seconds("shutdown_timeout")?,
        access_log: table.boolean("access_log")?.unwrap_or(false),
    })
}

/// The list `{method, path, method, path, ...}`.
fn routes(call: Call) -> Result<Vec<Route>, Error> {
    let lua = call.lua();
    call.table(2)?;
    let item = |n: u64| {
        lua.raw_get_index(2, n as i64);
        keep(lua, ITEM + lua.raw_len(-1) as usize)?;
        let text = lua.bytes(-1).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_string);
        lua.pop(1);
        text.ok_or_else(|| Error::Argument(2, "the routes must be UTF-8".into()))
    };
    (0..lua.raw_len(2) / 2).map(|n| Ok(Route { method: item(2 * n + 1)?, path: item(2 * n + 2)? })).collect()
}

fn host(call: Call) -> Result<Rc<listen::Server>, Error> {
    call.userdata::<Server>(1)?.host.get().ok_or_else(|| Error::Plain("the server has stopped".into()))
}

/// `address(server)` gives the address as text, and the port.
fn address(call: Call) -> Returned {
    let server = host(call)?;
    call.lua().push_str(&server.address());
    call.lua().push_integer(server.port().into());
    Ok(2)
}

/// `stop(server, seconds)`: what is under way may end within that time.
fn stop(call: Call) -> Returned {
    let within = match call.is_nil(2) {
        true => None,
        false => crate::value::nanoseconds(call.number(2)?),
    };
    if let Some(server) = call.userdata::<Server>(1)?.host.get() {
        server.stop(within);
    }
    Ok(0)
}

/// `close(server)` ends it at once.
fn close(call: Call) -> Returned {
    call.userdata::<Server>(1)?.end();
    Ok(0)
}

/// `is_closing(id)`: whether the server stops or the client is gone.
fn is_closing(call: Call) -> Returned {
    let closing = listen::is_closing(call.integer(1)?.cast_unsigned())?;
    call.lua().push_bool(closing);
    Ok(1)
}

async fn pull(server: Rc<listen::Server>) -> Result<listen::Batch, types::Error> {
    server.accept(BATCH).await
}

/// What the supervisor must do in Lua.
enum Step {
    Spawn,
    Ended,
}

/// `supervise(server, worker)` pulls requests for the workers, and starts workers that run `worker(server, slot)`.
/// Returns true when it started one and must be called again, false when the server has stopped.
fn supervise(call: Call) -> Result<Pending, Error> {
    let server = host(call)?;
    call.function(2)?;
    let queue = call.userdata::<Server>(1)?.queue.clone();
    wait(async move {
        let step = supervised(&queue, &server).await?;
        Ok(move |call: Call| match step {
            Step::Ended => {
                call.lua().push_bool(false);
                Ok(1)
            }
            Step::Spawn => {
                start_worker(call.lua(), &queue);
                call.lua().push_bool(true);
                Ok(1)
            }
        })
    })
}

fn start_worker(lua: Lua, queue: &RefCell<Queue>) {
    let slot = {
        let queue = queue.borrow();
        queue.workers.iter().position(Option::is_none).unwrap_or(queue.workers.len())
    };
    lua.push_copy(2);
    lua.push_copy(1);
    lua.push_integer(slot as i64);
    let task = scheduler::start(lua, 2);
    let worker = Some(Worker { task, exchange: None, request: None });
    let mut queue = queue.borrow_mut();
    match queue.workers.get_mut(slot) {
        Some(free) => *free = worker,
        None => queue.workers.push(worker),
    }
}

/// Nothing is pulled while requests wait here for a worker: by the time that they are answered more have
/// come, and the next pull has them all at once.
async fn supervised(queue: &RefCell<Queue>, server: &Rc<listen::Server>) -> Result<Step, types::Error> {
    poll_fn(|context| {
        loop {
            let mut held = queue.borrow_mut();
            if !held.requests.is_empty() {
                let Some((_, waker)) = held.idle.pop() else { return Poll::Ready(Ok(Step::Spawn)) };
                held.supervisor = Some(context.waker().clone());
                drop(held);
                waker.wake();
                return Poll::Pending;
            }
            let mut accept = held.accept.take().unwrap_or_else(|| Box::pin(pull(server.clone())));
            drop(held);
            match accept.as_mut().poll(context) {
                Poll::Pending => {
                    queue.borrow_mut().accept = Some(accept);
                    return Poll::Pending;
                }
                Poll::Ready(Err(refused)) => return Poll::Ready(Err(refused)),
                Poll::Ready(Ok(batch)) => {
                    let open = batch.open;
                    receive(queue, batch);
                    if !open {
                        return Poll::Ready(Ok(Step::Ended));
                    }
                }
            }
        }
    })
    .await
}

/// Takes a batch; handlers whose exchange is over are cancelled.
fn receive(queue: &RefCell<Queue>, batch: listen::Batch) {
    let mut queue = queue.borrow_mut();
    queue.requests.extend(batch.exchanges);
    for id in batch.ended {
        queue.requests.retain(|request| request.id != id);
        let worker = queue
            .workers
            .iter_mut()
            .find(|worker| worker.as_ref().is_some_and(|worker| worker.exchange == Some(id)));
        if let Some(worker) = worker.and_then(Option::take) {
            worker.task.cancel();
        }
        listen::release(id);
    }
}

/// `take(server, slot)` gives the next request without waiting: its number, route, head, body, and whether the
/// body is still to be read. Nothing where no request waits.
fn take(call: Call) -> Returned {
    let slot = slot(call)?;
    let mut queue = call.userdata::<Server>(1)?.queue.borrow_mut();
    if let Some(waker) = queue.supervisor.take() {
        waker.wake();
    }
    let Some(request) = queue.requests.pop_front() else { return Ok(0) };
    let request = Box::new(request);
    let pushed: *const Exchange = &raw const *request;
    let Some(Some(worker)) = queue.workers.get_mut(slot) else {
        queue.requests.push_front(*request);
        return Ok(0);
    };
    worker.exchange = Some(request.id);
    worker.request = Some(request);
    drop(queue);
    // SAFETY: the box stays where it is until `forget` below or `taken`, which a worker calls after this.
    let request = unsafe { &*pushed };
    let lua = call.lua();
    lua.push_integer(request.id.cast_signed());
    lua.push_integer(i64::from(request.route) + 1);
    lua.push_bytes(&request.head);
    lua.push_bytes(&request.body);
    lua.push_bool(request.more);
    forget(call, slot)?;
    Ok(5)
}

/// Frees the request of a worker.
fn forget(call: Call, slot: usize) -> Result<(), Error> {
    let mut queue = call.userdata::<Server>(1)?.queue.borrow_mut();
    if let Some(Some(worker)) = queue.workers.get_mut(slot) {
        worker.request = None;
    }
    Ok(())
}

/// `taken(server, slot)` gives the number of the request that the worker could not handle, or nil; it has none then.
fn taken(call: Call) -> Returned {
    let slot = slot(call)?;
    forget(call, slot)?;
    let mut queue = call.userdata::<Server>(1)?.queue.borrow_mut();
    let id = queue.workers.get_mut(slot).and_then(Option::as_mut).and_then(|worker| worker.exchange.take());
    drop(queue);
    match id {
        Some(id) => call.lua().push_integer(id.cast_signed()),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

/// `shed(server)` answers the requests for which there is no memory.
fn shed(call: Call) -> Returned {
    let requests = std::mem::take(&mut call.userdata::<Server>(1)?.queue.borrow_mut().requests);
    for request in requests {
        // Who is no longer answered has no answer to miss.
        let _ = listen::fail(request.id, 503, "");
    }
    Ok(0)
}

fn slot(call: Call) -> Result<usize, Error> {
    usize::try_from(call.integer(2)?).map_err(|_| Error::Argument(2, "no slot".into()))
}

/// `wait(server, slot)` waits until there is a request; false when the worker is to end.
fn wait_for_request(call: Call) -> Result<Pending, Error> {
    let slot = slot(call)?;
    let queue = call.userdata::<Server>(1)?.queue.clone();
    wait_on_tasks(async move {
        let go_on = poll_fn(|context| poll_request(&mut queue.borrow_mut(), slot, context.waker())).await;
        Ok(move |call: Call| {
            call.lua().push_bool(go_on);
            Ok(1)
        })
    })
}

fn poll_request(queue: &mut Queue, slot: usize, waker: &Waker) -> Poll<bool> {
    if let Some(Some(worker)) = queue.workers.get_mut(slot)
        && worker.exchange.take().is_some()
        && let Some(waker) = queue.settling.take()
    {
        waker.wake();
    }
    if !queue.requests.is_empty() {
        return Poll::Ready(true);
    }
    queue.idle.retain(|(other, _)| *other != slot);
    if queue.ended || queue.idle.len() >= SPARE {
        if let Some(worker) = queue.workers.get_mut(slot) {
            *worker = None;
        }
        return Poll::Ready(false);
    }
    queue.idle.push((slot, waker.clone()));
    Poll::Pending
}

/// `settle(server)` waits until no handler runs.
fn settle(call: Call) -> Result<Pending, Error> {
    let queue = call.userdata::<Server>(1)?.queue.clone();
    wait_on_tasks(async move {
        poll_fn(|context| {
            let mut queue = queue.borrow_mut();
            let busy = |worker: &Worker| worker.exchange.is_some() && !worker.task.is_done();
            if !queue.workers.iter().flatten().any(busy) {
                return Poll::Ready(());
            }
            queue.settling = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(|_: Call| Ok(0))
    })
}

fn id(call: Call) -> Result<u64, Error> {
    Ok(call.integer(1)?.cast_unsigned())
}

fn status(call: Call) -> Result<u16, Error> {
    let number = call.integer(2)?;
    u16::try_from(number).map_err(|_| {
        let message = format!("{number} is not the status of a response; it must be between 200 and 599");
        Error::failed(crate::host::types::ErrorCode::InvalidArgument, message)
    })
}

/// `respond(id, status, headers, type, body)`: `headers` is a table or nil, `type` the content type where they
/// name none.
fn respond(call: Call) -> Returned {
    let fields = request::fields(call, 3, call.opt_bytes(4)?)?;
    listen::respond(id(call)?, status(call)?, &fields, call.bytes(5)?)?;
    Ok(0)
}

/// `begin(id, status, headers, type, events)` gives whether a body is wanted.
fn begin(call: Call) -> Returned {
    let fields = request::fields(call, 3, call.opt_bytes(4)?)?;
    let kind = if call.lua().boolean(5) { Flow::Events } else { Flow::Stream };
    let wanted = listen::begin(id(call)?, status(call)?, &fields, kind)?;
    call.lua().push_bool(wanted);
    Ok(1)
}

/// `write(id, data)`.
fn write(call: Call) -> Result<Pending, Error> {
    let (id, data) = (id(call)?, call.owned(2)?);
    wait(async move {
        listen::write(id, data).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `finish(id, complete)`.
fn finish(call: Call) -> Returned {
    listen::finish(id(call)?, call.lua().boolean(2));
    Ok(0)
}

/// `fail(id, status, reason)` gives the number that the client was told, or nil.
fn fail(call: Call) -> Returned {
    let reason = String::from_utf8_lossy(call.opt_bytes(3)?.unwrap_or_default());
    match listen::fail(id(call)?, status(call)?, &reason)? {
        Some(number) => call.lua().push_str(&number),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

fn release(call: Call) -> Returned {
    listen::release(id(call)?);
    Ok(0)
}

/// `send_file(id, status, headers, root, path, options)`.
fn send_file(call: Call) -> Result<Pending, Error> {
    let fields = request::fields(call, 3, None)?;
    let (id, status) = (id(call)?, status(call)?);
    let (root, path) = (call.string(4)?, call.string(5)?);
    let options = match call.opt_options(6, &["index", "dotfiles", "cache_control"])? {
        None => FileOptions { index: None, dotfiles: false, cache_control: None },
        Some(options) => FileOptions {
            index: options.string("index")?,
            dotfiles: options.boolean("dotfiles")?.unwrap_or(false),
            cache_control: options.string("cache_control")?,
        },
    };
    wait(async move {
        listen::send_file(id, status, fields, root, path, options).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `read(id)` gives the next bytes of the request body, or nil.
fn read(call: Call) -> Result<Pending, Error> {
    let id = id(call)?;
    wait(async move {
        let data = listen::read(id, PIECE).await?;
        Ok(move |call: Call| {
            match &data {
                Some(data) => call.lua().push_bytes(data),
                None => call.lua().push_nil(),
            }
            Ok(1)
        })
    })
}

/// `error(message, number, traceback)` writes a log line.
fn log_error(call: Call) -> Returned {
    let text =
        |index: c_int| String::from_utf8_lossy(call.opt_bytes(index).ok().flatten().unwrap_or_default());
    let mut fields = String::from("{\"id\":");
    crate::bindings::json::quote(&mut fields, &text(2));
    fields.push_str(",\"traceback\":");
    crate::bindings::json::quote(&mut fields, &text(3));
    fields.push('}');
    crate::host::log::write(crate::host::log::Level::Error, &text(1), &fields);
    Ok(0)
}
