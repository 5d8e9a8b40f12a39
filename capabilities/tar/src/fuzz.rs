//! What the fuzz target `tar` runs: unpack anything, then look whether it stayed where it belongs.

use crate::archive::{self, Bounds};
use crate::extract::{self, Selection};
use crate::reader::{Piece, Reader};
use assay_capability_api::{Access, Policy, Run, policy};
use assay_capability_compress::Share;
use assay_capability_compress::codec::Format;
use assay_capability_fs::{Cancel, Fs, enter_directory};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A run with these grants, `TMP` in them standing for `directory`.
pub(crate) fn run(directory: &Path, allow: &str, deny: &str) -> Arc<Run> {
    let rules = |text: &str| {
        let text = text.replace("TMP", &directory.to_string_lossy());
        policy::parse(&text, directory, &[&Fs]).unwrap_or_else(|failure| panic!("{failure}"))
    };
    let mut grants = Policy::default();
    grants.allow(rules(allow));
    grants.deny(rules(deny));
    Arc::new(Run::new(grants, directory.to_path_buf()))
}

/// A directory that is removed when dropped.
pub(crate) struct Directory(pub PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let base = std::fs::canonicalize(std::env::temp_dir()).unwrap_or_else(|_| PathBuf::from("/tmp"));
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("assay-tar-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap_or_else(|failure| panic!("{}: {failure}", path.display()));
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bounds that one input of the fuzzer may not pass.
const BOUNDS: Bounds = Bounds { entries: 200, size: 1 << 20, ratio: 1000 };

/// Unpacks `data` and checks the result.
///
/// # Panics
/// When something lies where or as it must not.
pub fn one(data: &[u8]) {
    read_only(data);
    let directory = Directory::new();
    let inside = directory.0.join("in");
    let canary = directory.0.join("canary");
    std::fs::create_dir(&inside).unwrap_or_else(|failure| panic!("{failure}"));
    std::fs::write(&canary, b"untouched").unwrap_or_else(|failure| panic!("{failure}"));
    let run = run(&directory.0, "fs=rw:TMP", "");
    let selection = Selection { bounds: BOUNDS, skip_unsafe: true, ..Selection::default() };
    let opened =
        enter_directory(&run, Access::Write, "in").unwrap_or_else(|failure| panic!("{}", failure.message));
    if let Ok(share) = Share::small(&run)
        && let Ok(archive) =
            archive::read(data, "fuzz", Format::of_data(data), BOUNDS, share, (&run, &Cancel::default()))
    {
        // Failing is fine.
        let _ = extract::extract(&run, ("fuzz", archive), opened, &selection);
    }
    assert_eq!(std::fs::read(&canary).ok().as_deref(), Some(&b"untouched"[..]), "written outside");
    let outside: Vec<_> = std::fs::read_dir(&directory.0).into_iter().flatten().flatten().collect();
    assert_eq!(outside.len(), 2, "made outside: {outside:?}");
    check(&inside, &inside);
}

/// Reads every byte of every entry.
fn read_only(data: &[u8]) {
    let mut reader = Reader::new(data, "fuzz", Box::new(|_| Ok(())));
    let mut total = 0;
    while let Ok(Some(entry)) = reader.next() {
        let mut size = 0;
        let read = reader.content(&entry, &mut |piece| {
            size += match piece {
                Piece::Data(bytes) => bytes.len() as u64,
                Piece::Hole(length) => length,
            };
            Ok(())
        });
        assert!(read.is_err() || entry.target.len() <= 1 << 20, "a target of {} bytes", entry.target.len());
        total += 1;
        assert!(total <= data.len(), "more entries than bytes");
    }
}

fn check(root: &Path, directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(about) = path.symlink_metadata() else { continue };
        let kind = about.file_type();
        let special = kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket();
        assert!(!special, "{}: a special file", path.display());
        if kind.is_symlink() {
            let real = path.canonicalize();
            assert!(
                real.as_ref().map_or(true, |real| real.starts_with(root)),
                "{}: a link out of the directory to {real:?}",
                path.display()
            );
        } else if kind.is_dir() {
            check(root, &path);
        } else {
            assert_eq!(about.mode() & 0o6000, 0, "{}: setuid", path.display());
        }
    }
}
