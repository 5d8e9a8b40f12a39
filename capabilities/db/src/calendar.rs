//! Dates and times as text (RFC 3339, ISO 8601) from and to what databases count.

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// No database has dates of further years.
const YEARS: std::ops::RangeInclusive<i64> = -6_000_000..=6_000_000;

/// The date of a day counted from 1970-01-01, in the Gregorian calendar: year, month, day.
fn civil(days: i64) -> (i64, u32, u32) {
    // Years that start in March have their leap day at the end, and 400 of them always have the same days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u32, day as u32)
}

/// The reverse of [`civil`]; none where there is no such day.
fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 || !YEARS.contains(&year) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_index = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month_index + 2) / 5 + i64::from(day) - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// `2024-01-31`; years outside of four digits have a sign (ISO 8601).
pub fn date(days_since_1970: i64) -> String {
    let (year, month, day) = civil(days_since_1970);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

/// `03:04:05`, with the fraction of the second where there is one.
pub fn time(microseconds: i64) -> String {
    let (seconds, fraction) = (microseconds.div_euclid(1_000_000), microseconds.rem_euclid(1_000_000));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 {
        return text;
    }
    let fraction = format!("{fraction:06}");
    format!("{text}.{}", fraction.trim_end_matches('0'))
}

/// `2024-01-31T03:04:05`, from days since 1970 and the microseconds of the day.
pub fn timestamp(days_since_1970: i64, microseconds: i64) -> String {
    format!("{}T{}", date(days_since_1970), time(microseconds))
}

/// `+02:00`, from seconds east of Greenwich; with seconds where there are some, as zones once had.
pub fn offset(seconds: i64) -> String {
    if seconds == 0 {
        return "Z".into();
    }
    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    let text = format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 == 0 { text } else { format!("{text}:{:02}", seconds % 60) }
}

/// Days since 1970 of `2024-01-31`.
pub fn parse_date(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut parts = digits.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    days(sign * number(year)?, u32::try_from(number(month)?).ok()?, u32::try_from(number(day)?).ok()?)
}

fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Microseconds of `03:04`, `03:04:05`, `03:04:05.123`.
pub fn parse_time(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("00"));
    let fine = [hours, minutes, seconds].iter().all(|part| part.len() == 2) && parts.next().is_none();
    let (hours, minutes, seconds) = (number(hours)?, number(minutes)?, number(seconds)?);
    if !fine || hours > 24 || minutes > 59 || seconds > 60 {
        return None;
    }
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + parse_fraction(fraction)?;
    (micros <= DAY).then_some(micros)
}

/// Microseconds of the digits after a point.
fn parse_fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| number(&format!("{digits:0<6}")[..6])).flatten()
}

/// Splits a zone off the end: seconds east of Greenwich, `None` for a text without a zone.
pub fn split_offset(text: &str) -> Option<(&str, Option<i64>)> {
    if let Some(rest) = text.strip_suffix(['Z', 'z']) {
        return Some((rest, Some(0)));
    }
    // The date has hyphens of its own.
    let from = text.find([':']).unwrap_or(text.len());
    let Some(at) = text[from..].find(['+', '-']).map(|at| at + from) else { return Some((text, None)) };
    let (rest, zone) = text.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone[1..].replace(':', "");
    if !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).map_or((digits.len() <= at).then_some(0), number);
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    let fine = hours < 16 && minutes < 60 && seconds < 60;
    fine.then_some((rest, Some(sign * (hours * 3600 + minutes * 60 + seconds))))
}

/// Microseconds since 1970, and the zone where there is one; the zone is not yet taken into account.
pub fn parse_timestamp(text: &str) -> Option<(i128, Option<i64>)> {
    let (local, zone) = split_offset(text.trim())?;
    let (date, time) = local.trim_end().split_once(['T', 't', ' ']).unwrap_or((local, "00:00"));
    Some((i128::from(parse_date(date)?) * i128::from(DAY) + i128::from(parse_time(time)?), zone))
}

/// ISO 8601: `P1Y2M3DT4H5M6.5S`.
pub fn duration(months: i32, days: i32, microseconds: i64) -> String {
    let mut text = String::from("P");
    for (value, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if value != 0 {
            text.push_str(&format!("{value}{unit}"));
        }
    }
    if microseconds != 0 {
        text.push('T');
        let seconds = microseconds / 1_000_000;
        for (value, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
            if value != 0 {
                text.push_str(&format!("{value}{unit}"));
            }
        }
        let rest = microseconds % 60_000_000;
        if rest != 0 {
            let sign = if rest < 0 { "-" } else { "" };
            let (whole, fraction) = (rest.abs() / 1_000_000, rest.abs() % 1_000_000);
            let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
            let fraction = if fraction.is_empty() { "" } else { fraction.trim_end_matches('0') };
            text.push_str(&format!("{sign}{whole}{fraction}S"));
        }
    }
    if text == "P" { "PT0S".into() } else { text }
}

