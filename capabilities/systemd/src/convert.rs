//! Values of D-Bus as JSON: properties under the names that scripts see.

use serde_json::{Map, Value};
use std::collections::HashMap;
use zbus::{OwnedVariant, Variant};

/// The properties of an object, by their D-Bus names.
pub type Properties = HashMap<String, OwnedVariant>;

/// A value as JSON. None for what says that there is no value: an empty text or list, and the highest number,
/// which is systemd's "not set" and "infinity".
pub fn json(value: &Variant<'_>) -> Option<Value> {
    Some(match value {
        Variant::Bool(value) => Value::Bool(*value),
        Variant::U8(value) => (*value).into(),
        Variant::I16(value) => (*value).into(),
        Variant::U16(value) => (*value).into(),
        Variant::I32(value) => (*value).into(),
        Variant::U32(value) => (*value).into(),
        Variant::I64(value) => (*value).into(),
        // Larger ones fit no integer of Lua's either.
        Variant::U64(value) => i64::try_from(*value).ok()?.into(),
        Variant::F64(value) => serde_json::Number::from_f64(*value)?.into(),
        Variant::Str(text) => Value::String(Some(text.as_str()).filter(|text| !text.is_empty())?.to_string()),
        Variant::ObjectPath(path) => Value::String(path.as_str().to_string()),
        Variant::Signature(signature) => Value::String(signature.to_string()),
        Variant::Variant(inner) => json(inner)?,
        Variant::Array(list) if list.is_empty() => return None,
        Variant::Array(list) => Value::Array(list.inner().iter().filter_map(json).collect()),
        Variant::Structure(fields) => {
            Value::Array(fields.fields().iter().map(|field| json(field).unwrap_or(Value::Null)).collect())
        }
        Variant::Dict(pairs) => Value::Object(
            pairs
                .iter()
                .filter_map(|(name, value)| match name {
                    Variant::Str(name) => Some((name.as_str().to_string(), json(value)?)),
                    _ => None,
                })
                .collect(),
        ),
        _ => return None,
    })
}

/// How a property is shown.
#[derive(Clone, Copy)]
pub enum As {
    /// As it is.
    Plain,
    /// A number of which 0 means that it is not known: a time, the id of a process.
    Nonzero,
    /// Bytes, as hexadecimal digits.
    Hex,
    /// Commands (`a(sasbttttuii)`): the argument lists alone.
    Commands,
    /// Of each structure in the list, the text in its second field: `a(sst)` of calendar timers.
    Second,
    /// Of a structure, its second field: the message of `LoadError`.
    Message,
}

fn second(value: &Variant<'_>) -> Option<Value> {
    match value {
        Variant::Structure(fields) => json(fields.fields().get(1)?),
        _ => None,
    }
}

fn list(value: &Variant<'_>) -> Option<Value> {
    let Variant::Array(items) = value else { return None };
    let items: Vec<Value> = items.inner().iter().filter_map(second).collect();
    (!items.is_empty()).then_some(Value::Array(items))
}

fn shown(value: &Variant<'_>, how: As) -> Option<Value> {
    match how {
        As::Plain => json(value),
        As::Nonzero => json(value).filter(|value| value.as_i64() != Some(0)),
        As::Hex => match value {
            Variant::Array(bytes) if !bytes.is_empty() => {
                let digit = |byte: &Variant<'_>| match byte {
                    Variant::U8(byte) => format!("{byte:02x}"),
                    _ => String::new(),
                };
                Some(Value::String(bytes.inner().iter().map(digit).collect()))
            }
            _ => None,
        },
        As::Commands | As::Second => list(value),
        As::Message => second(value),
    }
}

/// Takes the named properties: the D-Bus name, the script's name, how it is shown.
pub fn take(properties: &Properties, wanted: &[(&str, &str, As)]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, key, how) in wanted {
        if let Some(value) = properties.get(*name).and_then(|value| shown(value, *how)) {
            object.insert((*key).to_string(), value);
        }
    }
    object
}

/// A text property; empty where it is missing.
pub fn text<'a>(properties: &'a Properties, name: &str) -> &'a str {
    match properties.get(name).map(|value| &**value) {
        Some(Variant::Str(text)) => text.as_str(),
        _ => "",
    }
}

/// A number property; none where it is not set.
pub fn number(properties: &Properties, name: &str) -> Option<u64> {
    match properties.get(name).map(|value| &**value) {
        Some(Variant::U64(value)) if *value != 0 && *value != u64::MAX => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(json(&Variant::U64(5)), Some(5.into()));
        assert_eq!(json(&Variant::U64(u64::MAX)), None);
        assert_eq!(json(&Variant::from("")), None);
        assert_eq!(json(&Variant::from("x")), Some("x".into()));
        assert_eq!(json(&Variant::from(vec!["a", "b"])), Some(serde_json::json!(["a", "b"])));
        assert_eq!(json(&Variant::from(Vec::<String>::new())), None);
        assert_eq!(json(&Variant::new(("a", 1u32, ""))), Some(serde_json::json!(["a", 1, null])));
        assert_eq!(json(&Variant::F64(f64::NAN)), None);
        assert_eq!(shown(&Variant::from(vec![1u8, 255]), As::Hex), Some("01ff".into()));
        assert_eq!(shown(&Variant::U64(0), As::Nonzero), None);
    }

    #[test]
    fn commands_are_their_arguments() {
        let command =
            ("/bin/sleep", vec!["/bin/sleep", "9"], false, 0u64, 0u64, 0u64, 0u64, 0u32, 0i32, 0i32);
        assert_eq!(
            shown(&Variant::new(vec![command]), As::Commands),
            Some(serde_json::json!([["/bin/sleep", "9"]]))
        );
    }
}
