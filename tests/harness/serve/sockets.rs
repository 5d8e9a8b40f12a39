//! WebSockets as no browser opens them: clients that send and do not read, and frames that carry nothing.

use super::{Serving, curl, serve};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("websockets_that_nobody_reads_fill_no_memory", websockets_that_nobody_reads_fill_no_memory),
    ("websockets_that_echo_to_nobody_fill_no_memory", websockets_that_echo_to_nobody_fill_no_memory),
    (
        "websockets_that_ping_and_never_read_fill_no_memory",
        websockets_that_ping_and_never_read_fill_no_memory,
    ),
    ("frames_that_carry_nothing_are_bounded", frames_that_carry_nothing_are_bounded),
    ("large_messages_come_in_fragments_both_ways", large_messages_come_in_fragments_both_ways),
];

impl Serving {
    /// The most memory that it has had beside what is mapped of its own file, which a debug build has much of; MiB.
    pub(super) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
        };
        field("VmHWM:") - field("RssFile:")
    }

    pub(super) fn websocket(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it listens");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("it answers");
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        stream
    }
}

/// A binary message of this size, masked with zeros.
fn message(bytes: u64) -> Vec<u8> {
    let mut frame = vec![0x82, 0xff];
    frame.extend(bytes.to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + bytes as usize, 7);
    frame
}

/// What 150 clients send to handlers that do not read waits at the clients.
fn websockets_that_nobody_reads_fill_no_memory() {
    let server = serve(
        &["--memory", "64MiB"],
        "serve({ GET = { ['/'] = function() return 'x' end,\n\
           ['/deaf'] = function() return { ws = function(conn) sleep(1000) end } end,\n\
           ['/slow'] = function() return { ws = function(conn) conn:read() sleep(1000) end } end,\n\
           ['/echo'] = function() return { ws = function(conn) for text in conn:messages() do conn:write(tostring(#text)) end end } end,\n\
         } })",
    );
    let message = message(1 << 20);
    let paths = ["/slow", "/deaf", "/deaf"].iter().cycle().take(150);
    let mut clients: Vec<TcpStream> = paths.map(|path| server.websocket(path)).collect();
    std::thread::scope(|scope| {
        for stream in &mut clients {
            let message = &message;
            scope.spawn(move || {
                // What is not taken in this time is not taken.
                stream.set_write_timeout(Some(Duration::from_secs(3))).expect("a timeout can be set");
                let _ = (0..14).try_for_each(|_| stream.write_all(message));
            });
        }
    });
    // The limit, the budget and 32 MiB.
    assert!(server.peak() < 64 + 64 + 32, "{} MiB", server.peak());
    assert_eq!(curl(&[&server.url("/")]), "x");
    drop(clients);
    // A handler that reads gets what is sent, whole, once the memory of those that are gone was given back.
    let echoed = || {
        let mut stream = server.websocket("/echo");
        (0..14).try_for_each(|_| {
            stream.write_all(&message)?;
            let mut answer = [0; 9];
            stream.read_exact(&mut answer)?;
            match &answer == b"\x81\x071048576" {
                true => Ok(()),
                false => Err(std::io::Error::other(format!("{answer:?}"))),
            }
        })
    };
    let mut tries = (0..600).map(|_| {
        let done = echoed();
        if done.is_err() {
            std::thread::sleep(Duration::from_millis(100));
        }
        done
    });
    assert!(tries.any(|done| done.is_ok()), "{:?}", echoed());
}

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// Reads one frame of the server: its first byte and its payload. None at the end.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let size = match head[1] {
        126 => {
            let mut size = [0; 2];
            stream.read_exact(&mut size).ok()?;
            u16::from_be_bytes(size).into()
        }
        127 => {
            let mut size = [0; 8];
            stream.read_exact(&mut size).ok()?;
            usize::try_from(u64::from_be_bytes(size)).ok()?
        }
        size => size.into(),
    };
    let mut payload = vec![0; size];
    stream.read_exact(&mut payload).ok()?;
    Some((head[0], payload))
}

const SOCKETS: &str = "serve({ GET = { ['/'] = function() return 'x' end,\n\
       ['/echo'] = function() return { max_message = 4 << 20, ws = function(conn)\n\
         for text, kind in conn:messages() do conn:write(text, { binary = kind == 'binary' }) end end } end,\n\
       ['/take'] = function() return { ws = function(conn) for _ in conn:messages() do end end } end,\n\
     } })";

/// Each client sends so many times, for as long as somebody takes it, and reads nothing.
fn send_to_nobody(clients: &mut [TcpStream], bytes: &[u8], times: u32) {
    std::thread::scope(|scope| {
        for stream in clients {
            scope.spawn(move || {
                stream.set_write_timeout(Some(Duration::from_secs(3))).expect("a timeout can be set");
                let _ = (0..times).try_for_each(|_| stream.write_all(bytes));
            });
        }
    });
}

