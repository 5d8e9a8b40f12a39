//! A server around the runtime that gives each request an instance of its own: what http.serve, with one instance for
//! all, is compared with.

use crate::instance::{limited_run, runner};
use crate::{Result, reactor};
use assay_capability_api::Output;
use assay_runner::{Ended, Input, RunSpec, Runner, Script};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tokio::task::LocalSet;

/// The argument that makes this program the server.
pub const SERVE: &str = "--serve-fresh";

const HELLO: &str = "io.write('Hello, world!')";
const ECHO: &str = "io.write(json.encode(json.parse(arg[1])))";
/// As many as http.serve has: one for its connections, one for Lua.
const THREADS: usize = 2;
/// Of each thread, at a time.
const INSTANCES: u32 = 512;

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    let failed = |error: std::io::Error| format!("cannot listen: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let runner = runner(INSTANCES * THREADS as u32)?;
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (listener, runner) = (listener.try_clone().map_err(failed)?, runner.clone());
        threads.push(std::thread::spawn(move || -> Result<()> {
            LocalSet::new().block_on(&reactor()?, accept(listener, runner)).map_err(failed)
        }));
    }
    println!("READY {port}");
    for thread in threads {
        thread.join().map_err(|_| "a thread of the server panicked")??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, runner: Runner) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let scripts = Scripts {
        hello: Script::named("=handler", "", HELLO.as_bytes()),
        echo: Script::named("=handler", "", ECHO.as_bytes()),
    };
    loop {
        let (stream, _) = listener.accept().await?;
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        let (runner, scripts) = (runner.clone(), scripts.clone());
        let service = service_fn(move |request| answer(runner.clone(), scripts.clone(), request));
        let connection =
            http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service);
        // A client that goes away is its own affair.
        tokio::task::spawn_local(async move { drop(connection.await) });
    }
}

/// What answers the requests; read once.
#[derive(Clone)]
struct Scripts {
    hello: Script,
    echo: Script,
}

async fn answer(
    runner: Runner,
    scripts: Scripts,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let (script, kind) = match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/") => (scripts.hello, "text/plain"),
        (&Method::POST, "/echo") => (scripts.echo, "application/json"),
        _ => return Ok(failure(StatusCode::NOT_FOUND, String::new())),
    };
    let body = body.collect().await?.to_bytes();
    let output = Collected::default();
    let sink = output.clone();
    let spec = RunSpec { output: Arc::new(move || Box::new(sink.clone())), ..RunSpec::new(limited_run()) };
    let outcome = runner.run(&script, Input::Arguments(vec![body.into()]), spec).await;
    if !matches!(outcome.ended, Ended::Returned(_)) {
        return Ok(failure(StatusCode::INTERNAL_SERVER_ERROR, format!("{:?}", outcome.ended)));
    }
    let mut response = Response::new(Full::new(output.take().into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn failure(status: StatusCode, why: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(why.into()));
    *response.status_mut() = status;
    response
}

/// What the script writes.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Output for Collected {
    fn write(&mut self, error: bool, data: &[u8]) -> std::io::Result<()> {
        if !error {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend_from_slice(data);
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<bool> {
        Ok(true)
    }
}
