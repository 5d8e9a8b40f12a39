//! Parameters for PostgreSQL, in the binary format of the type that the statement has in their place.

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use super::kind::Kind;
use crate::calendar;
use crate::value::Param;
use serde_json::Value;
use std::net::IpAddr;

/// Why a value does not fit.
type Why = String;

/// A parameter on the wire; none for NULL.
///
/// # Errors
/// Why the value does not fit the type.
pub fn value(param: &Param, kind: &Kind) -> Result<Option<Vec<u8>>, Why> {
    if let Param::Null = param {
        return Ok(None);
    }
    Ok(Some(match kind {
        Kind::Array(of, oid) => match param {
            Param::Json(text) => array(text, of, *oid)?,
            _ => return Err("a list is expected".into()),
        },
        Kind::Json => json(param)?,
        Kind::Jsonb => [&[1][..], &json(param)?].concat(),
        Kind::Bytes => match param {
            Param::Text(bytes) | Param::Bytes(bytes) => bytes.clone(),
            _ => return Err("a string is expected".into()),
        },
        Kind::Bool => vec![boolean(param)?.into()],
        Kind::Int2 => integer::<i16>(param)?.to_be_bytes().into(),
        Kind::Int4 => integer::<i32>(param)?.to_be_bytes().into(),
        Kind::Int8 => integer::<i64>(param)?.to_be_bytes().into(),
        Kind::Oid => integer::<u32>(param)?.to_be_bytes().into(),
        Kind::Float4 => {
            let value = float(param)?;
            let short = value as f32;
            if short.is_infinite() && value.is_finite() {
                return Err(format!("{value:e} is out of range"));
            }
            short.to_be_bytes().into()
        }
        Kind::Float8 => float(param)?.to_be_bytes().into(),
        Kind::Text | Kind::Char => plain(param)?.into_bytes(),
        Kind::Void => return Err("the type void has no values".into()),
        Kind::Range(_) => return Err("ranges are written $1::text::int4range (or as their type is)".into()),
        Kind::Other(name) => {
            return Err(format!("the type {name} has no conversion; write $1::text::{name}"));
        }
        kind => from_text(param, kind)?,
    }))
}

/// The text of a value that is one.
fn plain(param: &Param) -> Result<String, Why> {
    let text = match param {
        Param::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => return Err("it is not UTF-8; bytes go into bytea".into()),
        },
        Param::Bytes(_) => return Err("it is a db.blob, which goes into bytea".into()),
        Param::Integer(value) => value.to_string(),
        Param::Float(value) => value.to_string(),
        Param::Bool(value) => value.to_string(),
        Param::Json(text) => text.clone(),
        Param::Null => return Err("it is NULL".into()),
    };
    match text.contains('\0') {
        true => Err("PostgreSQL's text cannot hold a NUL byte".into()),
        false => Ok(text),
    }
}

fn json(param: &Param) -> Result<Vec<u8>, Why> {
    match param {
        // As everywhere in PostgreSQL, text for a json column is JSON.
        Param::Text(_) | Param::Json(_) | Param::Integer(_) | Param::Bool(_) => {
            Ok(plain(param)?.into_bytes())
        }
        Param::Float(value) if value.is_finite() => Ok(value.to_string().into_bytes()),
        _ => Err("it has no JSON".into()),
    }
}

