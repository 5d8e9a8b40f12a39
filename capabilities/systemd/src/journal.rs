//! The journal, by journalctl: which entries, and their way to the guest.
//!
//! journalctl writes one JSON object per line. They go on as they are; the guest reads them.

use crate::moment::moment;
use crate::name;
use crate::scope::{check_machine, check_unit, check_whole};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, HandleGuard, Run, error, io_error, off_thread};
use assay_capability_process::stream::{self, Stream};
use assay_capability_process::{Child, Executable, Processes, Start};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries that are given where the script does not say how many.
const DEFAULT_LINES: u32 = 1000;
/// Entries of one call, at most.
const MAX_LINES: u32 = 100_000;
/// An entry that is longer is left out: any process of the machine can write one of hundreds of megabytes.
const MAX_ENTRY: usize = 1 << 20;
/// Bytes that one pull gives at most, unless one entry alone is longer.
const BATCH: usize = 64 << 10;
/// What is kept of journalctl's complaints.
const MAX_ERRORS: usize = 4 << 10;
/// How long a journalctl that has closed its output may take to end.
const END: Duration = Duration::from_secs(10);

/// What is in a cursor besides letters and digits.
const CURSOR: &str = ";=-_";
const JOURNALCTL: &str = "journalctl";

/// The names of priorities, most urgent first (syslog(3)).
const PRIORITIES: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Which entries.
#[derive(Debug, Default)]
pub struct Query {
    pub unit: Option<String>,
    pub machine: Option<String>,
    pub identifier: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub lines: Option<u32>,
    pub priority: Option<String>,
    pub boot: bool,
    pub after: Option<String>,
    pub directory: Option<String>,
    pub follow: bool,
}

fn invalid(message: String) -> Error {
    error(ErrorCode::InvalidArgument, format!("systemd.journal: {message}"))
}

fn priority(text: &str) -> Result<(), Error> {
    let known = |one: &str| PRIORITIES.contains(&one) || matches!(one.as_bytes(), [b'0'..=b'7']);
    let fits = match text.split_once("..") {
        Some((from, to)) => known(from) && known(to),
        None => known(text),
    };
    match fits {
        true => Ok(()),
        false => Err(invalid(format!(
            "{text:?} is not a priority; there are 0 to 7, {} and ranges such as \"err..warning\"",
            PRIORITIES.join(", ")
        ))),
    }
}

/// A value that journalctl gets as it is, behind `=`.
fn value(field: &str, text: &str, extra: &str) -> Result<(), Error> {
    let fits = !text.is_empty()
        && text.len() <= 256
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
    match fits {
        true => Ok(()),
        false => Err(invalid(format!("{field} cannot be {text:?}"))),
    }
}

impl Query {
    /// Checks the values and writes names in full.
    fn check(&mut self) -> Result<(), Error> {
        if let Some(unit) = &mut self.unit {
            *unit = name::unit(unit)?;
        }
        if let Some(machine) = &self.machine {
            name::machine(machine)?;
        }
        if self.machine.is_some() && self.directory.is_some() {
            return Err(invalid("machine and directory exclude each other".into()));
        }
        if let Some(identifier) = &self.identifier {
            value("identifier", identifier, "-_.@:/+()[] ")?;
        }
        if let Some(cursor) = &self.after {
            value("after", cursor, CURSOR)?;
        }
        if let Some(since) = &mut self.since {
            *since = moment("since", since)?;
        }
        if let Some(until) = &mut self.until {
            *until = moment("until", until)?;
        }
        if self.follow && self.until.is_some() {
            return Err(invalid("what is followed has no end, so it takes no 'until'".into()));
        }
        if let Some(text) = &self.priority {
            priority(text)?;
        }
        match self.lines {
            Some(lines) if lines > MAX_LINES => Err(invalid(format!(
                "lines is {lines}, and {MAX_LINES} is the most; go on with after = the last entry's __CURSOR"
            ))),
            _ => Ok(()),
        }
    }

    /// The arguments. Every value stands in one word with its option, so that none is an option of its own.
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["--output=json", "--all", "--no-pager", "--quiet"].map(String::from).into();
        let mut option = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                words.push(format!("--{name}={value}"));
            }
        };
        option("unit", self.unit.as_deref());
        option("machine", self.machine.as_deref());
        option("identifier", self.identifier.as_deref());
        option("since", self.since.as_deref());
        option("until", self.until.as_deref());
        option("priority", self.priority.as_deref());
        option("after-cursor", self.after.as_deref());
        // It is the working directory by then: the directory that was checked, whatever its path leads to now.
        option("directory", self.directory.as_ref().map(|_| "."));
        let lines = match self.follow {
            true => "all".to_string(),
            false => self.lines.unwrap_or(DEFAULT_LINES).to_string(),
        };
        option("lines", Some(&lines));
        if self.boot {
            words.push("--boot".into());
        }
        if self.follow {
            words.push("--follow".into());
        }
        words
    }

    /// Asks for the grants; gives the directory with the files, opened.
    fn allow(&self, run: &Run) -> Result<Option<OwnedFd>, Error> {
        match (&self.machine, &self.unit) {
            (Some(machine), _) => check_machine(run, "journal", machine)?,
            // A directory's files can be links to any journal, which says itself whose entries it has.
            (None, Some(unit)) if self.directory.is_none() => check_unit(run, "journal", unit)?,
            (None, _) => check_whole(run, "journal")?,
        }
        self.directory
            .as_ref()
            .map(|directory| assay_capability_fs::open_directory(run, Access::Read, directory))
            .transpose()
    }
}

