//! What the fuzz target `db` runs: everything that crosses between a script and a database, both ways.
//!
//! The first line of an input says what the rest is:
//!
//! - `params`: lists of parameters as the guest writes them
//! - `take KIND PARAM`: a parameter for PostgreSQL, where a type of that kind is expected
//! - `give KIND`: a value from PostgreSQL
//! - `mysql TYPE`: a value from MySQL
//! - `url`: the URL of `db.connect`, and a line for each option

use crate::calendar;
use crate::mysql;
use crate::postgres::kind::Kind;
use crate::postgres::{decode, encode};
use crate::target::{self, Target};
use crate::value::{Bounds, Param, Reader, Sink};
use assay_capability_api::scope::READ;
use assay_capability_api::types::ErrorCode;
use assay_capability_api::{Policy, Request, Run};
use assay_wire::values::{self, Value};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn one(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let rest = data.get(end + 1..).unwrap_or_default();
    let head = String::from_utf8_lossy(&data[..end]);
    if let Some(name) = head.strip_prefix("mysql ") {
        let (mut sink, _rows) = sink();
        if mysql::give_value(&mut sink, mysql::Kind::of(name), rest, false).is_ok() {
            given_values(&sink.take().unwrap_or_default().bytes);
        }
        return;
    }
    match head.split(' ').collect::<Vec<_>>().as_slice() {
        ["params"] => params(rest),
        ["take", kind, of] => {
            if let (Some(kind), Some(param)) = (kind_of(kind), param_of(of, rest)) {
                take(&param, &kind);
            }
        }
        ["give", kind] => {
            if let Some(kind) = kind_of(kind) {
                give(&kind, rest);
            }
        }
        ["url"] => url(&String::from_utf8_lossy(rest)),
        _ => {}
    }
}

fn sink() -> (Sink, tokio::sync::mpsc::Receiver<crate::value::Batch>) {
    let run = Arc::new(Run::new(Policy::default(), PathBuf::from("/")));
    let (out, rows) = tokio::sync::mpsc::channel(1);
    let limits = Bounds { rows: None, bytes: None, row_bytes: u64::MAX, discard: false };
    (Sink::new(run, out, limits), rows)
}

/// `[]KIND` is an array, `<>KIND` a range.
fn kind_of(text: &str) -> Option<Kind> {
    if let Some(of) = text.strip_prefix("[]") {
        // An array of arrays is an array with more dimensions.
        return kind_of(of)
            .filter(|of| !matches!(of, Kind::Array(..)))
            .map(|of| Kind::Array(Box::new(of), 7));
    }
    if let Some(of) = text.strip_prefix("<>") {
        return kind_of(of)
            .filter(|of| !matches!(of, Kind::Array(..) | Kind::Range(_)))
            .map(|of| Kind::Range(Box::new(of)));
    }
    Some(match text {
        "bool" => Kind::Bool,
        "bytes" => Kind::Bytes,
        "int2" => Kind::Int2,
        "int4" => Kind::Int4,
        "int8" => Kind::Int8,
        "oid" => Kind::Oid,
        "float4" => Kind::Float4,
        "float8" => Kind::Float8,
        "text" => Kind::Text,
        "char" => Kind::Char,
        "json" => Kind::Json,
        "jsonb" => Kind::Jsonb,
        "numeric" => Kind::Numeric,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timetz" => Kind::TimeTz,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampTz,
        "interval" => Kind::Interval,
        "uuid" => Kind::Uuid,
        "inet" => Kind::Inet(false),
        "cidr" => Kind::Inet(true),
        "macaddr" => Kind::MacAddr,
        "bits" => Kind::Bits,
        "void" => Kind::Void,
        "other" => Kind::Other("point".into()),
        _ => return None,
    })
}

