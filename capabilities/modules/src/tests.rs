use super::*;
use std::fs;

/// A folder of this test, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("assay-modules-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_project_comes_before_the_users_folder() {
    let folder = Folder::new("order");
    let (project, global) = (folder.0.join("project"), folder.0.join("global"));
    fs::create_dir_all(project.join("a")).unwrap();
    fs::create_dir_all(global.join("a")).unwrap();
    fs::write(project.join("a/init.lua"), "return 'project'").unwrap();
    fs::write(global.join("a.lua"), "return 'global'").unwrap();
    fs::write(global.join("b.lua"), "return 'b'").unwrap();
    let folders = Folders { project: Some(project), global: Some(global) };
    assert_eq!(folders.find("a").unwrap().origin, Origin::Project);
    assert_eq!(folders.find("b").unwrap().origin, Origin::Global);
    let tried = folders.find("c").unwrap_err();
    assert!(tried.contains("project/c.lua") && tried.contains("global/c/init.lua"), "{tried}");
}

#[test]
fn names_and_links_do_not_leave_the_folder() {
    let folder = Folder::new("escape");
    let project = folder.0.join("modules");
    fs::create_dir_all(&project).unwrap();
    fs::write(folder.0.join("secret.lua"), "return 'secret'").unwrap();
    std::os::unix::fs::symlink(folder.0.join("secret.lua"), project.join("link.lua")).unwrap();
    let folders = Folders { project: Some(project), global: None };
    for name in ["link", "../secret", "..secret", "a/../../secret", "", "a b", "/etc/passwd"] {
        assert!(folders.find(name).is_err(), "{name}");
    }
}
