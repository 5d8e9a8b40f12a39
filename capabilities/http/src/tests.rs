//! Against the servers of `tests/servers`: what needs a real other side. The rest of the behaviour is
//! tested through the executable, in `tests/capability/http.lua` and `tests/sandbox/http.lua`.

use crate::bindings::assay::host::http::{
    ClientIdentity, FileOptions, Header, Pem, Request, RequestBody, Step, Want,
};
use crate::dial::{Dial, Settings, dial};
use crate::download::{Download, Started};
use crate::exchange::{Answer, perform};
use crate::pool::Pool;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Capability, Counter, Limits, Policy, Run, RunState, policy};
use assay_capability_net::Trust;
use assay_capability_net::tls::{self, Check, Rules};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

struct Server {
    values: HashMap<String, String>,
    _child: Child,
}

/// A server shared by the tests of this process; none where its program is not installed.
fn server(name: &str) -> Option<&'static Server> {
    static HTTP: OnceLock<Option<Server>> = OnceLock::new();
    static NGINX: OnceLock<Option<Server>> = OnceLock::new();
    let slot = if name == "http" { &HTTP } else { &NGINX };
    slot.get_or_init(|| {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/servers/{name}_server.py"));
        let mut child = Command::new("timeout")
            .args(["120", "python3", "-u"])
            .arg(script)
            .arg(directory(name))
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
        let values = line
            .strip_prefix("READY")?
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Some(Server { values, _child: child })
    })
    .as_ref()
}

fn directory(name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("assay-http-{name}-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn value(name: &str) -> String {
    server("http").expect("python3 and openssl").values[name].clone()
}

fn url(port: &str, path: &str) -> String {
    let scheme = if matches!(port, "http_port" | "closed_port") { "http" } else { "https" };
    format!("{scheme}://127.0.0.1:{}{path}", value(port))
}

fn run_with(rules: &[&str], directory: &Path, limits: Limits) -> Arc<Run> {
    let capabilities: [&'static dyn Capability; 2] = [&crate::Http, &assay_capability_fs::Fs];
    let mut grants = Policy::default();
    for rule in rules {
        match *rule {
            "all" => grants.allow_all(),
            rule => grants.allow(policy::parse(rule, directory, &capabilities).unwrap()),
        }
    }
    Arc::new(RunState { limits, ..RunState::new(grants, directory.to_path_buf()) }.into())
}

fn run(rules: &[&str]) -> Arc<Run> {
    run_with(rules, Path::new("/"), Limits::default())
}

fn get(url: impl Into<String>) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        headers: vec![],
        body: RequestBody::None,
        basic_auth: None,
        want: Want::Whole,
        decode: true,
        timeout: 10_000_000_000,
        response_timeout: 0,
        connect_timeout: 5_000_000_000,
        max_redirects: 10,
        max_body: 0,
        authorities: None,
        identity: None,
        fingerprints: vec![],
        proxy: None,
    }
}

