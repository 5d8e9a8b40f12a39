//! Making the errors that scripts see.

use crate::Stop;
use crate::secrets::hide;
use crate::types::{Error, ErrorCode};
use wasmtime::component::ResourceTableError;

/// Why a function of the host has no result.
#[derive(Debug)]
pub enum HostError {
    /// The script gets it, as an error that it may catch.
    Script(Error),
    /// It ends the run: a [`Stop`], or a fault of the host itself.
    Trap(wasmtime::Error),
}

/// What a function of the host gives.
pub type HostResult<T> = Result<T, HostError>;

impl From<Error> for HostError {
    fn from(error: Error) -> HostError {
        HostError::Script(error)
    }
}

impl From<wasmtime::Error> for HostError {
    fn from(fault: wasmtime::Error) -> HostError {
        HostError::Trap(fault)
    }
}

/// The guest used a handle that it does not have.
impl From<ResourceTableError> for HostError {
    fn from(fault: ResourceTableError) -> HostError {
        HostError::Trap(fault.into())
    }
}

impl From<Stop> for HostError {
    fn from(stop: Stop) -> HostError {
        HostError::Trap(wasmtime::Error::new(stop))
    }
}

/// An error that no operating system gave. `message` says what was tried, on what, and why not; passwords in URLs are
/// hidden in it.
pub fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error { code, message: hide(&message.into()).into_owned(), errno: 0 }
}

/// A denial: what was asked for, and the flag that grants it.
pub fn denied(what: &str, capability: &str, scope: Option<&str>) -> Error {
    let flag = crate::scope::allow_flag(capability, scope);
    error(ErrorCode::Denied, format!("{what} is not granted; run again with {flag}"))
}

/// A denial by a rule, or by what [`crate::Grants::seal`] was told.
pub fn denied_by(what: &str, rule: &str) -> Error {
    error(ErrorCode::Denied, format!("{what} is denied by {}", denier(rule)))
}

/// What a message says that denied: the flag of a rule, or what [`crate::Grants::seal`] was told.
pub fn denier(rule: &str) -> String {
    // No rule begins with the name of something that has a blank.
    match rule.starts_with("the ") {
        true => rule.to_string(),
        false => format!("--deny {}", crate::scope::shell_word(rule)),
    }
}

/// A denial of what no scope stands for alone: a flag that grants it would grant more, so none is named.
pub fn denied_without_scope(what: &str) -> Error {
    error(ErrorCode::Denied, format!("{what} is not granted, and no scope stands for it alone"))
}

/// A failure of the operating system, on `what` (a path, an address).
pub fn io_error(what: &str, source: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let code = match source.kind() {
        ErrorKind::NotFound => ErrorCode::NotFound,
        ErrorKind::AlreadyExists => ErrorCode::Exists,
        ErrorKind::PermissionDenied => ErrorCode::Permission,
        ErrorKind::TimedOut => ErrorCode::Timeout,
        ErrorKind::InvalidInput => ErrorCode::InvalidArgument,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => ErrorCode::InvalidData,
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            ErrorCode::Unavailable
        }
        ErrorKind::Unsupported => ErrorCode::Unsupported,
        _ => ErrorCode::Io,
    };
    // "No such file or directory", without Rust's "(os error 2)": the number is a field.
    let text = source.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    Error { errno: source.raw_os_error().unwrap_or(0), ..error(code, format!("{what}: {reason}")) }
}

/// An error of a capability on its way through an interface that speaks `io::Error`: of hyper, of a decoder.
#[derive(Debug)]
pub struct Carried(pub Error);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Carried {}

/// Wraps an error of a capability as an `io::Error`.
pub fn carry(error: Error) -> std::io::Error {
    std::io::Error::other(Carried(error))
}
