use super::*;
use assay_capabilities::builtins::FREE;
use assay_capability_api::policy::parse;
use std::path::Path;
use std::sync::LazyLock;

/// A process has one.
static GUEST: LazyLock<Guest> = LazyLock::new(|| Guest::new().expect("the guest is built"));

fn found(text: &str) -> Findings {
    let script = Script::named("=x", "x.lua", text.as_bytes());
    Findings::of(&GUEST, Directories::default(), &script)
        .unwrap_or_else(|outcome| panic!("{text}: {outcome:?}"))
}

fn grants(text: &str) -> Vec<String> {
    let grants = found(text).grants();
    // What is proposed can be granted.
    if let Err(error) = parse(&grants.join(","), Path::new("/"), Runner::capabilities()) {
        panic!("{text}: {error}");
    }
    grants
}

fn undecided(text: &str) -> Vec<&'static str> {
    Vec::from_iter(found(text).undecided())
}

#[test]
fn literals_give_scopes() {
    assert_eq!(grants("http.get('https://api.example.com/x')"), ["http=api.example.com:443"]);
    assert_eq!(grants("http.get \"http://u:p@h:81/x\""), ["http=h:81"]);
    assert_eq!(grants("fs.read('a,b')"), ["fs=read:a%2Cb"]);
    assert_eq!(grants("fs.read([[\na\\b]])"), ["fs=read:a\\b"]);
    assert_eq!(grants("fs.read('a\\\\b\\'\\x41\\z  c')"), ["fs=read:a\\b'Ac"]);
    assert_eq!(grants("fs.read('\\255')"), ["fs"]);
    assert_eq!(grants("local x = env.get('HOME') or env.get(\"PATH\")"), ["env=HOME", "env=PATH"]);
}

#[test]
fn tables_give_scopes() {
    assert_eq!(grants("process.run{'git', 'status'}"), ["process=git"]);
    assert_eq!(grants("process.spawn({args = {'x', cmd = 'no'}, cmd = '/bin/ls'})"), ["process=/bin/ls"]);
    assert_eq!(grants("process.spawn({cmd = 'git', args = {...}})"), ["process=git"]);
    assert_eq!(grants("process.spawn{['cmd'] = 'git', stdin = 'pipe'}"), ["process=git"]);
    assert_eq!(
        grants("process.run{on = function(a, b) if a then c() end end, cmd = 'git'}"),
        ["process=git"]
    );
    assert_eq!(grants("process.spawn_pty{cmd = 'psql'; cols = 80}"), ["pty=psql"]);
    assert_eq!(grants("process.wait_idle({'apt', 'dpkg'}, 5)"), ["process=apt", "process=dpkg"]);
    assert_eq!(grants("apt.add_source{id = 'grafana', key_path = 'k'}"), ["apt=source:grafana", "fs=read:k"]);
    for text in ["{cmd = x}", "{cmd = 'a' .. b}", "{'a' .. b}", "({f('a')})", "{}", "(...)"] {
        assert_eq!(grants(&format!("process.run{text}")), ["process"], "{text}");
        assert_eq!(undecided(&format!("process.run{text}")), ["process"], "{text}");
    }
}

#[test]
fn other_arguments_than_the_first_count() {
    assert_eq!(grants("http.request('GET', 'https://a.example/')"), ["http=a.example:443"]);
    assert_eq!(grants("http.request(method, 'https://a.example/')"), ["http=a.example:443"]);
    assert_eq!(grants("fs.copy('a', 'b')"), ["fs=read:a", "fs=write:b"]);
    assert_eq!(grants("fs.copy(function() return 1, 2 end, 'b')"), ["fs"]);
    assert_eq!(grants("fs.symlink('target', 'link')"), ["fs=rw:link"]);
    for (mode, access) in
        [("", "read"), (", 'rb'", "read"), (", 'a'", "write"), (", 'r+'", "rw"), (", nil", "read")]
    {
        assert_eq!(grants(&format!("local f = io.open('x'{mode})")), [format!("fs={access}:x")], "{mode}");
    }
    assert_eq!(grants("io.open('x', mode)"), ["fs"]);
    assert_eq!(
        grants("oci.copy('ghcr.io/a/b:1', 'registry.example.com/c:2')"),
        ["oci=pull:ghcr.io/a/b", "oci=push:registry.example.com/c"]
    );
    assert_eq!(grants("oci.copy{from = 'a', to = 'b'}"), ["oci"]);
    assert_eq!(grants("tar.create('a.tar', 'src')"), ["fs=read:src", "fs=write:a.tar"]);
    assert_eq!(
        grants("tar.create('a.tar', { x = { file = 'y' }, z = 'text' })"),
        ["fs=read:y", "fs=write:a.tar"]
    );
}

