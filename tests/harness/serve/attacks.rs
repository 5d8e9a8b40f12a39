//! What no client sends: requests that two servers would split in two ways, paths that lead out of a directory, text that
//! would become a header.

use super::{curl, serve, serve_in};
use assay_tests::executable::Directory;
use std::io::{Read, Write};
use std::time::Duration;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("a_request_cannot_hide_in_another", a_request_cannot_hide_in_another),
    ("an_attack_ends_its_connection_only", an_attack_ends_its_connection_only),
    ("files_are_found_by_one_name", files_are_found_by_one_name),
    ("a_response_is_one_response", a_response_is_one_response),
    ("a_request_is_for_one_host", a_request_is_for_one_host),
    ("bad_bodies_are_the_clients_fault", bad_bodies_are_the_clients_fault),
    ("a_handler_without_memory_is_answered_for", a_handler_without_memory_is_answered_for),
    ("clients_that_do_not_read_fill_no_memory", clients_that_do_not_read_fill_no_memory),
    ("streams_leave_time_for_other_requests", streams_leave_time_for_other_requests),
];

fn a_request_cannot_hide_in_another() {
    let server = serve(
        &[],
        "serve({ ANY = { ['/*'] = function(req) local body = req.body print(req.path) return body end } })",
    );
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let refused = |request: String| {
        let answer = server.raw(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1 ").count() == 1,
            "{request:?}: {answer}"
        );
        assert!(answer.to_lowercase().contains("connection: close\r\n"), "{request:?}: {answer}");
    };
    // Two readers that take the lengths differently see the hidden request as a request or as part of a body.
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "transfer-encoding: Chunked\r\nCONTENT-LENGTH: 45",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: 5 5",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content-Length : 5",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "Content-Length\x0b: 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=0",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: chunked\x01",
        "Transfer-Encoding: chu\u{212a}ed",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t:chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        // Folded lines.
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: chunked\r\n , identity",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tContent-Length: 5",
        "Content-Length: 5\r\n 0",
        // Line ends that only some take for one.
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nX: y",
        "Content-Length: 5\nX: y",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rContent-Length: 5",
        "X: y\x00Content-Length: 5",
        "X\r\nContent-Length: 5",
        "X: y\n\nGET /hidden HTTP/1.1\r\nX: y",
        "X: y\r\n\nGET /hidden HTTP/1.1\r\nX: y",
        "X: y\n\r\nGET /hidden HTTP/1.1\r\nX: y",
    ] {
        refused(format!("POST /first HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}"));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;x\ny\r\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\nContent-Length: 5\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        refused(format!(
            "POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}{hidden}"
        ));
    }
    for request in [
        "GET /first HTTP/1.1\nHost: x\n\n",
        "GET /first HTTP/1.1\nHost: x\r\n\r\n",
        "\nGET /first HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1\rHost: x\r\n\r\n",
        "GET /first\x0bHTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first\tHTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET /first\r\nHost: x\r\n\r\n",
        "GET /first /second HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        "G\x00T /first HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "POST /first HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        refused(format!("{request}{hidden}"));
    }
    let rest = b"POST /last HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nG\nT /\r\n0\r\nX: y\r\n\r\n\
        POST /end HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\n\n\n\n\n";
    assert_eq!(server.raw(rest).matches("HTTP/1.1 200 OK").count(), 2);
    // No handler saw anything else.
    server.wait_for("/last");
    server.wait_for("/end");
}

