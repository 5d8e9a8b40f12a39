//! Grants, and repositories in the directory of another system. What runs apt-get itself is in tests/harness/apt.rs.

use super::*;
use assay_capability_api::{Policy, policy};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("assay-apt-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }

    fn run(&self, allow: &str, deny: &str) -> Run {
        let mut rules = Policy::default();
        let parse = |text: &str| policy::parse(text, &self.0, &[&Apt, &assay_capability_fs::Fs]).unwrap();
        rules.allow(parse(allow));
        rules.deny(parse(deny));
        Run::new(rules, self.0.clone())
    }

    fn add(&self, run: &Run, source: &Source) -> Outcome<Added> {
        let root = check_optional_root(run, source.root.as_deref())?;
        source::add(run, source, root.as_ref())
    }

    fn source(&self, text: &str, key: Option<&str>) -> Source {
        Source {
            id: "demo".into(),
            text: text.into(),
            key: key.map(|name| self.path(name)),
            root: Some(self.path("root")),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn scopes() {
    let directory = Directory::new("scopes");
    for (allow, deny, verb, name, allowed) in [
        ("apt", "", Verb::Install, "nginx", true),
        ("apt", "apt=remove", Verb::Remove, "nginx", false),
        ("apt", "apt=remove:libc6", Verb::Remove, "nginx", true),
        ("apt", "apt=install:libc*", Verb::Install, "libc6", false),
        ("apt=read", "", Verb::Read, "", true),
        ("apt=read", "", Verb::Update, "", false),
        ("apt=update", "", Verb::Update, "", true),
        ("apt=install", "", Verb::Install, "nginx", true),
        ("apt=install", "", Verb::Remove, "nginx", false),
        ("apt=install:nginx*", "", Verb::Install, "nginx-light", true),
        ("apt=install:nginx*", "", Verb::Install, "apache2", false),
        ("apt=install:nginx", "", Verb::Install, "nginx-light", false),
        ("apt=remove:nginx", "", Verb::Remove, "nginx", true),
        ("apt=source:demo", "", Verb::Source, "demo", true),
        ("apt=source:demo", "", Verb::Source, "other", false),
        ("apt=source", "", Verb::Source, "other", true),
        ("apt=root:/srv/image", "", Verb::Root, "/srv/image", true),
        ("apt=root:/srv/image", "", Verb::Root, "/srv/image/below", true),
        ("apt=root:/srv/image", "", Verb::Root, "/srv/images", false),
        ("apt=root:/srv/image", "", Verb::Install, "nginx", false),
    ] {
        let decided = check(&directory.run(allow, deny), verb, name).is_ok();
        assert_eq!(decided, allowed, "{allow} {deny} {verb:?} {name}");
    }
    for wrong in ["", "x", "read:x", "update:x", "install:", "root", "root:", "source:"] {
        assert!(Apt.scope(wrong, Path::new("/")).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_denial_is_about() {
    let text = |text: &str| Val::String(text.into());
    let change = |action: &str, names: &[&str]| {
        let names = names.iter().map(|name| text(name)).collect();
        Apt.target("change", &[Val::Enum(action.into()), Val::List(names)])
    };
    assert_eq!(change("install", &["nginx=1", "x2"]).scope.as_deref(), Some("install:nginx"));
    assert_eq!(change("remove", &["nginx"]).scope.as_deref(), Some("remove:nginx"));
    assert_eq!(change("update", &[]).scope.as_deref(), Some("update"));
    assert_eq!(change("install", &["--help"]).scope, None);
    assert_eq!(Apt.target("query", &[text("nginx")]).scope.as_deref(), Some("read"));
    let source = Val::Record(vec![("id".into(), text("demo"))]);
    assert_eq!(Apt.target("add-source", &[source]).scope.as_deref(), Some("source:demo"));
}

#[test]
fn adding_a_repository_twice_changes_nothing() {
    let directory = Directory::new("add");
    fs::create_dir(directory.0.join("root")).unwrap();
    fs::write(directory.0.join("key"), b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n").unwrap();
    fs::write(directory.0.join("binary"), b"\x99\x01\x0d\x04abcdefgh").unwrap();
    let run = directory.run("apt=source:demo,apt=root:root,fs=rw:root,fs=read:.", "");
    let line = directory.source("deb https://a.example stable main", Some("key"));
    let added = directory.add(&run, &line).unwrap();
    assert!(added.changed);
    assert_eq!(added.list_path, directory.path("root/etc/apt/sources.list.d/demo.list"));
    assert_eq!(added.key_path, Some(directory.path("root/etc/apt/keyrings/demo.asc")));
    assert_eq!(
        fs::read_to_string(&added.list_path).unwrap(),
        "deb [signed-by=/etc/apt/keyrings/demo.asc] https://a.example stable main\n"
    );
    assert_eq!(fs::metadata(&added.list_path).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!directory.add(&run, &line).unwrap().changed);

    // Another format and another kind of key take the place of the first.
    let stanza =
        directory.source("Types: deb\nURIs: https://a.example\nSuites: x\nComponents: y", Some("binary"));
    let added = directory.add(&run, &stanza).unwrap();
    assert!(added.changed);
    let names = |path: &str| {
        let mut names: Vec<_> =
            fs::read_dir(directory.0.join(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("root/etc/apt/sources.list.d"), ["demo.sources"]);
    assert_eq!(names("root/etc/apt/keyrings"), ["demo.gpg"]);
    assert!(!directory.add(&run, &stanza).unwrap().changed);

    let without = directory.add(&run, &directory.source("deb file:/x ./", None)).unwrap();
    assert_eq!((without.changed, without.key_path), (true, None));
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let directory = Directory::new("wrong");
    fs::create_dir(directory.0.join("root")).unwrap();
    fs::write(directory.0.join("page"), "<html>").unwrap();
    let good = "deb https://a.example x y";
    let run = directory.run("apt,fs=rw:.", "");
    for (id, text, key, code) in [
        ("demo", "hello", None, ErrorCode::InvalidArgument),
        ("../x", good, None, ErrorCode::InvalidArgument),
        ("demo", good, Some("page"), ErrorCode::InvalidData),
        ("demo", good, Some("none"), ErrorCode::NotFound),
    ] {
        let source = Source { id: id.into(), ..directory.source(text, key) };
        assert_eq!(directory.add(&run, &source).unwrap_err().code, code, "{id} {text} {key:?}");
    }
    let denied = |allow: &str, deny: &str| {
        directory.add(&directory.run(allow, deny), &directory.source(good, None)).unwrap_err().code
    };
    assert_eq!(denied("apt", ""), ErrorCode::Denied);
    assert_eq!(denied("apt,fs=read:root", ""), ErrorCode::Denied);
    assert_eq!(denied("apt=source,fs=rw:root", ""), ErrorCode::Denied);
    assert_eq!(denied("apt,fs=rw:root", "fs=write:root/etc"), ErrorCode::Denied);
    assert_eq!(fs::read_dir(directory.0.join("root")).unwrap().count(), 0);
}

#[test]
fn links_in_another_root_lead_nowhere() {
    let directory = Directory::new("links");
    fs::create_dir_all(directory.0.join("root/etc/apt")).unwrap();
    fs::create_dir(directory.0.join("outside")).unwrap();
    let run = directory.run("apt,fs=rw:root", "");
    let source = directory.source("deb https://a.example x y", None);

    symlink(directory.0.join("outside"), directory.0.join("root/etc/apt/sources.list.d")).unwrap();
    assert!(directory.add(&run, &source).is_err());
    assert_eq!(fs::read_dir(directory.0.join("outside")).unwrap().count(), 0);

    // A link in the place of the file itself is replaced, not followed.
    fs::remove_file(directory.0.join("root/etc/apt/sources.list.d")).unwrap();
    fs::create_dir(directory.0.join("root/etc/apt/sources.list.d")).unwrap();
    fs::write(directory.0.join("outside/file"), "x").unwrap();
    symlink(directory.0.join("outside/file"), directory.0.join("root/etc/apt/sources.list.d/demo.list"))
        .unwrap();
    assert!(directory.add(&run, &source).unwrap().changed);
    assert_eq!(fs::read_to_string(directory.0.join("outside/file")).unwrap(), "x");

    symlink(directory.0.join("outside"), directory.0.join("root/link")).unwrap();
    let escaped = Source { root: Some(directory.path("root/link")), ..source };
    assert_eq!(directory.add(&run, &escaped).unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn seconds() {
    let read = |seconds| duration(seconds, Duration::from_secs(7), "timeout");
    assert_eq!(read(None).unwrap(), Duration::from_secs(7));
    assert_eq!(read(Some(0.5)).unwrap(), Duration::from_millis(500));
    for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert_eq!(read(Some(wrong)).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
