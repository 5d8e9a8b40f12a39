//! How a run ends: output that is lost, errors and where they come from, tasks that nobody awaits, signals.

use assay_tests::executable::{Directory, Finished, assay, program, run, run_in};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("lost_output_is_no_success", lost_output_is_no_success),
    ("a_lost_report_is_no_success", a_lost_report_is_no_success),
    ("error_values_are_told", error_values_are_told),
    ("tracebacks_are_the_scripts", tracebacks_are_the_scripts),
    ("deep_tracebacks_have_both_ends", deep_tracebacks_have_both_ends),
    ("errors_of_tasks_have_both_stacks", errors_of_tasks_have_both_stacks),
    ("an_error_that_nobody_awaits_is_no_success", an_error_that_nobody_awaits_is_no_success),
    ("what_several_wait_for_is_awaited", what_several_wait_for_is_awaited),
    ("an_error_that_nobody_awaits_fails_a_test", an_error_that_nobody_awaits_fails_a_test),
    ("variables_and_finalizers_at_the_end", variables_and_finalizers_at_the_end),
    ("a_signal_closes_what_is_open", a_signal_closes_what_is_open),
    ("a_signal_waits_for_no_script", a_signal_waits_for_no_script),
    ("a_script_handles_signals", a_script_handles_signals),
    ("a_handler_that_fails_is_told", a_handler_that_fails_is_told),
    ("a_second_signal_ends_a_handler", a_second_signal_ends_a_handler),
    ("a_signal_reaches_handler_and_server", a_signal_reaches_handler_and_server),
    ("wrong_handlers_are_errors", wrong_handlers_are_errors),
    ("too_little_memory_is_told", too_little_memory_is_told),
    ("a_time_of_0_is_no_limit", a_time_of_0_is_no_limit),
];

fn to_full(args: &[&str]) -> Finished {
    let directory = Directory::new();
    directory.write("t/a_test.lua", "assert(true)");
    directory.write("a.lua", "local x = 1");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    assay(directory.path(), args).stdout(full).output().expect("it starts").into()
}

fn lost_output_is_no_success() {
    for source in [
        "print('x')",
        "io.write('x')",
        "print('x') os.exit(0)",
        "print('x') os.exit(true, true)",
        "print('x') sleep(0.001)",
        "io.write('x') io.stdout:flush()",
        "io.stdout:setvbuf('no') io.write('x')",
        "pcall(print, ('x'):rep(1 << 20))",
        "setmetatable({}, { __gc = function() print('x') end })",
        "local x <close> = setmetatable({}, { __close = function() print('x') end })",
        "async.spawn(function() print('x') end) sleep(0)",
    ] {
        let done = to_full(&["exec", "-e", source]);
        assert_eq!(done.code, Some(1), "{source}: {}", done.stderr);
        let told = done.stderr.matches("No space left on device").count();
        assert_eq!(told, 1, "{source}: {}", done.stderr);
    }
    // What is told by another error is not hidden by it.
    let done = to_full(&["exec", "-e", "print('x') error('y', 0)"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("assay: y\n") && done.stderr.contains("No space left"), "{}", done.stderr);
    assert_eq!(to_full(&["exec", "-e", "print('x') os.exit(3)"]).code, Some(3));
    assert_eq!(to_full(&["exec", "-e", "local x = 1"]).code, Some(0));
    // A file of the script's that is left open.
    for (end, code) in [("", 1), ("os.exit(0)", 1), ("os.exit(3)", 3), ("error('y')", 1)] {
        let source = format!("f = io.open('/dev/full', 'w') f:write('x') {end}");
        let done = run(&["exec", "--allow", "fs=write:/dev/full", "-e", &source]);
        assert_eq!(done.code, Some(code), "{end}: {}", done.stderr);
        assert_eq!(
            done.stderr.matches("left open could not be written").count(),
            1,
            "{end}: {}",
            done.stderr
        );
    }
    for args in [
        &["modules"][..],
        &["modules", "--json"],
        &["capabilities"],
        &["completion", "bash"],
        &["version"],
        &["--help"],
        &["explain", "a.lua"],
        &["run", "--mode", "tool", "a.lua"],
        &["test", "t"],
    ] {
        let done = to_full(args);
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("standard output cannot be written: No space"),
            "{args:?}: {}",
            done.stderr
        );
    }
}

