//! Values of PostgreSQL, in its binary format, for the guest.

use super::kind::Kind;
use crate::calendar;
use crate::value::Sink;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Days and microseconds from 1970 to PostgreSQL's epoch, the year 2000.
pub const EPOCH_DAYS: i64 = 10_957;
pub const EPOCH_MICROS: i64 = EPOCH_DAYS * calendar::DAY;

/// Dimensions of an array (`MAXDIM`), and digits of a NUMERIC after its point (`NUMERIC_DSCALE_MASK`).
const MAX_DIMENSIONS: i32 = 6;
const MAX_SCALE: usize = 0x3fff;

/// Why a value cannot be given to the script.
type Why = String;

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Why> {
    bytes.try_into().map_err(|_| format!("it has {} bytes in place of {N}", bytes.len()))
}

/// Reads from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Why> {
    let (head, rest) = bytes.split_at_checked(N).ok_or("it is cut off")?;
    *bytes = rest;
    fixed(head)
}

/// Reads a value with its length in front; none for NULL.
fn element<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Why> {
    let Ok(length) = usize::try_from(i32::from_be_bytes(take(bytes)?)) else { return Ok(None) };
    let (head, rest) = bytes.split_at_checked(length).ok_or("it is cut off")?;
    *bytes = rest;
    Ok(Some(head))
}

/// Gives one value to the guest.
///
/// # Errors
/// Why that cannot be done.
pub fn value(sink: &mut Sink, kind: &Kind, bytes: &[u8], numeric_as_number: bool) -> Result<(), Why> {
    match kind {
        Kind::Bool => sink.boolean(fixed::<1>(bytes)? != [0]),
        Kind::Bytes | Kind::Text | Kind::Char => sink.text(bytes),
        Kind::Int2 => sink.integer(i16::from_be_bytes(fixed(bytes)?).into()),
        Kind::Int4 => sink.integer(i32::from_be_bytes(fixed(bytes)?).into()),
        Kind::Int8 => sink.integer(i64::from_be_bytes(fixed(bytes)?)),
        Kind::Oid => sink.integer(u32::from_be_bytes(fixed(bytes)?).into()),
        Kind::Float4 => sink.short_float(f32::from_be_bytes(fixed(bytes)?)),
        Kind::Float8 => sink.float(f64::from_be_bytes(fixed(bytes)?)),
        Kind::Json => sink.json(bytes),
        Kind::Jsonb => match bytes {
            [1, text @ ..] => sink.json(text),
            _ => return Err("its version of jsonb is not known".into()),
        },
        Kind::Numeric => sink.numeric(&numeric(bytes)?, numeric_as_number),
        Kind::Void => sink.null(),
        Kind::Array(of, _) => array(sink, of, bytes, numeric_as_number)?,
        kind => sink.text(text(kind, bytes)?.as_bytes()),
    }
    Ok(())
}

fn array(sink: &mut Sink, kind: &Kind, mut bytes: &[u8], numeric_as_number: bool) -> Result<(), Why> {
    let dimensions = i32::from_be_bytes(take(&mut bytes)?);
    if dimensions > MAX_DIMENSIONS {
        return Err(format!("it is an array with {dimensions} dimensions"));
    }
    let (_nulls, _element): ([u8; 4], [u8; 4]) = (take(&mut bytes)?, take(&mut bytes)?);
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let length = i32::from_be_bytes(take(&mut bytes)?);
        let _lower_bound: [u8; 4] = take(&mut bytes)?;
        lengths.push(u32::try_from(length).map_err(|_| "a dimension is negative")?);
    }
    if lengths.is_empty() {
        sink.list(0);
        return Ok(());
    }
    // Each element has at least its length: lists without elements could be as many as a server likes to say.
    let count = lengths.iter().try_fold(1_usize, |count, length| count.checked_mul(*length as usize));
    if count.is_none_or(|count| count == 0 || count > bytes.len() / 4) {
        return Err(format!("it is an array of {lengths:?} elements in {} bytes", bytes.len()));
    }
    level(sink, kind, &lengths, &mut bytes, numeric_as_number)
}

fn level(
    sink: &mut Sink,
    kind: &Kind,
    lengths: &[u32],
    bytes: &mut &[u8],
    numeric_as_number: bool,
) -> Result<(), Why> {
    let Some((length, inner)) = lengths.split_first() else {
        match element(bytes)? {
            None => sink.null(),
            Some(bytes) => value(sink, kind, bytes, numeric_as_number)?,
        }
        return Ok(());
    };
    sink.list(*length);
    (0..*length).try_for_each(|_| level(sink, kind, inner, bytes, numeric_as_number))
}

