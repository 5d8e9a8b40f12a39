//! The tests do not depend on what their user has installed or set.

use assay_tests::cases;
use assay_tests::executable::{Directory, root};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] =
    &[("no_setting_of_the_user_reaches_the_tests", no_setting_of_the_user_reaches_the_tests)];

/// Programs that the tests and their servers start.
const PROGRAMS: &[&str] = &[
    "python3",
    "openssl",
    "sh",
    "bash",
    "kill",
    "curl",
    "tar",
    "gzip",
    "xz",
    "zstd",
    "bzip2",
    "nginx",
    "h2load",
    "mariadbd",
    "mariadb",
    "mariadb-install-db",
    "docker-registry",
    "dpkg-deb",
    "unshare",
    "mount",
    "nsenter",
    "perl",
    "sort",
    "cat",
];

/// What programs take settings from, where it is set. `DIR` is a directory that has nothing good in it.
const VARIABLES: &[(&str, &str)] = &[
    ("HOME", "DIR"),
    ("PATH", "DIR/bin"),
    ("PYTHONPATH", "DIR/python"),
    ("PYTHONHOME", "DIR/python"),
    ("PYTHONSTARTUP", "DIR/python/json.py"),
    ("PYTHONUSERBASE", "DIR/.local"),
    ("PYTHONOPTIMIZE", "2"),
    ("VIRTUAL_ENV", "DIR"),
    ("OPENSSL_CONF", "DIR/broken"),
    ("SSL_CERT_FILE", "DIR/broken"),
    ("CURL_HOME", "DIR"),
    ("XDG_CONFIG_HOME", "DIR"),
    ("http_proxy", "http://127.0.0.1:1"),
    ("https_proxy", "http://127.0.0.1:1"),
    ("ALL_PROXY", "http://127.0.0.1:1"),
    ("PGHOST", "DIR"),
    ("PGPORT", "1"),
    ("PGUSER", "nobody"),
    ("PGSERVICEFILE", "DIR/broken"),
    ("MYSQL_HOME", "DIR"),
    ("TAR_OPTIONS", "--broken"),
    ("GZIP", "-broken"),
    ("XZ_DEFAULTS", "--broken"),
    ("BASH_ENV", "DIR/broken"),
    ("ENV", "DIR/broken"),
    ("LC_ALL", "tlh_KX.UTF-8"),
    ("TZ", "Mars/Olympus"),
    ("ASSAY_ALLOW", "fs=rw:/"),
    ("ASSAY_BLOCK_GLOBALS", "print,assert"),
    ("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=DIR/broken"),
];

/// A home in which every program fails, and every module that Python might take from it.
fn hostile() -> Directory {
    let directory = Directory::new();
    for name in PROGRAMS {
        let path = directory.write(&format!("bin/{name}"), "#!/bin/sh\necho the wrong $0 >&2\nexit 97\n");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    }
    let wrong = "raise SystemExit('the wrong module')\n";
    for module in ["websockets/__init__.py", "json.py", "ssl.py", "sitecustomize.py", "usercustomize.py"] {
        directory.write(&format!("python/{module}"), wrong);
        for version in 11..16 {
            directory.write(&format!(".local/lib/python3.{version}/site-packages/{module}"), wrong);
        }
    }
    for file in [".curlrc", ".psqlrc", ".my.cnf", ".netrc", ".bashrc", ".openssl.cnf", "broken"] {
        directory.write(file, "broken = [\n");
    }
    directory
}

/// Runs one case of each server, and one that starts a program, in such an environment.
fn no_setting_of_the_user_reaches_the_tests() {
    let directory = hostile();
    let files = cases::of_directory(&root().join("tests/capability")).expect("the cases can be read");
    let mut chosen: BTreeMap<String, String> = BTreeMap::new();
    for (file, cases) in files {
        for case in cases {
            let name = format!("capability::{file}::{}", case.title.replace(' ', "_"));
            for server in case.servers() {
                chosen.entry(server.into()).or_insert_with(|| name.clone());
            }
            if file == "process" && case.example {
                chosen.entry("a program".into()).or_insert(name);
            }
        }
    }
    assert!(chosen.len() > 8, "{chosen:?}");
    chosen.insert("curl".into(), "serve::curl_speaks_both_versions".into());
    chosen.insert("a terminal".into(), "terminal::the_repl_edits_lines".into());
    let shown = directory.path().display().to_string();
    for (what, name) in chosen {
        let mut tests = Command::new(std::env::current_exe().expect("it runs"));
        tests.args(["--exact", &name, "--test-threads", "1"]).current_dir(directory.path());
        tests.envs(VARIABLES.iter().map(|(variable, value)| (variable, value.replace("DIR", &shown))));
        let done = tests.output().expect("it starts again");
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{what}: {text}{}", String::from_utf8_lossy(&done.stderr));
        assert!(text.contains("1 passed"), "{what}: {name} is no test\n{text}");
    }
}
