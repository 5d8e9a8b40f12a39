//! Real programs under a real supervisor: this test binary becomes one when it is started as such.

use super::*;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Ambient, Limits, Policy, Request, Run, RunState, policy};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

extern "C" fn become_supervisor() {
    supervisor::run_if_asked();
}

// SAFETY: run once before `main`, as every function of this section is. It reads the arguments, which the standard
// library has by then, and returns unless this process is a supervisor.
#[used]
#[unsafe(link_section = ".init_array")]
static BECOME_SUPERVISOR: extern "C" fn() = become_supervisor;

/// A directory that is removed at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("assay-process-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(std::fs::canonicalize(path).unwrap())
    }

    fn program(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, "#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn run_with(allow: &str, deny: &str, limits: Limits, directory: PathBuf) -> Arc<Run> {
    let rules = |text: &str| {
        if text.is_empty() {
            Vec::new()
        } else {
            policy::parse(text, &directory, &[&Process, &assay_capability_fs::Fs]).unwrap()
        }
    };
    let mut grants = Policy::default();
    grants.allow(rules(allow));
    grants.deny(rules(deny));
    let ambient = Ambient::inherited().into();
    Arc::new(RunState { limits, ambient, ..RunState::new(grants, directory) }.into())
}

fn processes(limits: Limits) -> Processes {
    Processes::new(run_with("", "", limits, "/".into()))
}

fn sh(line: &str) -> Command {
    Command::new("/bin/sh", &Ambient::inherited()).unwrap().arg("-c").arg(line)
}

/// Whether a process is there and not a zombie.
fn is_alive(pid: &str) -> bool {
    supervisor::tree::Stat::of(pid.trim().parse().unwrap()).is_some_and(|stat| !stat.is_over())
}

#[tokio::test]
async fn a_program_is_captured() {
    let all = processes(Limits::default());
    let finished = sh("cat; echo wrong >&2; exit 3").stdin("in\0put").run(&all).await.unwrap();
    assert_eq!((finished.status, finished.signal, finished.timed_out), (3, None, false));
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (&b"in\0put"[..], &b"wrong\n"[..]));
    let killed = sh("kill -9 $$").run(&all).await.unwrap();
    assert_eq!((killed.status, killed.signal), (137, Some(9)));
}

#[tokio::test]
async fn the_environment_is_what_was_set() {
    let all = processes(Limits::default());
    let env = Command::new("env", &Ambient::inherited()).unwrap();
    let finished = env.env("A", "x y=z").run(&all).await.unwrap();
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), "A=x y=z\n");
}

#[tokio::test]
async fn descriptors_signals_and_the_terminal_stay_here() {
    let all = processes(Limits::default());
    let finished = sh("ls /proc/self/fd; sed -nE '/^Sig(Blk|Ign|Cgt)/p' /proc/self/status; tty")
        .run(&all)
        .await
        .unwrap();
    let text = String::from_utf8(finished.stdout).unwrap();
    // ls itself opens the directory it lists.
    assert!(text.starts_with("0\n1\n2\n3\nSig"), "{text}");
    assert_eq!(text.matches("0000000000000000").count(), 3, "{text}");
    assert!(text.ends_with("not a tty\n"), "{text}");
}

#[tokio::test]
async fn a_timeout_ends_everything_below() {
    let all = processes(Limits::default());
    let line = "echo $$; setsid sh -c 'echo $$; exec sleep 1000' & (sh -c 'echo $$; exec sleep 1000') & wait";
    let finished = sh(line).timeout(Some(Duration::from_millis(500))).run(&all).await.unwrap();
    assert!(finished.timed_out);
    let pids = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(pids.lines().count(), 3, "{pids}");
    assert!(!pids.lines().any(is_alive), "{pids}");
}

#[tokio::test]
async fn too_much_output_is_an_error() {
    let all = processes(Limits::default());
    let written = |bytes: usize| sh(&format!("head -c {bytes} /dev/zero")).max_output(100_000);
    assert_eq!(written(100_000).run(&all).await.unwrap().stdout.len(), 100_000);
    assert_eq!(written(100_001).run(&all).await.unwrap_err().code, ErrorCode::Limit);
}

#[tokio::test]
async fn the_number_of_programs_is_bounded() {
    let all = processes(Limits { children: 2, ..Limits::default() });
    let (one, two, three) = tokio::join!(
        sh("read x").stdin("\n").run(&all),
        sh("read x").stdin("\n").run(&all),
        sh("true").run(&all)
    );
    assert!(one.is_ok() && two.is_ok());
    let refused = three.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Limit);
    assert!(refused.message.contains("--max-children"), "{}", refused.message);
    assert!(sh("true").run(&all).await.is_ok(), "places are given back");
}

