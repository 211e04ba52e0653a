//! Dates in the forms that Azure's token endpoints print; UTC only, so no calendar crate.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, by the wall clock.
pub(super) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// `2026-11-20 10:00:00Z`, the timestamp of Entra's errors.
pub(super) fn entra_timestamp(secs: u64) -> String {
    let (year, month, day) = date(secs);
    format!("{year:04}-{month:02}-{day:02} {}Z", time(secs))
}

/// `11/21/2026 02:57:58 +00:00`, the `expires_on` of App Service's 2017-09-01 contract.
pub(super) fn app_service_2017(secs: u64) -> String {
    let (year, month, day) = date(secs);
    format!("{month:02}/{day:02}/{year:04} {} +00:00", time(secs))
}

/// `11/21/2026 2:57:58 AM +00:00`, the same on Windows.
pub(super) fn windows(secs: u64) -> String {
    let (year, month, day) = date(secs);
    let (hour, half) = match secs / 3600 % 24 {
        hour @ ..12 => (hour, "AM"),
        hour => (hour - 12, "PM"),
    };
    let hour = if hour == 0 { 12 } else { hour };
    let (minute, second) = (secs / 60 % 60, secs % 60);
    format!("{month}/{day}/{year} {hour}:{minute:02}:{second:02} {half} +00:00")
}

/// `2026-11-21T02:57:58.0000000+00:00`, as .NET writes a date.
pub(super) fn iso(secs: u64) -> String {
    let (year, month, day) = date(secs);
    format!("{year:04}-{month:02}-{day:02}T{}.0000000+00:00", time(secs))
}

fn time(secs: u64) -> String {
    format!("{:02}:{:02}:{:02}", secs / 3600 % 24, secs / 60 % 60, secs % 60)
}

/// Year, month and day in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day comes last and month lengths follow one
/// formula; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn date(secs: u64) -> (u64, u64, u64) {
    let days = secs / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_the_vectors() {
        assert_eq!(entra_timestamp(1_795_176_000), "2026-11-20 12:00:00Z");
        assert_eq!(app_service_2017(1_795_229_878), "11/21/2026 02:57:58 +00:00");
        assert_eq!(windows(1_579_152_252), "1/16/2020 5:24:12 AM +00:00");
        assert_eq!(windows(43_212), "1/1/1970 12:00:12 PM +00:00");
        assert_eq!(windows(12), "1/1/1970 12:00:12 AM +00:00");
        assert_eq!(iso(1_729_281_097), "2024-10-18T19:51:37.0000000+00:00");
    }

    #[test]
    fn leap_days_and_century_rules_hold() {
        assert_eq!(entra_timestamp(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(entra_timestamp(1_709_164_800), "2024-02-29 00:00:00Z");
        assert_eq!(entra_timestamp(4_107_542_400), "2100-03-01 00:00:00Z");
        assert_eq!(entra_timestamp(0), "1970-01-01 00:00:00Z");
    }
}