/// The reverse of [`duration`]: months, days, microseconds. Weeks too.
pub fn parse_duration(text: &str) -> Option<(i32, i32, i64)> {
    let (mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64);
    let (mut in_time, mut number, mut any) = (false, String::new(), false);
    for c in text.strip_prefix('P')?.chars() {
        if c == 'T' && !in_time && number.is_empty() {
            in_time = true;
            continue;
        } else if c.is_ascii_digit() || c == '.' || (c == '-' && number.is_empty()) {
            number.push(c);
            continue;
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
        if (!fraction.is_empty() && c != 'S') || number.contains(".-") {
            return None;
        }
        let value: i64 = if whole == "-" || whole == "-0" { 0 } else { whole.parse().ok()? };
        match (c, in_time) {
            ('Y', false) => months = months.checked_add(value.checked_mul(12)?)?,
            ('M', false) => months = months.checked_add(value)?,
            ('W', false) => days = days.checked_add(value.checked_mul(7)?)?,
            ('D', false) => days = days.checked_add(value)?,
            ('H', true) => micros = micros.checked_add(value.checked_mul(3_600_000_000)?)?,
            ('M', true) => micros = micros.checked_add(value.checked_mul(60_000_000)?)?,
            ('S', true) => {
                let fraction = parse_fraction(fraction)?;
                let fraction = if whole.starts_with('-') { -fraction } else { fraction };
                micros = micros.checked_add(value.checked_mul(1_000_000)?)?.checked_add(fraction)?;
            }
            _ => return None,
        }
        number.clear();
        any = true;
    }
    let complete = any && number.is_empty();
    complete.then_some((i32::try_from(months).ok()?, i32::try_from(days).ok()?, micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_both_ways() {
        for text in [
            "1970-01-01T00:00:00",
            "2000-02-29T23:59:59.999999",
            "1969-12-31T23:59:59.5",
            "0001-01-01T00:00:00",
            "-0044-03-15T12:00:00",
            "+12345-01-01T00:00:00",
            "+294276-12-31T23:59:59.999999",
        ] {
            let (micros, zone) = parse_timestamp(text).unwrap();
            let (days, rest) = (micros.div_euclid(DAY.into()) as i64, micros.rem_euclid(DAY.into()) as i64);
            assert_eq!((timestamp(days, rest).as_str(), zone), (text, None));
        }
        let at = |text| {
            parse_timestamp(text).map(|(micros, zone)| micros - i128::from(zone.unwrap_or(0)) * 1_000_000)
        };
        assert_eq!(at("2024-01-01T00:00:00Z"), at("2024-01-01 02:00:00+02"));
        assert_eq!(at("2024-01-01T00:00:00Z"), at("2023-12-31T20:30:00-03:30"));
        assert_eq!(at("2024-01-01"), at("2024-01-01T00:00Z"));
        assert_eq!(at("1900-01-01T00:00:00Z"), at("1900-01-01T05:53:28+05:53:28"));
        assert_eq!(at("2024-01-01T00:00:00.12345678901234567890"), at("2024-01-01T00:00:00.123456"));
        for text in [
            "",
            "x",
            "2024-13-01",
            "2023-02-29",
            "2024-01-01T25:00:00",
            "2024-01-01T00:00:00+99",
            "2024-1-1",
            "2024-01-01T00:00:00+1\u{e9}1",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn zones_go_both_ways() {
        for (seconds, text) in
            [(0, "Z"), (7200, "+02:00"), (-12_600, "-03:30"), (21_208, "+05:53:28"), (-30, "-00:00:30")]
        {
            assert_eq!(offset(seconds), text);
            assert_eq!(split_offset(&format!("00:00:00{text}")), Some(("00:00:00", Some(seconds))));
        }
    }

    #[test]
    fn durations_go_both_ways() {
        for text in ["PT0S", "P1Y2M3D", "PT4H5M6.5S", "P-1DT-1H", "PT-0.25S", "P1DT0.000001S"] {
            let (months, days, micros) = parse_duration(text).unwrap();
            assert_eq!(duration(months, days, micros), text);
        }
        assert_eq!(parse_duration("P2W"), Some((0, 14, 0)));
        for text in ["", "P", "1D", "P1", "P1H", "PT1D", "P1.5D", "PxD"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
