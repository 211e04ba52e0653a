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

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method};
use serde::Deserialize;

use super::Context;
use super::delivering::{QueueConfig, headers, milliseconds, seconds, url};
use crate::deliveries::{Destination, Framing, Queue};
use crate::entity::Secret;
use crate::otlp::{Span, record};
use crate::pdk::{Exchange, ModelCall, Root, Wanting};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use measures::Measures;
use propagation::{Format, Propagation, id_text};
use resource::Resource;
use spans::Trace;

mod extract;
mod gen_ai;
mod inject;
mod lines;
mod measures;
mod propagation;
mod records;
mod resource;
mod spans;
#[cfg(test)]
mod tests;

/// The field of where metrics go.
const METRICS: &str = "metrics.endpoint";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    traces_endpoint: Option<Secret>,
    logs_endpoint: Option<Secret>,
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
    /// Where the gateway's own lines go.
    lines: Option<(Arc<Queue>, Wanting)>,
    resource: Resource,
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
        let asks = self.measures.is_some() || self.traces.is_some();
        let phases = if asks { phases.and(Phases::AHEAD) } else { phases };
        let tells = self.traces.as_ref().is_some_and(|traces| traces.id_header.is_some());
        if tells { phases.and(Phases::HEADER_FILTER) } else { phases }
    }

    fn ahead(&self, ex: &Exchange) {
        let is_sampled = || self.traces.as_ref().is_some_and(|one| one.begun(ex).trace.is_sampled);
        if self.measures.is_some() || is_sampled() {
            ModelCall::want(ex);
        }
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        if let Some(traces) = &self.traces {
            traces.propagate(ex);
        }
        Step::DONE
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let name = self.traces.as_ref().and_then(|traces| traces.id_header.as_ref());
        let begun = ex.own.find::<Begun>();
        if let (Some(name), Some(begun)) = (name, begun)
            && let Some(id) = id_text(begun.trace.id)
        {
            ex.response.add_header(name.clone(), id);
        }
        Ok(())
    }

    fn log(&self, ex: &Exchange) {
        if let Some(traces) = &self.traces {
            let spans: Vec<_> = traces.spans(ex).iter().map(record).collect();
            self.send(ex, &traces.queue, spans);
        }
        if let Some(measures) = &self.measures {
            measures.count(ex);
        }
        let begun = ex.own.find::<Begun>();
        let trace = begun.as_ref().map(|begun| &begun.trace);
        if let Some(records) = &self.records {
            self.send(ex, records, vec![record(&records::of(ex, trace))]);
        }
        if let Some((lines, _)) = &self.lines {
            self.send(ex, lines, lines::of(ex, trace));
        }
    }
}

impl OpenTelemetry {
    fn new(context: &Context<'_>, config: Config) -> Result<Self, Vec<String>> {
        let shared = context.shared;
        let mut errors = Vec::new();
        let sender = Sender::new(&config).map_err(|error| errors.extend(error)).ok();
        let resource = resource(context, config.resource_attributes.as_ref());
        let resource = resource.map_err(|error| errors.push(error)).ok();
        let (Some(sender), Some(resource)) = (sender, resource) else { return Err(errors) };
        let mut queue = |field: &str, endpoint: Option<&Secret>| {
            let framing = match resource.is_filled() && field != METRICS {
                true => Framing::Concatenated,
                false => Framing::Otlp(resource.envelope().clone()),
            };
            let destination = sender.destination(field, endpoint?, framing);
            let queue = destination.and_then(|to| shared.deliveries.queue(to, config.terms()));
            queue.map_err(|error| errors.push(error)).ok()
        };
        let traces = queue("traces_endpoint", config.traces_endpoint.as_ref());
        let records = queue("access_logs_endpoint", config.access_logs_endpoint.as_ref());
        let lines = queue("logs_endpoint", config.logs_endpoint.as_ref());
        let metrics = config.metrics.as_ref().and_then(|metrics| {
            let queue = queue(METRICS, metrics.endpoint.as_ref())?;
            let interval = seconds(metrics.push_interval.unwrap_or(60.0));
            Some(shared.meters.meter(&shared.control, &queue, interval))
        });
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
            lines: lines.map(|queue| (queue, Wanting::begin())),
            resource,
        })
    }

    /// Queues records of an exchange.
    fn send(&self, ex: &Exchange, queue: &Arc<Queue>, records: Vec<Bytes>) {
        if !self.resource.is_filled() {
            records.into_iter().for_each(|record| queue.push(record));
        } else if !records.is_empty() {
            queue.push(self.resource.wrap(ex, &records));
        }
    }
}

