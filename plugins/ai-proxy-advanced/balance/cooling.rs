//! How long a target wants to be left alone: what its answer says in one of several headers.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::llm::RouteType;
use crate::llm::config;

/// `balancer.cooling`: which answers ask for patience, and how much they get.
#[derive(Debug)]
pub(in super::super) struct Cooling {
    statuses: Vec<u16>,
    max: Duration,
}

impl Cooling {
    /// `None` when it is switched off.
    pub(in super::super) fn new(config: &config::Cooling) -> Option<Self> {
        let statuses = config.statuses.clone().unwrap_or_else(|| vec![429, 503]);
        let max = Duration::try_from_secs_f64(config.max_seconds.unwrap_or(60.0));
        let max = max.unwrap_or(Duration::from_secs(60));
        (config.enabled != Some(false)).then_some(Self { statuses, max })
    }

    /// Whether an answer with this status is looked at.
    pub(super) fn covers(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }

    /// How long the target is left alone. A day, which Azure asks for when one request is larger
    /// than the quota, says nothing of the next request: hence a bound.
    pub(super) fn wait(&self, headers: &HeaderMap) -> Option<Duration> {
        asked(headers, SystemTime::now()).map(|wait| wait.min(self.max))
    }
}

/// What an answer asks for. Milliseconds are more exact than seconds; where neither is said, the
/// limit that is used up says when it is filled again.
fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = |name: &str| number(text(name)?).map(|ms| ms / 1000.0);
    let seconds = |text: &str| number(text).or_else(|| until(text, now));
    let asked = millis("retry-after-ms")
        .or_else(|| millis("x-ms-retry-after-ms"))
        .or_else(|| seconds(text(RETRY_AFTER.as_str())?))
        .or_else(|| {
            let reset = |remaining, reset| {
                let is_used_up = number(text(remaining)?)? == 0.0;
                span(text(reset)?).filter(|_| is_used_up)
            };
            let tokens = reset("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
            let requests = reset("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
            match (tokens, requests) {
                (Some(tokens), Some(requests)) => Some(tokens.max(requests)),
                (one, other) => one.or(other),
            }
        })?;
    Duration::try_from_secs_f64(asked).ok()
}

/// A number that is not negative.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// Seconds until a date; one that is past asks for nothing.
fn until(text: &str, now: SystemTime) -> Option<f64> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).map_or(0.0, |left| left.as_secs_f64()))
}

/// Seconds of a span: plain, as Azure writes them, or as OpenAI does (`6m0s`, `88ms`).
fn span(text: &str) -> Option<f64> {
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    const UNITS: [(&str, f64); 5] =
        [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, unit) = rest.split_at_checked(digits)?;
        let name = unit.split(|c: char| c.is_ascii_digit()).next()?;
        let (_, factor) = UNITS.iter().find(|(known, _)| *known == name)?;
        sum += number(amount)? * factor;
        rest = unit.get(name.len()..)?;
    }
    Some(sum).filter(|_| !text.is_empty())
}

/// What a path asks for, where the gateway leaves paths alone.
pub(super) fn operation_at(path: &str) -> RouteType {
    const ENDS: [(&str, RouteType); 13] = [
        ("/chat/completions", RouteType::Chat),
        ("/completions", RouteType::Completions),
        ("/embeddings", RouteType::Embeddings),
        ("/responses", RouteType::Responses),
        ("/audio/speech", RouteType::Speech),
        ("/audio/transcriptions", RouteType::Transcriptions),
        ("/audio/translations", RouteType::Translations),
        ("/images/generations", RouteType::ImageGenerations),
        ("/images/edits", RouteType::ImageEdits),
        ("/files", RouteType::Files),
        ("/batches", RouteType::Batches),
        ("/assistants", RouteType::Assistants),
        ("/realtime", RouteType::Realtime),
    ];
    let path = path.trim_end_matches('/');
    let found = ENDS.iter().find(|(end, _)| path.ends_with(end));
    found.map_or(RouteType::Preserve, |(_, operation)| *operation)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::Value;

    use super::*;

    fn headers(pairs: &Value) -> HeaderMap {
        let pairs = pairs.as_object().unwrap().iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value.as_str().unwrap()).unwrap())
        });
        pairs.collect()
    }

    fn vector(name: &str) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/");
        serde_json::from_slice(&std::fs::read(format!("{folder}{name}.json")).unwrap()).unwrap()
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap();
        for case in vector("ratelimit-04-retry-after-forms")["cases"].as_array().unwrap() {
            let asked = asked(&headers(&case["h"]), now);
            assert_eq!(asked.map(|wait| wait.as_millis() as u64), case["ms"].as_u64(), "{case}");
        }
    }

    #[test]
    fn answers_of_azure_say_how_long() {
        let cooling = Cooling { statuses: vec![429], max: Duration::from_secs(60) };
        for (name, ms) in [
            ("err-14-429-token-rate", 1987),
            ("err-15-429-call-rate", 1000),
            ("err-16-429-86400", 60_000),
            ("err-17-429-system-busy", 20_000),
            ("ratelimit-03-spillover-failed", 500),
        ] {
            let wait = cooling.wait(&headers(&vector(name)["response"]["headers"]));
            assert_eq!(wait, Some(Duration::from_millis(ms)), "{name}");
        }
        let success = &vector("ratelimit-01-success-headers")["response"]["headers"];
        assert_eq!(cooling.wait(&headers(success)), None);
    }

    #[test]
    fn a_limit_that_is_used_up_says_when_it_is_filled_again() {
        let wait = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (*name, (*value).into()));
            let wait = asked(
                &headers(&Value::Object(
                    pairs.map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect(),
                )),
                SystemTime::UNIX_EPOCH,
            );
            wait.map(|wait| wait.as_millis() as u64)
        };
        let (left, reset) = ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
        for (text, ms) in [
            ("6m0s", Some(360_000)),
            ("1.5s", Some(1500)),
            ("88ms", Some(88)),
            ("1h0m3s", Some(3_603_000)),
            ("10", Some(10_000)),
            ("", None),
            ("s", None),
            ("5 s", None),
            ("5x", None),
        ] {
            assert_eq!(wait(&[(left, "0"), (reset, text)]), ms, "{text}");
        }
        assert_eq!(wait(&[(left, "7"), (reset, "10")]), None, "there is room left");
        let other = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "3"),
            (left, "0"),
            (reset, "2"),
        ];
        assert_eq!(wait(&other), Some(3000), "both are to be filled again");
    }

    #[test]
    fn paths_name_operations() {
        for (path, operation) in [
            ("/openai/deployments/a/chat/completions", RouteType::Chat),
            ("/v1/completions/", RouteType::Completions),
            ("/v1/embeddings", RouteType::Embeddings),
            ("/v1/models", RouteType::Preserve),
        ] {
            assert_eq!(operation_at(path), operation, "{path}");
        }
    }
}
