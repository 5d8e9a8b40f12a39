//! The host holds no more memory for a run than it may, whichever builtin the script calls and whatever the other side
//! sends.

use assay_tests::executable::{Folder, assay};
use assay_tests::servers::{self, Server};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("the_host_holds_no_more_than_its_budget", the_host_holds_no_more_than_its_budget),
    ("an_option_lifts_no_bound_over_the_budget", an_option_lifts_no_bound_over_the_budget),
    ("what_fits_into_the_budget_is_left_alone", what_fits_into_the_budget_is_left_alone),
    ("a_call_that_carries_too_much_is_an_error", a_call_that_carries_too_much_is_an_error),
];

/// A script that makes the host hold as much as it will.
struct Attack {
    builtin: &'static str,
    /// What is granted.
    allow: &'static str,
    source: &'static str,
    /// A word of the error that it must end in; empty where it may succeed.
    says: &'static str,
}

const fn attack(
    builtin: &'static str,
    allow: &'static str,
    source: &'static str,
    says: &'static str,
) -> Attack {
    Attack { builtin, allow, source, says }
}

/// What the scripts begin with: a text of 8 MiB, and many calls at a time of which each may fail; of their errors
/// one about a limit counts.
const PRELUDE: &str = "
local big = ('a'):rep(8 << 20)
local function many(count, call)
  local tasks, last = {}, nil
  for i = 1, count do
    tasks[i] = function()
      local ok, err = pcall(call, i)
      if not ok and not (last and last.code == 'limit') then last = err end
    end
  end
  async.all(tasks)
  if last then error(last, 0) end
end
";

const BUDGET: &str = "--host-memory";