/// What comes before an attack on the same connection is answered, and nothing after it.
fn an_attack_ends_its_connection_only() {
    let server =
        serve(&[], "serve({ ANY = { ['/*'] = function(req) return req.path .. '=' .. #req.body end } })");
    let good = "POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let attack = "POST /attack HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = server.raw(format!("{good}{good}{attack}{good}").as_bytes());
    assert_eq!(answer.matches("/good=5").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 Bad Request").count(), 1, "{answer}");
    assert!(!answer.contains("/attack"), "{answer}");
    // In pieces, each of which the server may see alone.
    let mut stream = server.connect();
    for byte in format!("{good}{attack}").as_bytes() {
        // It may end the connection before all is sent.
        let _ = stream.write_all(&[*byte]);
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.contains("/good=5") && answer.contains("HTTP/1.1 400 ") && !answer.contains("/attack"),
        "{answer}"
    );
    assert_eq!(curl(&[&server.url("/next")]), "/next=0");
}

/// Names of files that clients tidy up before they send them.
fn files_are_found_by_one_name() {
    let directory = Directory::new();
    directory.write("secret.txt", "secret");
    directory.write("public/a.txt", "public");
    let server = serve_in(
        directory,
        &["--allow", "fs=read:public"],
        "serve({ GET = { ['/f/*'] = http.files('public'), ['/*'] = http.files('public') } })",
    );
    let ask = |path: &str| {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("/f/a.txt").ends_with("public") && ask("/a.txt").ends_with("public"));
    for path in [
        "/../secret.txt",
        "/f/../secret.txt",
        "/f/../../secret.txt",
        "/f/./../secret.txt",
        "/f/%2e%2e/secret.txt",
        "/f/%2E%2E/secret.txt",
        "/f/.%2e/secret.txt",
        "/f/..%2fsecret.txt",
        "/f/..\\secret.txt",
        "/f\\..\\secret.txt",
        "/f/..%5csecret.txt",
        "/f/%2e%2e%5csecret.txt",
        "/f/a.txt/../../secret.txt",
        "/f/a.txt%00",
        "/f/%00/../../secret.txt",
        "/%2e%2e/secret.txt",
        "//../secret.txt",
        "/f//../secret.txt",
        "http://x/f/../secret.txt",
        "http://x/../secret.txt",
        "/f/\u{ff0e}\u{ff0e}/secret.txt",
        "/f/%252e%252e/secret.txt",
        "/f/..;/secret.txt",
        "/f/...%2f/secret.txt",
    ] {
        let answer = ask(path);
        assert!(
            answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "),
            "{path}: {answer}"
        );
        assert!(!answer.contains("secret"), "{path}: {answer}");
    }
}

/// A header that a script makes of what it got is one header.
fn a_response_is_one_response() {
    let server = serve(
        &[],
        "serve({ GET = { ['/{to}'] = function(req) return { status = 302, headers = { Location = req.params.to } } end,\n\
           ['/lies'] = function() return { headers = { ['Content-Length'] = '2', ['Transfer-Encoding'] = 'chunked' }, body = 'hello' } end,\n\
           ['/none'] = function() return { status = 204, headers = { ['Content-Length'] = '5' }, body = 'HTTP/1.1 200 OK' } end } })",
    );
    let ask = |path: &str| {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("/there").contains("location: there\r\n"));
    for path in [
        "/a%0d%0aX-Injected:%20b",
        "/a%0aX-Injected:%20b",
        "/a%0dX-Injected:%20b",
        "/a%0d%0a%0d%0aHTTP%2f1.1%20200%20OK%0d%0aX-Injected:%20b",
        "/a%00X-Injected",
        "/x?to=%0d%0aX-Injected:%20b%0d%0a%0d%0a",
    ] {
        let answer = ask(path);
        let expected = if path.starts_with("/x?") { "HTTP/1.1 302 " } else { "HTTP/1.1 500 " };
        assert!(answer.starts_with(expected) && answer.matches("HTTP/1.1").count() == 1, "{path}: {answer}");
        assert!(!answer.contains("X-Injected") && !answer.contains("x-injected"), "{path}: {answer}");
    }
    let answer = ask("/lies");
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    let answer = ask("/none");
    assert!(answer.ends_with("\r\n\r\n") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
}

/// A target may name a host too, which is then the one of the Host header.
fn a_request_is_for_one_host() {
    let server =
        serve(&[], "serve({ ANY = { ['/*'] = function(req) print('seen') return req.headers.host end } })");
    let ask = |line: &str, fields: &str| {
        server.raw_head(format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n").as_bytes())
    };
    for (line, fields) in [
        ("GET http://evil/", "Host: good\r\n"),
        ("GET http://good:81/", "Host: good\r\n"),
        ("GET https://good/", "Host: good:80\r\n"),
        ("GET http://good.evil/", "Host: good\r\n"),
        ("GET http://user@good/", "Host: good\r\n"),
        ("GET http://good@evil/", "Host: good\r\n"),
        ("GET http://evil/", "Host:\r\n"),
        ("GET http://evil/", "Host: \r\n"),
        ("GET http://evil/", ""),
        ("GET ftp://good/", "Host: good\r\n"),
        ("GET file:///etc/passwd", "Host: good\r\n"),
        ("GET good:80", "Host: good:80\r\n"),
        ("GET good", "Host: good\r\n"),
        ("GET *", "Host: good\r\n"),
        ("GET ?x", "Host: good\r\n"),
        ("GET /", "Host: good\r\nHost: good\r\n"),
        ("GET /", "Host: good\r\nhost: evil\r\n"),
        ("GET /", "Host: good, evil\r\n"),
        ("GET /", "Host: good evil\r\n"),
        ("GET /", "Host: evil@good\r\n"),
        ("GET /", "Host: good/x\r\n"),
        ("GET /", "Host: good:x\r\n"),
        ("GET /", "Host: good:123456\r\n"),
        ("GET /", "Host: [::1\r\n"),
        ("GET /", "Host: g\u{f6}od\r\n"),
    ] {
        let answer = ask(line, fields);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line} {fields}: {answer}");
    }
    assert!(server.lines.try_recv().is_err(), "a handler has seen one");
    for (line, fields) in [
        ("GET /", "Host: good\r\n"),
        ("GET http://good/", "Host: good\r\n"),
        ("GET http://GOOD:80/", "Host: good\r\n"),
        ("GET /", "Host: [::1]:8080\r\n"),
    ] {
        assert!(ask(line, fields).starts_with("HTTP/1.1 200 "), "{line} {fields}");
    }
    assert!(server.raw(b"GET http://evil/ HTTP/1.0\r\nHost: good\r\n\r\n").starts_with("HTTP/1.0 400 "));
}

/// What a client gets wrong is its own fault: 400, a short reason, and no traceback in the log.
fn bad_bodies_are_the_clients_fault() {
    let server = serve(
        &[],
        "serve({ POST = {\n\
           ['/json'] = function(req) return { json = { got = req:json() } } end,\n\
           ['/parse'] = function(req) return { json = { got = json.parse(req.body) } } end,\n\
           ['/form'] = function(req) return { json = req:form() } end,\n\
           ['/forms'] = function(req) return { json = req:form(true) } end,\n\
           ['/parts'] = function(req) return { json = req:multipart() } end,\n\
           ['/caught'] = function(req) local ok, err = pcall(req.json, req) return err.code end,\n\
           ['/again'] = function(req) local ok, err = pcall(req.json, req) error(err) end,\n\
           ['/own'] = function(req) json.parse('[own') end,\n\
           ['/stream'] = function(req) for piece in req:chunks() do end req:json() end,\n\
         } }, { max_body = 200000, body_timeout = 1 })",
    );
    let post = |path: &str, kind: &str, body: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}",
            body.len()
        );
        server.raw(format!("{head}\r\n\r\n{body}").as_bytes())
    };
    let (json, form, parts) =
        ("application/json", "application/x-www-form-urlencoded", "multipart/form-data");
    let bounded = "multipart/form-data; boundary=B";
    let deep = "[".repeat(1000);
    let many = "a&".repeat(10_001);
    let fields = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n".repeat(1001) + "--B--\r\n";
    let long = format!("--B\r\nX: {}\r\n\r\n1\r\n--B--", "y".repeat(20_000));
    for (path, kind, body, status) in [
        ("/json", json, "", "400"),
        ("/json", json, "{", "400"),
        ("/json", json, "{\"a\": 1,}", "400"),
        ("/json", json, "{\"a\": \"\u{1}\"}", "400"),
        ("/json", json, "nul", "400"),
        ("/json", json, "1 2", "400"),
        ("/json", json, &deep, "400"),
        ("/parse", json, "{", "400"),
        ("/parse", json, &deep, "400"),
        ("/again", json, "{", "400"),
        ("/stream", json, "{", "400"),
        ("/form", "", "a=b", "400"),
        ("/form", json, "{}", "400"),
        ("/form", "text/plain", "a=b", "400"),
        ("/form", parts, "a", "400"),
        ("/form", form, &many, "413"),
        ("/forms", form, &many, "413"),
        ("/form", bounded, "", "400"),
        ("/form", bounded, "--B", "400"),
        ("/parts", bounded, "--B\r\n", "400"),
        ("/parts", bounded, "--B\r\nX\r\n\r\n1\r\n--B--", "400"),
        ("/parts", bounded, "--B\r\nX: y\r\n\r\n1", "400"),
        ("/parts", bounded, "--Bx\r\nX: y\r\n\r\n1\r\n--B--", "400"),
        ("/parts", bounded, &long, "400"),
        ("/parts", bounded, &fields, "413"),
        ("/parts", "multipart/form-data; boundary=", "--\r\n", "400"),
        ("/parts", &format!("{parts}; boundary={}", "b".repeat(71)), "", "400"),
        ("/json", json, &"x".repeat(200_001), "413"),
        ("/json", json, &format!("\"{}\"", "1".repeat(100_000)), "200"),
        ("/caught", json, "{", "200"),
        ("/form", form, "%zz=%&&=&a=b", "200"),
        ("/form", form, "", "200"),
        ("/forms", form, &"a&".repeat(10_000), "200"),
        ("/own", json, "{", "500"),
        ("/own", json, "{}", "500"),
    ] {
        let answer = post(path, kind, body);
        let shown = &body[..body.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {kind} {shown:?}: {answer}");
        assert!(!answer.contains("traceback") && !answer.contains("stack"), "{answer}");
        let text = answer.split("\r\n\r\n").last().unwrap_or_default();
        assert!(status == "200" || (!text.is_empty() && text.len() < 300), "{path} {shown:?}: {answer}");
        if status == "400" {
            assert!(text.starts_with("bad request: ") && !text.contains('\n'), "{path} {shown:?}: {answer}");
        }
    }
    // Bodies that are too large without saying so, that break off, that never come.
    let chunk = format!("30d41\r\n{}\r\n0\r\n\r\n", "x".repeat(0x30d41));
    let head = "POST /json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(server.raw_head(format!("{head}{chunk}").as_bytes()).starts_with("HTTP/1.1 413 "));
    assert!(server.raw_head(format!("{head}5\r\nab").as_bytes()).starts_with("HTTP/1.1 408 "));
    let log = std::fs::read_to_string(server.directory.path().join("stderr")).expect("it has a log");
    assert_eq!(log.matches("failed (").count(), 2, "{log}");
    assert!(log.matches("/own failed").count() == 2, "{log}");
}

