//! Turns by weight, spread evenly (smooth weighted round-robin).

use std::cell::RefCell;

/// What each peer has saved up since its last turn.
pub(super) struct RoundRobin(RefCell<Vec<i64>>);

impl RoundRobin {
    pub(super) fn new(peers: usize) -> Self {
        Self(RefCell::new(vec![0; peers]))
    }

    /// The next of the candidates, each with its weight.
    pub(super) fn next(&self, candidates: &[(usize, u32)]) -> Option<usize> {
        let mut saved = self.0.borrow_mut();
        let total: i64 = candidates.iter().map(|(_, weight)| i64::from(*weight)).sum();
        for (peer, weight) in candidates {
            saved[*peer] += i64::from(*weight);
        }
        let (richest, _) = *candidates.iter().max_by_key(|(peer, _)| saved[*peer])?;
        saved[richest] -= total;
        Some(richest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_and_turns_are_spread() {
        let turns = RoundRobin::new(2);
        let order: Vec<usize> = (0..8).filter_map(|_| turns.next(&[(0, 3), (1, 1)])).collect();
        assert_eq!(order.iter().filter(|peer| **peer == 0).count(), 6);
        assert!(!order.windows(2).any(|two| two == [1, 1]), "{order:?}");
        assert_eq!(turns.next(&[]), None);
    }

    #[test]
    fn a_peer_that_returns_has_no_turns_to_catch_up_on() {
        let turns = RoundRobin::new(2);
        (0..50).for_each(|_| assert_eq!(turns.next(&[(0, 1)]), Some(0)));
        let order: Vec<usize> = (0..4).filter_map(|_| turns.next(&[(0, 1), (1, 1)])).collect();
        assert_eq!(order.iter().filter(|peer| **peer == 1).count(), 2);
    }
}
