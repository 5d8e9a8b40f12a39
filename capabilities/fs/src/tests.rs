use super::*;
use assay_capability_api::{Ambient, Policy, RunState, policy};
use std::os::unix::fs::symlink;

/// A directory that is removed at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let base = std::fs::canonicalize(std::env::temp_dir()).unwrap();
        let path = base.join(format!("assay-fs-test-{}", assay_capability_api::random::name()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn run(&self, allow: &str, deny: &str) -> Run {
        let rules = |text: &str| {
            let text = text.replace("TMP", self.0.to_str().unwrap());
            policy::parse(&text, &self.0, &[&Fs]).unwrap()
        };
        let mut grants = Policy::default();
        grants.allow(rules(allow));
        grants.deny(rules(deny));
        let ambient = Ambient::inherited().into();
        RunState { ambient, ..RunState::new(grants, self.0.clone()) }.into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn code<T: std::fmt::Debug>(result: Outcome<T>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn links_are_matched_by_what_they_lead_to() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:in,fs=read:other", "");
    for name in ["in", "other", "out"] {
        std::fs::create_dir(directory.path(name)).unwrap();
        std::fs::write(directory.path(name).join("file"), name).unwrap();
    }
    symlink("../out", directory.path("in/bad")).unwrap();
    symlink("../other", directory.path("in/good")).unwrap();
    symlink("../out/new", directory.path("in/dangling")).unwrap();
    symlink("/proc/self/root", directory.path("in/root")).unwrap();
    let denied = open_read(&run, "in/bad/file").unwrap_err();
    assert_eq!(denied.code, ErrorCode::Denied);
    assert!(!denied.message.contains("out"), "{}", denied.message);
    assert!(open_read(&run, "in/good/file").is_ok());
    assert_eq!(code(create(&run, "in/good/file")), ErrorCode::Denied);
    assert_eq!(code(create(&run, "in/dangling")), ErrorCode::Denied);
    assert!(!directory.path("out/new").exists());
    // Missing behind an ungranted link is a denial as well.
    assert_eq!(code(open_read(&run, "in/bad/none/x")), ErrorCode::Denied);
    assert_eq!(code(open_read(&run, "in/root/etc/passwd")), ErrorCode::Denied);
    // `..` goes up from where the link leads.
    assert_eq!(code(open_read(&run, "in/good/../out/file")), ErrorCode::Denied);
    assert_eq!(code(open_read(&run, "in/none")), ErrorCode::NotFound);
}

#[test]
fn a_grant_through_a_link_covers_the_real_place() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path("real")).unwrap();
    symlink("real", directory.path("link")).unwrap();
    let run = directory.run("fs=rw:link/new", "");
    create(&run, "link/new/a/file").unwrap();
    assert!(directory.path("real/new/a/file").exists());
    assert_eq!(code(create(&run, "link/other")), ErrorCode::Denied);
}

#[test]
fn pipes_do_not_hang() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:.", "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.path("pipe"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(code(open_read(&run, "pipe")), ErrorCode::Denied);
    assert_eq!(code(create(&run, "pipe")), ErrorCode::Denied);
    let run = directory.run("fs=rw:pipe", "");
    assert!(open_read(&run, "pipe").is_ok());
}

#[test]
fn deny_rules_hold_for_whole_directories() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:.", "fs=read:a/secret");
    std::fs::create_dir_all(directory.path("a/secret")).unwrap();
    let cancel = Cancel::default();
    assert_eq!(code(ops::rename(&run, "a", "b", &cancel)), ErrorCode::Denied);
    assert_eq!(code(ops::remove(&run, "a", ops::Remove::Tree, &cancel)), ErrorCode::Denied);
    std::fs::create_dir(directory.path("c")).unwrap();
    ops::rename(&run, "c", "d", &cancel).unwrap();
    ops::remove(&run, "d/", ops::Remove::Tree, &cancel).unwrap();
}