/// Entries on their way.
///
/// What is followed begins at a moment or a cursor. journalctl before version 253 loses entries when it is told to
/// follow from the newest so many and there are none yet, so those are read first and followed from the last one.
pub struct Entries {
    run: Arc<Run>,
    reader: Reader,
    journalctl: Journalctl,
    lines: Lines,
    /// Where the following begins when the older entries are read, if none of them says.
    then: Option<String>,
    /// The last of the older entries.
    last: Vec<u8>,
    ended: bool,
    _handle: HandleGuard,
}

/// How journalctl is started.
struct Reader {
    processes: Processes,
    program: Arc<Executable>,
    directory: Option<OwnedFd>,
    query: Query,
}

/// A running journalctl.
struct Journalctl {
    child: Child,
    output: Stream,
    errors: Stream,
    /// What it complained about.
    complaints: Vec<u8>,
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        self.child.kill_tree_now();
    }
}

/// Now, as journalctl takes it.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("@{}.{:06}", now.as_secs(), now.subsec_micros())
}

/// Starts reading.
///
/// # Errors
/// `denied`, `invalid-argument`, `not-found` where there is no journalctl, `limit`.
pub async fn open(run: Arc<Run>, processes: Processes, mut query: Query) -> Result<Entries, Error> {
    if !cfg!(target_os = "linux") {
        return Err(error(ErrorCode::Unsupported, "systemd.journal: systemd is Linux only"));
    }
    query.check()?;
    let then = query.first_part();
    let checked = run.clone();
    let reader = off_thread(move || {
        let directory = query.allow(&checked)?;
        let found = assay_capability_process::find(JOURNALCTL, Path::new("/"), &checked.ambient);
        let program = found.map_err(no_journalctl)?.file;
        Ok(Reader { processes, program, directory, query })
    })
    .await?;
    let handle = run.take_handle()?;
    let journalctl = reader.start().await?;
    Ok(Entries {
        run,
        reader,
        journalctl,
        lines: Lines::default(),
        then,
        last: Vec::new(),
        ended: false,
        _handle: handle,
    })
}

impl Query {
    /// Makes this the query for what is read first; gives the moment from which is followed after it.
    fn first_part(&mut self) -> Option<String> {
        if !self.follow {
            return None;
        }
        match self.lines {
            Some(0) => (self.since, self.after) = (Some(now()), None),
            Some(_) => {
                self.follow = false;
                return Some(now());
            }
            None if self.since.is_none() && self.after.is_none() => self.since = Some(now()),
            None => {}
        }
        None
    }

    /// Makes this the query for what comes after the entry `last`, or `moment` if there was no entry.
    fn second_part(&mut self, last: &[u8], moment: String) {
        let cursor = serde_json::from_slice::<serde_json::Value>(last)
            .ok()
            .and_then(|entry| entry["__CURSOR"].as_str().map(String::from))
            .filter(|cursor| value("after", cursor, CURSOR).is_ok());
        self.follow = true;
        (self.since, self.after) = match cursor {
            Some(cursor) => (None, Some(cursor)),
            None => (Some(moment), None),
        };
    }
}

impl Reader {
    async fn start(&self) -> Result<Journalctl, Error> {
        let failed = |source: std::io::Error| io_error("cannot start journalctl", &source);
        let directory = self.directory.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed)?;
        let stdin = stream::null().map_err(failed)?;
        let (stdout, output) = stream::output().map_err(failed)?;
        let (stderr, errors) = stream::output().map_err(failed)?;
        let words = self.query.arguments();
        let args = std::iter::once(JOURNALCTL.to_string()).chain(words).map(String::into_bytes).collect();
        let program = self.program.clone();
        let start =
            Start { program, args, env: Vec::new(), directory, stdin, stdout, stderr, terminal: false };
        Ok(Journalctl { child: self.processes.start(start).await?, output, errors, complaints: Vec::new() })
    }
}

