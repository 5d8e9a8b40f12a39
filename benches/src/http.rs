//! Many small HTTP requests, against the native program on the same stack.

use crate::process::Program;
use crate::report::{Table, ratio, seconds};
use crate::script::Script;
use crate::{Effort, Result, reactor};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SCRIPT: &str = include_str!("../lua/http.lua");
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\nserver: bench\r\n\r\nHello, world!";
const MAX_REQUEST: usize = 64 << 10;

/// How many requests are on their way at a time.
pub const AT_ONCE: &[u32] = &[1, 100];

/// The script of `count` requests.
pub fn script(address: SocketAddr, count: u32, at_once: u32) -> Script<'static> {
    let before = format!("local URL, COUNT, AT_ONCE = \"http://{address}/\", {count}, {at_once}");
    Script { before, rounds: 2, ..Script::waiting(SCRIPT) }
}

pub fn measure(effort: Effort) -> Result<Table> {
    let address = serve()?;
    let (ours, theirs) =
        (Program::assay_limited(&["--allow", &format!("http={address}")])?, Program::native()?);
    let count = effort.of(10_000, 1_000);
    let mut rows = Vec::new();
    for at_once in AT_ONCE {
        let script = script(address, count, *at_once);
        let (mine, other) = script.compare(&ours, &theirs, effort.of(5, 2))?;
        let cells = |time: f64| {
            format!("{} a request, {:.0} a second", seconds(time / f64::from(count)), f64::from(count) / time)
        };
        rows.push(vec![
            format!("{count} http.get, {at_once} at a time"),
            cells(mine),
            cells(other),
            ratio(mine, other),
        ]);
    }
    let notes = vec![
        "Wall time; bodies of 13 bytes over connections that are kept, from a server on a thread of this program that answers without \
         parsing. Both clients are hyper's HTTP/1.1 on one thread with one Lua state; Assay also checks each request and its address \
         against the grants, and has a CPU and a wall limit."
            .into(),
    ];
    Ok(Table { title: "HTTP client", head: &["what", "assay", "native mlua", "time ratio"], rows, notes })
}

/// Starts the server, which ends with the process.
pub fn serve() -> Result<SocketAddr> {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| format!("cannot listen: {error}"))?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let reactor = reactor()?;
    std::thread::spawn(move || {
        reactor.block_on(async {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    Ok(address)
}

/// Answers requests without a body until the connection is closed.
async fn answer(mut stream: TcpStream) {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let mut request = Vec::new();
    loop {
        match stream.read_buf(&mut request).await {
            Ok(read) if read > 0 && request.len() <= MAX_REQUEST => {}
            _ => return,
        }
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(RESPONSE).await.is_err() {
                return;
            }
        }
    }
}