#[tokio::test]
async fn a_cancelled_call_leaves_nothing() {
    let directory = Directory::new("cancel");
    let all = processes(Limits::default());
    let file = directory.0.join("pid");
    let line = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
    {
        let running = sh(&line).run(&all);
        tokio::pin!(running);
        while !file.exists() {
            tokio::select! {
                _ = &mut running => unreachable!("it sleeps"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    let pid = std::fs::read_to_string(&file).unwrap();
    while is_alive(&pid) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_run_is_the_end_of_all() {
    let all = processes(Limits::default());
    // A daemon as the books have it: two forks and a new session, the parent gone.
    let daemon = "setsid sh -c 'sh -c \"echo \\$\\$; exec sleep 1000 >/dev/null 2>&1\" & echo $$' & wait";
    let finished = sh(daemon).run(&all).await.unwrap();
    let pids = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    assert!(pids.lines().any(is_alive), "{pids}");
    drop(all);
    assert!(!pids.lines().any(is_alive), "{pids}");
}

#[tokio::test]
async fn a_supervisor_that_was_killed_is_told() {
    let all = processes(Limits::default());
    let finished = sh("kill -9 $PPID; exec sleep 1000").run(&all).await;
    assert_eq!(finished.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(sh("true").run(&all).await.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn words_hold_no_nul() {
    let all = processes(Limits::default());
    let refused =
        Command::new("true", &Ambient::inherited()).unwrap().arg("a\0b").run(&all).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    let refused =
        Command::new("true", &Ambient::inherited()).unwrap().env("A", "a\0b").run(&all).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert_eq!(
        Command::new("no-such-program-anywhere", &Ambient::inherited()).unwrap_err().code,
        ErrorCode::NotFound
    );
    let huge = Command::new("true", &Ambient::inherited())
        .unwrap()
        .arg(vec![b'x'; 4 << 20])
        .run(&all)
        .await
        .unwrap_err();
    assert_eq!((huge.code, huge.errno), (ErrorCode::Limit, libc::E2BIG));
}

fn allowed(run: &Run, name: &str) -> bool {
    find(name, &run.working_directory, &run.ambient)
        .is_ok_and(|program| run.would_allow(PROCESS, &program.request()))
}

#[test]
fn a_grant_is_for_a_name_and_what_it_leads_to() {
    let directory = Directory::new("scope");
    let (one, two) = (directory.program("one"), directory.program("two"));
    symlink("one", directory.0.join("alias")).unwrap();
    std::fs::create_dir_all(directory.0.join("sub/inner")).unwrap();
    symlink("sub/inner", directory.0.join("deep")).unwrap();
    symlink("../one", directory.0.join("sub/one")).unwrap();
    let run = |allow: &str, deny: &str| run_with(allow, deny, Limits::default(), directory.0.clone());

    let granted = run("process=./one", "");
    assert!(allowed(&granted, "./one") && allowed(&granted, one.to_str().unwrap()));
    // `..` leads where the system would go: from where the link leads.
    assert!(allowed(&granted, "sub/../one") && !allowed(&granted, "deep/../one"));
    for other in ["./two", "./alias", "sub/one", "one"] {
        assert!(!allowed(&granted, other), "{other}");
    }
    // The link is granted and not what it leads to, nor what it is turned to later.
    let granted = run("process=./alias", "");
    assert!(allowed(&granted, "./alias") && !allowed(&granted, "./one"));
    std::fs::remove_file(directory.0.join("alias")).unwrap();
    symlink("two", directory.0.join("alias")).unwrap();
    assert!(!allowed(&granted, "./alias"));
    // What is made later may be granted by its path, but not be a link.
    let granted = run("process=./later,process=./later-link", "");
    directory.program("later");
    symlink("two", directory.0.join("later-link")).unwrap();
    assert!(allowed(&granted, "./later") && !allowed(&granted, "./later-link"));
    // A denial holds under every name.
    let denied = run("process", "process=./two");
    assert!(allowed(&denied, "./one") && !allowed(&denied, "./two") && !allowed(&denied, "./alias"));
    let denied = run("process", "process=two");
    assert!(!allowed(&denied, two.to_str().unwrap()));
    // Names are looked up on the PATH of this process and nowhere else.
    let granted = run("process=sh", "");
    directory.program("sh");
    assert!(allowed(&granted, "sh") && !allowed(&granted, "./sh"));
    assert!(!allowed(&granted, "env") && !granted.would_allow(PROCESS, &Request::Whole));
}

#[test]
fn scopes_name_one_program() {
    for text in ["process=", "process=*", "process=/usr/bin/", "process=.."] {
        assert!(policy::parse(text, std::path::Path::new("/"), &[&Process]).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_program_is_not_found() {
    let directory = Directory::new("find");
    std::fs::write(directory.0.join("data"), "").unwrap();
    for (name, code) in [
        ("", ErrorCode::NotFound),
        (".", ErrorCode::NotFound),
        ("./none", ErrorCode::NotFound),
        ("a\0b", ErrorCode::NotFound),
        ("./data", ErrorCode::Permission),
        ("/", ErrorCode::NotFound),
    ] {
        assert_eq!(find(name, &directory.0, &Ambient::inherited()).unwrap_err().code, code, "{name:?}");
    }
    assert!(find("/tmp", &directory.0, &Ambient::inherited()).is_err());
}

/// Copies a program of the system, which is no script.
fn copy(program: &str, to: PathBuf) {
    std::fs::copy(
        find(program, std::path::Path::new("/"), &Ambient::inherited()).unwrap().file.path.clone(),
        to,
    )
    .unwrap();
}

#[tokio::test]
async fn what_was_found_is_what_runs() {
    let directory = Directory::new("swapped");
    for name in ["good", "bad"] {
        std::fs::create_dir(directory.0.join(name)).unwrap();
    }
    copy("true", directory.0.join("good/tool"));
    copy("false", directory.0.join("bad/tool"));
    let link = directory.0.join("link");
    let all = processes(Limits::default());
    let found = |name: &str| {
        symlink("good/tool", &link).unwrap();
        let program = find(name, &directory.0, &Ambient::inherited()).unwrap();
        std::fs::remove_file(&link).unwrap();
        Command::exact(program.file.clone(), program.call_name())
    };
    // The link leads elsewhere by now.
    let command = found("./link");
    symlink("bad/tool", &link).unwrap();
    assert_eq!(command.run(&all).await.unwrap().status, 0);
    std::fs::remove_file(&link).unwrap();
    // So does a directory on the way.
    for name in ["./link", "./good/tool"] {
        let command = found(name);
        std::fs::rename(directory.0.join("good"), directory.0.join("aside")).unwrap();
        symlink("bad", directory.0.join("good")).unwrap();
        assert_eq!(command.run(&all).await.unwrap().status, 0, "{name}");
        std::fs::remove_file(directory.0.join("good")).unwrap();
        std::fs::rename(directory.0.join("aside"), directory.0.join("good")).unwrap();
    }
    // What takes the program's place in its own directory does not run.
    let command = found("./good/tool");
    std::fs::rename(directory.0.join("good/tool"), directory.0.join("good/aside")).unwrap();
    symlink("../bad/tool", directory.0.join("good/tool")).unwrap();
    assert_eq!(command.run(&all).await.unwrap_err().errno, libc::ESTALE);
}

#[tokio::test]
async fn a_script_that_was_swapped_does_not_run() {
    let directory = Directory::new("script");
    let (script, other) = (directory.program("script"), directory.program("other"));
    std::fs::write(&other, "#!/bin/sh\necho other\n").unwrap();
    let all = processes(Limits::default());
    let found = || {
        let program = find("./script", &directory.0, &Ambient::inherited()).unwrap();
        Command::exact(program.file.clone(), program.call_name())
    };
    assert_eq!(found().run(&all).await.unwrap().stdout, b"ran\n");
    let command = found();
    std::fs::rename(&other, &script).unwrap();
    assert_eq!(command.run(&all).await.unwrap_err().errno, libc::ESTALE);
    // Its interpreter gets its path, and programs their own names.
    std::fs::write(&script, "#!/bin/sh\necho $0; cat /proc/$$/comm\n").unwrap();
    let shown = format!("{}\nscript\n", script.display());
    assert_eq!(String::from_utf8(found().run(&all).await.unwrap().stdout).unwrap(), shown);
    let comm =
        Command::new("cat", &Ambient::inherited()).unwrap().arg("/proc/self/comm").run(&all).await.unwrap();
    assert_eq!(comm.stdout, b"cat\n");
}

#[test]
fn links_of_programs_end() {
    let directory = Directory::new("links");
    symlink("b", directory.0.join("a")).unwrap();
    symlink("a", directory.0.join("b")).unwrap();
    assert_eq!(find("./a", &directory.0, &Ambient::inherited()).unwrap_err().errno, libc::ELOOP);
    let program = directory.program("program");
    symlink(&program, directory.0.join("absolute")).unwrap();
    symlink("../../..", directory.0.join("up")).unwrap();
    assert_eq!(find("./absolute", &directory.0, &Ambient::inherited()).unwrap().file.path, program);
    assert!(find("./up", &directory.0, &Ambient::inherited()).is_err());
}
