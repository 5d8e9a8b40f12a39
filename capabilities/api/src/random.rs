//! Random numbers of the operating system, which nobody guesses.

use crate::error;
use crate::types::{Error, ErrorCode};

/// Fills `bytes`.
///
/// # Errors
/// `unavailable` where the system has none.
pub fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|failure| {
        let message = format!("the operating system's random generator does not answer: {failure}");
        error(ErrorCode::Unavailable, message)
    })
}

/// A number.
///
/// # Panics
/// Where the system has none, as the standard library does for its hash tables.
pub fn number() -> u64 {
    getrandom::u64().unwrap_or_else(|failure| {
        panic!("the operating system's random generator does not answer: {failure}")
    })
}

/// A name that nothing else has: 16 hexadecimal digits.
///
/// # Panics
/// As [`number`].
pub fn name() -> String {
    format!("{:016x}", number())
}
