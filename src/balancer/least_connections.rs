//! To whom the fewest requests are under way, measured by weight.

use std::cell::Cell;
use std::rc::Rc;

use super::peers::Peer;

/// Counts the turns of this worker: equals take turns.
#[derive(Default)]
pub(super) struct LeastConnections(Cell<u64>);

impl LeastConnections {
    pub(super) fn next<'a>(&self, candidates: &[&'a Rc<Peer>]) -> Option<&'a Rc<Peer>> {
        let key = |peer: &&&'a Rc<Peer>| {
            // Fractions compare as whole numbers when they are scaled: a weight has 16 bits.
            let open = u64::from(peer.tally.open.get()) + 1;
            (open * (1 << 24) / u64::from(peer.weight.max(1)), peer.tally.chosen.get())
        };
        let chosen = *candidates.iter().min_by_key(key)?;
        self.0.set(self.0.get() + 1);
        chosen.tally.chosen.set(self.0.get());
        Some(chosen)
    }
}

pub(super) fn begin(peer: &Peer) {
    peer.tally.open.set(peer.tally.open.get() + 1);
}

pub(super) fn end(peer: &Peer) {
    peer.tally.open.set(peer.tally.open.get().saturating_sub(1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balancer::tests::peers;

    #[test]
    fn a_busy_peer_waits_until_its_requests_end() {
        let (loads, peers) = (LeastConnections::default(), peers(&[1, 1]));
        let next = || loads.next(&peers.iter().collect::<Vec<_>>()).unwrap().port;
        begin(&peers[0]);
        for _ in 0..3 {
            assert_eq!(next(), 1);
        }
        end(&peers[0]);
        begin(&peers[1]);
        assert_eq!(next(), 0);
    }

    proptest! {
        #[test]
        fn open_requests_are_in_proportion_to_weights(
            weights in prop::collection::vec(1u32..20, 1..6),
        ) {
            let (loads, peers) = (LeastConnections::default(), peers(&weights));
            let total: u32 = weights.iter().sum();
            for _ in 0..total * 10 {
                begin(loads.next(&peers.iter().collect::<Vec<_>>()).unwrap());
            }
            for peer in peers {
                prop_assert!(peer.tally.open.get().abs_diff(peer.weight * 10) <= 1);
            }
        }
    }
}
