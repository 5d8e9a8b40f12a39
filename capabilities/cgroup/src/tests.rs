//! On a tree of plain files in the form of the kernel's.

use super::*;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Policy, policy};
use group::Version;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

struct Fixture(PathBuf);

impl Fixture {
    fn new(name: &str, files: &[(&str, &str)]) -> Fixture {
        let path = std::env::temp_dir().join(format!("assay-cgroup-{}-{name}", std::process::id()));
        let fixture = Fixture(path);
        std::fs::create_dir_all(&fixture.0).unwrap();
        for (file, content) in files {
            let path = fixture.0.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        fixture
    }

    fn tree(&self) -> Tree {
        Tree::new(&self.0)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(allow: &str, deny: &str) -> Run {
    let mut rules = Policy::default();
    let parse = |text: &str| policy::parse(text, Path::new("/"), &[&Cgroup]).unwrap();
    rules.allow(parse(allow));
    rules.deny(parse(deny));
    Run::new(rules, PathBuf::from("/"))
}

fn value(counters: &Counters, name: &str) -> Option<u64> {
    counters.values.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
}

const WEB: &[(&str, &str)] = &[
    ("cgroup.controllers", "cpu io memory pids\n"),
    ("system.slice/cgroup.controllers", "memory pids\n"),
    ("system.slice/web/cgroup.controllers", "memory pids\n"),
    ("system.slice/web/cgroup.procs", "1\n42\n4194304\n"),
    ("system.slice/web/cpu.stat", "usage_usec 100\nuser_usec 60\nsystem_usec 40\nodd\nneg -1\n"),
    ("system.slice/web/memory.current", "1048576\n"),
    ("system.slice/web/memory.max", "max\n"),
    ("system.slice/web/memory.low", "0\n"),
    ("system.slice/web/memory.swap.current", "0\n"),
    ("system.slice/web/memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n"),
    ("system.slice/web/pids.current", "7\n"),
    ("system.slice/web/pids.max", "max\n"),
    (
        "system.slice/web/io.stat",
        "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 \n254:0 rbytes=1 cost.usage=x\n",
    ),
];

#[test]
fn numbers_of_a_group() {
    let fixture = Fixture::new("numbers", WEB);
    let (run, tree) = (run("cgroup", ""), fixture.tree());
    let part = |part| read(&run, &tree, "system.slice/web", part).unwrap();
    let cpu = &part(Part::Cpu)[0];
    assert_eq!((cpu.values.len(), value(cpu, "usage_usec")), (3, Some(100)));
    let memory = &part(Part::Memory)[0];
    for (name, expected) in [
        ("current", Some(1 << 20)),
        ("max", None),
        ("low", Some(0)),
        ("high", None),
        ("peak", None),
        ("swap_current", Some(0)),
        ("swap_max", None),
        ("oom", Some(3)),
        ("oom_kill", Some(4)),
    ] {
        assert_eq!(value(memory, name), expected, "{name}");
    }
    assert_eq!(memory.values.len(), 5);
    let pids = &part(Part::Pids)[0];
    assert_eq!((value(pids, "current"), value(pids, "max")), (Some(7), None));
    let io = part(Part::Io);
    assert_eq!(io.iter().map(|one| one.device.as_str()).collect::<Vec<_>>(), ["8:16", "8:0", "254:0"]);
    assert_eq!((value(&io[0], "wios"), io[1].values.len(), io[2].values.len()), (Some(353), 0, 1));
}

#[test]
fn what_is_not_there() {
    let fixture = Fixture::new("missing", WEB);
    let (run, tree) = (run("cgroup", ""), fixture.tree());
    for (path, part, words) in [
        ("system.slice/none", Part::Cpu, "No such file"),
        ("/", Part::Memory, "the root group does not have it"),
        ("system.slice", Part::Io, "the controller 'io' is not enabled"),
        ("system.slice", Part::Pids, "the root group"),
    ] {
        let failed = read(&run, &tree, path, part).unwrap_err();
        assert_eq!(failed.code, ErrorCode::NotFound, "{path}");
        assert!(failed.message.contains(words) || path == "system.slice", "{}", failed.message);
    }
    let failed = read(&run, &tree, "system.slice/web/cpu.stat", Part::Cpu).unwrap_err();
    assert_eq!(failed.code, ErrorCode::InvalidArgument);
}

#[test]
fn children_are_sorted_and_granted() {
    let fixture = Fixture::new(
        "children",
        &[
            ("cgroup.controllers", ""),
            ("s/cgroup.controllers", ""),
            ("s/b/x", ""),
            ("s/a/x", ""),
            ("s/secret/x", ""),
        ],
    );
    symlink("a", fixture.0.join("s/link")).unwrap();
    let names = |allow, deny, path| children(&run(allow, deny), &fixture.tree(), path);
    let paths = ["/sys/fs/cgroup/s/a", "/sys/fs/cgroup/s/b"];
    assert_eq!(names("cgroup", "cgroup=s/sec*", "s").unwrap(), paths);
    assert_eq!(names("cgroup=s", "cgroup=s/secret", "/sys/fs/cgroup/s/").unwrap(), paths);
    assert_eq!(names("cgroup", "", "/sys/fs/cgroup").unwrap(), ["/sys/fs/cgroup/s"]);
    assert_eq!(names("cgroup=t", "", "s").unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn links_lead_nowhere() {
    let outside = Fixture::new("outside", WEB);
    let fixture = Fixture::new("links", &[("cgroup.controllers", ""), ("g/cgroup.controllers", "memory")]);
    symlink(&outside.0, fixture.0.join("out")).unwrap();
    symlink(outside.0.join("system.slice/web/memory.current"), fixture.0.join("g/memory.current")).unwrap();
    symlink("g", fixture.0.join("inside")).unwrap();
    let (run, tree) = (run("cgroup", ""), fixture.tree());
    for path in ["out", "out/system.slice", "inside", "g/../out"] {
        assert!(read(&run, &tree, path, Part::Cpu).is_err(), "{path}");
    }
    assert!(read(&run, &tree, "g", Part::Memory).is_err(), "a link was read");
}

#[test]
fn pipes_do_not_block() {
    let fixture = Fixture::new("pipes", &[("cgroup.controllers", "")]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.0.join("cpu.stat"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let failed = read(&run("cgroup", ""), &fixture.tree(), "/", Part::Cpu).unwrap_err();
    assert_eq!(failed.code, ErrorCode::InvalidData);
}

#[test]
fn names_of_paths() {
    for (path, name) in [
        ("system.slice", "system.slice"),
        ("/sys/fs/cgroup/system.slice/", "system.slice"),
        ("/sys/fs/cgroup", "/"),
        ("/sys/fs/cgroup/", "/"),
        (".", "/"),
        ("a/./b/../c", "a/c"),
        ("/sys/../sys/fs/cgroup/a", "a"),
    ] {
        assert_eq!(scope::name(path).unwrap(), name, "{path}");
    }
    for path in [
        "",
        "..",
        "/etc",
        "/sys/fs/cgroup2",
        "a/../..",
        "/sys/fs/cgroup/../cgroup.x",
        "a\0b",
        "/system.slice",
    ] {
        assert_eq!(scope::name(path).unwrap_err().code, ErrorCode::InvalidArgument, "{path}");
    }
}

#[test]
fn scopes() {
    for (pattern, name, matches) in [
        ("system.slice", "system.slice", true),
        ("system.slice", "system.slice/nginx.service", true),
        ("system.slice", "system.slice2", false),
        ("/sys/fs/cgroup/system.slice", "system.slice/x", true),
        ("system.slice/nginx*", "system.slice/nginx.service", true),
        ("system.slice/nginx*", "system.slice/nginx.service/below", true),
        ("system.slice/nginx*", "system.slice", false),
        ("machine.slice", "/", false),
        ("/", "/", true),
        ("/", "machine.slice", true),
    ] {
        let scope = CgroupScope::parse(pattern).unwrap();
        assert_eq!(scope.matches(&Request::Name(name)), matches, "{pattern} on {name}");
    }
    for wrong in ["/etc", "..", "a/../..", "", "a/../b"] {
        assert!(CgroupScope::parse(wrong).is_err(), "{wrong}");
    }
    // The version may be known with any grant, and a deny rule for a part does not take it back.
    assert!(run("cgroup=a", "cgroup=b").check(CGROUP, &Request::Whole).is_ok());
    assert!(run("", "").check(CGROUP, &Request::Whole).is_err());
}

#[test]
fn versions() {
    let version = |name: &str, files: &[(&str, &str)]| Fixture::new(name, files).tree().version();
    assert_eq!(version("v2", WEB).unwrap(), Version::V2);
    let hybrid = [("unified/cgroup.controllers", ""), ("cpu/cgroup.procs", "")];
    assert_eq!(version("hybrid", &hybrid).unwrap(), Version::Hybrid);
    assert_eq!(version("v1", &[("cpu/cgroup.procs", ""), ("cpu/tasks", "")]).unwrap(), Version::V1);
    assert_eq!(version("none", &[("x/y", "")]).unwrap_err().code, ErrorCode::Unsupported);
    assert_eq!(Tree::new("/nowhere").version().unwrap_err().code, ErrorCode::Unsupported);

    let v1 = Fixture::new("v1-group", &[("cpu/cgroup.procs", ""), ("cpu/cpu.stat", "nr_periods 0")]);
    let failed = read(&run("cgroup", ""), &v1.tree(), "cpu", Part::Cpu).unwrap_err();
    assert_eq!(failed.code, ErrorCode::Unsupported);
    assert!(failed.message.contains("version 1"), "{}", failed.message);
}

#[test]
fn process_ids() {
    assert_eq!(parse::processes("1\n42\n0\nx\n\n4194304"), [1, 42, 0, 4_194_304]);
}
