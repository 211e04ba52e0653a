//! Where the fewest requests are under way, measured by weight; those of all workers count.

use super::super::targets::Target;
use super::turns::Turns;
use super::{least, per_weight};

/// The next of the open targets.
pub(super) fn next(open: &[usize], all: &[Target], turns: &Turns) -> Option<usize> {
    least(open, turns, |index| {
        let target = all.get(index);
        target.map_or(f64::MAX, |one| per_weight((one.standing.open.value() + 1) as f64, one))
    })
}
