//! No script outlives its limits, whatever it calls and whether or not its output is read.

use assay_tests::attacks;
use assay_tests::executable::{Directory, assay, program, run, run_in};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("host_calls_end_at_the_cpu_limit", host_calls_end_at_the_cpu_limit),
    ("host_calls_end_at_the_timeout", host_calls_end_at_the_timeout),
    ("host_calls_end_with_a_signal", host_calls_end_with_a_signal),
    ("work_on_other_threads_counts_as_cpu", work_on_other_threads_counts_as_cpu),
    ("what_a_peer_makes_the_host_do_counts_as_cpu", what_a_peer_makes_the_host_do_counts_as_cpu),
    ("a_reader_that_stalls_holds_up_no_limit", a_reader_that_stalls_holds_up_no_limit),
    ("a_reader_that_stalls_holds_up_no_signal", a_reader_that_stalls_holds_up_no_signal),
    ("what_nothing_can_interrupt_ends_with_the_process", what_nothing_can_interrupt_ends_with_the_process),
    ("a_large_temporary_directory_goes_after_the_run", a_large_temporary_directory_goes_after_the_run),
    ("a_slow_reader_gets_everything", a_slow_reader_gets_everything),
    ("a_result_that_nobody_reads_is_an_error", a_result_that_nobody_reads_is_an_error),
    ("output_that_cannot_be_written_is_an_error", output_that_cannot_be_written_is_an_error),
    ("messages_that_cannot_be_written_abort_nothing", messages_that_cannot_be_written_abort_nothing),
];

fn host_calls_end_at_the_cpu_limit() {
    for attack in attacks::of("host") {
        let source = attack.code();
        let done = run(&["exec", "--cpu", "200ms", "-e", source]);
        assert_eq!(done.code, Some(137), "{source}\n{}", done.stderr);
        assert!(done.stderr.contains("cpu limit of 0.2 s"), "{source}\n{}", done.stderr);
    }
}

fn host_calls_end_at_the_timeout() {
    for attack in attacks::of("host") {
        let source = attack.code();
        let done = run(&["exec", "--timeout", "200ms", "-e", source]);
        assert_eq!(done.code, Some(124), "{source}\n{}", done.stderr);
        assert!(done.stderr.contains("timeout limit of 0.2 s"), "{source}\n{}", done.stderr);
    }
}

/// Starts a script that says "ready" on stderr, and waits until it has.
fn started(directory: &Directory, mut command: Command) -> Child {
    let mut child = command.current_dir(directory.path()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = [0; 6];
    child.stderr.as_mut().expect("piped").read_exact(&mut line).expect("a line comes");
    assert_eq!(&line, b"ready\n");
    child
}

fn kill(child: &Child, signal: &str) {
    let killed = program("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
}

fn host_calls_end_with_a_signal() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        for attack in &attacks::of("host")[..2] {
            let directory = Directory::new();
            let source = format!("io.stderr:write('ready\\n'); {}", attack.code());
            let mut child = started(&directory, assay(directory.path(), &["exec", "-e", &source]));
            kill(&child, signal);
            assert_eq!(child.wait().expect("it ends").code(), Some(code), "{signal}: {source}");
        }
    }
}

fn work_on_other_threads_counts_as_cpu() {
    for attack in attacks::of("threads") {
        // The timeout ends what is not counted.
        let mut args = vec!["exec", "--cpu", "300ms", "--timeout", "15s"];
        for allow in attack.all("allow") {
            args.extend(["--allow", allow]);
        }
        let source = attack.code();
        args.extend(["-e", source]);
        let done = run(&args);
        assert_eq!(done.code, Some(137), "{source}\n{}", done.stderr);
        assert!(done.stderr.contains("cpu limit"), "{source}\n{}", done.stderr);
    }
}

/// A peer that sends without end what its client only has to read and leave out.
fn what_a_peer_makes_the_host_do_counts_as_cpu() {
    let flood = |head: &'static [u8], again: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
            let head = match key {
                Some(key) => {
                    format!("{}{}\r\n\r\n", String::from_utf8_lossy(head), accept_key(key)).into_bytes()
                }
                None => head.to_vec(),
            };
            let many = again.repeat(1000);
            let mut gone = stream.write_all(&head).is_err();
            while !gone {
                gone = stream.write_all(&many).is_err();
            }
        });
        address
    };
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ";
    for (head, again, scheme, call) in [
        (&b""[..], &b"HTTP/1.1 103 Early Hints\r\n\r\n"[..], "http", "http.get(arg[1], { timeout = 0 })"),
        (switching, b"\x00\x00", "ws", "ws.connect(arg[1]):recv()"),
    ] {
        let address = flood(head, again);
        let url = format!("{scheme}://{address}/");
        let directory = Directory::new();
        let script = directory.write("flood.lua", call);
        let done = run(&[
            "run",
            "--allow",
            "http,ws",
            "--cpu",
            "300ms",
            "--timeout",
            "20s",
            script.to_str().expect("UTF-8"),
            &url,
        ]);
        // One that takes the flood for an error of its peer has ended too.
        assert!(matches!(done.code, Some(137 | 1)), "{call}: {:?} {}", done.code, done.stderr);
    }
}

