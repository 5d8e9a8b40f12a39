//! Running the package manager's programs.

use crate::Outcome;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Ambient, error, off_thread};
use assay_capability_process::{Command, Finished, Processes};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const APT_GET: &str = "/usr/bin/apt-get";
pub const APT: &str = "/usr/bin/apt";
pub const DPKG_QUERY: &str = "/usr/bin/dpkg-query";

/// Output that is kept of one program: twice what a machine with every package of Debian needs.
const MAX_OUTPUT: usize = 32 << 20;

/// The root directory of another system, held open: absolute, without links.
#[derive(Clone, Debug)]
pub struct Root {
    path: String,
    directory: Arc<OwnedFd>,
}

impl Root {
    /// # Errors
    /// `invalid-argument` where the path could be read as more than a path in apt's configuration.
    pub fn new(path: &str, directory: OwnedFd) -> Outcome<Root> {
        let plain = |c: char| c.is_alphanumeric() || "/._-+@:=,~ ".contains(c);
        if path.starts_with('/') && path.chars().all(plain) {
            return Ok(Root { path: path.trim_end_matches('/').to_string(), directory: Arc::new(directory) });
        }
        let shown = path.escape_debug();
        Err(error(
            ErrorCode::InvalidArgument,
            format!(
                "{shown}: the path of a root directory can hold letters, digits, blanks and /._-+@:=,~ only"
            ),
        ))
    }

    pub fn path(&self) -> &Path {
        Path::new(if self.path.is_empty() { "/" } else { &self.path })
    }

    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Whether its path still leads to it: apt's programs can be given nothing but the path.
    fn check(&self) -> Outcome<()> {
        if assay_capability_fs::path_of(&self.directory).as_deref() == Some(self.path()) {
            return Ok(());
        }
        let message =
            format!("{}: the directory was moved or removed while it was used", self.path().display());
        Err(error(ErrorCode::NotFound, message))
    }

    /// apt's configuration for working on it. The configuration of this machine is left out: it names directories and
    /// commands that are of this machine. So is the root's own, which would name commands for this machine to run.
    fn configuration(&self) -> String {
        let root = &self.path;
        format!(
            "Dir \"{root}/\";\n\
             Dir::State::status \"{root}/var/lib/dpkg/status\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\n\
             DPkg::Options:: \"--root={root}/\";\n"
        )
    }
}

/// A program of the package manager, in its own environment: nothing of the caller's goes on to it.
pub struct Program<'a> {
    pub path: &'static str,
    pub args: Vec<String>,
    pub root: Option<&'a Root>,
    pub timeout: Duration,
}

impl Program<'_> {
    /// Runs it to its end. A status other than 0 is no error.
    ///
    /// # Errors
    /// `unsupported` where there is no such program, else those of [`Command::run`].
    pub async fn run(self, processes: &Processes) -> Outcome<Finished> {
        let path = self.path;
        self.root.map_or(Ok(()), Root::check)?;
        let command = off_thread(move || {
            Command::new(path, &Ambient::default()).map_err(|failed| match failed.code {
                ErrorCode::NotFound => error(
                    ErrorCode::Unsupported,
                    format!("{path} does not exist: apt works on Debian and its descendants only"),
                ),
                _ => failed,
            })
        })
        .await?;
        let mut command = command
            .args(self.args)
            // Maintainer scripts need a usable one, whatever this process was started with.
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("APT_LISTCHANGES_FRONTEND", "none")
            .timeout(Some(self.timeout))
            .max_output(MAX_OUTPUT);
        // A file in memory has no name that somebody could replace before it is read.
        let file = self.root.map(memory_file).transpose()?;
        if let Some(file) = &file {
            let name = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            command = command.env("APT_CONFIG", name);
        }
        let finished = command.run(processes).await;
        drop(file);
        finished
    }
}

fn memory_file(root: &Root) -> Outcome<File> {
    let failed = |why: std::io::Error| {
        assay_capability_api::io_error("making apt's configuration for another root directory", &why)
    };
    let file = memfd_create("assay-apt", MemfdFlags::CLOEXEC).map_err(|why| failed(why.into()))?;
    let mut file = File::from(file);
    file.write_all(root.configuration().as_bytes()).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &str) -> Outcome<Root> {
        Root::new(path, File::open("/").unwrap().into())
    }

    #[test]
    fn roots_are_plain_paths() {
        for path in ["/srv/image", "/", "/a b/ä/x@1:2=3,4~5+6_7-8", "/srv/image/"] {
            assert!(root(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "srv",
            "/a\"; DPkg::Pre-Invoke \"id",
            "/a\nb",
            "/a\\b",
            "/a;b",
            "/a{b}",
            "/a#b",
            "/a\0",
            "/a'b",
        ] {
            let failed = root(path).unwrap_err();
            assert_eq!(failed.code, ErrorCode::InvalidArgument, "{path}");
        }
        assert_eq!(root("/").unwrap().path(), Path::new("/"));
        assert_eq!(root("/srv/image/").unwrap().path(), Path::new("/srv/image"));
    }
}
