//! Against GNU tar, in both directions, and hostile archives. What scripts see is tested through the
//! executable, in `tests/capability/tar.lua` and `tests/sandbox/tar.lua`.

use crate::archive::{self, Bounds};
use crate::extract::{Extracted, Selection, extract};
use crate::fuzz::{Directory, one, run};
use crate::header::BLOCK;
use crate::writer::{Content, Writer};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run};
use assay_capability_compress::Share;
use assay_capability_compress::codec::Format;
use assay_capability_compress::file::Source;
use assay_capability_fs::{Cancel, enter_directory};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// One entry as raw blocks; the checksum fits.
fn raw(name: &str, kind: u8, target: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    sized(name, kind, target, mode, data, data.len() as u64)
}

fn sized(name: &str, kind: u8, target: &str, mode: u32, data: &[u8], size: u64) -> Vec<u8> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut out = block.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| *length == rest + length.to_string().len()).unwrap();
        data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    raw("pax", b'x', "", 0o644, &data)
}

fn unpack_with(run: &Arc<Run>, data: &[u8], selection: &Selection) -> Result<Extracted, Error> {
    assay_capability_fs::make_directory(run, "in")?;
    let directory = enter_directory(run, Access::Write, "in")?;
    let archive = archive::read(
        data,
        "a.tar",
        Format::of_data(data),
        selection.bounds,
        Share::small(run)?,
        (run, &Cancel::default()),
    )?;
    extract(run, ("a.tar", archive), directory, selection)
}

fn unpack(directory: &Directory, data: &[u8]) -> Result<Extracted, Error> {
    unpack_with(&run(&directory.0, "fs=rw:TMP", ""), data, &Selection::default())
}

