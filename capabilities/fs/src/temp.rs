//! The run's own temporary folder: made when it is first asked for, removed with the run.

use crate::open::unique;
use crate::resolve::{FS, allow, failed};
use assay_capability_api::scope::PathScope;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Request, Rule, Run, Scope, error};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder as something that the run owns: a scope that removes it when it is dropped.
#[derive(Debug)]
struct TempScope {
    scope: PathScope,
    path: PathBuf,
}

impl Scope for TempScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        self.scope.matches(request)
    }

    fn lies_in(&self, root: &Path) -> bool {
        self.path.starts_with(root)
    }
}

impl Drop for TempScope {
    fn drop(&mut self) {
        if std::fs::remove_dir_all(&self.path).is_err() {
            // The script may have taken its own permissions away.
            make_writable(&self.path, 0);
            // What is left then is the system's to clean up.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn make_writable(folder: &Path, depth: usize) {
    let open = std::fs::Permissions::from_mode(0o700);
    if depth > crate::ops::MAX_DEPTH || std::fs::set_permissions(folder, open).is_err() {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path(), depth + 1);
        }
    }
}

fn make_folder(parent: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let path = parent.join(format!("{prefix}{}", unique()));
    DirBuilder::new().mode(0o700).create(&path).map_err(|source| failed(&path.to_string_lossy(), source))?;
    Ok(path)
}

/// Makes a new folder in the run's temporary folder and gives its path.
///
/// # Errors
/// `denied` by a deny rule, or the operating system's.
pub fn temp_folder(run: &Run) -> Result<String, Error> {
    let base = std::env::temp_dir();
    let base = std::fs::canonicalize(&base).map_err(|source| failed(&base.to_string_lossy(), source))?;
    let own = match run.grants.own_path() {
        Some(own) => own,
        None => {
            let path = make_folder(&base, "assay-")?;
            let scope = TempScope { scope: PathScope::new(true, true, path.clone()), path: path.clone() };
            let rule = Rule {
                capability: FS,
                scope: Some(Box::new(scope)),
                text: "the run's temporary folder".into(),
                implied: false,
            };
            // Where another call was first, this rule is dropped, and its folder with it.
            match run.grants.set_own(path.clone(), rule) {
                true => path,
                false => run.grants.own_path().unwrap_or(path),
            }
        }
    };
    allow(run, Access::Write, &own)?;
    let made = make_folder(&own, "")?;
    made.into_os_string().into_string().map_err(|_| {
        error(ErrorCode::InvalidData, "the system's temporary folder has a path that is not UTF-8")
    })
}
