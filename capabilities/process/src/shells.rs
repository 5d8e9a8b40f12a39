//! Programs that run a command line.

use assay_capability_api::{Request, Scope};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Shells by their names; busybox and toybox are shells too.
const NAMES: &[&str] = &[
    "sh",
    "ash",
    "bash",
    "busybox",
    "csh",
    "dash",
    "elvish",
    "fish",
    "ion",
    "ksh",
    "ksh93",
    "loksh",
    "lksh",
    "mksh",
    "nu",
    "oksh",
    "osh",
    "posh",
    "pwsh",
    "rbash",
    "rc",
    "rksh",
    "rzsh",
    "sash",
    "static-sh",
    "tcsh",
    "toybox",
    "xonsh",
    "yash",
    "ysh",
    "zsh",
];

/// What a denial of `shell` takes back of other programs: a shell under any name.
#[derive(Debug)]
pub struct Shells {
    /// The files that are shells here.
    files: Vec<PathBuf>,
}

impl Shells {
    /// Looks at what `/bin/sh` is, and the shells of shells(5).
    pub fn of_this_machine() -> Shells {
        let list = std::fs::read_to_string("/etc/shells").unwrap_or_default();
        let paths = list.lines().map(str::trim).filter(|line| line.starts_with('/')).chain(["/bin/sh"]);
        Shells { files: paths.filter_map(|path| std::fs::canonicalize(path).ok()).collect() }
    }
}

impl Scope for Shells {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::Program { path, real, .. } = *request else { return false };
        let named =
            |path: &Path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| NAMES.contains(&name));
        named(path) || named(real) || self.files.iter().any(|file| file == real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_by_any_name() {
        let shells = Shells::of_this_machine();
        let matches = |path: &str, real: &str| {
            shells.matches(&Request::Program { name: "x", path: Path::new(path), real: Path::new(real) })
        };
        assert!(matches("/usr/bin/bash", "/usr/bin/bash") && matches("/srv/tool", "/bin/busybox"));
        assert!(!matches("/usr/bin/git", "/usr/bin/git"));
        let sh = std::fs::canonicalize("/bin/sh").unwrap();
        assert!(matches("/srv/tool", sh.to_str().unwrap()));
    }
}
