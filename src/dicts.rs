//! Memory that the Lua code of all workers has in common: OpenResty's shared dictionaries
//! (`ngx.shared`).
//!
//! A dictionary has a size that it does not grow beyond: what was used least recently makes room.
//! A lock is held for one operation and never across a wait.

mod answers;
mod changes;
mod entries;
mod flights;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use entries::Entries;
use tokio::sync::{broadcast, oneshot};

pub use answers::Answers;
pub use changes::{Change, Changes};
pub use entries::{Full, Held, Item};
pub use flights::{Flight, Flights};

/// Kong's dictionaries and their sizes in MiB.
const KONGS: [(&str, usize); 11] = [
    ("kong", 5),
    ("kong_cluster_events", 5),
    ("kong_core_db_cache", 128),
    ("kong_core_db_cache_miss", 12),
    ("kong_db_cache", 128),
    ("kong_db_cache_miss", 12),
    ("kong_healthchecks", 5),
    ("kong_locks", 8),
    ("kong_rate_limiting_counters", 12),
    ("kong_secrets", 5),
    ("prometheus_metrics", 5),
];

/// Whether Kong has a dictionary of this name.
pub fn is_kongs(name: &str) -> bool {
    KONGS.iter().any(|(known, _)| *known == name)
}

/// Every dictionary of the process, and what else the VMs of its workers tell each other.
#[derive(Debug)]
pub struct Dicts {
    named: BTreeMap<String, Dict>,
    /// What is worked out by one worker at a time.
    pub flights: Flights,
    /// What has changed in caches of which every worker has a copy.
    pub changes: Changes,
    /// Made for the first who listens: its room is 96 KiB, which no native plugin needs.
    events: OnceLock<broadcast::Sender<Event>>,
    /// What the process has asked the Lua code of its workers.
    pub answers: Answers,
}

/// Something that Lua code of one worker tells that of all of them.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Event {
    pub source: Vec<u8>,
    pub name: Vec<u8>,
    pub data: Vec<u8>,
}

/// Events that a worker may be behind.
const EVENTS: usize = 1024;

impl Default for Dicts {
    fn default() -> Self {
        let dict = |(name, mib): (&str, usize)| (name.to_owned(), Dict::new(mib << 20));
        Self {
            named: KONGS.into_iter().map(dict).collect(),
            flights: Flights::default(),
            changes: Changes::default(),
            events: OnceLock::new(),
            answers: Answers::default(),
        }
    }
}

impl Dicts {
    /// Kong's dictionaries and those of the operator, with their sizes in bytes.
    pub fn with(own: &[(String, usize)]) -> Self {
        let mut dicts = Self::default();
        dicts.named.extend(own.iter().map(|(name, bytes)| (name.clone(), Dict::new(*bytes))));
        dicts
    }

    /// The dictionary of this name.
    pub fn get(&self, name: &str) -> Option<&Dict> {
        self.named.get(name)
    }

    /// Empties Kong's caches: what is in them was found out with another configuration.
    pub fn purge_caches(&self) {
        for cache in ["kong_core_db_cache", "kong_db_cache"] {
            for name in [cache.to_owned(), format!("{cache}_miss")] {
                if let Some(dict) = self.get(&name) {
                    dict.flush_all();
                    dict.flush_expired(usize::MAX);
                }
            }
            self.changes.note(Change { cache: cache.as_bytes().to_vec(), key: None });
        }
    }

    /// Tells an event to whoever listens.
    pub fn post(&self, event: Event) {
        // Nobody may.
        let _ = self.events.get().map(|events| events.send(event));
    }

    /// Asks the Lua code of the workers something; the first to answer counts. Nothing comes if
    /// nobody knows the question.
    pub fn ask(&self, question: &str) -> oneshot::Receiver<Vec<u8>> {
        let (id, answer) = self.answers.wait();
        let (source, name) = (b"silverback".to_vec(), question.as_bytes().to_vec());
        self.post(Event { source, name, data: id.to_string().into_bytes() });
        answer
    }

    /// The events from here on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.get_or_init(|| broadcast::channel(EVENTS).0).subscribe()
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }
}

/// One dictionary.
#[derive(Debug)]
pub struct Dict {
    capacity: usize,
    entries: Mutex<Entries>,
}