#[test]
fn options_count_where_they_are() {
    assert_eq!(
        grants("http.get('http://a.example/', {ca_cert_file = 'ca.pem'})"),
        ["fs=read:ca.pem", "http=a.example:80"]
    );
    assert_eq!(grants("http.get('http://a.example/', {ca_cert_file = f()})"), ["fs", "http=a.example:80"]);
    // What is not in the text is not asked for: hardly a call has it.
    assert_eq!(grants("http.get('http://a.example/', options)"), ["http=a.example:80"]);
    assert_eq!(
        grants("http.serve(443, {}, {tls = {cert_file = 'c.pem', key_file = 'k.pem'}})"),
        ["fs=read:c.pem", "fs=read:k.pem", "listen=443"]
    );
    assert_eq!(grants("apt.query('nginx', {root = '/srv'})"), ["apt=read", "apt=root:/srv", "fs=rw:/srv"]);
}

#[test]
fn the_begin_of_a_url_is_enough_where_its_host_ends() {
    assert_eq!(grants("http.get('https://a.example/users/' .. id)"), ["http=a.example:443"]);
    assert_eq!(grants("http.get('https://a.example:8443/' .. x .. '/y', {})"), ["http=a.example:8443"]);
    assert_eq!(grants("ws.connect('wss://a.example/?q=' .. x)"), ["ws=a.example:443"]);
    for text in [
        "'https://a' .. b",
        "'https://' .. host .. '/x'",
        "'https://a.example' .. path",
        "x .. 'https://a.example/'",
    ] {
        assert_eq!(grants(&format!("http.get({text})")), ["http"], "{text}");
    }
}

#[test]
fn some_functions_need_the_same_with_any_argument() {
    assert_eq!(
        grants("systemd.list_units() apt.update() os.info()"),
        ["apt=update", "os=info", "systemd=read"]
    );
    assert_eq!(grants("linux.meminfo() linux.proc_stat(pid)"), ["linux=proc", "linux=system"]);
    assert_eq!(grants("shell.exec{cmd='git status'} shell.run(line)"), ["shell"]);
    assert!(
        undecided("shell.exec{cmd='git status'} shell.run(line) process.list() process.run(x)").is_empty()
    );
}

#[test]
fn some_functions_need_whatever_others_do() {
    assert_eq!(
        grants("local db = db.connect('sqlite:app.db') db.query(db, 'SELECT 1')"),
        ["db=sqlite:app.db"]
    );
    assert_eq!(grants("db.query(conn, 'SELECT 1')"), ["db"]);
    assert_eq!(grants("local p = process.run{'git'} process.kill(p.pid)"), ["process=git"]);
    assert_eq!(
        grants("if cgroup.version() == 'v2' then cgroup.memory('system.slice') end"),
        ["cgroup=system.slice"]
    );
}

#[test]
fn numbers_and_places_to_listen_at() {
    assert_eq!(grants("http.serve(8080, {})"), ["listen=8080"]);
    assert_eq!(grants("http.serve('0.0.0.0:80', {})"), ["listen=0.0.0.0:80"]);
    assert_eq!(grants("http.serve('127.0.0.1:81', {})"), ["listen=81"]);
    assert_eq!(grants("http.serve('unix:/run/a.sock', {})"), ["listen=unix:/run/a.sock"]);
    assert_eq!(grants("http.serve(8080 + n, {})"), ["listen"]);
    assert_eq!(grants("http.serve(99999, {})"), ["listen"]);
}

#[test]
fn anything_else_needs_the_whole_capability() {
    assert_eq!(grants("http.get(url)"), ["http"]);
    assert_eq!(grants("http.get(url .. '/x', {})"), ["http"]);
    assert_eq!(grants("http.get('https://a.example/') http.get(x)"), ["http"]);
    assert_eq!(grants("get = http.get"), ["http"]);
    assert_eq!(grants("return fs"), ["fs"]);
    assert_eq!(grants("f(fs)"), ["fs"]);
    assert_eq!(undecided("http.get(url) fs.read('x') env.get(name)"), ["env", "http"]);
}

#[test]
fn what_takes_no_file_needs_none() {
    assert!(grants("io.lines() io.input() dofile() io.write('x') local t = fs.tempdir()").is_empty());
}

#[test]
fn names_of_libraries_may_be_variables() {
    assert_eq!(grants("local fs, http <const> = fs, http fs.read('a')"), ["fs=read:a"]);
    assert_eq!(
        grants("local process = process.spawn{cmd = 'git'} process:wait() f(process)"),
        ["process=git"]
    );
    assert_eq!(grants("local dofile = dofile dofile('a.lua')"), ["fs=read:a.lua"]);
}

