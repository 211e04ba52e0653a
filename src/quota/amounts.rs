//! Amounts (tokens, money) that were used in windows of any length, for limits on models.
//!
//! What a request will use is not known when it comes. An estimate is reserved on entry, and put
//! right when the request is over: limits hold while many requests are under way. A sliding window
//! is Kong's: the current window and the share of the one before that is still in sight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub mod remote;
pub mod synced;

/// A window of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// How much may be used.
    pub limit: f64,
    /// Its length in seconds, at least 1.
    pub size: u64,
    /// The window before still counts in part.
    pub slides: bool,
}

/// What is used of a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Level {
    /// In the current window.
    pub now: f64,
    /// In the one before.
    pub before: f64,
}

/// Seconds since 1970, with their fraction.
pub fn clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Window {
    /// The number of the window at this time.
    pub fn index(&self, time: f64) -> u64 {
        time as u64 / self.size
    }

    /// The share of the current window that is over.
    fn elapsed(&self, time: f64) -> f64 {
        let size = self.size as f64;
        ((time - self.index(time) as f64 * size) / size).clamp(0.0, 1.0)
    }

    /// What counts of a level.
    pub fn used(&self, level: Level, time: f64) -> f64 {
        let share = if self.slides { 1.0 - self.elapsed(time) } else { 0.0 };
        level.now + level.before * share
    }

    /// Whether there is room for this much more. A limit that is reached has none.
    pub fn has_room(&self, used: f64, more: f64) -> bool {
        used < self.limit && used + more <= self.limit
    }

    /// Seconds until there is room for this much, at least 1.
    pub fn wait(&self, level: Level, more: f64, time: f64) -> u64 {
        let (size, elapsed) = (self.size as f64, self.elapsed(time));
        let to_end = size * (1.0 - elapsed);
        let room = self.limit - more;
        let until = |amount: f64, room: f64| match amount > 0.0 {
            true => size * (1.0 - (room / amount).clamp(0.0, 1.0)),
            false => 0.0,
        };
        let wait = if !self.slides {
            to_end
        } else if level.now < self.limit && level.now <= room {
            until(level.before, room - level.now) - size * elapsed
        } else {
            to_end + until(level.now, room)
        };
        wait.max(0.0).ceil().max(1.0) as u64
    }

    /// Seconds until the current window ends, at least 1.
    pub fn reset(&self, time: f64) -> u64 {
        (self.size as f64 * (1.0 - self.elapsed(time))).ceil().max(1.0) as u64
    }
}

/// One counter.
#[derive(Debug, Default)]
struct Counter {
    index: u64,
    level: Level,
    /// What of it others know already (`sync_rate`).
    pushed: Level,
    /// What others have used.
    others: Level,
}

impl Level {
    fn plus(self, other: Self) -> Self {
        Self { now: self.now + other.now, before: self.before + other.before }
    }

    fn minus(self, other: Self) -> Self {
        Self { now: self.now - other.now, before: self.before - other.before }
    }
}

impl Counter {
    /// The counter as of a window. A clock that goes back changes nothing.
    fn at(&mut self, index: u64) -> &mut Level {
        if index > self.index {
            let is_next = index == self.index + 1;
            let moved =
                |level: Level| Level { now: 0.0, before: if is_next { level.now } else { 0.0 } };
            *self = Self {
                index,
                level: moved(self.level),
                pushed: moved(self.pushed),
                others: moved(self.others),
            };
        }
        &mut self.level
    }
}

/// Whose counter it is: a namespace, somebody in it, and the length of the window.
type Key = (Arc<str>, Box<str>, u64);

const SHARDS: usize = 16;
/// Counters of one shard; 100,000 in all, about 10 MB.
const SHARD_MAX: usize = 100_000 / SHARDS;

/// The counters of this process. A request for a model takes a lock for some nanoseconds; those of
/// different clients seldom meet.
pub struct Amounts {
    shards: [Mutex<HashMap<Key, Counter>>; SHARDS],
    hasher: std::hash::RandomState,
}

impl Default for Amounts {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: std::hash::RandomState::new(),
        }
    }
}

impl Amounts {
    /// What is used, after `more` was reserved if there was room: whether there was.
    pub fn reserve(
        &self,
        namespace: &Arc<str>,
        whom: &str,
        window: &Window,
        more: f64,
        time: f64,
    ) -> (Level, bool) {
        self.with(namespace, whom, window, |counter| {
            counter.at(window.index(time));
            let known = counter.level.plus(counter.others);
            let fits = window.has_room(window.used(known, time), more);
            if fits {
                counter.level.now += more;
            }
            (counter.level.plus(counter.others), fits)
        })
    }

    /// What was used here and others do not know yet, by window; from now on they do.
    pub fn owed(
        &self,
        namespace: &Arc<str>,
        whom: &str,
        window: &Window,
        time: f64,
    ) -> (u64, Level) {
        self.with(namespace, whom, window, |counter| {
            counter.at(window.index(time));
            let owed = counter.level.minus(counter.pushed);
            counter.pushed = counter.level;
            (counter.index, owed)
        })
    }

    /// What all have used in a window, this process as far as they know; or, with `None`, that
    /// they could not be told of `owed`.
    pub fn heard(
        &self,
        namespace: &Arc<str>,
        whom: &str,
        window: &Window,
        (index, owed): (u64, Level),
        all: Option<Level>,
    ) {
        self.with(namespace, whom, window, |counter| {
            // A window further on there is little left to put right.
            if counter.index != index {
                return;
            }
            match all {
                None => counter.pushed = counter.pushed.minus(owed),
                Some(all) => {
                    let others = all.minus(counter.pushed);
                    counter.others =
                        Level { now: others.now.max(0.0), before: others.before.max(0.0) };
                }
            }
        });
    }