fn a_lost_report_is_no_success() {
    let directory = Directory::new();
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let code = |args: &[&str]| {
        let mut command = assay(directory.path(), args);
        command.stderr(full()).status().expect("it starts").code()
    };
    assert_eq!(code(&["exec", "-e", "local x = 1"]), Some(0));
    for format in ["text", "json"] {
        assert_eq!(code(&["exec", "--report", format, "-e", "local x = 1"]), Some(1));
        let args = ["exec", "--report", format, "--report-file", "/dev/full", "-e", "local x = 1"];
        assert_eq!(run(&args).code, Some(1), "{format}");
    }
}

fn error_values_are_told() {
    for (value, told) in [
        ("{ code = 7, message = 'not so', x = { 1, 2 } }", "not so (code = 7, x = {1, 2})"),
        ("{ message = 'only this' }", "only this"),
        ("{ code = 'busy' }", "an error without a message: {code = \"busy\"}"),
        ("{ 1, 2 }", "an error without a message: {1, 2}"),
        ("{}", "an error without a message: {}"),
        (
            "{ message = { 1 }, b = true, a = 1.5 }",
            "an error without a message: {a = 1.5, b = true, message = {1}}",
        ),
        ("setmetatable({ code = 7 }, { __name = 'mine' })", "an error without a message: {code = 7}"),
        ("setmetatable({ code = 7 }, { __tostring = function() return 'own text' end })", "own text"),
        ("true", "(error object is a boolean value)"),
        ("nil", "<no error object>"),
        ("5", "5"),
    ] {
        let done = run(&["exec", "-e", &format!("error({value})")]);
        assert_eq!(done.code, Some(1), "{value}");
        assert!(done.stderr.starts_with(&format!("assay: {told}\n")), "{value}: {}", done.stderr);
        assert!(done.stderr.contains("(command line):1: in main chunk"), "{value}: {}", done.stderr);
    }
    // A builtin's own text need not have the code in it.
    let done = run(&["exec", "-e", "fs.read('/nowhere')"]);
    assert!(done.stderr.contains("\ncode: denied\nstack traceback:"), "{}", done.stderr);
    let directory = Directory::new();
    directory.write("tool.lua", "error({ code = 7, message = 'not so' })");
    let tool = run_in(&directory, &["run", "--mode", "tool", "tool.lua"]);
    assert!(tool.stdout.contains("not so (code = 7)"), "{}", tool.stdout);
}

/// The lines of a traceback, as they stand.
fn traceback(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines().skip_while(|line| !line.contains("stack traceback:")).skip(1);
    lines.map(str::trim_start).take_while(|line| !line.is_empty()).collect()
}

fn tracebacks_are_the_scripts() {
    let directory = Directory::new();
    let script = "local function f()\n  http.serve(0, {}, { nope = 1 })\nend\nlocal ok = 1\nf()";
    directory.write("a.lua", script);
    let done = run_in(&directory, &["run", "--allow", "listen", "a.lua"]);
    assert_eq!(
        traceback(&done.stderr),
        ["[C]: in field 'serve'", "a.lua:2: in local 'f'", "a.lua:5: in main chunk"],
        "{}",
        done.stderr
    );
    let verbose = run_in(&directory, &["run", "-v", "--allow", "listen", "a.lua"]);
    let lines = traceback(&verbose.stderr);
    assert!(lines.iter().any(|line| line.starts_with("listen:")), "{}", verbose.stderr);
    assert!(lines.contains(&"a.lua:2: in local 'f'"), "{}", verbose.stderr);
    // A module is the script's own, what finds it is not.
    directory.write("modules/m.lua", "local function deep()\n  error('in m')\nend\ndeep()");
    directory.write("b.lua", "require('m')");
    let done = run_in(&directory, &["run", "b.lua"]);
    let lines = traceback(&done.stderr);
    assert!(!lines.iter().any(|line| line.starts_with("require:")), "{}", done.stderr);
    assert!(lines.contains(&"b.lua:1: in main chunk"), "{}", done.stderr);
    assert!(lines.iter().any(|line| line.contains("m.lua:2: in local 'deep'")), "{}", done.stderr);
}

