//! What a user is told to grant by denials and the audit.

use assay_tests::executable::{Directory, run_in};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("wrong_scopes_end_before_the_script_starts", wrong_scopes_end_before_the_script_starts),
    ("what_needs_no_grant_cannot_be_denied", what_needs_no_grant_cannot_be_denied),
    ("the_audit_has_the_rule_that_denied", the_audit_has_the_rule_that_denied),
    ("a_denial_names_a_flag_that_is_enough", a_denial_names_a_flag_that_is_enough),
    ("a_denial_names_no_flag_that_grants_more", a_denial_names_no_flag_that_grants_more),
];

fn wrong_scopes_end_before_the_script_starts() {
    let directory = Directory::new();
    for rule in [
        "fs=rx:.",
        "fs=",
        "fs=read:",
        "fs=~/x",
        "fs=r:/x",
        "http=GET",
        "http=GET:",
        "http=get:host",
        "http=get:host:80",
        "http=GTE:host",
        "http=TRACE:host",
        "http=ftp://host",
        "http=http://host/x?y",
        "http=http://host/../x",
        "http=10.0.0.0/33",
        "http=8080",
        "http=",
        "http=*",
        "http=a*.example",
        "http=proxy:10.0.0.0/8",
        "http=host:99999",
        "http=[::1",
        "http=a b",
        "ws=GET:host",
        "ws=http://host",
        "ws=wss://host/x#y",
        "db=postgres://",
        "db=oracle://h/d",
        "db=postgres://h/d?rw",
        "db=sqlite:",
        "db=postgres://h:x/d",
        "listen=x",
        "listen=99999",
        "listen=host.example:80",
        "listen=unix:",
        "oci=pul:ghcr.io/x",
        "oci=pull:",
        "oci=redirect:http://x.example",
        "oci=token:private",
        "oci=pull:ghcr.io/X",
        "env=",
        "env=A=B",
        "process=",
        "process=a*",
        "pty=.",
        "shell=ls",
        "disk=/",
        "linux=x",
        "os=x",
        "systemd=a.service:strat",
        "systemd=machine:web:run",
        "apt=instal:x",
        "nothing",
        "nothing=x",
        // What matches nothing, so that a denial would deny nothing.
        "",
        ",",
        "fs=/x,,env=Y",
        "fs=/etc/*",
        "fs=read:/etc/**",
        "fs= read:/etc",
        "fs=read: /etc",
        "fs=read :/etc",
        "fs=read-write:/etc",
        "fs=read_write:/etc",
        "fs=read write:/etc",
        "fs=read=/etc",
        "fs=\"/etc\"",
        "fs='/etc'",
        "fs=$HOME/x",
        "fs=read:$HOME/x",
        "fs=~root/x",
        "fs=/etc:/usr",
        "fs=/etc;/usr",
        "fs=read:read:/etc",
        "env=read:SECRET_TOKEN",
        "env=$SECRET_TOKEN",
        "env=${X}",
        "env=\"X\"",
        "env= X",
        "env=SECRET_?OKEN",
        "env=A+B",
        "db=sqlite::memory",
        "db=sqlite:/x/*",
        "db=sqlite: /x",
        "db=sqlite:~/x",
        "db=mysql://.h",
        "db=postgres://h/ x",
        "db=postgres://h/A%20b",
        "db=postgres://10.0.0.0/8",
        "process=git status",
        "process= git",
        "process=exec:git",
        "process=Env:X",
        "process=env:$X",
        "process=\"git\"",
        "process=~/x",
        "pty=foo:x",
        "oci=pull",
        "oci=push",
        "oci=token",
        "oci=redirect",
        "oci=loopback/x",
        "oci=private:5000",
        "oci=pull:10.0.0.0/8",
        "http=.example.com",
        "http=example..com",
        "http=10.0.0.0/255.0.0.0",
        "http=10.0.0.0/8/x",
        "http=GET:10.0.0.0/8/x",
        "ws=.example.com",
        "systemd=nginx.service:start:stop",
        "systemd=unit:nginx:start",
        "cgroup=read:x",
        "cgroup= x",
        "apt=install:nginx=1.2",
        "apt=install:a b",
        "apt=install:Nginx",
        "listen=unix:/tmp/*",
        "listen=unix: /x",
        "listen=+80",
    ] {
        for flag in ["--allow", "--deny"] {
            let done = run_in(&directory, &["exec", flag, rule, "-e", "print('started')"]);
            assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{flag} {rule}: {}", done.stderr);
            assert!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{rule}: {}", done.stderr);
        }
    }
}