/// Memory that a handler cannot have is no fault of anybody for long.
fn a_handler_without_memory_is_answered_for() {
    let mut server = serve(
        &["--memory", "64MiB"],
        "serve({ GET = {\n\
           ['/'] = function() return 'x' end,\n\
           ['/hoard'] = function() local hoard = {} while true do hoard[#hoard + 1] = ('x'):rep(1 << 16) .. #hoard end end,\n\
           ['/table'] = function() local hoard = {} while true do hoard[#hoard + 1] = {} end end,\n\
           ['/string'] = function() return ('x'):rep(1 << 30) end,\n\
           ['/stop'] = function() os.exit(0) end,\n\
         } })",
    );
    let status = |path: &str| curl(&["-o", "/dev/null", "-w", "%{http_code}", &server.url(path)]);
    for _ in 0..3 {
        for path in ["/hoard", "/table", "/string"] {
            assert_eq!(status(path), "503", "{path}");
            assert_eq!(status("/"), "200", "{path}");
        }
    }
    let answer = server.raw(b"GET /hoard HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("service unavailable ("), "{answer}");
    assert_eq!(status("/hoard"), "503");
    assert_eq!(status("/"), "200");
    let _ = server.raw(b"GET /stop HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
}

/// The other direction: responses and messages for clients that take none.
fn clients_that_do_not_read_fill_no_memory() {
    let server = serve(
        &["--memory", "64MiB"],
        "local text = ('x'):rep(4 << 20)\n\
         serve({ GET = { ['/'] = function() return 'x' end, ['/large'] = function() return text end,\n\
           ['/ws'] = function() return { ws = function(conn) for _ = 1, 100 do conn:write(text) end end } end,\n\
           ['/stream'] = function() return { body = function(write) for _ = 1, 100 do write(text) end end } end,\n\
         } })",
    );
    let mut clients = Vec::new();
    for n in 0..150 {
        if n % 3 == 0 {
            clients.push(server.websocket("/ws"));
            continue;
        }
        let mut stream = server.connect();
        let path = if n % 3 == 1 { "/large" } else { "/stream" };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("it listens");
        // The head says that the handler has got to the body.
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("it answers");
        assert!(matches!(&head[9..], b"200" | b"503"), "{head:?}");
        clients.push(stream);
    }
    assert_eq!(curl(&[&server.url("/")]), "x");
    assert!(server.peak() < 64 + 64 + 32, "{} MiB", server.peak());
    drop(clients);
    let status = curl(&["-o", "/dev/null", "-w", "%{http_code} %{size_download}", &server.url("/large")]);
    assert_eq!(status, "200 4194304");
}

/// 200 clients take all that handlers stream, and the handlers compute all the time: a request has its turns like them.
fn streams_leave_time_for_other_requests() {
    const STREAMS: u64 = 200;
    let server = serve(
        &[],
        "local turns = 0\n\
         local function work() turns = turns + 1 for _ = 1, 10000 do end end\n\
         serve({ GET = { ['/'] = function() return tostring(turns) end,\n\
           ['/stream'] = function() return { body = function(write) while true do work() write('x\\n') end end } end,\n\
           ['/pieces'] = function() return { body = function() work() return 'x\\n' end } end,\n\
           ['/events'] = function() return { sse = function(send) while true do work() send({ data = 'x' }) end end } end,\n\
         } })",
    );
    for n in 0..STREAMS {
        let mut stream = server.connect();
        let path = ["/stream", "/pieces", "/events"][n as usize % 3];
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("it listens");
        // Until the server is gone.
        std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    }
    let turns = || {
        let answer = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        answer.rsplit("\r\n\r\n").next().and_then(|body| body.parse::<u64>().ok()).expect("a number")
    };
    while turns() < 3 * STREAMS {}
    let rounds: Vec<u64> = (0..5)
        .map(|_| {
            let before = turns();
            (turns() - before) / STREAMS
        })
        .collect();
    assert!(rounds.iter().all(|rounds| *rounds < 15), "{rounds:?}");
}
