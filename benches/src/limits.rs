//! How long after each limit a run ends, and how much memory it takes above its bounds, whatever the script calls.
//!
//! The scripts are those of `tests/attacks`, which the tests run too, and steps that are taken until one fails at a limit.

use crate::report::Table;
use crate::{Effort, Result};
use assay_tests::attacks::{self, Scene};
use assay_tests::cases::Case;
use assay_tests::executable::{Directory, Used, assay, terminate, used};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// CPU and wall limits, and how long a script runs before it gets a signal.
const LIMIT: Duration = Duration::from_millis(200);
const LIMIT_WORD: &str = "200ms";
/// Memory of the instance, and of the host, where the script is not about memory.
const MEMORY_WORD: &str = "256MiB";
const MEMORY: u64 = 256 << 20;
/// The same where it is.
const TIGHT_WORD: &str = "64MiB";
const TIGHT: u64 = 64 << 20;
/// For a script that no limit ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that flood a server at a time.
const CLIENTS: usize = 8;

/// The worst of what was measured of one limit.
#[derive(Default)]
struct Worst {
    tried: usize,
    /// Seconds, and whose.
    late: (f64, String),
    /// Bytes above what the run may have; none where none was above.
    over: (u64, String),
}

impl Worst {
    fn late(&mut self, seconds: f64, by: &str) {
        self.tried += 1;
        if seconds > self.late.0 || self.late.1.is_empty() {
            self.late = (seconds.max(0.0), by.into());
        }
    }

    fn memory(&mut self, used: u64, bound: u64, by: &str) {
        let over = used.saturating_sub(bound);
        if over > self.over.0 {
            self.over = (over, by.into());
        }
    }

    fn row(self, limit: &str) -> Vec<String> {
        let ends = match self.late.1.as_str() {
            "" => String::new(),
            _ => format!("{:.0} ms", self.late.0 * 1e3),
        };
        let over = match self.over.0 {
            0 => "none".into(),
            bytes => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        };
        vec![limit.into(), self.tried.to_string(), ends, self.late.1, over, self.over.1]
    }
}

pub fn measure(effort: Effort) -> Result<Table> {
    let few = effort.of(1, 8);
    let of = |files: &[&str]| -> Vec<Case> {
        files.iter().flat_map(|file| attacks::of(file)).step_by(few).collect()
    };
    let (computes, waits) = (of(&["vm", "builtins", "host", "threads"]), of(&["output", "waits"]));
    let all = [&computes[..], &waits[..]].concat();
    let tight = format!("`--memory` and `--host-memory`, {TIGHT_WORD} each, together");
    let rows = vec![
        timed(Limit::Cpu, &computes)?.row("`--cpu`"),
        timed(Limit::Timeout, &all)?.row("`--timeout`"),
        timed(Limit::Signal, &all)?.row("SIGTERM"),
        steps("--memory", TIGHT_WORD, "memory", MEMORY_STEPS)?.row("`--memory`"),
        steps("--host-memory", "16MiB", "host-memory", HOST_STEPS)?.row("`--host-memory`"),
        steps("--max-output", "1MiB", "max-output", OUTPUT_STEPS)?.row("`--max-output`"),
        steps("--temp-bytes", "4MiB", "temp-bytes", TEMP_STEPS)?.row("`--temp-bytes`"),
        steps("--temp-entries", "100", "temp-entries", ENTRY_STEPS)?.row("`--temp-entries`"),
        memory(&attacks::of("memory").into_iter().step_by(few).collect::<Vec<_>>())?.row(&tight),
    ];
    let notes = vec![
        format!(
            "Worst of all scripts in `tests/attacks`, and for the limits in bytes of steps that are taken until one fails. CPU: the \
             process's CPU time above {LIMIT_WORD}. Timeout: from the start of the process to its end, above {LIMIT_WORD}. SIGTERM: \
             from the signal to the end of the process. The others, which refuse at once what goes over them: from the error to the end \
             of the process, whose script does not catch it."
        ),
        format!(
            "Memory: the peak of the resident memory of the process, the program itself with it, above `--memory` and \
             `--host-memory` together, which are {MEMORY_WORD} each where nothing else is said."
        ),
    ];
    let head = &["limit", "scripts", "ends after", "script", "memory above", "script"];
    Ok(Table { title: "Limits", head, rows, notes })
}

#[derive(Clone, Copy, PartialEq)]
enum Limit {
    Cpu,
    Timeout,
    Signal,
}

impl Limit {
    fn exit(self) -> i32 {
        match self {
            Limit::Cpu => 137,
            Limit::Timeout => 124,
            Limit::Signal => 143,
        }
    }
}