fn deep_tracebacks_have_both_ends() {
    for depth in [5, 60, 100, 5000] {
        let source = format!(
            "local function f(n)\n if n == 0 then error('deep') end\n f(n - 1)\n return n\nend\nf({depth})"
        );
        let done = run(&["exec", "-e", &source]);
        let lines = traceback(&done.stderr);
        assert_eq!(lines.first(), Some(&"[C]: in global 'error'"), "{depth}: {}", done.stderr);
        assert_eq!(lines.last(), Some(&"(command line):6: in main chunk"), "{depth}: {}", done.stderr);
        let skipped = lines.iter().find_map(|line| line.split("(skipping ").nth(1));
        let skipped = skipped.and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        match depth {
            5 => assert_eq!((lines.len(), skipped), (8, None), "{}", done.stderr),
            // The frames are `error`, one for each level and for 0, and the main chunk.
            _ => assert_eq!((lines.len(), skipped), (22, Some(depth + 3 - 21)), "{}", done.stderr),
        }
    }
}

fn errors_of_tasks_have_both_stacks() {
    let directory = Directory::new();
    let script = "local function inner()\n  sleep(0.001)\n  error('inner')\nend\n";
    for (name, call, expected) in [
        (
            "await",
            "local t = async.spawn(function()\n  inner()\nend)\nt:await()",
            &[
                "a.lua:3: in upvalue 'inner'",
                "(task started at a.lua:5)",
                "[C]: in method 'await'",
                "a.lua:8: in main chunk",
            ][..],
        ),
        (
            "all",
            "async.all({ function() inner() end, function() sleep(5) end })",
            &[
                "a.lua:3: in upvalue 'inner'",
                "(task started at a.lua:5)",
                "[C]: in field 'all'",
                "a.lua:5: in main chunk",
            ],
        ),
        (
            "nested",
            "async.spawn(function()\n  async.spawn(function() inner() end):await()\nend):await()",
            &[
                "a.lua:3: in upvalue 'inner'",
                "(task started at a.lua:6)",
                "[C]: in method 'await'",
                "(task started at a.lua:5)",
                "a.lua:7: in main chunk",
            ],
        ),
        (
            "raised again",
            "local t = async.spawn(inner)\nlocal ok, err = pcall(t.await, t)\nerror(err, 0)",
            &[
                "a.lua:3: in function <a.lua:1>",
                "(task started at a.lua:5)",
                "[C]: in global 'error'",
                "a.lua:7: in main chunk",
            ],
        ),
    ] {
        directory.write("a.lua", &format!("{script}{call}"));
        let done = run_in(&directory, &["run", "a.lua"]);
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.starts_with("assay: a.lua:3: inner\n"), "{name}: {}", done.stderr);
        let lines = traceback(&done.stderr);
        let mut rest = lines.iter();
        for line in expected {
            assert!(
                rest.any(|one| one == line),
                "{name}: {line} is not where it should be in\n{}",
                done.stderr
            );
        }
        assert!(!lines.iter().any(|line| line.starts_with("async:")), "{name}: {}", done.stderr);
    }
    // One that was caught is not told with another error.
    directory.write("a.lua", "pcall(async.spawn(function() error('first') end).await)\nerror('second')");
    let done = run_in(&directory, &["run", "a.lua"]);
    assert!(!done.stderr.contains("task started"), "{}", done.stderr);
}

