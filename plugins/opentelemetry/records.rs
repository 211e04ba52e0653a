//! The log records of exchanges for collectors.

use std::time::{SystemTime, UNIX_EPOCH};

use super::spans::{Trace, id, of_request};
use crate::otlp::{AnyValue, LogRecord};
use crate::pdk::{Exchange, log};

/// `SEVERITY_NUMBER_INFO`.
const INFO: i32 = 9;

/// The record of an exchange that is over: what log plugins write is the body, as JSON.
pub(super) fn of(ex: &Exchange, trace: Option<&Trace>) -> LogRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    LogRecord {
        time_unix_nano: ex.times.started_at_ms.get().saturating_mul(1_000_000),
        severity_number: INFO,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(log::serialize(ex).to_string().into()) }),
        attributes: of_request(ex),
        flags: trace.map_or(0, |trace| u32::from(trace.is_sampled)),
        trace_id: trace.map(Trace::id_bytes).unwrap_or_default(),
        span_id: trace.map(|trace| id(trace.root)).unwrap_or_default(),
        observed_time_unix_nano: now,
    }
}