#[test]
fn replacing_is_all_or_nothing() {
    let directory = Directory::new();
    let run = Arc::new(directory.run("fs=rw:.", ""));
    std::fs::write(directory.path("f"), "old").unwrap();
    drop(create_atomic(&run, "f").unwrap());
    assert_eq!(std::fs::read(directory.path("f")).unwrap(), b"old");
    let mut file = create_atomic(&run, "f").unwrap();
    file.write_all(b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(std::fs::read(directory.path("f")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_replaced_is_for_its_owner_until_it_is_whole() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let run = Arc::new(directory.run("fs=rw:.", ""));
    let mode = |name: &str| std::fs::metadata(directory.path(name)).unwrap().permissions().mode() & 0o7777;
    let temporary = || {
        let names = std::fs::read_dir(&directory.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.into_iter().find(|name| name.starts_with(".assay-")).unwrap()
    };
    std::fs::write(directory.path("f"), "old").unwrap();
    for (old, first) in [(0o644, 0o600), (0o440, 0o400), (0o666, 0o600)] {
        std::fs::set_permissions(directory.path("f"), std::fs::Permissions::from_mode(old)).unwrap();
        let mut file = create_atomic(&run, "f").unwrap();
        assert_eq!(mode(&temporary()), first);
        file.commit().unwrap();
        assert_eq!(mode("f"), old);
        let mut copy = AtomicFile::create_with(&run, "f", rights::Rights::plain(0o604)).unwrap();
        assert_eq!(mode(&temporary()), 0o600);
        copy.commit().unwrap();
        assert_eq!(mode("f"), 0o604);
    }
    // What is changed meanwhile counts.
    let mut file = create_atomic(&run, "f").unwrap();
    std::fs::set_permissions(directory.path("f"), std::fs::Permissions::from_mode(0o611)).unwrap();
    file.commit().unwrap();
    assert_eq!(mode("f"), 0o611);
}

/// The list says that the group may not read, and the mode, which is only its bound, that it may.
#[test]
fn access_lists_are_kept_and_copied() {
    use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = Directory::new();
    let run = Arc::new(directory.run("fs=rw:.", ""));
    let name = c"system.posix_acl_access";
    // Owner rw, user 1234 rw, group none, bound rw, others none.
    let entries =
        [(1u16, 6u16, u32::MAX), (2, 6, 1234), (4, 0, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        acl.extend([&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let list = |path: &str| {
        let (file, mut buffer) = (std::fs::File::open(directory.path(path)).unwrap(), vec![0; 1024]);
        fgetxattr(&file, name, &mut buffer[..]).map(|length| buffer[..length].to_vec())
    };
    let mode = |path: &str| std::fs::metadata(directory.path(path)).unwrap().mode() & 0o7777;
    for path in ["listed", "plain"] {
        std::fs::write(directory.path(path), "old").unwrap();
        std::fs::set_permissions(directory.path(path), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let file = std::fs::File::open(directory.path("listed")).unwrap();
    if fsetxattr(&file, name, &acl, XattrFlags::empty()) == Err(rustix::io::Errno::NOTSUP) {
        // The temporary directory is on a file system without such lists.
        return;
    }
    assert_eq!(mode("listed"), 0o660);
    create_atomic(&run, "listed").unwrap().commit().unwrap();
    assert_eq!((list("listed").unwrap(), mode("listed")), (acl.clone(), 0o660));
    let cancel = Cancel::default();
    copy::copy(&run, "listed", "new", &cancel).unwrap();
    assert_eq!((list("new").unwrap(), mode("new")), (acl.clone(), 0o660));
    std::fs::hard_link(directory.path("plain"), directory.path("other")).unwrap();
    copy::copy(&run, "listed", "plain", &cancel).unwrap();
    assert_eq!((list("other").unwrap(), mode("other")), (acl, 0o660));
    // The other way round nothing of it is left.
    std::fs::write(directory.path("none"), "x").unwrap();
    std::fs::set_permissions(directory.path("none"), std::fs::Permissions::from_mode(0o640)).unwrap();
    for to in ["listed", "plain"] {
        copy::copy(&run, "none", to, &cancel).unwrap();
        assert_eq!((list(to), mode(to)), (Err(rustix::io::Errno::NODATA), 0o640));
    }
}

/// Somebody who looks at the directory all the time never sees the secret where others could read it.
#[test]
fn nobody_reads_a_copy_who_may_not_read_the_source() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = Directory::new();
    let run = Arc::new(directory.run("fs=rw:.", ""));
    let cancel = Cancel::default();
    std::fs::write(directory.path("secret"), vec![b'x'; 4 << 20]).unwrap();
    std::fs::set_permissions(directory.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(directory.path("seen")).unwrap();
    let copying = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while copying.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir(directory.path("seen")).unwrap() {
                    // It may be gone, or have another name by now.
                    let Ok(about) = entry.unwrap().metadata() else { continue };
                    assert!(about.size() <= 3 || about.mode() & 0o077 == 0, "{:o}", about.mode());
                }
            }
        });
        for n in 0..20 {
            // A new file, one to replace, and one to be written into.
            let _ = std::fs::remove_file(directory.path("seen/copy"));
            let _ = std::fs::remove_file(directory.path("seen/other"));
            if n % 3 > 0 {
                std::fs::write(directory.path("seen/copy"), "old").unwrap();
            }
            if n % 3 > 1 {
                std::fs::hard_link(directory.path("seen/copy"), directory.path("seen/other")).unwrap();
            }
            assert_eq!(copy::copy(&run, "secret", "seen/copy", &cancel).unwrap(), 4 << 20);
        }
        copying.store(false, Ordering::Relaxed);
        watcher.join().unwrap();
    });
}

#[test]
fn the_temporary_directory_goes_with_the_run() {
    let directory = Directory::new();
    let run = directory.run("", "");
    let first = temp_directory(&run).unwrap();
    let second = temp_directory(&run).unwrap();
    assert_ne!(first, second);
    drop(create(&run, &format!("{first}/a/b")).unwrap());
    assert_eq!(code(open_read(&run, &format!("{first}/../../x"))), ErrorCode::Denied);
    let own = run.grants.own_path().unwrap();
    assert!(own.exists());
    drop(run);
    assert!(!own.exists());
}

/// However deep and locked up, what is in the temporary directory goes with the run.
#[test]
fn the_temporary_directory_goes_whatever_is_in_it() {
    let directory = Directory::new();
    let run = directory.run("", "");
    let cancel = Cancel::default();
    let own = temp_directory(&run).unwrap();
    let deep = "d/".repeat(200);
    ops::mkdir(&run, &format!("{own}/a/{deep}")).unwrap();
    ops::mkdir(&run, &format!("{own}/b/{deep}")).unwrap();
    let bottom = format!("{own}/a/{deep}e");
    ops::rename(&run, &format!("{own}/b"), &bottom, &cancel).unwrap();
    ops::mkdir(&run, &format!("{own}/locked/x")).unwrap();
    ops::chmod(&run, &format!("{own}/locked"), 0).unwrap();
    let own = run.grants.own_path().unwrap();
    drop(run);
    assert!(!own.exists());
}

/// Two tasks of a script that may write `drop` and read `mine`: one moves a file from `mine/a`, the other moves `mine/a`
/// away and puts the secret where it was.
#[test]
fn a_race_of_renames_reads_nothing() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:mine,fs=write:drop", "");
    let cancel = Cancel::default();
    for name in ["mine", "drop", "drop/a", "drop/s"] {
        std::fs::create_dir(directory.path(name)).unwrap();
    }
    let rename = |from: &str, to: &str| ops::rename(&run, from, to, &cancel);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for _ in 0..400 {
                let _ = ops::mkdir(&run, "mine/a");
                let _ = open(&run, "mine/a/x", How { write: true, create: true, ..How::default() });
                std::fs::write(directory.path("drop/s/secret"), "secret").unwrap();
                let _ = ops::remove(&run, "drop/a", ops::Remove::Tree, &cancel);
                let _ = rename("mine/a", "drop/a");
                let _ = rename("drop/s/secret", "drop/a/x");
            }
        });
        let mut moved = 0;
        while !mover.is_finished() {
            if rename("mine/a/x", "mine/y").is_ok() {
                moved += 1;
                assert_eq!(std::fs::read(directory.path("mine/y")).unwrap(), b"", "after {moved}");
            }
            for name in ["mine/a/x", "mine/a/../a/x"] {
                if let Ok(file) = open_read(&run, name) {
                    assert_eq!(std::io::read_to_string(file).unwrap(), "", "after {moved}");
                }
            }
        }
    });
}

