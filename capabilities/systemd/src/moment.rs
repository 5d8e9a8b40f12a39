//! Moments as journalctl takes them.

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

/// Longer than any moment that means something.
const MAX: usize = 64;

/// A moment of the script's for `--since` and `--until`. RFC 3339 becomes seconds since 1970, because
/// journalctl before version 255 does not know it; the rest is what systemd.time(7) describes.
///
/// # Errors
/// `invalid-argument` for what cannot be a moment.
pub fn moment(field: &str, text: &str) -> Result<String, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " :.+-@/_".contains(c);
    let text = text.trim();
    if text.is_empty() || text.len() > MAX || !text.chars().all(allowed) {
        return Err(error(
            ErrorCode::InvalidArgument,
            format!(
                "systemd.journal: {field} is {text:?}, which is not a time; write \"2026-01-31 12:00:00\", \
                 \"2026-01-31T12:00:00Z\", \"today\", \"-1h\" or seconds since 1970"
            ),
        ));
    }
    Ok(rfc3339(text).unwrap_or_else(|| text.to_string()))
}

/// `@SECONDS.MICROSECONDS` for `2026-01-31T12:00:00.5+01:00` (RFC 3339, section 5.6).
fn rfc3339(text: &str) -> Option<String> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(at);
    let [year, month, day] = numbers::<3>(date, '-')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers::<3>(clock, ':')?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers::<2>(zone.get(1..)?, ':')?;
            let seconds = hours * 3600 + minutes * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !in_range || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let fraction = format!("{fraction:0<6.6}");
    (seconds >= 0).then(|| format!("@{seconds}.{fraction}"))
}

/// Numbers of digits only, separated by `separator`.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for slot in &mut out {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March here, so that the leap day is
/// the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_becomes_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", "@0.000000"),
            ("2000-02-29T12:00:00Z", "@951825600.000000"),
            ("2026-01-31T12:00:00.25+01:00", "@1769857200.250000"),
            ("2026-01-31t12:00:00.1234567-00:30", "@1769862600.123456"),
            ("2100-03-01T00:00:00Z", "@4107542400.000000"),
        ] {
            assert_eq!(moment("since", text).ok().as_deref(), Some(seconds), "{text}");
        }
    }

    #[test]
    fn the_rest_is_left_to_journalctl() {
        for text in
            ["today", "-1h", "2026-01-31 12:00:00", "@1700000000.5", "yesterday", "2026-13-01T00:00:00Z"]
        {
            assert_eq!(moment("since", text).ok().as_deref(), Some(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment() {
        let long = "1".repeat(65);
        for text in ["", " ", "a\nb", "$(x)", "a;b", "now\0", "=x", &long] {
            assert!(moment("since", text).is_err(), "{text:?}");
        }
    }
}
