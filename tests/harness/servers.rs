//! Servers that cases need, on free ports: each started for its case and ended with it, or, where the script says
//! `SHARED = True`, started once, and told of each case that needs it.

use crate::executable::{python, root, tools};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A running server and what it tells about itself: `HTTP_PORT` and the like.
pub struct Server {
    /// None where it is shared.
    child: Option<Child>,
    pub values: BTreeMap<String, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server of all cases. It ends with this process, which holds its input open.
struct SharedServer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Each behind its own lock, so that one that starts keeps nobody else waiting.
type Slot = Arc<Mutex<Option<SharedServer>>>;
static SHARED: LazyLock<Mutex<BTreeMap<String, Slot>>> = LazyLock::new(Mutex::default);

impl SharedServer {
    /// Tells it of a case.
    fn values(&mut self, name: &str) -> Result<BTreeMap<String, String>, String> {
        let told = self.child.stdin.as_mut().is_some_and(|stdin| writeln!(stdin, "case").is_ok());
        let answer = self.lines.by_ref().find_map(|line| Some(line.ok()?.strip_prefix("READY")?.to_string()));
        match answer {
            Some(answer) if told => Ok(pairs(&answer)),
            _ => {
                let mut text = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut text);
                }
                Err(format!("the server '{name}' does not start, or has ended: {text}"))
            }
        }
    }
}

fn shared(name: &str, mut command: Command) -> Result<Server, String> {
    let slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default().clone();
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server '{name}' does not start: {error}"))?;
        let stdout = child.stdout.take().ok_or("a server without output")?;
        *slot = Some(SharedServer { child, lines: BufReader::new(stdout).lines() });
    }
    let values = slot.as_mut().ok_or("no server")?.values(name);
    if values.is_err() {
        *slot = None;
    }
    Ok(Server { child: None, values: values? })
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_uppercase(), value.to_string()))
        .collect()
}

/// Python with a script, which finds the packages that `cargo xtask setup` fetched.
pub fn isolated(script: &Path) -> Command {
    let mut command = python();
    command.arg("-u").arg(root().join("tests/servers/isolated.py")).arg(tools("python")).arg(script);
    command
}

/// Starts a server by its name, with a directory for its files.
///
/// # Errors
/// When there is no such server, or it does not come up.
pub fn start(name: &str, directory: &Path) -> Result<Server, String> {
    let directory = directory.join(format!(".{name}"));
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let script = root().join("tests/servers").join(format!("{name}_server.py"));
    if !script.is_file() {
        return Err(format!("there is no server '{name}' ({})", script.display()));
    }
    let text = std::fs::read_to_string(&script).map_err(|error| format!("{}: {error}", script.display()))?;
    let mut command = isolated(&script);
    command.arg(&directory);
    match text.lines().any(|line| line == "SHARED = True") {
        true => shared(name, command),
        false => launch(name, command),
    }
}

/// Starts a program that prints `READY name=value ...` when it can be used.
fn launch(name: &str, mut command: Command) -> Result<Server, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the server '{name}' does not start: {error}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let Some(stdout) = child.stdout.take() else { return Err(failed(&"it has no output")) };
    let mut lines = BufReader::new(stdout).lines();
    let ready = lines.by_ref().find_map(|line| line.ok()?.strip_prefix("READY").map(str::to_string));
    let Some(ready) = ready else {
        let mut text = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        return Err(failed(&text));
    };
    // What it prints later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    if let Some(mut stderr) = child.stderr.take() {
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    }
    Ok(Server { child: Some(child), values: pairs(&ready) })
}
