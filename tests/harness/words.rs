//! Which words of a command line are Assay's and which the script's, and output that cannot be written.

use assay_tests::executable::{Directory, Finished, assay, path, root, run_in};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("arguments_of_a_script_grant_nothing", arguments_of_a_script_grant_nothing),
    ("arguments_of_a_program_grant_nothing", arguments_of_a_program_grant_nothing),
    ("arguments_that_look_like_grants_are_told", arguments_that_look_like_grants_are_told),
    ("a_script_may_follow_flags_at_once", a_script_may_follow_flags_at_once),
    ("tests_have_no_arguments", tests_have_no_arguments),
    ("output_that_cannot_be_written_is_an_error", output_that_cannot_be_written_is_an_error),
    ("nothing_in_the_process_prints_by_a_macro", nothing_in_the_process_prints_by_a_macro),
    ("an_audit_that_cannot_be_written_ends_the_run", an_audit_that_cannot_be_written_ends_the_run),
    ("an_audit_is_bounded", an_audit_is_bounded),
];

/// Says what the script was given, and that it was granted nothing.
const SCRIPT: &str = "print(table.concat(arg, ' '))
local read, write = pcall(fs.read, 'secret'), pcall(fs.write, 'made', '')
print(read, write, env.get('HOME'))";
const NOTHING: &str = "false\tfalse\tnil";

/// What follows a script, and would do something if it were Assay's.
const WORDS: &[&[&str]] = &[
    &["-A"],
    &["--allow", "fs,env"],
    &["--allow=fs", "--allow=env"],
    &["--help"],
    &["-h"],
    &["--version"],
    &["-v"],
    &["-vA"],
    &["--memory", "1"],
    &["--learn", "made"],
    &["--audit", "made"],
    &["--audit=made"],
    &["--report", "json", "--report-file", "made"],
    &["--manifest", "grants.toml"],
    &["--mode", "tool"],
    &["--env", "HOME=x"],
    &["-e", "fs.write('made', '')"],
    &["--junit", "made"],
    &["--unknown"],
    &["x", "-A"],
    &["x", "--", "-A"],
];

fn nothing_granted(directory: &Directory, done: &Finished, words: &[&str]) {
    assert_eq!(done.code, Some(0), "{words:?}: {}", done.stderr);
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(lines, [words.join(" ").as_str(), NOTHING], "{words:?}");
    assert!(!directory.path().join("made").exists(), "{words:?}");
}

fn arguments_of_a_script_grant_nothing() {
    let directory = Directory::new();
    directory.write("secret", "x");
    directory.write("grants.toml", "allow = [\"fs\", \"env\"]");
    let source = SCRIPT.replace('\n', " ");
    directory.write("x.lua", SCRIPT);
    for words in WORDS {
        for start in [
            &["x.lua"][..],
            &["./x.lua"],
            &["run", "x.lua"],
            &["-v", "x.lua"],
            &["--cpu", "10s", "x.lua"],
            &["run", "--", "x.lua"],
            &["exec", "x.lua"],
            &["exec", "-e", &source],
            &["run", "-e", &source],
            &["-e", &source],
            &["-ve", &source],
        ] {
            nothing_granted(&directory, &run_in(&directory, &[start, words].concat()), words);
        }
        let attached = format!("-e{source}");
        nothing_granted(
            &directory,
            &run_in(&directory, &[&["exec", attached.as_str()][..], words].concat()),
            words,
        );
        for start in [&["-"][..], &["run", "-"], &["exec", "-"]] {
            let mut command = assay(directory.path(), &[start, words].concat());
            let input = File::open(directory.path().join("x.lua")).expect("it was written");
            let done = command.stdin(input).output().expect("it runs").into();
            nothing_granted(&directory, &done, words);
        }
        // A separator is no argument; a second one is.
        let words = [&["--"][..], words].concat();
        nothing_granted(&directory, &run_in(&directory, &[&["x.lua"][..], &words].concat()), &words[1..]);
    }
    let tool = run_in(&directory, &["run", "--mode", "tool", "x.lua", "-A", "--mode", "script"]);
    let envelope: serde_json::Value = serde_json::from_str(&tool.stdout).expect("a line of JSON");
    assert!(envelope["output"].as_str().is_some_and(|output| !output.contains("true")), "{envelope}");
}

