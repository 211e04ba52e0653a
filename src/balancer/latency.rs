//! Who answers fastest: a moving average of response times, by weight.
//!
//! The average forgets with a time constant of ten seconds, so that a slow peer is asked again some
//! time, and all candidates are compared: both as in Kong.

use std::rc::Rc;

use tokio::time::Instant;

use super::peers::Peer;

const DECAY_SECS: f64 = 10.0;

/// The average of a peer, and when it was observed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Average {
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

/// The fastest of the candidates; equals are drawn by lot.
pub(super) fn next<'a>(candidates: &[&'a Rc<Peer>]) -> Option<&'a Rc<Peer>> {
    let now = Instant::now();
    let unknown = average(candidates, now);
    let score = |peer: &Rc<Peer>| {
        let secs = peer.tally.average.get().map_or(unknown, |average| average.with(0.0, now));
        secs / f64::from(peer.weight.max(1))
    };
    let start = fastrand::usize(..candidates.len().max(1));
    let from_start = (0..candidates.len()).map(|n| candidates[(start + n) % candidates.len()]);
    from_start.min_by(|one, other| score(one).total_cmp(&score(other)))
}

/// A peer nobody knows yet counts as average, so that it is not flooded.
fn average(candidates: &[&Rc<Peer>], now: Instant) -> f64 {
    let averages = candidates.iter().filter_map(|peer| peer.tally.average.get());
    let (sum, count) = averages
        .fold((0.0, 0.0), |(sum, count), average| (sum + average.with(0.0, now), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

pub(super) fn observe(peer: &Peer, secs: f64) {
    let now = Instant::now();
    let average = &peer.tally.average;
    let secs = average.get().map_or(secs, |average| average.with(secs, now));
    average.set(Some(Average { secs, at: now }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balancer::tests::peers;

    fn chosen(peers: &[Rc<Peer>]) -> Vec<u16> {
        let candidates: Vec<_> = peers.iter().collect();
        (0..20).map(|_| next(&candidates).unwrap().port).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_fastest_peer_is_chosen_until_it_slows_down() {
        let peers = peers(&[100, 100, 100]);
        observe(&peers[0], 0.5);
        observe(&peers[1], 0.1);
        observe(&peers[2], 0.6);
        assert_eq!(chosen(&peers), [1; 20]);
        tokio::time::advance(Duration::from_secs(5)).await;
        observe(&peers[1], 9.0);
        assert_eq!(chosen(&peers), [0; 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn weight_counts_against_time() {
        let peers = peers(&[400, 100]);
        observe(&peers[0], 0.3);
        observe(&peers[1], 0.1);
        assert_eq!(chosen(&peers), [0; 20]);
        assert!(next(&[]).is_none());
    }
}
