//! Who answers fastest: a moving average of response times, of two peers the better one.
//!
//! The average forgets with a time constant of ten seconds (Kong). To compare two at random, and
//! not all, keeps every worker from sending everything to the same peer at once.

use std::cell::RefCell;

use tokio::time::Instant;

const DECAY_SECS: f64 = 10.0;

/// The averages of this worker.
pub(super) struct Latency(RefCell<Vec<Option<Average>>>);

#[derive(Clone, Copy)]
struct Average {
    secs: f64,
    at: Instant,
}

impl Average {
    /// The average after `secs` were observed; with 0 what is left of it by now.
    fn with(self, secs: f64, now: Instant) -> f64 {
        let kept = (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY_SECS).exp();
        self.secs * kept + secs * (1.0 - kept)
    }
}

impl Latency {
    pub(super) fn new(peers: usize) -> Self {
        Self(RefCell::new(vec![None; peers]))
    }

    /// Of two candidates, drawn by lot, the faster one by weight.
    pub(super) fn next(&self, candidates: &[(usize, u32)]) -> Option<usize> {
        let first = fastrand::usize(..candidates.len().max(1));
        let (one, its_weight) = *candidates.get(first)?;
        if candidates.len() == 1 {
            return Some(one);
        }
        let second = (first + fastrand::usize(1..candidates.len())) % candidates.len();
        let (other, other_weight) = *candidates.get(second)?;
        let now = Instant::now();
        let score = |peer, weight: u32| self.secs(peer, now) / f64::from(weight.max(1));
        Some(if score(other, other_weight) < score(one, its_weight) { other } else { one })
    }

    /// A peer nobody knows yet counts as average, so that it is not flooded.
    fn secs(&self, peer: usize, now: Instant) -> f64 {
        let averages = self.0.borrow();
        if let Some(average) = averages.get(peer).copied().flatten() {
            return average.with(0.0, now);
        }
        let (sum, count) = (averages.iter().flatten())
            .fold((0.0, 0.0), |(sum, count), average| (sum + average.with(0.0, now), count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    pub(super) fn observe(&self, peer: usize, secs: f64) {
        let now = Instant::now();
        if let Some(average) = self.0.borrow_mut().get_mut(peer) {
            let secs = average.map_or(secs, |average| average.with(secs, now));
            *average = Some(Average { secs, at: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOTH: [(usize, u32); 2] = [(0, 100), (1, 100)];

    #[tokio::test(start_paused = true)]
    async fn the_faster_peer_is_chosen_until_it_slows_down() {
        let latency = Latency::new(2);
        latency.observe(0, 0.5);
        latency.observe(1, 0.1);
        assert!((0..20).all(|_| latency.next(&BOTH) == Some(1)));
        tokio::time::advance(Duration::from_secs(5)).await;
        latency.observe(1, 9.0);
        assert!((0..20).all(|_| latency.next(&BOTH) == Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn weight_counts_against_time() {
        let latency = Latency::new(2);
        latency.observe(0, 0.3);
        latency.observe(1, 0.1);
        assert_eq!(latency.next(&[(0, 400), (1, 100)]), Some(0));
        assert_eq!(latency.next(&[]), None);
    }
}
