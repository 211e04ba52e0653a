//! The trace that a client's headers name, in the formats that Kong reads.
//!
//! What cannot be read is passed over with a line for the operator, in Kong's words. A format has
//! found something as soon as it knows an id or whether the trace is sampled.

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::propagation::Format;

/// What the client's headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The trace.
    pub(super) trace: Option<u128>,
    /// Bytes that the id of the trace had.
    pub(super) size: usize,
    /// The client's span.
    pub(super) span: Option<u64>,
    /// The span above the client's.
    pub(super) parent: Option<u64>,
    /// Whether the trace is recorded.
    pub(super) sampled: Option<bool>,
    /// `X-B3-Flags`.
    pub(super) flags: Option<String>,
    /// It stood in B3's single header.
    pub(super) is_single: bool,
    /// What travels with the trace.
    pub(super) baggage: Vec<(String, String)>,
}

/// Baggage that is passed on, and its length in bytes.
const BAGGAGE_MAX: usize = 64;

impl Found {
    fn is_something(&self) -> bool {
        let is_known = self.trace.is_some() || self.span.is_some() || self.sampled.is_some();
        is_known || !self.baggage.is_empty()
    }
}

/// What one format finds. `told` hears of headers that are wrong.
pub(super) fn extract(
    format: Format,
    headers: &HeaderMap,
    told: &mut dyn FnMut(&str),
) -> Option<Found> {
    let headers = Headers { map: headers, told };
    let found = match format {
        Format::W3c => headers.w3c(),
        Format::B3 | Format::B3Single => headers.b3(),
        Format::Jaeger => headers.jaeger(),
        Format::Ot => headers.ot(),
        Format::Datadog => headers.datadog(),
        Format::Aws => headers.aws(),
        Format::Gcp => headers.gcp(),
        Format::Instana => headers.instana(),
    };
    found.filter(Found::is_something)
}

struct Headers<'a> {
    map: &'a HeaderMap,
    told: &'a mut dyn FnMut(&str),
}

