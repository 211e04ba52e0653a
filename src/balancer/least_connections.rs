//! To whom the fewest requests are under way, measured by weight.

use std::cell::Cell;

/// The requests of this worker that each peer is busy with.
pub(super) struct LeastConnections {
    peers: Vec<Load>,
    turn: Cell<u64>,
}

#[derive(Default)]
struct Load {
    open: Cell<u32>,
    /// When it was chosen last: equals take turns.
    chosen: Cell<u64>,
}

impl LeastConnections {
    pub(super) fn new(peers: usize) -> Self {
        let peers = std::iter::repeat_with(Load::default).take(peers).collect();
        Self { peers, turn: Cell::new(0) }
    }

    pub(super) fn next(&self, candidates: &[(usize, u32)]) -> Option<usize> {
        let key = |&(peer, weight): &(usize, u32)| {
            let load = &self.peers[peer];
            // Fractions compare as whole numbers when they are scaled: a weight has 16 bits.
            let share = (u64::from(load.open.get()) + 1) * (1 << 24) / u64::from(weight.max(1));
            (share, load.chosen.get())
        };
        let (chosen, _) = *candidates.iter().min_by_key(|candidate| key(candidate))?;
        self.turn.set(self.turn.get() + 1);
        self.peers[chosen].chosen.set(self.turn.get());
        Some(chosen)
    }

    pub(super) fn begin(&self, peer: usize) {
        let open = &self.peers[peer].open;
        open.set(open.get() + 1);
    }

    pub(super) fn end(&self, peer: usize) {
        let open = &self.peers[peer].open;
        open.set(open.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_busy_peer_waits_until_its_requests_end() {
        let loads = LeastConnections::new(2);
        loads.begin(0);
        for _ in 0..3 {
            assert_eq!(loads.next(&[(0, 1), (1, 1)]), Some(1));
        }
        loads.end(0);
        loads.begin(1);
        assert_eq!(loads.next(&[(0, 1), (1, 1)]), Some(0));
    }

    proptest! {
        #[test]
        fn open_requests_are_in_proportion_to_weights(
            weights in prop::collection::vec(1u32..20, 1..6),
        ) {
            let loads = LeastConnections::new(weights.len());
            let candidates: Vec<_> = weights.iter().copied().enumerate().collect();
            let total: u32 = weights.iter().sum();
            for _ in 0..total * 10 {
                loads.begin(loads.next(&candidates).unwrap());
            }
            for (peer, weight) in candidates {
                prop_assert!(loads.peers[peer].open.get().abs_diff(weight * 10) <= 1);
            }
        }
    }
}
