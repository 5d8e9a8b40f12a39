//! The Gregorian calendar, and the way from a local date back to a moment.

const DAY: i64 = 86_400;
/// How far `Wanted::seconds` looks for a date with daylight saving time, or without: half a year each
/// way, in steps shorter than any season of it.
const SEASON_STEP: i64 = 14 * DAY;
const SEASON_STEPS: i64 = 14;

/// A moment as clocks and calendars show it.
pub struct Date {
    pub year: i64,
    /// From 1.
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// Days since Sunday.
    pub week_day: u8,
    /// Days since 1 January.
    pub year_day: u16,
    pub dst: Option<bool>,
    /// Seconds east of UTC.
    pub offset: i32,
    /// The zone's abbreviation.
    pub zone: String,
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar; `month` from 1. The year is taken
/// to begin in March, so that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

impl Date {
    /// The date at `seconds` since 1970 where clocks are `offset` seconds ahead of UTC. None where the
    /// year is no C int, as `struct tm` has it.
    pub fn at(seconds: i64, offset: i32, dst: Option<bool>, zone: String) -> Option<Date> {
        let local = seconds.checked_add(offset.into())?;
        let (days, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        i32::try_from(year - 1900).ok()?;
        Some(Date {
            year,
            month,
            day,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            // 1970-01-01 was a Thursday.
            week_day: (days + 4).rem_euclid(7) as u8,
            year_day: (days - days_from_civil(year, 1, 1)) as u16,
            dst,
            offset,
            zone,
        })
    }
}

/// A local date as a script wrote it; every field may be out of its usual range.
pub struct Wanted {
    pub year: i64,
    /// From 0.
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Whether daylight saving time is in force; none leaves it to the zone.
    pub dst: Option<bool>,
}

impl Wanted {
    /// Seconds since 1970, as C's `mktime` finds them. `zone` gives the offset in force at a moment and
    /// whether it is daylight saving time.
    ///
    /// A time that clocks skip is read with the offset before the gap, one that they show twice is the
    /// first of the two unless `dst` says otherwise.
    pub fn seconds(&self, zone: impl Fn(i64) -> (i32, bool)) -> i64 {
        let year = self.year + self.month.div_euclid(12);
        let days = days_from_civil(year, self.month.rem_euclid(12) + 1, 1) + self.day - 1;
        let local = days * DAY + self.hour * 3600 + self.minute * 60 + self.second;
        let with = |offset: i32| local - i64::from(offset);
        let (before, after) = (zone(local - DAY), zone(local + DAY));
        let fits = |offset: i32| {
            let (own, dst) = zone(with(offset));
            own == offset && self.dst.is_none_or(|wanted| wanted == dst)
        };
        if let Some((offset, _)) = [before, after].into_iter().find(|(offset, _)| fits(*offset)) {
            return with(offset);
        }
        if let Some(wanted) = self.dst {
            // Summer time asked for in winter: the nearest offset of that kind counts.
            let near =
                (1..=SEASON_STEPS).flat_map(|step| [local - step * SEASON_STEP, local + step * SEASON_STEP]);
            if let Some((offset, _)) = near.map(&zone).find(|(_, dst)| *dst == wanted) {
                return with(offset);
            }
            let natural = |(offset, _): &(i32, bool)| zone(with(*offset)).0 == *offset;
            if let Some((offset, _)) = [before, after].into_iter().find(natural) {
                return with(offset);
            }
        }
        with(before.0)
    }
}
