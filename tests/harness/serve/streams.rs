//! Bodies that come only when they are asked for, and streams that go on until somebody ends them.

use super::{curl, serve};
use std::io::{Read, Write};
use std::time::Duration;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("a_body_is_asked_for_when_it_is_read", a_body_is_asked_for_when_it_is_read),
    ("a_body_that_is_not_wanted_is_not_asked_for", a_body_that_is_not_wanted_is_not_asked_for),
    ("event_streams_end_at_shutdown", event_streams_end_at_shutdown),
    ("a_handler_sees_that_it_should_end", a_handler_sees_that_it_should_end),
    ("a_handler_sees_that_its_client_is_gone", a_handler_sees_that_its_client_is_gone),
    ("lines_of_validators_are_one_list", lines_of_validators_are_one_list),
];

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn a_body_is_asked_for_when_it_is_read() {
    let server = serve(
        &[],
        "serve({ POST = {\n\
           ['/whole'] = function(req) return req.body end,\n\
           ['/piece'] = function(req) return req:read('a') end,\n\
         } })",
    );
    for (path, fields, body) in [
        ("/piece", "Content-Length: 5\r\n", "hello"),
        ("/whole", "Content-Length: 5\r\n", "hello"),
        ("/piece", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut stream = server.connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n{fields}Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it listens");
        let mut interim = vec![0; CONTINUE.len()];
        stream.read_exact(&mut interim).expect("it asks for the body");
        assert_eq!(String::from_utf8_lossy(&interim), CONTINUE);
        stream.write_all(body.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    }
    // curl waits to be asked, a second at most.
    let file = server.directory.write("body", &"x".repeat(300_000)).display().to_string();
    let data = format!("@{file}");
    let sent = curl(&["-H", "Expect: 100-continue", "--data-binary", &data, &server.url("/piece")]);
    assert_eq!(sent.len(), 300_000);
}

fn a_body_that_is_not_wanted_is_not_asked_for() {
    let server = serve(
        &[],
        "serve({ POST = {\n\
           ['/refuses'] = function() return { status = 401, body = 'no' } end,\n\
           ['/fails'] = function() error('broken') end,\n\
           ['/reads'] = function(req) return req.body end,\n\
         } }, { max_body = 1000 })",
    );
    let ask = |path: &str, length: usize| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        server.raw(head.as_bytes())
    };
    for (path, length, status) in
        [("/refuses", 5, "401"), ("/fails", 5, "500"), ("/nowhere", 5, "404"), ("/reads", 1001, "413")]
    {
        let answer = ask(path, length);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
    }
}

fn event_streams_end_at_shutdown() {
    let mut server = serve(
        &[],
        "serve({ GET = { ['/'] = function() return { sse = function(send)\n\
           send({ data = 'first' })\n\
           print('begun')\n\
           local ok, err = pcall(function() while true do sleep(0.01) send({ data = 'more' }) end end)\n\
           print(err.code)\n\
         end } end } }, { shutdown_timeout = 300 }) print('after')",
    );
    let url = server.url("/");
    let request = std::thread::spawn(move || curl(&[&url]));
    server.wait_for("begun");
    server.signal("TERM");
    // Whole, and not broken off: curl would say so.
    let events = request.join().expect("curl ends");
    assert!(events.starts_with("data: first\n\n"), "{events}");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
    server.wait_for("unavailable");
    server.wait_for("after");
}

fn a_handler_sees_that_it_should_end() {
    let mut server = serve(
        &[],
        "serve({ GET = {\n\
           ['/events'] = function(req) return { sse = function(send)\n\
             send({ data = tostring(req:closing()) })\n\
             print('begun')\n\
             while not req:closing() do sleep(0.01) end\n\
             print('events')\n\
           end } end,\n\
           ['/stream'] = function(req) return { body = function(write)\n\
             print('begun')\n\
             while not req:closing() do sleep(0.01) end\n\
             write('the end')\n\
           end } end,\n\
         } }, { shutdown_timeout = 300 }) print('after')",
    );
    let get = |path: &str| {
        let url = server.url(path);
        let request = std::thread::spawn(move || curl(&[&url]));
        server.wait_for("begun");
        request
    };
    let (events, stream) = (get("/events"), get("/stream"));
    server.signal("TERM");
    assert_eq!(events.join().expect("curl ends"), "data: false\n\n");
    assert_eq!(stream.join().expect("curl ends"), "the end");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
    server.wait_for("events");
    server.wait_for("after");
}

fn a_handler_sees_that_its_client_is_gone() {
    let server = serve(
        &[],
        "serve({ GET = { ['/'] = function(req) return { sse = function(send)\n\
           local ended <close> = setmetatable({}, { __close = function() print(req:closing()) end })\n\
           send({ data = 'first' })\n\
           while true do sleep(0.01) send({ data = 'more' }) end\n\
         end } end } })",
    );
    drop(server.raw_until(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", |answer| answer.contains("first")));
    server.wait_for("true");
}

fn lines_of_validators_are_one_list() {
    let directory = assay_tests::executable::Directory::new();
    directory.write("file", "content");
    let server = super::serve_in(
        directory,
        &["--allow", "fs=read:."],
        "serve({ GET = { ['/*'] = http.files('.') } })",
    );
    let head = curl(&["-I", &server.url("/file")]);
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("it has a validator");
    let ask = |lines: &[&str]| {
        let fields: String = lines.iter().map(|line| format!("If-None-Match: {line}\r\n")).collect();
        server.raw(format!("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").as_bytes())
    };
    for lines in [&["\"x\"", etag][..], &[etag, "\"x\""], &["\"x\", \"y\"", &format!("W/{etag}, \"z\"")]] {
        assert!(ask(lines).starts_with("HTTP/1.1 304 "), "{lines:?}");
    }
    assert!(ask(&["\"x\"", "\"y\""]).starts_with("HTTP/1.1 200 "));
}
