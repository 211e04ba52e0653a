//! How far apart two names are: the measure behind every "did you mean".

/// Levenshtein's distance, to which two neighbours that changed places are one mistake. Long names
/// are never close, so the work is bounded.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut above = row.clone();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let substitution = row[j] + usize::from(x != y);
            next[j + 1] = substitution.min(next[j] + 1).min(row[j + 1] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                next[j + 1] = next[j + 1].min(above[j - 1] + 1);
            }
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_a_gap_and_a_surplus_count_one_each() {
        assert_eq!(distance("proxy_listen", "proxy_listen"), 0);
        assert_eq!(distance("proxy_listn", "proxy_listen"), 1);
        assert_eq!(distance("hosst", "host"), 1);
        assert_eq!(distance("hots", "host"), 1);
        assert_eq!(distance("ohst", "hots"), 2);
        assert_eq!(distance("path", "bath"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
