//! One at a time: what several workers would work out at once is worked out by one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};
use tokio::time::Instant;

/// Who holds a name for longer than this does not hold it any more (lua-resty-lock's `exptime`).
const HELD_MAX: Duration = Duration::from_secs(30);

/// Locks by name. A name is forgotten when nobody holds it or waits for it.
#[derive(Debug, Default)]
pub struct Flights(Arc<Mutex<Locks>>);

type Locks = HashMap<Vec<u8>, Held>;

/// The lock of a name, and since when somebody has it.
#[derive(Debug, Default)]
struct Held {
    lock: Arc<Lock<()>>,
    since: Option<Instant>,
}

impl Held {
    fn is(&self, lock: &Weak<Lock<()>>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.lock), lock.as_ptr())
    }

    fn until(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now) + HELD_MAX
    }
}

/// A lock that is held until this is dropped, or for too long.
#[derive(Debug)]
pub struct Flight {
    flights: Flights,
    name: Vec<u8>,
    lock: Weak<Lock<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of a name, and how long to wait for it: then it is taken from who has it.
    fn lock(&self, name: &[u8]) -> (Arc<Lock<()>>, Instant) {
        let mut locks = self.locks();
        let held = locks.entry(name.to_owned()).or_default();
        if held.since.is_some() && held.until() <= Instant::now() {
            *held = Held::default();
        }
        (held.lock.clone(), held.until())
    }

    /// Waits until the name is free, and takes it.
    pub async fn take(&self, name: &[u8]) -> Flight {
        loop {
            let (lock, until) = self.lock(name);
            // Made first, so that who gives up waiting also tidies up.
            let mut flight = Flight {
                flights: Self(self.0.clone()),
                name: name.to_owned(),
                lock: Arc::downgrade(&lock),
                held: None,
            };
            if let Ok(guard) = tokio::time::timeout_at(until, lock.lock_owned()).await {
                flight.held = Some(guard);
                if let Some(held) = self.locks().get_mut(name).filter(|held| held.is(&flight.lock))
                {
                    held.since = Some(Instant::now());
                }
                return flight;
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.locks().len()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut locks = self.flights.locks();
        // Given back while the map is locked: who has it next notes since when after that.
        let was_held = self.held.take().is_some();
        let Some(held) = locks.get_mut(&self.name).filter(|held| held.is(&self.lock)) else {
            return;
        };
        // The map's own is the last one.
        if Arc::strong_count(&held.lock) == 1 {
            locks.remove(&self.name);
        } else if was_held {
            held.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_name_has_one_holder_and_is_forgotten_after_the_last() {
        let flights = Flights::default();
        let first = flights.take(b"a").await;
        let _other = flights.take(b"b").await;
        let waiting = tokio::time::timeout(Duration::from_millis(1), flights.take(b"a"));
        assert!(waiting.await.is_err());
        drop(first);
        drop(flights.take(b"a").await);
        assert_eq!(flights.len(), 1);
    }

    #[tokio::test]
    async fn who_takes_over_a_name_is_known_to_hold_it() {
        let flights = Flights::default();
        let first = flights.take(b"a").await;
        let next = flights.take(b"a");
        let (next, ()) = tokio::join!(next, async { drop(first) });
        assert!(flights.locks()[&b"a"[..]].since.is_some());
        drop(next);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_gives_a_name_back_does_not_keep_it() {
        let flights = Flights::default();
        let stuck = flights.take(b"a").await;
        let next = flights.take(b"a").await;
        drop(stuck);
        let waiting = tokio::time::timeout(Duration::from_secs(1), flights.take(b"a"));
        assert!(waiting.await.is_err(), "the next one holds it now");
        drop(next);
        assert_eq!(flights.len(), 0);
    }
}
