//! Clients of HTTP/2 that hold a connection, or cause work, without sending requests. Frames are written by hand: libraries
//! send none of these.

use super::{Serving, curl, serve};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("an_idle_connection_is_closed_whatever_it_answers", an_idle_connection_is_closed_whatever_it_answers),
    ("a_window_that_stays_closed_ends_the_connection", a_window_that_stays_closed_ends_the_connection),
    ("a_script_that_takes_its_time_is_waited_for", a_script_that_takes_its_time_is_waited_for),
    ("frames_that_ask_for_nothing_end_the_connection", frames_that_ask_for_nothing_end_the_connection),
    ("no_more_streams_than_are_allowed", no_more_streams_than_are_allowed),
    ("a_request_of_version_2_is_for_one_host", a_request_of_version_2_is_for_one_host),
];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const AWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Gives the frames of a flood by their number.
type Flood<'a> = &'a mut dyn FnMut(u32) -> Vec<u8>;

/// How soon each of these tests must come to its end.
const PATIENCE: Duration = Duration::from_secs(30);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields as literals that are not kept (RFC 7541 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let block = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A frame that came.
struct Came {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    /// Connects, with the window of each stream.
    fn new(server: &Serving, window: u32) -> Client {
        let stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        let mut client = Client { stream, read: Vec::new() };
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(&frame(SETTINGS, 0, 0, &settings));
        client
    }

    /// False where the connection is over.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; what has to be acknowledged is. None at the end; while nothing comes, `idle` is done.
    fn next(&mut self, mut idle: impl FnMut(&mut Client)) -> Option<Came> {
        let began = Instant::now();
        loop {
            if self.read.len() >= 9 {
                let length = u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]) as usize;
                if self.read.len() >= 9 + length {
                    let bytes: Vec<u8> = self.read.drain(..9 + length).collect();
                    let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
                    let came = Came { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() };
                    if matches!(came.kind, SETTINGS | PING) && came.flags & ACK == 0 {
                        let payload = if came.kind == PING { &came.payload[..] } else { &[] };
                        self.send(&frame(came.kind, ACK, 0, payload));
                    }
                    return Some(came);
                }
            }
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.read.extend(&piece[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    assert!(began.elapsed() < PATIENCE, "the connection stays open");
                    idle(self);
                }
                Err(_) => return None,
            }
        }
    }

    /// Reads to the end of the connection, doing `idle` while nothing comes; gives whether the server said goodbye.
    fn end(&mut self, mut idle: impl FnMut(&mut Client)) -> bool {
        let (began, mut away) = (Instant::now(), false);
        while let Some(came) = self.next(&mut idle) {
            away |= came.kind == AWAY;
            assert!(began.elapsed() < PATIENCE, "the connection stays open");
        }
        away
    }

    /// The first byte of the head of the response on a stream: 0x88 is status 200, 0x8c 400 (RFC 7541 appendix A).
    fn status(&mut self, stream: u32) -> u8 {
        loop {
            let came = self.next(|_| {}).expect("the connection is open");
            if came.kind == HEADERS && came.stream == stream {
                return came.payload[0];
            }
        }
    }
}

fn ping(client: &mut Client) {
    client.send(&frame(PING, 0, 0, &[7; 8]));
}

fn serving(options: &str) -> Serving {
    let script = "serve({ GET = { ['/'] = function() return 'x' end, ['/large'] = function() return ('x'):rep(1 << 20) end,\n\
       ['/slow'] = function() sleep(1.5) return 'slow' end, ['/never'] = function() sleep(1000) end,\n\
       ['/stream'] = function() return { body = function(write)\n\
         local guard <close> = setmetatable({}, { __close = function() print('ended') end })\n\
         while true do write(('x'):rep(60000)) end end } end,\n\
       ['/events'] = function() return { sse = function(send) sleep(1.5) send('late') end } end } }, ";
    serve(&[], &format!("{script}{{ {options} }})"))
}

fn an_idle_connection_is_closed_whatever_it_answers() {
    let server = serving("header_timeout = 0.4, body_timeout = 0.4, max_connections = 3");
    // One that has asked for something, one that has not, one that has and lets the server wait for its body.
    let mut asked = Client::new(&server, 65535);
    asked.send(&get(1, "/"));
    assert_eq!(asked.status(1), 0x88);
    let mut silent = Client::new(&server, 65535);
    let mut half = Client::new(&server, 65535);
    let post = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/none")]);
    half.send(&frame(HEADERS, END_HEADERS, 1, &post));
    let clients =
        std::thread::spawn(move || [&mut asked, &mut silent, &mut half].map(|client| client.end(ping)));
    // All connections are taken; this one waits for the first to be closed.
    assert_eq!(curl(&[&server.url("/")]), "x");
    assert_eq!(clients.join().expect("it ends"), [true; 3]);
    assert_eq!(curl(&["--http2-prior-knowledge", &server.url("/")]), "x");
}

