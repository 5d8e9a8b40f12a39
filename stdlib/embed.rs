//! The Lua standard library, embedded. `ASSAY_STDLIB_DIR` names a directory that is read instead, so that
//! a module can be worked on without a build.

use std::borrow::Cow;
use std::path::PathBuf;

/// Path below this directory, and content; sorted by path.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The content of a file of the library by its path, `healthcheck.lua`.
pub fn file(path: &str) -> Option<Cow<'static, [u8]>> {
    if let Some(directory) = std::env::var_os("ASSAY_STDLIB_DIR") {
        return std::fs::read(PathBuf::from(directory).join(path)).ok().map(Cow::Owned);
    }
    let at = FILES.binary_search_by(|(name, _)| (*name).cmp(path)).ok()?;
    Some(Cow::Borrowed(FILES[at].1))
}

/// Paths of all files, sorted.
pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}