/// A link is made in a directory that is moved meanwhile: it never leads out.
#[test]
fn a_race_of_links_leads_nowhere() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:in", "");
    let cancel = Cancel::default();
    std::fs::create_dir_all(directory.path("in/a/d")).unwrap();
    std::fs::create_dir_all(directory.path("out")).unwrap();
    let out = directory.path("out").canonicalize().unwrap();
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for _ in 0..400 {
                let _ = ops::rename(&run, "in/a/d", "in/d", &cancel);
                let _ = ops::rename(&run, "in/d", "in/a/d", &cancel);
            }
        });
        while !mover.is_finished() {
            let _ = ops::symlink(&run, "../../out", "in/a/d/link");
            for place in ["in/d/link", "in/a/d/link"] {
                let leads = directory.path(place).canonicalize();
                assert!(leads.is_err() || leads.unwrap() != out);
            }
            for place in ["in/d/link", "in/a/d/link"] {
                let _ = ops::remove(&run, place, ops::Remove::One, &cancel);
            }
        }
    });
}

/// A walk that has begun does not go on in a directory that was moved to where it may not be read.
#[test]
fn a_walk_stays_where_it_may_read() {
    let directory = Directory::new();
    let run = Arc::new(directory.run("fs=rw:mine,fs=write:drop", ""));
    let cancel = Cancel::default();
    for name in ["mine/a/b", "mine/c", "drop"] {
        std::fs::create_dir_all(directory.path(name)).unwrap();
    }
    let mut walker = walk::Walker::new(run.clone(), "mine", None).unwrap();
    assert_eq!(walker.next(&cancel).unwrap().unwrap().0, "mine/a");
    ops::rename(&run, "mine/a", "drop/a", &cancel).unwrap();
    std::fs::write(directory.path("drop/a/b/secret"), "").unwrap();
    let denied = walker.next(&cancel).map(|item| item.map(|item| item.0)).unwrap_err();
    assert_eq!(denied.code, ErrorCode::Denied);
    assert!(!denied.message.contains("drop"), "{}", denied.message);
}