/// The text of a value, for types that Lua has nothing for.
fn text(kind: &Kind, bytes: &[u8]) -> Result<String, Why> {
    Ok(match kind {
        Kind::Int4 => i32::from_be_bytes(fixed(bytes)?).to_string(),
        Kind::Int8 => i64::from_be_bytes(fixed(bytes)?).to_string(),
        Kind::Numeric => numeric(bytes)?,
        Kind::Date => match i32::from_be_bytes(fixed(bytes)?) {
            i32::MAX => "infinity".into(),
            i32::MIN => "-infinity".into(),
            days => calendar::date(i64::from(days) + EPOCH_DAYS),
        },
        Kind::Time => time(fixed(bytes)?)?,
        Kind::TimeTz => {
            let mut bytes = bytes;
            let time = time(take(&mut bytes)?)?;
            // The zone counts to the west here.
            let zone = -i64::from(i32::from_be_bytes(fixed(bytes)?));
            if zone.abs() >= 16 * 3600 {
                return Err(format!("its zone is {zone} seconds from Greenwich"));
            }
            time + &calendar::offset(zone)
        }
        Kind::Timestamp | Kind::TimestampTz => match i64::from_be_bytes(fixed(bytes)?) {
            i64::MAX => "infinity".into(),
            i64::MIN => "-infinity".into(),
            micros => {
                let zone = if *kind == Kind::TimestampTz { "Z" } else { "" };
                let days = micros.div_euclid(calendar::DAY) + EPOCH_DAYS;
                calendar::timestamp(days, micros.rem_euclid(calendar::DAY)) + zone
            }
        },
        Kind::Interval => {
            let mut bytes = bytes;
            let micros = i64::from_be_bytes(take(&mut bytes)?);
            let days = i32::from_be_bytes(take(&mut bytes)?);
            calendar::duration(i32::from_be_bytes(fixed(bytes)?), days, micros)
        }
        Kind::Uuid => {
            let hex = format!("{:032x}", u128::from_be_bytes(fixed(bytes)?));
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        Kind::Inet(cidr) => inet(bytes, *cidr)?,
        Kind::MacAddr if !matches!(bytes.len(), 6 | 8) => {
            return Err(format!("it has {} bytes in place of 6 or 8", bytes.len()));
        }
        Kind::MacAddr => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
        Kind::Bits => {
            let mut bytes = bytes;
            let length = u32::from_be_bytes(take(&mut bytes)?) as usize;
            if bytes.len() != length.div_ceil(8) {
                return Err(format!("it has {length} bits in {} bytes", bytes.len()));
            }
            let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
            bits.take(length).map(|bit| if bit == 1 { '1' } else { '0' }).collect()
        }
        Kind::Range(bound) => range(bound, bytes)?,
        Kind::Other(name) => return Err(format!("the type {name} has no conversion; select it with ::text")),
        other => return Err(format!("the type {other:?} has no text")),
    })
}

/// A time of day, from its microseconds.
fn time(micros: [u8; 8]) -> Result<String, Why> {
    match i64::from_be_bytes(micros) {
        micros @ 0..=calendar::DAY => Ok(calendar::time(micros)),
        micros => Err(format!("it is {micros} microseconds from midnight")),
    }
}

/// As PostgreSQL writes it: `[1,10)`, `empty`.
fn range(bound: &Kind, mut bytes: &[u8]) -> Result<String, Why> {
    const EMPTY: u8 = 1;
    const LOWER_INCLUDED: u8 = 2;
    const UPPER_INCLUDED: u8 = 4;
    const LOWER_INFINITE: u8 = 8;
    const UPPER_INFINITE: u8 = 16;
    let [flags] = take(&mut bytes)?;
    if flags & EMPTY != 0 {
        return Ok("empty".into());
    }
    let mut end = |infinite: u8| match flags & infinite {
        0 => element(&mut bytes)?.map_or(Ok(String::new()), |bytes| text(bound, bytes)),
        _ => Ok(String::new()),
    };
    let (lower, upper) = (end(LOWER_INFINITE)?, end(UPPER_INFINITE)?);
    let open = if flags & LOWER_INCLUDED != 0 { '[' } else { '(' };
    let close = if flags & UPPER_INCLUDED != 0 { ']' } else { ')' };
    Ok(format!("{open}{lower},{upper}{close}"))
}

fn inet(bytes: &[u8], cidr: bool) -> Result<String, Why> {
    let (address, full) = match bytes {
        [_, bits @ 0..=32, _, 4, address @ ..] => {
            (Ipv4Addr::from(fixed::<4>(address)?).to_string(), (*bits, 32))
        }
        [_, bits @ 0..=128, _, 16, address @ ..] => {
            (Ipv6Addr::from(fixed::<16>(address)?).to_string(), (*bits, 128))
        }
        _ => return Err("it is not an address".into()),
    };
    Ok(match full {
        (bits, most) if bits == most && !cidr => address,
        (bits, _) => format!("{address}/{bits}"),
    })
}

/// The digits of a NUMERIC, as many after the point as it was declared with.
fn numeric(mut bytes: &[u8]) -> Result<String, Why> {
    let count = u16::from_be_bytes(take(&mut bytes)?);
    let weight = i16::from_be_bytes(take(&mut bytes)?);
    let sign = u16::from_be_bytes(take(&mut bytes)?);
    let scale = usize::from(u16::from_be_bytes(take(&mut bytes)?));
    match sign {
        0xC000 => return Ok("NaN".into()),
        0xD000 => return Ok("Infinity".into()),
        0xF000 => return Ok("-Infinity".into()),
        0 | 0x4000 if scale <= MAX_SCALE => {}
        _ => return Err(format!("its sign is {sign:#x}, and its scale {scale}")),
    }
    let mut groups = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        groups.push(u16::from_be_bytes(take(&mut bytes)?));
    }
    if let Some(group) = groups.iter().find(|group| **group > 9999) {
        return Err(format!("a group of its digits is {group}"));
    }
    // Group n stands for 10000 to the power of (weight - n).
    let group = |power: i32| {
        let at = i32::from(weight) - power;
        usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0)
    };
    let mut whole = String::new();
    for power in (0..=i32::from(weight)).rev() {
        whole.push_str(&format!("{:04}", group(power)));
    }
    let whole = whole.trim_start_matches('0');
    let mut text = String::new();
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let mut fraction = String::new();
        let mut power = -1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", group(power)));
            power -= 1;
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    // Zero has no sign.
    let negative = sign == 0x4000 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    Ok(if negative { format!("-{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;
    use crate::value::Param;

    #[test]
    fn what_is_sent_reads_back() {
        for (kind, given, expected) in [
            (Kind::Numeric, "12345.6700", "12345.6700"),
            (Kind::Numeric, "-0.00012", "-0.00012"),
            (Kind::Numeric, "0", "0"),
            (Kind::Numeric, "1e5", "100000"),
            (Kind::Numeric, "1.5e-3", "0.0015"),
            (Kind::Numeric, "99999999999999999999999999.9999", "99999999999999999999999999.9999"),
            (Kind::Numeric, "NaN", "NaN"),
            (Kind::Date, "2024-02-29", "2024-02-29"),
            (Kind::Time, "23:59:59.5", "23:59:59.5"),
            (Kind::TimeTz, "01:02:03+02:00", "01:02:03+02:00"),
            (Kind::Timestamp, "2024-01-02 03:04:05", "2024-01-02T03:04:05"),
            (Kind::TimestampTz, "2024-01-02T03:04:05+01:00", "2024-01-02T02:04:05Z"),
            (Kind::TimestampTz, "infinity", "infinity"),
            (Kind::Interval, "P1DT2H", "P1DT2H"),
            (Kind::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (Kind::Inet(false), "10.0.0.1", "10.0.0.1"),
            (Kind::Inet(false), "10.0.0.1/8", "10.0.0.1/8"),
            (Kind::Inet(true), "fd00::/8", "fd00::/8"),
            (Kind::MacAddr, "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
            (Kind::Bits, "10110", "10110"),
        ] {
            let bytes = encode::value(&Param::Text(given.into()), &kind).unwrap().unwrap();
            assert_eq!(text(&kind, &bytes).unwrap(), expected, "{kind:?} {given}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for (kind, bytes) in [
            (Kind::Int4, &[1, 2][..]),
            (Kind::Numeric, &[0, 9, 0, 0, 0, 0, 0, 0]),
            (Kind::Uuid, &[0; 15]),
            (Kind::Inet(false), &[1]),
            (Kind::Inet(false), &[2, 33, 0, 4, 10, 0, 0, 1]),
            (Kind::MacAddr, &[1, 2, 3]),
            (Kind::Bits, &[0, 0, 0, 9, 0xff]),
            (Kind::Time, &[0xff; 8]),
            (Kind::TimeTz, &[0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]),
            (Kind::Numeric, &[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            (Kind::Numeric, &[0, 0, 0, 0, 0x12, 0x34, 0, 0]),
            (Kind::Range(Box::new(Kind::Int4)), &[0, 0, 0]),
        ] {
            assert!(text(&kind, bytes).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn an_array_is_no_larger_than_its_bytes() {
        let run = std::sync::Arc::new(assay_capability_api::Run::new(
            assay_capability_api::Policy::default(),
            "/".into(),
        ));
        let bounds = crate::value::Bounds { rows: None, bytes: None, row_bytes: u64::MAX, discard: false };
        let mut sink = Sink::new(run, tokio::sync::mpsc::channel(1).0, bounds);
        let header = |lengths: &[i32]| {
            let mut bytes = [lengths.len() as i32, 0, 20].map(i32::to_be_bytes).concat();
            lengths.iter().for_each(|length| bytes.extend([*length, 1].map(i32::to_be_bytes).concat()));
            bytes
        };
        for lengths in [&[i32::MAX, 0][..], &[1000, 1000], &[i32::MAX; 3], &[1; 100], &[-1]] {
            let bytes = header(lengths);
            assert!(value(&mut sink, &Kind::Array(Box::new(Kind::Int8), 20), &bytes, false).is_err());
        }
        assert!(sink.take().unwrap().bytes.is_empty());
    }
}