/// When a value is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// In any case.
    Set,
    /// If there is none.
    Add,
    /// If there is one.
    Replace,
}

/// Why an operation did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is such a key.
    #[error("exists")]
    Exists,
    /// There is no such key.
    #[error("not found")]
    NotFound,
    /// The value is not a number.
    #[error("not a number")]
    NotANumber,
    /// The value is not a list.
    #[error("value not a list")]
    NotAList,
    /// It does not fit; `forced` if others had to go all the same.
    #[error("no memory")]
    #[allow(missing_docs)]
    NoMemory { forced: bool },
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        Self::NoMemory { forced: full.forced }
    }
}

/// What a stored value is to be: its flags and how long it lives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// A number that comes back with the value.
    pub flags: i32,
    /// `None` lives for ever.
    pub ttl: Option<Duration>,
    /// Other values may be thrown out to make room.
    pub evicts: bool,
}

impl Dict {
    /// An empty dictionary of so many bytes.
    fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Entries::new(capacity)) }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes it may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that are free.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.entries().used())
    }

    /// A value that is there and has not expired.
    pub fn get(&self, key: &[u8]) -> Option<Held> {
        self.entries().get(key)
    }

    /// A value that is there, expired or not.
    pub fn get_stale(&self, key: &[u8]) -> Option<Held> {
        self.entries().get_stale(key)
    }

    /// Puts a value; `Ok(true)` if others had to go.
    ///
    /// # Errors
    /// Its condition does not hold, or it does not fit.
    pub fn put(&self, key: &[u8], item: Item, how: Put, terms: Terms) -> Result<bool, Refused> {
        let mut entries = self.entries();
        let is_there = entries.is_live(key);
        match how {
            Put::Add if is_there => return Err(Refused::Exists),
            Put::Replace if !is_there => return Err(Refused::NotFound),
            _ => {}
        }
        Ok(entries.insert(key, item, terms)?)
    }

    /// Takes a value out.
    pub fn delete(&self, key: &[u8]) {
        self.entries().remove(key);
    }

    /// Adds to a number; `init` and its terms stand for one that is not there. The second value
    /// says whether others had to go.
    ///
    /// # Errors
    /// There is none, or something else.
    pub fn incr(
        &self,
        key: &[u8],
        by: f64,
        init: Option<(f64, Terms)>,
    ) -> Result<(f64, bool), Refused> {
        let mut entries = self.entries();
        if let Some(item) = entries.live_mut(key) {
            let Item::Number(number) = item else { return Err(Refused::NotANumber) };
            *number += by;
            return Ok((*number, false));
        }
        let (init, terms) = init.ok_or(Refused::NotFound)?;
        let number = init + by;
        Ok((number, entries.insert(key, Item::Number(number), terms)?))
    }

    /// Adds to a list, at its front or its end; its length.
    ///
    /// # Errors
    /// There is something else, or it does not fit.
    pub fn push(&self, key: &[u8], item: Item, front: bool) -> Result<usize, Refused> {
        self.entries().push(key, item, front)
    }

    /// Takes from a list.
    ///
    /// # Errors
    /// There is something else.
    pub fn pop(&self, key: &[u8], front: bool) -> Result<Option<Item>, Refused> {
        self.entries().pop(key, front)
    }

    /// The length of a list; 0 without one.
    ///
    /// # Errors
    /// There is something else.
    pub fn len(&self, key: &[u8]) -> Result<usize, Refused> {
        match self.entries().live_mut(key) {
            None => Ok(0),
            Some(Item::List(list)) => Ok(list.len()),
            Some(_) => Err(Refused::NotAList),
        }
    }

    /// For how many seconds a value will live: `None` without one, 0 for ever, and less than 0 for
    /// one whose time is over, which is still there to be given another.
    pub fn ttl(&self, key: &[u8]) -> Option<f64> {
        self.entries().ttl(key)
    }

    /// Gives a value another time to live. False without one.
    pub fn expire(&self, key: &[u8], ttl: Option<Duration>) -> bool {
        self.entries().expire(key, ttl)
    }

    /// Lets everything expire.
    pub fn flush_all(&self) {
        self.entries().flush_all();
    }

    /// Takes out up to `limit` values that have expired; how many went.
    pub fn flush_expired(&self, limit: usize) -> usize {
        self.entries().flush_expired(limit)
    }

    /// Up to `limit` keys.
    pub fn keys(&self, limit: usize) -> Vec<Vec<u8>> {
        self.entries().keys(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { flags: 0, ttl: None, evicts: true };

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let dict = Dict::new(10_000);
        let value = || Item::Text(vec![b'x'; 2000]);
        for key in ["a", "b", "c", "d"] {
            dict.put(key.as_bytes(), value(), Put::Set, TERMS).unwrap();
        }
        assert!(dict.get(b"a").is_some());
        assert_eq!(dict.put(b"e", value(), Put::Set, TERMS), Ok(true));
        assert!(dict.get(b"a").is_some() && dict.get(b"b").is_none());
        assert!(dict.free() < 10_000);
    }

    #[test]
    fn what_is_larger_than_the_dictionary_is_refused_and_others_go_as_in_openresty() {
        let dict = Dict::new(10_000);
        let large = || Item::Text(vec![0; 20_000]);
        let safe = Terms { evicts: false, ..TERMS };
        let full = |forced| Err(Refused::NoMemory { forced });
        assert_eq!(dict.put(b"a", large(), Put::Set, TERMS), full(false));
        for n in 0..40_u8 {
            dict.put(&[n], Item::Number(1.0), Put::Set, TERMS).unwrap();
        }
        assert_eq!(dict.put(&[39], large(), Put::Set, safe), full(false));
        assert_eq!(dict.keys(usize::MAX).len(), 39, "what was there under its key has gone");
        assert_eq!(dict.put(b"a", large(), Put::Set, TERMS), full(true));
        assert!(dict.get(&[29]).is_none() && dict.get(&[30]).is_some());
    }

    #[test]
    fn what_must_not_throw_out_others_is_refused() {
        let dict = Dict::new(1000);
        let safe = Terms { evicts: false, ..TERMS };
        let half = || Item::Text(vec![0; 600]);
        assert_eq!(dict.put(b"c", half(), Put::Set, safe), Ok(false));
        assert_eq!(
            dict.put(b"d", half(), Put::Set, safe),
            Err(Refused::NoMemory { forced: false })
        );
        assert!(dict.get(b"c").is_some());
    }

    #[test]
    fn a_list_whose_first_value_does_not_fit_is_not_there() {
        let dict = Dict::new(1000);
        let large = Item::Text(vec![0; 2000]);
        assert_eq!(dict.push(b"l", large, true), Err(Refused::NoMemory { forced: false }));
        assert!(dict.keys(usize::MAX).is_empty());
    }

    #[test]
    fn counters_start_where_they_are_told() {
        let dict = Dict::new(1000);
        assert_eq!(dict.incr(b"n", 1.0, None), Err(Refused::NotFound));
        assert_eq!(dict.incr(b"n", 1.0, Some((10.0, TERMS))), Ok((11.0, false)));
        assert_eq!(dict.incr(b"n", -3.0, Some((100.0, TERMS))), Ok((8.0, false)));
        dict.put(b"t", Item::Text(b"5".to_vec()), Put::Set, TERMS).unwrap();
        assert_eq!(dict.incr(b"t", 1.0, None), Err(Refused::NotANumber));
    }

    #[test]
    fn lists_take_and_give_at_both_ends() {
        let dict = Dict::new(10_000);
        let number = Item::Number;
        assert_eq!(dict.push(b"l", number(1.0), false), Ok(1));
        assert_eq!(dict.push(b"l", number(2.0), false), Ok(2));
        assert_eq!(dict.push(b"l", number(0.0), true), Ok(3));
        assert_eq!(dict.len(b"l"), Ok(3));
        let used = dict.entries().used();
        assert_eq!(dict.pop(b"l", true), Ok(Some(number(0.0))));
        assert_eq!(dict.pop(b"l", false), Ok(Some(number(2.0))));
        assert_eq!(dict.pop(b"l", false), Ok(Some(number(1.0))));
        assert_eq!(dict.pop(b"l", false), Ok(None));
        assert!(dict.entries().used() < used && dict.get(b"l").is_none());
    }
}
