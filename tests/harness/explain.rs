//! What `assay explain` says of scripts: what it must find, what it must not claim, and what it cannot tell.

use assay_tests::executable::{Directory, run_in};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("it_says_what_is_needed", it_says_what_is_needed),
    ("it_finds_literals_where_they_are", it_finds_literals_where_they_are),
    ("it_says_what_it_cannot_tell", it_says_what_it_cannot_tell),
    ("it_claims_nothing_that_is_not_there", it_claims_nothing_that_is_not_there),
    ("it_names_what_there_is_not", it_names_what_there_is_not),
    ("it_reads_all_of_lua", it_reads_all_of_lua),
    ("it_goes_through_modules", it_goes_through_modules),
    ("what_is_no_lua_ends_as_a_run_does", what_is_no_lua_ends_as_a_run_does),
    ("json_says_the_same", json_says_the_same),
    ("deep_and_long_texts_end", deep_and_long_texts_end),
    ("it_says_what_it_cannot_know", it_says_what_it_cannot_know),
    ("it_knows_what_is_loaded", it_knows_what_is_loaded),
    ("what_it_says_is_enough", what_it_says_is_enough),
];

fn explain(directory: &Directory, script: &str) -> (String, serde_json::Value) {
    directory.write("a.lua", script);
    let json = run_in(directory, &["explain", "--json", "a.lua"]).stdout;
    (run_in(directory, &["explain", "a.lua"]).stdout, serde_json::from_str(&json).expect("JSON"))
}

fn it_says_what_it_cannot_know() {
    let directory = Directory::new();
    let (text, json) = explain(
        &directory,
        "http.get(arg[1])\nshell.exec{cmd = 'git status'}\nprocess.spawn({cmd = 'git', args = {...}})",
    );
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert!(line("http ").contains("cannot tell: its argument 1 is computed"), "{text}");
    assert!(line("process ").contains(" git "), "{text}");
    assert!(line("shell ").contains("all of it"), "{text}");
    assert!(text.contains("\nassay run --allow http,process=git,shell a.lua\n"), "{text}");
    assert!(text.contains("\nassay run --learn grants.toml --allow-all a.lua\n"), "{text}");
    assert_eq!(json["undecided"], serde_json::json!(["http"]));
    assert_eq!(json["allow"], serde_json::json!(["http", "process=git", "shell"]));
    // Where all is known there is nothing to learn.
    let (text, json) = explain(&directory, "fs.read('x')");
    assert!(!text.contains("--learn"), "{text}");
    assert_eq!(json["undecided"], serde_json::json!([]));
}

/// The list in `explain` is the guest's.
fn it_knows_what_is_loaded() {
    let directory = Directory::new();
    directory.write("list.lua", "for name in pairs(package.loaded) do print(name) end");
    let loaded = run_in(&directory, &["run", "list.lua"]).stdout;
    assert!(loaded.lines().any(|name| name == "assay.compress"), "{loaded}");
    let script: String = loaded.lines().map(|name| format!("require('{name}')\n")).collect();
    let (text, json) = explain(&directory, &format!("{script}require('no.such')"));
    for name in loaded.lines() {
        assert_eq!(json["modules"][name], "builtin", "{name}: {text}");
    }
    assert!(json["modules"]["no.such"].is_null() && text.contains("no.such  not found"), "{text}");
    // One in the project's directory is not loaded in its place.
    directory.write("modules/json.lua", "fs.read('x')");
    let (text, _) = explain(&directory, "require('json')");
    assert!(text.contains("needs no grants"), "{text}");
}

