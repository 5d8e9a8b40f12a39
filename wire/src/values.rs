//! Values of databases: parameters on their way to the host, rows on their way to the guest.
//!
//! Numbers are little-endian. A text is a u32 of its length and its bytes, a count a u32. A value is a tag and what follows
//! it:
//!
//! | tag | value |
//! |---|---|
//! | 0 | NULL |
//! | 1, 2 | false, true |
//! | 3 | an integer, i64 |
//! | 4 | a float, f64 |
//! | 5 | text, or bytes of a row: a text |
//! | 6 | JSON: a text |
//! | 7 | a list: a count, and so many values |
//! | 8 | bytes that are no text: a text |
//!
//! A list of parameters is a count and its values. A batch of rows is a count of columns, the name of each as a text, and the
//! values of row after row.

use crate::Bad;

/// A value, with its bytes where it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'a [u8]),
    Json(&'a [u8]),
    /// So many values follow.
    List(u32),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The most bytes that one takes beside those of a text.
    pub const SIZE: usize = 9;

    /// Adds it to `out`. A text of 4 GiB or more does not fit, which no one here has.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(0),
            Value::Boolean(value) => out.push(1 + u8::from(value)),
            Value::Integer(value) => {
                out.push(3);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Float(value) => {
                out.push(4);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Text(bytes) => tagged(out, 5, bytes),
            Value::Json(bytes) => tagged(out, 6, bytes),
            Value::List(values) => {
                out.push(7);
                count(out, values as usize);
            }
            Value::Bytes(bytes) => tagged(out, 8, bytes),
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    text(out, bytes);
}

/// Adds a count of what follows.
pub fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Adds a text.
pub fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Reads what was written, one thing after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Whether there is nothing left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Bad::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Bad::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A count of what follows, each of which takes a byte at least.
    ///
    /// # Errors
    /// [`Bad::Cut`] where there is no count, or not so much behind it.
    pub fn count(&mut self) -> Result<u32, Bad> {
        let count = u32::from_le_bytes(self.array()?);
        if count as usize > self.0.len() { Err(Bad::Cut) } else { Ok(count) }
    }

    /// A text.
    ///
    /// # Errors
    /// [`Bad::Cut`].
    #[inline]
    pub fn text(&mut self) -> Result<&'a [u8], Bad> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }

    /// A value; those of a list follow.
    ///
    /// # Errors
    /// [`Bad::Cut`] or [`Bad::Tag`].
    #[inline]
    pub fn value(&mut self) -> Result<Value<'a>, Bad> {
        let [tag] = self.array()?;
        Ok(match tag {
            0 => Value::Null,
            1 | 2 => Value::Boolean(tag == 2),
            3 => Value::Integer(i64::from_le_bytes(self.array()?)),
            4 => Value::Float(f64::from_le_bytes(self.array()?)),
            5 => Value::Text(self.text()?),
            6 => Value::Json(self.text()?),
            7 => Value::List(self.count()?),
            8 => Value::Bytes(self.text()?),
            tag => return Err(Bad::Tag(tag)),
        })
    }
}
