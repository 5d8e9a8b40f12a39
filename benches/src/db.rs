//! Statements and rows, against the same drivers natively and against python's.

use crate::process::Program;
use crate::report::{Table, ratio, seconds};
use crate::{Effort, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = include_str!("../lua/db.lua");
const PYTHON: &str = include_str!("../peers/db.py");
/// What the scripts print, and what it is.
const PHASES: &[(&str, &str)] = &[
    ("transaction", "10,000 inserts in a transaction"),
    ("autocommit", "10,000 inserts, each by itself"),
    ("select", "100,000 rows of 3 columns read"),
];

/// Seconds by phase.
type Times = BTreeMap<String, f64>;

/// A database, as the scripts need it.
pub struct Database {
    name: &'static str,
    url: String,
    pub grant: String,
    key: &'static str,
    values: &'static str,
    autocommit: bool,
}

impl Database {
    fn lua(&self) -> String {
        let Database { url, key, values, autocommit, .. } = self;
        format!("local URL, ID, VALUES, AUTOCOMMIT = '{url}', '{key}', '{values}', {autocommit}\n{SCRIPT}")
    }

    fn python(&self) -> String {
        let Database { url, key, values, .. } = self;
        let autocommit = if self.autocommit { "True" } else { "False" };
        format!("URL, ID, VALUES, AUTOCOMMIT = '{url}', '{key}', '{values}', {autocommit}\n{PYTHON}")
    }

    /// What is measured, and the seconds of the fastest of `processes` processes of each program, which take turns.
    pub fn fastest(&self, processes: u32, programs: &[&Program]) -> Result<Vec<(String, Vec<f64>)>> {
        let sides: Vec<_> = programs.iter().map(|program| (*program, self.lua())).collect();
        let best = self.run(processes, &sides)?;
        let phases = PHASES.iter().filter(|(phase, _)| best[0].contains_key(*phase));
        Ok(phases
            .map(|(phase, what)| {
                let times = best.iter().map(|times| times.get(*phase).copied().unwrap_or(f64::NAN));
                (format!("{}: {what}", self.name), times.collect())
            })
            .collect())
    }

    /// The least times of each program with its code.
    fn run(&self, processes: u32, sides: &[(&Program, String)]) -> Result<Vec<Times>> {
        let mut best = vec![Times::new(); sides.len()];
        for _ in 0..processes {
            let mut results = Vec::new();
            for (best, (program, code)) in best.iter_mut().zip(sides) {
                let (times, result) = parse(&program.output(code)?)
                    .ok_or_else(|| format!("{}: {} prints no times", self.name, program.name))?;
                results.push(result);
                for (phase, time) in times {
                    let least = best.entry(phase).or_insert(f64::INFINITY);
                    *least = least.min(time);
                }
            }
            if results.iter().any(|result| *result != results[0]) {
                return Err(format!("{}: the programs read different rows: {results:?}", self.name));
            }
        }
        Ok(best)
    }
}

/// A directory for SQLite, and a server of PostgreSQL.
pub struct Servers {
    postgres: Postgres,
    directory: Directory,
}

impl Servers {
    pub fn start() -> Result<Servers> {
        let directory = Directory::new()?;
        Ok(Servers { postgres: Postgres::start(&directory.0)?, directory })
    }

    pub fn databases(&self) -> [Database; 2] {
        let sqlite = format!("sqlite:{}/bench.db", self.directory.0.display());
        [
            Database {
                name: "SQLite",
                grant: format!("db={sqlite}"),
                url: sqlite,
                key: "INTEGER",
                values: "?, ?, ?",
                autocommit: true,
            },
            Database {
                name: "PostgreSQL",
                grant: format!("db=postgres://127.0.0.1:{}", self.postgres.port),
                url: format!("{}?sslmode=disable", self.postgres.url),
                key: "BIGINT",
                values: "$1, $2, $3",
                autocommit: false,
            },
        ]
    }
}

pub fn measure(effort: Effort) -> Result<Table> {
    let servers = Servers::start()?;
    let processes = effort.of(5, 1);
    let (native, python) = (Program::native()?, Program::python_of_debian());
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    for database in servers.databases() {
        let ours = Program::assay_limited(&["--allow", &database.grant])?;
        let mut sides = vec![(&ours, database.lua()), (&native, database.lua())];
        sides.extend(python.as_ref().map(|python| (python, database.python())));
        let best = database.run(processes, &sides)?;
        for (phase, what) in PHASES {
            let (Some(ours), Some(native)) = (best[0].get(*phase), best[1].get(*phase)) else { continue };
            let python = best.get(2).and_then(|python| python.get(*phase));
            rows.push(vec![
                format!("{}: {what}", database.name),
                seconds(*ours),
                seconds(*native),
                python.map(|python| seconds(*python)).unwrap_or_default(),
                ratio(*ours, *native),
                python.map(|python| ratio(*ours, *python)).unwrap_or_default(),
            ]);
        }
    }
    if python.is_none() {
        notes.push("Debian's python3 is not installed here and was left out.".into());
    }
    notes.push(format!(
        "Wall time, the fastest of {processes} processes a side that take turns. SQLite is a file with its write-ahead log, synchronous = NORMAL; \
         PostgreSQL is on 127.0.0.1 without TLS and fsync. Native is the same script by mlua over sqlx 0.9, whose SQLite has a thread of \
         its own; Assay has SQLite's library without sqlx. Lua makes a table of each row by the names of its columns, python a tuple: \
         its sqlite3 module and psycopg2, which sends its parameters within the statement."
    ));
    let head = &["what", "assay", "native mlua, sqlx", "python3", "to native", "to python3"];
    Ok(Table { title: "Databases", head, rows, notes })
}

/// The times that a script prints, and what it read.
fn parse(text: &str) -> Option<(Times, String)> {
    let mut times = Times::new();
    let mut result = None;
    for line in text.lines() {
        let (name, value) = line.split_once(' ')?;
        match name {
            "result" => result = Some(value.to_string()),
            phase => drop(times.insert(phase.into(), value.parse().ok()?)),
        }
    }
    Some((times, result?))
}

/// A directory that goes with this value.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Directory> {
        let path = std::env::temp_dir().join(format!("assay-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The server of the tests, which ends with its input.
struct Postgres {
    child: Child,
    url: String,
    port: u16,
}

impl Postgres {
    fn start(directory: &Path) -> Result<Postgres> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/servers/postgres_server.py");
        let python = Program::python().ok_or("python3 is not installed; it starts PostgreSQL")?;
        let mut child = Command::new(python.path())
            .arg(script)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("PostgreSQL does not start: {error}"))?;
        let asked = child.stdin.as_mut().map(|stdin| stdin.write_all(b"case\n"));
        let mut line = String::new();
        let read = child.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let found = value("pg_url=").zip(value("pg_port=").and_then(|port| port.parse().ok()));
        match (asked, read, found) {
            (Some(Ok(())), Some(Ok(_)), Some((url, port))) => Ok(Postgres { url: url.into(), port, child }),
            _ => Err(format!("PostgreSQL does not start: {line}")),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It takes the server down with it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_print() {
        let (times, result) = parse("transaction 0.5\nselect 1.25\nresult 3/6\n").unwrap_or_default();
        assert_eq!(times.get("select"), Some(&1.25));
        assert_eq!((times.len(), result.as_str()), (2, "3/6"));
        assert!(parse("select soon\nresult 1\n").is_none());
        assert!(parse("select 1\n").is_none());
    }
}