/// Each builtin that takes bytes or gives them.
const ATTACKS: &[Attack] = &[
    // Arguments of calls that wait.
    attack(
        "crypto",
        "",
        "many(20, function() crypto.jwt_sign({x = big}, ('k'):rep(32), 'HS256') end)",
        BUDGET,
    ),
    attack(
        "crypto",
        "",
        "many(20, function() crypto.jwt_sign({x = 1}, big, 'HS256') end)",
        "too many for a key",
    ),
    attack("crypto", "", "many(10, function() crypto.encrypt(('k'):rep(32), big, {aad = big}) end)", BUDGET),
    attack("crypto", "", "many(20, function() crypto.decrypt(('k'):rep(32), big) end)", ""),
    attack("crypto", "", "many(20, function() crypto.hash(big, 'sha256') crypto.random(1 << 18) end)", ""),
    attack(
        "crypto",
        "",
        "local t = {} for i = 1, 200000 do t[i] = 0 end \
        crypto.jwt_verify('a.b.c', {keys = t})",
        "",
    ),
    attack("crypto", "fs", "many(20, function() crypto.hash_file(big, 'sha256') end)", BUDGET),
    attack(
        "crypto",
        "fs",
        "async.timeout(1, function() many(300, function() crypto.hash_file('sparse') end) end)",
        "",
    ),
    attack("fs", "fs", "fs.read('sparse')", "memory"),
    attack("fs", "fs", "many(300, function() return #fs.read('sparse') end)", "memory"),
    attack("fs", "fs", "many(20, function(i) fs.write('out' .. i % 4, big) end)", ""),
    attack("fs", "fs", "many(3, function() fs.read(big) end)", ""),
    attack("fs", "fs", "many(10, function() fs.copy(big, big) end)", BUDGET),
    attack("fs", "fs", "many(20, function() fs.glob(big) end)", ""),
    attack("fs", "fs", "many(300, function(i) fs.copy('small', 'copy' .. i) end)", ""),
    attack("fs", "fs", "fs.glob('many/*')", ""),
    attack("fs", "fs", "big = nil many(20, function() return #fs.glob('many/*') end)", BUDGET),
    attack("fs", "fs", "big = nil many(20, function() return #fs.readdir('many') end)", "memory"),
    attack("io", "fs", "for line in io.lines('sparse') do end", "memory"),
    attack(
        "io",
        "fs",
        "local f = io.open('out', 'w') many(20, function() f:write(big) f:seek('set') end)",
        "",
    ),
    attack("disk", "disk,fs", "many(20, function() disk.usage(big) end)", BUDGET),
    attack("tar", "fs", "many(10, function() tar.extract(big, big) end)", BUDGET),
    attack(
        "tar",
        "fs",
        "many(10, function(i) tar.create('t' .. i % 4 .. '.tar', {a = big, b = big}) end)",
        "",
    ),
    attack(
        "tar",
        "fs",
        "big = nil fs.write('b.tar.gz', compress.gzip(('\\0'):rep(40 << 20))) \
        many(100, function(i) tar.extract('b.tar.gz', 'x' .. i) end)",
        "",
    ),
    attack(
        "compress",
        "fs",
        "many(10, function() compress.pack_file(big, big, {format = 'gz'}) end)",
        BUDGET,
    ),
    attack("compress", "fs", "many(300, function(i) compress.pack_file('small', 's' .. i .. '.xz') end)", ""),
    attack("compress", "", "many(20, function() return #compress.gzip(big) end)", ""),
    attack("compress", "", "many(4, function() return #compress.xz(big) end)", ""),
    attack("compress", "", "many(4, function() return #compress.zstd(big, {level = 15}) end)", ""),
    attack("compress", "", "compress.zstd(big, {level = 19})", BUDGET),
    attack(
        "compress",
        "",
        "local z = compress.zstd(('x'):rep(20 << 20)) big = nil \
        many(50, function() return #compress.unzstd(z) end)",
        "memory",
    ),
    attack(
        "compress",
        "",
        "local z = compress.xz(big, {level = 9}) \
        many(50, function() return #compress.unxz(z) end)",
        "",
    ),
    // What others send.
    attack("http", "http", "http.get('http://127.0.0.1:${HTTP_PORT}/endless', {max_body = 0})", "memory"),
    attack(
        "http",
        "http",
        "many(20, function() \
        http.get('http://127.0.0.1:${HTTP_PORT}/endless', {max_body = 0}) end)",
        "memory",
    ),
    attack("http", "http", "http.get('http://127.0.0.1:${HTTP_PORT}/bomb/200', {max_body = 0})", "memory"),
    attack("http", "http", "http.get('http://127.0.0.1:${HTTP_PORT}/headers/10000')", "header"),
    attack(
        "http",
        "http",
        "many(30, function() http.get('http://127.0.0.1:${HTTP_PORT}/headers/400?size=500') end)",
        "",
    ),
    attack(
        "http",
        "http",
        "big = nil local open = {} many(300, function(i) \
        open[i] = http.get('http://127.0.0.1:${HTTP_PORT}/bytes/2000000', {stream = true}) end) sleep(0.2)",
        "",
    ),
    attack(
        "http",
        "http",
        "big = nil local open = {} many(300, function(i) \
        open[i] = http.get('http://127.0.0.1:${HTTP_PORT}/bytes/2000000', {stream = true}) \
        open[i].body:read(1) end) sleep(0.2)",
        "",
    ),
    attack(
        "http",
        "http",
        "many(20, function() \
        http.post('http://127.0.0.1:${WS_SILENT_PORT}/', big, {timeout = 1}) end)",
        BUDGET,
    ),
    attack(
        "http",
        "http,fs",
        "many(300, function() \
        http.post('http://127.0.0.1:${WS_SILENT_PORT}/', nil, {body_file = 'sparse', timeout = 1}) end)",
        "",
    ),
    attack("http", "http", "many(20, function() http.get('http://127.0.0.1:${HTTP_PORT}/' .. big) end)", ""),
    attack(
        "http",
        "http",
        "many(20, function() \
        http.get('http://127.0.0.1:${HTTP_PORT}/', {headers = {a = big}}) end)",
        "",
    ),
    attack(
        "http",
        "http",
        "many(20, function() \
        http.get('https://127.0.0.1:${HTTPS_PORT}/', {ca_cert = big}) end)",
        "",
    ),
    attack(
        "ws",
        "ws",
        "local open = {} for i = 1, 100 do \
        open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1000000') end sleep(0.2)",
        "",
    ),
    attack(
        "ws",
        "ws",
        "local c = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=100000000', {max_message = 0}) \
        ws.recv(c)",
        BUDGET,
    ),
    attack(
        "ws",
        "ws",
        "local c = ws.connect('ws://127.0.0.1:${WS_PORT}/echo', {max_message = 0}) \
        many(20, function() ws.send(c, big) end)",
        "",
    ),
    attack(
        "ws",
        "ws",
        "local open, text = {}, ('x'):rep(1 << 20) big = nil for i = 1, 150 do \
        open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1') ws.send(open[i], text) end",
        "",
    ),
    attack(
        "ws",
        "ws",
        "big = nil local open = {} for i = 1, 150 do \
        open[i] = ws.connect('ws://127.0.0.1:${WS_PORT}/large?size=1000000') ws.recv(open[i]) end",
        "",
    ),
    attack("oci", "oci", "many(100, function() oci.manifest('${FAKE}/endless:1') end)", ""),
    attack("oci", "oci", "many(2, function() oci.manifest('${FAKE}/x:' .. big) end)", ""),
    attack(
        "oci",
        "oci",
        "many(20, function() oci.mutate('${FAKE}/x:1', '${FAKE}/y:1', {a = big}) end)",
        BUDGET,
    ),
    // Programs.
    attack(
        "process",
        "process",
        "process.run{cmd = '/usr/bin/head', \
        args = {'-c', '2000000000', '/dev/zero'}, max_output = 1 << 40}",
        "memory",
    ),
    attack(
        "process",
        "process",
        "big = nil many(20, function() return #process.run{cmd = '/usr/bin/head', \
        args = {'-c', '15000000', '/dev/zero'}}.stdout end)",
        "memory",
    ),
    attack(
        "process",
        "process",
        "many(20, function() process.run{cmd = '/bin/cat', stdin = big} end)",
        "memory",
    ),
    attack(
        "process",
        "process",
        "many(20, function() process.run{cmd = '/bin/true', args = {big}} end)",
        "too long",
    ),
    attack("shell", "shell", "shell.exec('head -c 2000000000 /dev/zero', {max_output = 1 << 40})", "memory"),
    attack("shell", "shell", "many(20, function() shell.exec('cat', {stdin = big}) end)", "memory"),
    attack("shell", "shell", "many(20, function() shell.exec(big) end)", "too long"),
    attack("pty", "pty", "many(20, function() process.spawn_pty{cmd = '/bin/true', args = {big}} end)", ""),
    // Databases.
    attack(
        "db",
        "db=sqlite::memory:",
        "local all = {} for i = 1, 40 do local c = db.connect('sqlite::memory:') \
        all[i] = c db.execute(c, 'create table t(x)') \
        for j = 1, 64 do db.execute(c, 'insert into t values (zeroblob(1000000))') end end",
        BUDGET,
    ),
    attack(
        "db",
        "db=sqlite::memory:",
        "local c = db.connect('sqlite::memory:', {max_bytes = 1 << 30}) \
        db.query(c, 'select zeroblob(500000000)')",
        "too big",
    ),
    attack(
        "db",
        "db=sqlite::memory:",
        "big = nil many(20, function() \
        local c = db.connect('sqlite::memory:', {max_bytes = 1 << 30}) \
        return #db.query(c, 'select zeroblob(15000000)') end)",
        "memory",
    ),
    attack(
        "db",
        "db=sqlite::memory:",
        "local c = db.connect('sqlite::memory:') db.query(c, \
        'with recursive n(i) as (select 1 union all select i + 1 from n limit 2000000) \
        select count(*) from (select i, hex(randomblob(100)) h from n order by h)')",
        "memory",
    ),
    attack(
        "db",
        "db=sqlite::memory:",
        "many(20, function() \
        db.query(db.connect('sqlite::memory:'), 'select ?', {big}) end)",
        "memory",
    ),
    attack(
        "db",
        "db=sqlite::memory:",
        "local c, t = db.connect('sqlite::memory:'), {} \
        for i = 1, 300000 do t[i] = db.null end db.query(c, 'select ?', t)",
        "",
    ),
    attack(
        "db",
        "db",
        "many(20, function() \
        return #db.query(db.connect('${PG_URL}'), 'select length($1::text)', {big}) end)",
        "memory",
    ),
    attack(
        "db",
        "db",
        "many(20, function() \
        return #db.query(db.connect('${MY_URL}'), 'select length(?)', {big}) end)",
        "memory",
    ),
    attack(
        "db",
        "db",
        "big = nil local c = db.connect('${PG_URL}', {max_connections = 20}) \
        many(20, function() return #db.query(c, [[select repeat('x', 15000000)]]) end)",
        "memory",
    ),
    attack(
        "db",
        "db",
        "big = nil local c = db.connect('${MY_URL}', {max_connections = 20}) \
        many(20, function() return #db.query(c, [[select repeat('x', 15000000)]]) end)",
        "memory",
    ),
    attack(
        "db",
        "db",
        "big = nil local c = db.connect('${PG_URL}') \
        db.execute(c, [[select repeat('x', 500000000)]])",
        "memory",
    ),
    // What is said.
    attack("print", "", "many(20, function() print(big) end)", ""),
    attack("log", "", "many(20, function() log.info(big) end)", ""),
    attack("log", "", "local t = {} for i = 1, 200000 do t[i] = 0 end log.info('x', {t = t})", ""),
    attack("env", "", "many(300, function(i) env.set('A' .. i, ('x'):rep(1 << 16)) end)", ""),
    attack("env", "env", "many(20, function() env.get(big) end)", ""),
    attack("require", "", "many(2, function() require(big) end)", ""),
    attack("cgroup", "cgroup", "many(20, function() cgroup.memory(big) end)", ""),
    attack("linux", "linux", "many(300, function() linux.diskstats() end)", ""),
    attack("systemd", "systemd", "many(3, function() systemd.unit_status(big) end)", ""),
    attack("apt", "apt", "many(20, function() apt.query(big) end)", ""),
    attack("async", "", "big = nil many(100000, function() sleep(100) end)", ""),
];