async fn text(answer: Answer) -> Result<String, Error> {
    let mut body = answer.body;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn fetch(run: &Arc<Run>, pool: &Pool, request: Request) -> Result<(u16, String), Error> {
    let answer = perform(run.clone(), pool.clone(), request).await?;
    Ok((answer.status, text(answer).await?))
}

fn trusting(mut request: Request) -> Request {
    request.authorities = Some(Pem::File(value("ca")));
    request
}

#[tokio::test]
async fn connections_are_kept_and_lost_ones_replaced() {
    let (run, pool) = (run(&["all"]), Pool::default());
    let first = fetch(&run, &pool, get(url("http_port", "/connection"))).await.unwrap().1;
    let second = fetch(&run, &pool, get(url("http_port", "/connection"))).await.unwrap().1;
    assert_eq!(first.replace("\"request\": 1", "\"request\": 2"), second);
    for _ in 0..5 {
        assert_eq!(fetch(&run, &pool, get(url("http_port", "/vanish"))).await.unwrap().0, 200);
    }
    for path in ["/encoded/gzip", "/encoded/br", "/encoded/zstd", "/encoded/twice", "/chunked", "/redirect/2"]
    {
        let before = fetch(&run, &pool, get(url("http_port", "/connection"))).await.unwrap().1;
        fetch(&run, &pool, get(url("http_port", path))).await.unwrap();
        let after = fetch(&run, &pool, get(url("http_port", "/connection"))).await.unwrap().1;
        let connection = |text: &str| text.split(',').next().unwrap().to_string();
        assert_eq!(connection(&before), connection(&after), "{path}");
    }
}

#[tokio::test]
async fn every_coding_is_decoded() {
    let (run, pool) = (run(&["all"]), Pool::default());
    for coding in ["gzip", "gzip-members", "deflate", "deflate-bare", "br", "zstd", "twice"] {
        let answer = fetch(&run, &pool, get(url("http_port", &format!("/encoded/{coding}")))).await.unwrap();
        assert_eq!(answer.1, "the quick brown fox jumps over the lazy dog", "{coding}");
    }
    for coding in ["gzip-broken", "gzip-garbage"] {
        let failure =
            fetch(&run, &pool, get(url("http_port", &format!("/encoded/{coding}")))).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidData, "{coding}: {}", failure.message);
    }
    assert_eq!(fetch(&run, &pool, get(url("http_port", "/encoded-empty"))).await.unwrap().1, "");
    let mut bomb = get(url("http_port", "/bomb/100"));
    bomb.max_body = 1 << 20;
    assert_eq!(fetch(&run, &pool, bomb).await.unwrap_err().code, ErrorCode::Limit);
}

