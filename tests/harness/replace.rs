//! Files that replace others: their owners, modes and other names, and what happens when writing fails half-way.

use crate::cgroup;
use assay_tests::executable::{Directory, Finished, path, program, run_in};
use std::fs::Metadata;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::thread;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("owner_and_mode_are_kept", owner_and_mode_are_kept),
    ("other_names_keep_the_old_content_and_that_is_said", other_names_keep_the_old_content_and_that_is_said),
    ("a_copy_is_written_into_a_file_with_other_names", a_copy_is_written_into_a_file_with_other_names),
    ("a_full_disk_keeps_what_was_there", a_full_disk_keeps_what_was_there),
    ("what_is_mounted_over_a_file_is_written_into", what_is_mounted_over_a_file_is_written_into),
    (
        "a_directory_that_is_closed_is_no_obstacle_to_a_copy",
        a_directory_that_is_closed_is_no_obstacle_to_a_copy,
    ),
    (
        "an_owner_that_cannot_be_kept_is_told_and_its_group_gets_no_more_than_all",
        an_owner_that_cannot_be_kept_is_told_and_its_group_gets_no_more_than_all,
    ),
];

/// Each replaces the file `FILE`, which is a tar archive that is compressed, as a whole; some by an address of a server.
const REPLACEMENTS: &[(&str, &str)] = &[
    ("fs.sub_in_file", "fs.sub_in_file(FILE, '^.', '%0%0')"),
    ("fs.copy", "fs.copy('source', FILE)"),
    ("tar.create", "tar.create(FILE, { a = 'b' })"),
    ("compress.pack_file", "compress.pack_file('source', FILE, { format = 'gz' })"),
    ("compress.unpack_file", "compress.unpack_file('source.gz', FILE)"),
    ("compress.untar", "compress.untar('source.tar', FILE, { member = 'a' })"),
    ("http.download", "http.download(ADDRESS, FILE)"),
];

/// A server that answers one request after the other, as long as the test runs.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnew");
        }
    });
    format!("http://{address}/")
}

/// Runs one of the replacements of the file `old`, which `prepare` has made its own of.
fn replace(directory: &Directory, code: &str, address: &str) -> Finished {
    let script = format!(
        "local FILE, ADDRESS = 'old', '{address}'\n\
         compress.pack_file('source', 'source.gz') tar.create('source.tar', {{ a = 'b' }})\n{code}"
    );
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let done =
        run_in(directory, &["exec", "--allow", "fs=rw:.", "--allow", &format!("http={host}"), "-e", &script]);
    assert_eq!(done.code, Some(0), "{code}: {}", done.stderr);
    done
}

fn prepared() -> Directory {
    let directory = Directory::new();
    directory.write("old", "old content");
    directory.write("source", "new content");
    directory
}

fn about(directory: &Directory, name: &str) -> Metadata {
    std::fs::symlink_metadata(directory.path().join(name)).expect("it is there")
}

fn mode(directory: &Directory, name: &str, mode: u32) {
    let path = directory.path().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn owner_and_mode_are_kept() {
    let address = server();
    for (name, code) in REPLACEMENTS {
        let directory = prepared();
        let is_root = about(&directory, "old").uid() == 0;
        // Who is not root can give nothing away, and keeps what is theirs.
        if is_root {
            chown(directory.path().join("old"), Some(1234), Some(4321)).expect("root may");
        }
        mode(&directory, "old", 0o640);
        mode(&directory, "source", 0o604);
        let before = about(&directory, "old");
        let done = replace(&directory, code, &address);
        let after = about(&directory, "old");
        assert_ne!(before.ino(), after.ino(), "{name}");
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()), "{name}");
        // A copy has the mode of what it is a copy of.
        let expected = if *name == "fs.copy" { 0o604 } else { 0o640 };
        assert_eq!(after.mode() & 0o7777, expected, "{name}: {:o}", after.mode());
        assert_eq!(done.stderr, "", "{name}");
        let names: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").flatten().collect();
        assert_eq!(names.len(), 4, "{name}: {names:?}");
    }
}

fn other_names_keep_the_old_content_and_that_is_said() {
    let address = server();
    for (name, code) in REPLACEMENTS.iter().filter(|(name, _)| *name != "fs.copy") {
        let directory = prepared();
        std::fs::hard_link(directory.path().join("old"), directory.path().join("other"))
            .expect("it can be made");
        let done = replace(&directory, code, &address);
        assert!(done.stderr.contains("old had 1 other name (a hard link)"), "{name}: {}", done.stderr);
        assert_eq!(
            std::fs::read(directory.path().join("other")).expect("it is there"),
            b"old content",
            "{name}"
        );
        assert_ne!(about(&directory, "old").ino(), about(&directory, "other").ino(), "{name}");
    }
}

fn a_copy_is_written_into_a_file_with_other_names() {
    let directory = prepared();
    std::fs::hard_link(directory.path().join("old"), directory.path().join("other")).expect("it can be made");
    mode(&directory, "source", 0o600);
    let done = replace(&directory, "fs.copy('source', FILE)", "http://127.0.0.1:1/");
    assert_eq!(done.stderr, "");
    assert_eq!(std::fs::read(directory.path().join("other")).expect("it is there"), b"new content");
    assert_eq!(about(&directory, "other").mode() & 0o7777, 0o600);
}

