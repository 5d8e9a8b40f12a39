//! A run that is replayed: once its top level has run, it gives the same whenever it is run again. Time and randomness
//! come from the program, and nothing else of the world comes in.

use assay_capability_api::types::ErrorCode;
use assay_capability_api::{
    Ambient, Capability, Clock, Determinism, Extension, Pending, Policy, Replay, Run, RunState, Slept, error,
};
use assay_runner::{Ended, Input, RunOutcome, RunSpec, Script};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// 2001-09-09T01:46:40Z.
const BEGAN: u64 = 1_000_000_000;

/// A clock that stands while the run computes, and goes to the end of a wait at once: tokio's, which is paused.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Duration {
        Duration::from_secs(BEGAN) + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> Slept {
        Box::pin(tokio::time::sleep(time))
    }
}

/// What a program adds: one function that reaches outside, and one that answers from a history.
struct History;

impl Capability for History {
    fn name(&self) -> &'static str {
        "history"
    }

    fn summary(&self) -> &'static str {
        "what has happened"
    }

    fn determinism(&self, function: &str) -> Determinism {
        if function == "recall" { Determinism::Program } else { Determinism::Outside }
    }
}

impl Extension for History {
    fn functions(&self) -> &'static [&'static str] {
        &["recall", "fetch"]
    }

    fn call<'a>(&'a self, _: &'a Arc<Run>, function: &'a str, _: String) -> Pending<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            match function {
                "recall" | "fetch" => Ok(json!(function).to_string()),
                other => Err(error(ErrorCode::NotFound, other)),
            }
        })
    }
}

fn spec(granted: bool, seed: Option<u8>) -> RunSpec {
    let mut policy = Policy::default();
    if granted {
        policy.allow_all();
    }
    let replay = seed.map(|seed| Replay { clock: Arc::new(Virtual(Instant::now())), seed: [seed; 32] });
    let ambient = Arc::new(Ambient::inherited());
    RunSpec::new(RunState { replay, ambient, ..RunState::new(policy, std::env::temp_dir()) }.into())
}

async fn run(source: &str, granted: bool, seed: Option<u8>) -> RunOutcome {
    let runner = crate::runner().with_extensions(&[&History]);
    let script = Script::new("flow.lua", source.as_bytes());
    runner.run(&script, Input::call("", &()).unwrap(), spec(granted, seed)).await
}

fn value(outcome: &RunOutcome) -> Value {
    outcome.result().unwrap().unwrap_or_else(|| panic!("{outcome:?}"))
}