#[tokio::test]
async fn each_failure_has_its_code() {
    let (run, pool) = (run(&["all"]), Pool::default());
    for (port, path, code, part) in [
        ("closed_port", "/", ErrorCode::Unavailable, "cannot connect to 127.0.0.1"),
        ("http_port", "/truncated", ErrorCode::Unavailable, "closed the connection"),
        ("http_port", "/truncated-chunks", ErrorCode::Unavailable, "closed the connection"),
        ("http_port", "/nothing", ErrorCode::Unavailable, "closed the connection"),
        ("http_port", "/garbage", ErrorCode::InvalidData, "not HTTP"),
        ("http_port", "/headers/2000", ErrorCode::Limit, "header fields"),
        ("http_port", "/headers/90?size=4000", ErrorCode::Limit, "header fields"),
        ("https_port", "/", ErrorCode::InvalidData, "not trusted"),
    ] {
        let failure = fetch(&run, &pool, get(url(port, path))).await.unwrap_err();
        assert_eq!(failure.code, code, "{path}: {}", failure.message);
        assert!(failure.message.contains(part), "{path}: {}", failure.message);
    }
    let failure = fetch(&run, &pool, get("http://no-such-name.invalid/")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(failure.message.contains("does not resolve"), "{}", failure.message);
    for path in ["/slow?ms=5000", "/drip?n=50&ms=100"] {
        let mut request = get(url("http_port", path));
        request.timeout = 200_000_000;
        let started = Instant::now();
        let failure = fetch(&run, &pool, request).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Timeout, "{path}: {}", failure.message);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn certificates_are_checked() {
    let (run, pool) = (run(&["all"]), Pool::default());
    assert_eq!(fetch(&run, &pool, trusting(get(url("https_port", "/hello")))).await.unwrap().1, "hello");
    for (port, part) in [
        ("expired_port", "expired"),
        ("wrong_name_port", "another name"),
        ("mtls_port", "client certificate"),
    ] {
        let failure = fetch(&run, &pool, trusting(get(url(port, "/hello")))).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidData, "{port}: {}", failure.message);
        assert!(failure.message.contains(part), "{port}: {}", failure.message);
    }
    let mut request = trusting(get(url("mtls_port", "/hello")));
    request.identity = Some(ClientIdentity {
        certificate: Pem::File(value("client_cert")),
        key: Pem::File(value("client_key")),
    });
    assert_eq!(fetch(&run, &pool, request).await.unwrap().1, "hello");
    let mut other = get(url("https_port", "/hello"));
    other.authorities = Some(Pem::File(value("other_ca")));
    // The connection that was made under the right authority is not used for this one.
    assert_eq!(fetch(&run, &pool, other).await.unwrap_err().code, ErrorCode::InvalidData);
}

/// Requests have one rule for certificates; databases have others, which the one verifier knows too.
#[tokio::test]
async fn the_verifier_knows_every_rule() {
    let run = run(&["all"]);
    for (port, host, authority, check, trusted) in [
        ("https_port", "localhost", Some("ca"), Check::Name, true),
        ("https_port", "localhost", Some("other_ca"), Check::Name, false),
        ("https_port", "localhost", Some("other_ca"), Check::Authority, false),
        ("https_port", "localhost", None, Check::Nothing, true),
        ("expired_port", "localhost", Some("ca"), Check::Authority, false),
        ("expired_port", "localhost", None, Check::Nothing, true),
        ("wrong_name_port", "localhost", Some("ca"), Check::Name, false),
        ("wrong_name_port", "localhost", Some("ca"), Check::Authority, true),
        ("wrong_name_port", "localhost", Some("other_ca"), Check::Authority, false),
        // One that is its own authority, which OpenSSL makes by default, for the server that has it.
        ("self_signed_port", "localhost", Some("self_signed"), Check::Name, true),
        ("self_signed_port", "127.0.0.1", Some("self_signed"), Check::Name, false),
        ("self_signed_port", "127.0.0.1", Some("self_signed"), Check::Authority, true),
        ("self_signed_port", "localhost", Some("ca"), Check::Authority, false),
    ] {
        let authority = authority.map(|name| assay_capability_net::Pem::File(value(name)));
        let trust = Trust::load(&run, authority, None, &[]).await.unwrap();
        let rules = Rules { check, system_too: true, ..Rules::default() };
        let config = Arc::new(tls::config(&trust, &rules).await.unwrap());
        let stream = TcpStream::connect(format!("127.0.0.1:{}", value(port))).await.unwrap();
        let shaken = tls::connect(stream, config, host).await;
        assert_eq!(shaken.is_ok(), trusted, "{port} as {host}, {check:?}: {:?}", shaken.err());
    }
}

#[tokio::test]
async fn redirects_are_checked_hop_by_hop() {
    let place = format!("http=127.0.0.1:{}", value("http_port"));
    let (run, pool) = (run(&[&place]), Pool::default());
    let to = |target: &str| get(url("http_port", &format!("/redirect-to?url={target}")));
    assert_eq!(fetch(&run, &pool, to("/hello")).await.unwrap().1, "hello");
    for target in [
        format!("http://localhost:{}/hello", value("http_port")),
        format!("http://127.0.0.1:{}/hello", value("proxy_port")),
        format!("http://[::1]:{}/hello", value("http_port")),
        "http://169.254.169.254/latest/meta-data/".to_string(),
    ] {
        let failure = fetch(&run, &pool, to(&target)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Denied, "{target}: {}", failure.message);
        assert!(failure.message.contains("--allow 'http=GET:"), "{}", failure.message);
    }
    let failure = fetch(&run, &pool, get(url("http_port", "/redirect/11"))).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Limit);
    assert_eq!(fetch(&run, &pool, get(url("http_port", "/redirect/10"))).await.unwrap().0, 200);
    let all = self::run(&["all"]);
    let metadata = fetch(&all, &pool, to("http://169.254.169.254/")).await.unwrap_err();
    assert_eq!(metadata.code, ErrorCode::Denied);
    let down = trusting(get(url("https_port", &format!("/redirect-to?url={}", url("http_port", "/hello")))));
    assert_eq!(fetch(&all, &pool, down.clone()).await.unwrap_err().code, ErrorCode::Denied);
    let scheme = format!("http=http://127.0.0.1:{}", value("http_port"));
    assert_eq!(fetch(&self::run(&["all", &scheme]), &pool, down).await.unwrap().1, "hello");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let (run, pool) = (run(&["all"]), Pool::default());
    let elsewhere = format!("http://localhost:{}/echo", value("http_port"));
    let mut request = get(url("http_port", &format!("/redirect-to?url={elsewhere}")));
    request.headers = ["authorization", "cookie", "x-api-key", "x-other"]
        .map(|name| Header { name: name.into(), value: b"kept-secret".to_vec() })
        .into();
    let echo = fetch(&run, &pool, request).await.unwrap().1;
    assert_eq!(echo.matches("kept-secret").count(), 2, "only x-other, in both forms: {echo}");
}