/// RFC 6455 4.2.2.
fn accept_key(key: &str) -> String {
    let code = format!(
        "io.write(base64.encode((crypto.hash('{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11', 'sha1'):gsub('%x%x', function(x) return string.char(tonumber(x, 16)) end))))"
    );
    run(&["exec", "-e", &code]).stdout
}

fn a_reader_that_stalls_holds_up_no_limit() {
    for attack in attacks::of("output") {
        let (directory, source) = (Directory::new(), attack.code());
        let mut command = assay(directory.path(), &["exec", "--timeout", "300ms", "-e", source]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        // Nobody reads the two pipes until it is over.
        assert_eq!(child.wait().expect("it ends").code(), Some(124), "{source}");
    }
    // Writing itself takes CPU time, and so does a script that goes on after its output was refused.
    let directory = Directory::new();
    let args =
        ["exec", "--cpu", "200ms", "-e", "print(('x'):rep(100000)) io.stdout:flush() while true do end"];
    let mut child = assay(directory.path(), &args).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut text = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut text).expect("it can be read");
    assert_eq!((text.len(), child.wait().expect("it ends").code()), (100_001, Some(137)));
}

fn a_reader_that_stalls_holds_up_no_signal() {
    for attack in attacks::of("output") {
        let directory = Directory::new();
        let source = format!("io.stderr:write('ready\\n'); {}", attack.code());
        let mut command = assay(directory.path(), &["exec", "-e", &source]);
        command.stdout(Stdio::piped());
        let mut child = started(&directory, command);
        kill(&child, "TERM");
        assert_eq!(child.wait().expect("it ends").code(), Some(143), "{source}");
    }
}

