//! One at a time: what several workers would work out at once is worked out by one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// Locks by name. A name is forgotten when nobody holds it or waits for it.
#[derive(Debug, Default)]
pub struct Flights(Arc<Mutex<Locks>>);

type Locks = HashMap<Vec<u8>, Arc<Lock<()>>>;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Flight {
    flights: Flights,
    name: Vec<u8>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the name is free, and takes it.
    pub async fn take(&self, name: &[u8]) -> Flight {
        let lock = self.locks().entry(name.to_owned()).or_default().clone();
        // Made first, so that who gives up waiting also tidies up.
        let mut flight =
            Flight { flights: Self(self.0.clone()), name: name.to_owned(), held: None };
        flight.held = Some(lock.lock_owned().await);
        flight
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.locks().len()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.flights.locks();
        // The map's own is the last one.
        if locks.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.name);
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
}