#[test]
fn comments_strings_and_fields_are_not_uses() {
    assert!(
        grants("-- http.get('x')\n--[[ fs.read('y') ]] local s = 'http.get(1)' x.http.get(1)").is_empty()
    );
    assert!(grants("local s = [==[ env.get('A') ]==]").is_empty());
    assert!(grants("local t = { http = 1, fs = 2 } t.fs.read('x') t:http()").is_empty());
}

/// For each capability what a script does with it.
#[test]
fn every_capability_is_explained() {
    let scripts: &[(&str, &str, &[&str])] = &[
        (
            "apt",
            "apt.update()\nif not apt.query('nginx').installed then apt.install({ names = { 'nginx' } }) end\n\
             apt.add_source({ id = 'grafana', source_list = 'deb https://apt.grafana.com stable main' })",
            &["apt=install", "apt=read", "apt=source:grafana", "apt=update"],
        ),
        (
            "cgroup",
            "for _, s in ipairs(cgroup.list('system.slice')) do print(s) end",
            &["cgroup=system.slice"],
        ),
        (
            "db",
            "local c <close> = db.connect('postgres://u@db.example.com/app?ro')\nfor row in db.rows(c, 'SELECT 1') do print(row[1]) end",
            &["db=postgres://db.example.com:5432/app?ro"],
        ),
        (
            "disk",
            "local u = disk.usage('/var')\ndisk.sweep('/var/tmp/x', 3600)",
            &["disk", "fs=stat:/var", "fs=write:/var/tmp/x"],
        ),
        ("env", "local token = env.get('TOKEN') or os.getenv('GH_TOKEN')", &["env=GH_TOKEN", "env=TOKEN"]),
        (
            "fs",
            "fs.mkdir('out')\nfor _, p in ipairs(fs.glob('src/**/*.lua')) do print(p) end\nfs.write('out/a', fs.read('b'))",
            &["fs=read:b", "fs=read:src", "fs=write:out", "fs=write:out/a"],
        ),
        (
            "http",
            "local r = http.post('https://hooks.example.com/x', json.encode({ a = 1 }), { headers = { A = 'b' } })\n\
             http.download('https://dl.example.com/v1/' .. version .. '.tar.gz', 'a.tar.gz')",
            &["fs=write:a.tar.gz", "http=dl.example.com:443", "http=hooks.example.com:443"],
        ),
        ("linux", "print(linux.loadavg().one, linux.proc_status(1).name)", &["linux=proc", "linux=system"]),
        (
            "listen",
            "http.serve(8080, { GET = { ['/'] = function(req) return 'x' end, ['/s/*'] = http.files('public') } })",
            &["fs=read:public", "listen=8080"],
        ),
        (
            "oci",
            "oci.copy('ghcr.io/acme/app:1', 'registry.example.com:5000/app:1')\noci.tag('ghcr.io/acme/app:1', 'stable')\n\
             oci.push('layout', 'ghcr.io/acme/other:1')\noci.pull('ghcr.io/acme/app:1', 'layout')",
            &[
                "fs=read:layout",
                "fs=write:layout",
                "oci=pull+push:ghcr.io/acme/app",
                "oci=pull:ghcr.io/acme/app",
                "oci=push:ghcr.io/acme/other",
                "oci=push:registry.example.com:5000/app",
            ],
        ),
        ("os", "print(os.hostname(), os.info().kernel, os.time())", &["os=hostname", "os=info"]),
        (
            "process",
            "local git = process.spawn({ cmd = 'git', args = { 'log' }, stdout = 'pipe' })\nfor l in git:lines() do print(l) end\n\
             git:wait()\nif process.is_running('nginx') then process.sleep(1) end",
            &["process=git", "process=nginx"],
        ),
        (
            "pty",
            "local t = process.spawn_pty({ cmd = 'psql', args = {} })\nt:write('\\\\q\\n')",
            &["pty=psql"],
        ),
        (
            "shell",
            "local r = shell.exec('git status')\nfor l in io.popen('ls'):lines() do print(l) end",
            &["shell"],
        ),
        (
            "systemd",
            "systemd.restart('nginx')\nsystemd.daemon_reload()\nif systemd.is_active('nginx.service') then systemd.journal({ unit = 'nginx' }) end\n\
             systemd.machine_start('web')",
            &[
                "systemd=daemon-reload",
                "systemd=journal",
                "systemd=machine:web:start",
                "systemd=nginx.service:restart",
                "systemd=read",
            ],
        ),
        (
            "ws",
            "local c <close> = ws.connect('wss://stream.example.com/v1')\nws.send(c, 'x')\nfor m in ws.messages(c) do print(m) end",
            &["ws=stream.example.com:443"],
        ),
    ];
    for (capability, script, expected) in scripts {
        assert_eq!(grants(script), *expected, "{capability}: {script}");
        assert!(undecided(script).is_empty(), "{capability}");
    }
    // What needs no grant of its own needs those of `fs`.
    assert_eq!(
        grants(
            "compress.pack_file('a', 'a.gz') compress.unpack_file('b.gz', 'b') tar.extract('c.tar', 'c')\n\
             crypto.hash_file('d') template.render('e.html', {}) print(tar.list('c.tar')) loadfile('f.lua')"
        ),
        [
            "fs=read:a",
            "fs=read:b.gz",
            "fs=read:c.tar",
            "fs=read:d",
            "fs=read:e.html",
            "fs=read:f.lua",
            "fs=rw:c",
            "fs=write:a.gz",
            "fs=write:b",
        ]
    );
}

