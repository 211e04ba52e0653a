//! How much somebody has used in the current second, minute, ... year: counters that all workers
//! share, for plugins that limit.
//!
//! A counter belongs to a scope (Route, Service, a name) and to whom is limited, not to a plugin
//! instance, so it survives a reload, as in Kong. Counting is one atomic operation on one word,
//! which holds the window and the number: a word of an earlier window counts as nothing, and one of
//! a later window is left alone. Counters are limited in number; the ones that were idle the
//! longest go first.

use std::cmp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use uuid::Uuid;

pub mod amounts;
pub mod remote;

/// A kind of window. Windows are those of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 6] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        ["second", "minute", "hour", "day", "month", "year"][self as usize]
    }

    /// Bits of a word that count. A second has fewer, so that the numbers of its windows last until
    /// 2106; those of minutes repeat after 31 years, and nobody compares further than half of that.
    fn count_bits(self) -> u32 {
        if self == Self::Second { 32 } else { 40 }
    }

    /// Words count this far in both directions, and stop there.
    fn count_max(self) -> i64 {
        (1 << (self.count_bits() - 1)) - 1
    }

    /// The number of a window, as far as a word has room for it.
    fn fitting(self, id: u64) -> u64 {
        id & (u64::MAX >> self.count_bits())
    }

    /// Its length in seconds; for Kong a month has 30 days and a year 365.
    pub fn seconds(self) -> u64 {
        [1, 60, 3_600, 86_400, 2_592_000, 31_536_000][self as usize]
    }
}

/// A moment, and the windows that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    now: u64,
    /// First second of each window, by period.
    starts: [u64; 6],
    /// Number of each window, by period, as far as a word has room for it.
    ids: [u64; 6],
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::at(since.map_or(0, |since| since.as_secs()))
    }

    /// A moment in seconds since 1970.
    pub fn at(now: u64) -> Self {
        let day = now / 86_400;
        let (year, month, of_month) = civil(day);
        let month_start = (day - of_month) * 86_400;
        let before: u64 = (0..month).map(|earlier| days_of(year, earlier)).sum();
        let year_start = (day - of_month - before) * 86_400;
        let floor = |seconds: u64| now - now % seconds;
        let starts = [now, floor(60), floor(3_600), floor(86_400), month_start, year_start];
        let ids = [now, now / 60, now / 3_600, day, year * 12 + month, year];
        Self { now, starts, ids: Period::ALL.map(|period| period.fitting(ids[period as usize])) }
    }

    /// Seconds since 1970.
    pub fn second(&self) -> u64 {
        self.now
    }

    /// Seconds since 1970 at which the window of this kind began.
    pub fn start(&self, period: Period) -> u64 {
        self.starts[period as usize]
    }

    /// Seconds until the window ends, at least one; by Kong's length of a month and a year.
    pub fn left(&self, period: Period) -> u64 {
        period.seconds().saturating_sub(self.now - self.start(period)).max(1)
    }
}

/// Year, month and day of the month of a day since 1970; the latter two count from 0.
fn civil(day: u64) -> (u64, u64, u64) {
    let (mut year, mut rest) = (1970 + day / 366, 0);
    let days_before = |year: u64| (year - 1970) * 365 + leaps(year) - leaps(1970);
    while days_before(year + 1) <= day {
        year += 1;
    }
    let mut month = 0;
    let of_year = day - days_before(year);
    while rest + days_of(year, month) <= of_year {
        rest += days_of(year, month);
        month += 1;
    }
    (year, month, of_year - rest)
}

