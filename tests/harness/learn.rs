//! `--learn`: what it writes lets the same script run again the same way, and grants no more than was used.

use assay_tests::executable::{Directory, run_in};
use assay_tests::servers::start;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("probes_run_again", probes_run_again),
    ("files_run_again", files_run_again),
    ("requests_run_again", requests_run_again),
    ("databases_run_again", databases_run_again),
    ("programs_run_again", programs_run_again),
    ("the_machine_runs_again", the_machine_runs_again),
    ("what_cannot_be_written_is_told", what_cannot_be_written_is_told),
];

/// Removes what scripts make, so that each run finds the same.
fn clean(directory: &Directory) {
    for made in ["out", "out.txt", "out.tar", "app.db", "a.sock"] {
        let _ = std::fs::remove_file(directory.path().join(made));
        let _ = std::fs::remove_dir_all(directory.path().join(made));
    }
}

/// Runs each script with everything and then with what that taught, and compares: the same output and exit code, no
/// denial that there was not before, nothing more to learn, and the rules, where they are given.
fn check(directory: &Directory, table: &[(&str, Option<&[&str]>)]) {
    for (script, wanted) in table {
        clean(directory);
        let _ = std::fs::remove_file(directory.path().join("m.toml"));
        directory.write("a.lua", script);
        for audit in ["first.jsonl", "second.jsonl"] {
            let _ = std::fs::remove_file(directory.path().join(audit));
        }
        let first = run_in(directory, &["run", "--learn", "m.toml", "--audit", "first.jsonl", "-A", "a.lua"]);
        assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""), "{script}");
        let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it was written");
        clean(directory);
        let flags = ["--manifest", "m.toml", "--learn", "m.toml", "--audit", "second.jsonl"];
        let second = run_in(directory, &[&["run"], &flags[..], &["a.lua"]].concat());
        let told = (second.code, second.stdout, second.stderr);
        assert_eq!(told, (Some(0), first.stdout, String::new()), "{script}\n{text}");
        let denials = |name: &str| {
            let audit = std::fs::read_to_string(directory.path().join(name)).expect("an audit");
            audit.lines().filter(|line| line.contains("\"deny\"")).count()
        };
        assert_eq!(denials("second.jsonl"), denials("first.jsonl"), "{script}\n{text}");
        assert_eq!(
            std::fs::read_to_string(directory.path().join("m.toml")).ok(),
            Some(text.clone()),
            "{script}"
        );
        let rules = text.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        if let Some(wanted) = wanted {
            assert_eq!(rules.collect::<Vec<_>>(), *wanted, "{script}");
        }
    }
}

fn data() -> Directory {
    let directory = Directory::new();
    for n in 0..20 {
        directory.write(&format!("data/{n}.txt"), "x");
    }
    std::os::unix::fs::symlink("data/1.txt", directory.path().join("link")).expect("a link");
    directory
}

fn probes_run_again() {
    check(
        &data(),
        &[
            ("print(fs.exists('/'), fs.is_dir('/'), fs.is_file('/'))", Some(&["fs=stat:/"])),
            ("print(pcall(fs.exists, '/'))", Some(&["fs=stat:/"])),
            ("print(type(fs.stat('/')), fs.canonicalize('/'))", Some(&["fs=stat:/"])),
            (
                "print(fs.exists('/no/such'), fs.exists('no/such'))",
                Some(&["fs=stat:/no/such", "fs=stat:no/such"]),
            ),
            ("print(fs.is_dir('.'), fs.is_dir('..'))", None),
            (
                "print(fs.is_dir('data'), fs.read('data/1.txt'))",
                Some(&["fs=read:data/1.txt", "fs=stat:data"]),
            ),
            ("print(fs.exists('data/1.txt') and fs.read('data/1.txt'))", Some(&["fs=read:data/1.txt"])),
            ("print(fs.exists('link'), fs.readlink('link'))", Some(&["fs=stat:data/1.txt", "fs=stat:link"])),
            ("print(fs.exists('link/'), fs.exists('data/'))", None),
            ("print(pcall(fs.stat, '/no/such'))", Some(&["fs=stat:/no/such"])),
            ("print(#fs.list('/') > 0, fs.exists('/'))", Some(&["fs=list:/"])),
            ("print(#fs.list('data'), fs.is_dir('data'))", Some(&["fs=list:data"])),
            ("local f = io.open('/no/such') print(f)", Some(&["fs=read:/no/such"])),
            ("print(disk.usage('/').total > 0, disk.usage('data').total > 0)", None),
        ],
    );
}

