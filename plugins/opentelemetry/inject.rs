//! Headers that tell the upstream of a trace, in the formats that Kong writes.

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::propagation::Format;

/// What the upstream is told.
#[derive(Debug, Clone)]
pub(super) struct Told<'a> {
    /// The trace.
    pub(super) trace: u128,
    /// Bytes that its id had when it came, if it came.
    pub(super) size: usize,
    /// The upstream's parent.
    pub(super) span: u64,
    /// The span above that.
    pub(super) parent: Option<u64>,
    /// Whether the trace is recorded.
    pub(super) sampled: bool,
    /// `X-B3-Flags`.
    pub(super) flags: Option<&'a str>,
    /// What travels with the trace.
    pub(super) baggage: &'a [(String, String)],
}

/// What stands as it is in baggage.
const BAGGAGE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The headers of one format, and how it shows the id of the trace in log records.
pub(super) fn inject(
    format: Format,
    told: &Told<'_>,
    mut set: impl FnMut(&str, String),
) -> (&'static str, String) {
    let Told { trace, span, sampled, .. } = *told;
    let digit = u8::from(sampled);
    // Formats with ids of two sizes keep that of the id that came.
    let short = || format!("{:016x}", trace as u64);
    let long = || format!("{trace:032x}");
    let either = || if told.size == 8 { short() } else { long() };
    let parent = told.parent.map(|parent| format!("{parent:016x}"));
    match format {
        Format::W3c => {
            set("traceparent", format!("00-{trace:032x}-{span:016x}-0{digit}"));
            ("w3c", long())
        }
        Format::B3 | Format::B3Single => {
            b3(format == Format::B3Single, told, either(), set);
            ("b3", either())
        }
        Format::Jaeger => {
            let parent = parent.unwrap_or_else(|| "0".to_owned());
            set("uber-trace-id", format!("{}:{span:016x}:{parent}:0{digit}", either()));
            carry("uberctx-", told.baggage, set);
            ("jaeger", either())
        }
        Format::Ot => {
            let id = if told.size == 16 { long() } else { short() };
            set("ot-tracer-traceid", id.clone());
            set("ot-tracer-spanid", format!("{span:016x}"));
            set("ot-tracer-sampled", digit.to_string());
            carry("ot-baggage-", told.baggage, set);
            ("ot", id)
        }
        Format::Datadog => {
            let id = (trace as u64).to_string();
            set("x-datadog-trace-id", id.clone());
            set("x-datadog-parent-id", span.to_string());
            set("x-datadog-sampling-priority", digit.to_string());
            ("datadog", id)
        }
        Format::Aws => {
            let (time, rest) = ((trace >> 96) as u32, trace & ((1 << 96) - 1));
            let value = format!("Root=1-{time:08x}-{rest:024x};Parent={span:016x};Sampled={digit}");
            set("x-amzn-trace-id", value);
            ("aws", long())
        }
        Format::Gcp => {
            set("x-cloud-trace-context", format!("{trace:032x}/{span};o={digit}"));
            ("gcp", long())
        }
        Format::Instana => {
            set("x-instana-t", either());
            set("x-instana-s", format!("{span:016x}"));
            set("x-instana-l", digit.to_string());
            ("instana", either())
        }
    }
}

fn b3(is_single: bool, told: &Told<'_>, trace: String, mut set: impl FnMut(&str, String)) {
    let span = format!("{:016x}", told.span);
    let parent = told.parent.map(|parent| format!("{parent:016x}"));
    let flag = u8::from(told.sampled).to_string();
    if is_single {
        let flag = if told.flags == Some("1") { "d".to_owned() } else { flag };
        let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
        return set("b3", format!("{trace}-{span}-{flag}{parent}"));
    }
    set("x-b3-traceid", trace);
    set("x-b3-spanid", span);
    parent.into_iter().for_each(|parent| set("x-b3-parentspanid", parent));
    match told.flags {
        Some(flags) => set("x-b3-flags", flags.to_owned()),
        None => set("x-b3-sampled", flag),
    }
}

fn carry(prefix: &str, baggage: &[(String, String)], mut set: impl FnMut(&str, String)) {
    for (name, value) in baggage {
        set(&format!("{prefix}{name}"), utf8_percent_encode(value, BAGGAGE).to_string());
    }
}

/// A header, if it can be one.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}
