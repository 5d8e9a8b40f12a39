//! What only happens on a terminal: prompts, the line editor, colours.

use assay_tests::executable::{Directory, Finished, assay, python};
use std::process::Stdio;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("the_prompt_grants_once", the_prompt_grants_once),
    ("the_prompt_grants_for_the_run", the_prompt_grants_for_the_run),
    ("the_prompt_denies", the_prompt_denies),
    ("a_denial_is_final", a_denial_is_final),
    ("an_answer_holds_for_the_whole_request", an_answer_holds_for_the_whole_request),
    ("redirects_are_part_of_the_request", redirects_are_part_of_the_request),
    ("a_redirect_to_another_host_is_asked", a_redirect_to_another_host_is_asked),
    ("each_task_is_asked_at_its_line", each_task_is_asked_at_its_line),
    ("an_answer_holds_while_others_call", an_answer_holds_while_others_call),
    ("the_prompt_writes_the_manifest", the_prompt_writes_the_manifest),
    ("the_prompt_shows_the_line", the_prompt_shows_the_line),
    ("what_is_typed_ahead_answers_nothing", what_is_typed_ahead_answers_nothing),
    ("a_question_is_what_it_looks_like", a_question_is_what_it_looks_like),
    ("nothing_is_asked_without_a_terminal", nothing_is_asked_without_a_terminal),
    ("the_repl_edits_lines", the_repl_edits_lines),
    ("ctrl_c_ends_what_runs_in_the_repl", ctrl_c_ends_what_runs_in_the_repl),
    ("the_repl_completes_names", the_repl_completes_names),
];

