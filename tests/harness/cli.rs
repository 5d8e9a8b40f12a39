//! The command line, as a user meets it.

use assay_tests::executable::{Directory, assay, path, program, run, run_in};
use assay_tests::servers::start;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Stdio;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("exec_runs_a_line", exec_runs_a_line),
    ("exec_reads_standard_input", exec_reads_standard_input),
    ("scripts_get_their_arguments", scripts_get_their_arguments),
    ("a_file_is_a_command", a_file_is_a_command),
    ("a_shebang_is_skipped_and_lines_are_right", a_shebang_is_skipped_and_lines_are_right),
    ("errors_have_a_traceback", errors_have_a_traceback),
    ("syntax_errors_name_file_line_and_token", syntax_errors_name_file_line_and_token),
    ("errors_whose_text_fails_are_errors", errors_whose_text_fails_are_errors),
    ("errors_are_told_once", errors_are_told_once),
    ("exit_codes", exit_codes),
    ("wrong_grants_are_usage_errors", wrong_grants_are_usage_errors),
    ("globals_can_be_blocked", globals_can_be_blocked),
    ("the_project_has_modules", the_project_has_modules),
    ("output_to_a_closed_pipe_ends_quietly", output_to_a_closed_pipe_ends_quietly),
    ("output_reaches_a_pipe_while_the_script_waits", output_reaches_a_pipe_while_the_script_waits),
    ("ctrl_c_stops_a_script_that_computes", ctrl_c_stops_a_script_that_computes),
    ("ctrl_c_stops_a_script_that_waits", ctrl_c_stops_a_script_that_waits),
    ("signals_reach_it_as_process_1", signals_reach_it_as_process_1),
    ("the_api_of_the_cluster_around_it_is_trusted", the_api_of_the_cluster_around_it_is_trusted),
    ("temporary_directories_end_with_the_run", temporary_directories_end_with_the_run),
    ("each_run_has_hashes_of_its_own", each_run_has_hashes_of_its_own),
    ("reports_are_json", reports_are_json),
    ("a_tool_answers_in_json", a_tool_answers_in_json),
    ("learning_writes_a_manifest_that_is_enough", learning_writes_a_manifest_that_is_enough),
    ("learning_writes_the_smallest_manifest", learning_writes_the_smallest_manifest),
    ("manifests_have_sets_and_limits", manifests_have_sets_and_limits),
    ("decisions_are_audited", decisions_are_audited),
    ("explain_names_what_is_needed", explain_names_what_is_needed),
    ("help_version_and_completion", help_version_and_completion),
    ("the_suite_runs_test_files", the_suite_runs_test_files),
    ("the_repl_keeps_state_and_shows_values", the_repl_keeps_state_and_shows_values),
    ("local_variables_of_the_repl_live_on", local_variables_of_the_repl_live_on),
    ("an_interrupt_ends_a_line_of_the_repl", an_interrupt_ends_a_line_of_the_repl),
    ("the_repl_helps", the_repl_helps),
];

fn exec_runs_a_line() {
    let done = run(&["exec", "-e", "print(1 + 1, 'x')"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "2\tx\n"), "{}", done.stderr);
}

