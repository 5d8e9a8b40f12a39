//! Scopes that are files and directories: `read:./config`, `rw:/var/lib/app`.

use super::{Access, Request, Scope};
use crate::GrantError;
use std::path::{Component, Path, PathBuf};

/// A directory with all that is under it, or a file.
#[derive(Debug)]
pub struct PathScope {
    /// Looking at the path itself, or listing it, and nothing under it. Reading includes both.
    exact: Option<Access>,
    read: bool,
    write: bool,
    setid: bool,
    /// Written without `read:`, `write:` or `rw:`.
    bare: bool,
    /// Absolute, without `.` and `..`, as it was written.
    path: PathBuf,
    /// The same with symbolic links resolved, as far as it exists.
    real: Option<PathBuf>,
}

impl PathScope {
    /// Reads `[stat:|list:|read:|write:|rw:|setid:]PATH`; a relative path starts at `base`.
    ///
    /// # Errors
    /// When the path is empty.
    pub fn parse(text: &str, base: &Path) -> Result<PathScope, GrantError> {
        let (read, write, path) = match text.split_once(':') {
            Some(("setid" | "stat" | "list", path)) => (false, false, path),
            Some(("read", path)) => (true, false, path),
            Some(("write", path)) => (false, true, path),
            Some(("rw", path)) => (true, true, path),
            _ => (true, false, text),
        };
        let bad = |why: String| {
            GrantError::new(format!(
                "fs={}: {why}; write read:PATH, write:PATH, rw:PATH, list:PATH, stat:PATH or setid:PATH",
                text.escape_debug()
            ))
        };
        let bare = path.len() == text.len();
        let path = read_path(path).map_err(bad)?;
        let exact = [Access::Stat, Access::List]
            .into_iter()
            .find(|access| text.strip_prefix(access.word()).is_some_and(|rest| rest.starts_with(':')));
        let setid = !read && !write && exact.is_none();
        Ok(PathScope { bare, exact, setid, ..PathScope::new(read, write, normalize(&base.join(path))) })
    }

    /// Everything under an absolute path without `.` and `..`.
    pub fn new(read: bool, write: bool, path: PathBuf) -> PathScope {
        let real = real(&path);
        PathScope { exact: None, read, write, setid: false, bare: false, path, real }
    }
}

/// The path of a scope, which is one path as it is: neither a pattern nor a list, and nothing that a shell replaces.
///
/// # Errors
/// What it has that would be part of a name here, and is hardly meant to be. A path that does have it is granted with a
/// directory that it lies in.
pub fn read_path(text: &str) -> Result<&str, String> {
    let word = text.split_once(':').map_or("", |(word, _)| word);
    let marks = ['"', '\''];
    if text.is_empty() {
        Err("a path is missing".into())
    } else if text.contains('\0') {
        Err("no path has a NUL byte".into())
    } else if let Some(rest) = text.strip_prefix('~') {
        let instead = if rest.is_empty() || rest.starts_with('/') {
            format!("; write $HOME{rest}")
        } else {
            String::new()
        };
        Err(format!("the shell does not replace '~' here{instead}"))
    } else if text.starts_with('$') {
        Err("the shell did not replace what begins with '$'; write its value".into())
    } else if text.starts_with(char::is_whitespace) {
        Err("a path does not begin with a blank".into())
    } else if text.len() > 1 && text.starts_with(marks) && text.ends_with(marks) {
        Err("the quotes are part of the path here; write it without them".into())
    } else if text.contains('*') {
        Err("a path has no stars; a directory stands for all that is in it".into())
    } else if !word.is_empty() && !word.contains('/') && !word.starts_with('.') {
        Err(format!("there is no access '{word}' (a path with a colon is ./{text})"))
    } else if ["stat=", "list=", "read=", "write=", "rw=", "setid="].iter().any(|word| text.starts_with(word))
    {
        Err("a colon stands between the access and the path".into())
    } else if text.contains(":/") || text.contains(";/") {
        Err("a rule has one path; write a rule for each".into())
    } else {
        Ok(text)
    }
}

/// The path with links resolved as far as it exists, so that a grant for a file that is yet to be made
/// covers it where it will be.
fn real(path: &Path) -> Option<PathBuf> {
    let existing =
        path.ancestors().find_map(|ancestor| Some((ancestor, std::fs::canonicalize(ancestor).ok()?)));
    let (ancestor, real) = existing?;
    match path.strip_prefix(ancestor) {
        Ok(rest) if rest.as_os_str().is_empty() => Some(real),
        Ok(rest) => Some(real.join(rest)),
        Err(_) => None,
    }
}