fn a_window_that_stays_closed_ends_the_connection() {
    let server = serving("header_timeout = 0.4, body_timeout = 0.4");
    for window in [0, 1, 1000] {
        for path in ["/large", "/stream"] {
            let mut client = Client::new(&server, window);
            client.send(&get(1, path));
            client.end(|client| {
                ping(client);
                // Byte by byte is as good as nothing.
                client.send(&frame(WINDOW, 0, 1, &1u32.to_be_bytes()));
            });
            if path == "/stream" {
                server.wait_for("ended");
            }
        }
    }
    // One that reads on, slower than the bound as a whole, gets everything.
    let mut client = Client::new(&server, 2000);
    client.send(&get(1, "/large"));
    let began = Instant::now();
    let mut got = 0;
    while got < 1 << 20 {
        let came = client.next(|_| {}).expect("the connection stays open");
        if came.kind == DATA {
            got += came.payload.len();
            let window = if began.elapsed() < Duration::from_secs(1) { 2000 } else { 1 << 20 };
            for stream in [0, 1] {
                client.send(&frame(WINDOW, 0, stream, &u32::to_be_bytes(window)));
            }
            if window == 2000 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    assert_eq!(curl(&[&server.url("/")]), "x");
}

fn a_script_that_takes_its_time_is_waited_for() {
    let server = serving("header_timeout = 0.3, body_timeout = 0.3");
    for path in ["/slow", "/events"] {
        let mut client = Client::new(&server, 65535);
        client.send(&get(1, path));
        let mut text = Vec::new();
        while let Some(came) = client.next(ping) {
            if came.kind == DATA {
                text.extend(&came.payload);
                if came.flags & END_STREAM != 0 {
                    break;
                }
            }
        }
        let text = String::from_utf8(text).expect("text");
        assert!(text == "slow" || text == "data: late\n\n", "{path}: {text:?}");
    }
}

fn frames_that_ask_for_nothing_end_the_connection() {
    let server = serving("");
    let open = get(1, "/never");
    let mut requests = 1u32;
    let mut rapid = move |_: u32| {
        requests += 2;
        [get(requests, "/never"), frame(RESET, 0, requests, &[0, 0, 0, 8])].concat()
    };
    let block =
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("x", "y")]);
    let floods: [(&str, Flood<'_>); 10] = [
        ("pings", &mut |_| frame(PING, 0, 0, &[1; 8])),
        ("answers to no ping", &mut |_| frame(PING, ACK, 0, &[1; 8])),
        ("settings", &mut |_| frame(SETTINGS, 0, 0, &[])),
        ("settings with fields", &mut |n| {
            frame(SETTINGS, 0, 0, &[&[0, 4], &(n % 1000).to_be_bytes()[..]].concat())
        }),
        ("windows", &mut |_| frame(WINDOW, 0, 1, &[0, 0, 0, 1])),
        ("priorities", &mut |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown frames", &mut |_| frame(99, 0, 0, b"x")),
        ("rapid reset", &mut rapid),
        ("empty pieces of a body", &mut |n| match n {
            0 => frame(HEADERS, END_HEADERS, 3, &block),
            _ => frame(DATA, 0, 3, &[]),
        }),
        ("continuations", &mut |n| match n {
            0 => frame(HEADERS, 0, 3, &block),
            _ => frame(CONTINUATION, 0, 3, &[]),
        }),
    ];
    for (name, flood) in floods {
        let mut client = Client::new(&server, 65535);
        client.send(&open);
        let began = Instant::now();
        let mut n = 0;
        loop {
            let bytes: Vec<u8> = (0..100)
                .flat_map(|_| {
                    let bytes = flood(n);
                    n += 1;
                    bytes
                })
                .collect();
            if !client.send(&bytes) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{name} go on and on");
        }
        assert_eq!(curl(&["--http2-prior-knowledge", &server.url("/")]), "x", "{name}");
    }
    // What clients do fills no log.
    let log = std::fs::read_to_string(server.directory.path().join("stderr")).expect("it has a log");
    assert!(log.len() < 2000, "{} bytes: {}", log.len(), &log[..2000]);
}

fn no_more_streams_than_are_allowed() {
    let server = serving("");
    let mut client = Client::new(&server, 65535);
    for n in 0..200 {
        client.send(&get(2 * n + 1, "/never"));
    }
    let mut refused = 0;
    while refused < 72 {
        let came = client.next(|_| {}).expect("the connection is open");
        assert_ne!(came.kind, HEADERS);
        if came.kind == RESET {
            // REFUSED_STREAM: it may be tried again.
            assert_eq!(came.payload, [0, 0, 0, 7]);
            refused += 1;
        } else if came.kind == AWAY {
            break;
        }
    }
    assert!(refused >= 60, "{refused}");
    assert_eq!(curl(&["--http2-prior-knowledge", &server.url("/")]), "x");
}

fn a_request_of_version_2_is_for_one_host() {
    let server = serving("");
    let method = (":method", "GET");
    let (scheme, path) = ((":scheme", "http"), (":path", "/"));
    let at = |place| (":authority", place);
    for (head, status) in [
        (vec![method, scheme, at("a"), path], 0x88),
        (vec![method, scheme, at("a"), path, ("host", "a")], 0x88),
        (vec![method, scheme, at("a"), path, ("host", "A:80")], 0x88),
        (vec![method, scheme, path, ("host", "a")], 0x88),
        (vec![method, scheme, at("a"), path, ("host", "b")], 0x8c),
        (vec![method, scheme, at("a"), path, ("host", "a:81")], 0x8c),
        (vec![method, scheme, at("a"), path, ("host", "a"), ("host", "b")], 0x8c),
        (vec![method, scheme, at("a"), path, ("host", "a"), ("host", "a")], 0x8c),
        (vec![method, scheme, at("a"), path, ("host", "")], 0x8c),
        (vec![method, scheme, at("b@a"), path, ("host", "a")], 0x8c),
        (vec![method, scheme, path], 0x8c),
    ] {
        let mut client = Client::new(&server, 65535);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&head)));
        assert_eq!(client.status(1), status, "{head:?}");
    }
}
