//! Consistent hashing: a wheel on which every peer has cells, and a key leads to one of them.
//!
//! Kong's rules and Kong's hash, so a key is on the target where a Kong has it: 160 cells for a
//! peer of average weight, in places that depend on its address alone, and a walk to lower cells
//! until a peer is available. When a peer dies, its keys move and no others do.

use twox_hash::XxHash32;

/// Cells of a peer of average weight.
const CELLS: u64 = 160;
/// The least number of cells of a wheel; fewer `slots` count as this many.
const WHEEL_MIN: u32 = 1000;

/// Which peer has which cell.
pub struct Wheel(Vec<Option<u16>>);

/// What of a peer decides its cells.
pub struct Share<'a> {
    /// The target and its port, by which peers are sorted.
    pub target: (&'a str, u16),
    /// `ip:port`
    pub address: String,
    /// Its share of the cells.
    pub weight: u32,
}

impl Wheel {
    /// A wheel of `slots` cells for the peers of so many targets.
    pub fn new(slots: u32, targets: usize, peers: &[Share<'_>]) -> Self {
        let slots = slots.max(WHEEL_MIN);
        let mut cells = vec![None; slots as usize];
        let total: u64 = peers.iter().map(|peer| u64::from(peer.weight)).sum();
        // In the order of names: the order of the file must not matter.
        let mut order: Vec<usize> = (0..peers.len()).collect();
        order.sort_by_key(|n| (peers[*n].target, &peers[*n].address));
        for index in order {
            let (peer, Ok(number)) = (&peers[index], u16::try_from(index)) else { continue };
            let (mut wanted, mut n) = (cells_of(peer.weight, total, targets), 1);
            // A full wheel has no cell for the next one.
            while wanted > 0 && n <= cells.len() {
                let cell = &mut cells[place(&seed(&peer.address, n), slots)];
                if cell.is_none() {
                    *cell = Some(number);
                    wanted -= 1;
                }
                n += 1;
            }
        }
        Self(cells)
    }

    /// The first peer at the cell of `key` or below that may be chosen.
    pub fn find(&self, key: &str, may: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.0.len();
        let start = place(key, u32::try_from(slots).unwrap_or(u32::MAX));
        let cells = (0..slots).map(|step| self.0[(start + slots - step) % slots]);
        cells.flatten().map(usize::from).find(|peer| may(*peer))
    }
}

fn cells_of(weight: u32, total: u64, targets: usize) -> u64 {
    (u64::from(weight) * targets as u64 * CELLS / total.max(1)).max(1)
}

/// What is hashed for the n-th cell of an address. Kong puts two colons in front of the port.
fn seed(address: &str, n: usize) -> String {
    let (ip, port) = address.rsplit_once(':').unwrap_or((address, ""));
    format!("{ip}::{port} {n}")
}

/// The cell of a text. Kong's hash is a signed number, and Lua's remainder is never negative.
fn place(text: &str, slots: u32) -> usize {
    let hash = XxHash32::oneshot(0, text.as_bytes()).cast_signed();
    let place = i64::from(hash).rem_euclid(i64::from(slots.max(1)));
    usize::try_from(place).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wheel(slots: u32, weights: &[u32]) -> Wheel {
        let shares = weights.iter().enumerate().map(|(n, weight)| Share {
            target: ("a", 80),
            address: format!("10.0.0.{n}:80"),
            weight: *weight,
        });
        Wheel::new(slots, weights.len(), &shares.collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn a_peer_that_dies_moves_its_own_keys_only(peers in 2usize..8, dead in 0usize..8) {
            let dead = dead % peers;
            let wheel = wheel(10_000, &vec![100; peers]);
            for key in (0..200).map(|n| n.to_string()) {
                let before = wheel.find(&key, |_| true).unwrap();
                let after = wheel.find(&key, |peer| peer != dead).unwrap();
                prop_assert!(after != dead && (before == dead || before == after));
            }
        }

        #[test]
        fn a_peer_that_leaves_the_configuration_moves_few_other_keys(peers in 3usize..8) {
            let (all, less) = (vec![100; peers], vec![100; peers - 1]);
            let (wheel, less) = (wheel(10_000, &all), wheel(10_000, &less));
            let moved = (0..1000).map(|n| n.to_string()).filter(|key| {
                let before = wheel.find(key, |_| true);
                before != Some(peers - 1) && before != less.find(key, |_| true)
            });
            prop_assert!(moved.count() < 100);
        }

        #[test]
        fn keys_are_spread_by_weight(weights in prop::collection::vec(1u32..5, 2..6)) {
            let wheel = wheel(10_000, &weights);
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
        let shares = |order: [u16; 3]| {
            let share = |n| Share {
                target: ("a", n),
                address: format!("10.0.0.{n}:80"),
                weight: u32::from(n),
            };
            Wheel::new(1000, 3, &order.map(share))
        };
        let (a, b) = (shares([1, 2, 3]), shares([3, 2, 1]));
        for key in (0..100).map(|n| n.to_string()) {
            assert_eq!(a.find(&key, |_| true), b.find(&key, |_| true).map(|peer| 2 - peer));
        }
        assert_eq!(a.find("x", |_| false), None);
    }

    #[test]
    fn the_hash_is_xxhash_with_a_sign() {
        // 0x02cc5d05 and 0x32d153ff: the vectors that the hash is published with.
        assert_eq!(place("", 1000), 0x02cc_5d05 % 1000);
        assert_eq!(place("abc", 1000), 0x32d1_53ff % 1000);
        // 0x550d7456 of "a" is positive, too; that of this text is not.
        let negative = (0..100).map(|n| n.to_string());
        let negative = negative.map(|text| (XxHash32::oneshot(0, text.as_bytes()), text));
        let (hash, text) = negative.into_iter().find(|(hash, _)| *hash > 1 << 31).unwrap();
        assert_eq!(place(&text, 1000) as i64, (i64::from(hash) - (1 << 32)).rem_euclid(1000));
        assert_eq!(seed("10.0.0.1:80", 7), "10.0.0.1::80 7");
    }
}
