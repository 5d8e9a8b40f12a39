use super::*;
use std::fs;
use std::path::PathBuf;

/// A directory of this test, removed when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("assay-modules-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_project_comes_before_the_users_directory() {
    let directory = Scratch::new("order");
    let (project, global) = (directory.0.join("project"), directory.0.join("global"));
    fs::create_dir_all(project.join("a")).unwrap();
    fs::create_dir_all(global.join("a")).unwrap();
    fs::write(project.join("a/init.lua"), "return 'project'").unwrap();
    fs::write(global.join("a.lua"), "return 'global'").unwrap();
    fs::write(global.join("b.lua"), "return 'b'").unwrap();
    let open = |path: PathBuf| Directory::open(path.clone(), path.display().to_string());
    let directories = Directories { project: Some(open(project)), global: Some(open(global)) };
    assert_eq!(directories.find("a").unwrap().origin, Origin::Project);
    assert_eq!(directories.find("b").unwrap().origin, Origin::Global);
    let tried = directories.find("c").unwrap_err();
    assert!(tried.contains("project/c.lua") && tried.contains("global/c/init.lua"), "{tried}");
}

#[test]
fn names_and_links_do_not_leave_the_directory() {
    let directory = Scratch::new("escape");
    let project = directory.0.join("modules");
    fs::create_dir_all(&project).unwrap();
    fs::write(directory.0.join("secret.lua"), "return 'secret'").unwrap();
    std::os::unix::fs::symlink(directory.0.join("secret.lua"), project.join("link.lua")).unwrap();
    let directories = Directories { project: Some(Directory::open(project, "modules".into())), global: None };
    for name in ["link", "../secret", "..secret", "a/../../secret", "", "a b", "/etc/passwd"] {
        assert!(directories.find(name).is_err(), "{name}");
    }
}

/// A module file is swapped for a link out of the directory, and the directory for one, while it is read.
#[test]
fn a_race_is_never_won() {
    let directory = Scratch::new("race");
    let project = directory.0.join("modules");
    fs::create_dir_all(&project).unwrap();
    fs::create_dir_all(directory.0.join("other")).unwrap();
    for (name, text) in [("modules/x.lua", "return 'x'"), ("secret", "secret"), ("other/x.lua", "secret")] {
        fs::write(directory.0.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("../secret", project.join("link.lua")).unwrap();
    std::os::unix::fs::symlink("other", directory.0.join("swap")).unwrap();
    let directories =
        Directories { project: Some(Directory::open(project.clone(), "modules".into())), global: None };
    let exchange = |a: &str, b: &str| {
        let (a, b) = (directory.0.join(a), directory.0.join(b));
        let _ = rustix::fs::renameat_with(
            rustix::fs::CWD,
            a,
            rustix::fs::CWD,
            b,
            rustix::fs::RenameFlags::EXCHANGE,
        );
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                exchange("modules/x.lua", "modules/link.lua");
                exchange("modules", "swap");
                exchange("modules", "swap");
            }
        });
        let read = (0..5000).filter(|_| match directories.find("x") {
            Ok(found) => {
                assert_eq!(found.text, b"return 'x'");
                true
            }
            Err(_) => false,
        });
        let read = read.count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(read > 0);
    });
}

#[test]
fn a_directory_that_is_made_later_is_no_link() {
    let directory = Scratch::new("later");
    let project = directory.0.join("modules");
    let directories =
        Directories { project: Some(Directory::open(project.clone(), "modules".into())), global: None };
    assert!(directories.find("x").is_err());
    fs::create_dir_all(directory.0.join("other")).unwrap();
    fs::write(directory.0.join("other/x.lua"), "secret").unwrap();
    std::os::unix::fs::symlink("other", &project).unwrap();
    let tried = directories.find("x").unwrap_err();
    assert!(tried.contains("no file 'modules/x.lua'") && !tried.contains("other"), "{tried}");
    fs::remove_file(&project).unwrap();
    fs::create_dir(&project).unwrap();
    fs::write(project.join("x.lua"), "return 1").unwrap();
    assert_eq!(directories.find("x").unwrap().path, "modules/x.lua");
}
