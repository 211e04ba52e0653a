//! Counters: one shard per worker, summed when somebody looks.
//!
//! A series is made once (that takes a lock) and kept by whoever counts; counting is one relaxed
//! addition to memory that no other worker writes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 16;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Says which shard this thread counts in. Workers call it once, with their number.
pub fn enter_worker(number: usize) {
    SHARD.set(number % SHARDS);
}

/// Alone on its cache line, so that workers do not slow each other down.
#[derive(Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

/// A number that only grows.
#[derive(Clone, Default)]
pub struct Counter(Arc<[Shard; SHARDS]>);

impl Counter {
    /// Adds to the counter.
    pub fn add(&self, n: u64) {
        self.0[SHARD.get()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum over all workers.
    pub fn value(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// A number that goes up and down. Who adds to it takes away on the same worker.
#[derive(Clone, Default)]
pub struct Gauge(Counter);

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        self.0.add(1);
    }

    /// One less.
    pub fn leave(&self) {
        self.0.add(u64::MAX); // which wraps
    }

    /// The number over all workers.
    pub fn value(&self) -> u64 {
        let shards = self.0.0.iter().map(|shard| shard.0.load(Ordering::Relaxed));
        let sum = shards.fold(0_u64, u64::wrapping_add);
        // Between two loads somebody may have left whose coming was not seen.
        if sum > u64::MAX / 2 { 0 } else { sum }
    }
}

/// A sum of amounts that are no whole numbers, such as money.
#[derive(Clone, Default)]
pub struct Amount(Counter);

impl Amount {
    /// Smaller parts are lost: a millionth of a millionth.
    const PARTS: f64 = 1e12;

    /// Adds to the sum; it cannot become smaller.
    pub fn add(&self, amount: f64) {
        // A cast never wraps: what is negative or no number adds nothing.
        self.0.add((amount * Self::PARTS).round() as u64);
    }

    /// The sum over all workers.
    pub fn value(&self) -> f64 {
        self.0.value() as f64 / Self::PARTS
    }
}

/// Observations counted by upper bound.
///
/// A worker's numbers stand together on cache lines of their own: a counter for each bucket would
/// take ten times the memory.
#[derive(Clone)]
pub struct Histogram {
    bounds: &'static [u64],
    lines: Arc<[Line]>,
}

/// Eight numbers that only one worker writes.
#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU64; 8]);

impl Histogram {
    /// One that no registry shows.
    pub fn new(bounds: &'static [u64]) -> Self {
        let lines = std::iter::repeat_with(Line::default).take(Self::width(bounds) * SHARDS);
        Self { bounds, lines: lines.collect() }
    }

    /// Lines for one worker: a number for each bound, one for what is beyond, and the sum.
    fn width(bounds: &[u64]) -> usize {
        (bounds.len() + 2).div_ceil(8)
    }

    /// Counts one observation.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        for (place, amount) in [(bucket, 1), (self.bounds.len() + 1, value)] {
            if let Some(number) = self.number(SHARD.get(), place) {
                number.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    /// Over all workers: what stands below each bound and beyond the last, and the sum.
    pub fn read(&self) -> (Vec<u64>, u64) {
        let buckets = (0..=self.bounds.len()).map(|place| self.total(place)).collect();
        (buckets, self.total(self.bounds.len() + 1))
    }

    fn number(&self, shard: usize, place: usize) -> Option<&AtomicU64> {
        self.lines.get(shard * Self::width(self.bounds) + place / 8)?.0.get(place % 8)
    }

    /// The sum over all workers of what stands in one place.
    fn total(&self, place: usize) -> u64 {
        let numbers = (0..SHARDS).filter_map(|shard| self.number(shard, place));
        numbers.map(|number| number.load(Ordering::Relaxed)).sum()
    }
}

enum Series {
    Counter(Counter),
    Amount(Amount),
    Histogram(Histogram),
}

struct Family {
    help: &'static str,
    kind: &'static str,
    series: BTreeMap<String, Series>,
}

/// Series by name and labels.
#[derive(Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, Family>>,
}

/// Label names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Series that one family may have. Label values come from configuration, but model names can
/// come from clients: past this bound they share one series.
const SERIES_MAX: usize = 10_000;

impl Metrics {
    /// The counter with this name and these labels.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        let make = || Series::Counter(Counter::default());
        let counter = |series: &Series| match series {
            Series::Counter(counter) => Some(counter.clone()),
            _ => None,
        };
        self.series(name, help, "counter", labels, make, counter).unwrap_or_default()
    }

    /// The counter of amounts with this name and these labels.
    pub fn amount(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Amount {
        let make = || Series::Amount(Amount::default());
        let amount = |series: &Series| match series {
            Series::Amount(amount) => Some(amount.clone()),
            _ => None,
        };
        self.series(name, help, "counter", labels, make, amount).unwrap_or_default()
    }

    /// The histogram with this name and these labels.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [u64],
        labels: Labels<'_>,
    ) -> Histogram {
        let make = || Series::Histogram(Histogram::new(bounds));
        let histogram = |series: &Series| match series {
            Series::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        };
        self.series(name, help, "histogram", labels, make, histogram)
            .unwrap_or_else(|| Histogram::new(bounds))
    }

    fn series<T>(
        &self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: Labels<'_>,
        make: impl FnOnce() -> Series,
        take: impl FnOnce(&Series) -> Option<T>,
    ) -> Option<T> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family =
            families.entry(name).or_insert_with(|| Family { help, kind, series: BTreeMap::new() });
        let mut key = label_text(labels);
        if family.series.len() >= SERIES_MAX && !family.series.contains_key(&key) {
            key = label_text(&[("overflow", "true")]);
        }
        take(family.series.entry(key).or_insert_with(make))
    }