impl Headers<'_> {
    /// The value of a header that is there once, as text.
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.map.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        std::str::from_utf8(value.as_bytes()).ok()
    }

    fn ignore<T>(&mut self, what: &str) -> Option<T> {
        (self.told)(&format!("{what}; ignoring."));
        None
    }

    fn w3c(mut self) -> Option<Found> {
        let text = self.one("traceparent").filter(|text| !text.is_empty())?.to_owned();
        let Some([version, trace, span, flags]) = hexes(&text, '-') else {
            return self.ignore("invalid W3C traceparent header");
        };
        if version != "00" {
            return self.ignore("invalid W3C Trace Context version");
        }
        let (Some(trace_id), 32) = (wide(trace).filter(|id| *id > 0), trace.len()) else {
            return self.ignore("invalid W3C trace context trace ID");
        };
        let (Some(span_id), 16) = (narrow(span).filter(|id| *id > 0), span.len()) else {
            return self.ignore("invalid W3C trace context parent ID");
        };
        let (Some(flags), 2) = (wide(flags), flags.len()) else {
            return self.ignore("invalid W3C trace context flags");
        };
        Some(Found {
            trace: Some(trace_id),
            size: 16,
            span: Some(span_id),
            sampled: Some(flags & 1 == 1),
            ..Found::default()
        })
    }

    /// The single header goes before the others, and those fill in what it does not say.
    fn b3(mut self) -> Option<Found> {
        let single = self.b3_single();
        let many = self.b3_multi();
        let is_single = single.is_some();
        let one = single.unwrap_or_default();
        let trace = one.trace.or(many.trace);
        let ids = |id: Option<u64>| id.filter(|_| trace.is_some());
        Some(Found {
            trace,
            size: if one.trace.is_some() { one.size } else { many.size },
            span: ids(one.span.or(many.span)),
            parent: ids(one.parent.or(many.parent)),
            sampled: one.sampled.or(many.sampled),
            flags: one.flags.or(many.flags),
            is_single,
            baggage: Vec::new(),
        })
    }

    /// Its own header, or a member of `tracestate`.
    fn b3_single(&mut self) -> Option<Found> {
        let in_state = || {
            let states = self.map.get_all("tracestate").iter().filter_map(|v| v.to_str().ok());
            states.filter_map(|state| state.strip_prefix("b3=")).find(|text| !text.is_empty())
        };
        let text = match self.map.contains_key("b3") {
            true => self.one("b3")?,
            false => in_state()?,
        };
        let text = text.to_owned();
        let mut found = Found::default();
        let mut take = |flag: &str| match flag {
            "0" => found.sampled = Some(false),
            "1" => found.sampled = Some(true),
            "d" => (found.sampled, found.flags) = (Some(true), Some("1".to_owned())),
            _ => {}
        };
        if matches!(text.as_str(), "0" | "1" | "d") {
            take(&text);
            return Some(found);
        }
        let Some((trace, span, flag, parent)) = b3_parts(&text) else {
            self.ignore::<()>("b3 single header invalid");
            return Some(found);
        };
        take(flag);
        (found.trace, found.size) = (wide(trace), trace.len() / 2);
        (found.span, found.parent) = (narrow(span), narrow(parent));
        Some(found)
    }

    fn b3_multi(&mut self) -> Found {
        let mut sampled = self.sampled("x-b3-sampled");
        let flags = self.one("x-b3-flags").map(str::to_owned);
        match flags.as_deref() {
            Some("1") => sampled = Some(true),
            Some(_) => drop(self.ignore::<()>("x-b3-flags header invalid")),
            None => {}
        }
        let trace = self.id("x-b3-traceid", true);
        let (span, parent) = (self.id("x-b3-spanid", false), self.id("x-b3-parentspanid", false));
        let mut found = Found { sampled, flags, ..Found::default() };
        if let (Ok(trace), Ok(span), Ok(parent)) = (trace, span, parent) {
            found.size = trace.as_ref().map_or(0, |text| text.len() / 2);
            found.trace = trace.as_deref().and_then(wide);
            found.span = span.as_deref().and_then(narrow);
            found.parent = parent.as_deref().and_then(narrow);
        }
        found
    }

    fn jaeger(mut self) -> Option<Found> {
        let text = self.one("uber-trace-id").filter(|text| !text.is_empty())?.to_owned();
        let Some([trace, span, parent, flags]) = hexes(&text, ':') else {
            return self.ignore("invalid jaeger uber-trace-id header");
        };
        let Some(trace_id) = wide(trace).filter(|id| *id > 0 && trace.len() <= 32) else {
            return self.ignore("invalid jaeger trace ID");
        };
        if parent.len() != 16 && parent.bytes().any(|digit| digit != b'0') {
            self.ignore::<()>("invalid jaeger parent ID");
        }
        let Some(span_id) = narrow(span).filter(|id| *id > 0 && span.len() <= 16) else {
            return self.ignore("invalid jaeger span ID");
        };
        let Some(flags) = wide(flags).filter(|_| flags.len() <= 2) else {
            return self.ignore("invalid jaeger flags");
        };
        Some(Found {
            trace: Some(trace_id),
            size: trace.len().div_ceil(2),
            span: Some(span_id),
            parent: narrow(parent),
            sampled: Some(flags & 1 == 1),
            baggage: self.baggage("uberctx-"),
            ..Found::default()
        })
    }

    fn ot(mut self) -> Option<Found> {
        let sampled = self.sampled("ot-tracer-sampled");
        let trace = self.id("ot-tracer-traceid", true);
        let span = self.id("ot-tracer-spanid", false);
        let mut found = Found { sampled, baggage: self.baggage("ot-baggage-"), ..Found::default() };
        let names = ["ot-tracer-sampled", "ot-tracer-traceid", "ot-tracer-spanid"];
        if !names.iter().any(|name| self.map.contains_key(*name)) {
            return None;
        }
        if let (Ok(Some(trace)), Ok(span)) = (trace, span) {
            (found.trace, found.size) = (wide(&trace), trace.len() / 2);
            found.span = span.as_deref().and_then(narrow);
        }
        Some(found)
    }

    fn datadog(mut self) -> Option<Found> {
        let sampled = match self.map.get("x-datadog-sampling-priority").map(HeaderValue::as_bytes) {
            None => None,
            Some(b"1" | b"2") => Some(true),
            Some(b"0" | b"-1") => Some(false),
            Some(_) => return self.ignore("x-datadog-sampling-priority header invalid"),
        };
        let trace = self.decimal("x-datadog-trace-id");
        let parent = self.decimal("x-datadog-parent-id");
        Some(Found {
            trace,
            size: trace.map_or(0, |id| (128 - id.leading_zeros()).div_ceil(8) as usize),
            span: trace.and(parent).map(|id| id as u64),
            sampled,
            ..Found::default()
        })
    }

    fn aws(mut self) -> Option<Found> {
        let text = self.one("x-amzn-trace-id")?.to_owned();
        let mut found = Found::default();
        for (name, value) in text.split(';').filter_map(|pair| pair.split_once('=')) {
            match (name.trim(), value.trim()) {
                ("Root", id) => {
                    let parts = id.strip_prefix("1-").and_then(|id| id.split_once('-'));
                    let parts = parts.filter(|(time, rest)| time.len() == 8 && rest.len() == 24);
                    let id = parts.and_then(|(time, rest)| wide(&format!("{time}{rest}")));
                    let Some(id) = id else { return self.ignore("invalid aws header trace id") };
                    (found.trace, found.size) = (Some(id), 16);
                }
                ("Parent", id) => match narrow(id).filter(|_| id.len() == 16) {
                    Some(id) => found.span = Some(id),
                    None => return self.ignore("invalid aws header parent id"),
                },
                ("Sampled", flag @ ("0" | "1")) => found.sampled = Some(flag == "1"),
                ("Sampled", _) => return self.ignore("invalid aws header sampled flag"),
                _ => {}
            }
        }
        Some(found)
    }

    fn gcp(mut self) -> Option<Found> {
        let text = self.one("x-cloud-trace-context")?.to_owned();
        let read = || {
            let (trace, rest) = text.split_once('/')?;
            let (span, flag) = match rest.split_once(";o=") {
                None => (rest, ""),
                Some((span, flag)) => (span, Some(flag).filter(|flag| flag.len() == 1)?),
            };
            let is_lower = trace.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            let is_flag = flag.bytes().all(|digit| digit.is_ascii_digit());
            let is_right = trace.len() == 32 && is_lower && is_flag && span.len() <= 20;
            let span = Some(span).filter(|_| is_right).and_then(decimal)?;
            Some((wide(trace)?, span as u64, flag == "1"))
        };
        let Some((trace, span, sampled)) = read() else {
            return self.ignore("invalid GCP header");
        };
        Some(Found {
            trace: Some(trace),
            size: 16,
            span: Some(span),
            sampled: Some(sampled),
            ..Found::default()
        })
    }

    fn instana(mut self) -> Option<Found> {
        let lead = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
            text.get(..end).unwrap_or_default().to_owned()
        };
        let trace = lead(self.one("x-instana-t")?);
        if !matches!(trace.len(), 16 | 32) {
            self.ignore::<()>("x-instana-t header invalid");
        }
        let span = lead(self.one("x-instana-s")?);
        if span.is_empty() {
            self.ignore::<()>("x-instana-s header invalid");
        }
        let level = self.one("x-instana-l").unwrap_or_default();
        Some(Found {
            trace: wide(&trace),
            size: trace.len().div_ceil(2),
            span: narrow(&span),
            sampled: Some(level.starts_with('1')),
            ..Found::default()
        })
    }

    /// What is said of sampling; nothing if nonsense is.
    fn sampled(&mut self, name: &str) -> Option<bool> {
        match self.map.get(name).map(HeaderValue::as_bytes) {
            None => None,
            Some(b"1" | b"true") => Some(true),
            Some(b"0" | b"false") => Some(false),
            Some(_) => self.ignore(&format!("{name} header invalid")),
        }
    }

    /// An id in a header of its own.
    fn id(&mut self, name: &str, may_be_long: bool) -> Result<Option<String>, ()> {
        if !self.map.contains_key(name) {
            return Ok(None);
        }
        let is_right = |text: &&str| {
            let length = text.len();
            (length == 16 || may_be_long && length == 32) && is_hex(text)
        };
        match self.one(name).filter(is_right).map(str::to_owned) {
            Some(id) => Ok(Some(id)),
            None => {
                self.ignore::<()>(&format!("{name} header invalid"));
                Err(())
            }
        }
    }

    fn decimal(&mut self, name: &str) -> Option<u128> {
        if !self.map.contains_key(name) {
            return None;
        }
        match self.one(name).map(str::trim).and_then(decimal) {
            Some(number) => Some(number),
            None => self.ignore(&format!("{name} header invalid")),
        }
    }

    fn baggage(&self, prefix: &str) -> Vec<(String, String)> {
        let pair = |(name, value): (&http::HeaderName, &HeaderValue)| {
            let name = name.as_str().strip_prefix(prefix)?;
            let value = value.to_str().ok()?.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            Some((name.to_owned(), value))
        };
        self.map.iter().filter_map(pair).take(BAGGAGE_MAX).collect()
    }
}