/// The `#!` line has the flags, and the caller gives words.
fn arguments_of_a_program_grant_nothing() {
    let directory = Directory::new();
    directory.write("secret", "x");
    let bin = path();
    let bin = bin.parent().expect("a directory");
    let file =
        directory.write("tool.lua", &format!("#!/usr/bin/env -S assay run --allow env=LANG\n{SCRIPT}"));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("it is ours");
    for words in WORDS {
        let mut command = Command::new(&file);
        command.args(*words).current_dir(directory.path()).env_clear().env("HOME", directory.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).stdin(Stdio::null());
        nothing_granted(&directory, &command.output().expect("it starts").into(), words);
    }
}

fn arguments_that_look_like_grants_are_told() {
    let directory = Directory::new();
    directory.write("x.lua", "print(...)");
    directory.write("program.lua", "#!/usr/bin/env -S assay run\nprint(...)");
    let told = |args: &[&str]| {
        let done = run_in(&directory, args);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stderr.contains("stands behind the script")
    };
    for args in [&["x.lua", "-A"][..], &["run", "x.lua", "a", "--allow=http"], &["-e", "", "--timeout", "1s"]]
    {
        assert!(told(args), "{args:?}");
    }
    for args in [
        &["x.lua", "--", "-A"][..],
        &["x.lua", "--help"],
        &["-q", "x.lua", "-A"],
        &["program.lua", "--timeout", "1s"],
    ] {
        assert!(!told(args), "{args:?}");
    }
    assert!(told(&["program.lua", "-A"]));
    let done = run_in(&directory, &["x.lua", "--allow=\u{1b}[2J\u{202e}"]);
    assert!(!done.stderr.contains(['\u{1b}', '\u{202e}']), "{}", done.stderr);
}

fn a_script_may_follow_flags_at_once() {
    let directory = Directory::new();
    directory.write("x.lua", "print(fs.read('x.lua') ~= nil, arg[0], ...)");
    directory.write("plain", "print('plain')");
    for (args, output) in [
        (&["--allow", "fs=read:.", "x.lua", "-v"][..], "true\tx.lua\t-v\n"),
        (&["-A", "x.lua"], "true\tx.lua\n"),
        (&["-vA", "x.lua"], "true\tx.lua\n"),
        (&["--log-format", "json", "-A", "x.lua"], "true\tx.lua\n"),
        (&["-e", "print(...)", "a", "b"], "a\tb\n"),
        (&["-A", "-e", "print(fs.exists('x.lua'))"], "true\n"),
        (&["plain"], "plain\n"),
        (&["-v", "plain"], "plain\n"),
    ] {
        let done = run_in(&directory, args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), output), "{args:?}: {}", done.stderr);
    }
    for args in
        [&["rum", "x.lua"][..], &["--unknown", "x.lua"], &["--allow", "http", "run", "x.lua"], &["-A"]]
    {
        let done = run_in(&directory, args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{args:?}: {}", done.stderr);
    }
    assert!(run_in(&directory, &["rum", "x.lua"]).stderr.contains("'run'"));
}

