//! `http.serve(port, routes, options)` over hyper: the stack, the settings and the threads of Assay's `http.serve`, without its
//! grants, patterns in routes, limits, and bodies in pieces.
//!
//! With the global `ONE_THREAD` all of it is on the thread of Lua, as in Assay. Without it connections are on a thread of their
//! own and hand what they read to that of Lua.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mlua::{
    Error, Function, Lua, LuaString, MetaMethod, Result, Table, UserData, UserDataFields, UserDataMethods,
    Value,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

const TIMEOUT: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 100;

type Answer = Response<Full<Bytes>>;

/// A request on its way to the thread of Lua.
struct Asked {
    parts: Parts,
    body: Bytes,
    answer: oneshot::Sender<Answer>,
}

/// Where requests are answered.
#[derive(Clone)]
enum Dispatch {
    Here(Rc<Handlers>),
    There(mpsc::UnboundedSender<Asked>),
}

/// The functions of a script, by method and path.
struct Handlers {
    routes: HashMap<String, HashMap<String, Function>>,
    encode: Function,
}

pub async fn serve(
    lua: Lua,
    (port, routes, options): (u16, HashMap<String, HashMap<String, Function>>, Table),
) -> Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let json: Table = lua.globals().get("json")?;
    let handlers = Rc::new(Handlers { routes, encode: json.get("encode")? });
    if let Some(ready) = options.get::<Option<Function>>("on_listen")? {
        let server = lua.create_table()?;
        server.set("port", port)?;
        ready.call_async::<()>(server).await?;
    }
    if lua.globals().get::<bool>("ONE_THREAD")? {
        return Ok(accept(listener, Dispatch::Here(handlers)).await?);
    }
    let (sender, mut asked) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = reactor.and_then(|reactor| {
            LocalSet::new().block_on(&reactor, accept(listener, Dispatch::There(sender)))
        });
        if let Err(error) = ended {
            eprintln!("assay-bench-native: cannot listen: {error}");
        }
    });
    while let Some(Asked { parts, body, answer }) = asked.recv().await {
        let handlers = handlers.clone();
        spawn_local(async move {
            // A client that is gone gets nothing.
            let _ = answer.send(handlers.answer(parts, body).await);
        });
    }
    Ok(())
}

async fn accept(listener: std::net::TcpListener, dispatch: Dispatch) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        let dispatch = dispatch.clone();
        let service = service_fn(move |request| dispatch.clone().answer(request));
        let connection = Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service);
        spawn_local(async move { drop(connection.await) });
    }
}

impl Dispatch {
    async fn answer(self, request: Request<Incoming>) -> std::result::Result<Answer, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let answered = tokio::time::timeout(TIMEOUT, async {
            match self {
                Dispatch::Here(handlers) => Some(handlers.answer(parts, body).await),
                Dispatch::There(sender) => {
                    let (answer, answered) = oneshot::channel();
                    sender.send(Asked { parts, body, answer }).ok()?;
                    answered.await.ok()
                }
            }
        });
        Ok(match answered.await {
            Ok(Some(answer)) => answer,
            _ => plain(StatusCode::SERVICE_UNAVAILABLE),
        })
    }
}

fn plain(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from_static(b"error")));
    *response.status_mut() = status;
    response
}

impl Handlers {
    async fn answer(&self, parts: Parts, body: Bytes) -> Answer {
        let handler = self.routes.get(parts.method.as_str()).and_then(|paths| paths.get(parts.uri.path()));
        let Some(handler) = handler else { return plain(StatusCode::NOT_FOUND) };
        let response = match handler.call_async::<Value>(Req { parts, body }).await {
            Ok(value) => self.response(value),
            Err(error) => Err(error),
        };
        response.unwrap_or_else(|error| {
            eprintln!("assay-bench-native: {error}");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    fn response(&self, value: Value) -> Result<Answer> {
        let table = match value {
            Value::Table(table) => table,
            Value::String(text) => {
                return Ok(answer(200, "text/plain", Bytes::copy_from_slice(&text.as_bytes())));
            }
            _ => return Err(Error::runtime("the handler returned no response")),
        };
        let status = table.get::<Option<u16>>("status")?.unwrap_or(200);
        let mut response = match table.get::<Value>("json")? {
            Value::Nil => {
                let body: Option<LuaString> = table.get("body")?;
                let body = body.map(|body| Bytes::copy_from_slice(&body.as_bytes())).unwrap_or_default();
                answer(status, "text/plain", body)
            }
            value => {
                let text: LuaString = self.encode.call(value)?;
                answer(status, "application/json", Bytes::copy_from_slice(&text.as_bytes()))
            }
        };
        if let Some(headers) = table.get::<Option<Table>>("headers")? {
            for pair in headers.pairs::<String, String>() {
                let (name, value) = pair?;
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(Error::external)?;
                response.headers_mut().insert(name, HeaderValue::try_from(value).map_err(Error::external)?);
            }
        }
        Ok(response)
    }
}

fn answer(status: u16, kind: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What a handler gets.
struct Req {
    parts: Parts,
    body: Bytes,
}

impl UserData for Req {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("method", |lua, req| lua.create_string(req.parts.method.as_str()));
        fields.add_field_method_get("path", |lua, req| lua.create_string(req.parts.uri.path()));
        fields.add_field_method_get("query", |lua, req| {
            lua.create_string(req.parts.uri.query().unwrap_or_default())
        });
        fields.add_field_method_get("body", |lua, req| lua.create_string(&req.body));
        fields.add_field_method_get("headers", |lua, req| {
            let headers = lua.create_table()?;
            for (name, value) in &req.parts.headers {
                headers.raw_set(name.as_str(), lua.create_string(value.as_bytes())?)?;
            }
            Ok(headers)
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("json", |lua, req, ()| {
            let json: Table = lua.globals().get("json")?;
            let parse: Function = json.get("parse")?;
            parse.call::<Value>(lua.create_string(&req.body)?)
        });
        methods.add_meta_method(MetaMethod::ToString, |_, req, ()| {
            Ok(format!("{} {}", req.parts.method, req.parts.uri))
        });
    }
}
