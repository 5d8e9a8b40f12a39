//! Servers that are measured, each a process that says its port, and their clients.

use crate::Result;
use crate::process::Program;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// A process that listens; it ends with this value.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    /// Closed, it would make the server's next line fail.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a program that prints `READY PORT` when it listens on 127.0.0.1.
    pub fn start(name: &'static str, program: &Program, code: &str) -> Result<Server> {
        Server::spawn(name, program.command(code))
    }

    /// As [`Server::start`].
    pub fn spawn(name: &'static str, mut command: Command) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let Some(output) = child.stdout.take() else { return Err(format!("{name} has no output")) };
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let read = output.read_line(&mut line);
        let port = line.trim().strip_prefix("READY ").and_then(|port| port.parse().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(0)));
        // From here on it ends with the value.
        let server = Server { name, address, child, _output: output };
        match (read, port) {
            (Ok(_), Some(_)) => Ok(server),
            _ => Err(format!("{name} does not say where it listens, but: {}", line.trim())),
        }
    }

    /// The body of the answer to a request, which must be 200.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {method} {path}: {why}", self.name);
        let mut stream = TcpStream::connect(self.address).map_err(|error| failed(&error))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failed(&error))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = Vec::new();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_end(&mut answer))
            .map_err(|error| failed(&error))?;
        let answer = String::from_utf8_lossy(&answer);
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.into()),
            _ => Err(failed(&format!("answered {answer}"))),
        }
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes
            .map(|value| value / 1024.0)
            .ok_or_else(|| format!("{path} has no VmRSS: {} has ended", self.name))
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.child.id());
        Ok(std::fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
