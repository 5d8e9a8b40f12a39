//! http.serve under load for minutes, with clients that are killed: what it holds must stay the same.

use crate::load::Load;
use crate::process::Program;
use crate::report::{Table, at_least, at_most, no_target};
use crate::server::Server;
use crate::{Result, report};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The argument that makes this program measure so.
pub const SOAK: &str = "--soak";
/// The argument that makes it a client that is killed.
pub const CLIENT: &str = "--client";

const SCRIPT: &str = include_str!("../lua/soak.lua");
const SECONDS: u64 = 180;
/// Clients that are killed in all, and at a time.
const KILLED: u32 = 1000;
const AT_ONCE: u32 = 10;
/// What these clients are in the middle of.
const REQUESTS: &[(&str, &str)] = &[
    ("GET /endless", ""),
    ("GET /events", ""),
    ("GET /slow", ""),
    ("POST /echo", "content-length: 100000\r\n"),
    ("GET /stream", ""),
];
/// For connections to end after the load.
const PATIENCE: Duration = Duration::from_secs(20);
/// Memory at the end, times that after a third of the time.
const MEMORY_TARGET: f64 = 1.1;

/// Measures, prints, and after a full length writes the table to the end of RESULTS.md.
pub fn run(seconds: Option<&str>) -> Result<()> {
    let seconds = match seconds.map(str::parse) {
        None => SECONDS,
        Some(Ok(seconds)) if seconds >= 3 => seconds,
        Some(_) => return Err(format!("{SOAK} takes a number of seconds, 3 or more")),
    };
    let table = measure(seconds)?;
    println!("{}", table.text());
    if seconds < SECONDS || cfg!(debug_assertions) {
        println!(
            "benches/RESULTS.md stays as it is: it is written by a soak of {SECONDS} s of the shipped build."
        );
        return Ok(());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
    let old = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let others = old.strip_suffix(report::soak_of(&old)).unwrap_or(&old);
    std::fs::write(path, format!("{others}\n{}", table.text()))
        .map_err(|error| format!("cannot write {path}: {error}"))?;
    println!("wrote {path}");
    Ok(())
}

fn measure(seconds: u64) -> Result<Table> {
    let program = Program::assay_limited(&["--allow", "listen"])?;
    let mut command = program.command(SCRIPT);
    // Its log of what fails on purpose.
    command.stderr(Stdio::null());
    let server = Server::spawn("assay", command)?;
    let alive = || match server.ask("POST", "/echo", "[1]")?.as_str() {
        "[1]" => Ok(()),
        other => Err(format!("the server echoes {other}")),
    };
    alive()?;
    // The connection of that ends without our doing.
    let before = settled(&server, 0)?;
    let load = |path, script, connections| Load { path, script, connections, seconds };
    let mixed = load("/ok", Some("soak.lua"), 64).start(&server)?;
    let slow = load("/slow", None, 16).start(&server)?;
    let began = Instant::now();
    let (mut killed, mut most, mut early) = (0, 0.0_f64, None);
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = f64::from(KILLED) * began.elapsed().as_secs_f64() / seconds as f64;
        if killed < KILLED && f64::from(killed) <= due {
            kill(&server, killed, AT_ONCE)?;
            killed += AT_ONCE;
        } else {
            std::thread::sleep(Duration::from_millis(10));
        }
        let resident = server.resident()?;
        most = most.max(resident);
        if early.is_none() && began.elapsed() >= Duration::from_secs(seconds) / 3 {
            early = Some(resident);
        }
    }
    let under_load = server.resident()?;
    let (mixed, slow) = (mixed.finish()?, slow.finish()?);
    while killed < KILLED {
        kill(&server, killed, AT_ONCE)?;
        killed += AT_ONCE;
    }
    let after = settled(&server, before)?;
    let resident = server.resident()?;
    alive()?;
    let early = early.ok_or("the time was too short")?;
    let row = |what: String, value: String, [target, met]: [String; 2]| vec![what, value, target, met];
    let mib = |value: f64| format!("{value:.1} MiB");
    let rows = vec![
        row("requests answered, of every kind".into(), format!("{:.0}", mixed.count), no_target()),
        row("of these by an error, on purpose".into(), format!("{:.0}", mixed.refused), no_target()),
        row("requests that took too long".into(), format!("{:.0}", slow.count), no_target()),
        row(
            "clients killed with kill -9".into(),
            killed.to_string(),
            at_least(f64::from(killed), f64::from(KILLED), ""),
        ),
        row(format!("resident memory after {} s", seconds / 3), mib(early), no_target()),
        row(
            format!("resident memory after {seconds} s"),
            mib(under_load),
            at_most(under_load / early, MEMORY_TARGET, "x"),
        ),
        row("resident memory at most".into(), mib(most), no_target()),
        row(
            "resident memory without load".into(),
            mib(resident),
            at_most(resident / early, MEMORY_TARGET, "x"),
        ),
        row("descriptors before".into(), before.to_string(), no_target()),
        row("descriptors after".into(), after.to_string(), at_most(after as f64, before as f64, "")),
    ];
    let notes = vec![format!(
        "http.serve for {seconds} s, written by `cargo xtask bench {SOAK}`: 64 connections ask for answers, JSON, bodies in pieces, errors, bodies that \
         break off and what is not there; 16 wait for a handler that takes too long; clients are killed in bodies without end, \
         events, uploads and while they wait. Targets are times the memory after {} s.",
        seconds / 3
    )];
    Ok(Table { title: "Soak", head: &["what", "value", "target", "met"], rows, notes })
}

/// How many descriptors the server has when its connections have ended.
fn settled(server: &Server, wanted: usize) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    let (mut count, mut same) = (server.descriptors()?, 0);
    // Not to be mistaken for one moment in which nothing is open.
    while same < 20 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        let now = server.descriptors()?;
        same = if now == count && (wanted == 0 || now <= wanted) { same + 1 } else { 0 };
        count = now;
    }
    Ok(count)
}

/// Starts clients, waits until each has asked, and kills them.
fn kill(server: &Server, first: u32, count: u32) -> Result<()> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut clients = Vec::new();
    for n in first..first + count {
        let (request, header) = REQUESTS[n as usize % REQUESTS.len()];
        let child = Command::new(&here)
            .args([CLIENT, &server.address.to_string(), request, header])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        clients.push(Client(child.map_err(|error| format!("cannot start a client: {error}"))?));
    }
    for client in &mut clients {
        let mut byte = [0];
        let read = client.0.stdout.as_mut().map(|stdout| stdout.read_exact(&mut byte));
        if !matches!(read, Some(Ok(()))) {
            return Err("a client could not ask".into());
        }
    }
    Ok(())
}

struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process of [`kill`]: asks, says so, and reads until it is killed.
pub fn client(address: &str, request: &str, header: &str) -> Result<()> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    let text = format!("{request} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n{{\"half\":");
    let asked = if header.is_empty() { text.trim_end_matches("{\"half\":") } else { &text };
    stream.write_all(asked.as_bytes()).map_err(failed)?;
    std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush()).map_err(failed)?;
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).map_err(failed)? > 0 {}
    // It waits to be killed all the same.
    loop {
        std::thread::park();
    }
}
