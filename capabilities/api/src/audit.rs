//! One event per decision: as an event of tracing, and where the program that runs the script keeps them.

use crate::lock;
use serde::{Serialize, Serializer};
use std::fs::File;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What an event shows of a text at most, bytes: a script must not fill a disk with names that it makes up.
const TEXT_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

/// One decision about one request.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// RFC 3339 is for readers elsewhere; this is seconds since 1970.
    pub time: f64,
    pub decision: Decision,
    pub capability: &'a str,
    /// What was asked for.
    #[serde(serialize_with = "cut")]
    pub target: &'a str,
    /// The rule that decided, as it was written; none where no rule matched.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_if_any")]
    pub rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// The run's id.
    pub run: &'a str,
    /// The script's name, and the SHA-256 of its source.
    pub script: &'a str,
    pub script_hash: &'a str,
}

impl Event<'_> {
    /// Bytes of its line of JSON.
    fn size(&self) -> u64 {
        let mut counted = Counted(0);
        // What counts takes everything.
        let _ = serde_json::to_writer(&mut counted, self);
        counted.0 + 1
    }
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first [`TEXT_MAX`] bytes, and a mark where there were more.
fn shortened(text: &str) -> (&str, &'static str) {
    match text.len() > TEXT_MAX {
        true => (&text[..text.floor_char_boundary(TEXT_MAX)], "…"),
        false => (text, ""),
    }
}

fn cut<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let (start, mark) = shortened(text);
    serializer.collect_str(&format_args!("{start}{mark}"))
}

fn cut_if_any<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    cut(text.unwrap_or_default(), serializer)
}

/// Where decisions are written so that they can be read about afterwards: a file, a database. Runs may share one.
///
/// It fails closed: a decision that it does not take ends its run, and a run whose decisions it has not kept in the end
/// did not end well.
pub trait AuditSink: Send + Sync {
    /// Writes an event, or takes it to write it in a moment; called before what was decided is done, and not on a thread
    /// that may wait for long. Texts are to be shown shortened, as the serialized event has them.
    ///
    /// # Errors
    /// When it can take no more: of this event, or of those that it took before.
    fn record(&self, event: &Event<'_>) -> io::Result<()>;

    /// Resolves when all that was taken is kept; asked at the end of a run.
    fn kept<'a>(&'a self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Events as lines of JSON in a file.
pub struct AuditFile(Mutex<File>);

impl AuditFile {
    /// Appends to `file`, as it stands.
    pub fn new(file: File) -> AuditFile {
        AuditFile(Mutex::new(file))
    }
}

impl AuditSink for AuditFile {
    fn record(&self, event: &Event<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        lock(&self.0).write_all(&line)
    }
}

/// Why an event was not taken.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The run has written as much as it may.
    Full,
    Failed(io::Error),
}

/// Where the events of a run go besides tracing, and how much of them there is.
#[derive(Default)]
pub struct Audit {
    sink: Option<Arc<dyn AuditSink>>,
    /// Bytes of its events, as lines of JSON.
    bytes: AtomicU64,
}

impl Audit {
    /// Writes every event to `sink`.
    pub fn new(sink: Arc<dyn AuditSink>) -> Audit {
        Audit { sink: Some(sink), bytes: AtomicU64::new(0) }
    }

    /// Writes every event as a line to `file`.
    pub fn to_file(file: File) -> Audit {
        Audit::new(Arc::new(AuditFile::new(file)))
    }

    /// Writes an event, as long as those of the run take no more than `most` bytes.
    pub(crate) fn record(&self, event: &Event<'_>, most: u64) -> Result<(), Unwritten> {
        let (target, mark) = shortened(event.target);
        tracing::debug!(
            target: "assay::audit",
            decision = ?event.decision,
            capability = event.capability,
            // As in the source of a program: a script chooses it, and it must stay on its line.
            request = ?format!("{target}{mark}"),
            rule = event.rule.map(|rule| shortened(rule).0),
            "decision"
        );
        let Some(sink) = &self.sink else { return Ok(()) };
        let bytes = event.size();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > most {
            return Err(Unwritten::Full);
        }
        sink.record(event).map_err(Unwritten::Failed)
    }

    /// Resolves when all events are kept.
    ///
    /// # Errors
    /// When some cannot be.
    pub async fn kept(&self) -> io::Result<()> {
        match &self.sink {
            Some(sink) => sink.kept().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let event = |target: &str| {
            let event = Event {
                time: 0.0,
                decision: Decision::Deny,
                capability: "fs",
                target,
                rule: Some(target),
                tenant: None,
                run: "1",
                script: "x.lua",
                script_hash: "",
            };
            serde_json::to_value(&event).unwrap()["target"].as_str().unwrap().to_string()
        };
        let whole = "x".repeat(TEXT_MAX);
        assert_eq!(event(&whole), whole);
        assert_eq!(event(&(whole.clone() + "y")), whole + "…");
        // Not within a character.
        assert_eq!(event(&"é".repeat(TEXT_MAX)).len(), TEXT_MAX + "…".len());
        assert_eq!(event(&format!("x{}", "é".repeat(TEXT_MAX))).len(), TEXT_MAX - 1 + "…".len());
    }
}
