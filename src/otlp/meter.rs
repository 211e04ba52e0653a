//! Histograms that a collector gets at an interval, as they have grown since the start.
//!
//! One meter belongs to one destination: the plugins of all workers, before and after a reload,
//! count in the same series. A series is found under a lock, then kept by whoever counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Histogram as Series, KeyValue, Metric, Point, Value, record};
use crate::deliveries::Queue;
use crate::metrics::Histogram;

/// What is measured.
#[derive(Debug)]
pub struct Instrument {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// In which unit a collector gets it.
    pub unit: &'static str,
    /// How many of what is counted here are one of that unit.
    pub per_unit: f64,
    /// Upper bounds, in what is counted here.
    pub bounds: &'static [u64],
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// A text.
    Text(Arc<str>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

/// Attributes of a series, by name.
pub type Labels = Vec<(&'static str, Label)>;

/// Series that one meter has; what is beyond shares one for each instrument.
const SERIES_MAX: usize = 2000;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;

/// The meters of the process.
#[derive(Default)]
pub struct Meters(Mutex<Vec<Weak<Meter>>>);

impl Meters {
    /// The meter of a queue, which is sent at this interval, for as long as somebody has it.
    pub fn meter(&self, control: &Handle, queue: &Arc<Queue>, interval: Duration) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|meter| meter.strong_count() > 0);
        let is_same =
            |meter: &Arc<Meter>| Arc::ptr_eq(&meter.queue, queue) && meter.interval == interval;
        if let Some(meter) = meters.iter().filter_map(Weak::upgrade).find(is_same) {
            return meter;
        }
        let meter = Arc::new(Meter {
            queue: queue.clone(),
            interval,
            began_ns: now_ns(),
            series: Mutex::default(),
        });
        meters.push(Arc::downgrade(&meter));
        control.spawn(push_each(Arc::downgrade(&meter), interval));
        meter
    }
}

async fn push_each(meter: Weak<Meter>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(meter) = meter.upgrade() else { return };
        meter.push();
    }
}

/// The series that go to one destination.
pub struct Meter {
    queue: Arc<Queue>,
    interval: Duration,
    began_ns: u64,
    series: Mutex<Known>,
}

/// By the instrument's name, then by attributes.
type Known = BTreeMap<&'static str, (&'static Instrument, BTreeMap<Labels, Histogram>)>;

impl Meter {
    /// A series.
    pub fn series(&self, instrument: &'static Instrument, labels: &Labels) -> Histogram {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let count: usize = series.values().map(|(_, of_name)| of_name.len()).sum();
        let (_, of_name) =
            series.entry(instrument.name).or_insert_with(|| (instrument, BTreeMap::new()));
        let mut labels = labels.clone();
        if count >= SERIES_MAX && !of_name.contains_key(&labels) {
            labels = vec![("otel.metric.overflow", Label::Flag(true))];
        }
        of_name.entry(labels).or_insert_with(|| Histogram::new(instrument.bounds)).clone()
    }

    /// Sends what was counted so far, if anything was.
    fn push(&self) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ns = now_ns();
        for (instrument, of_name) in series.values() {
            self.queue.push(self.metric(instrument, of_name, now_ns));
        }
    }

    fn metric(
        &self,
        instrument: &Instrument,
        series: &BTreeMap<Labels, Histogram>,
        now_ns: u64,
    ) -> Bytes {
        let in_unit = |number: u64| number as f64 / instrument.per_unit;
        let point = |(labels, histogram): (&Labels, &Histogram)| {
            let (bucket_counts, sum) = histogram.read();
            Point {
                start_time_unix_nano: self.began_ns,
                time_unix_nano: now_ns,
                count: bucket_counts.iter().sum(),
                sum: Some(in_unit(sum)),
                bucket_counts,
                explicit_bounds: instrument.bounds.iter().map(|bound| in_unit(*bound)).collect(),
                attributes: labels.iter().map(attribute).collect(),
            }
        };
        record(&Metric {
            name: instrument.name.to_owned(),
            description: instrument.description.to_owned(),
            unit: instrument.unit.to_owned(),
            histogram: Some(Series {
                data_points: series.iter().map(point).collect(),
                aggregation_temporality: CUMULATIVE,
            }),
        })
    }
}

impl Drop for Meter {
    /// What was counted since the last time.
    fn drop(&mut self) {
        self.push();
    }
}

fn attribute((name, label): &(&'static str, Label)) -> KeyValue {
    match label {
        Label::Text(text) => KeyValue::new(name, text),
        Label::Number(number) => KeyValue::new(name, *number),
        Label::Flag(flag) => KeyValue::new(name, Value::Flag(*flag)),
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