fn param_of(of: &str, rest: &[u8]) -> Option<Param> {
    let text = std::str::from_utf8(rest);
    Some(match of {
        "null" => Param::Null,
        "true" => Param::Bool(true),
        "false" => Param::Bool(false),
        "integer" => Param::Integer(text.ok()?.parse().ok()?),
        "float" => Param::Float(text.ok()?.parse().ok()?),
        "text" => Param::Text(rest.to_vec()),
        "bytes" => Param::Bytes(rest.to_vec()),
        "json" => Param::Json(text.ok()?.to_string()),
        _ => return None,
    })
}

/// What was read, written again as the guest writes it, is what was there.
fn params(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut written = Vec::new();
    while !reader.is_empty() {
        let list = match reader.list(&mut assay_capability_api::Budget::new(u64::MAX).nothing()) {
            Ok(list) => list,
            Err(failure) => {
                assert_eq!(failure.code, ErrorCode::InvalidArgument);
                return;
            }
        };
        values::count(&mut written, list.len());
        for param in &list {
            let value = match param {
                Param::Null => Value::Null,
                Param::Bool(value) => Value::Boolean(*value),
                Param::Integer(value) => Value::Integer(*value),
                Param::Float(value) => Value::Float(*value),
                Param::Text(bytes) => Value::Text(bytes),
                Param::Json(text) => Value::Json(text.as_bytes()),
                Param::Bytes(bytes) => Value::Bytes(bytes),
            };
            value.write(&mut written);
        }
    }
    assert_eq!(written, data);
}

/// A value that the guest was given.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    One(Param),
    List(Vec<Given>),
}

/// The values that the bytes are, read as the guest does.
fn given_values(bytes: &[u8]) -> Vec<Given> {
    let mut reader = values::Reader::new(bytes);
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(given(&mut reader, 0));
    }
    all
}

fn given(reader: &mut values::Reader<'_>, depth: usize) -> Given {
    assert!(depth <= 6, "lists are nested deeper than PostgreSQL has dimensions");
    let value = reader.value().unwrap_or_else(|bad| panic!("the guest cannot read it: {bad}"));
    Given::One(match value {
        Value::Null => Param::Null,
        Value::Boolean(value) => Param::Bool(value),
        Value::Integer(value) => Param::Integer(value),
        Value::Float(value) => Param::Float(value),
        Value::Text(bytes) => Param::Text(bytes.to_vec()),
        Value::Json(bytes) => Param::Json(String::from_utf8_lossy(bytes).into_owned()),
        Value::Bytes(_) => panic!("bytes go to the guest as text"),
        Value::List(count) => return Given::List((0..count).map(|_| given(reader, depth + 1)).collect()),
    })
}

/// What PostgreSQL sent, as the script gets it.
fn decoded(kind: &Kind, bytes: &[u8]) -> Result<Given, String> {
    let (mut sink, _rows) = sink();
    decode::value(&mut sink, kind, bytes, false)?;
    let out = sink.take().unwrap_or_default().bytes;
    // The longest NUMERIC is a few bytes and has all its digits.
    assert!(out.len() <= 200_000 + 64 * bytes.len(), "{} bytes became {}", bytes.len(), out.len());
    let mut all = given_values(&out);
    assert_eq!(all.len(), 1, "{kind:?} gave {all:?}");
    Ok(all.remove(0))
}

/// A value from PostgreSQL is refused, or it is one that goes back and comes again.
fn give(kind: &Kind, bytes: &[u8]) {
    let Ok(Given::One(param)) = decoded(kind, bytes) else { return };
    let sendable = match kind {
        Kind::Range(_) | Kind::Void | Kind::Other(_) => false,
        Kind::Text | Kind::Char | Kind::Json | Kind::Jsonb => {
            std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
        }
        _ => true,
    };
    if !sendable {
        return;
    }
    let sent = encode::value(&param, kind)
        .unwrap_or_else(|why| panic!("{kind:?}: {param:?} came from {bytes:x?}, and cannot go back: {why}"))
        .unwrap_or_else(|| panic!("{kind:?}: {param:?} became NULL"));
    let again =
        decoded(kind, &sent).unwrap_or_else(|why| panic!("{kind:?}: {param:?} does not come again: {why}"));
    assert!(same(&again, &Given::One(param.clone())), "{kind:?}: {param:?} came again as {again:?}");
}