/// A run that ends with the value.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> Result<(Running, BufReader<ChildStderr>)> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the executable does not start: {error}"))?;
        let stderr = child.stderr.take().ok_or("a child without stderr")?;
        Ok((Running(Some(child)), BufReader::new(stderr)))
    }

    fn child(&self) -> Result<&Child> {
        self.0.as_ref().ok_or_else(|| "it has ended".into())
    }

    fn end(mut self) -> Result<Used> {
        self.0.take().map(used).ok_or_else(|| "it has ended".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn allowed<'a>(attack: &'a Case, args: &mut Vec<&'a str>) {
    for allow in attack.all("allow") {
        args.extend(["--allow", allow]);
    }
}

/// Runs each script against a limit on time.
fn timed(limit: Limit, attacks: &[Case]) -> Result<Worst> {
    let mut worst = Worst::default();
    for attack in attacks {
        let used = against(limit, attack, &mut worst)?;
        if used.code != Some(limit.exit()) {
            let (title, code) = (&attack.title, attack.code());
            return Err(format!("{title} ended with {:?}, not {}: {code}", used.code, limit.exit()));
        }
        worst.memory(used.memory, 2 * MEMORY, &attack.title);
    }
    let used = flooded(limit, &mut worst)?;
    worst.memory(used.memory, 2 * MEMORY, FLOODED);
    Ok(worst)
}

fn against(limit: Limit, attack: &Case, worst: &mut Worst) -> Result<Used> {
    let directory = Directory::new();
    let mut args = vec!["exec", "--memory", MEMORY_WORD];
    match limit {
        Limit::Cpu => args.extend(["--cpu", LIMIT_WORD]),
        Limit::Timeout => args.extend(["--timeout", LIMIT_WORD]),
        Limit::Signal => {}
    }
    allowed(attack, &mut args);
    let code = format!("io.stderr:write('ready\\n'); {}", attack.code());
    args.extend(["-e", &code]);
    let mut command = assay(directory.path(), &args);
    // Nobody reads the pipe.
    command.stdout(Stdio::piped());
    let began = Instant::now();
    // Nor this one, beyond its first line.
    let (running, mut stderr) = Running::start(command)?;
    if limit == Limit::Signal {
        stderr.read_line(&mut String::new()).map_err(|error| error.to_string())?;
    }
    ended(limit, running, began, &attack.title, worst)
}

/// Waits for the end of a run, which for a signal is said first that it runs.
fn ended(limit: Limit, running: Running, began: Instant, title: &str, worst: &mut Worst) -> Result<Used> {
    let mut since = began + LIMIT;
    if limit == Limit::Signal {
        thread::sleep(LIMIT);
        since = Instant::now();
        terminate(running.child()?);
    }
    let used = running.end()?;
    worst.late(
        match limit {
            Limit::Cpu => used.cpu.as_secs_f64() - LIMIT.as_secs_f64(),
            _ => Instant::now().saturating_duration_since(since).as_secs_f64(),
        },
        title,
    );
    Ok(used)
}

const FLOODED: &str = "http.serve under a flood";
const SERVE: &str = "http.serve(0, { POST = { ['/'] = function(req) return { json = req:json() } end } },
  { shutdown_timeout = 0, on_listen = function(server) io.stderr:write(server.port, '\\n') end })";

/// A server whose clients send more requests than it can answer.
fn flooded(limit: Limit, worst: &mut Worst) -> Result<Used> {
    let directory = Directory::new();
    let mut args = vec!["exec", "--memory", MEMORY_WORD, "--allow", "listen"];
    match limit {
        Limit::Cpu => args.extend(["--cpu", LIMIT_WORD]),
        Limit::Timeout => args.extend(["--timeout", LIMIT_WORD]),
        Limit::Signal => {}
    }
    args.extend(["-e", SERVE]);
    let mut command = assay(directory.path(), &args);
    command.stdout(Stdio::null());
    let began = Instant::now();
    let (running, mut stderr) = Running::start(command)?;
    let mut port = String::new();
    stderr.read_line(&mut port).map_err(|error| error.to_string())?;
    let port = port.trim().parse().map_err(|_| format!("the server says no port, but {port}"))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // Refused when it has ended.
                    let _ = flood(port, &over);
                }
            });
        }
        let used = ended(limit, running, began, FLOODED, worst);
        over.store(true, Ordering::Relaxed);
        used
    })
}

/// Sends requests over one connection, ahead of the answers.
fn flood(port: u16, over: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    let body = format!("[{}1]", "1,".repeat(10_000));
    let request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answers = stream.try_clone()?;
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes())?;
        if answers.read(&mut buffer)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Scripts that give a function which takes more at each call, and what to let go of before the error is told.
type Steps = &'static [(&'static str, &'static str, &'static str)];