/// The most memory that a finished program ever had, bytes.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it, and tells what it used")]
fn peak(mut command: Command) -> (Option<i32>, String, u64) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = Vec::new();
    child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("it can be read");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the process is a child that nobody has waited for, and both places are ours.
    let usage = unsafe {
        assert!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) > 0);
        usage.assume_init()
    };
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    (code, String::from_utf8_lossy(&stderr).into_owned(), usage.ru_maxrss as u64 * 1024)
}

/// The servers that the attacks name values of, started once.
struct Others {
    values: BTreeMap<String, String>,
    _servers: Vec<Server>,
}

impl Others {
    fn start(folder: &Folder) -> Others {
        let started: Vec<Server> = ["http", "ws", "registry_fake", "postgres", "mariadb"]
            .into_iter()
            .map(|name| servers::start(name, folder.path()).expect(name))
            .collect();
        let values = started.iter().flat_map(|server| server.values.clone()).collect();
        Others { values, _servers: started }
    }

    fn fill(&self, text: &str) -> String {
        self.values
            .iter()
            .fold(text.to_string(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    }
}

/// A folder with a file of 4 GiB that takes no room, a small one, and a folder of 100,000 files.
fn folder() -> Folder {
    let folder = Folder::new();
    File::create(folder.path().join("sparse")).and_then(|file| file.set_len(4 << 30)).expect("a sparse file");
    folder.write("small", "x");
    let many = folder.path().join("many");
    std::fs::create_dir(&many).expect("a folder");
    let first = many.join("n".repeat(100));
    File::create(&first).expect("a file");
    for n in 0..100_000 {
        std::fs::hard_link(&first, many.join(format!("{}{n}", "n".repeat(100)))).expect("a further name");
        if n == 30_000 || n == 60_000 || n == 90_000 {
            // File systems bound the names of one file.
            std::fs::remove_file(&first).and_then(|()| File::create(&first).map(drop)).expect("another file");
        }
    }
    folder
}

/// What the program takes for itself, bytes: as for an empty script and a little more, and 32 MiB at least. A debug build
/// has a file of more than 100 MiB.
fn own(folder: &Folder) -> u64 {
    let (_, _, bytes) = peak(assay(folder.path(), &["exec", "--memory", "64MiB", "-e", "return 1"]));
    (bytes + (8 << 20)).max(32 << 20)
}

/// Runs an attack in at most the memory of the instance, the budget, and `own`; says what is wrong about how it ended.
fn meet(folder: &Folder, others: &Others, attack: &Attack, own: u64) -> Option<String> {
    let source = format!(
        "{PRELUDE} local ok, err = pcall(function() {} end) io.stderr:write('ENDED ', tostring(err), '\\n')",
        others.fill(attack.source)
    );
    let mut args = vec!["exec", "--memory", "64MiB", "--timeout", "60s"];
    if !attack.allow.is_empty() {
        args.extend(["--allow", attack.allow]);
    }
    args.extend(["-e", &source]);
    let (code, stderr, bytes) = peak(assay(folder.path(), &args));
    let said = stderr
        .lines()
        .rfind(|line| line.starts_with("ENDED"))
        .map(|line| &line[..line.floor_char_boundary(300)]);
    let what = format!("{}: {}: {} MiB, {code:?}, {said:?}", attack.builtin, attack.source, bytes >> 20);
    // It must end in an error that the script itself can catch, or in none.
    let ended_well = code == Some(0) && said.is_some_and(|said| said.contains(attack.says));
    (!ended_well || bytes > (64 << 20) + (64 << 20) + own).then_some(what)
}

fn the_host_holds_no_more_than_its_budget() {
    let folder = folder();
    let others = Others::start(&folder);
    let own = own(&folder);
    let (next, wrong) = (Mutex::new(ATTACKS.iter()), Mutex::new(Vec::new()));
    let only = std::env::var("ASSAY_TEST_ATTACK").unwrap_or_default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(attack) = next.lock().expect("no thread panicked").next() else { return };
                    if attack.source.contains(&only) || attack.builtin == only {
                        wrong.lock().expect("no thread panicked").extend(meet(&folder, &others, attack, own));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a script with a small budget and much memory.
fn with_budget(budget: &str, allow: &str, source: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let args = ["exec", "--host-memory", budget, "--allow", allow, "-e", source];
    let done = assay(folder.path(), &args).output().expect("it starts");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn an_option_lifts_no_bound_over_the_budget() {
    let run = "process.run{cmd = '/usr/bin/head', args = {'-c', '%d', '/dev/zero'}, max_output = 1 << 40}";
    for (allow, call) in [
        ("process", run),
        ("shell", "shell.exec('head -c %d /dev/zero', {max_output = 1 << 40})"),
        (
            "db=sqlite::memory:",
            "db.query(db.connect('sqlite::memory:', {max_bytes = 1 << 40}), 'select zeroblob(%d)')",
        ),
    ] {
        let call = call.replace("%d", "5000000");
        let source = format!(
            "local ok, err = pcall(function() {call} end) assert(not ok and err.code == 'limit', tostring(err))"
        );
        let (code, stderr) = with_budget("4MiB", allow, &source);
        assert_eq!(code, Some(0), "{call}: {stderr}");
    }
}

fn what_fits_into_the_budget_is_left_alone() {
    for (allow, source) in [
        (
            "process",
            "assert(#process.run{cmd = '/usr/bin/head', args = {'-c', '3000000', '/dev/zero'}}.stdout == 3000000)",
        ),
        ("fs=rw:.", "fs.write('a', ('x'):rep(3000000)) assert(#fs.read('a') == 3000000)"),
        ("fs=rw:.", "for i = 1, 100 do fs.write('f' .. i, 'x') end assert(#fs.glob('f*') == 100)"),
        // More than the budget in all, but never at a time.
        (
            "fs=rw:.",
            "fs.write('a', ('x'):rep(1 << 20)) local t = {} \
            for i = 1, 50 do t[i] = function() assert(#fs.read('a') == 1 << 20) end end async.all(t)",
        ),
        (
            "fs=rw:.",
            "fs.write('a', ('x'):rep(1 << 20)) local t = {} \
            for i = 1, 50 do t[i] = function() crypto.hash_file('a') fs.copy('a', 'b' .. i) end end async.all(t)",
        ),
        (
            "fs=rw:.",
            "local k, s = ('k'):rep(32), ('x'):rep(1 << 20) \
            assert(crypto.decrypt(k, crypto.encrypt(k, s)) == s)",
        ),
        ("fs=rw:.", "local s = ('x'):rep(3 << 20) assert(compress.gunzip(compress.gzip(s)) == s)"),
    ] {
        let (code, stderr) = with_budget("4MiB", allow, source);
        assert_eq!(code, Some(0), "{source}: {stderr}");
    }
}

/// What a call carries is in memory before its function can refuse it, so the guest refuses it before.
fn a_call_that_carries_too_much_is_an_error() {
    for mebibytes in [5, 11, 13, 30] {
        let source = format!(
            "local ok, err = pcall(crypto.hash, ('x'):rep({mebibytes} << 20)) assert.eq(ok, false) \
             assert.eq(err.code, 'limit') assert.contains(err.message, '--host-memory')"
        );
        let (code, stderr) = with_budget("4MiB", "fs", &source);
        assert_eq!(code, Some(0), "{mebibytes}: {stderr}");
    }
}
