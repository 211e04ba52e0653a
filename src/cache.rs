//! Replies that the plugin proxy-cache keeps: one store for all workers, of limited size.
//!
//! What is asked for often stays when room is needed; what is over its time is not given out, and
//! goes when its place is needed.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quick_cache::sync::{Cache as Store, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// A digest of what makes requests the same.
pub type Key = [u8; 32];

/// Bytes that all replies together may take: Kong's default for its shared memory.
const ROOM: u64 = 128 << 20;

/// The largest body that is kept, in bytes.
pub const REPLY_MAX: usize = 8 << 20;

/// A reply as it was sent.
pub struct Kept {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Unix seconds.
    pub stored_at: u64,
    /// Seconds for which it is fresh.
    pub ttl: f64,
    /// Unix milliseconds.
    pub expires_at_ms: u64,
}

/// One for the process; it takes memory when it is first used.
#[derive(Default)]
pub struct Cache(OnceLock<Store<Key, Arc<Kept>, Weight>>);

impl Cache {
    /// The reply that is kept under a key, if its time is not over.
    pub fn find(&self, key: &Key, now_ms: u64) -> Option<Arc<Kept>> {
        let kept = self.0.get()?.get(key)?;
        (now_ms < kept.expires_at_ms).then_some(kept)
    }

    /// Keeps a reply, in place of the one before.
    pub fn keep(&self, key: Key, kept: Kept) {
        self.0.get_or_init(store).insert(key, Arc::new(kept));
    }
}

/// An empty store. Its parts, each with a lock of its own, are so large that every reply fits.
fn store() -> Store<Key, Arc<Kept>, Weight> {
    const ITEMS: usize = 1000;
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(ITEMS).weight_capacity(ROOM).shards(8);
    match options.build() {
        Ok(options) => Store::with_options(
            options,
            Weight,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        Err(_) => Store::with_weighter(ITEMS, ROOM, Weight),
    }
}

/// How many bytes a reply takes.
#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Kept>> for Weight {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        const REST: usize = 512;
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + 64
        };
        let headers: usize = kept.headers.iter().map(header).sum();
        (kept.body.len() + headers + REST) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: usize, expires_at_ms: u64) -> Kept {
        Kept {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![0; bytes].into(),
            stored_at: 0,
            ttl: 1.0,
            expires_at_ms,
        }
    }

    #[test]
    fn what_is_over_its_time_is_not_given_out() {
        let cache = Cache::default();
        assert!(cache.find(&[0; 32], 0).is_none());
        cache.keep([0; 32], kept(1, 10));
        assert!(cache.find(&[0; 32], 9).is_some());
        assert!(cache.find(&[0; 32], 10).is_none());
        cache.keep([0; 32], kept(1, 20));
        assert!(cache.find(&[0; 32], 10).is_some(), "the later one counts");
    }

    #[test]
    fn the_store_does_not_grow_beyond_its_room() {
        let cache = Cache::default();
        for number in 0..200_u8 {
            cache.keep([number; 32], kept(1 << 20, u64::MAX));
        }
        let found: Vec<u8> =
            (0..200).filter(|number| cache.find(&[*number; 32], 0).is_some()).collect();
        assert!(!found.is_empty() && found.len() <= 128, "{}", found.len());
    }
}