const MEMORY_STEPS: Steps = &[
    (
        "tables",
        "",
        "local t = {} return function() for i = 1, 1000 do t[#t + 1] = {} end end, function() t = nil end",
    ),
    (
        "a list",
        "",
        "local t, n = {}, 0 return function() for i = 1, 1000 do n = n + 1 t[n] = n end end, function() t = nil end",
    ),
    ("a string", "", "local s = 'x' return function() s = s .. s end, function() s = nil end"),
    ("string.rep", "", "local n = 1 return function() n = n * 2 return #('x'):rep(n) end, function() end"),
    (
        "strings",
        "",
        "local t = {} return function() t[#t + 1] = ('x'):rep(1000) .. #t end, function() t = nil end",
    ),
    (
        "coroutines",
        "",
        "local t = {} return function() t[#t + 1] = coroutine.wrap(print) end, function() t = nil end",
    ),
    (
        "table.concat",
        "",
        "local t = {} return function() t[#t + 1] = ('x'):rep(1 << 16) return #table.concat(t) end, function() t = nil end",
    ),
    (
        "table.sort",
        "",
        "local n = 1000 return function() n = n * 2 local t = {} for i = 1, n do t[i] = i * 7919 % 10007 end table.sort(t) end, function() end",
    ),
    (
        "json.parse",
        "",
        "local n = 1 return function() n = n * 2 return json.parse('[' .. ('[],'):rep(n) .. '1]') end, function() end",
    ),
    (
        "json.encode",
        "",
        "local n = 1 return function() n = n * 2 return json.encode(('\\1'):rep(n)) end, function() end",
    ),
    (
        "yaml.parse",
        "",
        "local n = 1 return function() n = n * 2 return yaml.parse(('- [a, b]\\n'):rep(n)) end, function() end",
    ),
    (
        "regex.find_all",
        "",
        "local n = 1 return function() n = n * 2 return regex.find_all('a', ('a'):rep(n)) end, function() end",
    ),
    (
        "template.render_string",
        "",
        "local n = 1 return function() n = n * 2 return template.render_string('{{ s * n }}', { s = 'x', n = n }) end, function() end",
    ),
    (
        "compress.gunzip",
        "",
        "local z = compress.gzip(('\\0'):rep(1 << 20)) local t = {} return function() t[#t + 1] = compress.gunzip(z) end, function() t = nil end",
    ),
];

