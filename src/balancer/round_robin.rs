//! Turns by weight, spread evenly (smooth weighted round-robin).

use std::rc::Rc;

use super::peers::Peer;

/// The next of the candidates.
pub(super) fn next<'a>(candidates: &[&'a Rc<Peer>]) -> Option<&'a Rc<Peer>> {
    let total: i64 = candidates.iter().map(|peer| i64::from(peer.weight)).sum();
    for peer in candidates {
        let saved = &peer.tally.saved;
        saved.set(saved.get() + i64::from(peer.weight));
    }
    let richest = candidates.iter().max_by_key(|peer| peer.tally.saved.get())?;
    richest.tally.saved.set(richest.tally.saved.get() - total);
    Some(*richest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::tests::peers;

    fn turns(candidates: &[&Rc<Peer>], times: usize) -> Vec<u16> {
        (0..times).filter_map(|_| next(candidates)).map(|peer| peer.port).collect()
    }

    #[test]
    fn weights_are_kept_and_turns_are_spread() {
        let peers = peers(&[3, 1]);
        let order = turns(&peers.iter().collect::<Vec<_>>(), 8);
        assert_eq!(order.iter().filter(|peer| **peer == 0).count(), 6);
        assert!(!order.windows(2).any(|two| two == [1, 1]), "{order:?}");
        assert!(next(&[]).is_none());
    }

    #[test]
    fn a_peer_that_returns_has_no_turns_to_catch_up_on() {
        let peers = peers(&[1, 1]);
        assert_eq!(turns(&[&peers[0]], 50), [0; 50]);
        let order = turns(&peers.iter().collect::<Vec<_>>(), 4);
        assert_eq!(order.iter().filter(|peer| **peer == 1).count(), 2);
    }
}
