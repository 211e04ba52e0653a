//! Tells OpenTelemetry's collectors of exchanges: traces, metrics and log records, by OTLP over
//! HTTP.
//!
//! As in Kong, `tracing_instrumentations` decides whether there are spans; without it the plugin
//! only passes traces on. Metrics need no setting but their endpoint. Records wait in the queues of
//! [`crate::deliveries`].

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method};
use serde::Deserialize;

use super::Context;
use super::delivering::{QueueConfig, headers, milliseconds, seconds, url};
use crate::deliveries::{Destination, Framing, Queue};
use crate::entity::Secret;
use crate::otlp::{Envelope, KeyValue, record};
use crate::pdk::{Exchange, ModelCall};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use measures::Measures;
use propagation::{Propagation, id_text};
use spans::Trace;

mod extract;
mod gen_ai;
mod inject;
mod measures;
mod propagation;
mod records;
mod spans;
#[cfg(test)]
mod tests;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    traces_endpoint: Option<Secret>,
    /// The schema refuses it.
    #[serde(rename = "logs_endpoint")]
    _logs_endpoint: Option<Secret>,
    access_logs_endpoint: Option<Secret>,
    metrics: Option<MetricsConfig>,
    headers: Option<BTreeMap<String, Secret>>,
    resource_attributes: Option<BTreeMap<String, String>>,
    queue: Option<QueueConfig>,
    batch_span_count: Option<i64>,
    batch_flush_delay: Option<f64>,
    connect_timeout: Option<f64>,
    send_timeout: Option<f64>,
    read_timeout: Option<f64>,
    http_response_header_for_traceid: Option<String>,
    header_type: Option<String>,
    sampling_rate: Option<f64>,
    propagation: propagation::Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsConfig {
    endpoint: Option<Secret>,
    push_interval: Option<f64>,
}

struct OpenTelemetry {
    traces: Option<Traces>,
    measures: Option<Measures>,
    /// Where log records go.
    records: Option<Arc<Queue>>,
}

/// What traces need.
struct Traces {
    queue: Arc<Queue>,
    propagation: Propagation,
    /// There are spans at all.
    is_recording: bool,
    /// There is one for each attempt.
    has_tries: bool,
    /// The share of traces that are told.
    rate: f64,
    id_header: Option<HeaderName>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    Ok(Box::new(OpenTelemetry::new(context, config)?))
}

impl Plugin for OpenTelemetry {
    fn phases(&self) -> Phases {
        let phases = Phases::ACCESS.and(Phases::LOG);
        let phases = if self.records.is_some() { phases.and(Phases::RECORD) } else { phases };
        let tells = self.traces.as_ref().is_some_and(|traces| traces.id_header.is_some());
        if tells { phases.and(Phases::HEADER_FILTER) } else { phases }
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let is_sampled = self.traces.as_ref().is_some_and(|traces| traces.propagate(ex));
        if is_sampled || self.measures.is_some() {
            ModelCall::want(ex);
        }
        Step::DONE
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let name = self.traces.as_ref().and_then(|traces| traces.id_header.as_ref());
        let trace = ex.own.find::<Trace>();
        if let (Some(name), Some(trace)) = (name, trace)
            && let Some(id) = id_text(trace.id)
        {
            ex.response.add_header(name.clone(), id);
        }
        Ok(())
    }

    fn log(&self, ex: &Exchange) {
        if let Some(traces) = &self.traces {
            traces.tell(ex);
        }
        if let Some(measures) = &self.measures {
            measures.count(ex);
        }
        if let Some(records) = &self.records {
            records.push(record(&records::of(ex)));
        }
    }
}

impl OpenTelemetry {
    fn new(context: &Context<'_>, config: Config) -> Result<Self, Vec<String>> {
        let shared = context.shared;
        let mut errors = Vec::new();
        let sender = Sender::new(context, &config).map_err(|error| errors.extend(error)).ok();
        let queue = |field: &str, endpoint: &Secret| {
            let destination = sender.as_ref()?.destination(field, endpoint);
            Some(destination.and_then(|to| shared.deliveries.queue(to, config.terms())))
        };
        let traces = config.traces_endpoint.as_ref().and_then(|at| queue("traces_endpoint", at));
        let traces = traces.transpose().map_err(|error| errors.push(error)).ok().flatten();
        let records = config.access_logs_endpoint.as_ref();
        let records = records.and_then(|at| queue("access_logs_endpoint", at));
        let records = records.transpose().map_err(|error| errors.push(error)).ok().flatten();
        let metrics = config.metrics.as_ref().and_then(|metrics| {
            let queue = queue("metrics.endpoint", metrics.endpoint.as_ref()?)?;
            let interval = seconds(metrics.push_interval.unwrap_or(60.0));
            Some(queue.map(|queue| shared.meters.meter(&shared.control, &queue, interval)))
        });
        let metrics = metrics.transpose().map_err(|error| errors.push(error)).ok().flatten();
        let id_header = config.http_response_header_for_traceid.as_deref();
        let id_header = id_header.map(|name| HeaderName::from_bytes(name.as_bytes()));
        if id_header.as_ref().is_some_and(Result::is_err) {
            errors.push("config.http_response_header_for_traceid: no name of a header".to_owned());
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let kinds = &shared.settings.tracing_instrumentations;
        let is_on = |kind: &str| kinds.iter().any(|one| one == "all" || one == kind);
        let rate = config.sampling_rate.unwrap_or(shared.settings.tracing_sampling_rate);
        let propagation = Propagation::new(config.propagation, config.header_type.as_deref());
        Ok(Self {
            traces: traces.map(|queue| Traces {
                queue,
                propagation,
                is_recording: kinds.first().is_some_and(|first| first != "off"),
                has_tries: is_on("balancer"),
                rate,
                id_header: id_header.and_then(Result::ok),
            }),
            measures: metrics.map(Measures::new),
            records,
        })
    }
}

impl Traces {
    /// Reads the client's headers and writes the upstream's; says whether the trace is recorded.
    fn propagate(&self, ex: &Exchange) -> bool {
        let (format, found) = self.propagation.extract(ex);
        let trace = self.begin(&found);
        let told = inject::Told {
            trace: trace.id,
            size: found.size,
            span: trace.last_try.unwrap_or(trace.root),
            parent: if trace.last_try.is_some() { Some(trace.root) } else { trace.parent },
            sampled: trace.is_sampled,
            flags: found.flags.as_deref(),
            baggage: &found.baggage,
        };
        self.propagation.write(ex, (format, found.is_single), &told);
        let is_sampled = trace.is_sampled;
        ex.own.keep(Rc::new(trace));
        is_sampled
    }

