//! The programs that are compared.

use crate::Result;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Limits that are checked and not reached.
const LIMITS: &[&str] = &["--cpu", "1000s", "--timeout", "1000s"];

/// A program with the arguments that come before the code.
#[derive(Clone)]
pub struct Program {
    pub name: &'static str,
    path: PathBuf,
    args: Vec<String>,
}

impl Program {
    fn at(name: &'static str, path: impl Into<PathBuf>, args: &[&str]) -> Program {
        Program { name, path: path.into(), args: args.iter().map(ToString::to_string).collect() }
    }

    /// The executable under test.
    pub fn assay(options: &[&str]) -> Result<Program> {
        Ok(Program::at("assay", from_environment("ASSAY_BIN")?, &[&["exec"], options, &["-e"]].concat()))
    }

    /// With a CPU and a wall limit, as the targets are meant: both are checked, neither is reached.
    pub fn assay_limited(options: &[&str]) -> Result<Program> {
        Program::assay(&[LIMITS, options].concat())
    }

    /// Another executable of Assay, with the same.
    pub fn assay_limited_at(name: &'static str, path: &Path, options: &[&str]) -> Program {
        Program::at(name, path, &[&["exec"], LIMITS, options, &["-e"]].concat())
    }

    /// Lua by mlua, in `benches/native`.
    pub fn native() -> Result<Program> {
        Ok(Program::at("native mlua", from_environment("ASSAY_BENCH_NATIVE")?, &["-e"]))
    }

    /// Debian's Lua, where it is installed.
    pub fn lua() -> Option<Program> {
        installed("lua5.4").map(|path| Program::at("lua5.4", path, &["-e"]))
    }

    /// The real interpreter, not the script of a version manager that finds it.
    pub fn python() -> Option<Program> {
        let found = installed("python3")?;
        let program = Program::at("python3", found, &["-c"]);
        let real = program.output("import sys; print(sys.executable)").ok()?;
        Some(Program::at("python3", real.trim(), &["-c"]))
    }

    /// Debian's own, which has the modules that its packages install.
    pub fn python_of_debian() -> Option<Program> {
        let path = PathBuf::from("/usr/bin/python3");
        path.is_file().then(|| Program::at("python3", path, &["-c"]))
    }

    pub fn node() -> Option<Program> {
        installed("node").map(|path| Program::at("node", path, &["-e"]))
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The process that runs the code, with nothing to read.
    pub fn command(&self, code: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).arg(code).stdin(Stdio::null());
        command
    }

    fn failed(&self, why: impl std::fmt::Display) -> String {
        format!("{} failed: {why}", self.path.display())
    }

    /// Seconds from the start of the process to its end.
    pub fn lifetime(&self, code: &str) -> Result<f64> {
        let mut command = self.command(code);
        command.stdout(Stdio::null());
        let began = Instant::now();
        let status = command.status().map_err(|error| self.failed(error))?;
        let took = began.elapsed().as_secs_f64();
        if status.success() { Ok(took) } else { Err(self.failed(status)) }
    }

    /// Seconds from the start of the process to the first byte that it prints.
    pub fn until_output(&self, code: &str) -> Result<f64> {
        let mut command = self.command(code);
        command.stdout(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| self.failed(error))?;
        let mut byte = [0];
        let read = child.stdout.as_mut().map(|stdout| stdout.read(&mut byte));
        let took = began.elapsed().as_secs_f64();
        let status = child.wait().map_err(|error| self.failed(error))?;
        match read {
            Some(Ok(1)) if status.success() => Ok(took),
            _ => Err(self.failed(format!("it printed nothing ({status})"))),
        }
    }

    /// What it prints.
    pub fn output(&self, code: &str) -> Result<String> {
        let output =
            self.command(code).stderr(Stdio::inherit()).output().map_err(|error| self.failed(error))?;
        if !output.status.success() {
            return Err(self.failed(output.status));
        }
        String::from_utf8(output.stdout).map_err(|error| self.failed(error))
    }
}

fn from_environment(name: &str) -> Result<PathBuf> {
    match std::env::var_os(name) {
        Some(path) => Ok(path.into()),
        None => {
            Err(format!("${name} is not set; run `cargo xtask bench`, which builds the programs and sets it"))
        }
    }
}

/// Where a program is on the PATH.
pub fn installed(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|directory| directory.join(name)).find(|path| path.is_file())
}
