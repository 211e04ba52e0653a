//! A collector for OpenTelemetry's data. It reads the wire by the numbers of the fields in
//! `opentelemetry-proto`, and knows nothing of the gateway's own messages.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::{Message, Upstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A collector.
pub struct Collector(Upstream);

impl Collector {
    pub async fn start() -> Self {
        Self(Upstream::replying(OK).await)
    }

    /// The address of one signal: `traces`, `metrics` or `logs`.
    pub fn url(&self, signal: &str) -> String {
        format!("http://{}/v1/{signal}", self.0.address)
    }

    /// The deliveries so far.
    pub fn deliveries(&self) -> Vec<Message> {
        self.0.seen()
    }

    fn batches(&self, signal: &str) -> Vec<Batch> {
        let path = format!("/v1/{signal}");
        let of_signal = self.deliveries().into_iter().filter(|sent| sent.target() == path);
        of_signal.flat_map(|sent| Fields::read(&sent.body).all(1)).map(Batch).collect()
    }

    /// Waits for something that `find` finds in what has come.
    async fn until<T>(&self, find: impl Fn() -> Option<T>) -> T {
        for _ in 0..2000 {
            if let Some(found) = find() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came; deliveries: {}", self.deliveries().len());
    }

    /// The spans, once there are so many.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        let find = || {
            let batches = self.batches("traces").into_iter();
            let spans: Vec<Span> = batches.flat_map(|batch| batch.records()).map(span).collect();
            (spans.len() >= count).then_some(spans)
        };
        self.until(find).await
    }

    /// The log records, once there are so many: body, attributes, trace and span.
    pub async fn records(&self, count: usize) -> Vec<(String, Attributes, String, String)> {
        let record = |fields: Fields| {
            let attributes = attributes(fields.all(6));
            let (trace, span) = (hex(&fields.bytes(9)), hex(&fields.bytes(10)));
            (value(&fields.message(5)), attributes, trace, span)
        };
        let find = || {
            let batches = self.batches("logs").into_iter();
            let records: Vec<_> = batches.flat_map(|batch| batch.records()).map(record).collect();
            (records.len() >= count).then_some(records)
        };
        self.until(find).await
    }

    /// The newest state of a metric, once it has a series with this attribute.
    pub async fn metric(&self, name: &str, key: &str, value: &str) -> Series {
        let find = || {
            let metrics = self.batches("metrics").into_iter().flat_map(|batch| batch.records());
            let of_name = metrics.filter(|metric| metric.text(1) == name);
            let mut series = of_name.flat_map(|metric| metric.message(9).all(1)).map(series);
            series.rfind(|one| one.attributes.get(key).is_some_and(|one| one == value))
        };
        self.until(find).await
    }

    /// The attributes of who sends.
    pub fn resource(&self, signal: &str) -> Attributes {
        let batch = self.batches(signal).pop().unwrap();
        attributes(batch.0.message(1).all(1))
    }
}

/// What is said of one thing, as text.
pub type Attributes = BTreeMap<String, String>;

/// One span.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    pub status: u64,
}

/// One series of a histogram.
#[derive(Debug, Clone)]
pub struct Series {
    pub start: u64,
    pub time: u64,
    pub count: u64,
    pub sum: f64,
    pub buckets: Vec<u64>,
    pub bounds: Vec<f64>,
    pub attributes: Attributes,
}

/// `ResourceSpans` or `ResourceMetrics`.
struct Batch(Fields);

impl Batch {
    fn records(&self) -> Vec<Fields> {
        self.0.all(2).into_iter().flat_map(|scope| scope.all(2)).collect()
    }
}

fn span(fields: Fields) -> Span {
    Span {
        trace: hex(&fields.bytes(1)),
        id: hex(&fields.bytes(2)),
        parent: hex(&fields.bytes(4)),
        name: fields.text(5),
        kind: fields.number(6),
        start: fields.number(7),
        end: fields.number(8),
        attributes: attributes(fields.all(9)),
        status: fields.message(15).number(3),
    }
}

fn series(fields: Fields) -> Series {
    let packed = |number: u64| {
        let bytes = fields.bytes(number);
        bytes.chunks(8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap())).collect()
    };
    let bounds: Vec<u64> = packed(7);
    Series {
        start: fields.number(2),
        time: fields.number(3),
        count: fields.number(4),
        sum: f64::from_bits(fields.number(5)),
        buckets: packed(6),
        bounds: bounds.into_iter().map(f64::from_bits).collect(),
        attributes: attributes(fields.all(9)),
    }
}

fn attributes(pairs: Vec<Fields>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.text(1), value(&pair.message(2)))).collect()
}

/// `AnyValue`.
fn value(fields: &Fields) -> String {
    let (number, found) = fields.0.first().expect("a value");
    match (number, found) {
        (1, Field::Bytes(text)) => String::from_utf8(text.clone()).unwrap(),
        (2, Field::Number(flag)) => (*flag == 1).to_string(),
        (3, Field::Number(number)) => number.to_string(),
        (4, Field::Number(bits)) => f64::from_bits(*bits).to_string(),
        (5, Field::Bytes(list)) => {
            let values = Fields::read(list).all(1);
            values.iter().map(value).collect::<Vec<_>>().join(",")
        }
        other => panic!("no value: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fields of a message, by number, in their order.
#[derive(Debug, Clone, Default)]
struct Fields(Vec<(u64, Field)>);

#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Fields {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length).to_vec())
                }
                5 => {
                    let four = take(&mut bytes, 4).try_into().unwrap();
                    Field::Number(u32::from_le_bytes(four).into())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        Self(fields)
    }

    fn all(&self, number: u64) -> Vec<Self> {
        let of_number = self.0.iter().filter(|(known, _)| *known == number);
        let message = |(_, field): &(u64, Field)| match field {
            Field::Bytes(bytes) => Self::read(bytes),
            Field::Number(_) => panic!("field {number} is no message"),
        };
        of_number.map(message).collect()
    }

    fn message(&self, number: u64) -> Self {
        self.all(number).pop().unwrap_or_default()
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        self.0
            .iter()
            .find_map(|(known, field)| match field {
                Field::Bytes(bytes) if *known == number => Some(bytes.clone()),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number)).unwrap()
    }

    fn number(&self, number: u64) -> u64 {
        let found = self.0.iter().find_map(|(known, field)| match field {
            Field::Number(value) if *known == number => Some(*value),
            _ => None,
        });
        found.unwrap_or(0)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}