#[tokio::test]
async fn proxies_need_their_own_grant() {
    let pool = Pool::default();
    let proxy = format!("proxy:127.0.0.1:{}", value("proxy_port"));
    let through = |url: String| {
        let mut request = trusting(get(url));
        request.proxy = Some(format!("http://127.0.0.1:{}", value("proxy_port")));
        request
    };
    let plain = format!("http://upstream.test:{}/hello", value("http_port"));
    let secure = format!("https://upstream.test:{}/hello", value("https_port"));
    let failure = fetch(&run(&["all"]), &pool, through(plain.clone())).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Denied);
    assert!(failure.message.contains(&format!("--allow http={proxy}")), "{}", failure.message);
    let granted = run(&[&format!("http={proxy},http=upstream.test:*"), "fs=/"]);
    assert_eq!(fetch(&granted, &pool, through(plain.clone())).await.unwrap().1, "hello");
    assert_eq!(fetch(&granted, &pool, through(secure)).await.unwrap().1, "hello");
    let ungranted = run(&[&format!("http={proxy}"), "fs=/"]);
    assert_eq!(fetch(&ungranted, &pool, through(plain)).await.unwrap_err().code, ErrorCode::Denied);
}

/// The one guard on addresses is asked for a proxy too, by requests and by what begins as one.
#[tokio::test]
async fn the_addresses_of_a_proxy_are_guarded() {
    let (proxy_port, http_port) = (value("proxy_port"), value("http_port"));
    let place = format!("upstream.test:{http_port}");
    for (host, reached) in [("localhost", false), ("127.0.0.1", true)] {
        let rule = |text: String| policy::parse(&text, Path::new("/"), &[&crate::Http]).unwrap();
        let mut grants = Policy::default();
        grants.public_only = true;
        grants.allow(rule(format!("http=proxy:{host}:{proxy_port},http={place}")));
        let run: Arc<Run> = Arc::new(RunState::new(grants, PathBuf::from("/")).into());
        let proxy = Some(format!("http://{host}:{proxy_port}"));
        let mut request = get(format!("http://{place}/hello"));
        request.proxy = proxy.clone();
        let asked = fetch(&run, &Pool::default(), request).await;
        let dialed = Dial {
            capability: "http",
            scheme: "http",
            url: format!("http://{place}/hello"),
            headers: vec![],
            basic_auth: None,
            authorities: None,
            identity: None,
            fingerprints: vec![],
            proxy,
            timeout: Duration::from_secs(5),
        };
        let dialed = dial(&run, &Settings::default(), dialed).await.map(|dialed| dialed.target);
        if reached {
            // Who names the address of the proxy means it.
            assert_eq!((asked.unwrap().1.as_str(), dialed.unwrap().as_str()), ("hello", "/hello"));
            continue;
        }
        for failure in [asked.unwrap_err(), dialed.unwrap_err()] {
            assert_eq!(failure.code, ErrorCode::Denied, "{}", failure.message);
            assert!(failure.message.contains("it is not a public address"), "{}", failure.message);
            assert!(
                failure.message.contains("--allow 'http=proxy:")
                    || failure.message.contains("--allow http=proxy:")
            );
        }
    }
}

#[tokio::test]
async fn handles_are_given_back() {
    let limits = Limits { handles: 3, ..Limits::default() };
    let (run, pool) = (run_with(&["all"], Path::new("/"), limits), Pool::default());
    for _ in 0..10 {
        // Another origin each time, so that connections pile up in the pool.
        for host in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            let _ = fetch(&run, &pool, get(format!("http://{host}:{}/hello", value("http_port")))).await;
        }
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut answer = perform(run.clone(), pool.clone(), get(url("http_port", "/endless"))).await.unwrap();
        // As the guest gets it.
        answer.body.keep(true).await.unwrap();
        open.push(answer);
    }
    let failure = fetch(&run, &pool, get(url("http_port", "/hello"))).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Limit);
    drop(open);
    assert_eq!(fetch(&run, &pool, get(url("http_port", "/hello"))).await.unwrap().1, "hello");
    drop(pool);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(run.usage.now(Counter::Handles), 0);
}