impl Scope for PathScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::File { access, path } = request else { return false };
        let granted = match access {
            Access::Stat | Access::List if self.exact >= Some(*access) => {
                return *path == self.path || self.real.as_ref().is_some_and(|real| path == real);
            }
            Access::Stat | Access::List | Access::Read => self.read,
            Access::Write => self.write,
            Access::SetId => self.setid,
        };
        granted
            && (path.starts_with(&self.path) || self.real.as_ref().is_some_and(|real| path.starts_with(real)))
    }

    fn widen_for_denial(&mut self) {
        self.write |= self.bare;
        self.setid |= self.write;
        // Reading what may not even be looked at would tell the same.
        self.read |= self.exact.take().is_some();
    }

    fn places(&self) -> Vec<&Path> {
        std::iter::once(self.path.as_path()).chain(self.real.as_deref()).collect()
    }

    fn lies_in(&self, root: &Path) -> bool {
        self.path.starts_with(root) || self.real.as_ref().is_some_and(|real| real.starts_with(root))
    }
}

/// An absolute path without `.` and `..`, by its text alone: links are not looked at.
pub fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_covers_what_is_under_it() {
        let scope = PathScope::parse("rw:data", Path::new("/srv/app")).unwrap();
        for (path, matches) in [
            ("/srv/app/data", true),
            ("/srv/app/data/x/y", true),
            ("/srv/app/database", false),
            ("/srv/app", false),
            ("/srv/app/data/../secret", true), // requests are normalised before they are matched
        ] {
            let request = Request::File { access: Access::Write, path: Path::new(path) };
            assert_eq!(scope.matches(&request), matches, "{path}");
        }
    }

    #[test]
    fn looking_is_part_of_reading_and_about_one_path() {
        let asks = |scope: &PathScope, access, path: &str| {
            scope.matches(&Request::File { access, path: Path::new(path) })
        };
        let mut scope = PathScope::parse("stat:data", Path::new("/srv")).unwrap();
        assert!(asks(&scope, Access::Stat, "/srv/data"));
        for (access, path) in [
            (Access::Stat, "/srv/data/x"),
            (Access::Stat, "/srv"),
            (Access::Read, "/srv/data"),
            (Access::Write, "/srv/data"),
            (Access::SetId, "/srv/data"),
        ] {
            assert!(!asks(&scope, access, path), "{access:?} {path}");
        }
        let list = PathScope::parse("list:data", Path::new("/srv")).unwrap();
        assert!(asks(&list, Access::List, "/srv/data") && asks(&list, Access::Stat, "/srv/data"));
        assert!(!asks(&list, Access::List, "/srv/data/x") && !asks(&list, Access::Read, "/srv/data"));
        assert!(!asks(&scope, Access::List, "/srv/data"));
        scope.widen_for_denial();
        assert!(asks(&scope, Access::Stat, "/srv/data/x") && asks(&scope, Access::Read, "/srv/data"));
        assert!(!asks(&scope, Access::Write, "/srv/data"));
        for (text, looks) in [("/srv", true), ("rw:/srv", true), ("write:/srv", false), ("setid:/srv", false)]
        {
            let scope = PathScope::parse(text, Path::new("/")).unwrap();
            assert_eq!(asks(&scope, Access::Stat, "/srv/data"), looks, "{text}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        for text in [
            "",
            "read:",
            "rx:.",
            "r:/x",
            "ro:/x",
            "Read:/x",
            "read+write:/x",
            "~",
            "~/x",
            "rw:~/x",
            "a\0b",
            "read:rx:.",
            "a b:c",
            "~x",
            "1:2",
            "/a/*",
            "read:read:/x",
            " /x",
            "read: /x",
            "$X",
            "read:$X",
            "'/x'",
            "/a:/b",
            "/a;/b",
            "read=/x",
        ] {
            assert!(PathScope::parse(text, Path::new("/")).is_err(), "{text}");
        }
        for text in ["./rx:.", "/a:b", "read:./rx:.", "./a b:c", "./~x", "x/~", "./$X", "/a b"] {
            assert!(PathScope::parse(text, Path::new("/")).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_bare_path_means_read() {
        let scope = PathScope::parse("/data", Path::new("/")).unwrap();
        let path = Path::new("/data/x");
        assert!(scope.matches(&Request::File { access: Access::Read, path }));
        assert!(!scope.matches(&Request::File { access: Access::Write, path }));
    }

    #[test]
    fn a_bare_path_that_is_denied_means_both() {
        let mut scope = PathScope::parse("/data", Path::new("/")).unwrap();
        scope.widen_for_denial();
        let path = Path::new("/data/x");
        assert!(scope.matches(&Request::File { access: Access::Read, path }));
        assert!(scope.matches(&Request::File { access: Access::Write, path }));
        let mut scope = PathScope::parse("read:/data", Path::new("/")).unwrap();
        scope.widen_for_denial();
        assert!(!scope.matches(&Request::File { access: Access::Write, path }));
    }

    #[test]
    fn normalising_removes_dots() {
        assert_eq!(normalize(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(normalize(Path::new("/../../x")), Path::new("/x"));
    }
}
