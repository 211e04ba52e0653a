//! Sends the log record of every exchange to a log server over HTTP, one by one or in batches.
//!
//! Records wait in a queue that all workers share and the control thread empties
//! ([`crate::deliveries`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::Context;
use super::delivering::{QueueConfig, headers, milliseconds, url};
use crate::deliveries::{Destination, Framing, Queue, Terms};
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
        let method = self.method.as_deref().unwrap_or("POST");
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
        let (mut headers, mut errors) = match headers(self.headers.as_ref()) {
            Ok(headers) => (headers, Vec::new()),
            Err(errors) => (HeaderMap::new(), errors),
        };
        let kind = self.content_type.as_deref().unwrap_or("application/json");
        if let Ok(kind) = HeaderValue::from_str(kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        let url = url("http_endpoint", &self.http_endpoint, &mut headers);
        let url = url.map_err(|error| errors.push(error)).ok();
        let timeout = milliseconds(self.timeout.unwrap_or(10_000.0));
        let keepalive = milliseconds(self.keepalive.unwrap_or(60_000.0));
        match url {
            Some(mut url) if errors.is_empty() => {
                url.set_query(None); // as in Kong
                let framing = Framing::Json;
                Ok(Destination { url, method, headers, framing, connect: None, timeout, keepalive })
            }
            _ => Err(errors),
        }
    }

    /// The former names of fields count if they say something, as in Kong.
    fn terms(&self) -> Terms {
        let size = self.queue_size.filter(|size| *size != 1);
        let flush = self.flush_timeout.filter(|seconds| *seconds != 2.0);
        QueueConfig::terms(self.queue.as_ref(), size, flush)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::AUTHORIZATION;
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