/// Leap days before a year begins.
fn leaps(year: u64) -> u64 {
    let before = year - 1;
    before / 4 - before / 100 + before / 400
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        1 => 28 + (leaps(year + 1) - leaps(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// What was used of some limits, in their order.
pub type Used = SmallVec<[i64; 6]>;

/// What one client has used, one word for each kind of window.
#[derive(Default)]
pub struct Usage {
    words: [AtomicU64; 6],
    /// Second of the last change or look.
    touched: AtomicU64,
}

impl Usage {
    /// What was used in the current window.
    pub fn used(&self, period: Period, moment: &Moment) -> i64 {
        self.touched.store(moment.now, Ordering::Relaxed);
        count(self.words[period as usize].load(Ordering::Relaxed), period, moment)
    }

    /// Adds to the current window, and says what was used before.
    pub fn add(&self, period: Period, moment: &Moment, more: i64) -> i64 {
        let add = |used: i64| Some(used.saturating_add(more));
        self.change(period, moment, add).unwrap_or_else(|used| used)
    }

    /// Takes one from each of the limits, or nothing if one of them is used up. Says what was used
    /// before, in the order of the limits, and whether it took.
    pub fn take(&self, limits: &[(Period, f64)], moment: &Moment) -> (Used, bool) {
        let mut used: Used = limits.iter().map(|(period, _)| self.used(*period, moment)).collect();
        let has_room = |limit: f64, used: i64| limit - used as f64 > 0.0;
        if limits.iter().zip(&used).any(|(limit, used)| !has_room(limit.1, *used)) {
            return (used, false);
        }
        for (at, (period, limit)) in limits.iter().enumerate() {
            let one = |used: i64| has_room(*limit, used).then_some(used + 1);
            match self.change(*period, moment, one) {
                Ok(before) => used[at] = before,
                Err(before) => {
                    // Another worker was faster: what was taken so far goes back.
                    used[at] = before;
                    for (taken, _) in &limits[..at] {
                        self.add(*taken, moment, -1);
                    }
                    return (used, false);
                }
            }
        }
        (used, true)
    }

    /// Changes a count atomically; says what it was, and with `Err` that it stayed. Where the
    /// window of the moment is over and another one is counted, there is nothing left to change.
    fn change(
        &self,
        period: Period,
        moment: &Moment,
        change: impl Fn(i64) -> Option<i64>,
    ) -> Result<i64, i64> {
        let next = |word: u64| {
            let changed = change(count(word, period, moment))?;
            let is_over = standing(word, period, moment).is_gt();
            Some(if is_over { word } else { word_of(changed, period, moment) })
        };
        let word = &self.words[period as usize];
        let told = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        told.map(|before| count(before, period, moment)).map_err(|kept| count(kept, period, moment))
    }
}

/// Whether the window of a word is before or after that of the moment.
fn standing(word: u64, period: Period, moment: &Moment) -> cmp::Ordering {
    // A word that nobody has written yet is of no window.
    if word == 0 {
        return cmp::Ordering::Less;
    }
    let bits = period.count_bits();
    let ahead = (word >> bits).wrapping_sub(moment.ids[period as usize]);
    // Moved to the top, the difference has its sign also where the numbers begin again.
    ((ahead << bits) as i64).cmp(&0)
}

fn count(word: u64, period: Period, moment: &Moment) -> i64 {
    let above = 64 - period.count_bits();
    // Moved to the top and back, so that the sign comes along.
    if standing(word, period, moment).is_eq() { ((word << above) as i64) >> above } else { 0 }
}

fn word_of(count: i64, period: Period, moment: &Moment) -> u64 {
    let (bits, max) = (period.count_bits(), period.count_max());
    let count = count.clamp(-max, max) as u64 & ((1 << bits) - 1);
    moment.ids[period as usize] << bits | count
}

/// Where something is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The plugin's name, or that of one of its limits: each counts by itself.
    pub name: Arc<str>,
    /// The Route of the plugin, if it has one.
    pub route: Option<Uuid>,
    /// The Service of the plugin, if it has one.
    pub service: Option<Uuid>,
}

/// Who is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whom {
    /// A Consumer, a credential, a Service.
    Id(Uuid),
    /// An address.
    Address(IpAddr),
    /// A header, a path.
    Text(Box<[u8]>),
    /// A text that is too long to be kept.
    Digest([u8; 32]),
}

impl Whom {
    /// Somebody who is known by a text.
    pub fn text(text: &[u8]) -> Self {
        const KEPT_MAX: usize = 64;
        match text.len() {
            0..=KEPT_MAX => Self::Text(text.into()),
            _ => Self::Digest(Sha256::digest(text).into()),
        }
    }
}

type Shard = Mutex<HashMap<(Scope, Whom), Arc<Usage>>>;

const SHARDS: usize = 64;

/// All counters of the process.
pub struct Quotas {
    shards: [Shard; SHARDS],
    /// Counters that one shard may have.
    shard_max: usize,
    hasher: std::hash::RandomState,
}

impl Default for Quotas {
    /// Room for 100,000 counters, which take 25 MB: about as many as Kong's 12 MB hold.
    fn default() -> Self {
        Self::with_room_for(100_000)
    }
}

impl Quotas {
    fn with_room_for(counters: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            shard_max: counters / SHARDS + 1,
            hasher: std::hash::RandomState::new(),
        }
    }

    /// What somebody has used in a scope. This takes a lock: see [`Known`].
    pub fn usage(&self, scope: &Scope, whom: &Whom) -> Arc<Usage> {
        use std::hash::BuildHasher as _;
        let key = (scope.clone(), whom.clone());
        let shard = &self.shards[self.hasher.hash_one(&key) as usize % SHARDS];
        let mut counters = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= self.shard_max && !counters.contains_key(&key) {
            forget_idle(&mut counters);
        }
        counters.entry(key).or_default().clone()
    }
}

/// Drops the quarter that was idle the longest, so that the next ones have room for a while.
fn forget_idle(counters: &mut HashMap<(Scope, Whom), Arc<Usage>>) {
    let mut touched: Vec<u64> =
        counters.values().map(|usage| usage.touched.load(Ordering::Relaxed)).collect();
    let quarter = touched.len() / 4 + 1;
    let (_, oldest, _) = touched.select_nth_unstable(quarter - 1);
    let oldest = *oldest;
    let mut left = quarter;
    counters.retain(|_, usage| {
        let goes = left > 0 && usage.touched.load(Ordering::Relaxed) <= oldest;
        left -= usize::from(goes);
        !goes
    });
}

/// The counters of a scope that a worker knows, so that its requests take no lock.
#[derive(Default)]
pub struct Known(HashMap<Whom, Weak<Usage>>);

impl Known {
    const MAX: usize = 4096;

    /// What somebody has used.
    pub fn usage(&mut self, quotas: &Quotas, scope: &Scope, whom: Whom) -> Arc<Usage> {
        if let Some(usage) = self.0.get(&whom).and_then(Weak::upgrade) {
            return usage;
        }
        let usage = quotas.usage(scope, &whom);
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        self.0.insert(whom, Arc::downgrade(&usage));
        usage
    }
}

#[cfg(test)]
mod tests;
