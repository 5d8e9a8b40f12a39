//! Names in archives: which of them stay below the directory that is unpacked to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Bytes of a name, as Linux bounds paths.
pub const MAX_NAME: usize = 4096;
/// Directories in directories: each is open while something in it is unpacked.
const MAX_DEPTH: usize = 256;

/// The components of a name; none for the directory itself (`./`).
///
/// # Errors
/// Why it may not be unpacked.
pub fn components(name: &[u8]) -> Result<Vec<&OsStr>, String> {
    if name.is_empty() {
        return Err("the name is empty".into());
    } else if name.contains(&0) {
        return Err("the name holds a NUL byte".into());
    } else if name.len() > MAX_NAME {
        return Err(format!("the name is longer than {MAX_NAME} bytes"));
    } else if name.starts_with(b"/") {
        return Err("the name is absolute".into());
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("the name leads upwards (..)".into()),
            part => parts.push(OsStr::from_bytes(part)),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err(format!("the name leads through more than {MAX_DEPTH} directories"));
    }
    Ok(parts)
}

/// A name in its one spelling, for comparing.
pub fn normal(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Checks where a symbolic link leads that lies `depth` directories below the one that is unpacked to.
///
/// It may go upwards only at its beginning, where the directories are those that it was made in, so that
/// however links lead to links, none leads outside.
///
/// # Errors
/// Why it may not be made.
pub fn check_target(target: &[u8], depth: usize) -> Result<(), String> {
    let shown = String::from_utf8_lossy(target);
    if target.is_empty() || target.contains(&0) || target.len() > MAX_NAME {
        return Err("it is a link that leads nowhere".into());
    } else if target.starts_with(b"/") {
        return Err(format!("it is a link to an absolute path, {shown}"));
    }
    let (mut up, mut down) = (0, false);
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if down => return Err(format!("it is a link that leads down and up again, {shown}")),
            b".." => up += 1,
            _ => down = true,
        }
    }
    if up > depth {
        return Err(format!("it is a link that leads outside, {shown}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below() {
        let count = |name: &str| components(name.as_bytes()).map(|parts| parts.len());
        assert_eq!(count("a"), Ok(1));
        assert_eq!(count("./a//b/./c/"), Ok(3));
        assert_eq!(count("./"), Ok(0));
        assert_eq!(count("..a/b.."), Ok(2));
        for bad in ["", "/", "/a", "..", "../a", "a/../b", "a/..", "./../a", "a\0b"] {
            assert!(count(bad).is_err(), "{bad:?}");
        }
        assert!(count(&"a/".repeat(MAX_DEPTH)).is_ok());
        assert!(count(&"a/".repeat(MAX_DEPTH + 1)).is_err());
        assert!(count(&"a".repeat(MAX_NAME)).is_ok());
        assert!(count(&"a".repeat(MAX_NAME + 1)).is_err());
    }

    #[test]
    fn links_stay_below() {
        for (target, depth, fine) in [
            ("a", 0, true),
            ("a/b", 0, true),
            ("..", 0, false),
            ("..", 1, true),
            ("../../x", 2, true),
            ("../../../x", 2, false),
            ("./.././x", 1, true),
            ("a/..", 5, false),
            ("../a/../..", 5, false),
            ("/etc", 5, false),
            ("", 0, false),
            ("a\0", 0, false),
        ] {
            assert_eq!(check_target(target.as_bytes(), depth).is_ok(), fine, "{target:?} at {depth}");
        }
    }

    #[test]
    fn one_spelling() {
        assert_eq!(normal(b"./a//b/"), b"a/b");
        assert_eq!(normal(b"a/b"), b"a/b");
        assert_eq!(normal(b"./"), b"");
    }
}
