//! Requests from wrk: one thread, connections that are kept.

use crate::Result;
use crate::process::installed;
use crate::report::quantile;
use crate::server::Server;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub path: &'a str,
    /// A script of `benches/load`.
    pub script: Option<&'a str>,
    pub connections: u32,
    pub seconds: u64,
}

/// wrk at work; it ends with this value.
pub struct Running(Child);

/// What it measured. Times are seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// A second.
    pub requests: f64,
    pub median: f64,
    pub p99: f64,
    /// Requests in all.
    pub count: f64,
    /// Answers that are not 2xx or 3xx.
    pub refused: f64,
    /// MiB that the server had half-way.
    pub resident: f64,
}

impl Load<'_> {
    pub fn start(&self, server: &Server) -> Result<Running> {
        let wrk = installed("wrk").ok_or("wrk is not installed (Debian: apt-get install wrk)")?;
        let mut command = Command::new(wrk);
        command.args(["-t1", "--latency"]);
        command.arg(format!("-c{}", self.connections)).arg(format!("-d{}s", self.seconds));
        if let Some(script) = self.script {
            command.arg("-s").arg(format!("{}/load/{script}", env!("CARGO_MANIFEST_DIR")));
        }
        command.arg(format!("http://{}{}", server.address, self.path));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        child.map(Running).map_err(|error| format!("wrk does not start: {error}"))
    }

    /// Every answer must be 2xx or 3xx.
    pub fn measure(&self, server: &Server) -> Result<Measured> {
        let running = self.start(server)?;
        std::thread::sleep(Duration::from_secs(self.seconds) / 2);
        let resident = server.resident()?;
        let measured = running.finish()?;
        if measured.refused > 0.0 || measured.count == 0.0 {
            return Err(format!("{} did not answer well: {measured:?}", server.name));
        }
        Ok(Measured { resident, ..measured })
    }
}

impl Running {
    /// Waits for its end.
    pub fn finish(mut self) -> Result<Measured> {
        let mut text = String::new();
        let read = self.0.stdout.take().map(|mut stdout| stdout.read_to_string(&mut text));
        let status = self.0.wait().map_err(|error| format!("wrk: {error}"))?;
        match (read, parse(&text)) {
            (Some(Ok(_)), Some(measured)) if status.success() => Ok(measured),
            _ => Err(format!("wrk failed ({status}): {text}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What wrk prints.
fn parse(text: &str) -> Option<Measured> {
    let after = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    Some(Measured {
        requests: after("Requests/sec:")?.trim().parse().ok()?,
        median: time(after("50%")?.trim())?,
        p99: time(after("99%")?.trim())?,
        count,
        refused: after("Non-2xx or 3xx responses:").map_or(Some(0.0), |text| text.trim().parse().ok())?,
        resident: 0.0,
    })
}

/// `1.25ms` in seconds.
fn time(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// The median of each figure.
pub fn median(rounds: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| quantile(&mut rounds.iter().map(figure).collect::<Vec<_>>(), 0.5);
    Measured {
        requests: of(|round| round.requests),
        median: of(|round| round.median),
        p99: of(|round| round.p99),
        count: of(|round| round.count),
        refused: of(|round| round.refused),
        resident: of(|round| round.resident),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints() {
        let text = "Running 2s test @ http://127.0.0.1:80/\n  1 threads and 16 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
                    Latency   700.00us    0.50ms  20.00ms   99.00%\n    Req/Sec    22.00k     1.00k   24.00k    75.00%\n  Latency Distribution\n     \
                    50%  650.00us\n     75%  700.00us\n     90%    1.00ms\n     99%    1.25ms\n  44000 requests in 2.00s, 5.00MB read\n  \
                    Socket errors: connect 0, read 1, write 0, timeout 0\n  Non-2xx or 3xx responses: 7\nRequests/sec:  22000.50\nTransfer/sec:      2.50MB\n";
        let expected = Measured {
            requests: 22000.5,
            median: 650e-6,
            p99: 1.25e-3,
            count: 44000.0,
            refused: 7.0,
            resident: 0.0,
        };
        let measured = parse(text).unwrap_or_default();
        assert!((measured.median - expected.median).abs() < 1e-9);
        assert_eq!(Measured { median: expected.median, ..measured }, expected);
        assert_eq!(parse("unable to connect"), None);
    }
}
