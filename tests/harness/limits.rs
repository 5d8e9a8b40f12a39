//! Limits: each ends a run that goes over it, with the documented exit code, and leaves one alone that stays
//! below.

use assay_tests::attacks;
use assay_tests::executable::{self, run};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("loops_end_at_the_cpu_limit", loops_end_at_the_cpu_limit),
    ("loops_end_at_the_timeout", loops_end_at_the_timeout),
    ("memory_bombs_end_at_the_memory_limit", memory_bombs_end_at_the_memory_limit),
    ("a_script_may_catch_running_out_of_memory", a_script_may_catch_running_out_of_memory),
    ("deep_recursion_is_an_error", deep_recursion_is_an_error),
    ("below_the_limits_nothing_happens", below_the_limits_nothing_happens),
    ("output_is_limited", output_is_limited),
    ("floods_end_within_their_limits", floods_end_within_their_limits),
    ("work_of_builtins_ends_at_the_cpu_limit", work_of_builtins_ends_at_the_cpu_limit),
    ("nothing_breaks_the_sandbox", nothing_breaks_the_sandbox),
];

fn loops_end_at_the_cpu_limit() {
    for attack in attacks::of("vm") {
        let source = attack.code();
        let done = run(&["exec", "--cpu", "100ms", "-e", source]);
        assert_eq!(done.code, Some(137), "{source}\n{}", done.stderr);
        assert!(done.stderr.contains("cpu limit of 0.1 s"), "{source}\n{}", done.stderr);
    }
}

fn loops_end_at_the_timeout() {
    for attack in [attacks::of("vm"), attacks::of("waits")].concat() {
        let source = attack.code();
        let mut args = vec!["exec", "--timeout", "100ms"];
        for allow in attack.all("allow") {
            args.extend(["--allow", allow]);
        }
        args.extend(["-e", source]);
        let done = run(&args);
        assert_eq!(done.code, Some(124), "{source}\n{}", done.stderr);
    }
}

fn memory_bombs_end_at_the_memory_limit() {
    for source in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "return ('x'):rep(1 << 40)",
        "return table.concat({ ('x'):rep(30000000), ('x'):rep(30000000) })",
        "local function f(...) return f(1, ...) end f()",
        "json.encode(('x'):rep(25000000))",
    ] {
        let done = run(&["exec", "--memory", "32MiB", "--cpu", "20s", "-e", source]);
        let ended = done.code == Some(137)
            || (done.code == Some(1) && done.stderr.contains("too large"))
            || (done.code == Some(1) && done.stderr.contains("stack overflow"));
        assert!(ended, "{source}: {:?}\n{}", done.code, done.stderr);
    }
}

fn a_script_may_catch_running_out_of_memory() {
    let source = "local ok, err = pcall(function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end)
        collectgarbage() assert(not ok and err == 'not enough memory', err) print('alive')";
    let done = run(&["exec", "--memory", "32MiB", "-e", source]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "alive\n"), "{}", done.stderr);
}

fn deep_recursion_is_an_error() {
    for source in [
        "local function f() return 1 + f() end f()",
        "local function f() return pcall(f) and 1 end error('stack overflow ' .. tostring(f()))",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x",
        "local s = '' for i = 1, 300 do s = s .. '(' end load('return ' .. s)() ",
        "local function f(s) return (s:gsub('.', f)) end f('x')",
        "local t = {} for i = 1, 100000 do t = { t } end json.encode(t)",
        "json.parse(('['):rep(100000))",
    ] {
        let done = run(&["exec", "-e", source]);
        assert_eq!(done.code, Some(1), "{source}\n{}", done.stderr);
    }
}

fn below_the_limits_nothing_happens() {
    let source = "local t = {} for i = 1, 100000 do t[i] = i end print(#t)";
    let done = run(&[
        "exec",
        "--memory",
        "32MiB",
        "--cpu",
        "10s",
        "--timeout",
        "60s",
        "--max-output",
        "7",
        "-e",
        source,
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "100000\n"), "{}", done.stderr);
}

fn output_is_limited() {
    let done = run(&["exec", "--max-output", "6", "-e", "print('12345') print('6')"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("max-output"), "{}", done.stderr);
    assert_eq!(done.stdout, "12345\n");
}

/// Tasks, coroutines, open files and log lines without end: memory, handles and log bytes bound them.
fn floods_end_within_their_limits() {
    for source in [
        "while true do async.spawn(function() sleep(1000) end) end",
        "local t = {} while true do t[#t + 1] = coroutine.wrap(function() coroutine.yield() end) t[#t]() end",
        "local function f() async.spawn(f) async.spawn(f) sleep(1) end f()",
    ] {
        // Where the bound on tasks is met before that on memory, those of the last go on until the time is over.
        let done = run(&["exec", "--memory", "32MiB", "--cpu", "60s", "--timeout", "10s", "-e", source]);
        let told = ["not enough memory", "tasks already"].iter().any(|word| done.stderr.contains(word));
        let ended = matches!(done.code, Some(124 | 137)) || (done.code == Some(1) && told);
        assert!(ended, "{source}: {:?}\n{}", done.code, done.stderr);
    }
    let files = "local t = {} local path = fs.tempdir() .. '/x' fs.write(path, '') \
                 while true do t[#t + 1] = assert(io.open(path)) end";
    let done = run(&["exec", "--max-handles", "50", "-e", files]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("max-handles limit of this run is reached (50)"), "{}", done.stderr);

    let lines = "for i = 1, 100000 do log.info(('x'):rep(1000)) end print('alive')";
    let done = run(&["exec", "--max-log", "10KiB", "-e", lines]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "alive\n"), "{}", done.stderr);
    assert!(done.stderr.len() < 20 << 10, "{} bytes of log", done.stderr.len());
}

fn work_of_builtins_ends_at_the_cpu_limit() {
    for attack in attacks::of("builtins") {
        let source = attack.code();
        let done = run(&["exec", "--cpu", "300ms", "-e", source]);
        assert_eq!(done.code, Some(137), "{source}\n{}", done.stderr);
        assert!(done.stderr.contains("cpu limit of 0.3 s"), "{source}\n{}", done.stderr);
    }
}

/// Every builtin with values of all kinds and sizes: what a script does never shows as a bug of Assay.
fn nothing_breaks_the_sandbox() {
    let script = executable::root().join("tests/harness/fuzz.lua");
    let script = script.to_string_lossy();
    for seed in 1..=12 {
        // Also where memory is short, and less may go to the host at a time than the script can hold.
        let (memory, host_memory) = [("64MiB", "64MiB"), ("24MiB", "8MiB")][seed % 2];
        let seed = seed.to_string();
        let done = run(&[
            "run",
            "--memory",
            memory,
            "--host-memory",
            host_memory,
            "--allow",
            "process=/usr/bin/head,process=/usr/bin/true,db=sqlite::memory:",
            "--timeout",
            "60s",
            "--max-handles",
            "64",
            &script,
            &seed,
            "150",
        ]);
        let last = done.stderr.lines().rev().take(3).collect::<Vec<_>>();
        assert!(!done.stderr.contains("broke down"), "seed {seed}: {last:?}");
        assert!(matches!(done.code, Some(0 | 1 | 124 | 137)), "seed {seed}: {:?} {last:?}", done.code);
    }
}
