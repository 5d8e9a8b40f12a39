//! A Lua error that nothing caught, as a run's outcome tells it.

use crate::bindings::assay::host::script;
use std::fmt;

/// A Lua error that nothing caught.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    pub message: String,
    /// Where it was raised, the innermost frame first; empty for a syntax error.
    pub traceback: Vec<Frame>,
    /// `code` of the error value.
    pub code: Option<String>,
    /// Whether the message tells the code.
    pub tells_code: bool,
    /// The other fields of an error value that is a table, as a JSON object: those with names, and values that JSON has.
    pub fields: Option<String>,
    /// It was "not enough memory".
    pub memory: bool,
}

/// One entry of a traceback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A function that was under way.
    Call {
        /// The chunk that it is in, as messages show it; `[C]` for a builtin.
        source: String,
        /// Where it was; none for a builtin.
        line: Option<u32>,
        /// What it is, by the name that its caller has for it: `local 'f'`, `main chunk`.
        function: String,
    },
    /// Functions whose last act was the call before it: nothing is left of them.
    TailCalls,
    /// So many frames are left out.
    Skipped(u32),
    /// What is before it is the stack of a task that was started here; what is after it awaited that.
    Task { source: String, line: u32 },
}

/// As Lua writes it.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Call { source, line: Some(line), function } => write!(f, "{source}:{line}: in {function}"),
            Frame::Call { source, line: None, function } => write!(f, "{source}: in {function}"),
            Frame::TailCalls => f.write_str("(...tail calls...)"),
            Frame::Skipped(levels) => write!(f, "...\t(skipping {levels} levels)"),
            Frame::Task { source, line } => write!(f, "(task started at {source}:{line})"),
        }
    }
}

impl Failure {
    /// Its traceback as text, after a line with the code that the message does not tell; empty for a syntax error.
    pub fn traced(&self) -> String {
        if self.traceback.is_empty() {
            return String::new();
        }
        let code = self.code.as_ref().filter(|_| !self.tells_code);
        let code = code.map_or(String::new(), |code| format!("code: {code}\n"));
        let frames: String = self.traceback.iter().map(|frame| format!("\n\t{frame}")).collect();
        format!("{code}stack traceback:{frames}")
    }
}

impl From<script::Failure> for Failure {
    fn from(failure: script::Failure) -> Failure {
        let script::Failure { kind, message, traceback, code, tells_code, fields, .. } = failure;
        let memory = kind == script::FailureKind::Memory;
        let traceback = traceback.into_iter().map(Frame::from).collect();
        Failure { message, traceback, code, tells_code, fields, memory }
    }
}

impl From<script::Frame> for Frame {
    fn from(frame: script::Frame) -> Frame {
        match frame {
            script::Frame::Call(script::Called { source, line, function }) => {
                Frame::Call { source, line, function }
            }
            script::Frame::TailCalls => Frame::TailCalls,
            script::Frame::Skipped(levels) => Frame::Skipped(levels),
            script::Frame::Task(script::Place { source, line }) => Frame::Task { source, line },
        }
    }
}
