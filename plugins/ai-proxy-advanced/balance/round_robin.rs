//! Turns by weight in nginx' smooth form: a heavy target is not hit in bursts.

use super::super::targets::Target;
use super::turns::Turns;

/// The next of the open targets.
pub(super) fn next(open: &[usize], all: &[Target], turns: &Turns) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(i64, usize)> = None;
    for index in open.iter().copied() {
        let (Some(target), Some(saved)) = (all.get(index), turns.saved(index)) else { continue };
        let weight = i64::from(target.weight.max(1));
        saved.set(saved.get() + weight);
        total += weight;
        if best.is_none_or(|(most, _)| saved.get() > most) {
            best = Some((saved.get(), index));
        }
    }
    let (most, index) = best?;
    turns.saved(index)?.set(most - total);
    Some(index)
}
