//! Files that tell what the capability `os` tells.

use assay_capability_api::{Request, Scope};
use std::path::Path;

/// The machine's name.
const NAME: &[&str] = &["etc/hostname", "sys/kernel/hostname"];
/// The system, its version, and the time since it started. They tell the name no more than a kernel does.
const SYSTEM: &[&str] = &[
    "etc/os-release",
    "lib/os-release",
    "proc/uptime",
    "proc/version",
    "sys/kernel/osrelease",
    "sys/kernel/version",
];

/// What a denial of `os=hostname` or `os=info` takes back of `fs`.
#[derive(Debug)]
pub struct Machine {
    pub name: bool,
    pub system: bool,
}

impl Machine {
    /// For a denial of `os` with this scope.
    pub fn denied(scope: Option<&str>) -> Machine {
        Machine { name: scope != Some("info"), system: scope != Some("hostname") }
    }
}

impl Scope for Machine {
    fn matches(&self, request: &Request<'_>) -> bool {
        let Request::File { path, .. } = request else { return false };
        let is = |files: &[&str]| files.iter().any(|file| path.ends_with(Path::new(file)));
        (self.name && is(NAME)) || (self.system && is(SYSTEM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_capability_api::Access;

    #[test]
    fn files_that_tell_about_the_machine() {
        let matches = |scope, path: &str| {
            Machine::denied(scope).matches(&Request::File { access: Access::Read, path: Path::new(path) })
        };
        for path in ["/etc/hostname", "/proc/sys/kernel/hostname", "/host/proc/sys/kernel/hostname"] {
            assert!(matches(None, path) && matches(Some("hostname"), path) && !matches(Some("info"), path));
        }
        for path in ["/etc/os-release", "/usr/lib/os-release", "/proc/uptime", "/proc/sys/kernel/osrelease"] {
            assert!(matches(None, path) && matches(Some("info"), path) && !matches(Some("hostname"), path));
        }
        assert!(!matches(None, "/srv/hostname") && !matches(None, "/etc/hosts"));
    }
}