fn tests_have_no_arguments() {
    let directory = Directory::new();
    directory.write("secret", "x");
    directory.write("a_test.lua", "assert(not pcall(fs.read, 'secret'))");
    for args in
        [&["test", "a_test.lua", "-A"][..], &["test", ".", "--allow", "fs"], &["test", "a_test.lua", "-v"]]
    {
        let done = run_in(&directory, args);
        assert_eq!(done.code, Some(64), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("before the first path"), "{args:?}: {}", done.stderr);
    }
    assert_eq!(run_in(&directory, &["test", "-v", "a_test.lua", "."]).code, Some(0));
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

fn output_that_cannot_be_written_is_an_error() {
    let directory = Directory::new();
    directory.write("a_test.lua", "assert(true)");
    directory.write("a.lua", "fs.exists('x')");
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["version"],
        &["version", "--json"],
        &["completion", "bash"],
        &["modules"],
        &["modules", "--json"],
        &["capabilities"],
        &["capabilities", "--json"],
        &["explain", "a.lua"],
        &["explain", "--json", "a.lua"],
        &["test", "a_test.lua"],
        &["exec", "-e", "print(1)"],
        &["run", "--mode", "tool", "-e", "print(1)"],
    ] {
        let done: Finished = assay(directory.path(), args).stdout(full()).output().expect("it runs").into();
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("No space left"), "{args:?}: {}", done.stderr);
    }
    // Nothing can be said, but the exit code stays what it is; a report that was asked for and is lost is an error.
    for (args, code) in [
        (&["--nothing-like-this"][..], 64),
        (&["exec", "-e", "log.info('x') io.stderr:write('y') print(1)"], 0),
        (&["exec", "-e", "error('x')"], 1),
        (&["exec", "--report", "json", "-e", ""], 1),
        (&["exec", "-v", "-e", ""], 0),
        (&["run", "missing.lua"], 64),
        (&["test", "a_test.lua"], 0),
        (&["exec", "--prompt", "-e", ""], 0),
    ] {
        let mut command = assay(directory.path(), args);
        let done: Finished = command.stderr(full()).output().expect("it runs").into();
        assert_eq!(done.code, Some(code), "{args:?}: {}", done.stdout);
    }
    for args in [
        &["exec", "--report", "json", "--report-file", "/dev/full", "-e", ""][..],
        &["exec", "--learn", "/dev/full", "-e", ""],
        &["test", "--junit", "/dev/full", "a_test.lua"],
    ] {
        for both in [false, true] {
            let mut command = assay(directory.path(), args);
            if both {
                command.stderr(full()).stdout(full());
            }
            let done: Finished = command.output().expect("it runs").into();
            assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        }
    }
    let mut repl = assay(directory.path(), &["repl"]);
    let mut child = repl.stdin(Stdio::piped()).stdout(full()).stderr(full()).spawn().expect("it starts");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("piped").write_all(b"1\n2\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

fn sources(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.to_string_lossy().ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// `println!` and its like panic where they cannot write.
fn nothing_in_the_process_prints_by_a_macro() {
    let mut found = Vec::new();
    for part in ["host/cli/src", "host/runtime/src", "host/manifest/src", "capabilities", "stdlib"] {
        sources(&root().join(part), &mut found);
    }
    assert!(found.len() > 100, "{found:?}");
    for path in found.into_iter().filter(|path| !path.ends_with("build.rs")) {
        let text = std::fs::read_to_string(&path).expect("it is text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for print in ["println!(", "print!(", "dbg!("] {
            assert!(!code.contains(print), "{} has {print}", path.display());
        }
    }
}

fn an_audit_that_cannot_be_written_ends_the_run() {
    let directory = Directory::new();
    directory.write("a", "x");
    for source in [
        "fs.read('a') fs.write('made', '')",
        "pcall(fs.read, 'a') pcall(fs.write, 'made', '') os.exit(0)",
        "env.get('HOME') fs.write('made', '')",
        "async.all{function() pcall(fs.write, 'made', '') end, function() pcall(fs.write, 'made', '') end}",
        "pcall(http.get, 'http://127.0.0.1:1/') fs.write('made', '')",
        "while true do pcall(fs.write, 'made', '') end",
        "fs.write('made', '')",
    ] {
        for grant in ["-A", "--allow=fs", "--deny=fs"] {
            let done = run_in(&directory, &["exec", grant, "--audit", "/dev/full", "-e", source]);
            assert_eq!(done.code, Some(74), "{source} with {grant}: {}{}", done.stdout, done.stderr);
            assert!(done.stderr.contains("the audit: No space left"), "{source}: {}", done.stderr);
            assert!(!directory.path().join("made").exists(), "{source} with {grant}");
        }
    }
    let done = run_in(&directory, &["exec", "--audit", "/dev/full", "-e", "print('no decision')"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn an_audit_is_bounded() {
    let directory = Directory::new();
    let source = "for i = 1, 1e6 do env.get(('x'):rep(100000) .. i) end";
    let done = run_in(&directory, &["exec", "--max-audit", "20KiB", "--audit", "a.jsonl", "-e", source]);
    assert_eq!(done.code, Some(137), "{}", done.stderr);
    assert!(done.stderr.contains("--max-audit"), "{}", done.stderr);
    let text = std::fs::read_to_string(directory.path().join("a.jsonl")).expect("it was written");
    assert!((10 << 10..=20 << 10).contains(&text.len()), "{}", text.len());
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("whole lines");
        let target = event["target"].as_str().expect("a target");
        assert!(target.len() <= 1027 && target.ends_with('…'), "{target}");
    }
    // What the file had before does not count.
    let done =
        run_in(&directory, &["exec", "--max-audit", "20KiB", "--audit", "a.jsonl", "-e", "env.get('X')"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}