fn what_it_says_is_enough() {
    let directory = Directory::new();
    directory.write("in/a.txt", "a");
    let script = "fs.mkdir('out')\nfs.copy('in/a.txt', 'out/b.txt')\nfs.copy('in/a.txt', 'out/c.txt')\n\
        fs.write('out/d', '') fs.rename('out/d', 'out/e')\nfs.symlink('c.txt', 'out/link')\nfs.sub_in_file('out/c.txt', 'a', 'b')\n\
        assert.eq(#fs.glob('in/*.txt'), 1)\nlocal f = io.open('out/c.txt', 'r+') f:write('x') f:close()\n\
        tar.create('out/a.tar.gz', 'in')\ntar.extract('out/a.tar.gz', 'out/tree')\n\
        compress.pack_file('in/a.txt', 'out/a.gz')\ncompress.unpack_file('out/a.gz', 'out/a')\n\
        os.rename('out/a', 'out/z')\nos.remove('out/z')\nprint(disk.usage('in').total > 0)\n\
        local db = db.connect('sqlite:out/app.db')\nprint(#db:query('SELECT 1'))\n\
        print(process.run{cmd = 'echo', args = {'x'}}.stdout)\n\
        local cat = process.spawn{cmd = 'cat', cwd = 'in', stdin = {file = 'in/a.txt'}, stdout = 'out/log', stderr = {file = 'out/err'}}\n\
        assert.eq(cat:wait().status, 0)\n\
        http.serve('unix:out/app.sock', {}, { on_listen = function(server) server:stop() end })\n\
        print(linux.kernel().os_release, os.hostname(), env.get('HOME'))\nprint(cgroup.version())";
    let (text, _) = explain(&directory, script);
    let command = text.lines().find(|line| line.starts_with("assay run ")).expect("a command");
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let done = run_in(&directory, &words);
    assert_eq!(done.code, Some(0), "{command}: {}", done.stderr);
}

/// The lines that `explain` prints of a script, with single blanks, to the command.
fn lines(directory: &Directory, script: &str) -> Vec<String> {
    directory.write("a.lua", script);
    let done = run_in(directory, &["explain", "a.lua"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{script}");
    let lines = done.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.take_while(|line| !line.is_empty()).collect()
}

/// Each script with the lines that are printed of it; those that begin with a capability have ` a.lua:1` behind them.
fn check(table: &[(&str, &[&str])]) {
    let directory = Directory::new();
    for (script, wanted) in table {
        let wanted: Vec<String> = wanted
            .iter()
            .map(|line| match line.contains(".lua") || line.starts_with("module ") {
                true => (*line).to_string(),
                false => format!("{line} a.lua:1"),
            })
            .collect();
        assert_eq!(lines(&directory, script), wanted, "{script}");
    }
}

fn it_says_what_is_needed() {
    let directory = Directory::new();
    directory.write("a.lua", "local url = 'https://api.example.com/x'\nhttp.get(url)\nload(arg[1])()\nfs.raed('x')\nfs.read(arg[2])");
    let done = run_in(&directory, &["explain", "a.lua"]);
    let wanted = "\
fs       fs.read   cannot tell: its argument 1 is computed  a.lua:5
http     http.get  api.example.com:443                      a.lua:2
any      load      cannot tell: it runs text that only a run has a.lua:3
unknown  fs.raed: nothing has this name; did you mean fs.read?  a.lua:4

assay run --allow fs,http=api.example.com:443 a.lua

Of fs more is granted so than the script may need. Where it says any, the script may need more than is listed. What it needs is written by a run that is allowed everything:

assay run --learn grants.toml --allow-all a.lua
";
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), wanted, ""));
}

