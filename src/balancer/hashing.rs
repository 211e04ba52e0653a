//! Consistent hashing: a wheel on which every peer has cells, and a key leads to one of them.
//!
//! Kong's rules: 160 cells for a peer of average weight, in places that depend on its name alone,
//! and a walk to lower cells until a peer is available. When a peer dies, its keys move and no
//! others do. The hash is our own, so a key is not on the peer that a Kong would choose.

/// Cells of a peer of average weight.
const CELLS: u64 = 160;

/// Which peer has which cell.
pub(super) struct Wheel(Vec<Option<u16>>);

impl Wheel {
    /// A wheel of `slots` cells for peers with these names and weights.
    pub(super) fn new(slots: u32, peers: &[(String, u32)]) -> Self {
        let mut cells = vec![None; slots.max(1) as usize];
        let total: u64 = peers.iter().map(|(_, weight)| u64::from(*weight)).sum();
        // In the order of names: the order of the file must not matter.
        let mut order: Vec<usize> = (0..peers.len()).collect();
        order.sort_by(|a, b| peers[*a].0.cmp(&peers[*b].0));
        for index in order {
            let ((name, weight), Ok(peer)) = (&peers[index], u16::try_from(index)) else {
                continue;
            };
            let share = u64::from(*weight) * peers.len() as u64 * CELLS / total.max(1);
            let (mut wanted, mut n) = (share.max(1), 0);
            // A full wheel has no cell for the next one.
            while wanted > 0 && n < cells.len() {
                let cell = &mut cells[place(&format!("{name} {n}"), slots)];
                if cell.is_none() {
                    *cell = Some(peer);
                    wanted -= 1;
                }
                n += 1;
            }
        }
        Self(cells)
    }

    /// The first peer at the cell of `key` or below that may be chosen.
    pub(super) fn find(&self, key: &str, may: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.0.len();
        let start = place(key, u32::try_from(slots).unwrap_or(u32::MAX));
        let cells = (0..slots).map(|step| self.0[(start + slots - step) % slots]);
        cells.flatten().map(usize::from).find(|peer| may(*peer))
    }
}

/// FNV-1a, mixed so that names that differ in their last digit are far apart.
fn place(text: &str, slots: u32) -> usize {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    usize::try_from((hash ^ (hash >> 33)) % u64::from(slots.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(weights: &[u32]) -> Vec<(String, u32)> {
        weights.iter().enumerate().map(|(n, weight)| (format!("10.0.0.{n}:80"), *weight)).collect()
    }

    proptest! {
        #[test]
        fn a_peer_that_dies_moves_its_own_keys_only(peers in 2usize..8, dead in 0usize..8) {
            let dead = dead % peers;
            let wheel = Wheel::new(10_000, &named(&vec![100; peers]));
            for key in (0..200).map(|n| n.to_string()) {
                let before = wheel.find(&key, |_| true).unwrap();
                let after = wheel.find(&key, |peer| peer != dead).unwrap();
                prop_assert!(after != dead && (before == dead || before == after));
            }
        }

        #[test]
        fn a_peer_that_leaves_the_configuration_moves_few_other_keys(peers in 3usize..8) {
            let all = named(&vec![100; peers]);
            let (wheel, less) = (Wheel::new(10_000, &all), Wheel::new(10_000, &all[..peers - 1]));
            let moved = (0..1000).map(|n| n.to_string()).filter(|key| {
                let before = wheel.find(key, |_| true);
                before != Some(peers - 1) && before != less.find(key, |_| true)
            });
            prop_assert!(moved.count() < 60);
        }

        #[test]
        fn keys_are_spread_by_weight(weights in prop::collection::vec(1u32..5, 2..6)) {
            let wheel = Wheel::new(10_000, &named(&weights));
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0.0_f64; weights.len()];
            for n in 0..4000 {
                counts[wheel.find(&format!("key-{n}"), |_| true).unwrap()] += 1.0;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = 4000.0 * f64::from(*weight) / f64::from(total);
                prop_assert!((count / fair - 1.0).abs() < 0.6, "{counts:?} {weights:?}");
            }
        }
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let (one, two) =
            (named(&[1, 2, 3]), named(&[1, 2, 3]).into_iter().rev().collect::<Vec<_>>());
        let (a, b) = (Wheel::new(1000, &one), Wheel::new(1000, &two));
        for key in (0..100).map(|n| n.to_string()) {
            assert_eq!(a.find(&key, |_| true), b.find(&key, |_| true).map(|peer| 2 - peer));
        }
        assert_eq!(a.find("x", |_| false), None);
    }
}
