//! `strftime` of C99 (7.23.3.5) in the locale C.

use super::calendar::Date;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const PLAIN: &[u8] = b"aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyYzZ%";
/// What may stand after `%E` and `%O`; in this locale the modifiers change nothing.
const AFTER_E: &[u8] = b"cCxXyY";
const AFTER_O: &[u8] = b"deHImMSuUVwWy";

/// Writes `format` with its conversion specifiers replaced.
///
/// # Errors
/// What follows the `%` of the first specifier that does not exist.
pub fn format<'a>(format: &'a [u8], date: &Date) -> Result<Vec<u8>, &'a [u8]> {
    let mut out = Vec::with_capacity(format.len() * 2);
    let mut rest = format;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        out.extend_from_slice(&rest[..at]);
        let specifier = &rest[at + 1..];
        let (letter, length) = match *specifier {
            [letter, ..] if PLAIN.contains(&letter) => (letter, 1),
            [b'E', letter, ..] if AFTER_E.contains(&letter) => (letter, 2),
            [b'O', letter, ..] if AFTER_O.contains(&letter) => (letter, 2),
            _ => return Err(specifier),
        };
        out.extend_from_slice(convert(letter, date).as_bytes());
        rest = &specifier[length..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// Weeks of the year that begin on the day `first` (0 is Sunday); days before the first are in week 0.
fn week(date: &Date, first: u8) -> i64 {
    let into_week = i64::from((date.week_day + 7 - first) % 7);
    (i64::from(date.year_day) + 7 - into_week) / 7
}

/// Year and week of ISO 8601: weeks begin on Monday, and week 1 has the year's first Thursday.
fn iso_week(date: &Date) -> (i64, i64) {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |year: i64| if is_leap(year) { 366 } else { 365 };
    let from_monday = (i64::from(date.week_day) + 6) % 7;
    // Day of the year of this week's Thursday, from 0.
    let thursday = i64::from(date.year_day) - from_monday + 3;
    if thursday < 0 {
        (date.year - 1, (thursday + length(date.year - 1)) / 7 + 1)
    } else if thursday >= length(date.year) {
        (date.year + 1, 1)
    } else {
        (date.year, thursday / 7 + 1)
    }
}

fn convert(letter: u8, date: &Date) -> String {
    let day_name = DAYS[usize::from(date.week_day % 7)];
    let month_name = MONTHS[usize::from((date.month + 11) % 12)];
    let hour_of_12 = match date.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let join = |letters: &[u8], between: &str| {
        letters.iter().map(|letter| convert(*letter, date)).collect::<Vec<_>>().join(between)
    };
    match letter {
        b'a' => day_name[..3].into(),
        b'A' => day_name.into(),
        b'b' | b'h' => month_name[..3].into(),
        b'B' => month_name.into(),
        b'c' => join(b"abeTY", " "),
        b'C' => format!("{:02}", date.year.div_euclid(100)),
        b'd' => format!("{:02}", date.day),
        b'D' | b'x' => join(b"mdy", "/"),
        b'e' => format!("{:2}", date.day),
        b'F' => join(b"Ymd", "-"),
        b'g' => format!("{:02}", iso_week(date).0.rem_euclid(100)),
        b'G' => iso_week(date).0.to_string(),
        b'H' => format!("{:02}", date.hour),
        b'I' => format!("{hour_of_12:02}"),
        b'j' => format!("{:03}", date.year_day + 1),
        b'm' => format!("{:02}", date.month),
        b'M' => format!("{:02}", date.minute),
        b'n' => "\n".into(),
        b'p' => if date.hour < 12 { "AM" } else { "PM" }.into(),
        b'r' => format!("{} {}", join(b"IMS", ":"), convert(b'p', date)),
        b'R' => join(b"HM", ":"),
        b'S' => format!("{:02}", date.second),
        b't' => "\t".into(),
        b'T' | b'X' => join(b"HMS", ":"),
        b'u' => (if date.week_day == 0 { 7 } else { date.week_day }).to_string(),
        b'U' => format!("{:02}", week(date, 0)),
        b'V' => format!("{:02}", iso_week(date).1),
        b'w' => date.week_day.to_string(),
        b'W' => format!("{:02}", week(date, 1)),
        b'y' => format!("{:02}", date.year.rem_euclid(100)),
        b'Y' => date.year.to_string(),
        b'z' => {
            let minutes = date.offset.abs() / 60;
            let sign = if date.offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
        }
        b'Z' => date.zone.clone(),
        _ => "%".into(),
    }
}