fn it_finds_literals_where_they_are() {
    const HTTP: &[&str] = &["http http.get a.example:80"];
    const READ: &[&str] = &["fs fs.read read:x"];
    check(&[
        (r#"http.get("http://a.example/x")"#, HTTP),
        (r#"http.get"http://a.example/x""#, HTTP),
        (r#"pcall(http.get, "http://a.example/x")"#, HTTP),
        (r#"pcall(pcall, http.get, "http://a.example/x")"#, HTTP),
        (r#"local ok, r = pcall(http["get"], "http://a.example/x")"#, HTTP),
        (r#"xpcall(http.get, debug.traceback, "http://a.example/x")"#, HTTP),
        (r#"async.spawn(http.get, "http://a.example/x"):await()"#, HTTP),
        (r#"async.spawn(pcall, http.get, "http://a.example/x")"#, HTTP),
        (r#"async.all({ function() return http.get("http://a.example/x") end })"#, HTTP),
        (r#"async.race({ async.spawn(http.get, "http://a.example/x") })"#, HTTP),
        (r#"coroutine.wrap(http.get)("http://a.example/x")"#, HTTP),
        (r#"local w = coroutine.wrap(fs.read) w("x")"#, READ),
        (r#"local co = coroutine.create(fs.read) coroutine.resume(co, "x")"#, READ),
        (r#"coroutine.wrap(function() fs.read("x") end)()"#, READ),
        (r#"local h = http h.get("http://a.example/x")"#, HTTP),
        (r#"local g <const> = http.get g("http://a.example/x")"#, HTTP),
        (r#"local h, f = http, fs local g = h.get g("http://a.example/x")"#, HTTP),
        (
            r#"local http = http or require("http") http.get("http://a.example/x")"#,
            &["http http.get a.example:80", "module http builtin"],
        ),
        (r#"local f = require("fs") f.read("x")"#, &["fs fs.read read:x", "module fs builtin"]),
        (r#"if http and http.get then http.get("http://a.example/x") end"#, HTTP),
        (r#"_G.http.get("http://a.example/x")"#, HTTP),
        (r#"_ENV["fs"]["read"]("x")"#, READ),
        (r#"rawget(_G, "fs").read("x")"#, READ),
        (r#"package.loaded.fs.read("x")"#, READ),
        (r#"local url = "http://a.example/x" http.get(url)"#, HTTP),
        (r#"local url <const> = "http://" .. "a.example" http.get(url .. "/" .. id)"#, HTTP),
        (r#"local url = "http://a.example/x" local function f() return http.get(url) end"#, HTTP),
        (r#"http.get(("http://a.example/%s"):format(x))"#, HTTP),
        (r#"http.get(string.format("http://a.example/%s", x))"#, HTTP),
        (r#"local config = { url = "http://a.example/x" } http.get(config.url)"#, HTTP),
        (r#"local options = { cmd = "git" } process.run(options)"#, &["process process.run git"]),
        (r#"local p = "x" for _ = 1, 3 do fs.read(p) end"#, READ),
        (r#"local ok = select(2, pcall(fs.read, "x"))"#, READ),
        (r#"local t = { value = fs.read("x") }"#, READ),
        (r#"return #fs.read("x") > 3 and fs.read("x") or nil"#, READ),
    ]);
}

fn it_says_what_it_cannot_tell() {
    const GET: &[&str] = &["http http.get cannot tell: its argument 1 is computed"];
    check(&[
        (r#"http.get(url)"#, GET),
        (r#"local h = http h.get(u)"#, GET),
        (r#"local g = http.get g(u)"#, GET),
        (r#"pcall(http.get, u)"#, GET),
        (r#"http.get(f and "http://a.example/" or u)"#, GET),
        (r#"http.get("http://a.example" .. path)"#, GET),
        (r#"http.get(("http://%s/"):format(x))"#, GET),
        (r#"local url = "http://a.example/x" url = u http.get(url)"#, GET),
        (r#"local url = "http://a.example/x" local function f() url = u end http.get(url)"#, GET),
        (r#"local function get(url) return http.get(url) end get("http://a.example/x")"#, GET),
        (r#"for _, url in ipairs({ "http://a.example/x" }) do http.get(url) end"#, GET),
        (r#"local c = { url = "http://a.example/x" } c.url = u http.get(c.url)"#, GET),
        (r#"local c = { url = "http://a.example/x" } print(c) http.get(c.url)"#, GET),
        (r#"local c = { url = "http://a.example/x", [k] = u } http.get(c.url)"#, GET),
        (
            r#"local o = { cmd = "git" } o.cmd = x process.run(o)"#,
            &["process process.run cannot tell: its argument 1 is computed"],
        ),
        (
            r#"fs.copy(table.unpack(t))"#,
            &[
                "fs fs.copy cannot tell: its argument 1 is computed",
                "fs fs.copy cannot tell: its argument 2 is computed",
            ],
        ),
        (
            r#"fs.copy("a", ...)"#,
            &["fs fs.copy read:a", "fs fs.copy cannot tell: its argument 2 is computed"],
        ),
        (
            r#"http.get("http://a.example/", { ca_cert_file = x })"#,
            &["fs http.get cannot tell: its option ca_cert_file is computed", "http http.get a.example:80"],
        ),
        (r#"local g; g = http.get"#, &["http http.get cannot tell: it is assigned to a variable or field"]),
        (
            r#"local g = http.get g = nil"#,
            &["http http.get cannot tell: it is kept in a variable that is assigned again"],
        ),
        (r#"get = http.get"#, &["http http.get cannot tell: it is assigned to a variable or field"]),
        (r#"local t = { get = http.get }"#, &["http http.get cannot tell: it is kept in a table"]),
        (r#"setmetatable({}, { __index = http })"#, &["http http cannot tell: it is kept in a table"]),
        (
            r#"local get = cond and http.get or nil"#,
            &["http http.get cannot tell: it is one of several values"],
        ),
        (
            "local ok, h = pcall(require, 'http') h.get(u)",
            &["http http cannot tell: it comes back from pcall", "module http builtin"],
        ),
        ("pcall(rawget, _G, 'fs')", &["fs fs cannot tell: it comes back from pcall"]),
        ("pcall(coroutine.wrap, fs.read)", &["fs fs.read cannot tell: it comes back from pcall"]),
        ("local t = { [fs] = 1 }", &["fs fs cannot tell: it is a key"]),
        ("t[fs] = 1", &["fs fs cannot tell: it is a key"]),
        ("local x = y and y[fs]", &["fs fs cannot tell: it is a key"]),
        ("local t = ... local x = t == fs", &["fs fs cannot tell: it is an operand"]),
        ("local t = ... local x = t .. fs", &["fs fs cannot tell: it is an operand"]),
        (r#"return fs.read"#, &["fs fs.read cannot tell: it is returned"]),
        (r#"http[name]("http://a.example/")"#, &["http http cannot tell: a field of it has a computed name"]),
        (r#"for name, f in pairs(fs) do print(name) end"#, &["fs fs cannot tell: it is passed to pairs"]),
        (r#"for name, f in next, fs do print(name) end"#, &["fs fs cannot tell: it is gone through"]),
        (
            r#"local function f(g) return g("x") end f(fs.read)"#,
            &["fs fs.read cannot tell: it is passed to a function of the script"],
        ),
        (r#"table.sort(t, io.open)"#, &["fs io.open cannot tell: it is passed to table.sort"]),
        (r#"for k, v in pairs(io) do end"#, &["any io cannot tell: it is passed to pairs"]),
        (r#"load(text)()"#, &["any load cannot tell: it runs text that only a run has"]),
        (r#"pcall(load, text)"#, &["any load cannot tell: it runs text that only a run has"]),
        (r#"local l = load local t = { l }"#, &["any load cannot tell: it runs text that only a run has"]),
        (r#"loadstring(text)()"#, &["any loadstring cannot tell: it runs text that only a run has"]),
        (
            r#"dofile("b.lua")"#,
            &[
                "fs dofile read:b.lua a.lua:1",
                "any dofile cannot tell: it runs a file that is not gone through",
            ],
        ),
        (r#"_G[name]("x")"#, &["any _G cannot tell: it holds every builtin"]),
        (r#"_ENV[name]("x")"#, &["any _G cannot tell: it holds every builtin"]),
        (r#"rawget(_G, name)("x")"#, &["any _G cannot tell: it holds every builtin"]),
        (r#"for k in pairs(_G) do end"#, &["any _G cannot tell: it holds every builtin"]),
        (r#"local _ENV = { fs = x } fs.read("x")"#, &["any _ENV cannot tell: what the names below it mean"]),
        (
            r#"local function f(_ENV) return read("x") end"#,
            &["any _ENV cannot tell: what the names below it mean"],
        ),
        (
            r#"_ENV = { fs = x }"#,
            &["any _ENV cannot tell: the script changes it, so names may mean anything"],
        ),
        (r#"require(name)"#, &["any require cannot tell: the module's name is computed"]),
        (r#"local r = require r("m" .. n)"#, &["any require cannot tell: the module's name is computed"]),
        (
            r#"require("no.such")"#,
            &["any require cannot tell: the module no.such is not found", "module no.such not found"],
        ),
        (r#"package.loaded[name].get(u)"#, &["any package.loaded cannot tell: it holds every library"]),
        (
            r#"package.path = "/x/?.lua""#,
            &["any package.path cannot tell: the script changes it, so names may mean anything"],
        ),
        (
            r#"package.preload.m = function() end"#,
            &["any package.preload.m cannot tell: the script changes it, so names may mean anything"],
        ),
        (r#"debug.getregistry()"#, &["any debug.getregistry cannot tell: it holds every library"]),
        (
            r#"fs.read = function() end"#,
            &["any fs.read cannot tell: the script puts something else in its place"],
        ),
        (
            r#"function fs.read() end"#,
            &["any fs.read cannot tell: the script puts something else in its place"],
        ),
        (
            r#"string.format = f"#,
            &["any string.format cannot tell: the script puts something else in its place"],
        ),
        (r#"pcall = f"#, &["any pcall cannot tell: the script puts something else in its place"]),
    ]);
}

fn it_claims_nothing_that_is_not_there() {
    let nothing: &[&str] = &["a.lua needs no grants."];
    for script in [
        r#"local s = "http.get(1)" -- fs.read("x")"#,
        r#"--[[ fs.read("x") ]] local s = [==[ fs.read("y") ]==]"#,
        r#"local t = { http = 1, fs = 2 } t.fs.read("x") t:http()"#,
        r#"local http = { get = function() end } http.get("http://a.example/")"#,
        r#"local function fs() end fs("x")"#,
        r#"for fs = 1, 2 do print(fs) end"#,
        r#"for _, fs in pairs({}) do fs.read("x") end"#,
        r#"local function f(http) return http.get("http://a.example/") end"#,
        r#"local function f(...fs) return fs.read("x") end"#,
        r#"local get = http.get"#,
        r#"if fs.raed then end"#,
        r#"local r = type(fs) == "table" and not http"#,
        r#"local insert = table.insert insert({}, 1) string.rep("x", 3)"#,
        r#"local ok = pcall(error, "x")"#,
        r#"print(debug.traceback())"#,
        r#"function get() end get()"#,
        r#"print(arg[1], arg.x)"#,
        r#"goto done do local x = 1 end ::done::"#,
        r#"local c <close> = setmetatable({}, { __close = print })"#,
        r#"global print, x, y x = 1 print(x)"#,
        r#"global * x = 1"#,
        r#"fs.tempdir()"#,
        r#"io.lines() io.write("x") io.stdout:write("x")"#,
        r#"#!/usr/bin/env assay"#,
    ] {
        check(&[(script, nothing)]);
    }
}

fn it_names_what_there_is_not() {
    check(&[
        (
            "fs.raed('x')",
            &["unknown fs.raed: nothing has this name; did you mean fs.read?", "a.lua needs no grants."],
        ),
        (
            "pcall(fs.raed, 'x')",
            &["unknown fs.raed: nothing has this name; did you mean fs.read?", "a.lua needs no grants."],
        ),
        (
            "local f = fs f.raed('x')",
            &["unknown fs.raed: nothing has this name; did you mean fs.read?", "a.lua needs no grants."],
        ),
        (
            "htp.get('x')",
            &["unknown htp: nothing has this name; did you mean http?", "a.lua needs no grants."],
        ),
        (
            "slepe(1)",
            &["unknown slepe: nothing has this name; did you mean sleep?", "a.lua needs no grants."],
        ),
        (
            "json.decode('1')",
            &[
                "unknown json.decode: nothing has this name; did you mean json.encode?",
                "a.lua needs no grants.",
            ],
        ),
        (
            "no_such_thing_at_all()",
            &["unknown no_such_thing_at_all: nothing has this name", "a.lua needs no grants."],
        ),
        // What a text that is not seen makes may have any name.
        ("load(x) made()", &["any load cannot tell: it runs text that only a run has"]),
        ("if x then made = print end made()", &["a.lua needs no grants."]),
        ("_G.made = print made()", &["a.lua needs no grants."]),
    ]);
}

/// Every form of statement and expression, around one call.
fn it_reads_all_of_lua() {
    let directory = Directory::new();
    for (before, after) in [
        ("do ", " end"),
        ("while true do ", " end"),
        ("while ", " do break end"),
        ("repeat local x = 1 until x == 1 or ", ""),
        ("if a then elseif ", " then else end"),
        ("if a then elseif b then else ", " end"),
        ("for i = 1, #", ", 2 do end"),
        ("for k, v in pairs(", ") do end"),
        ("local function f(a, b, ...) return a, ", " end"),
        ("local x <const>, y <close> = ", ", nil"),
        ("local <const> x, y = ", ", nil"),
        ("global <const> x = ", ""),
        ("global fs global function f() return ", " end"),
        ("function a.b.c:d(...) return -", " end"),
        ("a.b, c[1] = 1, ", ""),
        ("local t = { 1, x = 2; [", "] = 3, }"),
        ("local t = { 1; 2, ", " }"),
        ("local s = not #-~", " .. 0x1p-4 .. 1e+3 .. .5 .. 3."),
        ("local s = 1 // 2 << 3 >> 4 ~= 5 ^ -", " | 6 & 7 ~ 8 % 9"),
        ("local s = (((", ")))"),
        ("f 'x' { y = 1 } [[z]] (", ")"),
        ("f(function() ::a:: goto a end, ", ")"),
        ("x = '\\z \n  \\u{7fffffff}\\065\\x41\\\n' return ", ";"),
        ("local s = [==[\n]]\\]=] ]==] .. --[=[ x\n]] ]=] ", ""),
        ("local global = 1 global = ", ""),
        ("return ", ""),
    ] {
        let script = format!("{before}fs.read('x'){after}");
        let found = lines(&directory, &script);
        assert!(found.iter().any(|line| line.starts_with("fs fs.read read:x a.lua:")), "{script}: {found:?}");
        assert!(!found.iter().any(|line| line.contains("gone through a.lua")), "{script}: {found:?}");
    }
}

fn it_goes_through_modules() {
    let directory = Directory::new();
    directory.write(
        "modules/m.lua",
        "\nlocal n = require('deep.n')\nreturn { get = function() return fs.read('x') end }",
    );
    directory.write("modules/deep/n/init.lua", "local m = require('m') return env.get('HOME')");
    assert_eq!(
        lines(&directory, "local m = require('m')\nm.get()"),
        [
            "env env.get HOME ./modules/deep/n/init.lua:1",
            "fs fs.read read:x ./modules/m.lua:3",
            "module deep.n project",
            "module m project"
        ]
    );
}

fn what_is_no_lua_ends_as_a_run_does() {
    let directory = Directory::new();
    for script in [
        "http.get(",
        "local x = = 1",
        "fs.read('x\n')",
        "\n\nfor",
        "goto nowhere",
        "local x <const> = 1 x = 2",
        "break",
        "x = '\\q'",
        "x = 0x",
        "{{{{",
        "global x y = 1",
    ] {
        directory.write("a.lua", script);
        let (explained, run) =
            (run_in(&directory, &["explain", "a.lua"]), run_in(&directory, &["run", "a.lua"]));
        assert!(run.stderr.contains("a.lua:"), "{script}: {}", run.stderr);
        let wanted = (Some(1), "", run.stderr.as_str());
        assert_eq!(
            (explained.code, explained.stdout.as_str(), explained.stderr.as_str()),
            wanted,
            "{script}"
        );
        assert_eq!(run_in(&directory, &["explain", "--json", "a.lua"]).code, Some(1), "{script}");
    }
    directory.write("a.lua", "require('m')");
    directory.write("modules/m.lua", "return return");
    let done = run_in(&directory, &["explain", "a.lua"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert!(done.stderr.contains("./modules/m.lua:1:"), "{}", done.stderr);
}

fn json_says_the_same() {
    let directory = Directory::new();
    let (_, json) = explain(&directory, "fs.read(x)\nload(y)\nfs.raed('z')\nfs.read('w')");
    let wanted = serde_json::json!({
        "uses": [
            { "capability": null, "function": "load", "scope": null, "cannot_tell": "it runs text that only a run has", "place": "a.lua:2" },
            { "capability": "fs", "function": "fs.read", "scope": "read:w", "cannot_tell": null, "place": "a.lua:4" },
            { "capability": "fs", "function": "fs.read", "scope": null, "cannot_tell": "its argument 1 is computed", "place": "a.lua:1" },
        ],
        "modules": {},
        "unknown": [{ "name": "fs.raed", "place": "a.lua:3", "meant": "fs.read" }],
        "allow": ["fs"],
        "undecided": ["fs"],
        "complete": false,
    });
    assert_eq!(json, wanted);
}

/// What Lua's compiler takes or refuses, however deep or long it is.
fn deep_and_long_texts_end() {
    let directory = Directory::new();
    for script in [
        format!("x = {}1{}", "(".repeat(150), ")".repeat(150)),
        format!("x = {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("x = {}{}", "{".repeat(150), "}".repeat(150)),
        format!("x = 1{}", " + 1".repeat(200_000)),
        format!("x = f{}", "()".repeat(200_000)),
        format!("x = {}1", "- ".repeat(150)),
        format!("x = a{}", ".b".repeat(200_000)),
        format!("{}{}", "do ".repeat(150), " end".repeat(150)),
        format!("x = 'a'{}", " .. 'a'".repeat(150)),
        format!("if x then {} end", "elseif x then ".repeat(20_000)),
    ] {
        directory.write("a.lua", &script);
        let done = run_in(&directory, &["explain", "a.lua"]);
        let about = &script[..40];
        assert!(matches!(done.code, Some(0 | 1)), "{about}: {:?} {}", done.code, done.stderr);
        if done.code == Some(1) {
            assert_eq!(done.stderr, run_in(&directory, &["run", "a.lua"]).stderr, "{about}");
        }
        assert!(!done.stdout.contains("cannot be gone through"), "{about}: {}", done.stdout);
    }
}