    fn begin(&self, found: &extract::Found) -> Trace {
        let id = found.trace.unwrap_or_else(|| fastrand::u128(1..));
        let is_refused = found.sampled == Some(false);
        Trace {
            id,
            parent: found.span.or(found.parent),
            root: fastrand::u64(1..),
            last_try: (self.is_recording && self.has_tries).then(|| fastrand::u64(1..)),
            is_sampled: self.is_recording && !is_refused && is_taken(id, self.rate),
        }
    }

    /// Queues the spans of an exchange that is over. One that was answered ahead of this plugin's
    /// turn has a trace, too.
    fn tell(&self, ex: &Exchange) {
        if !self.is_recording {
            return;
        }
        let kept = ex.own.find::<Trace>();
        let trace = kept.unwrap_or_else(|| Rc::new(self.begin(&self.propagation.extract(ex).1)));
        if trace.is_sampled {
            for span in spans::of(ex, &trace) {
                self.queue.push(record(&span));
            }
        }
    }
}

/// Whether a trace of this id is among so many; every Kong decides alike.
fn is_taken(id: u128, rate: f64) -> bool {
    let [first @ .., _, _, _, _, _, _, _, _] = id.to_be_bytes();
    rate >= 1.0 || (u64::from_le_bytes(first) as f64) < rate * 2_f64.powi(64)
}

/// What all deliveries have in common.
struct Sender {
    headers: http::HeaderMap,
    envelope: Arc<Envelope>,
    connect: Duration,
    timeout: Duration,
}

impl Sender {
    fn new(context: &Context<'_>, config: &Config) -> Result<Self, Vec<String>> {
        let mut headers = headers(config.headers.as_ref())?;
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.entry(CONTENT_TYPE).or_insert(kind);
        let own = config.resource_attributes.as_ref();
        let template = own.and_then(|own| own.iter().find(|(_, value)| value.contains("$(")));
        if let Some((name, _)) = template {
            return Err(vec![format!(
                "config.resource_attributes: '{name}' is a template, which this plugin does not \
                 fill in: write the value, or put Kong's own plugin on lua_package_path"
            )]);
        }
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), "kong".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id".to_owned(), context.shared.node_id.to_string()),
        ]);
        attributes.extend(own.cloned().unwrap_or_default());
        let attributes = attributes.iter().map(|(name, value)| KeyValue::new(name, value.as_str()));
        let connect = milliseconds(config.connect_timeout.unwrap_or(1000.0));
        let send = milliseconds(config.send_timeout.unwrap_or(5000.0));
        let read = milliseconds(config.read_timeout.unwrap_or(5000.0));
        Ok(Self {
            headers,
            envelope: Arc::new(Envelope::new(attributes.collect())),
            connect,
            timeout: connect + send + read,
        })
    }

    fn destination(&self, field: &str, endpoint: &Secret) -> Result<Destination, String> {
        let mut headers = self.headers.clone();
        Ok(Destination {
            url: url(field, endpoint, &mut headers)?,
            method: Method::POST,
            headers,
            framing: Framing::Otlp(self.envelope.clone()),
            connect: Some(self.connect),
            timeout: self.timeout,
            // That of lua-resty-http.
            keepalive: Duration::from_secs(60),
        })
    }
}

impl Config {
    /// The former names of fields count if they say something, as in Kong.
    fn terms(&self) -> crate::deliveries::Terms {
        let batch = self.batch_span_count.filter(|count| *count != 200);
        let delay = self.batch_flush_delay.filter(|seconds| *seconds != 3.0);
        QueueConfig::terms(self.queue.as_ref(), batch, delay)
    }
}
