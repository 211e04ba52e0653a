//! What has changed in caches that every worker keeps a copy of: who reads a copy asks first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Changes that are remembered. Who has missed more than that starts anew.
const REMEMBERED: usize = 4096;

/// The last changes, numbered from 1.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    last: Mutex<VecDeque<Change>>,
}

/// A key of a cache that has changed, or all of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which cache.
    pub cache: Vec<u8>,
    /// `None` is all of it.
    pub key: Option<Vec<u8>>,
}

impl Changes {
    /// How many there have been. One read of memory: this is asked on every lookup.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Notes a change.
    pub fn note(&self, change: Change) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back(change);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// The changes behind the first `seen`, and how many there have been in all. `None`: some of
    /// them are forgotten.
    pub fn since(&self, seen: u64) -> (Option<Vec<Change>>, u64) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.count();
        let missed = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let from = last.len().checked_sub(missed);
        (from.map(|from| last.iter().skip(from).cloned().collect()), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_gets_what_it_has_missed() {
        let changes = Changes::default();
        let change = |key: u64| Change { cache: b"c".to_vec(), key: Some(key.to_string().into()) };
        changes.note(change(1));
        changes.note(change(2));
        assert_eq!(changes.since(1), (Some(vec![change(2)]), 2));
        assert_eq!(changes.since(2), (Some(Vec::new()), 2));
        (0..REMEMBERED as u64).for_each(|n| changes.note(change(n)));
        assert_eq!(changes.since(1).0, None);
        assert_eq!(changes.since(2).0.unwrap().len(), REMEMBERED);
    }
}
