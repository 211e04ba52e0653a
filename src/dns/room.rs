//! Room in a full map of names.

/// Tells which entries go: the quarter with the lowest ranks, at once, so that the next names have
/// room for a while. Clients may choose names, and a new name must not cost a look at all others.
pub(super) fn eviction<R: Ord + Copy>(mut ranks: Vec<R>) -> impl FnMut(R) -> bool {
    let quarter = ranks.len() / 4 + 1;
    let mut bar = (ranks.len() >= quarter).then(|| {
        let (lower, highest, _) = ranks.select_nth_unstable(quarter - 1);
        let below = lower.iter().filter(|rank| **rank < *highest).count();
        (*highest, quarter - below)
    });
    move |rank| match &mut bar {
        Some((highest, _)) if rank < *highest => true,
        Some((highest, left)) if rank == *highest && *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_goes_the_lowest_first_and_no_more_of_equals() {
        let left = |ranks: &[u8]| {
            let mut goes = eviction(ranks.to_vec());
            ranks.iter().copied().filter(|rank| !goes(*rank)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[5, 1, 4, 2, 3, 9, 8]), [5, 4, 3, 9, 8]);
        assert_eq!(left(&[2, 2, 2, 2, 1, 2, 2, 2]), [2, 2, 2, 2, 2]);
        assert_eq!(left(&[7]), [0; 0]);
        assert_eq!(left(&[]), [0; 0]);
    }
}
