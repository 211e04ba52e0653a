//! When a token expires: every form that Microsoft's endpoints have been seen to use.
//!
//! `expires_on` is an epoch, a lifetime, or a date in one of four spellings, each as a number or a
//! string; `expires_in` is a lifetime. The dates are few and fixed, so they are read by hand.

use std::time::Duration;

use serde_json::Value;

/// Why a reply gives no usable lifetime; such a token is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoLifetime {
    #[error("the reply has no readable expires_on or expires_in")]
    Unreadable,
    #[error("the reply holds a token that has already expired (is this machine's clock right?)")]
    Expired,
}

/// Azure's longest token lives for 24 hours; a little more is a clock that is off.
const LONGEST_SECS: i64 = 24 * 3600 + 300;

/// Numbers below the year 2001 are lifetimes, not epochs (the rule of MSAL .NET).
const FIRST_EPOCH: i64 = 978_307_200;

/// How long a token lives, counted from `now` (epoch seconds at the start of the request).
///
/// `expires_on` counts, unless it makes no sense on this machine's clock and `expires_in` does.
pub(super) fn lifetime(reply: &Value, now: i64) -> Result<Duration, NoLifetime> {
    let by_date = expires_on(&reply["expires_on"], now).map(|epoch| epoch.saturating_sub(now));
    let by_life = number(&reply["expires_in"]);
    let sane = |secs: &i64| (1..=LONGEST_SECS).contains(secs);
    let secs = match (by_date, by_life) {
        (Some(secs), Some(other)) if !sane(&secs) && sane(&other) => other,
        (Some(secs), _) | (None, Some(secs)) => secs,
        (None, None) => return Err(NoLifetime::Unreadable),
    };
    match u64::try_from(secs.min(LONGEST_SECS)) {
        Ok(secs) if secs > 0 => Ok(Duration::from_secs(secs)),
        _ => Err(NoLifetime::Expired),
    }
}

/// After how long the server wants a token renewed (`refresh_in`), if it says so.
pub(super) fn refresh_in(reply: &Value) -> Option<Duration> {
    let secs = number(&reply["refresh_in"]).filter(|secs| *secs > 0)?;
    u64::try_from(secs).ok().map(Duration::from_secs)
}

fn expires_on(value: &Value, now: i64) -> Option<i64> {
    match (number(value), value) {
        (Some(number), _) if number < FIRST_EPOCH => Some(now.saturating_add(number)),
        (Some(epoch), _) => Some(epoch),
        (None, Value::String(text)) => date(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|n| n as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `2026-11-20T12:00:00.0000000+00:00`, `2026-11-20 12:00:00`, `11/20/2026 12:00:00 +00:00`
/// (App Service on Linux), `11/20/2026 12:0:0 PM +00:00` (on Windows). No offset means UTC.
fn date(text: &str) -> Option<i64> {
    let (day, clock) = text.trim().split_once(['T', ' '])?;
    let (year, month, day) = if day.contains('/') {
        let [month, day, year] = split_numbers(day, '/')?;
        (year, month, day)
    } else {
        let [year, month, day] = split_numbers(day, '-')?;
        (year, month, day)
    };
    let (clock, offset) = match clock.find(['+', '-', 'Z']) {
        Some(at) => (clock.get(..at)?, offset_secs(clock.get(at..)?)?),
        None => (clock, 0),
    };
    let (clock, half) = match clock.trim().split_once(' ') {
        Some((clock, half)) => (clock, Some(half.trim().to_ascii_uppercase())),
        None => (clock.trim(), None),
    };
    let clock = clock.split_once('.').map_or(clock, |(whole, _fraction)| whole);
    let [hour, minute, second] = split_numbers(clock, ':')?;
    let hour = match half.as_deref() {
        None => hour,
        Some("AM") if (1..=12).contains(&hour) => hour % 12,
        Some("PM") if (1..=12).contains(&hour) => hour % 12 + 12,
        Some(_) => return None,
    };
    let is_real = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let midnight = days_since_epoch(year, month, day) * 86_400;
    is_real.then_some(midnight + hour * 3600 + minute * 60 + second - offset)
}

fn split_numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || {
        let part = parts.next().filter(|p| (1..=4).contains(&p.len()))?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let numbers = [next()?, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

/// `Z`, `+01:00`, `-0530`.
fn offset_secs(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let is_offset = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = is_offset.then(|| digits.parse().ok())??;
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar, with years that begin in March so that the
/// leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::mock::vector;
    use super::*;

    #[test]
    fn every_form_of_the_vector_is_read() {
        let vector = vector("expiry-01-formats");
        let now = vector["now_epoch"].as_i64().unwrap();
        for case in vector["cases"].as_array().unwrap() {
            let reply = &case["in"];
            let epoch = expires_on(&reply["expires_on"], now)
                .or_else(|| Some(now + number(&reply["expires_in"])?).filter(|e| *e > now));
            assert_eq!(epoch, case["epoch"].as_i64(), "{case}");
            let is_future = epoch.is_some_and(|epoch| epoch > now);
            assert_eq!(lifetime(reply, now).is_ok(), is_future, "{case}");
        }
    }

    #[test]
    fn a_clock_that_is_off_falls_back_to_the_lifetime() {
        let reply = json!({"expires_on": "1795179599", "expires_in": "3599"});
        for now in [1_795_176_000 + 86_400, 1_795_176_000 - 200_000] {
            assert_eq!(lifetime(&reply, now), Ok(Duration::from_secs(3599)));
        }
    }

    #[test]
    fn lifetimes_are_bounded() {
        assert_eq!(lifetime(&json!({"expires_in": 1e300}), 0), Ok(Duration::from_secs(86_700)));
        assert_eq!(lifetime(&json!({"expires_in": i64::MIN}), 1), Err(NoLifetime::Expired));
        assert_eq!(lifetime(&json!({"expires_on": null}), 1), Err(NoLifetime::Unreadable));
    }

    #[test]
    fn offsets_count_and_nonsense_does_not() {
        assert_eq!(date("2024-10-18T21:51:37+02:00"), Some(1_729_281_097));
        assert_eq!(date("2024-10-18T14:21:37-0530"), Some(1_729_281_097));
        assert_eq!(date("2024-10-18T19:51:37Z"), Some(1_729_281_097));
        for text in [
            "2024-13-01 00:00:00",
            "1/2/3",
            "99999-01-01 00:00:00",
            "1/1/2020 13:0:0 PM",
            "2024-10-18T",
            "T",
            "2024-10-18T19:51:37+é",
            "--- :::",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
