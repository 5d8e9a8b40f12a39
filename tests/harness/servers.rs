//! Servers that cases need, each started for its case on free ports and ended with it.

use crate::executable::root;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server and what it tells about itself: `HTTP_PORT` and the like.
pub struct Server {
    child: Child,
    pub values: BTreeMap<String, String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server by its name, with a folder for its files.
///
/// # Errors
/// When there is no such server, or it does not come up.
pub fn start(name: &str, folder: &Path) -> Result<Server, String> {
    let folder = folder.join(format!(".{name}"));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let script = root().join("tests/servers").join(format!("{name}_server.py"));
    if !script.is_file() {
        return Err(format!("there is no server '{name}' ({})", script.display()));
    }
    let mut command = Command::new("python3");
    command.arg("-u").arg(script).arg(&folder);
    launch(name, command)
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
    let values = ready
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_uppercase(), value.to_string()))
        .collect();
    Ok(Server { child, values })
}