/// Trace, span, flag and parent of B3's single header; Kong takes it without some hyphens, too.
fn b3_parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (trace, rest) = text.split_once('-')?;
    let (span, rest) = rest.split_at_checked(16)?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let (flag, rest) = match rest.as_bytes().first() {
        Some(b'0' | b'1' | b'd') => rest.split_at(1),
        _ => ("", rest),
    };
    let parent = rest.strip_prefix('-').unwrap_or(rest);
    let is_right = matches!(trace.len(), 16 | 32)
        && is_hex(trace)
        && is_hex(span)
        && (parent.is_empty() || parent.len() == 16 && is_hex(parent));
    is_right.then_some((trace, span, flag, parent))
}

/// Four hexadecimal numbers.
fn hexes(text: &str, between: char) -> Option<[&str; 4]> {
    let mut parts = text.split(between);
    let four = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_right = parts.next().is_none() && four.iter().all(|part| is_hex(part));
    is_right.then_some(four)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The last 16 bytes of a number.
fn wide(hex: &str) -> Option<u128> {
    let last = hex.get(hex.len().saturating_sub(32)..)?;
    if is_hex(last) { u128::from_str_radix(last, 16).ok() } else { None }
}

/// The last 8 bytes of a number.
fn narrow(hex: &str) -> Option<u64> {
    wide(hex).map(|number| number as u64)
}

/// The last 16 bytes of a decimal number.
fn decimal(text: &str) -> Option<u128> {
    let is_right = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let add =
        |number: u128, digit: u8| number.wrapping_mul(10).wrapping_add(u128::from(digit - b'0'));
    is_right.then(|| text.bytes().fold(0, add))
}