impl Traces {
    /// The trace of an exchange; the first look at the client's headers decides.
    fn begun(&self, ex: &Exchange) -> Rc<Begun> {
        if let Some(begun) = ex.own.find::<Begun>() {
            return begun;
        }
        let (format, found) = self.propagation.extract(ex);
        let root = Root::of(ex, || Root { trace: fastrand::u128(1..), span: fastrand::u64(1..) });
        let id = found.trace.unwrap_or(root.trace);
        let is_refused = found.sampled == Some(false);
        let trace = Trace {
            id,
            parent: found.span.or(found.parent),
            root: root.span,
            last_try: (self.is_recording && self.has_tries).then(|| fastrand::u64(1..)),
            is_sampled: self.is_recording && !is_refused && is_taken(id, self.rate),
        };
        let begun = Rc::new(Begun { format, found, trace });
        ex.own.keep(begun.clone());
        begun
    }

    /// Writes the upstream's headers.
    fn propagate(&self, ex: &Exchange) {
        let begun = self.begun(ex);
        let Begun { format, found, trace } = &*begun;
        let told = inject::Told {
            trace: trace.id,
            size: found.size,
            span: trace.last_try.unwrap_or(trace.root),
            parent: if trace.last_try.is_some() { Some(trace.root) } else { trace.parent },
            sampled: trace.is_sampled,
            flags: found.flags.as_deref(),
            baggage: &found.baggage,
        };
        self.propagation.write(ex, (*format, found.is_single), &told);
    }

    /// The spans of an exchange that is over. One that was answered ahead of this plugin's turn
    /// has a trace, too.
    fn spans(&self, ex: &Exchange) -> Vec<Span> {
        if !self.is_recording {
            return Vec::new();
        }
        let begun = self.begun(ex);
        if begun.trace.is_sampled { spans::of(ex, &begun.trace) } else { Vec::new() }
    }
}

/// What the client's headers said, in which format, and what has come of it.
struct Begun {
    format: Option<Format>,
    found: extract::Found,
    trace: Trace,
}

/// Whether a trace of this id is among so many; every Kong decides alike.
fn is_taken(id: u128, rate: f64) -> bool {
    let [first @ .., _, _, _, _, _, _, _, _] = id.to_be_bytes();
    rate >= 1.0 || (u64::from_le_bytes(first) as f64) < rate * 2_f64.powi(64)
}

/// Who sends: `resource_attributes` over what goes without saying.
fn resource(
    context: &Context<'_>,
    own: Option<&BTreeMap<String, String>>,
) -> Result<Resource, String> {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), "kong".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), context.shared.node_id.to_string()),
    ]);
    attributes.extend(own.cloned().unwrap_or_default());
    Resource::new(attributes)
}

/// What all deliveries have in common.
struct Sender {
    headers: http::HeaderMap,
    connect: Duration,
    timeout: Duration,
}

impl Sender {
    fn new(config: &Config) -> Result<Self, Vec<String>> {
        let mut headers = headers(config.headers.as_ref())?;
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.entry(CONTENT_TYPE).or_insert(kind);
        let connect = milliseconds(config.connect_timeout.unwrap_or(1000.0));
        let send = milliseconds(config.send_timeout.unwrap_or(5000.0));
        let read = milliseconds(config.read_timeout.unwrap_or(5000.0));
        Ok(Self { headers, connect, timeout: connect + send + read })
    }

    fn destination(
        &self,
        field: &str,
        endpoint: &Secret,
        framing: Framing,
    ) -> Result<Destination, String> {
        let mut headers = self.headers.clone();
        Ok(Destination {
            url: url(field, endpoint, &mut headers)?,
            method: Method::POST,
            headers,
            framing,
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
