//! Groups: only the best one that is there takes requests.

use super::super::targets::Indexes;

/// The best tier among some targets.
pub(super) fn best(some: &[usize], tier: impl Fn(usize) -> u32) -> Option<u32> {
    some.iter().map(|index| tier(*index)).max()
}

/// Leaves only those of the best tier.
pub(super) fn keep_best(some: &mut Indexes, tier: impl Fn(usize) -> u32) {
    if let Some(best) = best(some, &tier) {
        some.retain(|index| tier(*index) == best);
    }
}

/// For each tier its rank, 1 is the best, and how many there are.
pub(super) fn ranks(tiers: &[u32]) -> (Vec<usize>, usize) {
    let mut order = tiers.to_vec();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.dedup();
    let rank = |tier: &u32| order.iter().position(|one| one == tier).map_or(0, |at| at + 1);
    (tiers.iter().map(rank).collect(), order.len())
}
