//! `http.get(url)` over hyper's HTTP/1.1 client with kept connections: the stack, the settings and the response table
//! of Assay's `http`, without its grants and checks, TLS, redirects and decoding.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Version};
use hyper_util::rt::TokioIo;
use mlua::{Error, Lua, Result, Table};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 512;
const MAX_HEADER_BYTES: usize = 256 << 10;

/// Idle connections by authority.
type Pool = Rc<RefCell<HashMap<String, Vec<SendRequest<Empty<Bytes>>>>>>;

pub fn library(lua: &Lua) -> Result<Table> {
    let pool = Pool::default();
    let http = lua.create_table()?;
    let get = lua.create_async_function(move |lua, url: String| get(lua, pool.clone(), url))?;
    http.set("get", get)?;
    Ok(http)
}

struct Answer {
    status: u16,
    version: &'static str,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn get(lua: Lua, pool: Pool, url: String) -> Result<Table> {
    let started = Instant::now();
    let url = Url::parse(&url).map_err(Error::external)?;
    let answer = match tokio::time::timeout(TIMEOUT, exchange(&pool, &url)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(Error::runtime(format!("GET {url}: no response within 30 seconds"))),
    };
    respond(&lua, &url, answer, started)
}

async fn exchange(pool: &Pool, url: &Url) -> Result<Answer> {
    let host = url.host_str().ok_or_else(|| Error::runtime(format!("{url}: no host")))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let authority = format!("{host}:{port}");
    let kept = pool.borrow_mut().get_mut(&authority).and_then(Vec::pop);
    let mut sender = match kept {
        Some(sender) if !sender.is_closed() => sender,
        _ => connect(host, port).await?,
    };
    sender.ready().await.map_err(Error::external)?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() =
        url[url::Position::BeforePath..url::Position::AfterQuery].parse().map_err(Error::external)?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("assay/0.1.0"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
    headers.insert(HOST, HeaderValue::try_from(&authority).map_err(Error::external)?);
    let mut response = sender.send_request(request).await.map_err(Error::external)?;
    let mut body = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame.map_err(Error::external)?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    pool.borrow_mut().entry(authority).or_default().push(sender);
    let version = if response.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let status = response.status().as_u16();
    Ok(Answer { status, version, headers: std::mem::take(response.headers_mut()), body })
}

async fn connect(host: &str, port: u16) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect((host, port)).await.map_err(Error::external)?;
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::external)?;
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

fn respond(lua: &Lua, url: &Url, answer: Answer, started: Instant) -> Result<Table> {
    let list = lua.create_table_with_capacity(answer.headers.len(), 0)?;
    let joined = lua.create_table_with_capacity(0, answer.headers.len())?;
    for (name, value) in &answer.headers {
        let value = lua.create_string(value.as_bytes())?;
        let field = lua.create_table_with_capacity(0, 2)?;
        field.raw_set("name", name.as_str())?;
        field.raw_set("value", &value)?;
        list.raw_push(field)?;
        joined.raw_set(name.as_str(), value)?;
    }
    let response = lua.create_table_with_capacity(0, 8)?;
    response.raw_set("status", answer.status)?;
    response.raw_set("body", lua.create_string(&answer.body)?)?;
    response.raw_set("headers_list", list)?;
    response.raw_set("headers", joined)?;
    response.raw_set("url", url.as_str())?;
    response.raw_set("version", answer.version)?;
    response.raw_set("elapsed", started.elapsed().as_secs_f64())?;
    response.raw_set("redirects", 0)?;
    Ok(response)
}
