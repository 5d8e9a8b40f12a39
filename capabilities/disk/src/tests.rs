//! On real directories.

use super::*;
use assay_capability_api::{Policy, policy};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("assay-disk-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path.canonicalize().unwrap())
    }

    fn file(&self, name: &str, size: usize, age: u64) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![0; size]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    fn run(&self, allow: &str, deny: &str) -> Run {
        let mut rules = Policy::default();
        let parse = |text: &str| policy::parse(text, &self.0, &[&Disk, &assay_capability_fs::Fs]).unwrap();
        rules.allow(parse(allow));
        rules.deny(parse(deny));
        Run::new(rules, self.0.clone())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

#[test]
fn sweeping_takes_old_regular_files_only() {
    let outside = Directory::new("outside");
    outside.file("old", 1, 7200);
    let directory = Directory::new("sweep");
    for (name, age) in [("old", 7200), ("new", 60), ("a/b/old", 7200), ("a/b/new", 60), ("kept/old", 7200)] {
        directory.file(name, 1, age);
    }
    symlink(&outside.0, directory.0.join("link")).unwrap();
    symlink(outside.0.join("old"), directory.0.join("file-link")).unwrap();
    let run = directory.run("fs=rw:.", "fs=write:kept");
    assert_eq!(tree::sweep(&run, ".", hour_ago(), &Alive::default()).unwrap(), 2);
    for (name, there) in
        [("old", false), ("new", true), ("a/b/old", false), ("a/b/new", true), ("kept/old", true)]
    {
        assert_eq!(directory.0.join(name).exists(), there, "{name}");
    }
    assert!(outside.0.join("old").exists(), "a link was followed");
    assert!(directory.0.join("a/b").is_dir());

    for allow in ["", "fs=read:."] {
        let denied = tree::sweep(&directory.run(allow, ""), ".", hour_ago(), &Alive::default()).unwrap_err();
        assert_eq!(denied.code, ErrorCode::Denied);
    }
    let escaped =
        tree::sweep(&directory.run("fs=rw:.", ""), "link", hour_ago(), &Alive::default()).unwrap_err();
    assert_eq!(escaped.code, ErrorCode::Denied);
}

#[test]
fn sizes_count_each_file_once() {
    let directory = Directory::new("size");
    directory.file("a", 100, 0);
    directory.file("b/c", 23, 0);
    directory.file("b/secret", 1000, 0);
    fs::hard_link(directory.0.join("a"), directory.0.join("b/same")).unwrap();
    symlink("a", directory.0.join("link")).unwrap();
    symlink("..", directory.0.join("b/up")).unwrap();
    let run = directory.run("fs=read:.", "fs=read:b/secret");
    assert_eq!(tree::size(&run, ".", &Alive::default()).unwrap(), 123);
    assert_eq!(tree::size(&run, "a", &Alive::default()).unwrap(), 100);
    assert_eq!(tree::size(&run, "none", &Alive::default()).unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(tree::size(&run, "..", &Alive::default()).unwrap_err().code, ErrorCode::Denied);
    let alive = Alive::default();
    drop(EndOnDrop(alive.clone()));
    assert!(tree::size(&run, ".", &alive).is_err(), "a dropped call goes on");
}

#[test]
fn depth_is_limited() {
    let directory = Directory::new("deep");
    fs::create_dir_all(directory.0.join("d/".repeat(140))).unwrap();
    let run = directory.run("fs=read:.", "");
    assert_eq!(tree::size(&run, ".", &Alive::default()).unwrap_err().code, ErrorCode::Limit);
}

#[test]
fn space_of_paths_and_mount_points() {
    let directory = Directory::new("usage");
    let space = usage(&directory.run("fs=read:.", ""), ".").unwrap();
    assert!(space.total > 0 && space.available <= space.free && space.free <= space.total);
    // A mount point needs no grant of fs, other paths do.
    let run = directory.run("", "");
    assert!(usage(&run, "/").unwrap().total > 0);
    assert_eq!(usage(&run, ".").unwrap_err().code, ErrorCode::Denied);
    assert_eq!(usage(&run, "/etc").unwrap_err().code, ErrorCode::Denied);
}

/// A directory on the way is exchanged for a link that leads out, over and over, while its files are swept and measured.
#[test]
fn a_race_is_never_won() {
    let outside = Directory::new("race-outside");
    let directory = Directory::new("race");
    for name in ["old", "deep/old"] {
        outside.file(name, 1000, 7200);
    }
    directory.file("way/deep/old", 1, 7200);
    symlink(&outside.0, directory.0.join("swap")).unwrap();
    // Wherever it is by now.
    let flags = rustix::fs::OFlags::PATH;
    let deep = rustix::fs::open(directory.0.join("way/deep"), flags, rustix::fs::Mode::empty()).unwrap();
    let refill = || {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
        let file = rustix::fs::openat(&deep, "old", flags, rustix::fs::Mode::RWXU).unwrap();
        fs::File::from(file).set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    };
    let run = directory.run("fs=rw:.", "");
    let exchange = || {
        let (one, other) = (directory.0.join("way"), directory.0.join("swap"));
        let (at, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
        let _ = rustix::fs::renameat_with(at, one, at, other, flags);
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exchange();
            }
        });
        let (mut swept, mut largest) = (0, 0);
        for _ in 0..200 {
            for at in ["way", "way/deep", "swap/deep"] {
                refill();
                largest = tree::size(&run, at, &Alive::default()).unwrap_or(0).max(largest);
                swept += tree::sweep(&run, at, hour_ago(), &Alive::default()).unwrap_or(0);
            }
            largest = tree::size(&run, "way/deep/old", &Alive::default()).unwrap_or(0).max(largest);
        }
        done.store(true, Ordering::Relaxed);
        assert!(swept > 0 && largest < 1000, "{swept} {largest}");
    });
    for name in ["old", "deep/old"] {
        assert_eq!(fs::metadata(outside.0.join(name)).unwrap().len(), 1000, "{name}");
    }
}