fn an_error_that_nobody_awaits_is_no_success() {
    for (source, code) in [
        ("async.spawn(function() error('lost') end) sleep(0.01)", 1),
        ("t = async.spawn(function() error('lost') end) sleep(0.01)", 1),
        ("async.spawn(function() error('lost') end) sleep(0.01) collectgarbage() sleep(0.01)", 1),
        ("async.spawn(function() error('lost') end) sleep(0.01) os.exit(0)", 1),
        ("async.spawn(function() error('lost') end) sleep(0.01) os.exit(5)", 5),
        ("async.spawn_interval(function() error('lost') end, 1) sleep(0.05)", 1),
        ("t = async.spawn(function() error('lost') end) sleep(0.01) t:cancel()", 1),
    ] {
        let done = run(&["exec", "-e", source]);
        assert_eq!(done.code, Some(code), "{source}: {}", done.stderr);
        let told = done.stderr.lines().filter(|line| line.contains("lost")).count();
        assert_eq!(told, 1, "{source}: {}", done.stderr);
        assert!(done.stderr.contains("task started at (command line):1"), "{source}: {}", done.stderr);
    }
    for fine in [
        "t = async.spawn(function() error('lost') end) sleep(0.01) print(pcall(t.await, t))",
        "t = async.spawn(function() sleep(10) end) sleep(0.01) t:cancel()",
        "async.spawn(function() sleep(10) end)",
    ] {
        let done = run(&["exec", "-e", fine]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{fine}");
    }
}

fn what_several_wait_for_is_awaited() {
    for source in [
        "pcall(async.all, { function() error('a') end, function() error('b') end })",
        "pcall(async.race, { function() error('a') end, function() error('b') end })",
        "pcall(async.timeout, 5, function() error('a') end)",
        "local t = async.spawn(function() sleep(0.001) error('a') end) pcall(async.timeout, 0.05, t)",
        "pcall(async.all, { async.spawn(function() error('a') end), function() sleep(0.01) error('b') end })",
        "local fast = function() return 1 end async.race({ fast, function() error('b') end })",
    ] {
        let done = run(&["exec", "-e", &format!("{source} sleep(0.01)")]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{source}");
    }
}

fn an_error_that_nobody_awaits_fails_a_test() {
    let directory = Directory::new();
    directory.write("a_test.lua", "async.spawn(function() error('lost') end) sleep(0.01)");
    let done = run_in(&directory, &["test", "--junit", "r.xml", "a_test.lua"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stdout.contains("0 passed, 1 failed"), "{}", done.stdout);
    let xml = std::fs::read_to_string(directory.path().join("r.xml")).expect("it was written");
    assert!(xml.contains("nobody awaited it"), "{xml}");
}

const OPEN: &str = "
  kept = setmetatable({}, { __gc = function() print('gc') end })
  local function open(name)
    return setmetatable({}, { __close = function(_, err) sleep(0.001) print('closed ' .. name, err) end })
  end ";

fn variables_and_finalizers_at_the_end() {
    for (source, stdout, code) in [
        ("local x <close> = open('a')", "closed a\tnil\ngc\n", 0),
        ("local x <close> = open('a') error('oops', 0)", "closed a\toops\ngc\n", 1),
        ("local x <close> = open('a') os.exit(4)", "", 4),
        ("local x <close> = open('a') os.exit(4, true)", "closed a\tnil\ngc\n", 4),
        (
            "async.spawn(function() local x <close> = open('a') sleep(10) end) sleep(0.01)",
            "closed a\tnil\ngc\n",
            0,
        ),
        (
            "async.spawn(function() coroutine.wrap(function() local x <close> = open('a') sleep(10) end)() end) sleep(0.01)",
            "closed a\tnil\ngc\n",
            0,
        ),
        (
            "local t = async.spawn(function() local x <close> = open('a') error('b', 0) end) print(pcall(t.await))",
            "closed a\tb\nfalse\tb\ngc\n",
            0,
        ),
        (
            "local x <close> = setmetatable({}, { __close = function() error('of the end', 0) end }) error('x')",
            "gc\n",
            1,
        ),
        (
            "another = setmetatable({}, { __gc = function() sleep(0.001) print('waited') end })",
            "waited\ngc\n",
            0,
        ),
        ("bad = setmetatable({}, { __gc = function() error('in gc') end })", "gc\n", 0),
    ] {
        let done = run(&["exec", "-e", &format!("{OPEN}{source}")]);
        assert_eq!((done.stdout.as_str(), done.code), (stdout, Some(code)), "{source}: {}", done.stderr);
    }
    let source =
        "local x <close> = setmetatable({}, { __close = function() error('of the end', 0) end }) error('x')";
    let done = run(&["exec", "-e", source]);
    assert!(done.stderr.starts_with("assay: of the end\n"), "{}", done.stderr);
}

/// A script that runs, and prints `ready` when it can be sent a signal.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str], source: &str) -> Running {
        let directory = Directory::new();
        let mut command = assay(directory.path(), &[&["exec"], args, &["-e", source]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut running = Running { child, stdout };
        running.expect("ready");
        running
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it can be read");
        assert_eq!(line.trim_end(), wanted);
    }

    fn send(&self, signal: &str) {
        let killed = program("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }

    /// What it still writes to stdout and stderr, and its exit code.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("text");
        let mut errors = self.child.stderr.take().expect("piped");
        errors.read_to_string(&mut stderr).expect("text");
        (self.child.wait().expect("it ends").code(), stdout, stderr)
    }
}

fn a_signal_closes_what_is_open() {
    const READY: &str = "print('ready') io.stdout:flush() ";
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        for (source, stdout) in [
            ("local x <close> = open('a') READY sleep(1000)", "closed a\tnil\ngc\n"),
            ("local x <close> = open('a') READY while true do end", "closed a\tnil\ngc\n"),
            (
                "local x <close> = open('a') READY while true do pcall(function() while true do end end) end",
                "closed a\tnil\ngc\n",
            ),
            (
                "local co = coroutine.wrap(function() local x <close> = open('b') READY while true do end end) \
                 local y <close> = open('a') co()",
                "closed b\tnil\nclosed a\tnil\ngc\n",
            ),
            (
                "async.spawn(function() local x <close> = open('a') READY sleep(1000) end) sleep(1000)",
                "closed a\tnil\ngc\n",
            ),
            (
                "local x <close> = open('a') async.all({ function() local y <close> = open('b') READY sleep(99) end })",
                "closed",
            ),
            ("READY local t = async.spawn(function() sleep(1000) end) t:await()", "gc\n"),
        ] {
            let source = format!("{OPEN}{}", source.replace("READY ", READY));
            let running = Running::start(&[], &source);
            running.send(signal);
            let (ended, left, stderr) = running.end();
            assert_eq!(ended, Some(code), "{signal} {source}: {left}{stderr}");
            assert!(left.starts_with(stdout) && left.ends_with("gc\n"), "{signal} {source}: {left}{stderr}");
            assert_eq!(stderr, "", "{signal} {source}");
        }
    }
}

/// Scripts that notice no signal, or do not end with their variables.
fn a_signal_waits_for_no_script() {
    for source in [
        "print('ready') io.stdout:flush() table.sort({ 3, 2, 1 }, function() while true do end end)",
        "table.sort({ 3, 2, 1 }, function() print('ready') sleep(1000) end)",
        "local x <close> = setmetatable({}, { __close = function() while true do end end }) print('ready') sleep(1000)",
        "local x <close> = setmetatable({}, { __close = function() sleep(1000) end }) print('ready') sleep(1000)",
        "x = setmetatable({}, { __gc = function() while true do end end }) print('ready') sleep(1000)",
    ] {
        let running = Running::start(&[], source);
        running.send("TERM");
        assert_eq!(running.end().0, Some(143), "{source}");
    }
    // The second one does not wait for the deadline of the first.
    let source = "local x <close> = setmetatable({}, { __close = function() print('closing') io.stdout:flush() \
                  while true do end end }) print('ready') sleep(1000)";
    let mut running = Running::start(&[], source);
    running.send("INT");
    running.expect("closing");
    running.send("INT");
    assert_eq!(running.end().0, Some(130));
}

fn a_script_handles_signals() {
    let count = "local left = 3
        os.on_signal('sigterm', function(name) left = left - 1 print('got ' .. name) io.stdout:flush() end)
        print('ready') while left > 0 do sleep(0.001) end print('done')";
    let mut running = Running::start(&[], count);
    for _ in 0..3 {
        running.send("TERM");
        running.expect("got TERM");
    }
    assert_eq!(running.end(), (Some(0), "done\n".into(), String::new()));
    // While it computes, and without a wait anywhere.
    let computes = "local over = false
        os.on_signal('INT', function() over = true end) print('ready') io.stdout:flush()
        while not over do end print('done') os.exit(7)";
    let running = Running::start(&[], computes);
    running.send("INT");
    assert_eq!(running.end(), (Some(7), "done\n".into(), String::new()));
    // A handler may end the run, and the others are as they were.
    let source = "for _, name in ipairs({ 'HUP', 'USR1', 'USR2' }) do
          os.on_signal(name, function(got) print(got) io.stdout:flush() if got == 'HUP' then os.exit(9) end end)
        end print('ready') sleep(1000)";
    let mut running = Running::start(&[], source);
    running.send("USR1");
    running.expect("USR1");
    running.send("USR2");
    running.expect("USR2");
    running.send("HUP");
    assert_eq!(running.end().0, Some(9));
    let running = Running::start(&[], source);
    running.send("TERM");
    assert_eq!(running.end().0, Some(143));
    // Taken back it ends the run again.
    let back = "os.on_signal('TERM', print) os.on_signal('TERM', nil) print('ready') sleep(1000)";
    let running = Running::start(&[], back);
    running.send("TERM");
    assert_eq!(running.end().0, Some(143));
    // A handler keeps no run alive.
    assert_eq!(run(&["exec", "-e", "os.on_signal('TERM', print)"]).code, Some(0));
}

fn a_handler_that_fails_is_told() {
    let source = "os.on_signal('TERM', function() over = true error('in the handler') end)
        print('ready') while not over do sleep(0.001) end";
    let running = Running::start(&[], source);
    running.send("TERM");
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("in the handler"), "{stderr}");
}

fn a_second_signal_ends_a_handler() {
    let source =
        "os.on_signal('TERM', function() print('handling') sleep(1000) end) print('ready') sleep(1000)";
    let mut running = Running::start(&[], source);
    running.send("TERM");
    running.expect("handling");
    // Those that come soon are for later, and the handler never ends.
    while running.child.try_wait().expect("it can be asked").is_none() {
        running.send("TERM");
    }
    assert_eq!(running.end().0, Some(143));
}

fn a_signal_reaches_handler_and_server() {
    let source = "os.on_signal('TERM', function() print('handled') end)
        http.serve(0, { GET = { ['/'] = function() return 'x' end } }, { on_listen = function() print('ready') end })
        print('stopped')";
    let running = Running::start(&["--allow", "listen"], source);
    running.send("TERM");
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    let mut lines: Vec<_> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["handled", "stopped"], "{stderr}");
}

fn wrong_handlers_are_errors() {
    for (call, why) in [
        ("os.on_signal('KILL', print)", "no program can handle it"),
        ("os.on_signal('SIGSEGV', print)", "there are TERM, INT, HUP, USR1 and USR2"),
        ("os.on_signal('', print)", "there are TERM"),
        ("os.on_signal('TERM', 5)", "function expected, got number"),
        ("os.on_signal(nil, print)", "string expected, got nil"),
        ("os.on_signal()", "string expected, got no value"),
    ] {
        let done = run(&["exec", "-e", call]);
        assert_eq!(done.code, Some(1), "{call}");
        assert!(done.stderr.contains(why), "{call}: {}", done.stderr);
    }
}

fn too_little_memory_is_told() {
    for (memory, why) in [
        ("10", "10 bytes is below the least, 4 MiB; for 10 MiB write 10MiB"),
        ("1k", "1 KiB is below the least, 4 MiB"),
        ("4095KiB", "4095 KiB is below the least, 4 MiB"),
    ] {
        let done = run(&["exec", "--memory", memory, "-e", "print(1)"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{memory}");
        assert!(done.stderr.contains(why), "{memory}: {}", done.stderr);
        let directory = Directory::new();
        directory.write("m.toml", &format!("[limits]\nmemory = \"{memory}\"\n"));
        let done = run_in(&directory, &["exec", "--manifest", "m.toml", "-e", "print(1)"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{memory}");
        assert!(done.stderr.contains(&format!("line 2: limit memory: {why}")), "{memory}: {}", done.stderr);
    }
    let done = run(&["exec", "--memory", "4MiB", "-e", "print(json.encode({ 1 }), regex.match('a', 'a'))"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "[1]\ttrue\n"), "{}", done.stderr);
}

fn a_time_of_0_is_no_limit() {
    let directory = Directory::new();
    directory.write("0.toml", "[limits]\ntimeout = 0\ncpu = 0\n");
    directory.write("short.toml", "[limits]\ntimeout = \"20ms\"\n");
    directory.write("a.lua", "sleep(0.05) print('on')");
    for args in [
        &["--timeout", "0", "--cpu", "0"][..],
        &["--timeout", "0ms"],
        &["--manifest", "0.toml"],
        // A flag wins over the manifest.
        &["--manifest", "short.toml", "--timeout", "0"],
        &["--mode", "tool", "--timeout", "0"],
        &["--mode", "tool", "--manifest", "0.toml"],
    ] {
        let done = run_in(&directory, &[&["run"], args, &["a.lua"]].concat());
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        assert!(done.stdout.contains("on"), "{args:?}: {}", done.stdout);
    }
    assert_eq!(run_in(&directory, &["run", "--manifest", "short.toml", "a.lua"]).code, Some(124));
    let done = run(&["exec", "--report", "json", "--timeout", "0", "-e", "local x = 1"]);
    assert!(done.stderr.contains("\"timeout_seconds\":null"), "{}", done.stderr);
}