    /// The sum over all series of a family of counters.
    pub fn total(&self, name: &str) -> u64 {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let series = families.get(name).into_iter().flat_map(|family| family.series.values());
        let value = |series: &Series| match series {
            Series::Counter(counter) => counter.value(),
            _ => 0,
        };
        series.map(value).sum()
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        self.render_where(|_| true)
    }

    /// The families of these names.
    pub fn render_where(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter().filter(|(name, _)| is_wanted(name)) {
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind);
            for (labels, series) in &family.series {
                match series {
                    Series::Counter(counter) => {
                        let _ = writeln!(text, "{name}{} {}", braced(labels), counter.value());
                    }
                    Series::Amount(amount) => {
                        let _ = writeln!(text, "{name}{} {}", braced(labels), amount.value());
                    }
                    Series::Histogram(histogram) => histogram.render(&mut text, name, labels),
                }
            }
        }
        text
    }
}

impl Histogram {
    fn render(&self, text: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        let comma = if labels.is_empty() { "" } else { "," };
        for index in 0..=self.bounds.len() {
            total += self.total(index);
            let bound = self.bounds.get(index).map_or("+Inf".to_owned(), u64::to_string);
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        let sum = self.total(self.bounds.len() + 1);
        let _ = writeln!(text, "{name}_count{} {total}", braced(labels));
        let _ = writeln!(text, "{name}_sum{} {sum}", braced(labels));
    }
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// Labels as they stand between braces.
pub fn label_text(labels: Labels<'_>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_apart_and_are_summed() {
        let metrics = Metrics::default();
        let counter = metrics.counter("x_total", "An x.", &[("a", "q\"uote")]);
        enter_worker(1);
        counter.add(2);
        enter_worker(2);
        metrics.counter("x_total", "An x.", &[("a", "q\"uote")]).add(3);
        let text = metrics.render();
        assert_eq!(
            text,
            "# HELP x_total An x.\n# TYPE x_total counter\nx_total{a=\"q\\\"uote\"} 5\n"
        );
    }

    #[test]
    fn gauges_go_up_and_down_on_every_worker() {
        let gauge = Gauge::default();
        enter_worker(1);
        gauge.enter();
        enter_worker(2);
        gauge.enter();
        gauge.enter();
        gauge.leave();
        assert_eq!(gauge.value(), 2);
        gauge.leave();
        gauge.leave();
        assert_eq!(gauge.value(), 0);
    }

    #[test]
    fn amounts_are_not_rounded_to_whole_numbers() {
        let metrics = Metrics::default();
        let cost = metrics.amount("cost_total", "C.", &[]);
        for amount in [0.0001, 0.000_005, f64::NAN, -1.0] {
            cost.add(amount);
        }
        assert!(metrics.render().ends_with("# TYPE cost_total counter\ncost_total 0.000105\n"));
    }

    #[test]
    fn histograms_are_cumulative() {
        let metrics = Metrics::default();
        let histogram = metrics.histogram("h", "H.", &[10, 20], &[]);
        for value in [10, 11, 99] {
            histogram.observe(value);
        }
        let text = metrics.render();
        assert!(text.contains("h_bucket{le=\"10\"} 1\nh_bucket{le=\"20\"} 2\n"), "{text}");
        assert!(text.contains("h_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 120\n"), "{text}");
    }

    #[test]
    fn series_do_not_grow_without_bound() {
        let metrics = Metrics::default();
        for n in 0..SERIES_MAX + 50 {
            metrics.counter("y_total", "Y.", &[("n", &n.to_string())]).add(1);
        }
        assert!(metrics.render().contains("y_total{overflow=\"true\"} 50\n"));
    }
}
