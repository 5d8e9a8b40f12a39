//! Heads of requests on their way to the guest, and header fields in both directions: texts that are each ended by a zero
//! byte. A field is its name and its value. A head is the texts of [`NAMES`], the number of path parameters, those by name
//! and value, and the header fields.

use crate::Bad;

/// What stands at the start of a head, in this order.
pub const NAMES: [&str; 6] = ["method", "path", "query", "version", "peer_addr", "scheme"];

/// Adds a text.
fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), Bad> {
    if text.contains(&0) {
        return Err(Bad::Zero);
    }
    out.extend_from_slice(text);
    out.push(0);
    Ok(())
}

/// Adds a field.
///
/// # Errors
/// [`Bad::Zero`]; nothing is added then.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Bad> {
    let before = out.len();
    let added = text(out, name).and_then(|()| text(out, value));
    if added.is_err() {
        out.truncate(before);
    }
    added
}

/// Begins a head, whose header fields are added with [`field`].
///
/// # Errors
/// [`Bad::Zero`].
pub fn begin(start: [&[u8]; NAMES.len()], parameters: &[(&str, &str)]) -> Result<Vec<u8>, Bad> {
    let mut out = Vec::with_capacity(512);
    for one in start {
        text(&mut out, one)?;
    }
    text(&mut out, parameters.len().to_string().as_bytes())?;
    for (name, value) in parameters {
        field(&mut out, name.as_bytes(), value.as_bytes())?;
    }
    Ok(out)
}

/// Cuts off what stands before the next zero byte.
fn cut<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Bad> {
    let at = rest.iter().position(|byte| *byte == 0).ok_or(Bad::Cut)?;
    let text = &rest[..at];
    *rest = &rest[at + 1..];
    Ok(text)
}

/// Fields, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Bad>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = cut(&mut self.0).and_then(|name| Ok((name, cut(&mut self.0)?)));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A head that was read.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// By the order of [`NAMES`].
    pub start: [&'a [u8]; NAMES.len()],
    /// The path parameters. Each of them is whole.
    pub parameters: Fields<'a>,
    pub headers: Fields<'a>,
}

impl<'a> Head<'a> {
    /// # Errors
    /// [`Bad::Cut`] or [`Bad::Number`]. The header fields are not looked at.
    pub fn read(bytes: &'a [u8]) -> Result<Head<'a>, Bad> {
        let mut rest = bytes;
        let mut start: [&[u8]; NAMES.len()] = [&[]; NAMES.len()];
        for one in &mut start {
            *one = cut(&mut rest)?;
        }
        let count = std::str::from_utf8(cut(&mut rest)?).map_err(|_| Bad::Number)?;
        let count: usize = count.parse().map_err(|_| Bad::Number)?;
        let parameters = rest;
        for _ in 0..count {
            cut(&mut rest)?;
            cut(&mut rest)?;
        }
        let length = parameters.len() - rest.len();
        Ok(Head { start, parameters: Fields(&parameters[..length]), headers: Fields(rest) })
    }
}
