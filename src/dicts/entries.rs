//! The entries of one dictionary: by key, by last use, and counted in bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Refused, Terms};

/// What an entry costs beside its key and value.
const OVERHEAD: usize = 80;

/// How many others go for a value that does not fit even then (OpenResty).
const TRIES: usize = 30;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// Bytes.
    Text(Vec<u8>),
    /// Numbers and texts in their order.
    List(VecDeque<Self>),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Number(_) | Self::Boolean(_) => 8,
            Self::Text(text) => text.len(),
            Self::List(list) => list.iter().map(|item| item.bytes() + OVERHEAD / 2).sum(),
        }
    }
}

/// A value as it is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The value.
    pub item: Item,
    /// What was stored with it.
    pub flags: i32,
    /// Its time is over.
    pub is_stale: bool,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Others had to go all the same.
    pub forced: bool,
}

#[derive(Debug)]
struct Entry {
    item: Item,
    flags: i32,
    expires: Option<Instant>,
    bytes: usize,
    used_at: u64,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.expires.is_none_or(|at| at > Instant::now())
    }
}

#[derive(Debug)]
pub(super) struct Entries {
    capacity: usize,
    used: usize,
    clock: u64,
    by_key: HashMap<Arc<[u8]>, Entry>,
    by_use: BTreeMap<u64, Arc<[u8]>>,
}

impl Entries {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, used: 0, clock: 0, by_key: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn is_live(&self, key: &[u8]) -> bool {
        self.by_key.get(key).is_some_and(Entry::is_live)
    }

    /// Notes that an entry was used just now.
    fn touch(&mut self, key: &[u8]) {
        self.clock += 1;
        if let Some(entry) = self.by_key.get_mut(key)
            && let Some(name) = self.by_use.remove(&entry.used_at)
        {
            entry.used_at = self.clock;
            self.by_use.insert(self.clock, name);
        }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<Held> {
        let held = self.held(key).filter(|held| !held.is_stale)?;
        self.touch(key);
        Some(held)
    }

    pub(super) fn get_stale(&mut self, key: &[u8]) -> Option<Held> {
        let held = self.held(key)?;
        self.touch(key);
        Some(held)
    }

    fn held(&self, key: &[u8]) -> Option<Held> {
        let entry = self.by_key.get(key)?;
        let (item, flags) = (entry.item.clone(), entry.flags);
        Some(Held { item, flags, is_stale: !entry.is_live() })
    }

    pub(super) fn live_mut(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.touch(key);
        self.by_key.get_mut(key).filter(|entry| entry.is_live()).map(|entry| &mut entry.item)
    }

    /// Puts an entry in place of what there was; true if others had to go. One that does not fit
    /// takes the place, too, and is not there then (OpenResty).
    pub(super) fn insert(&mut self, key: &[u8], item: Item, terms: Terms) -> Result<bool, Full> {
        let bytes = item.bytes() + key.len() + OVERHEAD;
        self.remove(key);
        if bytes > self.capacity {
            let forced = terms.evicts && (0..TRIES).fold(false, |forced, _| self.evict() || forced);
            return Err(Full { forced });
        }
        if self.used + bytes > self.capacity && !terms.evicts {
            self.flush_expired(usize::MAX);
            if self.used + bytes > self.capacity {
                return Err(Full { forced: false });
            }
        }
        let forced = self.make_room(bytes);
        self.clock += 1;
        let name: Arc<[u8]> = key.into();
        self.by_use.insert(self.clock, name.clone());
        let expires = terms.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let entry = Entry { item, flags: terms.flags, expires, bytes, used_at: self.clock };
        self.by_key.insert(name, entry);
        self.used += bytes;
        Ok(forced)
    }

    /// Makes room for so many bytes; true if something live had to go.
    fn make_room(&mut self, bytes: usize) -> bool {
        let mut forced = false;
        while self.used + bytes > self.capacity && !self.by_use.is_empty() {
            forced |= self.evict();
        }
        forced
    }

    /// Throws out what was used least recently; true if it was live.
    fn evict(&mut self) -> bool {
        let Some(key) = self.by_use.first_key_value().map(|(_, key)| key.clone()) else {
            return false;
        };
        let is_live = self.is_live(&key);
        self.remove(&key);
        is_live
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_use.remove(&entry.used_at);
            self.used -= entry.bytes;
        }
    }

    pub(super) fn push(&mut self, key: &[u8], item: Item, front: bool) -> Result<usize, Refused> {
        let mut list = match self.live_mut(key) {
            None => VecDeque::new(),
            Some(Item::List(list)) => std::mem::take(list),
            Some(_) => return Err(Refused::NotAList),
        };
        if front {
            list.push_front(item)
        } else {
            list.push_back(item)
        }
        let length = list.len();
        let (flags, ttl) = (0, None);
        let bytes = Item::List(list.clone()).bytes() + key.len() + OVERHEAD;
        if bytes > self.capacity {
            if front {
                list.pop_front()
            } else {
                list.pop_back()
            };
            if !list.is_empty() {
                self.insert(key, Item::List(list), Terms { flags, ttl, evicts: true })?;
            }
            return Err(Refused::NoMemory { forced: false });
        }
        self.insert(key, Item::List(list), Terms { flags, ttl, evicts: true })?;
        Ok(length)
    }

    pub(super) fn pop(&mut self, key: &[u8], front: bool) -> Result<Option<Item>, Refused> {
        let (item, left) = match self.live_mut(key) {
            None => return Ok(None),
            Some(Item::List(list)) => {
                let item = if front { list.pop_front() } else { list.pop_back() };
                (item, list.len())
            }
            Some(_) => return Err(Refused::NotAList),
        };
        if left == 0 {
            self.remove(key);
        } else if let (Some(item), Some(entry)) = (&item, self.by_key.get_mut(key)) {
            let freed = (item.bytes() + OVERHEAD / 2).min(entry.bytes);
            entry.bytes -= freed;
            self.used -= freed;
        }
        Ok(item)
    }

    pub(super) fn ttl(&self, key: &[u8]) -> Option<f64> {
        let now = Instant::now();
        Some(self.by_key.get(key)?.expires.map_or(0.0, |at| {
            let left = at.saturating_duration_since(now).as_secs_f64();
            left - now.saturating_duration_since(at).as_secs_f64()
        }))
    }

    pub(super) fn expire(&mut self, key: &[u8], ttl: Option<Duration>) -> bool {
        let Some(entry) = self.by_key.get_mut(key) else { return false };
        entry.expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        true
    }

    pub(super) fn flush_all(&mut self) {
        let now = Instant::now();
        self.by_key.values_mut().for_each(|entry| entry.expires = Some(now));
    }

    pub(super) fn flush_expired(&mut self, limit: usize) -> usize {
        let expired = self.by_key.iter().filter(|(_, entry)| !entry.is_live());
        let keys: Vec<_> = expired.take(limit).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len()
    }

    pub(super) fn keys(&self, limit: usize) -> Vec<Vec<u8>> {
        let live = self.by_use.values().rev().filter(|key| self.is_live(key));
        live.take(limit).map(|key| key.to_vec()).collect()
    }
}
