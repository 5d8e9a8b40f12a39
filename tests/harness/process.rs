//! Programs that a script has started end with the script, however it ends, and however hard they try.

use assay_tests::executable::{Directory, Finished, assay, program, python, run_in};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("they_end_with_a_script_that_returns", they_end_with_a_script_that_returns),
    ("they_end_with_a_script_that_fails", they_end_with_a_script_that_fails),
    ("they_end_with_a_script_that_exits", they_end_with_a_script_that_exits),
    ("they_end_at_the_timeout", they_end_at_the_timeout),
    ("they_end_at_the_cpu_limit", they_end_at_the_cpu_limit),
    ("they_end_with_a_signal", they_end_with_a_signal),
    ("they_end_when_assay_is_killed", they_end_when_assay_is_killed),
    ("they_end_as_it_ends_in_a_container", they_end_as_it_ends_in_a_container),
    ("a_fork_bomb_ends", a_fork_bomb_ends),
    ("descriptors_of_the_caller_stay_with_it", descriptors_of_the_caller_stay_with_it),
    ("ignored_signals_are_not_passed_on", ignored_signals_are_not_passed_on),
    ("the_supervisor_starts_only_for_assay", the_supervisor_starts_only_for_assay),
    ("a_name_is_looked_up_where_the_operator_says", a_name_is_looked_up_where_the_operator_says),
];

/// Starts a child, a grandchild, one in a session of its own, a daemon that has forked twice, one in a terminal and
/// one that ignores what it can, and prints their numbers.
const FAMILY: &str = r#"
local function start(how, line, options)
  options = options or {}
  options.cmd, options.args = "sh", {"-c", line}
  return how(options)
end
local child = start(process.spawn, [[
  echo $$
  sh -c 'echo $$; exec sleep 1000' &
  setsid -f sh -c 'echo $$; exec sleep 1000'
  sh -c 'trap "" HUP INT TERM; echo $$; while :; do sleep 1000; done' &
  perl -e 'use POSIX; $| = 1; exit if fork; POSIX::setsid(); exit if fork; chdir "/"; print "$$\n";
    open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null"; sleep 1000'
  exec sleep 1000
]], {stdout = "pipe"})
local lines = child:lines()
for _ = 1, 5 do
  print(lines())
end
local term = start(process.spawn_pty, "exec sleep 1000")
print(term.pid)
io.stdout:flush()
"#;
/// How many that are.
const MEMBERS: usize = 6;
const GRANTS: &[&str] = &["--allow", "process=sh,pty=sh"];

/// Whether a process is there and not only waits to be reaped.
fn is_alive(pid: &str) -> bool {
    let pid: u32 = pid.trim().parse().expect("a number");
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => false,
    }
}

/// Runs a script that starts the family and then does something.
fn family(flags: &[&str], then: &str) -> (Finished, Vec<String>) {
    let (done, pids) = try_family(flags, then);
    assert_eq!(pids.len(), MEMBERS, "{}{}", done.stdout, done.stderr);
    (done, pids)
}

/// The same; not all of them may have been started.
fn try_family(flags: &[&str], then: &str) -> (Finished, Vec<String>) {
    let directory = Directory::new();
    let source = format!("{FAMILY}{then}");
    let args = [&["exec"], GRANTS, flags, &["-e", &source]].concat();
    let done = run_in(&directory, &args);
    let pids: Vec<String> = done.stdout.lines().map(str::to_string).collect();
    (done, pids)
}

fn nobody_is_left(pids: &[String], how: &str) {
    let left: Vec<&String> = pids.iter().filter(|pid| is_alive(pid)).collect();
    assert!(left.is_empty(), "{how}: {left:?} of {pids:?} are left");
}