fn boolean(param: &Param) -> Result<bool, Why> {
    match param {
        Param::Bool(value) => Ok(*value),
        Param::Integer(0) => Ok(false),
        Param::Integer(1) => Ok(true),
        Param::Text(text) => match text.to_ascii_lowercase().as_slice() {
            b"true" | b"t" | b"yes" | b"on" | b"1" => Ok(true),
            b"false" | b"f" | b"no" | b"off" | b"0" => Ok(false),
            _ => Err("a boolean is expected".into()),
        },
        _ => Err("a boolean is expected".into()),
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn integer<T: TryFrom<i64>>(param: &Param) -> Result<T, Why> {
    let value = match param {
        Param::Integer(value) => Some(*value),
        // 2^63 as a float is the first that does not fit.
        Param::Float(value) if value.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(value) => {
            Some(*value as i64)
        }
        Param::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    match value {
        Some(value) => T::try_from(value).map_err(|_| format!("{value} is out of range")),
        None => Err("an integer is expected".into()),
    }
}

fn float(param: &Param) -> Result<f64, Why> {
    match param {
        Param::Integer(value) => Ok(*value as f64),
        Param::Float(value) => Ok(*value),
        Param::Text(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| "a number is expected".into()),
        _ => Err("a number is expected".into()),
    }
}

/// Seconds since 1970 as microseconds.
fn unix(param: &Param) -> Option<i64> {
    match param {
        Param::Integer(seconds) => seconds.checked_mul(1_000_000),
        Param::Float(seconds) if seconds.abs() < 9.0e12 => Some((seconds * 1e6).round() as i64),
        _ => None,
    }
}

fn from_text(param: &Param, kind: &Kind) -> Result<Vec<u8>, Why> {
    let text = plain(param)?;
    let text = text.trim();
    let expected = |what: &str| format!("{what} is expected");
    Ok(match kind {
        Kind::Numeric => numeric(text).ok_or_else(|| expected("a number, or its digits as a string,"))?,
        Kind::Date => {
            let days = match text {
                "infinity" => i32::MAX,
                "-infinity" => i32::MIN,
                _ => calendar::parse_timestamp(text)
                    .map(|(micros, _)| micros.div_euclid(calendar::DAY.into()) - i128::from(EPOCH_DAYS))
                    .and_then(|days| i32::try_from(days).ok())
                    .ok_or_else(|| expected("a date like 2024-01-31"))?,
            };
            days.to_be_bytes().into()
        }
        Kind::Time => {
            calendar::parse_time(text).ok_or_else(|| expected("a time like 03:04:05"))?.to_be_bytes().into()
        }
        Kind::TimeTz => {
            let (time, zone) = calendar::split_offset(text)
                .and_then(|(time, zone)| Some((calendar::parse_time(time)?, zone.unwrap_or(0))))
                .ok_or_else(|| expected("a time like 03:04:05+02:00"))?;
            let west = i32::try_from(-zone).unwrap_or(0);
            [&time.to_be_bytes()[..], &west.to_be_bytes()].concat()
        }
        Kind::Timestamp | Kind::TimestampTz => {
            let micros = match text {
                "infinity" => i64::MAX,
                "-infinity" => i64::MIN,
                _ => unix(param)
                    .map(i128::from)
                    .or_else(|| {
                        let (micros, zone) = calendar::parse_timestamp(text)?;
                        // Without a zone it is UTC. A plain timestamp has none and keeps the digits.
                        let zone = if *kind == Kind::TimestampTz { zone.unwrap_or(0) } else { 0 };
                        Some(micros - i128::from(zone) * 1_000_000)
                    })
                    .and_then(|micros| i64::try_from(micros - i128::from(EPOCH_MICROS)).ok())
                    .ok_or_else(|| expected("a time like 2024-01-31T03:04:05Z, or seconds since 1970,"))?,
            };
            micros.to_be_bytes().into()
        }
        Kind::Interval => {
            let (months, days, micros) = match unix(param) {
                Some(micros) => (0, 0, micros),
                None => calendar::parse_duration(text).ok_or_else(|| {
                    expected("a duration like P1DT2H (ISO 8601), or a number of seconds,")
                        + "; PostgreSQL's own forms are written $1::text::interval"
                })?,
            };
            [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat()
        }
        Kind::Uuid => {
            let hex: String = text.chars().filter(|c| !matches!(c, '-' | '{' | '}')).collect();
            let whole = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = whole.then(|| u128::from_str_radix(&hex, 16).ok()).flatten();
            value.ok_or_else(|| expected("a UUID"))?.to_be_bytes().into()
        }
        Kind::Inet(cidr) => {
            inet(text, *cidr).ok_or_else(|| expected("an address like 10.0.0.1 or 10.0.0.0/8"))?
        }
        Kind::MacAddr => {
            let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let parts =
                text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok().filter(|_| hex(part)));
            let bytes: Option<Vec<u8>> = parts.collect();
            bytes
                .filter(|bytes| matches!(bytes.len(), 6 | 8))
                .ok_or_else(|| expected("an address like 08:00:2b:01:02:03"))?
        }
        Kind::Bits => {
            if !text.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
                return Err(expected("a string of 0 and 1"));
            }
            let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
            for group in text.as_bytes().chunks(8) {
                let bits = group.iter().enumerate().map(|(n, bit)| (bit - b'0') << (7 - n));
                bytes.push(bits.sum());
            }
            bytes
        }
        other => return Err(format!("the type {other:?} has no conversion")),
    })
}

fn inet(text: &str, cidr: bool) -> Option<Vec<u8>> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    // PGSQL_AF_INET and the number after it.
    let (family, most, octets) = match address {
        IpAddr::V4(v4) => (2, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (3, 128, v6.octets().to_vec()),
    };
    let bits = bits.unwrap_or(most);
    (bits <= most).then(|| [&[family, bits, cidr.into(), octets.len() as u8][..], &octets].concat())
}

/// PostgreSQL's own limits on the digits before and after the point.
const MAX_WHOLE: i64 = 131_072;
const MAX_SCALE: i64 = 16_383;

/// Groups of four decimal digits around the point; none where the text is no number.
fn numeric(text: &str) -> Option<Vec<u8>> {
    let special = match text {
        "NaN" | "nan" => Some(0xC000_u16),
        "Infinity" | "inf" => Some(0xD000),
        "-Infinity" | "-inf" => Some(0xF000),
        _ => None,
    };
    let assemble = |groups: &[u16], weight: i16, sign: u16, scale: u16| {
        let mut bytes = (groups.len() as u16).to_be_bytes().to_vec();
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(scale.to_be_bytes());
        groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
        bytes
    };
    if let Some(sign) = special {
        return Some(assemble(&[], 0, sign, 0));
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The point stands after `point` digits.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let scale = i64::try_from(digits.len()).ok()?.checked_sub(point)?;
    if point > MAX_WHOLE || scale > MAX_SCALE || point < -MAX_SCALE {
        return None;
    }
    // Zeros that put the point on the border of a group.
    let before = point.max(0) as usize;
    let after = scale.max(0) as usize;
    let mut aligned = "0".repeat((4 - before % 4) % 4);
    if point <= 0 {
        aligned.push_str(&"0".repeat(point.unsigned_abs() as usize));
    }
    aligned.push_str(&digits);
    aligned.push_str(&"0".repeat((-scale).max(0) as usize));
    aligned.push_str(&"0".repeat((4 - after % 4) % 4));
    let groups: Option<Vec<u16>> =
        aligned.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).ok()?.parse().ok()).collect();
    let groups = groups?;
    let first = groups.iter().position(|group| *group != 0);
    let scale = after as u16;
    let Some(first) = first else { return Some(assemble(&[], 0, 0, scale)) };
    let last = groups.iter().rposition(|group| *group != 0).unwrap_or(first);
    let weight = before.div_ceil(4) as i64 - 1 - first as i64;
    let sign = if negative { 0x4000 } else { 0 };
    Some(assemble(&groups[first..=last], i16::try_from(weight).ok()?, sign, scale))
}

/// A list of Lua as an array, nested as deep as it is.
fn array(text: &str, kind: &Kind, oid: u32) -> Result<Vec<u8>, Why> {
    let list: Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let is_json = matches!(kind, Kind::Json | Kind::Jsonb);
    let mut lengths = Vec::new();
    let mut first = &list;
    while let Value::Array(items) = first {
        lengths.push(items.len());
        // Lists in an array of json are values of it.
        match items.first() {
            Some(inner) if !is_json => first = inner,
            _ => break,
        }
    }
    if lengths.is_empty() {
        // An empty table may have been meant as either.
        return match &list {
            Value::Object(fields) if fields.is_empty() => array("[]", kind, oid),
            _ => Err("a list is expected".into()),
        };
    }
    let mut items = Vec::new();
    match lengths.contains(&0) {
        true => lengths.clear(),
        false => flatten(&list, &lengths, &mut items)?,
    }
    let mut bytes = (lengths.len() as i32).to_be_bytes().to_vec();
    let nulls = items.iter().any(|item| item.is_null());
    bytes.extend(i32::from(nulls).to_be_bytes());
    bytes.extend(oid.to_be_bytes());
    for length in &lengths {
        let length = i32::try_from(*length).map_err(|_| "the list is too long")?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for (n, item) in items.iter().enumerate() {
        let encoded = value(&scalar(item), kind).map_err(|why| format!("in element {}: {why}", n + 1))?;
        match encoded {
            None => bytes.extend((-1_i32).to_be_bytes()),
            Some(encoded) => {
                let length = i32::try_from(encoded.len()).map_err(|_| "an element is too long")?;
                bytes.extend(length.to_be_bytes());
                bytes.extend(encoded);
            }
        }
    }
    Ok(bytes)
}

fn flatten<'a>(list: &'a Value, lengths: &[usize], items: &mut Vec<&'a Value>) -> Result<(), Why> {
    let Some((length, inner)) = lengths.split_first() else {
        items.push(list);
        return Ok(());
    };
    match list {
        Value::Array(list) if list.len() == *length => {
            list.iter().try_for_each(|item| flatten(item, inner, items))
        }
        _ => Err("the lists of an array must all have the same length".into()),
    }
}

fn scalar(item: &Value) -> Param {
    match item {
        Value::Null => Param::Null,
        Value::Bool(value) => Param::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Param::Integer(value),
            None => Param::Text(number.to_string().into_bytes()),
        },
        Value::String(text) => Param::Text(text.clone().into_bytes()),
        Value::Array(_) | Value::Object(_) => Param::Json(item.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let text = |text: &str| Param::Text(text.into());
        for (param, kind) in [
            (text("x"), Kind::Int4),
            (Param::Integer(1 << 40), Kind::Int4),
            (Param::Float(1.5), Kind::Int8),
            (Param::Float(1e19), Kind::Int8),
            (Param::Float(-9.25e18), Kind::Int8),
            (Param::Float(TWO_TO_63), Kind::Int8),
            (Param::Float(1e300), Kind::Float4),
            (text("1e-9223372036854775807"), Kind::Numeric),
            (text("2024-01-02T03:04:05+1\u{e9}1"), Kind::TimestampTz),
            (text("+8:0:2b:1:2:3"), Kind::MacAddr),
            (text("maybe"), Kind::Bool),
            (text("a\0b"), Kind::Text),
            (Param::Json("[\0]".into()), Kind::Text),
            (Param::Text(vec![0xff]), Kind::Text),
            (text("1.2.3"), Kind::Numeric),
            (text("1e999999"), Kind::Numeric),
            (text("x"), Kind::Uuid),
            (text("10.0.0.1/64"), Kind::Inet(false)),
            (text("[1]"), Kind::Array(Box::new(Kind::Int4), 23)),
            (Param::Json("[[1,2],[3]]".into()), Kind::Array(Box::new(Kind::Int4), 23)),
            (Param::Json("{\"a\":1}".into()), Kind::Array(Box::new(Kind::Int4), 23)),
            (Param::Bool(true), Kind::Other("point".into())),
        ] {
            assert!(value(&param, &kind).is_err(), "{param:?} as {kind:?}");
        }
    }
}