const HOST_STEPS: Steps = &[
    ("db.execute", "db=sqlite::memory:", "local c = db.connect('sqlite::memory:') db.execute(c, 'create table t(x)')
      return function() db.execute(c, 'insert into t values (zeroblob(100000))') end, function() end"),
    ("db.query", "db=sqlite::memory:", "local c, n = db.connect('sqlite::memory:', { max_bytes = 1 << 40 }), 1
      return function() n = n * 2 return db.query(c, 'select zeroblob(' .. n .. ')') end, function() end"),
    ("process.run", "process", "local n = 1 return function() n = n * 2
      return process.run{ cmd = '/usr/bin/head', args = { '-c', tostring(n), '/dev/zero' }, max_output = 32 << 20 } end, function() end"),
    ("shell.exec", "shell", "local n = 1 return function() n = n * 2
      return shell.exec('head -c ' .. n .. ' /dev/zero', { max_output = 32 << 20 }) end, function() end"),
    ("crypto.hash", "", "local n = 1 return function() n = n * 2 return crypto.hash(('x'):rep(n)) end, function() end"),
    ("crypto.jwt_sign", "", "local n = 1 return function() n = n * 2 return crypto.jwt_sign({ x = ('x'):rep(n) }, ('k'):rep(32)) end, function() end"),
    ("compress.zstd", "", "local n = 0 return function() n = n + 1 return compress.zstd(('x'):rep(1 << n), { level = math.min(n, 19) }) end, function() end"),
];

const OUTPUT_STEPS: Steps = &[
    ("print", "", "return function() print(('x'):rep(1 << 12)) end, function() end"),
    ("io.write", "", "return function() io.write(('x'):rep(1 << 19)) end, function() end"),
    ("io.stdout:write", "", "local f = io.stdout return function() f:write('x') end, function() end"),
];

const TEMP_STEPS: Steps = &[
    (
        "fs.append",
        "",
        "local f = fs.tempdir() .. '/f' return function() fs.append(f, ('x'):rep(1 << 12)) end, function() end",
    ),
    (
        "fs.write",
        "",
        "local f, n = fs.tempdir() .. '/f', 1 return function() n = n * 2 fs.write(f, ('x'):rep(n)) end, function() end",
    ),
    (
        "io.tmpfile",
        "",
        "local f = io.tmpfile() return function() assert(f:write(('x'):rep(1 << 12))) assert(f:flush()) end, function() end",
    ),
    (
        "fs.copy",
        "",
        "local d, n = fs.tempdir(), 0 fs.write(d .. '/0', ('x'):rep(1 << 18))
      return function() n = n + 1 fs.copy(d .. '/0', d .. '/' .. n) end, function() end",
    ),
    (
        "db.execute",
        "db",
        "local c = db.connect('sqlite:' .. fs.tempdir() .. '/db?mode=rwc') db.execute(c, 'create table t(x)')
      return function() db.execute(c, 'insert into t values (zeroblob(100000))') end, function() end",
    ),
    (
        "tar.create",
        "",
        "local d, n = fs.tempdir(), 1 return function() n = n * 2 tar.create(d .. '/t.tar', { f = ('x'):rep(n) }) end, function() end",
    ),
    (
        "compress.unpack_file",
        "",
        "local d, n = fs.tempdir(), 0 fs.write(d .. '/0.gz', compress.gzip(('\\0'):rep(1 << 20)))
      return function() n = n + 1 compress.unpack_file(d .. '/0.gz', d .. '/' .. n) end, function() end",
    ),
];

const ENTRY_STEPS: Steps = &[
    ("fs.write", "", "local d, n = fs.tempdir(), 0 return function() n = n + 1 fs.write(d .. '/' .. n, '') end, function() end"),
    ("fs.mkdir", "", "local d = fs.tempdir() return function() d = d .. '/d' fs.mkdir(d) end, function() end"),
    ("tar.extract", "", "local d, n, files = fs.tempdir(), 0, {} for i = 1, 10 do files['f' .. i] = '' end tar.create(d .. '/t.tar', files)
      return function() n = n + 1 tar.extract(d .. '/t.tar', d .. '/x' .. n) end, function() end"),
];

/// Runs steps until the limit refuses one; the error must name it, and the log, which no limit on output is about, tells it.
fn steps(flag: &str, bound: &str, says: &str, scripts: Steps) -> Result<Worst> {
    let mut worst = Worst::default();
    for (title, allow, script) in scripts {
        let code = format!(
            "local step, forget = (function() {script} end)() local ok, err \
             repeat ok, err = pcall(step) until not ok forget() collectgarbage() \
             log.error('FAILED ' .. tostring(err)) error(err, 0)"
        );
        let mut args = vec!["exec", flag, bound, "--timeout", "60s"];
        if flag != "--memory" {
            args.extend(["--memory", MEMORY_WORD]);
        }
        if flag != "--host-memory" {
            args.extend(["--host-memory", TIGHT_WORD]);
        }
        if !allow.is_empty() {
            args.extend(["--allow", *allow]);
        }
        args.extend(["-e", &code]);
        let directory = Directory::new();
        let mut command = assay(directory.path(), &args);
        command.stdout(Stdio::null());
        let (running, stderr) = Running::start(command)?;
        let failed = |line: &String| line.contains(" FAILED ");
        let line = stderr.lines().map_while(std::result::Result::ok).find(failed);
        let told = Instant::now();
        let used = running.end()?;
        let rest = told.elapsed().as_secs_f64();
        let Some((_, error)) = line.as_deref().and_then(|line| line.split_once(" FAILED ")) else {
            return Err(format!("{title}: no step failed, and it ended with {:?}", used.code));
        };
        if !error.contains(says) {
            return Err(format!("{title}: a step failed otherwise than at {flag}: {error}"));
        }
        worst.late(rest, title);
        let memory = if flag == "--memory" { TIGHT } else { MEMORY };
        let host = if flag == "--host-memory" { 16 << 20 } else { TIGHT };
        worst.memory(used.memory, memory + host, title);
    }
    Ok(worst)
}

/// Runs each attack on memory; how long it takes says nothing, for most are many calls that wait for each other.
fn memory(attacks: &[Case]) -> Result<Worst> {
    let (scene, mut worst) = (Scene::new(), Worst::default());
    for attack in attacks {
        let code = scene.script(attack);
        let timeout = PATIENCE.as_secs().to_string();
        let mut args =
            vec!["exec", "--memory", TIGHT_WORD, "--host-memory", TIGHT_WORD, "--timeout", &timeout];
        allowed(attack, &mut args);
        args.extend(["-e", &code]);
        let mut command = assay(scene.directory.path(), &args);
        command.stdout(Stdio::null());
        let (running, mut stderr) = Running::start(command)?;
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map_err(|error| error.to_string())?;
        let used = running.end()?;
        if used.code != Some(0) {
            let (title, code) = (&attack.title, attack.code());
            return Err(format!("{title} ended with {:?}: {code}", used.code));
        }
        worst.tried += 1;
        worst.memory(used.memory, 2 * TIGHT, &attack.title);
    }
    Ok(worst)
}