/// Each client has what it sent, what came back and did not leave, and what it sends next at the server.
fn websockets_that_echo_to_nobody_fill_no_memory() {
    let server = serve(&["--memory", "64MiB"], SOCKETS);
    let message = message(1_000_000);
    let mut clients: Vec<TcpStream> = (0..60).map(|_| server.websocket("/echo")).collect();
    send_to_nobody(&mut clients, &message, 14);
    assert!(server.peak() < 64 + 64 + 32, "{} MiB", server.peak());
    assert_eq!(curl(&[&server.url("/")]), "x");
}

/// Answers to pings wait for their client, and nothing more is read of it.
fn websockets_that_ping_and_never_read_fill_no_memory() {
    let server = serve(&["--memory", "64MiB"], SOCKETS);
    // Messages among the pings, so that they are no flood.
    let both = [frame(0x89, &[7; 125]), frame(0x82, b"x")].concat().repeat(1000);
    let mut clients: Vec<TcpStream> = (0..30).map(|_| server.websocket("/take")).collect();
    send_to_nobody(&mut clients, &both, 100);
    assert!(server.peak() < 64 + 64 + 32, "{} MiB", server.peak());
    assert_eq!(curl(&[&server.url("/")]), "x");
}

fn frames_that_carry_nothing_are_bounded() {
    let server = serve(&[], SOCKETS);
    for (name, begin, noise) in [
        ("pings", vec![], frame(0x89, b"ping")),
        ("pongs", vec![], frame(0x8a, b"")),
        ("empty messages", vec![], frame(0x81, b"")),
        ("empty fragments", frame(0x01, b"x"), frame(0x00, b"")),
        ("tiny fragments", frame(0x01, b"x"), frame(0x00, b"y")),
    ] {
        let mut stream = server.websocket("/take");
        let mut reader = stream.try_clone().expect("it can be shared");
        let last = std::thread::spawn(move || {
            std::iter::from_fn(|| read_frame(&mut reader)).find(|(first, _)| *first == 0x88)
        });
        // It may be closed before all is sent.
        let _ = stream.write_all(&[begin, noise.repeat(10_000)].concat());
        let closed = last.join().expect("it reads");
        let code = closed.as_ref().map(|(_, payload)| u16::from_be_bytes([payload[0], payload[1]]));
        // The reason may be lost on the way where more was sent than was read.
        assert!(code.is_none_or(|code| code == 1008), "{name}: {code:?}");
    }
    // As many as may come at once, and more with messages among them.
    let mut stream = server.websocket("/echo");
    stream.write_all(&frame(0x89, b"").repeat(1500)).expect("it is open");
    let mut pongs = 0;
    stream.write_all(&frame(0x81, b"hello")).expect("it is open");
    while let Some((first, payload)) = read_frame(&mut stream) {
        match first {
            0x8a => pongs += 1,
            _ => {
                assert_eq!((first, payload.as_slice()), (0x81, &b"hello"[..]));
                break;
            }
        }
    }
    // A pong may answer several pings (RFC 6455 5.5.3).
    assert!((1..=1500).contains(&pongs), "{pongs}");
    for _ in 0..3000 {
        stream.write_all(&[frame(0x8a, b""), frame(0x81, b"x")].concat()).expect("it is open");
        let echo = loop {
            match read_frame(&mut stream) {
                Some((0x8a, _)) => {}
                other => break other,
            }
        };
        assert_eq!(echo, Some((0x81, b"x".to_vec())));
    }
}

fn large_messages_come_in_fragments_both_ways() {
    let server = serve(&[], SOCKETS);
    let mut stream = server.websocket("/echo");
    for size in [0, 1, 16 << 10, (16 << 10) + 1, 1_000_003, 4 << 20] {
        let sent = message(size);
        let mut writer = stream.try_clone().expect("it can be shared");
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        let mut whole = Vec::new();
        for n in 0.. {
            let (first, payload) = read_frame(&mut stream).expect("a frame");
            assert_eq!(first & 0x0f, if n == 0 { 2 } else { 0 }, "{size}");
            assert!(payload.len() <= 16 << 10, "{size}: {}", payload.len());
            whole.extend(payload);
            if first & 0x80 != 0 {
                break;
            }
        }
        writing.join().expect("it writes").expect("it is read");
        assert!(whole == vec![7; size as usize], "{size}: {}", whole.len());
    }
    // More than the bound is refused by its length, before it is sent.
    stream.write_all(&message((4 << 20) + 1)[..100]).expect("it is open");
    assert_eq!(
        read_frame(&mut stream).map(|(first, payload)| (first, payload[..2].to_vec())),
        Some((0x88, vec![3, 0xf1]))
    );
}