fn same(one: &Given, other: &Given) -> bool {
    match (one, other) {
        (Given::One(Param::Float(a)), Given::One(Param::Float(b))) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        _ => one == other,
    }
}

/// A parameter is refused, or PostgreSQL gets what the script meant.
fn take(param: &Param, kind: &Kind) {
    let sent = match encode::value(param, kind) {
        Err(why) => return assert!(!why.is_empty()),
        Ok(None) => return assert_eq!(*param, Param::Null),
        Ok(Some(sent)) => sent,
    };
    let back =
        decoded(kind, &sent).unwrap_or_else(|why| panic!("{param:?} as {kind:?} became {sent:x?}: {why}"));
    if let (Param::Json(text), Kind::Array(of, _)) = (param, kind) {
        let json: Json = serde_json::from_str(text).unwrap_or_default();
        return assert!(means(&json, &back, of), "{text} came back as {back:?}");
    }
    let Given::One(back) = back else { panic!("{param:?} as {kind:?} came back as a list") };
    match (param, &back) {
        (Param::Integer(own), Param::Integer(back)) => assert_eq!(own, back, "{kind:?}"),
        (Param::Float(own), Param::Integer(back)) => {
            assert!(*own == *back as f64 && own.abs() <= 9_223_372_036_854_775_808.0, "{own} became {back}");
        }
        (Param::Float(own), Param::Float(back)) => {
            assert_eq!(own.is_finite(), back.is_finite(), "{own} became {back} as {kind:?}");
            assert!(*kind == Kind::Float4 || own == back || own.is_nan(), "{own} became {back}");
        }
        (Param::Bool(own), Param::Bool(back)) => assert_eq!(own, back),
        (Param::Text(own), Param::Text(back)) if matches!(kind, Kind::Text | Kind::Char | Kind::Bytes) => {
            assert_eq!(own, back);
        }
        (Param::Bytes(own), Param::Text(back)) => assert_eq!(own, back),
        _ => {}
    }
    if *kind == Kind::Numeric {
        let digits = |param: &Param| match param {
            Param::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Param::Integer(value) => value.to_string(),
            Param::Float(value) => value.to_string(),
            other => panic!("{other:?} as a NUMERIC"),
        };
        let (own, back) = (digits(param), digits(&back));
        assert_eq!(plain_digits(own.trim()), plain_digits(&back), "{own} became {back}");
    }
    // What came back is the one spelling of it.
    let again =
        encode::value(&back, kind).unwrap_or_else(|why| panic!("{kind:?}: {back:?} cannot go again: {why}"));
    let again = decoded(kind, &again.unwrap_or_default()).unwrap_or_else(|why| panic!("{kind:?}: {why}"));
    assert!(same(&again, &Given::One(back.clone())), "{kind:?}: {back:?} and then {again:?}");
    if *kind == Kind::TimestampTz
        && let Param::Text(text) = param
        && let Ok(text) = std::str::from_utf8(text)
    {
        moment(text.trim(), &back);
    }
}

/// A zone moves the moment by what it says.
fn moment(text: &str, back: &Param) {
    let Some((local, Some(zone))) = calendar::split_offset(text) else { return };
    let Ok(Some(sent)) = encode::value(&Param::Text(local.into()), &Kind::TimestampTz) else { return };
    let Ok(Some(zoned)) = encode::value(back, &Kind::TimestampTz) else { return };
    let micros = |bytes: Vec<u8>| i64::from_be_bytes(bytes.try_into().unwrap_or_default());
    let (local, zoned) = (i128::from(micros(sent)), i128::from(micros(zoned)));
    assert_eq!(local - zoned, i128::from(zone) * 1_000_000, "{text} became {back:?}");
}

