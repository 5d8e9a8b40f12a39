//! One event per decision, as JSON lines and as tracing events.

use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

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
    pub target: &'a str,
    /// The rule that decided, as it was written; none where no rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// The script's name, and the SHA-256 of its source.
    pub script: &'a str,
    pub script_hash: &'a str,
}

/// Where events go besides tracing.
#[derive(Default)]
pub struct Audit {
    file: Option<Mutex<File>>,
}

impl Audit {
    /// Writes every event as a line to `file`.
    pub fn to_file(file: File) -> Audit {
        Audit { file: Some(Mutex::new(file)) }
    }

    pub fn record(&self, event: &Event<'_>) {
        tracing::debug!(
            target: "assay::audit",
            decision = ?event.decision,
            capability = event.capability,
            target = event.target,
            rule = event.rule,
            "decision"
        );
        let Some(file) = &self.file else { return };
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(error) = file.write_all(&line) {
            tracing::error!(%error, "the audit file cannot be written");
        }
    }
}
