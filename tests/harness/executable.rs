//! The built executable and directories to run it in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The root of the project.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The executable under test: `ASSAY_BIN`, or what lies beside the tests.
pub fn path() -> PathBuf {
    match std::env::var_os("ASSAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => root().join("target/debug/assay"),
    }
}

/// A directory with what `cargo xtask setup` fetched.
pub fn tools(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("tools").join(name)
}

/// A directory of one test, removed when it ends.
pub struct Directory(PathBuf);

impl Directory {
    /// # Panics
    /// When it cannot be made.
    #[allow(clippy::new_without_default, reason = "making a directory is not a default value")]
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("assay-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Directory(path.canonicalize().expect("it was just made"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .expect("the directory is writable");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the programs of the tests are: the system's own, whatever else is first on the user's `PATH`.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// `assay` with a clean environment, in a directory.
pub fn assay(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(path());
    command.args(args).current_dir(directory).env_clear().env("PATH", PATH).env("HOME", directory);
    if let Some(value) = std::env::var_os("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", value);
    }
    command.stdin(Stdio::null());
    command
}

/// A program of the system, with a clean environment: no setting of the user's reaches it.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", PATH).env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
    command
}

/// The system's Python with its standard library and nothing that was installed beside it.
pub fn python() -> Command {
    let mut command = program("/usr/bin/python3");
    command.args(["-I", "-S", "-B"]);
    command
}

/// What a finished command printed.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// What a program used that has ended.
pub struct Used {
    /// None where a signal ended it.
    pub code: Option<i32>,
    /// The most memory that it ever had, bytes.
    pub memory: u64,
    /// CPU time of it and of the programs that it waited for.
    pub cpu: Duration,
}

/// Waits for the end of a program.
///
/// # Panics
/// When somebody else has waited for it.
pub fn used(child: Child) -> Used {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the process is a child that nobody has waited for, and both places are ours.
    let usage = unsafe {
        assert!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) > 0);
        usage.assume_init()
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Used {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        memory: usage.ru_maxrss as u64 * 1024,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
    }
}

/// Asks a program to end.
pub fn terminate(child: &Child) {
    // SAFETY: the process is a child that nobody has waited for, so the number is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
}

/// Runs `assay` in a directory of its own.
///
/// # Panics
/// When it cannot be started.
pub fn run(args: &[&str]) -> Finished {
    let directory = Directory::new();
    run_in(&directory, args)
}

/// Runs `assay` in this directory.
///
/// # Panics
/// When it cannot be started.
pub fn run_in(directory: &Directory, args: &[&str]) -> Finished {
    assay(directory.path(), args).output().expect("the executable can be started").into()
}