/// Whether a value of an array is the one of the JSON in its place.
fn means(json: &Json, given: &Given, kind: &Kind) -> bool {
    match (json, given) {
        (Json::Array(items), Given::List(list)) => {
            // A list without elements has no dimensions.
            list.is_empty() && flat(json)
                || items.len() == list.len()
                    && items.iter().zip(list).all(|(item, given)| means(item, given, kind))
        }
        (Json::Object(fields), Given::List(list)) => fields.is_empty() && list.is_empty(),
        (Json::Null, Given::One(own)) => *own == Param::Null,
        (Json::Number(number), Given::One(Param::Integer(own))) => {
            number.as_i64().map_or(number.as_f64() == Some(*own as f64), |number| number == *own)
        }
        (Json::Bool(value), Given::One(Param::Bool(own))) => value == own,
        (Json::String(text), Given::One(Param::Text(own))) if *kind == Kind::Text => text.as_bytes() == own,
        (_, Given::One(_)) => true,
        _ => false,
    }
}

/// Whether the lists hold nothing but lists, and one of them nothing.
fn flat(json: &Json) -> bool {
    match json {
        Json::Array(items) => items.first().is_none_or(flat),
        _ => false,
    }
}

/// A decimal number as sign, digits and the place of its point, without zeros that say nothing; lower case where it is
/// none.
fn plain_digits(text: &str) -> (bool, String, i64) {
    let lower = text.to_ascii_lowercase();
    let (negative, rest) = match lower.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return (negative, rest.replace("infinity", "inf"), 0);
    }
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let exponent: i64 = exponent.parse().unwrap_or_default();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let digits = digits.trim_matches('0').to_string();
    match digits.is_empty() {
        true => (false, digits, 0),
        false => (negative, digits, (whole.len() as i64).saturating_add(exponent) - leading as i64),
    }
}

/// A URL is refused without its password, or the scope that its denial names grants it and nothing else.
fn url(text: &str) {
    const SECRET: &str = "correct-horse";
    let mut lines = text.split('\n');
    let url = lines.next().unwrap_or_default();
    let options: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    // As part of a path it may be told.
    let secret = text.matches(SECRET).count() == 1
        && url::Url::parse(url).is_ok_and(|url| url.password().is_some_and(|own| own.contains(SECRET)));
    let told = |message: &str| secret && message.contains(SECRET);
    if let Some(place) = crate::place(url) {
        assert!(!told(&place), "{place}");
    }
    let (target, options) = match target::parse(url, &options) {
        Ok(parsed) => parsed,
        Err(failure) => {
            assert!(matches!(failure.code, ErrorCode::InvalidArgument | ErrorCode::Unsupported));
            assert!(!told(&failure.message), "{}", failure.message);
            return;
        }
    };
    assert!(options.max_rows > 0 && options.max_bytes > 0 && (1..=1000).contains(&options.max_connections));
    let Target::Server(server) = target else { return };
    assert!(!server.host.is_empty() && server.port > 0, "{url}");
    let path = format!("/{}", server.database.clone().unwrap_or_default());
    for method in [READ, "WRITE"] {
        let request = |path| Request::Network {
            scheme: server.kind.scheme(),
            method: Some(method),
            host: &server.host,
            port: server.port,
            path: Some(path),
            address: None,
        };
        if !request(&path).has_own_scope() {
            return;
        }
        let named = request(&path).scope().unwrap_or_default();
        let scope = crate::scope::parse(&named, Path::new("/"))
            .unwrap_or_else(|why| panic!("the scope of a denial cannot be read: {why}"));
        assert!(scope.matches(&request(&path)), "{named} does not grant what it was named for: {path}");
        let other = format!("{path}x");
        assert!(path == "/" || !scope.matches(&request(&other)), "{named} grants {other} too");
    }
}

#[cfg(test)]
#[path = "../../../fuzz/properties/seeds.rs"]
mod seeds;

#[test]
fn what_crosses() {
    seeds::run("db", 20_000, one);
}
