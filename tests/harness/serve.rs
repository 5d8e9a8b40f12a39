//! `http.serve` as its clients meet it: curl, h2load, a WebSocket library, and sockets that send what no
//! client would.

pub mod attacks;
pub mod instances;
pub mod sockets;
pub mod streams;
pub mod version2;

use assay_tests::executable::{Directory, assay, program};
use assay_tests::servers::isolated;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("curl_speaks_both_versions", curl_speaks_both_versions),
    ("tls_negotiates_the_version", tls_negotiates_the_version),
    ("tls_may_ask_for_a_certificate", tls_may_ask_for_a_certificate),
    ("a_unix_socket_is_served_and_a_stale_one_replaced", a_unix_socket_is_served_and_a_stale_one_replaced),
    ("large_files_come_whole_and_in_ranges", large_files_come_whole_and_in_ranges),
    ("h2load_gets_every_answer", h2load_gets_every_answer),
    ("connections_are_kept_and_pipelined", connections_are_kept_and_pipelined),
    ("what_is_no_request_is_refused", what_is_no_request_is_refused),
    ("slow_heads_and_bodies_are_cut_off", slow_heads_and_bodies_are_cut_off),
    ("a_client_that_does_not_read_is_cut_off", a_client_that_does_not_read_is_cut_off),
    ("connections_beyond_the_most_wait", connections_beyond_the_most_wait),
    ("websockets_talk", websockets_talk),
    ("websockets_are_not_for_other_sites", websockets_are_not_for_other_sites),
    ("sigterm_lets_requests_finish", sigterm_lets_requests_finish),
    ("sigterm_ends_a_script_that_computes", sigterm_ends_a_script_that_computes),
    ("a_computing_handler_is_answered_for", a_computing_handler_is_answered_for),
];