#[test]
fn output_files_are_not_chosen_by_the_script() {
    let directory = Directory::new();
    for name in ["out", "safe", "in"] {
        std::fs::create_dir(directory.path(name)).unwrap();
    }
    std::fs::write(directory.path("safe/target"), "safe").unwrap();
    symlink("../safe/target", directory.path("out/link")).unwrap();
    symlink("../safe", directory.path("out/directory")).unwrap();
    symlink("../safe/new", directory.path("out/dangling")).unwrap();
    symlink("../out", directory.path("safe/back")).unwrap();
    std::fs::hard_link(directory.path("safe/target"), directory.path("out/hard")).unwrap();
    let run = directory.run("fs=rw:out,fs=read:in", "");
    let open = |path: &str| open_output(&run, Path::new(path), false);
    for path in [
        "out/link",
        "out/directory/x",
        "out/dangling",
        "safe/back/link",
        "out/./directory/../safe/x",
        "out/hard",
    ] {
        assert_eq!(open(path).unwrap_err().code, ErrorCode::Denied, "{path}");
    }
    assert!(!directory.path("safe/new").exists() && !directory.path("safe/x").exists());
    // Links where the script cannot write are the operator's.
    symlink("target", directory.path("safe/link")).unwrap();
    open("safe/link").unwrap().replace(b"new").unwrap();
    assert_eq!(std::fs::read(directory.path("safe/target")).unwrap(), b"new");
    let file = open("safe/back/report").unwrap();
    // What is opened stays what it is.
    std::fs::rename(directory.path("out/report"), directory.path("out/moved")).unwrap();
    symlink("../safe/target", directory.path("out/report")).unwrap();
    file.replace(b"report").unwrap();
    assert_eq!(std::fs::read(directory.path("safe/target")).unwrap(), b"new");
    assert_eq!(std::fs::read(directory.path("out/moved")).unwrap(), b"report");
    assert!(open("/dev/null").is_ok());
    assert_eq!(open("none/x").unwrap_err().code, ErrorCode::NotFound);
    assert!(directory.run("fs", "").grants.denies_in("fs", Path::new("/")).is_none());
    assert!(
        open_output(&directory.run("fs=rw:out,fs=write:safe", ""), Path::new("safe/link"), true).is_err()
    );
}

/// A swap between looking and opening, many times over: what is read is never the secret.
#[test]
fn a_race_is_never_won() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:in", "");
    for name in ["in", "in/d", "out"] {
        std::fs::create_dir(directory.path(name)).unwrap();
    }
    std::fs::write(directory.path("in/d/f"), "open").unwrap();
    std::fs::write(directory.path("out/f"), "secret").unwrap();
    symlink(directory.path("out"), directory.path("in/l")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    directory.path("in/d"),
                    rustix::fs::CWD,
                    directory.path("in/l"),
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
    let directory = Directory::new();
    let run = directory.run("fs=read:a", "fs=read:a/no");
    for path in ["a/x", "a/b/x", "a/no/x", "c/x"] {
        std::fs::create_dir_all(directory.path(path).parent().unwrap()).unwrap();
        std::fs::write(directory.path(path), "").unwrap();
    }
    let cancel = Cancel::default();
    assert_eq!(glob::glob(&run, "a/**/x", false, &cancel).unwrap().0, ["a/b/x", "a/x"]);
    assert_eq!(code(glob::glob(&run, "*/x", false, &cancel)), ErrorCode::Denied);
    assert_eq!(code(glob::glob(&run, "c/x", false, &cancel)), ErrorCode::Denied);
}

#[test]
fn a_path_holds_only_so_many_directories_open() {
    let directory = Directory::new();
    let run = directory.run("fs=rw:.", "");
    assert!(ops::mkdir(&run, &"d/".repeat(400)).is_ok());
    assert_eq!(ops::mkdir(&run, &"e/".repeat(600)).unwrap_err().errno, 36);
}
