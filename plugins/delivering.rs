//! Fields that plugins share which send records somewhere: address, headers, queue.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::deliveries::Terms;
use crate::entity::Secret;

/// Kong's `queue` record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueConfig {
    max_batch_size: Option<usize>,
    max_coalescing_delay: Option<f64>,
    max_entries: Option<usize>,
    max_bytes: Option<i64>,
    max_retry_time: Option<f64>,
    initial_retry_delay: Option<f64>,
    max_retry_delay: Option<f64>,
    concurrency_limit: Option<i64>,
}

impl QueueConfig {
    /// How records wait. `queue` may be missing; fields of old (records of a batch, seconds that
    /// the first of them waits) go before its own.
    pub(super) fn terms(queue: Option<&Self>, batch: Option<i64>, delay: Option<f64>) -> Terms {
        let batch = batch.map(|size| usize::try_from(size).unwrap_or(0));
        let batch = batch.or_else(|| queue?.max_batch_size);
        let delay = delay.or_else(|| queue?.max_coalescing_delay);
        let number = |field: fn(&Self) -> Option<f64>, default: f64| {
            seconds(queue.and_then(field).unwrap_or(default))
        };
        let bytes = queue.and_then(|queue| queue.max_bytes);
        Terms {
            batch_max: batch.unwrap_or(1).max(1),
            delay: seconds(delay.unwrap_or(1.0)),
            entries_max: queue.and_then(|queue| queue.max_entries).unwrap_or(10_000).max(1),
            bytes_max: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(0)),
            retry_time: number(|queue| queue.max_retry_time, 60.0),
            retry_delay: number(|queue| queue.initial_retry_delay, 0.01),
            retry_delay_max: number(|queue| queue.max_retry_delay, 60.0),
            unlimited: queue.and_then(|queue| queue.concurrency_limit) == Some(-1),
        }
    }
}

/// The headers of a delivery.
///
/// # Errors
/// Those that cannot be sent.
pub(super) fn headers(named: Option<&BTreeMap<String, Secret>>) -> Result<HeaderMap, Vec<String>> {
    let (mut headers, mut errors) = (HeaderMap::new(), Vec::new());
    for (name, value) in named.into_iter().flatten() {
        match (HeaderName::from_bytes(name.as_bytes()), secret(value.expose())) {
            (Ok(name), Some(value)) => drop(headers.insert(name, value)),
            _ => errors.push(format!("config.headers: '{name}' cannot be sent")),
        }
    }
    if errors.is_empty() { Ok(headers) } else { Err(errors) }
}

/// An address without the user, who becomes a header.
///
/// # Errors
/// It is none, or not of HTTP.
pub(super) fn url(field: &str, text: &Secret, headers: &mut HeaderMap) -> Result<Url, String> {
    let text = text.expose();
    let mut url = Url::parse(text).map_err(|error| format!("config.{field}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("config.{field}: must begin with http:// or https://"));
    }
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@')
        && let Some(value) = secret(&format!("Basic {}", STANDARD.encode(user)))
    {
        headers.insert(AUTHORIZATION, value);
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

/// A header value that no log shows.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A day at most: schemas take any number.
const TIME_MAX: f64 = 86_400.0;

/// A time that a configuration names in seconds.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::from_secs_f64(number.clamp(0.0, TIME_MAX))
}

/// A time that a configuration names in milliseconds.
pub(super) fn milliseconds(number: f64) -> Duration {
    seconds(number / 1000.0)
}