/// Whether an entry such as `json.*` or `print` is about this builtin.
fn is_about(entry: &str, path: &str) -> bool {
    entry == path || entry.strip_suffix('*').is_some_and(|library| format!("{path}.").starts_with(library))
}

/// A new builtin is explained only when somebody has said what it needs.
#[test]
fn all_builtins_are_declared_and_all_that_is_declared_is_there() {
    for path in GUEST.names() {
        let declared = declared().any(|(_, need)| is_about(need.function, path));
        let known = builtins::does(path).is_some() || FREE.iter().any(|entry| is_about(entry, path));
        assert!(declared || known, "nobody says what {path} needs; see Capability::needs");
    }
    let functions = declared().map(|(_, need)| need.function);
    for function in functions.chain(FREE.iter().copied()) {
        let name = function.strip_suffix(".*").unwrap_or(function);
        assert!(GUEST.has(name), "{function} is declared, but not there");
    }
    // What names a capability that is not there is left out.
    let owned: usize = Runner::capabilities().iter().map(|owner| owner.needs().len()).sum();
    assert_eq!(declared().count(), owned + NEEDS.len());
}

#[test]
fn options_that_are_switched_on_count() {
    fn with<'a>(files: &[&'a str]) -> Vec<&'a str> {
        [files, &["http=a.example:80"]].concat()
    }
    let download = |options: &str| grants(&format!("http.download('http://a.example/x', 'f'{options})"));
    for options in ["", ", {}", ", options", ", {resume = false, if_changed = nil}"] {
        assert_eq!(download(options), with(&["fs=write:f"]), "{options}");
    }
    assert_eq!(
        download(", {resume = true}"),
        with(&["fs=rw:f.part", "fs=rw:f.part.http", "fs=stat:f", "fs=write:f"])
    );
    assert_eq!(download(", {['if_changed'] = true}"), with(&["fs=rw:f", "fs=rw:f.http", "fs=write:f"]));
    for option in ["resume", "if_changed"] {
        assert_eq!(download(&format!(", {{{option} = f()}}")), ["fs", "http=a.example:80"], "{option}");
    }
    let text = found("http.download('http://a.example/x', 'f', {resume = x})");
    assert!(text.uses.iter().any(|one| one.asked.why() == Some("its option resume is computed")));
}

#[test]
fn programs_need_the_files_of_their_streams() {
    assert_eq!(
        grants(
            "process.spawn{cmd = 'ls', cwd = 'd', stdin = {file = 'i'}, stdout = 'o', \
             stderr = {file = 'e', append = true}}"
        ),
        ["fs=read:d", "fs=read:i", "fs=write:e", "fs=write:o", "process=ls"]
    );
    // The words that stand for no file, and a file that has the name of one.
    assert_eq!(
        grants("process.spawn('ls', {stdin = 'pipe', stdout = 'null', stderr = 'stdout'})"),
        ["process=ls"]
    );
    assert_eq!(grants("process.spawn{'ls', stdout = {file = 'pipe'}}"), ["fs=write:pipe", "process=ls"]);
    assert_eq!(grants("process.spawn{'ls', stdin = f()}"), ["fs", "process=ls"]);
    assert_eq!(grants("process.run{'ls', cwd = 'd'}"), ["fs=read:d", "process=ls"]);
    assert_eq!(grants("process.spawn_pty{cmd = 'sh', cwd = 'd'}"), ["fs=read:d", "pty=sh"]);
    assert_eq!(grants("shell.exec('ls', {cwd = 'd'})"), ["fs=read:d", "shell"]);
    assert_eq!(grants("systemd.journal{directory = 'j'}"), ["fs=read:j", "systemd=journal"]);
}
