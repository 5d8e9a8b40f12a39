//! What crosses between host and guest as bytes, many at a time: values of databases, heads of requests. Both sides write
//! and read it with this crate, so that there is one description of each format.
//!
//! Whatever is read may be cut off or be something else; that is an error, and no reason to take memory for more than there
//! is.

pub mod fields;
pub mod values;

use std::fmt;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// They end before what they begin.
    Cut,
    /// A value has this tag, which none has.
    Tag(u8),
    /// What should be a number is none.
    Number,
    /// A text has a zero byte where one would end it.
    Zero,
}

impl fmt::Display for Bad {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Cut => formatter.write_str("it is cut off"),
            Bad::Tag(tag) => write!(formatter, "a value has the unknown tag {tag}"),
            Bad::Number => formatter.write_str("a count is no number"),
            Bad::Zero => formatter.write_str("a text has a zero byte"),
        }
    }
}

impl std::error::Error for Bad {}

#[cfg(test)]
mod tests;
