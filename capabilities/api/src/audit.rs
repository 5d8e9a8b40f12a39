//! One event per decision, as JSON lines and as tracing events.

use crate::lock;
use serde::{Serialize, Serializer};
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

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
    /// The script's name, and the SHA-256 of its source.
    pub script: &'a str,
    pub script_hash: &'a str,
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

/// Why an event is not in the audit file.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The run has written as much as it may.
    Full,
    Failed(std::io::Error),
}

/// Where events go besides tracing.
#[derive(Default)]
pub struct Audit {
    file: Option<Mutex<Written>>,
}

struct Written {
    file: File,
    bytes: u64,
}

impl Audit {
    /// Writes every event as a line to `file`.
    pub fn to_file(file: File) -> Audit {
        Audit { file: Some(Mutex::new(Written { file, bytes: 0 })) }
    }

    /// Writes an event, as long as the run has written no more than `most` bytes.
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
        let Some(written) = &self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(event).map_err(|error| Unwritten::Failed(error.into()))?;
        line.push(b'\n');
        let mut written = lock(written);
        written.bytes += line.len() as u64;
        if written.bytes > most {
            return Err(Unwritten::Full);
        }
        written.file.write_all(&line).map_err(Unwritten::Failed)
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
