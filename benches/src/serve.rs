//! http.serve against native Lua on the same HTTP stack, and against the servers that others bring along.

use crate::load::{Load, Measured, median};
use crate::process::Program;
use crate::report::{Table, at_least, at_most, no_target, ratio, seconds};
use crate::server::Server;
use crate::{Effort, Result, fresh};
use std::process::Command;

/// Requests a second: times native, times node, and fresh instances in place of the warm one.
const NATIVE_TARGET: f64 = 1.0;
const NODE_TARGET: f64 = 2.0;
const FRESH_TARGET: f64 = 2.0;

const SCRIPT: &str = include_str!("../lua/serve.lua");
const BODY: &str =
    r#"{"id":42,"name":"widget","price":9.75,"tags":["a","b"],"stock":{"berlin":3,"paris":0}}"#;
const ASSAY: &str = "assay";
const FRESH: &str = "assay, an instance a request";
const NATIVE: &str = "native mlua, one thread too";
const NODE: &str = "node http";

const HEAD: &[&str] = &[
    "what",
    "connections",
    "server",
    "requests/s",
    "p50",
    "p99",
    "memory",
    "requests/s, assay to it",
    "p99, assay to it",
    "target",
    "met",
];

/// The servers that are installed, Assay first.
fn servers(notes: &mut Vec<String>) -> Result<Vec<Server>> {
    let native = Program::native()?;
    let mut fresh = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    fresh.arg(fresh::SERVE);
    let mut servers = vec![
        Server::start(ASSAY, &Program::assay_limited(&["--allow", "listen"])?, SCRIPT)?,
        Server::spawn(FRESH, fresh)?,
        Server::start(NATIVE, &native, &format!("ONE_THREAD = true\n{SCRIPT}"))?,
        Server::start("native mlua, two threads", &native, SCRIPT)?,
    ];
    for (name, program, code) in [
        (NODE, Program::node(), include_str!("../peers/serve.js")),
        ("python aiohttp", Program::python_of_debian(), include_str!("../peers/serve.py")),
    ] {
        match program.map(|program| Server::start(name, &program, code)) {
            Some(Ok(server)) => servers.push(server),
            Some(Err(error)) => notes.push(format!("Left out: {error}.")),
            None => notes.push(format!("{name} is not installed here and was left out.")),
        }
    }
    Ok(servers)
}

/// Whether all of them do the same.
fn check(servers: &[Server]) -> Result<()> {
    for server in servers {
        let hello = server.ask("GET", "/", "")?;
        if hello != "Hello, world!" {
            return Err(format!("{} says {hello}", server.name));
        }
        let echo = server.ask("POST", "/echo", BODY)?;
        // Each has its own order of names and white space.
        let letters = |text: &str| {
            let mut letters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            letters.sort_unstable();
            letters
        };
        if letters(&echo) != letters(BODY) {
            return Err(format!("{} echoes {echo}", server.name));
        }
    }
    Ok(())
}

pub fn measure(effort: Effort) -> Result<Table> {
    let mut notes = Vec::new();
    let servers = servers(&mut notes)?;
    check(&servers)?;
    let (rounds, length) = (effort.of(5, 1), effort.of(2, 1));
    let mut rows = Vec::new();
    for (what, path, script) in [("hello world", "/", None), ("JSON echo", "/echo", Some("echo.lua"))] {
        for connections in [1, 16, 256] {
            let load = Load { path, script, connections, seconds: length };
            let mut measured = vec![Vec::new(); servers.len()];
            for round in 0..rounds + 1 {
                let mut turns: Vec<usize> = (0..servers.len()).collect();
                if round % 2 == 1 {
                    turns.reverse();
                }
                for turn in turns {
                    // The first round is to warm up.
                    let load = if round == 0 { Load { seconds: 1, ..load } } else { load };
                    let result = load.measure(&servers[turn])?;
                    if round > 0 {
                        measured[turn].push(result);
                    }
                }
            }
            let medians: Vec<Measured> = measured.iter().map(|rounds| median(rounds)).collect();
            for (server, it) in servers.iter().zip(&medians) {
                rows.push(row(what, connections, server.name, &medians[0], it));
            }
        }
    }
    notes.push(format!(
        "wrk with one thread on the {} cores that the servers have; {rounds} rounds of {length} s in turns, forth and back; medians. \
         Every answer is checked to be 2xx. Memory is resident, half-way through, with 256 connections.",
        std::thread::available_parallelism().map_or(0, usize::from)
    ));
    notes.push(
        "Assay has a CPU and a wall limit and one instance, and one thread for its connections and Lua. Native mlua runs the same \
         script with hyper and one Lua state, which is called where the connection is; with two threads, connections are on one of \
         their own. \
         An instance a request is a server around the runtime, hyper on two threads, where each request starts an \
         instance, compiles the handler, runs it, and frees the instance; its target is half of the warm one. \
         node is one process, python is Debian's python3 with its python3-aiohttp."
            .into(),
    );
    Ok(Table { title: "HTTP server", head: HEAD, rows, notes })
}

fn row(what: &str, connections: u32, server: &str, assay: &Measured, it: &Measured) -> Vec<String> {
    let times = assay.requests / it.requests;
    let [target, met] = match server {
        _ if what != "hello world" => no_target(),
        NATIVE => at_least(times, NATIVE_TARGET, "x"),
        NODE => at_least(times, NODE_TARGET, "x"),
        FRESH => at_most(times, FRESH_TARGET, "x"),
        _ => no_target(),
    };
    let memory = if connections == 256 { format!("{:.1} MiB", it.resident) } else { String::new() };
    vec![
        what.into(),
        connections.to_string(),
        server.into(),
        format!("{:.0}", it.requests),
        seconds(it.median),
        seconds(it.p99),
        memory,
        format!("{times:.2}x"),
        ratio(assay.p99, it.p99),
        target,
        met,
    ]
}
