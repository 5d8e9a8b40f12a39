//! The host holds no more memory for a run than it may, whichever builtin the script calls and whatever the other side
//! sends.

use assay_tests::attacks::{self, Scene};
use assay_tests::cases::Case;
use assay_tests::executable::{Directory, assay, used};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("the_host_holds_no_more_than_its_budget", the_host_holds_no_more_than_its_budget),
    ("an_option_lifts_no_bound_over_the_budget", an_option_lifts_no_bound_over_the_budget),
    ("what_fits_into_the_budget_is_left_alone", what_fits_into_the_budget_is_left_alone),
    ("a_call_that_carries_too_much_is_an_error", a_call_that_carries_too_much_is_an_error),
    ("what_a_run_ends_with_may_be_large", what_a_run_ends_with_may_be_large),
];

/// Runs a program; gives how it ended, what it wrote to stderr, and the most memory that it ever had, bytes.
fn peak(mut command: Command) -> (Option<i32>, String, u64) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = Vec::new();
    child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("it can be read");
    let used = used(child);
    (used.code, String::from_utf8_lossy(&stderr).into_owned(), used.memory)
}

/// What the program takes for itself, bytes: as for an empty script and a little more, and 32 MiB at least. A debug build
/// has a file of more than 100 MiB.
fn own(directory: &Directory) -> u64 {
    let (_, _, bytes) = peak(assay(directory.path(), &["exec", "--memory", "64MiB", "-e", "return 1"]));
    (bytes + (8 << 20)).max(32 << 20)
}

/// Runs an attack in at most the memory of the instance, the budget, and `own`; says what is wrong about how it ended.
fn meet(scene: &Scene, attack: &Case, own: u64) -> Option<String> {
    let source = scene.script(attack);
    let mut args = vec!["exec", "--memory", "64MiB", "--timeout", "60s"];
    for allow in attack.all("allow") {
        args.extend(["--allow", allow]);
    }
    args.extend(["-e", &source]);
    let (code, stderr, bytes) = peak(assay(scene.directory.path(), &args));
    let said = stderr
        .lines()
        .rfind(|line| line.starts_with("ENDED"))
        .map(|line| &line[..line.floor_char_boundary(300)]);
    let (line, title, script) = (attack.line, &attack.title, attack.code());
    let what = format!("line {line}, {title}: {script}: {} MiB, {code:?}, {said:?}", bytes >> 20);
    // It must end in an error that the script itself can catch, or in none.
    let ended_well =
        code == Some(0) && said.is_some_and(|said| attack.all("stderr").all(|word| said.contains(word)));
    (!ended_well || bytes > (64 << 20) + (64 << 20) + own).then_some(what)
}

fn the_host_holds_no_more_than_its_budget() {
    let (attacks, scene) = (attacks::of("memory"), Scene::new());
    let own = own(&scene.directory);
    let (next, wrong) = (Mutex::new(attacks.iter()), Mutex::new(Vec::new()));
    let only = std::env::var("ASSAY_TEST_ATTACK").unwrap_or_default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(attack) = next.lock().expect("no thread panicked").next() else { return };
                    if attack.code().contains(&only) || attack.title == only {
                        wrong.lock().expect("no thread panicked").extend(meet(&scene, attack, own));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(attacks.len() > 70 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a script with a small budget and much memory.
fn with_budget(budget: &str, allow: &str, source: &str) -> (Option<i32>, String) {
    let directory = Directory::new();
    let args = ["exec", "--host-memory", budget, "--allow", allow, "-e", source];
    let done = assay(directory.path(), &args).output().expect("it starts");
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

/// What a chunk returns and what it raises goes to the host too.
fn what_a_run_ends_with_may_be_large() {
    for (source, code) in [
        ("return ('x'):rep(30 << 20)", 0),
        ("return ('\\xff'):rep(30 << 20)", 0),
        ("return table.unpack({('x'):rep(8 << 20), ('y'):rep(8 << 20), {}})", 0),
        ("local t = {} for i = 1, 200000 do t[i] = i end return table.unpack(t)", 0),
        ("error(('x'):rep(30 << 20))", 1),
        ("error({code = ('x'):rep(30 << 20), message = ('y'):rep(30 << 20)})", 1),
        ("error(setmetatable({}, {__tostring = function() return ('x'):rep(30 << 20) end}))", 1),
    ] {
        let (ended, stderr) = with_budget("4MiB", "fs", source);
        let stderr = &stderr[..stderr.floor_char_boundary(1000)];
        assert_eq!(ended, Some(code), "{source}: {stderr}");
        assert!(!stderr.contains("broke down"), "{source}: {stderr}");
    }
}