/// All that has time or randomness in it.
const SOURCES: &str = r#"
local before = math.random(0)
return function()
  local log = {}
  local keys = {}
  for i = 1, 40 do keys["key" .. i] = true end
  local order = {}
  for key in pairs(keys) do order[#order + 1] = key end
  local key = ("k"):rep(32)
  local token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjEwMDAwMDAwMDB9"
  token = token .. "." .. base64.encode(crypto.hmac(key, token, "sha256", true), { url = true, pad = false })
  local function verified()
    return (pcall(crypto.jwt_verify, token, key, { algorithms = { "HS256" }, leeway = 60 }))
  end
  local valid = verified()
  local started, clock, monotonic = time(), os.clock(), os.time()
  sleep(30 * 86400)
  local function waits(name, seconds)
    return function()
      sleep(seconds)
      log[#log + 1] = name
      -- What takes a thread of the host: it ends whenever that has time for it.
      compress.unxz(compress.xz(("x"):rep(300000)))
      log[#log + 1] = name .. " packed"
    end
  end
  async.all { waits("third", 3), waits("first", 1), waits("second", 1), function() history.recall() end }
  local ok, late = pcall(async.timeout, 5, function() sleep(3600) end)
  return {
    started = started, clock = os.clock() - clock, slept = time() - started, seconds = os.time() - monotonic,
    date = os.date("%Y-%m-%d %H:%M:%S %Z"), table = os.date("*t").year, zone = os.date("%Z", 0),
    random = { math.random(0), math.random(1, 1000), math.random() }, order = table.concat(order, " "),
    bytes = crypto.hash(crypto.random(40)), uuid = crypto.uuid(), uuid7 = crypto.uuid_v7(),
    template = template.render_string("{{ range(10000) | list | random }}"),
    log = log, late = not ok and late.code, hash = crypto.hash("x"),
    valid = valid, expired = not verified(),
    recalled = history.recall(),
  }
end
"#;

#[tokio::test(start_paused = true)]
async fn a_run_that_is_replayed_gives_the_same() {
    let first = value(&run(SOURCES, false, Some(1)).await);
    for _ in 0..3 {
        assert_eq!(value(&run(SOURCES, false, Some(1)).await), first);
    }
    let month = 30 * 86400;
    assert_eq!(first["started"], json!(BEGAN as f64));
    assert_eq!((&first["slept"], &first["clock"]), (&json!((month + 8) as f64), &json!((month + 8) as f64)));
    assert_eq!((&first["seconds"], &first["late"]), (&json!(month + 8), &json!("timeout")));
    assert_eq!(first["date"], "2001-10-09 01:46:48 UTC");
    assert_eq!(
        (&first["table"], &first["zone"], &first["recalled"]),
        (&json!(2001), &json!("UTC"), &json!("recall"))
    );
    assert_eq!((&first["expired"], &first["valid"]), (&json!(true), &json!(true)), "{first}");
    assert_eq!(
        first["log"],
        json!(["first", "first packed", "second", "second packed", "third", "third packed"])
    );

    let other = value(&run(SOURCES, false, Some(2)).await);
    for name in ["random", "order", "bytes", "uuid", "uuid7", "template"] {
        assert_ne!(other[name], first[name], "{name}");
    }
    for name in ["started", "slept", "date", "log", "hash"] {
        assert_eq!(other[name], first[name], "{name}");
    }
}

/// What comes before the switch does not move what comes after it.
#[tokio::test(start_paused = true)]
async fn numbers_do_not_depend_on_what_the_top_level_did() {
    let rest = "return function() return { math.random(0), crypto.uuid(), time() } end";
    let plain = value(&run(rest, false, Some(1)).await);
    let more = format!(
        "for i = 1, 100 do math.random() crypto.random(100) end sleep(0.01) math.randomseed(7) {rest}"
    );
    assert_eq!(value(&run(&more, false, Some(1)).await)[0], plain[0]);
    assert_eq!(value(&run(&more, false, Some(1)).await)[1], plain[1]);
}

/// What reaches outside, by the function of the host that is refused.
const OUTSIDE: &str = r#"
local body, file, child, opened = ...
return function()
  local nothing = function() end
  local calls = {
    { "http.send", http.get, URL }, { "http", http.post, URL, ("x"):rep(300000) },
    { "http.send", http.client().get, http.client(), URL }, { "http.download", http.download, URL, "x" },
    { "listen.bind", http.serve, 0, {} }, { "ws.connect", ws.connect, "ws://192.0.2.1/" },
    { "fs.open", fs.read, "x" }, { "fs.open", fs.read_bytes, "x" }, { "fs.open", fs.write, "x", "" },
    { "fs.open", fs.append, "x", "" }, { "fs.remove", fs.remove, "x" }, { "fs.copy", fs.copy, "x", "y" },
    { "fs.rename", fs.rename, "x", "y" }, { "fs.chmod", fs.chmod, "x", 384 }, { "fs.mkdir", fs.mkdir, "x" },
    { "fs.walk", fs.list, "." }, { "fs.walk", fs.readdir, "." }, { "fs.glob", fs.glob, "*" },
    { "fs.temp_directory", fs.tempdir }, { "fs.stat", fs.stat, "x" }, { "fs.stat", fs.exists, "x" },
    { "fs.stat", fs.is_dir, "x" }, { "fs.stat", fs.is_file, "x" }, { "fs.symlink", fs.symlink, "x", "y" },
    { "fs.readlink", fs.readlink, "x" }, { "fs.canonicalize", fs.canonicalize, "x" },
    { "fs.open", fs.lines, "x" }, { "fs.open", fs.sub_in_file, "x", "a", "b" },
    { "fs.open", io.open, "x" }, { "fs.open", io.lines, "x" }, { "fs.open", io.input, "x" },
    { "fs", io.tmpfile }, { "fs.open", dofile, "x.lua" }, { "fs.open", loadfile, "x.lua" },
    { "fs", os.remove, "x" }, { "fs.rename", os.rename, "x", "y" }, { "fs", os.tmpname },
    { "stdio.read", io.read, "a" }, { "shell.open", io.popen, "true" }, { "shell", os.execute, "true" },
    { "env.get", os.getenv, "HOME" }, { "env.get", env.get, "HOME" }, { "env.get", env.home },
    { "env.list", env.list }, { "env.set", env.set, "A", "b" }, { "env.set", env.unset, "A" }, { "env.cwd", env.cwd },
    { "os.hostname", os.hostname }, { "os.info", os.info }, { "os.arch", os.arch }, { "os.platform", os.platform },
    { "os.catch_signal", os.on_signal, "TERM", nothing },
    { "process.run", process.run, { cmd = "true" } }, { "process.spawn", process.spawn, { cmd = "true" } },
    { "process.all", process.list }, { "process.running", process.is_running, "x" }, { "process.pid", process.pid },
    { "process.kill", process.kill, 1 }, { "process.wait", process.wait, 1 },
    { "shell.run", shell.exec, "true" }, { "shell.run", shell.output, "true" }, { "shell.which", shell.which, "true" },
    { "pty.spawn", process.spawn_pty, { cmd = "true" } },
    { "db.connect", db.connect, "sqlite::memory:" },
    { "systemd.list_units", systemd.list_units }, { "systemd.unit_action", systemd.start, "x.service" },
    { "systemd.open_journal", systemd.journal },
    { "oci.start", oci.tags, "192.0.2.1/x" },
    { "disk.usage", disk.usage, "/" }, { "disk.mounts", disk.mounts }, { "disk.dir_size", disk.dir_size, "/" },
    { "linux.read", linux.uptime }, { "cgroup.version", cgroup.version }, { "apt.query", apt.query, "x" },
    { "tar.entries", tar.list, "x.tar" }, { "tar.create", tar.create, "x.tar", {} },
    { "compress.pack_file", compress.pack_file, "x", "y.gz" }, { "crypto.hash_file", crypto.hash_file, "x" },
    { "crypto.encrypt", crypto.encrypt, ("k"):rep(32), "x" },
    { "crypto.jwt_sign", crypto.jwt_sign, {}, ("k"):rep(32), "HS256" },
    { "fs.open", template.render, "x" }, { "history.fetch", history.fetch },
  }
  for _, call in ipairs(HELD or {}) do calls[#calls + 1] = call end
  local wrong = {}
  for number, call in ipairs(calls) do
    local ok, err, more = pcall(table.unpack(call, 2))
    local text = tostring(err)
    if not ok and type(err) == "table" and err.code ~= "denied" then ok = "code " .. tostring(err.code) end
    local told = text:find(call[1], 1, true) and text:find("not inside a workflow: use an activity", 1, true)
    if ok or not told then wrong[#wrong + 1] = ("%d %s: %s %s"):format(number, call[1], ok, text) end
  end
  return { wrong = json.array(wrong), tried = #calls }
end
"#;

#[tokio::test(start_paused = true)]
async fn what_reaches_outside_is_refused() {
    let source = format!("local URL <const> = 'http://192.0.2.1/' {OUTSIDE}");
    for granted in [true, false] {
        let outcome = run(&source, granted, Some(1)).await;
        let value = value(&outcome);
        assert_eq!(value["wrong"], json!([]), "granted: {granted}");
        assert!(value["tried"].as_u64().unwrap() > 70, "{value}");
    }
}

/// What was opened before the switch reaches outside no longer.
#[tokio::test]
async fn what_is_open_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\nbegin").unwrap();
        // Until the run is over.
        let _ = stream.read(&mut [0; 1]);
    });
    let held = format!(
        r#"
        local URL <const> = 'http://127.0.0.1:{port}/'
        local directory = fs.tempdir()
        fs.write(directory .. "/x", "text")
        local file = io.open(directory .. "/x")
        local database = db.connect("sqlite::memory:")
        local response = http.get(URL, {{ stream = true }})
        assert(#fs.read(directory .. "/x") == 4)
        local HELD = {{
          {{ "fs.file.read", file.read, file, "a" }}, {{ "fs.file.seek", file.seek, file, "set", 1 }},
          {{ "db.connection.run", db.query, database, "select 1" }},
          {{ "http.read", response.body.read, response.body }},
        }}
        {OUTSIDE}"#
    );
    let outcome = run(&held, true, Some(1)).await;
    let value = value(&outcome);
    assert_eq!(value["wrong"], json!([]));
    // The run's connections end on this thread.
    tokio::task::spawn_blocking(move || served.join().unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_run_that_is_meant_to_be_is_replayed() {
    let source = "local top = env.get('PATH') return function() return { top == env.get('PATH'), os.arch() ~= nil } end";
    assert_eq!(value(&run(source, true, None).await), json!([true, true]));
    let refused = run(source, true, Some(1)).await;
    let Ended::Failed(failure) = &refused.ended else { panic!("{refused:?}") };
    assert!(failure.message.contains("env.get reaches outside"), "{failure:?}");
    assert_eq!(failure.code.as_deref(), Some("denied"));
}

#[tokio::test(start_paused = true)]
async fn a_top_level_leaves_no_tasks_running() {
    let function = "return function() return 'ran' end";
    let left = format!("async.spawn(function() sleep(1) end) {function}");
    let outcome = run(&left, false, Some(1)).await;
    let Ended::Failed(failure) = &outcome.ended else { panic!("{outcome:?}") };
    assert!(failure.message.contains("left tasks running"), "{failure:?}");
    // A run that is not replayed may.
    assert_eq!(value(&run(&left, false, None).await), json!("ran"));
    let awaited = format!("async.spawn(function() sleep(1) end):await() {function}");
    assert_eq!(value(&run(&awaited, false, Some(1)).await), json!("ran"));
}

/// A script cannot put itself in place of what seeds it.
#[tokio::test(start_paused = true)]
async fn a_script_does_not_reach_the_switch() {
    let source = "math.randomseed = function() end _G.math = {} local r = require('math').random
        return function() return pcall(io.read, 'a') end";
    assert_eq!(value(&run(source, true, Some(1)).await), json!(false));
    let variables: BTreeMap<String, Value> = serde_json::from_value(value(
        &run("return function() return { random = math.random(0) } end", false, Some(9)).await,
    ))
    .unwrap();
    assert_eq!(variables.len(), 1);
}
