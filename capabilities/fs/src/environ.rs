//! Files of /proc that hold the environment of a process.

use assay_capability_api::{Request, Scope};
use std::path::Path;

/// What a denial of environment variables takes back of `fs`: the environment of any process, and its memory, which holds
/// that too. A file has them all, so it does not matter which variable is meant.
#[derive(Debug)]
pub struct Environ;

impl Scope for Environ {
    fn matches(&self, request: &Request<'_>) -> bool {
        matches!(request, Request::File { path, .. } if holds_environment(path))
    }
}

/// `/proc/PID/environ` and `/proc/PID/task/TID/mem`, wherever /proc is mounted.
fn holds_environment(path: &Path) -> bool {
    let mut parts = path.iter().rev().map(|part| part.to_str().unwrap_or_default());
    let file = parts.next().unwrap_or_default();
    let process = parts.next().unwrap_or_default();
    let is_process = matches!(process, "self" | "thread-self")
        || (!process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()));
    matches!(file, "environ" | "mem") && is_process
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_an_environment() {
        for (path, holds) in [
            ("/proc/self/environ", true),
            ("/proc/thread-self/environ", true),
            ("/proc/1/environ", true),
            ("/proc/12/task/13/environ", true),
            ("/proc/12/mem", true),
            ("/host/proc/1/environ", true),
            ("/proc/self/status", false),
            ("/proc/self/task", false),
            ("/srv/environ", false),
            ("/environ", false),
        ] {
            assert_eq!(holds_environment(Path::new(path)), holds, "{path}");
        }
    }
}
