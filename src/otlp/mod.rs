//! What OpenTelemetry's collectors are sent: the messages of OTLP, and what stands around them.
//!
//! The fields and their numbers are those of `opentelemetry-proto` 1.x; what is not sent is not
//! here. A record (a span, a log line, a metric) is written when it is made; a batch of records
//! gets its envelope when it goes, so each record counts for itself in a queue.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

mod meter;

pub use meter::{Instrument, Label, Labels, Meter, Meters};

/// What stands around the records of a delivery: who sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    resource: Bytes,
    scope: Bytes,
}

/// The field of a batch in its request, and of records in their scope. Traces, logs and metrics
/// have the same numbers.
const OUTER: u8 = 1 << 3 | 2;
const INNER: u8 = 2 << 3 | 2;

impl Envelope {
    /// An envelope for records of a resource with these attributes.
    pub fn new(attributes: Vec<KeyValue>) -> Self {
        let resource = Resource { attributes };
        let scope =
            Scope { name: "silverback".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Self { resource: field(OUTER, &resource), scope: field(OUTER, &scope) }
    }

    /// One request with these records.
    pub fn wrap(&self, records: &[Bytes]) -> Bytes {
        let inner = self.scope.len() + records.iter().map(Bytes::len).sum::<usize>();
        let outer = self.resource.len() + head_len(inner) + inner;
        let mut request = BytesMut::with_capacity(head_len(outer) + outer);
        head(&mut request, OUTER, outer);
        request.extend_from_slice(&self.resource);
        head(&mut request, INNER, inner);
        request.extend_from_slice(&self.scope);
        records.iter().for_each(|record| request.extend_from_slice(record));
        request.freeze()
    }
}

/// A record as it stands in its scope.
pub fn record(message: &impl Message) -> Bytes {
    field(INNER, message)
}

fn field(tag: u8, message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut field = BytesMut::with_capacity(head_len(length) + length);
    head(&mut field, tag, length);
    message.encode_raw(&mut field);
    field.freeze()
}

fn head(to: &mut BytesMut, tag: u8, length: usize) {
    to.put_u8(tag);
    prost::encoding::encode_varint(length as u64, to);
}

fn head_len(length: usize) -> usize {
    1 + prost::encoding::encoded_len_varint(length as u64)
}

/// Who sends.
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// What of it makes the records.
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// A span.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub trace_id: Bytes,
    /// 8 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub span_id: Bytes,
    /// 8 bytes, or none.
    #[prost(bytes = "bytes", tag = "4")]
    pub parent_span_id: Bytes,
    /// What it is.
    #[prost(string, tag = "5")]
    pub name: String,
    /// [`INTERNAL`], [`SERVER`] or [`CLIENT`].
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Unix nanoseconds.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Unix nanoseconds.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// What happened in it.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
    /// Whether it went well; `None` where nobody says.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// `SPAN_KIND_INTERNAL`.
pub const INTERNAL: i32 = 1;
/// `SPAN_KIND_SERVER`.
pub const SERVER: i32 = 2;
/// `SPAN_KIND_CLIENT`.
pub const CLIENT: i32 = 3;

/// Something that happened in a span.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Unix nanoseconds.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// What it is.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What is known of it.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
}

/// How a span went.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// In words.
    #[prost(string, tag = "2")]
    pub message: String,
    /// 2 is a failure.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

impl Status {
    /// A failure.
    pub fn error() -> Self {
        Self { message: String::new(), code: 2 }
    }
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

impl KeyValue {
    /// An attribute of this name.
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue { value: Some(value.into()) }) }
    }
}

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// One of its kinds.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    pub value: Option<Value>,
}

/// The kinds of values that are sent.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Flag(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Number(i64),
    /// Any number.
    #[prost(double, tag = "4")]
    Float(f64),
    /// A list.
    #[prost(message, tag = "5")]
    List(List),
}

/// A list of values.
#[derive(Clone, PartialEq, Message)]
pub struct List {
    /// Its values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&[String]> for Value {
    fn from(texts: &[String]) -> Self {
        let value = |text: &String| AnyValue { value: Some(text.as_str().into()) };
        Self::List(List { values: texts.iter().map(value).collect() })
    }
}

/// A log record.
#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    /// Unix nanoseconds.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// 9 is INFO.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The same in a word.
    #[prost(string, tag = "3")]
    pub severity_text: String,
    /// What it says.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// What is known beside it.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// 1: the trace is recorded.
    #[prost(fixed32, tag = "8")]
    pub flags: u32,
    /// 16 bytes, or none.
    #[prost(bytes = "bytes", tag = "9")]
    pub trace_id: Bytes,
    /// 8 bytes, or none.
    #[prost(bytes = "bytes", tag = "10")]
    pub span_id: Bytes,
    /// Unix nanoseconds.
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
}

/// A metric.
#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(message, optional, tag = "9")]
    histogram: Option<Histogram>,
}

/// The series of a histogram.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<Point>,
    /// 2: since the start.
    #[prost(int32, tag = "2")]
    aggregation_temporality: i32,
}

/// One series of a histogram.
#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_message_with_its_lengths_right() {
        let envelope = Envelope::new(vec![KeyValue::new("a", "b")]);
        let span = Span { name: "n".repeat(200), ..Span::default() };
        let one = envelope.wrap(&[record(&span)]);
        let two = envelope.wrap(&[record(&span), record(&span)]);
        for (request, spans) in [(&one, 1), (&two, 2)] {
            let request = Request::decode(&request[..]).unwrap();
            let batch = &request.batches[0];
            assert_eq!(request.batches.len(), 1);
            assert_eq!(batch.resource.as_ref().unwrap().attributes[0].key, "a");
            assert_eq!(batch.scopes[0].scope.as_ref().unwrap().name, "silverback");
            assert_eq!(batch.scopes[0].spans, vec![span.clone(); spans]);
        }
    }

    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(message, repeated, tag = "1")]
        batches: Vec<Batch>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Batch {
        #[prost(message, optional, tag = "1")]
        resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        scopes: Vec<Scoped>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Scoped {
        #[prost(message, optional, tag = "1")]
        scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        spans: Vec<Span>,
    }
}