fn no_journalctl(mut failed: Error) -> Error {
    if failed.code == ErrorCode::NotFound {
        failed.message = format!(
            "systemd.journal: {}; the journal is read by journalctl, which is a part of systemd",
            failed.message
        );
    }
    failed
}

impl Entries {
    /// The next entries, a line each; empty at the end. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// What journalctl complained about, `limit`.
    pub async fn next(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let batch = self.lines.take(BATCH);
            if !batch.is_empty() {
                self.run.count_bytes(batch.len())?;
                if self.then.is_some() {
                    let line = batch.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
                    self.last = line.unwrap_or_default().to_vec();
                }
                return Ok(batch);
            }
            if self.ended {
                let Some(moment) = self.then.clone() else { return Ok(Vec::new()) };
                self.reader.query.second_part(&self.last, moment);
                self.journalctl = self.reader.start().await?;
                (self.then, self.ended) = (None, false);
            }
            if self.journalctl.read(&mut self.lines).await? {
                self.ended = true;
            }
        }
    }
}

impl Journalctl {
    /// Takes what it writes; true at its end.
    async fn read(&mut self, lines: &mut Lines) -> Result<bool, Error> {
        let failed = |source: std::io::Error| io_error("cannot read what journalctl writes", &source);
        // Both are read, so that neither pipe fills. Dropping a read loses nothing.
        tokio::select! {
            piece = self.output.read(BATCH) => {
                let piece = piece.map_err(failed)?;
                if piece.is_empty() {
                    self.end().await?;
                    return Ok(true);
                }
                lines.add(&piece);
            }
            piece = self.errors.read(BATCH), if self.complaints.len() < MAX_ERRORS => {
                let piece = piece.map_err(failed)?;
                if piece.is_empty() {
                    // Its end comes by the output.
                    self.complaints.resize(MAX_ERRORS, b' ');
                }
                self.complaints.extend(piece);
            }
        }
        Ok(false)
    }

    /// Waits for its end, and tells why it failed if it did.
    async fn end(&mut self) -> Result<(), Error> {
        let exit = match tokio::time::timeout(END, self.child.wait()).await {
            Ok(exit) => exit?,
            Err(_) => self.child.kill_tree().await?,
        };
        while self.complaints.len() < MAX_ERRORS {
            match self.errors.read_now(BATCH) {
                Ok(Some(piece)) if !piece.is_empty() => self.complaints.extend(piece),
                _ => break,
            }
        }
        let complaints = String::from_utf8_lossy(&self.complaints);
        let complaints = complaints.trim();
        match exit.status {
            0 => Ok(()),
            // No entry is no failure: journalctl ends with 1 then, as grep does, and says nothing.
            1 if complaints.is_empty() => Ok(()),
            status => Err(complaint(status, complaints)),
        }
    }
}

/// journalctl's failure, by what it wrote.
fn complaint(status: i32, text: &str) -> Error {
    let line = text.lines().next().unwrap_or_default();
    let code = if line.contains("Permission denied") || line.contains("Operation not permitted") {
        ErrorCode::Permission
    } else if line.contains("No such file") || line.contains("not found") || line.contains("No machine") {
        ErrorCode::NotFound
    } else if line.contains("Failed to parse")
        || line.contains("Failed to seek to cursor")
        || line.contains("Invalid")
    {
        ErrorCode::InvalidArgument
    } else {
        ErrorCode::Other
    };
    let line = if line.is_empty() { "it says nothing more" } else { line };
    error(code, format!("systemd.journal: journalctl ended with status {status}: {line}"))
}

