//! Which value a plain scalar is: YAML 1.2.2, section 10.3.2 (core schema).

/// What a plain scalar stands for.
#[derive(Debug, PartialEq)]
pub enum Scalar {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    /// The digits of a number that no integer of 64 bits and no float holds, as JSON has them.
    Number(String),
    Text,
}

pub fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Boolean(true),
        "false" | "False" | "FALSE" => Scalar::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text),
    }
}

fn number(text: &str) -> Scalar {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
                return Scalar::Text;
            }
            return match (i64::from_str_radix(digits, radix), u128::from_str_radix(digits, radix)) {
                (Ok(value), _) => Scalar::Integer(value),
                (_, Ok(value)) => Scalar::Number(value.to_string()),
                _ => Scalar::Text,
            };
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(value) => Scalar::Integer(value),
            Err(_) => {
                let sign = if text.starts_with('-') { "-" } else { "" };
                Scalar::Number(format!("{sign}{}", unsigned.trim_start_matches('0')))
            }
        };
    }
    if !is_float(unsigned) {
        return Scalar::Text;
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Scalar::Float(value),
        Ok(_) => Scalar::Number(in_json(text)),
        Err(_) => Scalar::Text,
    }
}

/// A float with the digits that JSON asks for.
fn in_json(text: &str) -> String {
    let sign = if text.starts_with('-') { "-" } else { "" };
    let unsigned = text.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = unsigned.split_at(unsigned.find(['e', 'E']).unwrap_or(unsigned.len()));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}{exponent}")
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

/// Whether `text`, written plain, might be read as something else than this text, by a YAML 1.2 reader
/// or by one of YAML 1.1 (which knows `yes`, `on`, `1_000`, `12:30:45` and dates).
pub fn is_ambiguous(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];
    if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) || text == "<<" || text == "=" {
        return true;
    }
    // Whatever is made of what numbers and dates are made of.
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|byte| byte.is_ascii_hexdigit() || b"xXoO_.:+-TtZz ".contains(&byte));
    number || resolve(text) != Scalar::Text
}