/// A script that serves; killed when dropped.
struct Serving {
    child: Child,
    port: u16,
    directory: Directory,
    /// What it prints.
    lines: Receiver<String>,
    /// Closed with its output, which it keeps until it ends.
    output: Receiver<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script that calls `serve(routes, options)` and waits until it listens.
fn serve(flags: &[&str], script: &str) -> Serving {
    serve_in(Directory::new(), flags, script)
}

fn serve_in(directory: Directory, flags: &[&str], script: &str) -> Serving {
    let prelude = "local function serve(routes, opts, where) opts = opts or {} \
         opts.on_listen = function(server) print('PORT ' .. server.port) end \
         http.serve(where or 0, routes, opts) end\n";
    directory.write("serve.lua", &format!("{prelude}{script}"));
    let mut args = vec!["run", "--allow", "listen"];
    args.extend_from_slice(flags);
    args.push("serve.lua");
    let mut child = assay(directory.path(), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::from(std::fs::File::create(directory.path().join("stderr")).expect("a file")))
        .spawn()
        .expect("the executable can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("PORT ")?.parse().ok());
    let Some(port) = port else {
        let _ = child.wait();
        panic!(
            "it does not serve: {}",
            std::fs::read_to_string(directory.path().join("stderr")).unwrap_or_default()
        );
    };
    let (sender, received) = channel();
    let (open, output) = channel();
    std::thread::spawn(move || {
        let _open = open;
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    Serving { child, port, directory, lines: received, output }
}

impl Serving {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until it prints this.
    fn wait_for(&self, line: &str) {
        let printed = self.lines.recv_timeout(Duration::from_secs(20)).expect("it prints a line");
        assert_eq!(printed, line);
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let done = program("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(done.success());
    }

    /// Waits for its end, and gives the exit code.
    fn end(&mut self, within: Duration) -> Option<i32> {
        let ended = self.output.recv_timeout(within);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it did not end within {within:?}");
        self.child.wait().expect("it is a child").code()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream
    }

    /// Sends bytes as they are and gives all that comes back until the connection ends.
    fn raw(&self, bytes: &[u8]) -> String {
        self.raw_until(bytes, |_| false)
    }

    /// As [`Self::raw`], for connections that may stay open: the head of the first response is enough.
    fn raw_head(&self, bytes: &[u8]) -> String {
        self.raw_until(bytes, |answer| answer.contains("\r\n\r\n"))
    }

    fn raw_until(&self, bytes: &[u8], enough: impl Fn(&str) -> bool) -> String {
        let mut stream = self.connect();
        // It may be refused, and the connection ended, before all is sent.
        let _ = stream.write_all(bytes);
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        while !enough(&answer) {
            match stream.read(&mut piece) {
                Ok(count @ 1..) => answer.push_str(&String::from_utf8_lossy(&piece[..count])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("{:?} leads to silence after {answer:?}", String::from_utf8_lossy(bytes))
                }
                Ok(_) | Err(_) => break,
            }
        }
        answer
    }
}

fn output(name: &str, args: &[&str]) -> String {
    succeeds(program(name).args(args))
}

/// Runs a program, and gives what it printed.
fn succeeds(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}

fn curl(args: &[&str]) -> String {
    output("curl", &[&["-sS", "--max-time", "30"], args].concat())
}

const HELLO: &str = "serve({ GET = { ['/'] = function(req) return req.version .. ' ' .. req.scheme end }, \
    POST = { ['/'] = function(req) return tostring(#req.body) end } })";

fn curl_speaks_both_versions() {
    let server = serve(&[], HELLO);
    assert_eq!(curl(&[&server.url("/")]), "HTTP/1.1 http");
    assert_eq!(curl(&["--http1.0", &server.url("/")]), "HTTP/1.0 http");
    assert_eq!(curl(&["--http2-prior-knowledge", &server.url("/")]), "HTTP/2 http");
    let body = "x".repeat(300_000);
    let file = server.directory.write("body", &body).display().to_string();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(curl(&[version, "--data-binary", &format!("@{file}"), &server.url("/")]), "300000");
        let head = curl(&[version, "-I", &server.url("/")]).to_lowercase();
        assert!(head.contains("200") && head.contains("content-length: "), "{head}");
    }
    let chunked =
        ["-H", "Transfer-Encoding: chunked", "--data-binary", &format!("@{file}"), &server.url("/")];
    assert_eq!(curl(&chunked), "300000");
}

/// A key and a certificate for 127.0.0.1 that signs itself.
fn certificate(directory: &Path) {
    let path = |name: &str| directory.join(name).display().to_string();
    output(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout",
            &path("key.pem"),
            "-out",
            &path("cert.pem"),
        ],
    );
}

fn tls_negotiates_the_version() {
    let directory = Directory::new();
    certificate(directory.path());
    let cert = directory.path().join("cert.pem").display().to_string();
    let script =
        HELLO.replace("end } })", "end } }, { tls = { cert_file = 'cert.pem', key_file = 'key.pem' } })");
    let server = serve_in(directory, &["--allow", "fs=read:."], &script);
    let url = server.url("/").replace("http:", "https:");
    assert_eq!(curl(&["--cacert", &cert, &url]), "HTTP/2 https");
    assert_eq!(curl(&["--cacert", &cert, "--http1.1", &url]), "HTTP/1.1 https");
    // Neither plain HTTP nor an old version of TLS is answered.
    assert!(!server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").contains("200 OK"));
    let old = program("curl").args(["-sS", "--cacert", &cert, "--tls-max", "1.1", &url]).output();
    assert!(!old.expect("curl runs").status.success());
}

fn tls_may_ask_for_a_certificate() {
    let directory = Directory::new();
    certificate(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (cert, key, client) = (path("cert.pem"), path("key.pem"), path("client.pem"));
    let (request, extension) = (path("client.csr"), "extendedKeyUsage=clientAuth");
    output(
        "openssl",
        &["req", "-new", "-key", &key, "-subj", "/CN=client", "-addext", extension, "-out", &request],
    );
    let copied = ["-copy_extensions", "copy", "-days", "2", "-out", client.as_str()];
    let signed = ["x509", "-req", "-in", &request, "-CA", &cert, "-CAkey", &key];
    output("openssl", &[&signed[..], &copied].concat());
    let script = HELLO.replace(
        "end } })",
        "end } }, { tls = { cert = fs.read('cert.pem'), key = fs.read('key.pem'), client_ca_file = 'cert.pem' } })",
    );
    let server = serve_in(directory, &["--allow", "fs=read:."], &script);
    let url = server.url("/").replace("http:", "https:");
    let refused = program("curl").args(["-sS", "--cacert", &cert, &url]).output().expect("curl runs");
    assert!(!refused.status.success());
    assert_eq!(curl(&["--cacert", &cert, "--cert", &client, "--key", &key, &url]), "HTTP/2 https");
}

fn a_unix_socket_is_served_and_a_stale_one_replaced() {
    let directory = Directory::new();
    let socket = directory.path().join("app.sock").display().to_string();
    // Bound, and left behind by a listener that is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket can be made"));
    let script = HELLO.replace("end } })", "end } }, nil, 'unix:app.sock')");
    let mut server = serve_in(directory, &["--allow", "listen=unix:app.sock"], &script);
    assert_eq!(curl(&["--unix-socket", &socket, "http://app/"]), "HTTP/1.1 http");
    assert_eq!(curl(&["--unix-socket", &socket, "--http2-prior-knowledge", "http://app/"]), "HTTP/2 http");
    server.signal("TERM");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
    assert!(!Path::new(&socket).exists());
}

fn large_files_come_whole_and_in_ranges() {
    let directory = Directory::new();
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::create_dir(directory.path().join("public")).expect("a directory");
    std::fs::write(directory.path().join("public/large.bin"), &content).expect("a file");
    let server = serve_in(
        directory,
        &["--allow", "fs=read:public", "--memory", "32MiB"],
        "serve({ GET = { ['/*'] = http.files('public') } })",
    );
    let got = server.directory.path().join("got");
    let target = got.display().to_string();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        curl(&[version, "-o", &target, &server.url("/large.bin")]);
        assert!(std::fs::read(&got).expect("curl wrote it") == content, "{version}: the file is another");
        curl(&[version, "-r", "1000000-4999998", "-o", &target, &server.url("/large.bin")]);
        assert!(std::fs::read(&got).expect("curl wrote it") == content[1_000_000..4_999_999]);
    }
    // A download that broke off goes on.
    std::fs::write(&got, &content[..123_456]).expect("the directory is writable");
    curl(&["-C", "-", "-o", &target, &server.url("/large.bin")]);
    assert!(std::fs::read(&got).expect("curl wrote it") == content);
}

fn h2load_gets_every_answer() {
    let server = serve(&[], HELLO);
    let url = server.url("/");
    for version in [&["--h1"][..], &[]] {
        let args = [&["-n", "2000", "-c", "20", "-m", "10"], version, &[url.as_str()]].concat();
        let text = output("h2load", &args);
        assert!(text.contains("2000 succeeded, 0 failed, 0 errored"), "{text}");
    }
}

fn connections_are_kept_and_pipelined() {
    let server = serve(
        &[],
        "serve({ GET = { ['/{n}'] = function(req) if req.params.n == '1' then sleep(0.02) end return 'n' .. req.params.n end } })",
    );
    let request = |n, field| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n{field}\r\n");
    let requests: String = (1..=4).map(|n| request(n, "")).collect();
    let answer = server.raw((requests + &request(5, "Connection: close\r\n")).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 5, "{answer}");
    let places: Vec<_> = (1..=5).map(|n| answer.find(&format!("\r\n\r\nn{n}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answer}");
}

fn what_is_no_request_is_refused() {
    let server = serve(&[], HELLO);
    let long = "a".repeat(40_000);
    let many = "x: y\r\n".repeat(200);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_string(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), "400"),
        ("nonsense\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: \x01\r\n\r\n".into(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n".into(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n".into(), "413"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n".into(), "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), "400"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), "405"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {long}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
    ] {
        let answer = server.raw_head(request.as_bytes());
        let shown: String = request.chars().take(90).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{shown:?} got {answer:?}"
        );
    }
    // The target's own host is no other place: it is this server that was asked.
    let absolute =
        server.raw(b"GET http://elsewhere/ HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n");
    assert!(absolute.contains("HTTP/1.1 http"), "{absolute}");
    assert_eq!(curl(&[&server.url("/")]), "HTTP/1.1 http");
}

fn slow_heads_and_bodies_are_cut_off() {
    let server =
        serve(&[], &HELLO.replace("end } })", "end } }, { header_timeout = 0.3, body_timeout = 0.3 })"));
    for (first, expected) in [
        ("", ""),
        ("GET / HTTP/1.1\r\nHo", ""),
        ("PRI * HT", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab", "HTTP/1.1 408"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab", "HTTP/1.1 408"),
    ] {
        let mut stream = server.connect();
        stream.write_all(first.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it closes the connection");
        assert!(answer.starts_with(expected), "{first:?} got {answer:?}");
    }
    assert_eq!(curl(&[&server.url("/")]), "HTTP/1.1 http");
}

fn a_client_that_does_not_read_is_cut_off() {
    let mut server = serve(
        &[],
        "serve({ GET = { ['/'] = function() return { body = function(write) \
            local guard <close> = setmetatable({}, { __close = function() print('ended') end }) \
            while true do write(('x'):rep(60000)) end end } end } }, { body_timeout = 0.3 })",
    );
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it listens");
    server.wait_for("ended");
    server.signal("TERM");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
}

fn connections_beyond_the_most_wait() {
    let server =
        serve(&[], &HELLO.replace("end } })", "end } }, { max_connections = 2, header_timeout = 1 })"));
    let began = Instant::now();
    let held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    // Waits in the system's queue until one of the idle ones is closed.
    assert_eq!(curl(&[&server.url("/")]), "HTTP/1.1 http");
    assert!(began.elapsed() > Duration::from_millis(200));
    drop(held);
}

const SOCKET: &str = r#"
import asyncio, sys, websockets
async def main(port):
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo", subprotocols=["b", "a"]) as ws:
        assert ws.subprotocol == "a", ws.subprotocol
        for message in ["text é", b"\x00\xff", "", "x" * 200000]:
            await ws.send(message)
            assert await ws.recv() == message
        await (await ws.ping())
        await ws.send("close")
        try:
            await ws.recv()
            raise SystemExit("it was not closed")
        except websockets.ConnectionClosed:
            assert (ws.close_code, ws.close_reason) == (4001, "as asked"), (ws.close_code, ws.close_reason)
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo", max_size=None) as ws:
        try:
            await ws.send("x" * 2000000)
            await ws.recv()
            raise SystemExit("it was not refused")
        except websockets.ConnectionClosed:
            assert ws.close_code == 1009, ws.close_code
    async with websockets.connect(f"ws://127.0.0.1:{port}/fails") as ws:
        try:
            await ws.recv()
        except websockets.ConnectionClosed:
            assert ws.close_code == 1011, ws.close_code
    async with websockets.connect(f"ws://127.0.0.1:{port}/pinged") as ws:
        assert await ws.recv() == "still here"
    async with websockets.connect(f"ws://127.0.0.1:{port}/left") as ws:
        await ws.close(4002, "bye")
asyncio.run(main(sys.argv[1]))
"#;

fn websockets_talk() {
    let server = serve(
        &[],
        "serve({ GET = {\n\
           ['/echo'] = function() return { protocols = { 'a' }, ws = function(conn)\n\
             for message, kind in conn:messages() do\n\
               if message == 'close' then conn:close(4001, 'as asked') return end\n\
               conn:write(message, { binary = kind == 'binary' })\n\
             end\n\
           end } end,\n\
           ['/fails'] = function() return { ws = function() error('broken') end } end,\n\
           ['/pinged'] = function() return { ping_interval = 0.5, ws = function(conn) sleep(1.5) conn:write('still here') end } end,\n\
           ['/left'] = function() return { ws = function(conn) conn:read() print(conn.close_code, conn.close_reason) end } end,\n\
         } })",
    );
    let script = server.directory.write("client.py", SOCKET);
    succeeds(isolated(&script).arg(server.port.to_string()));
    server.wait_for("4002\tbye");
}

fn websockets_are_not_for_other_sites() {
    let server = serve(
        &[],
        "serve({ GET = { ['/'] = function() return { ws = function() end } end, \
         ['/open'] = function() return { origins = { 'https://friend.example' }, ws = function() end } end } })",
    );
    let ask = |path: &str, fields: &str| {
        let host = format!("127.0.0.1:{}", server.port);
        server.raw_head(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes())
    };
    let upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let own = format!("Origin: http://127.0.0.1:{}\r\n", server.port);
    for (path, fields, status) in [
        ("/", upgrade.to_string(), "101"),
        ("/", format!("{upgrade}{own}"), "101"),
        ("/", format!("{upgrade}Origin: https://evil.example\r\n"), "403"),
        ("/", format!("{upgrade}Origin: null\r\n"), "403"),
        ("/open", format!("{upgrade}Origin: https://friend.example\r\n"), "101"),
        ("/open", format!("{upgrade}Origin: https://evil.example\r\n"), "403"),
        ("/", String::new(), "426"),
        ("/", upgrade.replace("13", "12"), "426"),
        ("/", upgrade.replace("dGhl", ""), "400"),
    ] {
        let answer = ask(path, &fields);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{fields}: {answer}");
    }
    assert!(ask("/", upgrade).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

fn sigterm_lets_requests_finish() {
    let mut server = serve(
        &[],
        "serve({ GET = { ['/'] = function() print('begun') sleep(0.5) return 'finished' end } }) print('after')",
    );
    let url = server.url("/");
    let request = std::thread::spawn(move || curl(&[&url]));
    server.wait_for("begun");
    server.signal("TERM");
    assert_eq!(request.join().expect("curl ends"), "finished");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
    server.wait_for("after");
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
}

fn sigterm_ends_a_script_that_computes() {
    let mut server = serve(
        &[],
        "serve({ GET = { ['/'] = function() print('begun') io.stdout:flush() while true do end end } }, { shutdown_timeout = 0.3 })",
    );
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it listens");
    server.wait_for("begun");
    server.signal("TERM");
    let code = server.end(Duration::from_secs(20));
    assert!(matches!(code, Some(0 | 143)), "{code:?}");
}

fn a_computing_handler_is_answered_for() {
    let server = serve(
        &[],
        "serve({ GET = { ['/'] = function() while true do end end, ['/other'] = function() return 'x' end } }, { timeout = 0.2 })",
    );
    let status = curl(&["-o", "/dev/null", "-w", "%{http_code}", &server.url("/")]);
    assert_eq!(status, "503");
    // What computed was cancelled.
    assert_eq!(curl(&[&server.url("/other")]), "x");
}