/// Lines put together from pieces.
#[derive(Default)]
struct Lines {
    whole: VecDeque<Vec<u8>>,
    /// The line that has no end yet.
    part: Vec<u8>,
    /// Bytes of a line that is too long to be kept.
    skipped: usize,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..at]);
            self.finish();
            rest = &rest[at + 1..];
        }
        self.extend(rest);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipped > 0 || self.part.len() + bytes.len() > MAX_ENTRY {
            self.skipped += self.part.len() + bytes.len();
            self.part = Vec::new();
        } else {
            self.part.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self) {
        let mut line = std::mem::take(&mut self.part);
        if self.skipped > 0 {
            // The reader learns that something was there.
            line = format!("{{\"OMITTED_BYTES\":{}}}", self.skipped).into_bytes();
            self.skipped = 0;
        }
        if !line.is_empty() {
            line.push(b'\n');
            self.whole.push_back(line);
        }
    }

    /// Whole lines, up to `max` bytes, and one at least.
    fn take(&mut self, max: usize) -> Vec<u8> {
        let Some(mut out) = self.whole.pop_front() else { return Vec::new() };
        while let Some(line) = self.whole.pop_front_if(|line| out.len() + line.len() <= max) {
            out.extend(line);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(mut query: Query) -> Vec<String> {
        query.check().unwrap_or_else(|error| panic!("{}", error.message));
        query.arguments().split_off(4)
    }

    #[test]
    fn every_value_stays_in_its_word() {
        let query = Query {
            unit: Some("--now".into()),
            since: Some("2026-01-31T12:00:00Z".into()),
            priority: Some("err..3".into()),
            directory: Some("--flush".into()),
            lines: Some(5),
            boot: true,
            ..Query::default()
        };
        assert_eq!(
            arguments(query),
            [
                "--unit=--now.service",
                "--since=@1769860800.000000",
                "--priority=err..3",
                "--directory=.",
                "--lines=5",
                "--boot"
            ]
        );
        assert_eq!(arguments(Query::default()), ["--lines=1000"]);
        let after = Query { follow: true, after: Some("s=1;i=2".into()), ..Query::default() };
        assert_eq!(arguments(after), ["--after-cursor=s=1;i=2", "--lines=all", "--follow"]);
    }

    #[test]
    fn what_is_followed_begins_at_a_moment_or_a_cursor() {
        let query = |lines, since: Option<&str>| Query {
            follow: true,
            lines,
            since: since.map(String::from),
            ..Query::default()
        };
        for mut new in [query(None, None), query(Some(0), None), query(Some(0), Some("-1h"))] {
            assert_eq!(new.first_part(), None);
            assert!(new.follow && new.since.is_some_and(|since| since.starts_with('@')));
        }
        let mut since = query(None, Some("-1h"));
        assert_eq!(since.first_part(), None);
        assert_eq!(since.since.as_deref(), Some("-1h"));
        let mut some = query(Some(10), Some("-1h"));
        assert!(some.first_part().is_some());
        assert_eq!(some.arguments().split_off(4), ["--since=-1h", "--lines=10"]);
        some.second_part(b"{\"__CURSOR\":\"s=1;i=2\"}", "@5.0".into());
        assert_eq!(some.arguments().split_off(4), ["--after-cursor=s=1;i=2", "--lines=all", "--follow"]);
        for last in ["", "{\"OMITTED_BYTES\":5}", "{\"__CURSOR\":\"a b\"}"] {
            some.second_part(last.as_bytes(), "@5.0".into());
            assert_eq!(some.arguments().split_off(4), ["--since=@5.0", "--lines=all", "--follow"]);
        }
    }

    #[test]
    fn values_are_checked() {
        let text = |value: &str| Some(value.to_string());
        for query in [
            Query { unit: text("*"), ..Query::default() },
            Query { unit: text("a b"), ..Query::default() },
            Query { machine: text(".host"), ..Query::default() },
            Query { machine: text("web"), directory: text("x"), ..Query::default() },
            Query { priority: text("loud"), ..Query::default() },
            Query { priority: text("8"), ..Query::default() },
            Query { priority: text("1..2..3"), ..Query::default() },
            Query { after: text("a\nb"), ..Query::default() },
            Query { identifier: text("a\"b"), ..Query::default() },
            Query { lines: Some(MAX_LINES + 1), ..Query::default() },
            Query { follow: true, until: text("now"), ..Query::default() },
        ] {
            assert!({ query }.check().is_err());
        }
        assert!(Query { lines: Some(MAX_LINES), ..Query::default() }.check().is_ok());
    }

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        lines.add(b"{\"a\":1}\n{\"b\"");
        assert_eq!(lines.take(100), b"{\"a\":1}\n");
        assert!(lines.take(100).is_empty());
        lines.add(b":2}\n\n{\"c\":3}\n");
        assert_eq!(lines.take(10), b"{\"b\":2}\n");
        assert_eq!(lines.take(10), b"{\"c\":3}\n");
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::default();
        for _ in 0..20 {
            lines.add(&vec![b'x'; 100 << 10]);
            assert!(lines.part.len() <= MAX_ENTRY);
        }
        lines.add(b"\n{}\n");
        assert_eq!(lines.take(100), format!("{{\"OMITTED_BYTES\":{}}}\n{{}}\n", 20 * (100 << 10)).as_bytes());
        let mut lines = Lines::default();
        lines.add(&vec![b'x'; MAX_ENTRY]);
        lines.add(b"\n");
        assert_eq!(lines.take(100).len(), MAX_ENTRY + 1);
    }

    #[test]
    fn complaints_have_codes() {
        assert_eq!(
            complaint(1, "No journal files were opened due to insufficient permissions.").code,
            ErrorCode::Other
        );
        assert_eq!(complaint(1, "Failed to open journal: Permission denied").code, ErrorCode::Permission);
        assert_eq!(complaint(1, "Failed to parse timestamp: x").code, ErrorCode::InvalidArgument);
        assert_eq!(
            complaint(1, "").message,
            "systemd.journal: journalctl ended with status 1: it says nothing more"
        );
    }
}