    /// Puts right what was reserved in the window of `since`: adds, or gives back.
    pub fn settle(
        &self,
        namespace: &Arc<str>,
        whom: &str,
        window: &Window,
        more: f64,
        since: f64,
        time: f64,
    ) {
        self.with(namespace, whom, window, |counter| {
            counter.at(window.index(time));
            let amount = match counter.index.checked_sub(window.index(since)) {
                Some(0) => &mut counter.level.now,
                Some(1) => &mut counter.level.before,
                _ => return,
            };
            *amount = (*amount + more).max(0.0);
        });
    }

    fn with<R>(
        &self,
        namespace: &Arc<str>,
        whom: &str,
        window: &Window,
        change: impl FnOnce(&mut Counter) -> R,
    ) -> R {
        use std::hash::BuildHasher as _;
        let key = (namespace.clone(), Box::from(whom), window.size);
        let shard = &self.shards[self.hasher.hash_one(&key) as usize % SHARDS];
        let mut counters = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= SHARD_MAX && !counters.contains_key(&key) {
            forget_over(&mut counters);
        }
        change(counters.entry(key).or_default())
    }
}

/// Drops the counters whose windows are over, and if that is not enough, the emptier half.
fn forget_over(counters: &mut HashMap<Key, Counter>) {
    let now = clock() as u64;
    counters.retain(|(.., size), counter| counter.index + 1 >= now / size);
    if counters.len() < SHARD_MAX {
        return;
    }
    let mut levels: Vec<f64> = counters.values().map(|counter| counter.level.now).collect();
    let half = levels.len() / 2;
    let (_, middle, _) = levels.select_nth_unstable_by(half, f64::total_cmp);
    let (middle, mut left) = (*middle, half);
    counters.retain(|_, counter| {
        let goes = left > 0 && counter.level.now <= middle;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Window = Window { limit: 100.0, size: 60, slides: true };

    fn namespace() -> Arc<str> {
        "n".into()
    }

    #[test]
    fn a_reservation_counts_until_it_is_settled() {
        let (amounts, n) = (Amounts::default(), namespace());
        let reserve = |more| amounts.reserve(&n, "a", &MINUTE, more, 600.0);
        assert_eq!(reserve(60.0), (Level { now: 60.0, before: 0.0 }, true));
        assert!(!reserve(60.0).1, "two of them together would be too much");
        amounts.settle(&n, "a", &MINUTE, -50.0, 600.0, 601.0);
        assert_eq!(reserve(60.0), (Level { now: 70.0, before: 0.0 }, true));
        amounts.settle(&n, "a", &MINUTE, 80.0, 600.0, 601.0);
        assert_eq!(reserve(0.0), (Level { now: 150.0, before: 0.0 }, false));
        assert!(amounts.reserve(&n, "b", &MINUTE, 1.0, 600.0).1, "somebody else");
    }

    #[test]
    fn a_sliding_window_forgets_step_by_step() {
        let (amounts, n) = (Amounts::default(), namespace());
        amounts.reserve(&n, "a", &MINUTE, 100.0, 600.0);
        let used = |time| MINUTE.used(amounts.reserve(&n, "a", &MINUTE, 1000.0, time).0, time);
        assert_eq!([used(630.0), used(660.0), used(675.0)], [100.0, 100.0, 75.0]);
        assert_eq!(used(720.0), 0.0);
        let fixed = Window { slides: false, ..MINUTE };
        assert_eq!(fixed.used(Level { now: 1.0, before: 100.0 }, 661.0), 1.0);
    }

    #[test]
    fn what_was_reserved_in_a_window_is_settled_there() {
        let (amounts, n) = (Amounts::default(), namespace());
        amounts.reserve(&n, "a", &MINUTE, 40.0, 659.0);
        amounts.settle(&n, "a", &MINUTE, 20.0, 659.0, 661.0);
        let level = amounts.reserve(&n, "a", &MINUTE, 0.0, 661.0).0;
        assert_eq!(level, Level { now: 0.0, before: 60.0 });
        amounts.settle(&n, "a", &MINUTE, -60.0, 659.0, 900.0);
        assert_eq!(amounts.reserve(&n, "a", &MINUTE, 0.0, 900.0).0, Level::default());
    }

    #[test]
    fn the_wait_ends_when_there_is_room() {
        let level = |now, before| Level { now, before };
        let fixed = Window { slides: false, ..MINUTE };
        assert_eq!(fixed.wait(level(100.0, 0.0), 1.0, 610.0), 50);
        assert_eq!(MINUTE.wait(level(100.0, 0.0), 50.0, 610.0), 50 + 30);
        assert_eq!(MINUTE.wait(level(10.0, 100.0), 50.0, 600.0), 36);
        assert_eq!(MINUTE.wait(level(10.0, 100.0), 50.0, 630.0), 6);
        assert_eq!(MINUTE.wait(level(0.0, 0.0), 500.0, 630.0), 30, "it never fits");
        for time in [600.0, 615.5, 659.0] {
            let level = level(90.0, 80.0);
            let then = time + MINUTE.wait(level, 20.0, time) as f64;
            let moved =
                if MINUTE.index(then) == 10 { level } else { Level { now: 0.0, before: 90.0 } };
            assert!(MINUTE.has_room(MINUTE.used(moved, then), 20.0), "{time}");
        }
    }
}
