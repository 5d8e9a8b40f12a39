//! Log lines on stderr: the host's own and the script's.

use crate::args::{Common, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Whether stderr takes colours: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts logging, at the level of the flags, `RUST_LOG`, or info for scripts and warn for the host.
pub(crate) fn start(common: &Common) {
    let filter = match (common.quiet, common.verbose) {
        (true, _) => EnvFilter::new("error,sqlx::postgres::notice=off"),
        (false, 0) => EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,script=info,sqlx::postgres::notice=off")),
        (false, 1) => EnvFilter::new("warn,assay=debug,script=debug,sqlx::postgres::notice=off"),
        (false, _) => EnvFilter::new("info,assay=trace,script=trace"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours())
        .with_target(common.verbose > 0);
    let terminal = std::io::stderr().is_terminal();
    // A second start (in tests) keeps the first.
    let _ = match common.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.compact().try_init(),
        LogFormat::Auto if terminal => builder.without_time().compact().try_init(),
        LogFormat::Auto | LogFormat::Text => builder.try_init(),
    };
}