fn files_run_again() {
    let directory = data();
    directory.write("beside.lua", "return 'beside'");
    directory.write("t.html", "{{ x }}");
    check(
        &directory,
        &[
            ("fs.write('out/x', fs.exists('out/y') and 'a' or 'b') print(fs.exists('out/x'))", None),
            (
                "fs.mkdir('out') fs.copy('data/1.txt', 'out/a') fs.rename('out/a', 'out/b') print(#fs.list('out'))",
                None,
            ),
            (
                "fs.mkdir('out/sub') fs.write('out/sub/a', 'x') fs.remove('out/sub', {recursive = true}) print(fs.exists('out/sub'))",
                None,
            ),
            (
                "fs.mkdir('out') fs.write('out/a', 'x') fs.chmod('out/a', 384) fs.symlink('a', 'out/l') print(fs.read('out/l'))",
                None,
            ),
            // The directory that was granted is not removed, so that above it is.
            (
                "fs.mkdir('out') print(fs.exists('out')) fs.remove('out') print(fs.exists('out'))",
                Some(&["fs=stat:out", "fs=write:."]),
            ),
            ("print(#fs.glob('data/*.txt'))", Some(&["fs=read:data"])),
            ("for n = 0, 19 do fs.read('data/' .. n .. '.txt') end", Some(&["fs=read:data"])),
            ("print(fs.read('link'))", Some(&["fs=read:data/1.txt", "fs=read:link"])),
            ("print(require('beside'))", None),
            ("print(template.render('t.html', { x = 1 }), crypto.hash_file('data/1.txt', 'sha256'))", None),
            ("tar.create('out.tar', 'data') print(#tar.list('out.tar')) tar.extract('out.tar', 'out')", None),
            ("local t = fs.tempdir() fs.write(t .. '/a', 'x') print(fs.read(t .. '/a'))", Some(&[])),
            (
                "local f = io.open('out.txt', 'w') f:write('x') f:close() print(io.open('out.txt'):read('a'))",
                Some(&["fs=rw:out.txt"]),
            ),
        ],
    );
}

