//! Sizes and times, as flags and manifests write them.

use crate::limits::LEAST_MEMORY;
use std::time::Duration;

/// The number at the start, and the unit after it.
fn split(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim())
}

/// `64MiB`, `1G`, `512k`, `100`: bytes. Both kinds of suffix count in 1024s.
///
/// # Errors
/// When it is not a number with such a suffix.
pub fn size(text: &str) -> Result<u64, String> {
    const FORM: &str = "write a number with KiB, MiB or GiB";
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1_u64,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(FORM.into()),
    };
    // Not every integer is a float.
    let exact = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    if let Some(bytes) = exact {
        return Ok(bytes);
    }
    let bytes = number.parse::<f64>().map_err(|_| FORM)? * factor as f64;
    // 2^64 as a float is the first that does not fit.
    if bytes < 18_446_744_073_709_551_616.0 { Ok(bytes as u64) } else { Err("too large".into()) }
}

/// [`size`], of the memory of a run.
///
/// # Errors
/// As for [`size`], and where no script runs in so little.
pub fn memory(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes >= LEAST_MEMORY {
        return Ok(bytes);
    }
    let (number, unit) = split(text);
    // Who writes a number alone may have meant another unit.
    let hint = match (unit, bytes) {
        ("", 1..=0xFFFF) => format!("; for {number} MiB write {number}MiB"),
        _ => String::new(),
    };
    Err(format!("{} is below the least, {}{hint}", spoken(bytes), spoken(LEAST_MEMORY)))
}

/// Bytes for a reader: in the largest unit of which they are a whole number.
pub(crate) fn spoken(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".into(),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

/// `500ms`, `30s`, `5m`, `1h`, `2.5` (seconds).
///
/// # Errors
/// When it is not a number with such a suffix.
pub fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a number with ms, s, m or h";
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(FORM.into()),
    };
    let seconds = number.parse::<f64>().map_err(|_| FORM)? * factor;
    Duration::try_from_secs_f64(seconds).map_err(|_| "too long".into())
}

/// `128`: a number of things.
///
/// # Errors
/// When it is no whole number.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5k"), Ok(1536));
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("9007199254740993"), Ok(9_007_199_254_740_993));
        assert_eq!(size("18446744073709551615"), Ok(u64::MAX));
        assert!(size("18446744073709551616").is_err() && size("17179869184G").is_err());
        assert!(
            size("x").is_err() && size("5 parsecs").is_err() && size("").is_err() && size("1.2.3").is_err()
        );
        for (text, why) in [
            ("10", "10 bytes is below the least, 4 MiB; for 10 MiB write 10MiB"),
            ("1", "1 byte is below the least, 4 MiB; for 1 MiB write 1MiB"),
            ("0", "0 bytes is below the least, 4 MiB"),
            ("1k", "1 KiB is below the least, 4 MiB"),
            ("1.5k", "1536 bytes is below the least, 4 MiB"),
            ("3MiB", "3 MiB is below the least, 4 MiB"),
            ("4194303", "4194303 bytes is below the least, 4 MiB"),
        ] {
            assert_eq!(memory(text), Err(why.into()));
        }
        assert_eq!((memory("4MiB"), memory("4194304")), (Ok(4 << 20), Ok(4 << 20)));
        assert_eq!(memory("x"), size("x"));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert!(duration("soon").is_err() && duration("-1s").is_err());
    }
}
