//! A moving average that believes bad news at once and good news slowly.

use std::sync::atomic::{AtomicU64, Ordering};

/// The time constant with which it forgets.
const DECAY_SECS: f64 = 10.0;

/// A peak-sensitive, exponentially weighted moving average. Two workers that observe at the same
/// moment may lose one of the two observations.
#[derive(Default)]
pub struct Average {
    bits: AtomicU64,
    /// Microseconds; 0 while nothing has been observed.
    at: AtomicU64,
}

impl Average {
    /// Takes an observation at a moment in microseconds.
    pub fn observe(&self, now: u64, sample: f64) {
        if !sample.is_finite() || sample < 0.0 {
            return;
        }
        let value = match self.get() {
            Some(old) if sample < old => {
                let since = now.saturating_sub(self.at.load(Ordering::Relaxed));
                let kept = (-(since as f64) / 1e6 / DECAY_SECS).exp();
                old * kept + sample * (1.0 - kept)
            }
            _ => sample,
        };
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.at.store(now.max(1), Ordering::Relaxed);
    }

    /// The average; `None` while nothing has been observed.
    pub fn get(&self) -> Option<f64> {
        (self.observed_at() > 0).then(|| f64::from_bits(self.bits.load(Ordering::Relaxed)))
    }

    /// When it was last observed, in microseconds; 0 is never.
    pub fn observed_at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_at_once_and_are_forgotten_with_time() {
        let average = Average::default();
        assert_eq!(average.get(), None);
        average.observe(0, 100.0);
        average.observe(0, 900.0);
        assert_eq!(average.get(), Some(900.0));
        average.observe(0, 100.0);
        assert_eq!(average.get(), Some(900.0), "no time has passed");
        average.observe(10_000_000, 100.0);
        let after_ten_secs = average.get().unwrap();
        assert!((after_ten_secs - 394.3).abs() < 0.1, "{after_ten_secs}");
        average.observe(600_000_000, 100.0);
        assert!(average.get().unwrap() < 100.1);
        average.observe(600_000_001, f64::NAN);
        assert!(average.get().unwrap() < 100.1);
    }
}
