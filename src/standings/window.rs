//! Sums over time: of the current window, or of a window that slides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was added in the current and in the previous window. What is added at the very moment in
/// which windows change may count for either.
pub struct Window {
    length: u64,
    number: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
}

impl Window {
    /// Windows of this length.
    pub fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_micros()).unwrap_or(u64::MAX).max(1);
        let zero = || AtomicU64::new(0);
        Self { length, number: zero(), current: zero(), previous: zero() }
    }

    /// Adds to the window of a moment in microseconds.
    pub fn add(&self, now: u64, amount: u64) {
        self.turn(now);
        self.change(|sum| sum.saturating_add(amount));
    }

    /// Takes back what was added before its real size was known.
    pub fn take(&self, now: u64, amount: u64) {
        self.turn(now);
        self.change(|sum| sum.saturating_sub(amount));
    }

    /// The sum of the current window.
    pub fn current(&self, now: u64) -> u64 {
        self.turn(now);
        self.current.load(Ordering::Relaxed)
    }

    /// The sum of the last window's length: of the previous window the part that is still in it.
    pub fn sliding(&self, now: u64) -> f64 {
        let current = self.current(now) as f64;
        let left = 1.0 - (now % self.length) as f64 / self.length as f64;
        current + self.previous.load(Ordering::Relaxed) as f64 * left
    }

    /// How long the current window lasts.
    pub fn left(&self, now: u64) -> Duration {
        Duration::from_micros(self.length - now % self.length)
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        let _ = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(change(sum)));
    }

    /// Begins the window of this moment, if nobody has.
    fn turn(&self, now: u64) {
        let number = now / self.length;
        let old = self.number.load(Ordering::Relaxed);
        if old >= number {
            return;
        }
        let won = self.number.compare_exchange(old, number, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            let ended = self.current.swap(0, Ordering::Relaxed);
            let ended = if number == old + 1 { ended } else { 0 };
            self.previous.store(ended, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_slide_and_windows_end() {
        let window = Window::new(Duration::from_micros(100));
        window.add(10, 40);
        window.add(90, 60);
        assert_eq!((window.current(99), window.sliding(99)), (100, 100.0));
        window.add(150, 5);
        assert_eq!((window.current(150), window.sliding(150)), (5, 55.0));
        assert_eq!(window.left(150), Duration::from_micros(50));
        window.take(150, 9);
        assert_eq!(window.current(150), 0);
        assert_eq!(window.sliding(450), 0.0, "all of it is long ago");
    }
}