fn what_needs_no_grant_cannot_be_denied() {
    for name in ["crypto", "log", "stdio", "time", "modules", "compress", "tar"] {
        let done = run_in(&Directory::new(), &["exec", "--deny", name, "-e", "print('started')"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{name}: {}", done.stderr);
        assert!(done.stderr.contains("cannot be denied"), "{name}: {}", done.stderr);
        let done = run_in(&Directory::new(), &["exec", "--allow", name, "-e", "print('started')"]);
        assert_eq!(done.stdout, "started\n", "{name}: {}", done.stderr);
    }
}

fn the_audit_has_the_rule_that_denied() {
    let directory = Directory::new();
    let script = "pcall(http.get, 'http://localhost:1/x') pcall(ws.connect, 'ws://h/') pcall(shell.exec, 'x') \
                  pcall(fs.read, '/proc/self/environ') pcall(http.get, 'http://127.0.0.1:2/')";
    let deny = "http=http://127.0.0.1:1/x*,ws,process=git,env=HOME";
    let flags = ["exec", "-A", "--deny", deny, "--audit", "a.jsonl", "-e", script];
    assert_eq!(run_in(&directory, &flags).code, Some(0));
    let audit = std::fs::read_to_string(directory.path().join("a.jsonl")).expect("an audit");
    let events: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |capability: &str| {
        let mut of_it = events.iter().filter(|event| event["capability"] == capability);
        of_it.next().map(|event| (event["decision"].clone(), event["target"].clone(), event["rule"].clone()))
    };
    for (capability, decision, target, rule) in [
        ("http", "deny", "GET http://localhost:1/x", "http=http://127.0.0.1:1/x*"),
        ("ws", "deny", "ws to ws://h/", "ws"),
        ("shell", "deny", "a command line through /bin/sh", "process=git"),
        ("fs", "deny", "reading /proc/self/environ", "env=HOME"),
    ] {
        assert_eq!(of(capability), Some((decision.into(), target.into(), rule.into())), "{audit}");
    }
    assert!(events.iter().any(|event| event["decision"] == "allow" && event["rule"] == "all"), "{audit}");
}

/// Calls that are denied without a grant. What they do then is nothing to these tests: nothing that they name is there.
const DENIED: &[&str] = &[
    "http.get('http://localhost:1/')",
    "http.get('https://localhost:1/x')",
    "http.request('PUT', 'http://[::1]:1/')",
    "ws.connect('wss://localhost:1/')",
    "db.connect('postgres://localhost:1/app'):query('SELECT 1')",
    "db.connect('mysql://localhost:1/app?ro'):query('SELECT 1')",
    "db.connect('sqlite:no/such.db')",
    "db.connect('sqlite::memory:')",
    "process.run{cmd = 'no-such-program'}",
    "process.run{cmd = '/no/such'}",
    "process.run{cmd = './no, such'}",
    "process.list()",
    "process.spawn_pty{cmd = 'no-such-program'}",
    "shell.exec('exit 0')",
    "systemd.start('no-such')",
    "systemd.machine_start('no-such')",
    "systemd.list_units()",
    "systemd.journal{unit = 'no-such'}",
    "systemd.daemon_reload()",
    "apt.query('no-such')",
    "apt.install{names = {'no-such'}}",
    "apt.remove{names = {'no-such'}}",
    "cgroup.memory('no-such.slice')",
    "cgroup.memory('/')",
    "oci.digest('localhost:1/no/such:1')",
    "oci.copy('localhost:1/no/such:1', 'localhost:1/no/such:2')",
    "http.serve(0, {}, {on_listen = function(s) s:stop() end})",
    "http.serve('0.0.0.0:0', {}, {on_listen = function(s) s:stop() end})",
    "http.serve('[::1]:0', {}, {on_listen = function(s) s:stop() end})",
    "http.serve('unix:a, b.sock', {}, {on_listen = function(s) s:stop() end})",
    "linux.kernel()",
    "linux.proc_stat(1)",
    "disk.mounts()",
    "os.hostname()",
    "os.info()",
    "fs.read('no such')",
    "fs.write('no/such, file', '')",
];

/// The one word that a shell reads a flag's value as.
fn word(text: &str) -> String {
    let script = format!("set -- {text}; test $# = 1 && printf %s \"$1\"");
    let done = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(done.status.success(), "a shell does not read {text} as one word");
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// The message of a call's denial; none where it is not denied.
fn denial(directory: &Directory, call: &str, flags: &[&str]) -> Option<String> {
    directory.write(
        "a.lua",
        &format!(
            "local ok, err = pcall(function() {call} end)\n\
             io.write(not ok and type(err) == 'table' and err.code == 'denied' and err.message or '')"
        ),
    );
    let done = run_in(directory, &[&["run"], flags, &["a.lua"]].concat());
    assert_eq!(done.code, Some(0), "{call} with {flags:?}: {}", done.stderr);
    (!done.stdout.is_empty()).then_some(done.stdout)
}

fn a_denial_names_a_flag_that_is_enough() {
    let directory = Directory::new();
    for call in DENIED {
        let mut flags: Vec<String> = Vec::new();
        // A call may need several grants, one after the other.
        for _ in 0..4 {
            let given: Vec<_> = flags.iter().flat_map(|flag| ["--allow", flag.as_str()]).collect();
            let Some(message) = denial(&directory, call, &given) else { break };
            let flag = word(message.split_once("--allow ").unwrap_or_else(|| panic!("{call}: {message}")).1);
            assert!(!flag.contains('*'), "{call}: {message}");
            assert!(!flags.contains(&flag), "{call}: {flags:?} are not enough: {message}");
            flags.push(flag);
        }
        assert!(!flags.is_empty() && flags.len() < 4, "{call}: {flags:?}");
    }
}

fn a_denial_names_no_flag_that_grants_more() {
    let directory = Directory::new();
    for call in [
        "http.get('http://*/')",
        "http.get('http://*.com/')",
        "http.get('http://private/')",
        "http.get('https://LOOPBACK:8443/')",
        "http.get('http://a.example:0/')",
        "ws.connect('ws://*/')",
        "ws.connect('wss://*.example/')",
        "ws.connect('ws://private/')",
        "db.connect('postgres://*/app'):query('SELECT 1')",
        "db.connect('postgres://private/app'):query('SELECT 1')",
        "db.connect('postgres://db.example/%2A'):query('SELECT 1')",
        "systemd.start('*')",
        "systemd.restart('*.service')",
        "systemd.machine_start('*')",
        "systemd.machine_exec('*', 'true')",
        "systemd.journal{unit = '*'}",
    ] {
        // Whether the capability is linked or not.
        let other = match call.split('.').next().unwrap_or_default() {
            "db" => "db=sqlite::memory:",
            "systemd" => "systemd=nginx.service:start",
            "ws" => "ws=nowhere.invalid",
            _ => "http=nowhere.invalid",
        };
        for flags in [&[][..], &["--allow", other]] {
            let Some(message) = denial(&directory, call, flags) else {
                // A name that is wrong is an error of its own once the capability is there to read it.
                assert!(!flags.is_empty(), "{call} is not denied");
                continue;
            };
            assert!(!message.contains("--allow"), "{call} with {flags:?}: {message}");
        }
    }
}