/// Every path below a directory: its type and permissions, and its content or what it leads to.
fn tree(root: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    fn walk(root: &Path, directory: &Path, out: &mut BTreeMap<String, (String, Vec<u8>)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let about = path.symlink_metadata().unwrap();
            let mode = about.permissions().mode() & 0o7777;
            if about.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                out.insert(name, ("link".into(), target.to_string_lossy().into_owned().into_bytes()));
            } else if about.is_dir() {
                out.insert(name, (format!("directory {mode:o}"), Vec::new()));
                walk(root, &path, out);
            } else {
                let shown = format!("file {mode:o} {} {}", about.mtime(), about.nlink());
                out.insert(name, (shown, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

fn tar(directory: &Path, args: &[&str]) {
    let output = Command::new("tar").current_dir(directory).args(args).output().expect("GNU tar");
    assert!(output.status.success(), "tar {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tree with everything that all formats can hold; more where `long` says so.
fn sample(root: &Path, long: bool) {
    let write = |name: &str, data: &[u8], mode: u32| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, data).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("empty", b"", 0o644);
    write("bin/tool", &[0xff, 0, 1, 2].repeat(5000), 0o755);
    write("block", &[7; 512], 0o600);
    write("dir with blanks/ünïcode", b"x", 0o644);
    symlink("../bin/tool", root.join("dir with blanks/link")).unwrap();
    std::fs::hard_link(root.join("block"), root.join("other name")).unwrap();
    std::fs::create_dir(root.join("hollow")).unwrap();
    if long {
        write(&format!("{}/{}", "a".repeat(150), "b".repeat(200)), b"long", 0o640);
        symlink("c".repeat(180), root.join("long link")).unwrap();
    }
    std::fs::set_permissions(root.join("hollow"), std::fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn what_gnu_tar_writes_is_unpacked_as_it_was() {
    for format in ["v7", "ustar", "oldgnu", "gnu", "posix"] {
        let directory = Directory::new();
        let source = directory.0.join("source");
        std::fs::create_dir(&source).unwrap();
        sample(&source, !matches!(format, "v7" | "ustar"));
        tar(&directory.0, &["--format", format, "-cf", "a.tar", "-C", "source", "."]);
        let done = unpack(&directory, &std::fs::read(directory.0.join("a.tar")).unwrap())
            .unwrap_or_else(|failure| panic!("{format}: {}", failure.message));
        assert!(done.skipped.is_empty() && done.entries >= 9, "{format}: {done:?}");
        assert_eq!(tree(&directory.0.join("in")), tree(&source), "{format}");
    }
}

#[test]
fn files_with_holes() {
    for args in [
        &["--format=gnu"][..],
        &["--format=posix"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
    ] {
        let directory = Directory::new();
        let source = directory.0.join("source");
        std::fs::create_dir(&source).unwrap();
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(source.join("sparse")).unwrap();
        // More pieces than the first header has room for, a hole at the start and one at the end.
        for n in 1..40_u64 {
            file.write_all_at(format!("piece {n}").as_bytes(), n * 100_000).unwrap();
        }
        file.set_len(5_000_000).unwrap();
        std::fs::write(source.join("after"), b"after").unwrap();
        let mut all = args.to_vec();
        all.extend(["-S", "-cf", "a.tar", "-C", "source", "sparse", "after"]);
        tar(&directory.0, &all);
        unpack(&directory, &std::fs::read(directory.0.join("a.tar")).unwrap())
            .unwrap_or_else(|failure| panic!("{args:?}: {}", failure.message));
        assert!(tree(&directory.0.join("in")) == tree(&source), "{args:?}");
        // The hole stays one, where the file system has holes at all.
        let blocks = |path: &str| std::fs::metadata(directory.0.join(path)).unwrap().blocks();
        assert!(blocks("in/sparse") <= blocks("source/sparse") + 64, "{args:?}");
        let run = run(&directory.0, "fs=rw:TMP", "");
        let source = Source::open(&run, "a.tar").unwrap();
        let watched = (&run, &Cancel::default());
        let archive = archive::read(
            source.input,
            "a.tar",
            None,
            Bounds::default(),
            Share::small(&run).unwrap(),
            watched,
        )
        .unwrap();
        let member = archive::member(&run, ("a.tar", archive), b"sparse", "m", Bounds::default());
        assert!(matches!(member, Ok(archive::Member::Unpacked(5_000_000))));
        assert!(
            std::fs::read(directory.0.join("m")).unwrap()
                == std::fs::read(directory.0.join("in/sparse")).unwrap()
        );
    }
}

async fn create(
    directory: &Directory,
    format: Option<Format>,
    files: &[(&str, Content)],
) -> Result<u64, Error> {
    let run = run(&directory.0, "fs=rw:TMP", "");
    let share = Share::small(&run)?;
    let mut writer = Writer::create(&run, "a.tar", (format, 6), share)?;
    for (name, content) in files {
        let content = match content {
            Content::Data(data) => Content::Data(data.clone()),
            Content::File(path) => Content::File(path.clone()),
            Content::Symlink(target) => Content::Symlink(target.clone()),
            Content::Directory => Content::Directory,
        };
        writer.add(&run, name.as_bytes(), content, (None, Some(1_000_000_000)), &Cancel::default())?;
    }
    writer.finish()
}

#[tokio::test]
async fn gnu_tar_unpacks_what_we_write() {
    let long = format!("{}/{}", "a".repeat(150), "b".repeat(200));
    let target = "c".repeat(180);
    let files = [
        ("./plain", Content::Data(b"text".to_vec())),
        ("dir", Content::Directory),
        ("dir/empty", Content::Data(Vec::new())),
        ("dir/exact", Content::Data(vec![1; 1024])),
        (long.as_str(), Content::Data(vec![9; 100_000])),
        ("link", Content::Symlink(target.clone().into_bytes())),
        ("ünïcode", Content::File("source".into())),
    ];
    for (format, flag) in [
        (None, ""),
        (Some(Format::Gzip), "-z"),
        (Some(Format::Xz), "-J"),
        (Some(Format::Zstd), "--zstd"),
        (Some(Format::Bzip2), "-j"),
    ] {
        let directory = Directory::new();
        std::fs::write(directory.0.join("source"), b"of the host").unwrap();
        let size = create(&directory, format, &files).await.unwrap();
        assert_eq!(std::fs::metadata(directory.0.join("a.tar")).unwrap().len(), size);
        assert!(format.is_some() || size % 10_240 == 0);
        std::fs::create_dir(directory.0.join("out")).unwrap();
        let mut args = vec!["-xf", "a.tar", "-C", "out"];
        args.extend(Some(flag).filter(|flag| !flag.is_empty()));
        tar(&directory.0, &args);
        let out = tree(&directory.0.join("out"));
        assert_eq!(out["plain"], ("file 644 1000000000 1".into(), b"text".to_vec()));
        assert_eq!(out[&long].1.len(), 100_000);
        assert_eq!(out["link"].1, target.as_bytes());
        assert_eq!(out["ünïcode"].1, b"of the host");
        assert_eq!(out["dir/exact"].1.len(), 1024);
        assert!(out["dir"].0.starts_with("directory 755"));
        // And so do we.
        let run = run(&directory.0, "fs=rw:TMP", "");
        unpack_with(&run, &std::fs::read(directory.0.join("a.tar")).unwrap(), &Selection::default()).unwrap();
        assert_eq!(tree(&directory.0.join("in")), out);
    }
}

#[tokio::test]
async fn an_archive_that_is_not_finished_leaves_nothing() {
    let directory = Directory::new();
    let files = [("a", Content::Data(b"x".to_vec())), ("../b", Content::Data(b"x".to_vec()))];
    assert_eq!(create(&directory, None, &files).await.unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn hostile_entries_are_refused_or_left_out() {
    let x = |name: &str, kind: u8, target: &str| raw(name, kind, target, 0o644, b"");
    let hostile: &[(&str, Vec<u8>)] = &[
        ("upwards", raw("../evil", b'0', "", 0o644, b"x")),
        ("upwards within", raw("a/../../evil", b'0', "", 0o644, b"x")),
        ("absolute", raw("/tmp/evil", b'0', "", 0o644, b"x")),
        ("a directory upwards", x("../evil/", b'5', "")),
        ("by a pax header", [pax(&[("path", "../evil")]), raw("fine", b'0', "", 0o644, b"x")].concat()),
        (
            "by a long name",
            [raw("long", b'L', "", 0, b"../evil\0"), raw("fine", b'0', "", 0o644, b"x")].concat(),
        ),
        ("a link upwards", x("link", b'2', "..")),
        ("a link to an absolute path", x("link", b'2', "/etc/passwd")),
        ("a link down and up", x("link", b'2', "d/../..")),
        ("a link by a pax header", [pax(&[("linkpath", "../../x")]), x("d/link", b'2', "fine")].concat()),
        ("a hard link upwards", x("hard", b'1', "../canary")),
        ("a hard link to an absolute path", x("hard", b'1', "/etc/passwd")),
        ("a hard link to nothing", x("hard", b'1', "nothing")),
        ("a hard link to itself", x("hard", b'1', "./hard")),
        ("a device", x("dev", b'3', "")),
        ("another device", x("dev", b'4', "")),
        ("a pipe", x("pipe", b'6', "")),
        ("an unknown type", x("what", b'Z', "")),
        (
            "through a link",
            [x("d/", b'5', ""), x("d/link", b'2', "../d"), raw("d/link/evil", b'0', "", 0o644, b"x")]
                .concat(),
        ),
        ("a hard link to a link", [x("link", b'2', "nothing"), x("hard", b'1', "link")].concat()),
        ("a hard link through a link", [x("link", b'2', "."), x("hard", b'1', "link/x")].concat()),
    ];
    for (what, data) in hostile {
        let directory = Directory::new();
        std::fs::write(directory.0.join("canary"), b"untouched").unwrap();
        let failure = unpack(&directory, data).expect_err(what);
        assert_eq!(failure.code, ErrorCode::InvalidData, "{what}: {}", failure.message);
        assert!(failure.message.contains("a.tar"), "{what}: {}", failure.message);
        let run = run(&directory.0, "fs=rw:TMP", "");
        let mut more = data.clone();
        more.extend(raw("after", b'0', "", 0o644, b"x"));
        let selection = Selection { skip_unsafe: true, ..Selection::default() };
        let done = unpack_with(&run, &more, &selection)
            .unwrap_or_else(|failure| panic!("{what}: {}", failure.message));
        assert_eq!(done.skipped.len(), 1, "{what}: {done:?}");
        assert!(directory.0.join("in/after").is_file(), "{what}");
        assert_eq!(std::fs::read(directory.0.join("canary")).unwrap(), b"untouched", "{what}");
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 2, "{what}");
        one(data);
    }
}

#[test]
fn links_that_were_there_before_lead_nowhere() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.0.join("in")).unwrap();
    std::fs::write(directory.0.join("canary"), b"untouched").unwrap();
    symlink("..", directory.0.join("in/up")).unwrap();
    symlink("../canary", directory.0.join("in/file")).unwrap();
    std::fs::hard_link(directory.0.join("canary"), directory.0.join("in/hard")).unwrap();
    // A file of a link's name, or of a hard link's, takes its place.
    unpack(&directory, &raw("file", b'0', "", 0o644, b"new")).unwrap();
    unpack(&directory, &raw("hard", b'0', "", 0o644, b"new")).unwrap();
    assert_eq!(std::fs::read(directory.0.join("in/file")).unwrap(), b"new");
    assert!(!directory.0.join("in/file").is_symlink());
    for through in ["up/canary", "up/new", "up/in/x"] {
        assert_eq!(
            unpack(&directory, &raw(through, b'0', "", 0o644, b"x")).unwrap_err().code,
            ErrorCode::InvalidData
        );
    }
    assert_eq!(
        unpack(&directory, &raw("hard2", b'1', "up/canary", 0o644, b"")).unwrap_err().code,
        ErrorCode::InvalidData
    );
    assert_eq!(
        unpack(&directory, &raw("up/", b'5', "", 0o755, b"")).unwrap_err().code,
        ErrorCode::InvalidData
    );
    assert_eq!(std::fs::read(directory.0.join("canary")).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 2);
}

#[test]
fn modes_lose_what_gives_power() {
    let directory = Directory::new();
    let data = [
        raw("suid", b'0', "", 0o6755, b"x"),
        raw("sticky/", b'5', "", 0o3777, b""),
        raw("closed/", b'5', "", 0o500, b""),
        raw("closed/inner", b'0', "", 0o400, b"x"),
    ];
    unpack(&directory, &data.concat()).unwrap();
    let mode = |name: &str| {
        std::fs::metadata(directory.0.join("in").join(name)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(mode("suid") & 0o7000, 0);
    assert_eq!(mode("suid") & 0o700, 0o700);
    assert_eq!(mode("sticky") & 0o7000, 0);
    assert_eq!(mode("closed"), 0o500);
    assert_eq!(mode("closed/inner"), 0o400);
    std::fs::set_permissions(directory.0.join("in/closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn the_last_of_a_name_counts() {
    let directory = Directory::new();
    let data = [raw("a", b'0', "", 0o644, b"first"), raw("./a", b'0', "", 0o644, b"second")].concat();
    unpack(&directory, &data).unwrap();
    assert_eq!(std::fs::read(directory.0.join("in/a")).unwrap(), b"second");
    // A file where a directory is, and the other way round.
    let data = [raw("d/x", b'0', "", 0o644, b""), raw("d", b'0', "", 0o644, b"x")].concat();
    assert_eq!(unpack(&directory, &data).unwrap_err().code, ErrorCode::Exists);
    let data = [raw("f", b'0', "", 0o644, b""), raw("f/x", b'0', "", 0o644, b"x")].concat();
    assert_eq!(unpack(&directory, &data).unwrap_err().code, ErrorCode::InvalidData);
}

#[test]
fn deny_rules_hold_within_the_directory() {
    let directory = Directory::new();
    let run = run(&directory.0, "fs=rw:TMP", "fs=write:TMP/in/locked,fs=read:TMP/in/secret");
    let denied = |data: &[u8]| unpack_with(&run, data, &Selection::default()).unwrap_err().code;
    assert_eq!(denied(&raw("locked", b'0', "", 0o644, b"x")), ErrorCode::Denied);
    assert_eq!(denied(&raw("locked/x", b'0', "", 0o644, b"x")), ErrorCode::Denied);
    let skipping = Selection { skip_unsafe: true, ..Selection::default() };
    let skipped = unpack_with(&run, &raw("locked", b'0', "", 0o644, b"x"), &skipping);
    assert_eq!(skipped.unwrap_err().code, ErrorCode::Denied);
    std::fs::write(directory.0.join("in/secret"), b"s").unwrap();
    // A new name would make it readable.
    assert_eq!(denied(&raw("open", b'1', "secret", 0o644, b"")), ErrorCode::Denied);
    assert!(!directory.0.join("in/open").exists());
}

#[test]
fn limits_on_both_sides() {
    let directory = Directory::new();
    let run = run(&directory.0, "fs=rw:TMP", "");
    let data: Vec<u8> = (0..10).flat_map(|n| raw(&format!("f{n}"), b'0', "", 0o644, &[1; 100])).collect();
    let with = |bounds| {
        unpack_with(&run, &data, &Selection { bounds, ..Selection::default() }).map(|done| done.entries)
    };
    assert_eq!(with(Bounds { entries: 10, size: 1000, ratio: 0 }).unwrap(), 10);
    assert_eq!(with(Bounds { entries: 9, size: 1000, ratio: 0 }).unwrap_err().code, ErrorCode::Limit);
    assert_eq!(with(Bounds { entries: 10, size: 999, ratio: 0 }).unwrap_err().code, ErrorCode::Limit);
    // A size that nothing backs up is refused before anything is written.
    let lie = sized("lie", b'0', "", 0o644, b"", 1 << 32);
    let selection =
        Selection { bounds: Bounds { size: 1 << 20, ..Bounds::default() }, ..Selection::default() };
    assert_eq!(unpack_with(&run, &lie, &selection).unwrap_err().code, ErrorCode::Limit);
    assert_eq!(unpack(&directory, &lie).unwrap_err().code, ErrorCode::InvalidData);
    assert!(!directory.0.join("in/lie").exists(), "a half file stays");
    for huge in [
        sized("n", b'L', "", 0, b"", 2 << 20),
        sized("n", b'x', "", 0, b"", 1 << 32),
        sized("n", b'g', "", 0, b"", 2 << 20),
    ] {
        assert_eq!(unpack(&directory, &huge).unwrap_err().code, ErrorCode::Limit);
    }
    let endless = raw("x", b'x', "", 0, b"").repeat(100);
    assert_eq!(unpack(&directory, &endless).unwrap_err().code, ErrorCode::InvalidData);
}

#[test]
fn what_is_damaged_is_refused() {
    let directory = Directory::new();
    let whole = raw("a", b'0', "", 0o644, &[1; 1000]);
    let mut bad_sum = whole.clone();
    bad_sum[0] ^= 1;
    let cases: &[(&str, Vec<u8>)] = &[
        ("empty", Vec::new()),
        ("text", b"this is not an archive, it is a text of some length".repeat(20)),
        ("short", whole[..100].to_vec()),
        ("cut in the data", whole[..700].to_vec()),
        ("a bad checksum", bad_sum),
        ("a pax header at the end", pax(&[("path", "x")])),
        ("a bad pax header", [raw("x", b'x', "", 0, b"99 path=x\n"), whole.clone()].concat()),
        ("a global header with a name", [raw("g", b'g', "", 0, b"10 path=x\n"), whole.clone()].concat()),
        ("a bad pax size", [pax(&[("size", "-1")]), whole.clone()].concat()),
        (
            "a map beyond the end",
            [pax(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "5,1000")]), whole.clone()].concat(),
        ),
        (
            "a map of another length",
            [pax(&[("GNU.sparse.size", "5000"), ("GNU.sparse.map", "0,10")]), whole.clone()].concat(),
        ),
        (
            "a map without an end",
            [pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "5000")]), whole.clone()].concat(),
        ),
    ];
    for (what, data) in cases {
        let failure = unpack(&directory, data).expect_err(what);
        assert_eq!(failure.code, ErrorCode::InvalidData, "{what}: {}", failure.message);
        one(data);
    }
    // GNU tar accepts an archive without the blocks of zeros at its end, and so do we.
    assert!(unpack(&directory, &whole).is_ok());
    // The checksum of the compressed form is checked although the archive ends before it.
    let mut packed =
        assay_capability_compress::codec::Encoder::new(Some(Format::Gzip), 6, usize::MAX, Vec::new())
            .unwrap();
    packed.write_all(&whole).unwrap();
    packed.write_all(&[0; 1024]).unwrap();
    let mut packed = packed.finish().unwrap();
    assert!(unpack(&directory, &packed).is_ok());
    let at = packed.len() - 6;
    packed[at] ^= 1;
    assert_eq!(unpack(&directory, &packed).unwrap_err().code, ErrorCode::InvalidData);
}

#[test]
fn the_size_of_a_pax_header_goes_before_the_one_of_the_header() {
    // Else what one program takes for content is entries for another.
    let hidden = raw("hidden", b'0', "", 0o644, b"x");
    let mut data = pax(&[("size", &hidden.len().to_string())]);
    data.extend(sized("outer", b'0', "", 0o644, &hidden, 0));
    data.extend(raw("after", b'0', "", 0o644, b"y"));
    let directory = Directory::new();
    unpack(&directory, &data).unwrap();
    assert_eq!(std::fs::read(directory.0.join("in/outer")).unwrap(), hidden);
    assert!(!directory.0.join("in/hidden").exists() && directory.0.join("in/after").exists());
}

#[test]
fn a_part_of_an_archive() {
    let directory = Directory::new();
    let run = run(&directory.0, "fs=rw:TMP", "");
    let data =
        ["top/a", "top/b/c", "top/bc", "other/a"].map(|name| raw(name, b'0', "", 0o644, b"x")).concat();
    let selection = Selection { members: vec![b"./top/b/".to_vec()], strip: 1, ..Selection::default() };
    assert_eq!(unpack_with(&run, &data, &selection).unwrap().entries, 1);
    assert!(directory.0.join("in/b/c").exists() && !directory.0.join("in/bc").exists());
    let stripped = Selection { strip: 2, ..Selection::default() };
    assert_eq!(unpack_with(&run, &data, &stripped).unwrap().entries, 1);
    assert!(directory.0.join("in/c").exists());
    // What remains of a name after the strip must stay inside too.
    let up = raw("x/../../y", b'0', "", 0o644, b"x");
    let strip = Selection { strip: 1, ..Selection::default() };
    assert_eq!(unpack_with(&run, &up, &strip).unwrap_err().code, ErrorCode::InvalidData);
    let deep = raw("a/l", b'2', "../x", 0o644, b"");
    assert_eq!(unpack_with(&run, &deep, &strip).unwrap_err().code, ErrorCode::InvalidData);
}

#[test]
fn an_extraction_that_nobody_waits_for_ends() {
    let directory = Directory::new();
    let run = run(&directory.0, "fs=rw:TMP", "");
    let data = raw("a", b'0', "", 0o644, &[1; 1000]);
    let stopped = std::sync::atomic::AtomicUsize::new(0);
    let mut reader = crate::reader::Reader::new(
        data.as_slice(),
        "a.tar",
        Box::new(move |_| match stopped.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(assay_capability_api::error(ErrorCode::Other, "cancelled")),
        }),
    );
    assert!(reader.next().unwrap().is_some());
    assert_eq!(reader.next().unwrap_err().message, "cancelled");
    drop(run);
}

/// A few thousand changes to the seeds, with the checksums made right again: what the fuzzer does at length.
#[test]
fn archives_that_are_nearly_right() {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/tar");
    let mut paths: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let seed = std::fs::read(path).unwrap();
        for _ in 0..150 {
            let mut data = seed.clone();
            for _ in 0..=random(4) {
                let at = random(data.len());
                data[at] = [0, b'/', b'.', b'7', b'0' + random(8) as u8, random(256) as u8][random(6)];
            }
            for block in data.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
            one(&data);
        }
    }
}

#[test]
fn the_seeds_of_the_fuzzer() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/tar");
    let mut count = 0;
    for seed in std::fs::read_dir(&seeds).unwrap_or_else(|failure| panic!("{}: {failure}", seeds.display())) {
        let path = seed.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            continue;
        }
        one(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 10, "only {count} seeds in {}", seeds.display());
}