fn with_input(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let directory = Directory::new();
    let mut child = assay(directory.path(), args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable can be started");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn exec_reads_standard_input() {
    let (code, stdout, stderr) = with_input(&["exec", "-"], "print(#arg, ...)");
    assert_eq!((code, stdout.as_str()), (Some(0), "0\n"), "{stderr}");
}

fn scripts_get_their_arguments() {
    let directory = Directory::new();
    directory.write("a.lua", "print(arg[0], arg[1], arg[2], select('#', ...), ...)");
    let done = run_in(&directory, &["run", "a.lua", "--", "--x", "y"]);
    assert_eq!(done.stdout, "a.lua\t--x\ty\t2\t--x\ty\n", "{}", done.stderr);
}

fn a_file_is_a_command() {
    let directory = Directory::new();
    directory.write("a.lua", "print('ran', arg[1])");
    assert_eq!(run_in(&directory, &["a.lua", "z"]).stdout, "ran\tz\n");
    directory.write("a.txt", "print('ran')");
    let done = run_in(&directory, &["a.txt"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains(".lua"), "{}", done.stderr);
}

fn a_shebang_is_skipped_and_lines_are_right() {
    let directory = Directory::new();
    directory.write("a.lua", "#!/usr/bin/env -S assay run\nerror('here')");
    let done = run_in(&directory, &["run", "a.lua"]);
    assert!(done.stderr.contains("a.lua:2: here"), "{}", done.stderr);
}

fn errors_have_a_traceback() {
    let directory = Directory::new();
    directory.write(
        "a.lua",
        "local function inner()\n  error('deep')\nend\nlocal function outer()\n  inner()\nend\nouter()",
    );
    let done = run_in(&directory, &["run", "a.lua"]);
    assert_eq!(done.code, Some(1));
    for part in ["a.lua:2: deep", "stack traceback:", "a.lua:2: in upvalue 'inner'", "a.lua:7: in main chunk"]
    {
        assert!(done.stderr.contains(part), "{part} is not in\n{}", done.stderr);
    }
    assert!(done.stdout.is_empty());
}

fn syntax_errors_name_file_line_and_token() {
    let directory = Directory::new();
    directory.write("a.lua", "local x = 1\nlocal y = = 2");
    let done = run_in(&directory, &["run", "a.lua"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("a.lua:2: unexpected symbol near '='"), "{}", done.stderr);
}

/// `__tostring` is code of the script, and here nothing of Lua stands around its call.
fn errors_whose_text_fails_are_errors() {
    for to_string in ["error('x')", "return nil", "return {}", "sleep(0.001) return 's'", "return {} .. {}"] {
        let value = format!("setmetatable({{}}, {{ __tostring = function() {to_string} end }})");
        let done = run(&["exec", "-e", &format!("error({value})")]);
        assert_eq!(done.code, Some(1), "{to_string}: {}", done.stderr);
        assert!(done.stderr.contains("(error object is a table value)\nstack traceback:"), "{}", done.stderr);
        let done = run(&["exec", "-e", &format!("return {value}")]);
        assert_eq!(done.code, Some(0), "{to_string}: {}", done.stderr);
        let done = run(&[
            "exec",
            "-e",
            &format!("async.spawn(function() error({value}) end) sleep(0.01) print('on')"),
        ]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), "on\n"), "{to_string}: {}", done.stderr);
        assert!(
            done.stderr.contains("nobody awaited it: (error object is a table value)"),
            "{}",
            done.stderr
        );
    }
}

fn errors_are_told_once() {
    let awaited = "local task = async.spawn(function() error('seen') end) pcall(task.await)";
    assert_eq!(run(&["exec", "-e", awaited]).stderr, "");
    for (source, code) in [
        ("error('once')", 1),
        ("async.spawn(function() error('once') end):await()", 1),
        ("async.spawn(function() error('once') end) sleep(0.01)", 1),
        ("task = async.spawn(function() error('once') end) sleep(0.01)", 1),
    ] {
        let done = run(&["exec", "-e", source]);
        let told = done.stderr.lines().filter(|line| line.contains("once")).count();
        assert_eq!((done.code, told), (Some(code), 1), "{source}: {}", done.stderr);
    }
}

fn exit_codes() {
    for (code, source) in [
        (0, "return 5"),
        (1, "error('x')"),
        (3, "os.exit(3)"),
        (0, "os.exit(true)"),
        (1, "os.exit(false)"),
        (7, "pcall(os.exit, 7)"),
        (1, "error({ code = 7 })"),
    ] {
        let done = run(&["exec", "-e", source]);
        assert_eq!(done.code, Some(code), "{source}: {}", done.stderr);
    }
    assert_eq!(run(&["run"]).code, Some(64));
    assert_eq!(run(&["nothing-like-this"]).code, Some(64));
    assert_eq!(run(&["run", "missing.lua"]).code, Some(64));
}

fn wrong_grants_are_usage_errors() {
    for (grant, message) in
        [("htp=x", "there is no capability 'htp'"), ("http=*", "http"), ("fs=read:", "a path is missing")]
    {
        let done = run(&["exec", "--allow", grant, "-e", "print(1)"]);
        assert_eq!(done.code, Some(64), "{grant}");
        assert!(done.stderr.contains(message), "{grant}: {}", done.stderr);
        assert!(done.stdout.is_empty());
    }
}

fn globals_can_be_blocked() {
    let directory = Directory::new();
    let output = assay(
        directory.path(),
        &[
            "exec",
            "-e",
            "print(debug, os.execute, string.nothing, os.time ~= nil, assert.eq, assert.ne ~= nil)",
        ],
    )
    .env("ASSAY_BLOCK_GLOBALS", "debug, os.execute,no.such.thing,assert.eq")
    .output()
    .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nil\tnil\tnil\ttrue\tnil\ttrue\n");
}

fn the_project_has_modules() {
    let directory = Directory::new();
    directory
        .write("app/main.lua", "local m, from = require('greet') print(m.hello(), require('deep.er'), from)");
    directory.write("app/modules/greet.lua", "return { hello = function() return 'hello' end }");
    directory.write("app/modules/deep/er/init.lua", "return 'deeper'");
    let done = run_in(&directory, &["run", "app/main.lua"]);
    assert_eq!(done.stdout, "hello\tdeeper\tapp/modules/greet.lua\n", "{}", done.stderr);
    let done = run_in(&directory, &["run", "--no-local-modules", "app/main.lua"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("module 'greet' not found"), "{}", done.stderr);
    let listed = assay(&directory.path().join("app"), &["modules"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("greet"), "{listed:?}");
}

fn output_to_a_closed_pipe_ends_quietly() {
    let directory = Directory::new();
    // A script that computes, and one whose output is written while it waits.
    for script in ["while true do print('line') end", "while true do print('line') sleep(0.001) end"] {
        let mut child = assay(directory.path(), &["exec", "-e", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(141), "{script}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn output_reaches_a_pipe_while_the_script_waits() {
    let directory = Directory::new();
    let mut child = assay(directory.path(), &["exec", "-e", "print('first') sleep(1000)"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = [0; 6];
    child.stdout.take().expect("piped").read_exact(&mut line).expect("a line comes");
    assert_eq!(&line, b"first\n");
    child.kill().and_then(|()| child.wait()).expect("it ends");
}

/// Starts a script, waits for its first line, sends SIGINT and gives the exit code.
fn interrupted(source: &str) -> Option<i32> {
    let directory = Directory::new();
    let mut child =
        assay(directory.path(), &["exec", "-e", source]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = [0; 6];
    child.stdout.take().expect("piped").read_exact(&mut line).expect("a line comes");
    let killed = program("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    child.wait().expect("it ends").code()
}

fn ctrl_c_stops_a_script_that_computes() {
    assert_eq!(interrupted("print('ready') io.stdout:flush() while true do end"), Some(130));
    assert_eq!(
        interrupted(
            "print('ready') io.stdout:flush() while true do pcall(function() while true do end end) end"
        ),
        Some(130)
    );
}

fn ctrl_c_stops_a_script_that_waits() {
    assert_eq!(interrupted("print('ready') sleep(1000)"), Some(130));
}

/// As the first process of a container it has no default actions: a signal that nobody handles is lost.
fn signals_reach_it_as_process_1() {
    for (signal, source, code) in [
        ("INT", "print('ready') sleep(1000)", 130),
        ("TERM", "print('ready') sleep(1000)", 143),
        ("INT", "print('ready') io.stdout:flush() while true do end", 130),
        (
            "TERM",
            "print('ready') io.stdout:flush() while true do pcall(function() while true do end end) end",
            143,
        ),
    ] {
        let directory = Directory::new();
        let mut command = program("unshare");
        // In a user namespace of its own, so that it needs no root; `unshare` waits for the process it forked.
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--"]);
        command.arg(path()).args(["exec", "-e", source]).current_dir(directory.path());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("unshare starts (Debian: util-linux)");
        let mut line = [0; 6];
        child.stdout.take().expect("piped").read_exact(&mut line).expect("a line comes");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let first = std::fs::read_to_string(children).expect("unshare has a child");
        let killed = program("kill").args([&format!("-{signal}"), first.trim()]).status();
        assert!(killed.expect("kill runs").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{signal}: {source}");
    }
}

/// As in a pod, which has the certificate of the cluster's authority in a file and the API's address in variables.
fn the_api_of_the_cluster_around_it_is_trusted() {
    let directory = Directory::new();
    let server = start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTPS_PORT"];
    let secrets = "/run/secrets/kubernetes.io/serviceaccount";
    let pod = format!(
        "mount -t tmpfs none /run && mkdir -p {secrets} && cp \"$0\" {secrets}/ca.crt && exec \"$@\""
    );
    let get = |host: &str, variables: &[(&str, &str)]| {
        let source = format!("print(pcall(http.get, 'https://{host}:{port}/hello'))");
        let mut command = program("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", &pod, &server.values["CA"]]);
        command.arg(path()).args(["exec", "--allow", "http=loopback", "-e", &source]);
        command.current_dir(directory.path()).envs(variables.iter().copied());
        let output = command.output().expect("unshare starts (Debian: util-linux)");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let variables = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", port.as_str())];
    let trusted = get("127.0.0.1", &variables);
    assert!(trusted.starts_with("true"), "{trusted}");
    for (host, variables) in [("localhost", &variables[..]), ("127.0.0.1", &[])] {
        let refused = get(host, variables);
        assert!(refused.starts_with("false") && refused.contains("not trusted"), "{host}: {refused}");
    }
}

fn temporary_directories_end_with_the_run() {
    for (flags, source) in [
        (&[][..], "fs.write(fs.tempdir() .. '/x', 'y')"),
        (&[], "fs.tempdir() error('x')"),
        (&[], "fs.tempdir() os.exit(3)"),
        (&["--timeout", "100ms"], "fs.tempdir() sleep(1000)"),
        (&["--cpu", "50ms"], "fs.tempdir() while true do end"),
        (&["--memory", "16MiB"], "fs.tempdir() local t = {} while true do t[#t + 1] = {} end"),
        (&[], "async.spawn(function() fs.tempdir() sleep(1000) end) sleep(0)"),
    ] {
        let directory = Directory::new();
        let mut command = assay(directory.path(), &[&["exec"], flags, &["-e", source]].concat());
        let output = command.env("TMPDIR", directory.path()).output().expect("it runs");
        let left: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").flatten().collect();
        assert!(left.is_empty(), "{source} leaves {left:?}\n{output:?}");
    }
}

/// The snapshot is the same for all; knowing it must not tell where the keys of a table are.
fn each_run_has_hashes_of_its_own() {
    let script = "local t = {} for i = 1, 16 do t['key number ' .. i] = true end for key in pairs(t) do print(key) end";
    let orders: BTreeSet<_> = (0..8).map(|_| run(&["exec", "-e", script]).stdout).collect();
    assert!(orders.len() > 1, "{orders:?}");
}

fn reports_are_json() {
    let done = run(&["exec", "--report", "json", "-e", "assert(true) print('x')"]);
    let report: serde_json::Value = serde_json::from_str(&done.stderr).expect("a line of JSON");
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["assertions"], 1);
    assert_eq!(report["output_bytes"], 2);
    assert!(report["memory_peak_bytes"].as_u64() > Some(0));
    assert_eq!(report["limits"]["memory_bytes"], 256 << 20);
}

fn a_tool_answers_in_json() {
    let directory = Directory::new();
    let tool = |script: &str, args: &[&str]| -> serde_json::Value {
        directory.write("tool.lua", script);
        let done = run_in(&directory, &[&["run", "--mode", "tool"], args].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(done.stdout.matches('\n').count(), 1, "{}", done.stdout);
        serde_json::from_str(&done.stdout).expect("a line of JSON")
    };
    let fine = tool("print('hello', arg[1]) io.stderr:write('aside')", &["tool.lua", "--", "you"]);
    let wanted =
        serde_json::json!({ "ok": true, "status": "ok", "output": "hello\tyou\n", "requiresApproval": null });
    assert_eq!(fine, wanted);
    assert_eq!(tool("print('x') os.exit(0)", &["tool.lua"])["output"], "x\n");

    let failed = tool("print('before') error('not like this', 0)", &["tool.lua"]);
    assert_eq!((&failed["ok"], &failed["status"]), (&false.into(), &"error".into()));
    assert_eq!((&failed["output"], &failed["error"]), (&"before\n".into(), &"not like this".into()));
    assert_eq!(tool("os.exit(3)", &["tool.lua"])["error"], "the script ended with exit code 3");
    let denied = tool("fs.read('secret')", &["tool.lua"]);
    assert!(denied["error"].as_str().is_some_and(|error| error.contains("--allow fs=read:")), "{denied}");

    let late = tool("sleep(60)", &["--timeout", "50ms", "tool.lua"]);
    assert_eq!((&late["ok"], &late["status"]), (&false.into(), &"timeout".into()));
    let memory = tool(
        "local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end",
        &["--memory", "32MiB", "tool.lua"],
    );
    assert_eq!(memory["status"], "error");

    // What is kept is 512 KiB, and does not end within a character.
    for (script, length, truncated) in [
        ("io.write(('x'):rep(524288))", 524_288, serde_json::Value::Null),
        ("io.write(('x'):rep(524289))", 524_288, true.into()),
        ("io.write('x', ('\\u{e9}'):rep(262144))", 524_287, true.into()),
        ("for _ = 1, 1000 do io.write(('x'):rep(1000)) end", 524_288, true.into()),
    ] {
        let long = tool(script, &["tool.lua"]);
        assert_eq!(long["output"].as_str().map(str::len), Some(length), "{script}");
        assert_eq!(long["truncated"], truncated, "{script}");
    }
    assert_eq!(tool("io.write('\\xff')", &["tool.lua"])["output"], "\u{fffd}");

    directory.write("tool.lua", "print(1)");
    let mut command = assay(directory.path(), &["tool.lua"]);
    let done = command.env("ASSAY_MODE", "tool").output().expect("the executable can be started");
    assert!(done.stdout.starts_with(b"{\"ok\":true"), "{done:?}");
    let wrong = assay(directory.path(), &["run", "--mode", "other", "tool.lua"]).output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(64));
}

fn learning_writes_a_manifest_that_is_enough() {
    let directory = Directory::new();
    directory.write("in.txt", "text");
    directory.write("a.lua", "fs.write('out.txt', fs.read('in.txt')) print(env.get('LANGUAGE_X'))");
    let denied = run_in(&directory, &["run", "a.lua"]);
    assert_eq!(denied.code, Some(1));
    assert!(denied.stderr.contains("--allow fs="), "{}", denied.stderr);
    let learned = run_in(&directory, &["run", "--learn", "m.toml", "-A", "a.lua"]);
    assert_eq!(learned.code, Some(0), "{}", learned.stderr);
    let again = run_in(&directory, &["run", "--manifest", "m.toml", "a.lua"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

/// Runs a script twice, once with everything and once with what that taught, and gives the rules.
fn learnt(directory: &Directory, script: &str, flags: &[&str]) -> Vec<String> {
    directory.write("a.lua", script);
    let learned = run_in(directory, &[&["run", "--learn", "m.toml"], flags, &["a.lua"]].concat());
    assert_eq!(learned.code, Some(0), "{}", learned.stderr);
    let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it was written");
    let again = run_in(directory, &["run", "--manifest", "m.toml", "--learn", "m.toml", "a.lua"]);
    assert_eq!((again.code, again.stdout), (Some(0), learned.stdout), "{text}{}", again.stderr);
    assert_eq!(std::fs::read_to_string(directory.path().join("m.toml")).expect("it is there"), text);
    let rules = text.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    rules.map(String::from).collect()
}

fn learning_writes_the_smallest_manifest() {
    let directory = Directory::new();
    for n in 0..50 {
        directory.write(&format!("data/{n}.txt"), "x");
    }
    let rules = |script: &str, flags: &[&str]| {
        let _ = std::fs::remove_file(directory.path().join("m.toml"));
        learnt(&directory, script, flags)
    };
    assert_eq!(rules("for n = 0, 49 do fs.read('data/' .. n .. '.txt') end", &["-A"]), ["fs=read:data"]);
    assert_eq!(
        rules("fs.read('data/1.txt') fs.write('data/2.txt', fs.read('data/2.txt'))", &["-A"]),
        ["fs=read:data/1.txt", "fs=rw:data/2.txt"]
    );
    assert_eq!(rules("io.write(process.run{'echo', 'x'}.stdout)", &["-A"]), ["process=echo"]);
    assert_eq!(
        rules("pcall(fs.read, 'data/1.txt') env.get('X') pcall(env.get, 'Y')", &["-A", "--deny", "fs,env=Y"]),
        ["env=X"]
    );
    assert_eq!(rules("local ok = pcall(fs.exists, '/')", &["-A"]), ["fs=stat:/"]);
    let server = start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    let script = format!("print(http.get('http://localhost:{port}/hello').status)");
    assert_eq!(rules(&script, &["-A"]), [format!("http=GET:http://localhost:{port}/hello")]);
    // Added to what is there.
    directory.write("m.toml", "# Mine.\nallow = [\"fs=data\", \"env=Z\"]\n[limits]\ntimeout = \"1m\"\n");
    let script = "fs.read('data/1.txt') env.get('B') env.get('A')";
    assert_eq!(learnt(&directory, script, &["-A"]), ["env=A", "env=B", "env=Z", "fs=data"]);
    let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it is there");
    assert!(text.starts_with("# Mine.\n") && text.contains("timeout = \"1m\""), "{text}");
    directory.write("m.toml", "alow = []");
    let done = run_in(&directory, &["exec", "--learn", "m.toml", "-e", "print(1)"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{}", done.stderr);
}

fn manifests_have_sets_and_limits() {
    let directory = Directory::new();
    directory.write("data/x", "1");
    directory.write(
        "m.toml",
        "deny = [\"fs=data/secret\"]\n[limits]\ntimeout = \"5m\"\n[set.read]\nallow = [\"fs=data\"]\n",
    );
    directory.write("short.toml", "[limits]\ntimeout = \"50ms\"\n");
    let done =
        run_in(&directory, &["exec", "--manifest", "m.toml", "-P", "read", "-e", "print(fs.read('data/x'))"]);
    assert_eq!(done.stdout, "1\n", "{}", done.stderr);
    let done = run_in(&directory, &["exec", "--manifest", "m.toml", "-e", "print(fs.read('data/x'))"]);
    assert_eq!(done.code, Some(1));
    let done = run_in(&directory, &["exec", "--manifest", "short.toml", "-e", "sleep(1000)"]);
    assert_eq!(done.code, Some(124), "{}", done.stderr);
    let done = run_in(&directory, &["exec", "--manifest", "m.toml", "-P", "nope", "-e", ""]);
    assert_eq!(done.code, Some(64));
    assert!(done.stderr.contains("there are: read"), "{}", done.stderr);
    for misspelt in
        ["alow = []", "[set.read]\nallow = [\"fs=data\"]\ndenny = [\"fs=data/x\"]", "[limits]\ntime = 1"]
    {
        directory.write("bad.toml", misspelt);
        let done = run_in(&directory, &["exec", "--manifest", "bad.toml", "-P", "read", "-e", "print(1)"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{misspelt}");
    }
}

fn decisions_are_audited() {
    let directory = Directory::new();
    directory.write("in.txt", "text");
    let source = "fs.read('in.txt') pcall(fs.write, 'out.txt', '') pcall(env.get, 'X')";
    let done = run_in(&directory, &["exec", "--allow", "fs=in.txt", "--audit", "a.jsonl", "-e", source]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let text = std::fs::read_to_string(directory.path().join("a.jsonl")).expect("it was written");
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let has = |decision: &str, capability: &str| {
        events.iter().any(|event| event["decision"] == decision && event["capability"] == capability)
    };
    assert!(has("allow", "fs") && has("deny", "fs") && has("deny", "env"), "{text}");
    assert!(events.iter().all(|event| event["script_hash"].as_str().is_some_and(|hash| hash.len() == 64)));
}

fn explain_names_what_is_needed() {
    let directory = Directory::new();
    directory.write("a.lua", "require('m')\nhttp.get('https://api.example.com/x')\nfs.read(path)");
    directory.write("modules/m.lua", "return env.get('HOME')");
    let done = run_in(&directory, &["explain", "a.lua"]);
    assert!(
        done.stdout.contains("assay run --allow env=HOME,fs,http=api.example.com:443 a.lua"),
        "{}",
        done.stdout
    );
    let json: serde_json::Value =
        serde_json::from_str(&run_in(&directory, &["explain", "--json", "a.lua"]).stdout).expect("JSON");
    assert_eq!(json["allow"][0], "env=HOME");
}

fn help_version_and_completion() {
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["version"],
        &["version", "--json"],
        &["capabilities"],
        &["capabilities", "--json"],
    ] {
        let done = run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        assert!(!done.stdout.is_empty(), "{args:?}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(&["completion", shell]).stdout.contains("assay"), "{shell}");
    }
    assert!(run(&["--help"]).stdout.contains("Examples:"));
}

fn the_suite_runs_test_files() {
    let directory = Directory::new();
    directory.write("t/good_test.lua", "assert.eq(1, 1) assert(true)");
    directory.write("t/bad_test.lua", "assert.eq(1, 2)");
    directory.write("t/not.lua", "error('not a test')");
    let done = run_in(&directory, &["test", "--junit", "r.xml", "t"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stdout.contains("1 passed, 1 failed (2 assertions)"), "{}{}", done.stdout, done.stderr);
    let xml = std::fs::read_to_string(directory.path().join("r.xml")).expect("it was written");
    assert!(xml.contains("failures=\"1\"") && xml.contains("good_test.lua"), "{xml}");
    assert_eq!(run_in(&directory, &["test", "t/good_test.lua"]).code, Some(0));
    assert_eq!(run_in(&directory, &["test", "--filter", "nothing", "t"]).code, Some(64));
}

fn the_repl_keeps_state_and_shows_values() {
    let (code, stdout, stderr) =
        with_input(&["repl"], "x = 20\nx + 1, 'two'\nfor i = 1, 2 do\nprint(i)\nend\nerror('oops')\nx + 2\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "21\ttwo\n1\n2\n22\n", "{stderr}");
    assert!(stderr.contains("oops"), "{stderr}");
    let values = [
        ("{ 1, 2, name = 'x', deep = { {} } }", "{1, 2, deep = {{}}, name = \"x\"}"),
        ("true, nil, 1.5, 'a\\nb'", "true\tnil\t1.5\ta\nb"),
        ("json.null", "null"),
        ("setmetatable({}, { __tostring = function() return 'shown' end })", "shown"),
        ("setmetatable({}, { __tostring = function() error('x') end })", "(error object is a table value)"),
    ];
    for (input, shown) in values {
        let (code, stdout, stderr) = with_input(&["repl"], &format!("{input}\n1\n"));
        assert_eq!((code, stdout), (Some(0), format!("{shown}\n1\n")), "{input}: {stderr}");
    }
}

fn local_variables_of_the_repl_live_on() {
    for (lines, stdout) in [
        ("local x = 20\nx + 1", "21\n"),
        ("local x = 1\nx = x + 1\nx", "2\n"),
        // All see the same variable.
        ("local x = 1\nfunction get() return x end\nx = 5\nget()", "5\n"),
        ("local x = 1\nlocal function set(v) x = v end\nset(7)\nx, set ~= nil", "7\ttrue\n"),
        ("local n = 0\nfunction add() n = n + 1 return n end\nadd()\nadd()\nn", "1\n2\n2\n"),
        // One of the same name hides the first.
        ("local x = 1\nfunction first() return x end\nlocal x = 2\nx, first()", "2\t1\n"),
        ("local a, b <const> = 1, 2\nlocal c <const> = {}\na + b, #c", "3\t0\n"),
        ("local x = 1 local y = 2\nx + y", "3\n"),
        ("local x = 1 -- a comment\nx", "1\n"),
        ("local function f(n)\nif n == 0 then return 0 end\nreturn f(n - 1) end\nf(3)", "0\n"),
        // Those of a block do not.
        ("do local inner = 1 end\ninner", "nil\n"),
        ("for i = 1, 2 do local inner = i end\ni, inner", "nil\tnil\n"),
        // A line that fails, and what was there before.
        ("local x = 1\nlocal x = 2 error('oops')\nx", "1\n"),
        ("local x = 1\nlocal y = = 2\nx", "1\n"),
        ("local x = 3\nif x == 3 then return 'early' end\nx", "early\n3\n"),
        ("local x = 1\nsleep(0.001)\nx", "1\n"),
        ("local s <close> = setmetatable({}, {__close = function() print('closed') end})\n1", "closed\n1\n"),
        ("local x = nil\nx", "nil\n"),
    ] {
        let (code, shown, stderr) = with_input(&["repl"], &format!("{lines}\n"));
        assert_eq!((code, shown.as_str()), (Some(0), stdout), "{lines}: {stderr}");
    }
    // Constants of all kinds, and that they are.
    for lines in [
        "local k <const> = 5\nk = 6",
        "local <const> a, b = 1, 2\nb = 6",
        "local t <const> = {}\nlocal x = t\nt = 6",
    ] {
        let (_, _, stderr) = with_input(&["repl"], &format!("{lines}\n"));
        assert!(stderr.contains("attempt to assign to const variable"), "{lines}: {stderr}");
    }
    // Files stay open.
    let lines = "local f = io.tmpfile()\nf:write('one ')\nf:write('two')\nf:seek('set')\nf:read('a')\n";
    let (_, shown, stderr) = with_input(&["repl"], lines);
    assert!(shown.ends_with("one two\n"), "{shown}{stderr}");
    // More than a function of Lua may have.
    let many: String = (0..400).map(|n| format!("local v{n} = {n}\n")).collect();
    let (code, shown, stderr) = with_input(&["repl"], &format!("{many}v399, v300\n"));
    assert_eq!((code, shown.as_str()), (Some(0), "399\t300\n"), "{stderr}");
}

fn an_interrupt_ends_a_line_of_the_repl() {
    let directory = Directory::new();
    for busy in [
        "while true do end",
        "sleep(1000)",
        "pcall(function() while true do end end)",
        "async.all({function() sleep(1000) end})",
    ] {
        let mut command = assay(directory.path(), &["repl"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        let line = format!("x = 1 print('ready') io.stdout:flush() {busy}\n");
        input.write_all(line.as_bytes()).expect("it reads its input");
        let mut stdout = child.stdout.take().expect("piped");
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).expect("a line comes");
        for round in 0..2 {
            if round > 0 {
                input.write_all(line.as_bytes()).expect("it reads on");
                stdout.read_exact(&mut ready).expect("a line comes");
            }
            let killed = program("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(killed.expect("kill runs").success());
            input.write_all(b"x + 1\n").expect("it reads on");
            let mut shown = [0; 2];
            stdout.read_exact(&mut shown).expect("it goes on");
            assert_eq!(&shown, b"2\n", "{busy}");
        }
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{busy}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.matches("interrupted\n").count(), 2, "{busy}: {stderr}");
    }
    // Where no line runs it ends the session, as SIGTERM does everywhere.
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = assay(directory.path(), &["repl"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        input
            .write_all(b"x = setmetatable({}, {__gc = function() print('gc') end}) 'ready'\n")
            .expect("it reads");
        input.write_all(b"'ready'\n").expect("it reads");
        let mut stdout = child.stdout.take().expect("piped");
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).expect("a line comes");
        let killed = program("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(code));
    }
}

fn the_repl_helps() {
    let (code, stdout, stderr) = with_input(&["repl"], "help()\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("Ctrl-D") && stdout.contains("\nfs         Files and directories\n"), "{stdout}");
    for topic in ["'fs.read'", "fs.read"] {
        let (_, stdout, stderr) = with_input(&["repl"], &format!("help({topic})\n"));
        assert!(stdout.starts_with("fs.read(path) -> string\n"), "{topic}: {stdout}{stderr}");
    }
    let (_, stdout, _) = with_input(&["repl"], "help(json)\n");
    assert!(stdout.starts_with("json\n") && stdout.contains("json.parse("), "{stdout}");
    let (_, stdout, _) = with_input(&["repl"], "help('nope')\n");
    assert!(stdout.contains("there is no help about nope"), "{stdout}");
    assert_eq!(run(&["exec", "-e", "print(help)"]).stdout, "nil\n");
}