fn a_full_disk_keeps_what_was_there() {
    let directory = Directory::new();
    directory.write("small/.keep", "");
    let done = cgroup::run(
        &directory,
        "mount -t tmpfs -o size=64k none \"$TMP/small\"",
        "fs=rw:.",
        r#"
        local large = {}
        for n = 1, 20000 do large[n] = crypto.hash(tostring(n), "sha256") end
        large = table.concat(large)
        fs.write("large", large)
        tar.create("large.tar", { ["new"] = large })
        compress.pack_file("large", "large.gz")
        fs.write("small/old", "old")
        fs.chmod("small/old", "640")
        for name, call in pairs({
          ["fs.copy"] = function(to) fs.copy("large", to) end,
          ["fs.sub_in_file"] = function(to) fs.sub_in_file(to, "old", large) end,
          ["tar.create"] = function(to) tar.create(to, { a = large }) end,
          ["compress.pack_file"] = function(to) compress.pack_file("large", to, { format = "gz" }) end,
          ["compress.unpack_file"] = function(to) compress.unpack_file("large.gz", to) end,
          ["compress.untar"] = function(to) compress.untar("large.tar", to, { member = "new" }) end,
        }) do
          local ok, err = pcall(call, "small/old")
          assert.eq(ok, false, name)
          assert.eq(err.errno, 28, name .. ": " .. err.message)
          assert.eq(fs.read("small/old"), "old")
          assert.eq(fs.stat("small/old").permissions, "640")
          if name ~= "fs.sub_in_file" then
            assert.eq(pcall(call, "small/new"), false, name)
          end
          assert.eq(#fs.list("small"), 1, name)
        end
        tar.create("old.tar", { ["old"] = large })
        for _, archive in ipairs({ "large.tar", "old.tar" }) do
          assert.eq(pcall(tar.extract, archive, "small"), false)
          assert.eq(#fs.list("small"), 1)
          assert.eq(fs.read("small/old"), "old")
        end
        -- There is room for what fits.
        assert.eq(fs.copy("small/old", "small/new"), 3)
        "#,
    );
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

fn what_is_mounted_over_a_file_is_written_into() {
    let directory = prepared();
    directory.write("under", "under");
    let done = cgroup::run(
        &directory,
        "mount --bind \"$TMP/old\" \"$TMP/under\"",
        "fs=rw:.",
        r#"
        assert.eq(fs.copy("source", "under"), 11)
        assert.eq(fs.read("under"), "new content")
        assert.eq(fs.read("old"), "new content")
        local ok, err = pcall(fs.sub_in_file, "under", "new", "newer")
        assert.eq(ok, false)
        assert.contains(err.message, "it is a mount point")
        assert.contains(err.message, "fs.write")
        assert.eq(fs.read("under"), "new content")
        assert.eq(#fs.list("."), 4)
        "#,
    );
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

/// Runs a script as somebody who has no rights beyond those of an owner of files.
fn without_privileges(directory: &Directory, script: &str) -> Finished {
    let args = ["exec", "--allow", "fs=rw:.", "-e", script];
    if about(directory, ".").uid() != 0 {
        return run_in(directory, &args);
    }
    let mut command = program("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(path()).args(args);
    command
        .current_dir(directory.path())
        .output()
        .expect("setpriv can be started (Debian: util-linux)")
        .into()
}

fn a_directory_that_is_closed_is_no_obstacle_to_a_copy() {
    let directory = prepared();
    directory.write("closed/file", "a longer old content");
    mode(&directory, "closed/file", 0o604);
    mode(&directory, "source", 0o640);
    mode(&directory, "closed", 0o500);
    let script = r#"
        assert.eq(fs.copy("source", "closed/file"), 11)
        assert.eq(fs.read("closed/file"), "new content")
        assert.eq(fs.stat("closed/file").permissions, "640")
        assert.eq(select(2, pcall(fs.copy, "source", "closed/new")).code, "permission")
        fs.chmod("closed/file", "400")
        assert.eq(select(2, pcall(fs.copy, "source", "closed/file")).code, "permission")
    "#;
    let done = without_privileges(&directory, script);
    mode(&directory, "closed", 0o700);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

fn an_owner_that_cannot_be_kept_is_told_and_its_group_gets_no_more_than_all() {
    let directory = prepared();
    let own = about(&directory, "old");
    // Only root can make a file that is another's; for others the file stays their own, and nothing is said.
    let is_root = own.uid() == 0;
    if is_root {
        chown(directory.path().join("old"), Some(1234), Some(4321)).expect("root may");
    }
    mode(&directory, "old", 0o664);
    let done = without_privileges(&directory, "fs.sub_in_file('old', 'old', 'new')");
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let after = about(&directory, "old");
    assert_eq!((after.uid(), after.gid()), (own.uid(), own.gid()));
    assert_eq!(after.mode() & 0o7777, if is_root { 0o644 } else { 0o664 }, "{:o}", after.mode());
    assert_eq!(done.stderr.contains("old belonged to 1234:4321 and now to 0:0"), is_root, "{}", done.stderr);
}