#[tokio::test]
async fn downloads_are_whole_or_nothing() {
    let directory = directory("download");
    let rules = ["all"];
    let (run, pool) = (run_with(&rules, &directory, Limits::default()), Pool::default());
    let options = |max_size: u64, sha256: Option<&str>| FileOptions {
        max_size,
        sha256: sha256.map(str::to_string),
        resume: false,
        if_changed: false,
    };
    let begun = |started| match started {
        Started::Download(download) => download,
        Started::Kept(_) => panic!("nothing is there to be kept"),
    };
    let save = |path: &str, file: &str, options: FileOptions| {
        let request = Request { want: Want::Stream, decode: false, ..get(url("http_port", path)) };
        let (run, pool, file) = (run.clone(), pool.clone(), file.to_string());
        async move { begun(Download::start(run, pool, request, file, options).await?).go_on(Duration::ZERO).await }
    };
    let (step, rest) = save("/bytes/1000000?chunked", "deep/er/a.bin", options(0, None)).await.unwrap();
    assert!(matches!(step, Step::Done(1_000_000)) && rest.is_none());
    assert_eq!(std::fs::metadata(directory.join("deep/er/a.bin")).unwrap().len(), 1_000_000);
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    save("/hello", "b", options(5, Some(hello))).await.unwrap();
    for (path, options, code) in [
        ("/hello", options(4, None), ErrorCode::Limit),
        ("/bytes/5000?chunked", options(4999, None), ErrorCode::Limit),
        ("/hello", options(0, Some(&"0".repeat(64))), ErrorCode::InvalidData),
        ("/status/404", options(0, None), ErrorCode::NotFound),
        ("/truncated", options(0, None), ErrorCode::Unavailable),
    ] {
        let failure = save(path, "b", options).await.err().unwrap();
        assert_eq!(failure.code, code, "{path}: {}", failure.message);
    }
    let request = Request { want: Want::Stream, timeout: 0, ..get(url("http_port", "/endless")) };
    let cancelled =
        Download::start(run.clone(), pool.clone(), request, "b".into(), options(0, None)).await.unwrap();
    let (step, rest) = begun(cancelled).go_on(Duration::from_millis(20)).await.unwrap();
    assert!(matches!(step, Step::Progress((done, None)) if done > 0));
    drop(rest);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut left: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["b", "deep"]);
    assert_eq!(std::fs::read(directory.join("b")).unwrap(), b"hello");
}

#[tokio::test]
async fn http_2_shares_one_connection() {
    let Some(nginx) = server("nginx") else {
        eprintln!("nginx is not installed, HTTP/2 is not tested");
        return;
    };
    let (run, pool) = (run(&["all"]), Pool::default());
    let request = |path: &str| {
        let mut request = get(format!("https://localhost:{}{path}", nginx.values["nginx_https_port"]));
        request.authorities = Some(Pem::File(nginx.values["nginx_ca"].clone()));
        request
    };
    let answer = perform(run.clone(), pool.clone(), request("/info")).await.unwrap();
    assert_eq!(answer.version, "HTTP/2");
    let info = text(answer).await.unwrap();
    assert!(info.starts_with("HTTP/2.0 ") && info.ends_with(" localhost"), "{info}");
    let calls = (0..100).map(|_| {
        let (run, pool, request) = (run.clone(), pool.clone(), request("/info"));
        tokio::spawn(async move { fetch(&run, &pool, request).await })
    });
    let connection = |info: &str| info.split(' ').nth(1).unwrap().to_string();
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(connection(&call.await.unwrap().unwrap().1), connection(&info));
    }
    let mut big = perform(run.clone(), pool.clone(), request("/files/big.bin")).await.unwrap().body;
    let mut size = 0;
    while let Some(piece) = big.next().await.unwrap() {
        size += piece.len();
    }
    assert_eq!(size, 5_000_000);
    let mut put = request("/files/put.bin");
    (put.method, put.body) = ("PUT".into(), RequestBody::Data(vec![7; 300_000]));
    assert_eq!(fetch(&run, &pool, put).await.unwrap().0, 201);
    assert_eq!(fetch(&run, &pool, request("/moved")).await.unwrap().1.split(' ').next(), Some("HTTP/2.0"));
}
