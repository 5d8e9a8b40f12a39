//! What a server is told, with its bounds.

use crate::bindings::assay::host::listen::Options;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error};
use std::time::Duration;

/// Bytes of header fields: less than this and hyper cannot work, more and a flood costs memory.
const HEADER_MIN: usize = 8 << 10;
const HEADER_MAX: usize = 1 << 20;
/// How long a server that was told to stop may take at most: a signal must end it some time.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Settings {
    /// 0 is no bound.
    pub max_body: u64,
    pub max_header: usize,
    pub max_connections: usize,
    pub max_requests: usize,
    pub header_timeout: Option<Duration>,
    pub body_timeout: Option<Duration>,
    pub timeout: Option<Duration>,
    pub shutdown_timeout: Duration,
    pub access_log: bool,
}

/// An error about an option of `http.serve`.
pub fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, format!("http.serve: {}", message.into()))
}

impl Settings {
    /// # Errors
    /// `invalid_argument` where a value is out of its range.
    pub fn new(options: &Options, run: &Run) -> Result<Settings, Error> {
        let duration = |nanoseconds: u64| (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds));
        let max_header = options.max_header as usize;
        if !(HEADER_MIN..=HEADER_MAX).contains(&max_header) {
            return Err(invalid(format!("max_header must be between {HEADER_MIN} and {HEADER_MAX} bytes")));
        }
        if options.max_requests == 0 {
            return Err(invalid("max_requests must be at least 1"));
        }
        let shutdown_timeout = duration(options.shutdown_timeout).unwrap_or(SHUTDOWN_MAX);
        if shutdown_timeout > SHUTDOWN_MAX {
            return Err(invalid(format!(
                "shutdown_timeout must be at most {} seconds, so that the server ends when it is told to",
                SHUTDOWN_MAX.as_secs()
            )));
        }
        // A quarter is left to the script: connections that are open must not keep it from its files.
        let handles = usize::try_from(run.limits.handles).unwrap_or(usize::MAX);
        let most = (handles / 4 * 3).max(1);
        let max_connections = match options.max_connections as usize {
            0 => most,
            given if given <= most => given,
            given => {
                return Err(invalid(format!(
                    "max_connections is {given}, but at most three quarters of the run's handles are for \
                     connections ({most}); raise --max-handles"
                )));
            }
        };
        Ok(Settings {
            max_body: options.max_body,
            max_header,
            max_connections,
            max_requests: options.max_requests as usize,
            header_timeout: duration(options.header_timeout),
            body_timeout: duration(options.body_timeout),
            timeout: duration(options.timeout),
            shutdown_timeout,
            access_log: options.access_log,
        })
    }
}
