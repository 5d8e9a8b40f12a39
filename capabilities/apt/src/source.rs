//! Adding repositories: their description in /etc/apt/sources.list.d, their key in /etc/apt/keyrings.

use crate::Outcome;
use crate::bindings::assay::host::apt::{Added, Source};
use crate::programs::Root;
use crate::sources_list::Sources;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run, error, io_error};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const ETC_APT: &str = "/etc/apt";
const SOURCES: &str = "sources.list.d";
const KEYRINGS: &str = "keyrings";
/// Bytes of a key, or of a description that is there already.
const MAX_FILE: u64 = 1 << 20;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Readable to the user that apt downloads as.
const READABLE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);
const ENTERABLE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// Names of files that apt reads in these directories, without their ending (sources.list(5)).
///
/// # Errors
/// `invalid-argument` where it is no such name.
pub fn check_id(id: &str) -> Outcome<()> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) && !id.starts_with(['.', '-']) {
        return Ok(());
    }
    let shown: String = id.chars().take(80).flat_map(char::escape_debug).collect();
    Err(error(
        ErrorCode::InvalidArgument,
        format!(
            "id: '{shown}' names no file; it has 1 to 64 letters, digits, '_', '-' and '.', and begins with none of the last two"
        ),
    ))
}

/// An OpenPGP key (RFC 9580) and the ending that apt knows it by.
struct Key {
    bytes: Vec<u8>,
    ending: &'static str,
}

/// Both endings of keys.
const KEY_ENDINGS: [&str; 2] = ["asc", "gpg"];

impl Key {
    fn read(run: &Run, path: &str) -> Outcome<Key> {
        let file = assay_capability_fs::open_read(run, path)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|why| io_error(path, &why))?;
        run.count_bytes(bytes.len())?;
        if bytes.len() as u64 > MAX_FILE {
            let message = format!("{path}: this is not a key, it has more than {MAX_FILE} bytes");
            return Err(error(ErrorCode::InvalidData, message));
        }
        match Key::ending(&bytes) {
            Some(ending) => Ok(Key { bytes, ending }),
            None => Err(error(
                ErrorCode::InvalidData,
                format!("{path}: it is not a public OpenPGP key, neither binary nor in ASCII armour"),
            )),
        }
    }

    /// By the armour's first line, or the tag of the first packet: a public key.
    fn ending(bytes: &[u8]) -> Option<&'static str> {
        const ARMOUR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
        if bytes.trim_ascii_start().starts_with(ARMOUR) {
            return Some("asc");
        }
        let tag = match bytes.first()? {
            old @ 0x80..=0xbf => (old >> 2) & 0x0f,
            new @ 0xc0.. => new & 0x3f,
            _ => return None,
        };
        (tag == 6 && bytes.len() > 8).then_some("gpg")
    }
}

/// A directory of apt's configuration.
struct Directory {
    directory: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory in /etc/apt of this machine or below `root`, and makes it if it is not there. Below another root
    /// no link is followed: one who can write there must not choose where this writes.
    fn open(run: &Run, root: Option<&Root>, name: &str) -> Outcome<Directory> {
        let (mut directory, mut path, below) = match root {
            None => {
                let path = PathBuf::from(ETC_APT);
                let directory = openat(CWD, &path, DIRECTORY, Mode::empty()).map_err(|why| match why {
                    Errno::NOENT => error(
                        ErrorCode::Unsupported,
                        format!("{ETC_APT} does not exist: apt works on Debian and its descendants only"),
                    ),
                    why => failed(&path, why),
                })?;
                (directory, path, vec![name])
            }
            Some(root) => {
                let path = root.path().to_path_buf();
                let shown = path.join("etc/apt").join(name);
                // Without links below the root it is where it is written to be.
                assay_capability_fs::check_written(run, Access::Write, &shown.to_string_lossy())?;
                let directory =
                    root.directory().try_clone().map_err(|why| io_error(&path.to_string_lossy(), &why))?;
                (directory, path, vec!["etc", "apt", name])
            }
        };
        for part in below {
            path.push(part);
            let open =
                |directory: &OwnedFd| openat(directory, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            directory = match open(&directory) {
                Err(Errno::NOENT) => match mkdirat(&directory, part, ENTERABLE) {
                    Ok(()) | Err(Errno::EXIST) => open(&directory),
                    Err(why) => Err(why),
                },
                opened => opened,
            }
            .map_err(|why| failed(&path, why))?;
        }
        Ok(Directory { directory, path })
    }

    fn read(&self, name: &str) -> Outcome<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let path = self.path.join(name);
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            // What is replaced need not be looked at.
            Err(Errno::LOOP) => return Ok(Some(Vec::new())),
            Err(why) => return Err(failed(&path, why)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|why| io_error(&path.display().to_string(), &why))?;
        Ok(Some(bytes))
    }

