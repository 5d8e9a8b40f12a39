//! `base64`: RFC 4648, sections 4 (standard) and 5 (URL-safe).

use crate::call::{Call, Error, Returned, library};
use crate::computing;
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::work::{PIECE, spend};

pub fn register(lua: Lua) {
    library(lua, "base64", &[("encode", computing!(encode, 2)), ("decode", computing!(decode, 1))]);
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a character stands for: its 6 bits, or one of the three below.
const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut n = 0;
    while n < 64 {
        values[STANDARD[n] as usize] = n as u8;
        values[URL[n] as usize] = n as u8;
        n += 1;
    }
    values[b'=' as usize] = PADDING;
    values[b' ' as usize] = SPACE;
    values[b'\t' as usize] = SPACE;
    values[b'\r' as usize] = SPACE;
    values[b'\n' as usize] = SPACE;
    values
};
const PADDING: u8 = 64;
const SPACE: u8 = 65;
const INVALID: u8 = 66;

fn encode(call: Call) -> Returned {
    let bytes = call.bytes(1)?;
    let (mut url, mut pad) = (false, true);
    if let Some(options) = call.opt_options(2, &["url", "pad"])? {
        url = options.boolean("url")?.unwrap_or(url);
        pad = options.boolean("pad")?.unwrap_or(pad);
    }
    let text = to_base64(bytes, url, pad);
    call.lua().push_bytes(&text);
    Ok(1)
}

fn decode(call: Call) -> Returned {
    let text = call.bytes(1)?;
    let bytes = from_base64(text)
        .map_err(|why| Error::failed(ErrorCode::InvalidData, format!("base64.decode: {why}")))?;
    call.lua().push_bytes(&bytes);
    Ok(1)
}

/// The base64 text of `bytes`.
pub fn to_base64(bytes: &[u8], url: bool, pad: bool) -> Vec<u8> {
    let alphabet = if url { URL } else { STANDARD };
    let digit = |bits: u32, shift: u32| alphabet[(bits >> shift & 63) as usize];
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    let (groups, rest) = bytes.as_chunks::<3>();
    for piece in groups.chunks(PIECE) {
        spend(8 * piece.len());
        for [a, b, c] in piece {
            let bits = u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c);
            out.extend_from_slice(&[digit(bits, 18), digit(bits, 12), digit(bits, 6), digit(bits, 0)]);
        }
    }
    let (bits, digits) = match rest {
        [a] => (u32::from(*a) << 16, 2),
        [a, b] => (u32::from(*a) << 16 | u32::from(*b) << 8, 3),
        _ => return out,
    };
    out.extend((0..digits).map(|n| digit(bits, 18 - 6 * n)));
    if pad {
        out.extend((digits..4).map(|_| b'='));
    }
    out
}

/// The bytes that a base64 text of either alphabet stands for, padded or not; white space is passed
/// over.
///
/// # Errors
/// What is wrong, and where.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut digits, mut padding) = (0u32, 0usize, 0usize);
    for (at, byte) in text.iter().enumerate() {
        if at % PIECE == 0 {
            spend(2 * PIECE.min(text.len() - at));
        }
        match VALUES[usize::from(*byte)] {
            SPACE => {}
            PADDING => padding += 1,
            INVALID => {
                let shown = byte.escape_ascii();
                return Err(format!("'{shown}' at position {} is not a base64 character", at + 1));
            }
            _ if padding > 0 => return Err(format!("more text after the padding, at position {}", at + 1)),
            value => {
                bits = bits << 6 | u32::from(value);
                digits += 1;
                if digits % 4 == 0 {
                    out.extend_from_slice(&bits.to_be_bytes()[1..]);
                    bits = 0;
                }
            }
        }
    }
    // What is left of the last group: 2 digits hold 1 byte and 4 spare bits, 3 hold 2 and 2.
    let spare = match digits % 4 {
        0 => 0,
        2 => {
            out.push((bits >> 4) as u8);
            bits & 0xF
        }
        3 => {
            out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]);
            bits & 3
        }
        _ => return Err("the text is cut off: one character of its last group of four is there".into()),
    };
    if spare != 0 {
        return Err("the last character has bits that belong to no byte".into());
    }
    if padding > 0 && (padding > 2 || (digits + padding) % 4 != 0) {
        return Err(format!("{padding} padding characters after {digits} others"));
    }
    Ok(out)
}
