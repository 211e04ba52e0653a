//! Sends the log record of every exchange to a log server over HTTP, one by one or in batches.
//!
//! Records wait in a queue that all workers share and the control thread empties
//! ([`crate::deliveries`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::Context;
use crate::deliveries::{Destination, Queue, Terms};
use crate::entity::Secret;
use crate::pdk::{Exchange, log};
use crate::plugin::{Phases, Plugin};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    http_endpoint: Secret,
    method: Option<String>,
    content_type: Option<String>,
    timeout: Option<f64>,
    keepalive: Option<f64>,
    retry_count: Option<i64>,
    queue_size: Option<i64>,
    flush_timeout: Option<f64>,
    headers: Option<BTreeMap<String, Secret>>,
    queue: Option<QueueConfig>,
    /// Set by `lua::plugin::fields`, which stands around this plugin.
    #[serde(rename = "custom_fields_by_lua")]
    _custom_fields_by_lua: Option<IgnoredAny>,
}

/// Kong's `queue` record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueConfig {
    max_batch_size: Option<usize>,
    max_coalescing_delay: Option<f64>,
    max_entries: Option<usize>,
    max_bytes: Option<i64>,
    max_retry_time: Option<f64>,
    initial_retry_delay: Option<f64>,
    max_retry_delay: Option<f64>,
    concurrency_limit: Option<i64>,
}

struct HttpLog(Arc<Queue>);

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let (destination, terms) = (config.destination()?, config.terms());
    warn(context, &config);
    let queue = context.shared.deliveries.queue(destination, terms).map_err(|error| vec![error])?;
    Ok(Box::new(HttpLog(queue)))
}

impl Plugin for HttpLog {
    fn phases(&self) -> Phases {
        Phases::LOG.and(Phases::RECORD)
    }

    fn log(&self, ex: &Exchange) {
        self.0.push(log::serialize(ex).to_string().into());
    }
}

fn warn(context: &Context<'_>, config: &Config) {
    if config.retry_count.is_some_and(|count| count != 10) {
        context.warn("config.retry_count has no effect; queue.max_retry_time takes its place");
    }
    if Url::parse(config.http_endpoint.expose()).is_ok_and(|url| url.query().is_some()) {
        context.warn("config.http_endpoint: its query is not sent, as in Kong");
    }
}

impl Config {
    fn destination(&self) -> Result<Destination, Vec<String>> {
        let mut errors = Vec::new();
        let method = self.method.as_deref().unwrap_or("POST");
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().flatten() {
            match (HeaderName::from_bytes(name.as_bytes()), secret(value.expose())) {
                (Ok(name), Some(value)) => drop(headers.insert(name, value)),
                _ => errors.push(format!("config.headers: '{name}' cannot be sent")),
            }
        }
        let kind = self.content_type.as_deref().unwrap_or("application/json");
        if let Ok(kind) = HeaderValue::from_str(kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        let url = self.url(&mut headers).map_err(|error| errors.push(error)).ok();
        let timeout = milliseconds(self.timeout.unwrap_or(10_000.0));
        let keepalive = milliseconds(self.keepalive.unwrap_or(60_000.0));
        match url {
            Some(url) if errors.is_empty() => {
                Ok(Destination { url, method, headers, timeout, keepalive })
            }
            _ => Err(errors),
        }
    }

    /// The address without the user, who becomes a header, and, as in Kong, without a query.
    fn url(&self, headers: &mut HeaderMap) -> Result<Url, String> {
        let text = self.http_endpoint.expose();
        let mut url = Url::parse(text).map_err(|error| format!("config.http_endpoint: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("config.http_endpoint: must begin with http:// or https://".to_owned());
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
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }

    /// The former names of fields count if they say something, as in Kong.
    fn terms(&self) -> Terms {
        let queue = self.queue.as_ref();
        let size = self.queue_size.filter(|size| *size != 1);
        let size = size.map(|size| usize::try_from(size).unwrap_or(0));
        let batch = size.or_else(|| queue?.max_batch_size);
        let flush = self.flush_timeout.filter(|seconds| *seconds != 2.0);
        let delay = flush.or_else(|| queue?.max_coalescing_delay);
        let number = |field: fn(&QueueConfig) -> Option<f64>, default: f64| {
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

/// A header value that no log shows.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A day at most: schemas take any number.
const TIME_MAX: f64 = 86_400.0;

fn seconds(number: f64) -> Duration {
    Duration::from_secs_f64(number.clamp(0.0, TIME_MAX))
}

fn milliseconds(number: f64) -> Duration {
    seconds(number / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(changes: Value) -> Config {
        let mut config = json!({
            "http_endpoint": "http://log.test/in", "method": "POST",
            "content_type": "application/json", "timeout": 10000, "keepalive": 60000,
            "retry_count": null, "queue_size": null, "flush_timeout": null, "headers": null,
            "queue": {
                "max_batch_size": 1, "max_coalescing_delay": 1, "max_entries": 10000,
                "max_bytes": null, "max_retry_time": 60, "initial_retry_delay": 0.01,
                "max_retry_delay": 60, "concurrency_limit": 1,
            },
            "custom_fields_by_lua": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_user_of_the_address_becomes_a_header_and_the_query_goes() {
        let changes = json!({
            "http_endpoint": "https://u%40:p@log.test:8443/in?key=1#f", "method": "PUT",
            "headers": {"x-a": "1"},
        });
        let to = config(changes).destination().unwrap();
        assert_eq!(to.url.as_str(), "https://log.test:8443/in");
        assert_eq!(to.headers[AUTHORIZATION], "Basic dSU0MDpw");
        assert_eq!((to.method, to.headers["x-a"].to_str().unwrap()), (Method::PUT, "1"));
    }

    #[test]
    fn an_address_or_header_that_cannot_be_used_is_an_error() {
        let errors = config(json!({"http_endpoint": "ftp://a", "headers": {"x": "a\nb"}}));
        assert_eq!(errors.destination().err().unwrap().len(), 2);
    }

    #[test]
    fn former_fields_count_when_they_say_something() {
        let terms = config(json!({"queue_size": 1, "flush_timeout": 2})).terms();
        assert_eq!((terms.batch_max, terms.delay), (1, Duration::from_secs(1)));
        let terms = config(json!({"queue_size": 5, "flush_timeout": 0.5})).terms();
        assert_eq!((terms.batch_max, terms.delay), (5, Duration::from_millis(500)));
    }
}