    /// Makes the file `name` hold `bytes`, as a whole or not at all. Gives whether it did not before.
    fn put(&self, name: &str, bytes: &[u8]) -> Outcome<bool> {
        if self.read(name)?.as_deref() == Some(bytes) {
            return Ok(false);
        }
        let path = self.path.join(name);
        // apt reads no file with a name that begins with a dot.
        let temporary = format!(".assay-{}-{name}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
        let file = openat(&self.directory, &temporary, flags, READABLE).map_err(|why| failed(&path, why))?;
        let write = |mut file: File| -> std::io::Result<()> {
            // Whatever the umask is, others must be able to read it.
            rustix::fs::fchmod(&file, READABLE)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            renameat(&self.directory, &temporary, &self.directory, name)?;
            Ok(())
        };
        match write(File::from(file)) {
            Ok(()) => Ok(true),
            Err(why) => {
                let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
                Err(io_error(&path.display().to_string(), &why))
            }
        }
    }

    /// Removes a file. Gives whether it was there.
    fn remove(&self, name: &str) -> Outcome<bool> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(why) => Err(failed(&self.path.join(name), why)),
        }
    }
}

fn failed(path: &Path, why: Errno) -> Error {
    io_error(&path.display().to_string(), &why.into())
}

/// Puts the files of a repository in place. Files of the same id in the other format go.
///
/// # Errors
/// `invalid-argument` and `invalid-data` before anything is written, `denied`, or the operating system's.
pub fn add(run: &Run, source: &Source, root: Option<&Root>) -> Outcome<Added> {
    let id = &source.id;
    // It becomes part of paths, so it is checked here and not by each caller.
    check_id(id)?;
    let sources = Sources::parse(&source.text)?;
    let key = source.key.as_deref().map(|path| Key::read(run, path)).transpose()?;

    let mut changed = false;
    let mut key_path = None;
    let mut bound_to = None;
    // The key first: a repository without its key would make the next update fail.
    if let Some(key) = &key {
        let directory = Directory::open(run, root, KEYRINGS)?;
        let name = format!("{id}.{}", key.ending);
        changed |= directory.put(&name, &key.bytes)?;
        // As the system itself will see it, which may be another than this machine's.
        bound_to = Some(format!("{ETC_APT}/{KEYRINGS}/{name}"));
        key_path = Some(directory.path.join(name).to_string_lossy().into_owned());
    }
    let directory = Directory::open(run, root, SOURCES)?;
    let name = format!("{id}.{}", sources.format.ending());
    changed |= directory.put(&name, sources.text(bound_to.as_deref()).as_bytes())?;
    changed |= directory.remove(&format!("{id}.{}", sources.format.other().ending()))?;
    if let Some(key) = &key {
        let keyrings = Directory::open(run, root, KEYRINGS)?;
        for ending in KEY_ENDINGS.into_iter().filter(|ending| *ending != key.ending) {
            changed |= keyrings.remove(&format!("{id}.{ending}"))?;
        }
    }
    Ok(Added { changed, list_path: directory.path.join(name).to_string_lossy().into_owned(), key_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for id in ["grafana", "pg-15.x", "A_1", "0"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        let long = "x".repeat(65);
        for id in ["", ".", "..", ".x", "-x", "a/b", "../x", "a b", "ä", "a\n", "a\0", &long] {
            assert_eq!(check_id(id).unwrap_err().code, ErrorCode::InvalidArgument, "{id}");
        }
    }

    #[test]
    fn keys_by_their_first_bytes() {
        for (bytes, ending) in [
            (&b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ"[..], Some("asc")),
            (b"\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n", Some("asc")),
            (b"\x99\x01\x0d\x04abcdefgh", Some("gpg")),
            (b"\x98\x33\x04abcdefgh", Some("gpg")),
            (b"\xc6\x33\x04abcdefgh", Some("gpg")),
            (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", None),
            (b"\x95\x01\x0d\x04abcdefgh", None),
            (b"\x99", None),
            (b"<html>not found</html>", None),
            (b"", None),
        ] {
            assert_eq!(Key::ending(bytes), ending, "{bytes:?}");
        }
    }
}