fn they_end_with_a_script_that_returns() {
    let (done, pids) = family(&[], "");
    nobody_is_left(&pids, "returned");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn they_end_with_a_script_that_fails() {
    let (done, pids) = family(&[], "error('no')");
    nobody_is_left(&pids, "failed");
    assert_eq!(done.code, Some(1), "{}", done.stderr);
}

fn they_end_with_a_script_that_exits() {
    let (done, pids) = family(&[], "os.exit(9)");
    nobody_is_left(&pids, "exited");
    assert_eq!(done.code, Some(9), "{}", done.stderr);
}

fn they_end_at_the_timeout() {
    // A busy machine may take longer to start them all.
    let mut ended =
        ["3s", "30s", "120s"].iter().map(|limit| try_family(&["--timeout", limit], "child:wait()"));
    let (done, pids) = ended.find(|(_, pids)| pids.len() == MEMBERS).expect("all of them start");
    nobody_is_left(&pids, "timeout");
    assert_eq!(done.code, Some(124), "{}", done.stderr);
}

fn they_end_at_the_cpu_limit() {
    let (done, pids) = family(&["--cpu", "1s"], "while true do end");
    nobody_is_left(&pids, "cpu");
    assert_eq!(done.code, Some(137), "{}", done.stderr);
}

/// Starts a script with the family, and gives it once all are there.
fn start(mut command: Command) -> (Child, Vec<String>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let pids: Vec<String> = stdout.lines().take(MEMBERS).map(|line| line.expect("text")).collect();
    assert_eq!(pids.len(), MEMBERS);
    (child, pids)
}

fn waiting(directory: &Directory) -> (Child, Vec<String>) {
    let source = format!("{FAMILY}child:wait()");
    start(assay(directory.path(), &[&["exec"], GRANTS, &["-e", &source]].concat()))
}

fn send(signal: &str, pid: u32) {
    let sent = program("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits until nobody is left, for ends that nobody waits for. They are no children of this process, so the kernel
/// is asked to tell.
fn all_end(pids: &[String], how: &str) {
    const WAIT: &str = "import os, select, sys\n\
        for pid in sys.argv[1:]:\n\
        \x20   try:\n\
        \x20       select.select([os.pidfd_open(int(pid))], [], [], 30)\n\
        \x20   except ProcessLookupError:\n\
        \x20       pass\n";
    let waited = python().args(["-c", WAIT]).args(pids).status();
    assert!(waited.expect("python3 starts").success());
    nobody_is_left(pids, how);
}

fn they_end_with_a_signal() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let directory = Directory::new();
        let (mut child, pids) = waiting(&directory);
        send(signal, child.id());
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{signal}");
        nobody_is_left(&pids, signal);
    }
}

fn they_end_when_assay_is_killed() {
    let directory = Directory::new();
    let (mut child, pids) = waiting(&directory);
    send("KILL", child.id());
    child.wait().expect("it ends");
    all_end(&pids, "killed");
}

/// In a container Assay may be the first process, to which orphans go.
fn they_end_as_it_ends_in_a_container() {
    let directory = Directory::new();
    let source = format!("{FAMILY}process.run{{'sh', '-c', 'setsid -f true; exec true'}}");
    let mut command = program("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--"]);
    command.arg(assay_tests::executable::path()).arg("exec").args(GRANTS).args(["-e", &source]);
    let output = command.current_dir(directory.path()).output().expect("unshare starts (Debian: util-linux)");
    let done = Finished::from(output);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout.lines().count(), MEMBERS, "{}", done.stdout);
}

fn a_fork_bomb_ends() {
    let directory = Directory::new();
    // Bounded by itself so that a failure of this test harms nobody: at most so many at a time, each in a session
    // of its own, each starting the next as it ends.
    let bomb = "i=0; while [ $i -lt 20 ]; do setsid sh -c 'while :; do (setsid sleep 0.01 &); sleep 0.01; done' & i=$((i+1)); done; echo ready; wait";
    let source = format!(
        "local c = process.spawn{{cmd = 'sh', args = {{'-c', {bomb:?}}}, stdout = 'pipe'}} print(c:read(), c.pid)"
    );
    let done = run_in(&directory, &["exec", "--allow", "process=sh", "-e", &source]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let marker = directory.path().display().to_string();
    let left = std::fs::read_dir("/proc").expect("there is /proc").flatten().filter(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.display().to_string() == marker)
    });
    assert_eq!(left.count(), 0);
}

fn sh(directory: &Directory, line: &str) -> Finished {
    let path = assay_tests::executable::path();
    let line = line.replace("ASSAY", &path.display().to_string());
    program("sh").arg("-c").arg(line).current_dir(directory.path()).output().expect("sh starts").into()
}

fn descriptors_of_the_caller_stay_with_it() {
    let directory = Directory::new();
    directory.write("secret", "x");
    let done = sh(
        &directory,
        "exec 7<secret; ASSAY exec --allow process=ls -e 'io.write(process.run{\"ls\", \"/proc/self/fd\"}.stdout)'",
    );
    assert_eq!(done.stdout, "0\n1\n2\n3\n", "{}", done.stderr);
}

fn ignored_signals_are_not_passed_on() {
    let directory = Directory::new();
    let done = sh(
        &directory,
        "trap '' HUP PIPE USR1; ASSAY exec --allow process=sed -e 'io.write(process.run{\"sed\", \"-n\", \"/^Sig[BI]/p\", \"/proc/self/status\"}.stdout)'",
    );
    assert_eq!(done.stdout, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", "{}", done.stderr);
}

fn the_supervisor_starts_only_for_assay() {
    let directory = Directory::new();
    let done = sh(&directory, "exec bash -c 'exec -a assay-supervisor ASSAY' </dev/null");
    assert_eq!(done.code, Some(64), "{}", done.stderr);
}

fn a_name_is_looked_up_where_the_operator_says() {
    let directory = Directory::new();
    for name in ["bin/tool", "other/tool"] {
        let path = directory.write(name, &format!("#!/bin/sh\necho {name}\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("it is ours");
    }
    let (bin, other) = (directory.path().join("bin"), directory.path().join("other"));
    // Entries that depend on the working directory do not count.
    let path = format!(".:other::{}:/usr/bin:/bin", bin.display());
    let source = format!(
        "env.set('PATH', {other:?})
         io.write(pcall(process.run, {{'tool'}}) and 'started' or '', '\\n')
         env.set('PATH', nil)
         io.write(process.run{{cmd = 'tool', cwd = 'other'}}.stdout)
         local ok, err = pcall(process.run, {{'other/tool'}})
         print(err.code)",
    );
    let args = ["exec", "--allow", "process=tool,fs=read:other", "-e", &source];
    let done = Finished::from(assay(directory.path(), &args).env("PATH", path).output().expect("it starts"));
    assert_eq!(done.stdout, "\nbin/tool\ndenied\n", "{}", done.stderr);
}
