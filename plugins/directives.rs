//! `Cache-Control`, as Kong reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The directives of a message, by lower-case name.
pub(super) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// Those of all lines of a header.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut directives = Vec::new();
        for line in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
            for part in line.split(',').map(str::trim_start).filter(|part| !part.is_empty()) {
                let (name, value) = match part.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (part, None),
                };
                directives.push((name.to_ascii_lowercase(), value));
            }
        }
        Self(directives)
    }

    /// Whether a directive is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The number of seconds that a directive names; the last one counts.
    pub(super) fn seconds(&self, name: &str) -> Option<f64> {
        let (_, value) = self.0.iter().rfind(|(known, _)| known == name)?;
        value.as_ref()?.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())
    }

    /// How many seconds a reply is good for, by its directives or by `Expires`.
    pub(super) fn lifetime(&self, expires: Option<&HeaderValue>, now: SystemTime) -> f64 {
        let max_age = if self.has("s-maxage") { "s-maxage" } else { "max-age" };
        if self.has(max_age) {
            return self.seconds(max_age).unwrap_or(0.0).max(0.0);
        }
        let expires =
            expires.and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
        let secs = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
        };
        expires.map_or(0.0, |time| secs(time).saturating_sub(secs(now)) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::CACHE_CONTROL;

    use super::*;

    fn directives(lines: &[&'static str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        Directives::of(&headers, &CACHE_CONTROL)
    }

    #[test]
    fn names_have_no_case_and_lines_add_up() {
        let read = directives(&["No-Store, max-age=5", "  MAX-AGE=7,x"]);
        assert!(read.has("no-store") && read.has("x") && !read.has("no-cache"));
        assert_eq!(read.seconds("max-age"), Some(7.0));
        assert_eq!(read.seconds("x"), None);
    }

    #[test]
    fn the_shared_age_stands_first_and_expires_last() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let soon = httpdate::fmt_http_date(now + Duration::from_secs(60));
        let soon = HeaderValue::from_str(&soon).unwrap();
        for (lines, expected) in [
            (&["max-age=5, s-maxage=9"][..], 9.0),
            (&["max-age=5"], 5.0),
            (&["max-age=-5"], 0.0),
            (&["max-age=soon"], 0.0),
            (&["max-age=inf"], 0.0),
            (&["public"], 60.0),
        ] {
            assert_eq!(directives(lines).lifetime(Some(&soon), now), expected, "{lines:?}");
        }
        assert_eq!(directives(&[]).lifetime(None, now), 0.0);
        let past = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(directives(&[]).lifetime(Some(&past), now), 0.0);
    }
}