/// A new pipe in the directory, open at both ends so that neither waits for the other.
fn unread(directory: &Directory) -> File {
    let path = directory.path().join("pipe");
    assert!(program("rm").arg("-f").arg(&path).status().expect("rm runs").success());
    assert!(program("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    File::options().read(true).write(true).open(&path).expect("it opens")
}

/// An audit that goes to a pipe which nobody reads: the host writes it before it answers, and the write waits.
fn what_nothing_can_interrupt_ends_with_the_process() {
    let directory = Directory::new();
    let source = "print(fs.tempdir()) io.stdout:flush() io.stderr:write('ready\\n') \
                  while true do env.get('X') end";
    let script = directory.write("stuck_test.lua", source);
    let grants = ["--audit", "pipe", "--allow", "env=X"];
    let run = |words: &[&str], more: &[&str]| {
        let _pipe = unread(&directory);
        let words = [words, &grants, more, &[script.to_str().expect("UTF-8")]].concat();
        let output = assay(directory.path(), &words).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let timed = ["--timeout", "300ms", "--report", "json", "--report-file", "report.json"];
    let report = directory.path().join("report.json");
    for (words, code, told) in [
        (&["run"][..], 124, "timeout limit of 0.3 s"),
        (&["run", "--mode", "tool"], 0, "timeout limit of 0.3 s"),
        (&["test"], 124, "timeout limit of 0.3 s"),
    ] {
        // Tests are not reported one by one.
        let (ended, stdout, stderr) = run(words, if words == ["test"] { &timed[..2] } else { &timed });
        assert_eq!(ended, Some(code), "{words:?}\n{stdout}{stderr}");
        assert!(stderr.contains(told), "{words:?}\n{stdout}{stderr}");
        if words == ["run"] {
            let written = std::fs::read_to_string(&report).expect("there is a report");
            assert!(written.contains(r#""ended":"timeout""#), "{written}");
            let temporary = stdout.trim_end();
            assert!(temporary.starts_with('/') && !std::path::Path::new(temporary).exists(), "{temporary}");
        }
        if words.len() > 1 {
            assert!(stdout.contains(r#""status":"timeout""#), "{stdout}");
        }
    }
    let _pipe = unread(&directory);
    let mut child =
        started(&directory, assay(directory.path(), &[&["run"][..], &grants, &["stuck_test.lua"]].concat()));
    kill(&child, "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

/// What cannot be removed in the time that a run has to end is left to a process of its own.
fn a_large_temporary_directory_goes_after_the_run() {
    let directory = Directory::new();
    let pipe = unread(&directory);
    let source = "local directory = fs.tempdir() \
        process.run{cmd = '/bin/sh', args = {'-c', 'seq 200000 | xargs touch'}, cwd = directory} \
        print(directory) io.stdout:flush() io.stderr:write('ready\\n') while true do env.get('X') end";
    let args =
        ["exec", "--audit", "pipe", "--allow", "env=X,process", "--temp-entries", "1000000", "-e", source];
    let mut command = assay(directory.path(), &args);
    command.stdout(Stdio::piped());
    let mut child = started(&directory, command);
    while takes_more(&pipe) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(&child, "TERM");
    let mut path = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut path).expect("it can be read");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    let path = Path::new(path.trim_end());
    assert!(path.is_absolute(), "{path:?}");
    loop {
        // In this order, for it may end in between.
        let at_work = has_as_input(path.parent().expect("a directory of the run"));
        if !path.exists() {
            break;
        }
        assert!(at_work, "{path:?} is there, and nobody removes it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a pipe can be written to.
fn takes_more(pipe: &File) -> bool {
    let mut wait = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: it is one entry, of a descriptor that is open.
    unsafe { libc::poll(&mut wait, 1, 0) > 0 }
}

/// Whether there is a process whose standard input is this directory.
fn has_as_input(directory: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").expect("there is /proc");
    processes
        .flatten()
        .any(|process| std::fs::read_link(process.path().join("fd/0")).is_ok_and(|input| input == directory))
}

/// The result of a tool, which is larger than what a pipe takes.
fn a_result_that_nobody_reads_is_an_error() {
    let directory = Directory::new();
    directory.write("tool.lua", "io.write(('x'):rep(400000))");
    let mut command = assay(directory.path(), &["run", "--mode", "tool", "tool.lua"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Nobody reads the pipe until it is over.
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("it can be read");
    assert!(stderr.contains("nobody reads standard output, where the result goes"), "{stderr}");
    // One who comes late gets it all.
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut text, mut first) = (String::new(), [0; 1]);
    stdout.read_exact(&mut first).expect("it can be read");
    stdout.read_to_string(&mut text).expect("it can be read");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(text.ends_with("}\n") && text.len() > 400_000, "{} bytes", text.len());
}

fn a_slow_reader_gets_everything() {
    let directory = Directory::new();
    let source = "for i = 1, 200000 do print(i) end io.stderr:write('done\\n')";
    let mut child = assay(directory.path(), &["exec", "-e", source])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut text, mut piece) = (String::new(), [0; 777]);
    loop {
        let count = stdout.read(&mut piece).expect("it can be read");
        if count == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&piece[..count]).expect("digits"));
    }
    let lines: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(lines.into_iter().eq(1..=200_000));
    let finished = child.wait_with_output().expect("it ends");
    assert_eq!((finished.status.code(), &finished.stderr[..]), (Some(0), &b"done\n"[..]));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has /dev/full")
}

fn output_that_cannot_be_written_is_an_error() {
    let directory = Directory::new();
    for source in
        ["print('x')", "io.write('x') os.exit(0)", "print('x') sleep(0.01)", "print('x') os.exit(true)"]
    {
        let mut command = assay(directory.path(), &["exec", "-e", source]);
        let done = command.stdout(full()).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{source}: {stderr}");
        assert!(stderr.contains("No space left on device"), "{source}: {stderr}");
    }
    // A script that ends otherwise keeps its code.
    let mut command = assay(directory.path(), &["exec", "-e", "io.write('x') os.exit(7)"]);
    assert_eq!(command.stdout(full()).output().expect("it starts").status.code(), Some(7));
    directory.write("a_test.lua", "assert.eq(1, 1)");
    for args in [
        &["version"][..],
        &["version", "--json"],
        &["modules"],
        &["capabilities"],
        &["completion", "bash"],
        &["explain", "a_test.lua"],
        &["test", "a_test.lua"],
        &["run", "--mode", "tool", "a_test.lua"],
        &["--help"],
        &["run", "--help"],
    ] {
        let done = assay(directory.path(), args).stdout(full()).output().expect("it starts");
        assert_eq!(done.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn messages_that_cannot_be_written_abort_nothing() {
    let directory = Directory::new();
    directory.write("a_test.lua", "assert.eq(1, 1)");
    directory.write("b_test.lua", "assert.eq(1, 2)");
    for (args, code) in [
        (&["exec", "-e", "error('x')"][..], 1),
        (&["exec", "-e", "log.error('x')"], 0),
        (&["exec", "--cpu", "50ms", "-e", "while true do end"], 137),
        (&["exec", "--report", "text", "-e", "return 1"], 1),
        (&["exec", "--nonsense"], 64),
        (&["run", "missing.lua"], 64),
        (&["run", "a.txt"], 1),
        (&["test", "a_test.lua"], 0),
        (&["test", "b_test.lua"], 1),
        (&["run", "--mode", "tool", "a_test.lua"], 0),
    ] {
        let done = assay(directory.path(), args).stderr(full()).output().expect("it starts");
        assert_eq!(done.status.code(), Some(code), "{args:?}");
    }
    let done =
        run_in(&directory, &["exec", "--report", "json", "--report-file", "/dev/full", "-e", "return 1"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("/dev/full"), "{}", done.stderr);
}
