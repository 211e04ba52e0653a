//! The spans of an exchange, with Kong's names and attributes.

use std::time::Instant;

use bytes::Bytes;
use http::Version;
use serde_json::Value as Json;

use super::gen_ai;
use crate::otlp::{CLIENT, Event, INTERNAL, KeyValue, SERVER, Span, Status, Value};
use crate::pdk::{Exchange, MadeSpan, MadeSpans, ModelCall, Try};

/// Where an exchange stands in its trace.
pub(super) struct Trace {
    /// The trace.
    pub(super) id: u128,
    /// The span of the client.
    pub(super) parent: Option<u64>,
    /// The span of the exchange.
    pub(super) root: u64,
    /// The span of the attempt that succeeds, which the upstream is told of; `None` where attempts
    /// have no spans.
    pub(super) last_try: Option<u64>,
    /// Whether its spans are told.
    pub(super) is_sampled: bool,
}

/// Makes spans of one trace; instants become times of the clock.
pub(super) struct Maker<'a> {
    trace: &'a Trace,
    began: Instant,
    began_ns: u64,
}

impl Trace {
    /// The trace's id as it is sent.
    pub(super) fn id_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id.to_be_bytes())
    }
}

impl Maker<'_> {
    fn ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began).as_nanos();
        self.began_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// A span with a new id, below another one or the exchange's.
    pub(super) fn span(
        &self,
        name: &str,
        kind: i32,
        parent: Option<&Span>,
        (from, to): (Instant, Instant),
    ) -> Span {
        let parent = parent.map_or_else(|| id(self.trace.root), |span| span.span_id.clone());
        Span {
            trace_id: self.trace.id_bytes(),
            span_id: id(fastrand::u64(1..)),
            parent_span_id: parent,
            name: name.to_owned(),
            kind,
            start_time_unix_nano: self.ns(from),
            end_time_unix_nano: self.ns(to),
            attributes: Vec::new(),
            events: Vec::new(),
            status: None,
        }
    }
}

/// A span's id as it is sent.
pub(super) fn id(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// All spans of an exchange that is over.
pub(super) fn of(ex: &Exchange, trace: &Trace) -> Vec<Span> {
    let now = Instant::now();
    let began = ex.times.started.get().unwrap_or(now);
    let began_ns = ex.times.started_at_ms.get().saturating_mul(1_000_000);
    let maker = Maker { trace, began, began_ns };
    let mut spans = vec![root(ex, &maker, now)];
    if let Some(last) = trace.last_try {
        tries(ex, &maker, last, now, &mut spans);
    }
    let calls = ex.own.all::<ModelCall>();
    spans.extend(calls.iter().map(|call| gen_ai::span(call, &maker)));
    spans.extend(MadeSpans::take(ex).into_iter().map(|made| of_lua(made, trace)));
    spans
}

/// A span of Lua code, with the types that Kong gives values.
fn of_lua(made: MadeSpan, trace: &Trace) -> Span {
    let events = made.events.into_iter().map(|event| Event {
        time_unix_nano: event.at_ns,
        name: event.name,
        attributes: key_values(&event.attributes),
    });
    Span {
        trace_id: trace.id_bytes(),
        span_id: id(made.span),
        parent_span_id: id(made.parent.unwrap_or(trace.root)),
        name: made.name,
        kind: made.kind,
        start_time_unix_nano: made.began_ns,
        end_time_unix_nano: made.ended_ns,
        attributes: key_values(&made.attributes),
        events: events.collect(),
        status: made.status.map(|code| Status { message: String::new(), code }),
    }
}

/// Numbers are floats but for the status (Kong); what is no plain value is left out.
fn key_values(attributes: &[(String, Json)]) -> Vec<KeyValue> {
    let value = |name: &str, value: &Json| {
        Some(match value {
            Json::String(text) => Value::Text(text.clone()),
            Json::Bool(flag) => Value::Flag(*flag),
            Json::Number(number) if name == "http.status_code" => Value::Number(number.as_i64()?),
            Json::Number(number) => Value::Float(number.as_f64()?),
            _ => return None,
        })
    };
    let pair = |(name, one): &(String, Json)| Some(KeyValue::new(name, value(name, one)?));
    attributes.iter().filter_map(pair).collect()
}

/// What Kong calls the Route's path: the first that it has.
pub(super) fn path_of(ex: &Exchange) -> Option<&str> {
    ex.matched()?.route.paths.as_ref()?.first().map(String::as_str)
}

/// The exchange itself.
fn root(ex: &Exchange, maker: &Maker<'_>, now: Instant) -> Span {
    let mut span = maker.span("kong", SERVER, None, (maker.began, now));
    span.span_id = id(maker.trace.root);
    span.parent_span_id = maker.trace.parent.map(id).unwrap_or_default();
    span.attributes = of_request(ex);
    span.status = (ex.response.status().as_u16() >= 500).then(Status::error);
    span
}

/// What Kong tells of a request.
pub(super) fn of_request(ex: &Exchange) -> Vec<KeyValue> {
    let request = &ex.request;
    let (scheme, host) = (request.scheme(), request.host_or_kong());
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let status = ex.response.status().as_u16();
    let flavor = match request.version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    vec![
        KeyValue::new("http.method", request.method.as_str()),
        KeyValue::new("http.url", format!("{scheme}://{host}{}", ex.log.masked(target))),
        KeyValue::new("http.host", &*host),
        KeyValue::new("http.scheme", scheme),
        KeyValue::new("http.flavor", flavor),
        KeyValue::new("http.client_ip", request.connection.client.ip().to_string()),
        KeyValue::new("net.peer.ip", request.connection.peer.ip().to_string()),
        KeyValue::new("kong.request.id", ex.id.as_str()),
        KeyValue::new("http.status_code", status),
        KeyValue::new("http.route", path_of(ex).unwrap_or_default()),
    ]
}

/// The attempts. The last one, if the upstream has answered it, is what the upstream was told of
/// and goes on to the end of the exchange; below it are its two parts.
fn tries(ex: &Exchange, maker: &Maker<'_>, last: u64, now: Instant, spans: &mut Vec<Span>) {
    let tries = ex.service.tries.borrow();
    for (at, one) in tries.iter().enumerate() {
        let is_last = at + 1 == tries.len() && one.code.is_none();
        let answered = one.began + one.took;
        let end = if is_last { now } else { answered };
        let mut span = maker.span("kong.balancer", CLIENT, None, (one.began, end));
        span.attributes = attributes(at + 1, one);
        if one.code.is_some() {
            span.status = Some(Status::error());
        }
        if !is_last {
            spans.push(span);
            continue;
        }
        span.span_id = id(last);
        let sent = one.began + std::time::Duration::from_nanos(one.balancer_ns);
        let first = maker.span("kong.upstream.ttfb", INTERNAL, Some(&span), (sent, answered));
        let rest =
            maker.span("kong.upstream.read_response", INTERNAL, Some(&span), (answered, now));
        spans.extend([span, first, rest]);
    }
}

fn attributes(number: usize, one: &Try) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("try_count", number as u64),
        KeyValue::new("net.peer.ip", one.address.ip().to_string()),
        KeyValue::new("net.peer.port", one.address.port()),
        KeyValue::new("net.peer.name", &*one.host),
    ];
    let status = one.code.or(one.status);
    attributes.extend(status.map(|status| KeyValue::new("http.status_code", status)));
    attributes
}
