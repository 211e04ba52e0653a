//! How far apart two names are: the measure behind every "did you mean".

/// Levenshtein's distance; long names are never close, so the work is bounded.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
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
        assert_eq!(distance("path", "bath"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