fn requests_run_again() {
    let directory = Directory::new();
    let server = start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    let at = |host: &str, path: &str| format!("http://{host}:{port}{path}");
    let (hello, echo) = (at("localhost", "/hello"), at("localhost", "/echo"));
    let twice = at("localhost", "/redirect/2");
    let away = at("localhost", &format!("/redirect_to?url=http://127.0.0.1:{port}/echo"));
    let kept = at("localhost", "/redirect/1?status=307");
    let rule = |methods: &str, host: &str, path: &str| format!("http={methods}:http://{host}:{port}{path}");
    let rules = [
        rule("GET+HEAD", "localhost", "/hello"),
        rule("POST", "localhost", "/echo"),
        rule("GET", "localhost", "/echo"),
        rule("GET", "localhost", "/redirect/1"),
        rule("GET", "localhost", "/redirect/2"),
        rule("GET", "127.0.0.1", "/echo"),
        rule("GET", "localhost", "/redirect_to"),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    check(
        &directory,
        &[
            (
                &format!(
                    "print(http.get('{hello}').status, http.head('{hello}').status, http.post('{echo}', 'x').status)"
                ),
                Some(&rules[..2]),
            ),
            (&format!("print(http.get('{twice}').status)"), Some(&rules[2..5])),
            (&format!("print(http.get('{away}').status)"), Some(&rules[5..])),
            (&format!("print(http.post('{kept}', 'x').status)"), None),
            (&format!("http.download('{hello}', 'out') print(fs.exists('out'))"), None),
            (
                &format!("local c = http.client() print(c:get('{hello}').status, c:get('{echo}').status)"),
                None,
            ),
            (&format!("print(http.request('OPTIONS', '{echo}').status)"), None),
            (&format!("for n = 1, 9 do http.get('{echo}/' .. n) end"), None),
            ("print(pcall(http.get, 'http://localhost:1/x'))", Some(&["http=GET:http://localhost:1/x"])),
            (
                "http.serve('unix:a.sock', {}, { on_listen = function(server) server:stop() end })",
                Some(&["listen=unix:a.sock"]),
            ),
        ],
    );
}

fn databases_run_again() {
    check(
        &Directory::new(),
        &[
            (
                "local c <close> = db.connect('sqlite:app.db') c:execute('CREATE TABLE IF NOT EXISTS t (x)') print(#c:query('SELECT * FROM t'))",
                Some(&["db=sqlite:app.db"]),
            ),
            (
                "local c <close> = db.connect('sqlite::memory:') print(c:query('SELECT 1')[1] ~= nil)",
                Some(&["db=sqlite::memory:"]),
            ),
            (
                "print(pcall(function() db.connect('postgres://u:p@localhost:1/app'):query('SELECT 1') end))",
                None,
            ),
        ],
    );
}

fn programs_run_again() {
    let directory = Directory::new();
    directory.write("bin/tool", "#!/bin/sh\necho tool");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path().join("bin/tool"), executable).expect("it is ours");
    check(
        &directory,
        &[
            ("print(process.run{cmd = 'echo', args = {'x'}}.stdout)", Some(&["process=echo"])),
            ("print(process.run{cmd = 'pwd', cwd = '/'}.stdout)", Some(&["fs=stat:/", "process=pwd"])),
            ("print(process.run{cmd = './bin/tool'}.stdout)", None),
            (
                "print(process.run{cmd = 'printenv', args = {'MYAPP_X'}, env = {MYAPP_X = '1'}}.stdout)",
                Some(&["process=env:MYAPP_X", "process=printenv"]),
            ),
            ("env.set('MYAPP_X', '1') print(process.run{cmd = 'printenv', args = {'MYAPP_X'}}.stdout)", None),
            ("print(pcall(process.run, {cmd = 'no-such-program'}))", None),
            ("print(shell.exec('echo x').stdout, io.popen('echo y'):read('a'))", Some(&["shell"])),
            ("print(shell.which('sh'), shell.which('no-such-program'))", None),
            ("print(process.is_running('no-such-program'), #process.list() > 0)", None),
        ],
    );
}

fn the_machine_runs_again() {
    check(
        &Directory::new(),
        &[
            (
                "print(env.get('HOME'), os.getenv('NOT_SET'), env.get('HOME'))",
                Some(&["env=HOME", "env=NOT_SET"]),
            ),
            ("local n = 0 for _ in pairs(env.list()) do n = n + 1 end print(n)", Some(&["env"])),
            ("print(env.home(), env.cwd())", None),
            ("print(os.hostname() ~= '', os.info().kernel ~= nil)", Some(&["os=hostname", "os=info"])),
            (
                "print(linux.kernel() ~= nil, linux.proc_stat(1) ~= nil)",
                Some(&["linux=proc", "linux=system"]),
            ),
            ("print(type(cgroup.version()), type(disk.mounts()))", None),
            ("print(json.encode({1}), crypto.uuid() ~= '', os.time() > 0)", Some(&[])),
        ],
    );
}

/// A rule for reading all below `/` is not written, even where no narrower one is found, and that is told.
fn what_cannot_be_written_is_told() {
    let directory = Directory::new();
    directory.write("a.lua", "print(#fs.glob('/no-such-*'))");
    let done = run_in(&directory, &["run", "--learn", "m.toml", "-A", "a.lua"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "0\n"), "{}", done.stderr);
    assert!(done.stderr.contains("--learn leaves out fs=read:/"), "{}", done.stderr);
    let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it was written");
    assert!(!text.contains("fs="), "{text}");
}