/// Runs a command on a terminal of its own and types each answer when its question has appeared. Python's
/// standard library has the terminal.
const TERMINAL: &str = r#"
import os, pty, sys
steps = sys.argv[1].split('|') if sys.argv[1] else []
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
pending = b''
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    pending += data
    while steps:
        question, answer = steps[0].split('=', 1)
        at = pending.find(question.encode())
        if at < 0:
            break
        pending = pending[at + len(question):]
        os.write(fd, answer.encode() + (b'' if answer.endswith('\x03') else b'\r'))
        steps.pop(0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// `steps` are `QUESTION=ANSWER`, separated by `|`.
fn on_terminal(directory: &Directory, steps: &str, args: &[&str]) -> Finished {
    let direct = assay(directory.path(), args);
    let mut command = python();
    command.args(["-c", TERMINAL, steps]).arg(direct.get_program()).args(direct.get_args());
    command
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    command.output().expect("python3 can be started").into()
}

const TWO_READS: &str = "print(pcall(fs.read, 'a'), pcall(fs.read, 'a'))";

fn the_prompt_grants_once() {
    let directory = Directory::new();
    directory.write("a", "text");
    let done = on_terminal(&directory, "deny > =o|deny > =d", &["exec", "--prompt", "-e", TWO_READS]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(done.stdout.contains("true\tfalse") || done.stdout.contains("true\ttext"), "{}", done.stdout);
    assert!(done.stdout.contains("is not granted"), "{}", done.stdout);
}

fn the_prompt_grants_for_the_run() {
    let directory = Directory::new();
    directory.write("a", "text");
    let done = on_terminal(&directory, "deny > =a", &["exec", "--prompt", "-e", TWO_READS]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(!done.stdout.contains("is not granted"), "{}", done.stdout);
    assert_eq!(done.stdout.matches("The script asks").count(), 1, "{}", done.stdout);
}

fn the_prompt_denies() {
    let directory = Directory::new();
    directory.write("a", "text");
    let done = on_terminal(&directory, "deny > =d", &["exec", "--prompt", "-e", "fs.read('a')"]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert!(done.stdout.contains("--allow fs=read:"), "{}", done.stdout);
}

/// Asks for `a`, again in another way, for `b` and for a variable; `answers` as many times as it has letters.
fn a_denial_is_final() {
    let directory = Directory::new();
    directory.write("a", "text");
    directory.write("b", "text");
    let source = "for _ = 1, 3 do pcall(fs.read, 'a') end pcall(fs.read, 'b') print(env.get('X'), 'end')";
    for (answers, questions) in [("ddd", 3), ("ooooo", 5), ("aaa", 3), ("x", 1), ("dx", 2)] {
        let steps: Vec<_> = answers.chars().map(|answer| format!("deny > ={answer}")).collect();
        let done = on_terminal(&directory, &steps.join("|"), &["exec", "--prompt", "-e", source]);
        assert_eq!(done.code, Some(0), "{answers}: {}", done.stdout);
        assert_eq!(done.stdout.matches("The script asks").count(), questions, "{answers}: {}", done.stdout);
        assert!(done.stdout.ends_with("nil\tend\r\n"), "{answers}: {}", done.stdout);
    }
}

/// A name with several addresses, and a URL that leads to itself.
fn an_answer_holds_for_the_whole_request() {
    let directory = Directory::new();
    let server = assay_tests::servers::start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    for (answer, shown) in [("o", "200"), ("d", "denied")] {
        let source = format!(
            "local ok, r = pcall(http.get, 'http://localhost:{port}/hello') print('got', ok and r.status or r.code)"
        );
        let steps = format!("deny > ={answer}");
        for flags in [&["exec", "--prompt"][..], &["exec", "--prompt", "--allow", "http=10.0.0.0/8"]] {
            let done = on_terminal(&directory, &steps, &[flags, &["-e", &source]].concat());
            assert_eq!(done.stdout.matches("The script asks").count(), 1, "{answer}: {}", done.stdout);
            assert!(done.stdout.contains(&format!("got\t{shown}")), "{answer}: {}", done.stdout);
        }
    }
}

/// How often something was asked.
fn questions(done: &Finished) -> usize {
    done.stdout.matches("The script asks").count()
}

fn redirects_are_part_of_the_request() {
    let directory = Directory::new();
    let server = assay_tests::servers::start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    directory.write(
        "a.lua",
        &format!(
            "for _ = 1, 2 do
               local ok, r = pcall(http.get, 'http://localhost:{port}/redirect/3')
               print('got', ok and r.status or r.code)
             end"
        ),
    );
    for (answers, asked, shown) in [("oo", 2, "200"), ("a", 1, "200"), ("d", 1, "denied")] {
        let steps: Vec<_> = answers.chars().map(|answer| format!("deny > ={answer}")).collect();
        let done = on_terminal(&directory, &steps.join("|"), &["run", "--prompt", "a.lua"]);
        assert_eq!(questions(&done), asked, "{answers}: {}", done.stdout);
        assert_eq!(done.stdout.matches(&format!("got\t{shown}")).count(), 2, "{answers}: {}", done.stdout);
    }
    // What is written lets the whole request through the next time.
    directory.write("m.toml", "");
    let args = ["run", "--manifest", "m.toml", "--prompt", "a.lua"];
    let done = on_terminal(&directory, "deny > =m", &args);
    assert_eq!((questions(&done), done.stdout.matches("got\t200").count()), (1, 2), "{}", done.stdout);
    let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it is there");
    for path in ["/redirect/3", "/redirect/2", "/redirect/1", "/echo"] {
        assert!(text.contains(&format!("http=GET:http://localhost:{port}{path}\"")), "{path}: {text}");
    }
    let done = on_terminal(&directory, "", &args);
    assert_eq!((questions(&done), done.stdout.matches("got\t200").count()), (0, 2), "{}", done.stdout);
}

fn a_redirect_to_another_host_is_asked() {
    let directory = Directory::new();
    let server = assay_tests::servers::start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    let source = format!(
        "local url = 'http://localhost:{port}/redirect_to?url=http://127.0.0.1:{port}/redirect/1'
         local ok, r = pcall(http.get, url) print('got', ok and r.status or r.code)"
    );
    for (second, shown) in [("o", "200"), ("d", "denied"), ("x", "denied")] {
        let steps = format!("deny > =o|deny > ={second}");
        let done = on_terminal(&directory, &steps, &["exec", "--prompt", "-e", &source]);
        assert_eq!(questions(&done), 2, "{second}: {}", done.stdout);
        assert!(
            done.stdout.contains(&format!("for GET http://127.0.0.1:{port}/redirect/1")),
            "{}",
            done.stdout
        );
        let led = format!("It was allowed http=GET:http://localhost:{port}/redirect_to and is led on");
        assert_eq!(done.stdout.matches(&led).count(), 1, "{}", done.stdout);
        assert!(done.stdout.contains(&format!("got\t{shown}")), "{second}: {}", done.stdout);
    }
}

/// What is asked for, and at which line, as it is shown.
fn asked_at(done: &Finished) -> Vec<(String, String)> {
    let mut lines = done.stdout.lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if let Some((_, what)) = line.split_once("The script asks for ") {
            let place = lines.next().unwrap_or_default().trim().trim_start_matches("at ");
            all.push((what.trim().trim_end_matches('.').to_string(), place.to_string()));
        }
    }
    all.sort();
    all
}

fn each_task_is_asked_at_its_line() {
    let directory = Directory::new();
    let server = assay_tests::servers::start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    let mut wanted = Vec::new();
    let mut script = String::from("local tasks = {}\n");
    for n in 0..6 {
        directory.write(&format!("f{n}"), "x");
        let file = directory.path().join(format!("f{n}"));
        for (call, what) in [
            (
                format!("http.get('http://localhost:{port}/status/{n}')"),
                format!("GET http://localhost:{port}/status/{n}"),
            ),
            (format!("fs.read('f{n}')"), format!("reading {}", file.display())),
            (format!("process.run{{cmd = 'no-such-{n}'}}"), format!("process no-such-{n}")),
        ] {
            script.push_str(&format!("tasks[#tasks + 1] = async.spawn(function() sleep(0) return pcall(function() {call} end) end)\n"));
            wanted.push((what, format!("x.lua:{}", script.lines().count())));
        }
    }
    script.push_str("for _, task in ipairs(tasks) do task:await() end print('end')");
    directory.write("x.lua", &script);
    let steps = vec!["deny > =o"; wanted.len()].join("|");
    let done = on_terminal(&directory, &steps, &["run", "--prompt", "x.lua"]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    wanted.sort();
    assert_eq!(asked_at(&done), wanted, "{}", done.stdout);
}

/// A call that is under way keeps its answer, whatever other tasks call.
fn an_answer_holds_while_others_call() {
    let directory = Directory::new();
    let server = assay_tests::servers::start("http", directory.path()).expect("the server starts");
    let port = &server.values["HTTP_PORT"];
    let source = format!(
        "local done = false
         local other = async.spawn(function() while not done do sleep(0) fs.tempdir() end end)
         local ok, r = pcall(http.get, 'http://localhost:{port}/redirect/5') done = true other:await()
         print('got', ok and r.status or r.code)"
    );
    let done = on_terminal(&directory, "deny > =o", &["exec", "--prompt", "-e", &source]);
    assert_eq!(questions(&done), 1, "{}", done.stdout);
    assert!(done.stdout.contains("got\t200"), "{}", done.stdout);
}

fn the_prompt_writes_the_manifest() {
    let directory = Directory::new();
    directory.write("a", "text");
    directory.write(
        "m.toml",
        "# Mine.\nallow = [\n  # A host.\n  \"http=a.example\",\n]\n[limits]\ntimeout = \"1m\"\n",
    );
    let args = ["exec", "--manifest", "m.toml", "--prompt", "-e", TWO_READS];
    let done = on_terminal(&directory, "deny > =m", &args);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert_eq!(done.stdout.matches("The script asks").count(), 1, "{}", done.stdout);
    let text = std::fs::read_to_string(directory.path().join("m.toml")).expect("it is there");
    let rule = format!("\"fs=read:{}\"", directory.path().join("a").display());
    for part in ["# Mine.", "# A host.", "http=a.example", "timeout = \"1m\"", &rule] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let again = on_terminal(&directory, "", &args);
    assert!(!again.stdout.contains("The script asks"), "{}", again.stdout);
    // Without a manifest there is nothing to write to, and the letter allows nothing.
    let done = on_terminal(&directory, "deny > =m|deny > =d", &["exec", "--prompt", "-e", "fs.read('a')"]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert!(done.stdout.contains("no manifest"), "{}", done.stdout);
}

fn the_prompt_shows_the_line() {
    let directory = Directory::new();
    directory.write("a", "text");
    directory.write("modules/m.lua", "\nreturn function()\n  local text = fs.read('a')\n  return text end");
    directory.write("x.lua", "local m = require('m')\npcall(fs.read, 'a')\npcall(m)");
    let done = on_terminal(&directory, "deny > =o|deny > =o", &["run", "--prompt", "x.lua"]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    let places: Vec<_> = done.stdout.lines().filter_map(|line| line.trim().strip_prefix("at ")).collect();
    assert_eq!(places, ["x.lua:2", "./modules/m.lua:3"], "{}", done.stdout);
}

/// The script asks for a line, which is typed together with what would answer a question.
fn what_is_typed_ahead_answers_nothing() {
    let directory = Directory::new();
    directory.write("a", "text");
    let source = "io.write('name: ') io.stdout:flush() io.read() print(pcall(fs.read, 'a'))";
    let done = on_terminal(&directory, "name: =x\ra\ra\ra|deny > =d", &["exec", "--prompt", "-e", source]);
    assert!(done.stdout.contains("false\t"), "{}", done.stdout);
}

fn a_question_is_what_it_looks_like() {
    let directory = Directory::new();
    // What the script writes, to all that reaches the terminal, and asks for.
    let source = "local fake = '\\27[7m assay \\27[0m\\27[2A\\u{9b}7m'
        print(fake) io.stderr:write(fake, '\\n') log.warn(fake)
        pcall(fs.read, 'x\\27[1A\\r\\n\\u{202e}y')
        async.spawn(function() error(fake) end) sleep(0) error(fake)";
    let done = on_terminal(&directory, "deny > =d", &["exec", "--prompt", "-e", source]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert_eq!(done.stdout.matches("\u{1b}[7m assay \u{1b}[0m").count(), 1, "{:?}", done.stdout);
    // Those of the question's own head, and no other.
    assert_eq!(done.stdout.matches('\u{1b}').count(), 3, "{:?}", done.stdout);
    assert!(!done.stdout.contains(['\u{9b}', '\u{202e}', '\u{8}']), "{:?}", done.stdout);
    assert!(done.stdout.contains("x\\u{1b}[1A\\r\\n\\u{202e}y"), "{:?}", done.stdout);
}

fn nothing_is_asked_without_a_terminal() {
    let directory = Directory::new();
    directory.write("a", "text");
    let output =
        assay(directory.path(), &["exec", "--prompt", "-e", "fs.read('a')"]).output().expect("it runs");
    let done = Finished::from(output);
    assert_eq!(done.code, Some(1));
    assert!(!done.stderr.contains("The script asks"), "{}", done.stderr);
}

fn the_repl_edits_lines() {
    let directory = Directory::new();
    // Typing `x = 4`, then a line with a mistake that backspace takes back.
    let done = on_terminal(&directory, "> =x = 4|> =return x + 9\u{7f}3|> =os.exit(5)", &["repl"]);
    assert_eq!(done.code, Some(5), "{}", done.stdout);
    assert!(done.stdout.contains("\r\n7\r\n"), "{:?}", done.stdout);
}

fn ctrl_c_ends_what_runs_in_the_repl() {
    let directory = Directory::new();
    let steps = "> =print('re' .. 'ady') while true do end|ready\r\n=\u{3}|> =print('still ' .. 'here')|> =os.exit(6)";
    let done = on_terminal(&directory, steps, &["repl"]);
    assert_eq!(done.code, Some(6), "{}", done.stdout);
    assert!(done.stdout.contains("interrupted\r\n") && done.stdout.contains("still here"), "{}", done.stdout);
    // The lines of a chunk that needs more are given up.
    let steps = "> =for i = 1, 3 do|>> =\u{3}|> =print('whole ' .. 'again')|> =os.exit(6)";
    let done = on_terminal(&directory, steps, &["repl"]);
    assert_eq!(done.code, Some(6), "{}", done.stdout);
    assert!(done.stdout.contains("whole again"), "{}", done.stdout);
}

fn the_repl_completes_names() {
    let directory = Directory::new();
    for typed in [
        "fs.appe\t == fs.append",
        "tostri\t == tostring",
        "_G.string.gsu\t == string.gsub",
        "assert.cont\t == assert.contains",
    ] {
        let done =
            on_terminal(&directory, &format!("> =print({typed}, 'a' .. 'b')|> =os.exit(5)"), &["repl"]);
        assert_eq!(done.code, Some(5), "{typed}: {}", done.stdout);
        assert!(done.stdout.contains("true\tab\r\n"), "{typed}: {}", done.stdout);
    }
    let steps = "> =local mine_own = { deeper = { value_here = 42 } }|> =print(mine_o\t.deep\t.value_h\t + 1)|> =os.exit(5)";
    let done = on_terminal(&directory, steps, &["repl"]);
    assert!(done.code == Some(5) && done.stdout.contains("\r\n43\r\n"), "{}", done.stdout);
    // Methods of a string, and of an object.
    for (object, typed) in [
        ("s = 'ab'", "s:upp\t()"),
        ("s = setmetatable({}, {__index = {answer = function() return 'AB' end}})", "s:ans\t()"),
    ] {
        let done = on_terminal(
            &directory,
            &format!("> ={object}|> =print('<' .. {typed} .. '>')|> =os.exit(5)"),
            &["repl"],
        );
        assert!(done.code == Some(5) && done.stdout.contains("\r\n<AB>\r\n"), "{typed}: {}", done.stdout);
    }
}
