//! Log lines of scripts. Always granted; they go where the program that runs the script says ([`LogSink`]), or nowhere.

use assay_capability_api::{Capability, Counter, Ctx, Determinism, Limit, Linker, Literal, Need, Run};
use bindings::assay::host::log;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::sync::Arc;
use tracing::Level;
use wasmtime::component::HasSelf;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/log@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { "assay:host/log.write": async | trappable, default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
    });
}

/// The `tracing` target of what scripts log. An event has the field `message` and, where the script gave
/// fields, [`FIELDS`].
pub const TARGET: &str = "script";

/// The field of an event that has the script's own fields: the text of a JSON object on one line.
pub const FIELDS: &str = "fields";

/// The field with the id of the run.
pub const RUN: &str = "run";

/// The field with its tenant, where it has one.
pub const TENANT: &str = "tenant";

/// The longest message that is written whole, bytes.
const MESSAGE_MAX: usize = 256 << 10;

/// The capability `log`.
pub struct Log;

/// What the lines of one run came to; beside the bytes in [`Usage`].
#[derive(Debug, Default)]
pub struct Lines {
    /// Lines that were left out because the run had reached its limit.
    pub dropped: u64,
}

impl Capability for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn summary(&self) -> &'static str {
        "log lines"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[Need::new("log.*", Literal::Free)];
        NEEDS
    }

    fn determinism(&self, _: &str) -> Determinism {
        Determinism::Program
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        log::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// Whether a character could start a new line, move the cursor, or make text look as if it stood
/// elsewhere (the bidirectional controls).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A message on one line: a script cannot make it look like two.
fn one_line(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut end = MESSAGE_MAX.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    for character in message[..end].chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if is_unsafe(other) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    if end < message.len() {
        let _ = write!(out, "... ({} bytes more)", message.len() - end);
    }
    out
}

/// The fields as JSON on one line. What is not a JSON object is a field of its own: the guest is not
/// trusted to have encoded it.
fn json_line(fields: &str) -> String {
    let parsed = match fields.len() > MESSAGE_MAX {
        true => None,
        false => serde_json::from_str::<Map<String, Value>>(fields).ok(),
    };
    let object = match parsed {
        Some(object) => object,
        None if fields.len() > MESSAGE_MAX => {
            Map::from_iter([("fields".to_string(), Value::from(one_line(fields)))])
        }
        None => Map::from_iter([("fields".to_string(), Value::from(fields))]),
    };
    one_line_json(&Value::Object(object))
}

fn one_line_json(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            // Outside of ASCII these stand only inside of strings; all of them are below U+10000.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Names and values of the text in [`FIELDS`], for lines that people read: values are JSON on one line, and so are
/// names that have more than letters, digits, `_`, `-` and `.`.
pub fn pairs(fields: &str) -> Vec<(String, String)> {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(fields) else { return Vec::new() };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let shown = |(name, value): (String, Value)| {
        let plain = !name.is_empty() && name.chars().all(is_plain);
        (if plain { name } else { one_line_json(&Value::String(name)) }, one_line_json(&value))
    };
    object.into_iter().map(shown).collect()
}

/// Where the log lines of scripts go: a service of a run.
pub trait LogSink: Send + Sync {
    /// Whether lines of a level are of use.
    fn is_enabled(&self, level: Level) -> bool;

    /// Takes a line: a message on one line, and the text of a JSON object on one line where the script gave fields.
    fn write(&self, run: &Run, level: Level, message: &str, fields: Option<&str>);
}

/// Lines as events of `tracing` with the target [`TARGET`] and the fields `run`, `tenant` and [`FIELDS`].
pub struct Tracing;

macro_rules! at_level {
    ($level:expr, $event:ident, $($arguments:tt)*) => {
        match $level {
            Level::TRACE => tracing::$event!(target: TARGET, Level::TRACE, $($arguments)*),
            Level::DEBUG => tracing::$event!(target: TARGET, Level::DEBUG, $($arguments)*),
            Level::INFO => tracing::$event!(target: TARGET, Level::INFO, $($arguments)*),
            Level::WARN => tracing::$event!(target: TARGET, Level::WARN, $($arguments)*),
            Level::ERROR => tracing::$event!(target: TARGET, Level::ERROR, $($arguments)*),
        }
    };
}

impl LogSink for Tracing {
    fn is_enabled(&self, level: Level) -> bool {
        at_level!(level, enabled,)
    }

    fn write(&self, run: &Run, level: Level, message: &str, fields: Option<&str>) {
        let (id, tenant) = (run.identity.run.as_str(), run.identity.tenant.as_deref());
        at_level!(level, event, fields, run = id, tenant, "{message}");
    }
}

fn level_of(level: log::Level) -> Level {
    match level {
        log::Level::Trace => Level::TRACE,
        log::Level::Debug => Level::DEBUG,
        log::Level::Info => Level::INFO,
        log::Level::Warn => Level::WARN,
        log::Level::Error => Level::ERROR,
    }
}

/// What takes lines of this level.
fn sink(ctx: &Ctx, level: Level) -> Option<Arc<dyn LogSink>> {
    ctx.service::<dyn LogSink>().filter(|sink| sink.is_enabled(level))
}

impl log::Host for Ctx {
    fn enabled(&mut self, level: log::Level) -> wasmtime::Result<bool> {
        Ok(sink(self, level_of(level)).is_some())
    }

    async fn write(&mut self, level: log::Level, message: String, fields: String) -> wasmtime::Result<()> {
        let level = level_of(level);
        let Some(sink) = sink(self, level) else { return Ok(()) };
        let bytes = (message.len() + fields.len()) as u64;
        if self.run.spend(Counter::Log, bytes).is_err() {
            let limit = self.run.limits.log.unwrap_or(0);
            let lines = self.state::<Lines>();
            lines.dropped += 1;
            if lines.dropped == 1 {
                let flag = Limit::Log.name();
                let last = format!(
                    "the script has logged {limit} bytes, its limit; what follows is left out (--{flag})"
                );
                sink.write(&self.run, Level::WARN, &last, None);
            }
            return Ok(());
        }
        let message = one_line(&message);
        let fields = (!fields.is_empty()).then(|| json_line(&fields));
        sink.write(&self.run, level, &message, fields.as_deref());
        // A line that cannot be written is no error of the script.
        let _ = self.settle().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line() {
        for (message, line) in [
            ("plain ünïcode 日本", "plain ünïcode 日本"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("a\r\tb\0c\x1b[2Jd\u{7f}", "a\\r\\tb\\u{0}c\\u{1b}[2Jd\\u{7f}"),
            ("\u{85}\u{9b}1m\u{2028}\u{202e}", "\\u{85}\\u{9b}1m\\u{2028}\\u{202e}"),
            ("", ""),
        ] {
            assert_eq!(one_line(message), line);
        }
        let long = "é".repeat(MESSAGE_MAX);
        let line = one_line(&format!("x{long}"));
        assert!(line.len() < MESSAGE_MAX + 64 && line.ends_with("bytes more)"), "{}", line.len());
    }

    #[test]
    fn fields_are_one_line_of_json() {
        assert_eq!(json_line(r#"{"b": [1, "x\ny"], "a": null}"#).parse::<Value>().unwrap()["b"][1], "x\ny");
        assert!(!json_line("{\"a\":\n1}").contains('\n'));
        assert_eq!(json_line("not json\n"), r#"{"fields":"not json\n"}"#);
        assert_eq!(json_line("[1]"), r#"{"fields":"[1]"}"#);
        let long = json_line(&format!("{{\"a\":\"{}\"}}", "x".repeat(MESSAGE_MAX)));
        assert!(long.len() < MESSAGE_MAX + 128 && long.contains("bytes more"), "{}", long.len());
        assert!(long.parse::<Value>().unwrap()["fields"].is_string());
        let line = json_line("{\"a\":\"\u{202e}\u{85}\"}");
        assert_eq!(line, r#"{"a":"\u202e\u0085"}"#);
        assert_eq!(line.parse::<Value>().unwrap()["a"], "\u{202e}\u{85}");
    }

    #[test]
    fn fields_are_pairs_on_one_line() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(
            pairs(r#"{"a":1,"b c":[true,"x\ny"],"d=\n":null,"":0,"e":"\u202e"}"#),
            [
                pair("\"\"", "0"),
                pair("a", "1"),
                pair("\"b c\"", r#"[true,"x\ny"]"#),
                pair("\"d=\\n\"", "null"),
                pair("e", "\"\\u202e\""),
            ]
        );
        assert_eq!(pairs("{}"), []);
    }
}
