use super::*;
use assay_capability_api::{Grants, grants};
use std::os::unix::fs::symlink;

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let base = std::fs::canonicalize(std::env::temp_dir()).unwrap();
        let path = base.join(format!("assay-fs-test-{}", open::unique()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn run(&self, allow: &str, deny: &str) -> Run {
        let rules = |text: &str| {
            let text = text.replace("TMP", self.0.to_str().unwrap());
            grants::parse(&text, &self.0, &[&Fs]).unwrap()
        };
        let mut grants = Grants::default();
        grants.allow(rules(allow));
        grants.deny(rules(deny));
        Run::new(grants, self.0.clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn code<T: std::fmt::Debug>(result: Outcome<T>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn links_are_matched_by_what_they_lead_to() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:in,fs=read:other", "");
    for name in ["in", "other", "out"] {
        std::fs::create_dir(folder.path(name)).unwrap();
        std::fs::write(folder.path(name).join("file"), name).unwrap();
    }
    symlink("../out", folder.path("in/bad")).unwrap();
    symlink("../other", folder.path("in/good")).unwrap();
    symlink("../out/new", folder.path("in/dangling")).unwrap();
    symlink("/proc/self/root", folder.path("in/root")).unwrap();
    let denied = open_read(&run, "in/bad/file").unwrap_err();
    assert_eq!(denied.code, ErrorCode::Denied);
    assert!(denied.message.contains("/out/file"), "{}", denied.message);
    assert!(open_read(&run, "in/good/file").is_ok());
    assert_eq!(code(create(&run, "in/good/file")), ErrorCode::Denied);
    assert_eq!(code(create(&run, "in/dangling")), ErrorCode::Denied);
    assert!(!folder.path("out/new").exists());
    // Missing behind an ungranted link is a denial as well.
    assert_eq!(code(open_read(&run, "in/bad/none/x")), ErrorCode::Denied);
    assert_eq!(code(open_read(&run, "in/root/etc/passwd")), ErrorCode::Denied);
    // `..` goes up from where the link leads.
    assert_eq!(code(open_read(&run, "in/good/../out/file")), ErrorCode::Denied);
    assert_eq!(code(open_read(&run, "in/none")), ErrorCode::NotFound);
}

#[test]
fn a_grant_through_a_link_covers_the_real_place() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("real")).unwrap();
    symlink("real", folder.path("link")).unwrap();
    let run = folder.run("fs=rw:link/new", "");
    create(&run, "link/new/a/file").unwrap();
    assert!(folder.path("real/new/a/file").exists());
    assert_eq!(code(create(&run, "link/other")), ErrorCode::Denied);
}

#[test]
fn pipes_do_not_hang() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:.", "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path("pipe"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(code(open_read(&run, "pipe")), ErrorCode::Denied);
    assert_eq!(code(create(&run, "pipe")), ErrorCode::Denied);
    let run = folder.run("fs=rw:pipe", "");
    assert!(open_read(&run, "pipe").is_ok());
}

#[test]
fn deny_rules_hold_for_whole_folders() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:.", "fs=read:a/secret");
    std::fs::create_dir_all(folder.path("a/secret")).unwrap();
    let cancel = Cancel::default();
    assert_eq!(code(ops::rename(&run, "a", "b")), ErrorCode::Denied);
    assert_eq!(code(ops::remove(&run, "a", true, &cancel)), ErrorCode::Denied);
    std::fs::create_dir(folder.path("c")).unwrap();
    ops::rename(&run, "c", "d").unwrap();
    ops::remove(&run, "d/", true, &cancel).unwrap();
}

#[test]
fn replacing_is_all_or_nothing() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:.", "");
    std::fs::write(folder.path("f"), "old").unwrap();
    drop(create_atomic(&run, "f").unwrap());
    assert_eq!(std::fs::read(folder.path("f")).unwrap(), b"old");
    let mut file = create_atomic(&run, "f").unwrap();
    std::io::Write::write_all(&mut file.file(), b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(std::fs::read(folder.path("f")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn the_temporary_folder_goes_with_the_run() {
    let folder = Folder::new();
    let run = folder.run("", "");
    let first = temp_folder(&run).unwrap();
    let second = temp_folder(&run).unwrap();
    assert_ne!(first, second);
    drop(create(&run, &format!("{first}/a/b")).unwrap());
    assert_eq!(code(open_read(&run, &format!("{first}/../../x"))), ErrorCode::Denied);
    let own = run.grants.own_path().unwrap();
    assert!(own.exists());
    drop(run);
    assert!(!own.exists());
}

/// A swap between looking and opening, many times over: what is read is never the secret.
#[test]
fn a_race_is_never_won() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:in", "");
    for name in ["in", "in/d", "out"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    std::fs::write(folder.path("in/d/f"), "open").unwrap();
    std::fs::write(folder.path("out/f"), "secret").unwrap();
    symlink(folder.path("out"), folder.path("in/l")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    folder.path("in/d"),
                    rustix::fs::CWD,
                    folder.path("in/l"),
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        for _ in 0..5000 {
            if let Ok(file) = open_read(&run, "in/d/f") {
                assert_eq!(std::io::read_to_string(file).unwrap(), "open");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn globs() {
    let folder = Folder::new();
    let run = folder.run("fs=read:a", "fs=read:a/no");
    for path in ["a/x", "a/b/x", "a/no/x", "c/x"] {
        std::fs::create_dir_all(folder.path(path).parent().unwrap()).unwrap();
        std::fs::write(folder.path(path), "").unwrap();
    }
    let cancel = Cancel::default();
    assert_eq!(glob::glob(&run, "a/**/x", &cancel).unwrap(), ["a/b/x", "a/x"]);
    assert_eq!(code(glob::glob(&run, "*/x", &cancel)), ErrorCode::Denied);
    assert_eq!(code(glob::glob(&run, "c/x", &cancel)), ErrorCode::Denied);
}

#[test]
fn a_path_holds_only_so_many_folders_open() {
    let folder = Folder::new();
    let run = folder.run("fs=rw:.", "");
    assert!(ops::mkdir(&run, &"d/".repeat(400)).is_ok());
    assert_eq!(ops::mkdir(&run, &"e/".repeat(600)).unwrap_err().errno, 36);
}
