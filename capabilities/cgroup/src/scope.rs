//! Names of groups: their paths below /sys/fs/cgroup, and the scopes that are patterns of them.

use crate::ROOT;
use assay_capability_api::scope::{NameScope, normalize};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{GrantError, Request, Scope, error};
use std::path::Path;

/// The name of the root, which is the empty path below it.
pub const ROOT_NAME: &str = "/";

/// `/sys/fs/cgroup/system.slice/x` and `system.slice/x` as `system.slice/x`, the root as `/`: without `.` and `..`, by its text
/// alone.
///
/// # Errors
/// `invalid-argument` where the path is not below /sys/fs/cgroup.
pub fn name(path: &str) -> Result<String, Error> {
    if path.is_empty() || path.contains('\0') {
        let message = "the path of a group is a text without NUL bytes, such as system.slice";
        return Err(error(ErrorCode::InvalidArgument, message));
    }
    // As the root is called in /proc/PID/cgroup.
    if path == ROOT_NAME {
        return Ok(ROOT_NAME.into());
    }
    let absolute = normalize(&Path::new(ROOT).join(path));
    let Ok(below) = absolute.strip_prefix(ROOT) else {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!(
                "{path}: it is not below {ROOT}, where control groups are; write it absolute or relative to that"
            ),
        ));
    };
    match below.to_str() {
        Some("") => Ok(ROOT_NAME.into()),
        Some(name) => Ok(name.into()),
        None => Err(error(ErrorCode::InvalidArgument, format!("{path}: it is not UTF-8"))),
    }
}

/// The name of a group that a script asks for. One with a star could not be granted by itself.
///
/// # Errors
/// `invalid-argument` as for [`name`], and where there is a star.
pub fn asked(path: &str) -> Result<String, Error> {
    let name = name(path)?;
    match name.contains('*') {
        true => Err(error(ErrorCode::InvalidArgument, format!("{path}: no group has a star in its name"))),
        false => Ok(name),
    }
}

/// A group and all below it.
#[derive(Debug)]
pub struct CgroupScope {
    whole: bool,
    group: NameScope,
    below: NameScope,
    denies: bool,
}

impl CgroupScope {
    /// Reads the path of a group, in which a star stands for any characters.
    ///
    /// # Errors
    /// When it is not below /sys/fs/cgroup.
    pub fn parse(text: &str) -> Result<CgroupScope, GrantError> {
        if text.split('/').any(|part| part == "..") {
            return Err(GrantError::new(format!("cgroup={text}: write the path without '..'")));
        }
        // A scope of systemd or fs, or what is no name of a group by the kernel's own habits.
        if text.contains(|c: char| c.is_whitespace() || "?=$\"'~".contains(c))
            || text.split_once(':').is_some_and(|(word, _)| !word.contains(['.', '/', '-']))
        {
            return Err(GrantError::new(format!(
                "cgroup={}: write the path of a group, below /sys/fs/cgroup or absolute, with stars for any characters",
                text.escape_debug()
            )));
        }
        let pattern = match text {
            // As in /proc/PID/cgroup.
            ROOT_NAME => ROOT_NAME.to_string(),
            _ => {
                name(text).map_err(|failed| GrantError::new(format!("cgroup={text}: {}", failed.message)))?
            }
        };
        Ok(CgroupScope {
            whole: pattern == ROOT_NAME,
            group: NameScope::new(pattern.clone()),
            below: NameScope::new(format!("{pattern}/*")),
            denies: false,
        })
    }
}

impl Scope for CgroupScope {
    fn matches(&self, request: &Request<'_>) -> bool {
        match request {
            // A run that may look at any group may know which version there is.
            Request::Whole => !self.denies,
            _ => self.whole || self.group.matches(request) || self.below.matches(request),
        }
    }

    fn widen_for_denial(&mut self) {
        self.denies = true;
    }
}
