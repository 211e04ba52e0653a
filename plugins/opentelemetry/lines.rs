//! The gateway's log lines for collectors (`logs_endpoint`).

use bytes::Bytes;
use tracing::Level;

use super::spans::{Trace, id};
use crate::otlp::{self, AnyValue, KeyValue, LogRecord};
use crate::pdk::{Exchange, Line};

/// OpenTelemetry's number and name of a level.
fn severity(level: Level) -> (i32, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

/// What was logged since the last time by no exchange, and in this one, with its trace.
pub(super) fn of(ex: &Exchange, trace: Option<&Trace>) -> Vec<Bytes> {
    let (of_process, own) = Line::take(ex);
    let of_process = of_process.into_iter().map(|line| record(line, None));
    let own = own.into_iter().map(|line| record(line, trace));
    of_process.chain(own).map(|line| otlp::record(&line)).collect()
}

fn record(line: Line, trace: Option<&Trace>) -> LogRecord {
    let (severity_number, severity_text) = severity(line.level);
    let fields = line.fields.into_iter();
    LogRecord {
        time_unix_nano: line.at_ns,
        observed_time_unix_nano: line.at_ns,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(line.text.into()) }),
        attributes: fields.map(|(name, value)| KeyValue::new(name, value)).collect(),
        flags: trace.map_or(0, |trace| u32::from(trace.is_sampled)),
        trace_id: trace.map(Trace::id_bytes).unwrap_or_default(),
        span_id: trace.map(|trace| id(trace.root)).unwrap_or_default(),
    }
}
