//! Log lines on stderr: the host's own and the script's.

use crate::args::{Common, LogFormat};
use assay_capability_log as script;
use serde_json::Value;
use std::fmt::{self, Debug};
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether stderr takes colours: on a terminal where nobody is asked for grants, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal()
        && !crate::port::is_guarded()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What others send must not fill the log: notices of database servers, and what protocol libraries say of frames.
const QUIET: &str = "h2=error,hyper=error,rustls=error,tungstenite=error";

/// Starts logging, at the level of the flags, `RUST_LOG`, or info for scripts and warn for the host.
pub(crate) fn start(common: &Common) {
    let filter = match (common.quiet, common.verbose) {
        (true, _) => EnvFilter::new(format!("error,{QUIET}")),
        (false, 0) => EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new(format!("warn,script=info,{QUIET}"))),
        (false, 1) => EnvFilter::new(format!("warn,assay=debug,script=debug,{QUIET}")),
        (false, _) => EnvFilter::new(
            "info,assay=trace,script=trace,h2=error,hyper=error,rustls=error,tungstenite=error",
        ),
    };
    let target = common.verbose > 0;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| crate::port::Lines)
        .with_ansi(colours())
        .with_target(target)
        .fmt_fields(Text);
    let terminal = std::io::stderr().is_terminal();
    // A second start (in tests) keeps the first.
    let _ = match common.log_format {
        LogFormat::Json => builder.event_format(Json { target }).try_init(),
        LogFormat::Pretty => builder.compact().try_init(),
        LogFormat::Auto if terminal => builder.without_time().compact().try_init(),
        LogFormat::Auto | LogFormat::Text => builder.try_init(),
    };
}

/// Whether a field says whose line it is: the same for all lines of a process that runs one script, so people do not get it.
fn is_of_run(field: &Field) -> bool {
    matches!(field.name(), script::RUN | script::TENANT)
}

/// Whether a field has the fields of a script in it.
fn is_of_script(field: &Field) -> bool {
    field.name() == script::FIELDS
}

/// The message and `name=value` after it; the fields of a script each by its own name.
struct Text;

impl<'writer> FormatFields<'writer> for Text {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let blank = if std::mem::replace(&mut self.first, false) { "" } else { " " };
        // Italic names and dimmed signs, as the formats of `tracing` have them.
        let written = match self.writer.has_ansi_escapes() {
            true => write!(self.writer, "{blank}\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
            false => write!(self.writer, "{blank}{name}={value}"),
        };
        self.result = self.result.and(written);
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_of_script(field) {
            for (name, value) in script::pairs(value) {
                self.write(&name, format_args!("{value}"));
            }
        } else if !is_of_run(field) {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.first = false;
            let written = write!(self.writer, "{value:?}");
            self.result = self.result.and(written);
        } else {
            self.write(field.name(), format_args!("{value:?}"));
        }
    }
}

/// One JSON object a line: `timestamp`, `level`, `message`, and the event's fields. Those of a script are an object
/// of their own, so that they stand for nothing else.
struct Json {
    target: bool,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = JsonVisitor(String::new());
        line.add("timestamp", time.into());
        line.add("level", event.metadata().level().as_str().into());
        event.record(&mut line);
        if self.target {
            line.add("target", event.metadata().target().into());
        }
        writeln!(writer, "{{{}}}", line.0)
    }
}

/// The members of an object so far.
struct JsonVisitor(String);

impl JsonVisitor {
    fn add(&mut self, name: &str, value: Value) {
        self.add_text(name, &value.to_string());
    }

    fn add_text(&mut self, name: &str, json: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        self.0.push_str(&format!("{comma}{}:{json}", Value::from(name)));
    }
}

impl Visit for JsonVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_of_script(field) {
            self.add_text(field.name(), value);
        } else {
            self.add(field.name(), value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), format!("{value:?}").into());
    }
}
