//! What only happens on a terminal: prompts, the line editor, colours.

use assay_tests::executable::{Finished, Folder, assay, python};
use std::process::Stdio;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("the_prompt_grants_once", the_prompt_grants_once),
    ("the_prompt_grants_for_the_run", the_prompt_grants_for_the_run),
    ("the_prompt_denies", the_prompt_denies),
    ("nothing_is_asked_without_a_terminal", nothing_is_asked_without_a_terminal),
    ("the_repl_edits_lines", the_repl_edits_lines),
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
        os.write(fd, answer.encode() + b'\r')
        steps.pop(0)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// `steps` are `QUESTION=ANSWER`, parted by `|`.
fn on_terminal(folder: &Folder, steps: &str, args: &[&str]) -> Finished {
    let direct = assay(folder.path(), args);
    let mut command = python();
    command.args(["-c", TERMINAL, steps]).arg(direct.get_program()).args(direct.get_args());
    command.current_dir(folder.path()).env("HOME", folder.path()).env("TERM", "xterm").stdin(Stdio::null());
    command.output().expect("python3 can be started").into()
}

const TWO_READS: &str = "print(pcall(fs.read, 'a'), pcall(fs.read, 'a'))";

fn the_prompt_grants_once() {
    let folder = Folder::new();
    folder.write("a", "text");
    let done = on_terminal(&folder, "deny > =o|deny > =d", &["exec", "--prompt", "-e", TWO_READS]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(done.stdout.contains("true\tfalse") || done.stdout.contains("true\ttext"), "{}", done.stdout);
    assert!(done.stdout.contains("is not granted"), "{}", done.stdout);
}

fn the_prompt_grants_for_the_run() {
    let folder = Folder::new();
    folder.write("a", "text");
    let done = on_terminal(&folder, "deny > =a", &["exec", "--prompt", "-e", TWO_READS]);
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(!done.stdout.contains("is not granted"), "{}", done.stdout);
    assert_eq!(done.stdout.matches("The script asks").count(), 1, "{}", done.stdout);
}

fn the_prompt_denies() {
    let folder = Folder::new();
    folder.write("a", "text");
    let done = on_terminal(&folder, "deny > =d", &["exec", "--prompt", "-e", "fs.read('a')"]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert!(done.stdout.contains("--allow fs=read:"), "{}", done.stdout);
}

fn nothing_is_asked_without_a_terminal() {
    let folder = Folder::new();
    folder.write("a", "text");
    let output = assay(folder.path(), &["exec", "--prompt", "-e", "fs.read('a')"]).output().expect("it runs");
    let done = Finished::from(output);
    assert_eq!(done.code, Some(1));
    assert!(!done.stderr.contains("The script asks"), "{}", done.stderr);
}

fn the_repl_edits_lines() {
    let folder = Folder::new();
    // Typing `x = 4`, then a line with a mistake that backspace takes back.
    let done = on_terminal(&folder, "> =x = 4|> =return x + 9\u{7f}3|> =os.exit(5)", &["repl"]);
    assert_eq!(done.code, Some(5), "{}", done.stdout);
    assert!(done.stdout.contains("\r\n7\r\n"), "{:?}", done.stdout);
}
