//! What a simulator knows, shared between its thread and the handle that tests hold.
//!
//! Plain mutexes: each is held for a few instructions, never across an await, and the handle's
//! thread rarely asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::arc::ArcKeys;
use super::faults::Faults;
use super::lean::Lean;
use super::ops::Store;
use super::options::Options;
use super::record::{Receipt, Recorded, Ring};
use super::tokens::Tokens;

/// Everything behind one listener.
pub(super) struct State {
    pub(super) options: Options,
    pub(super) lean: Option<Lean>,
    records: Mutex<Ring>,
    faults: Mutex<Faults>,
    tokens: Mutex<Tokens>,
    arc_keys: Mutex<ArcKeys>,
    store: Mutex<Store>,
    /// Changes whenever a request arrived or a reply ended.
    news: watch::Sender<()>,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            lean: options.lean.then(|| Lean::new(&options)),
            records: Mutex::new(Ring::new(options.record)),
            faults: Mutex::default(),
            tokens: Mutex::default(),
            arc_keys: Mutex::default(),
            store: Mutex::default(),
            news: watch::Sender::new(()),
            options,
        }
    }

    pub(super) fn records(&self) -> MutexGuard<'_, Ring> {
        locked(&self.records)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        locked(&self.tokens)
    }

    pub(super) fn arc_keys(&self) -> MutexGuard<'_, ArcKeys> {
        locked(&self.arc_keys)
    }

    /// What clients have stored.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    /// Keeps a request and tells those who wait; the receipt follows its reply.
    pub(super) fn record(&self, record: Recorded) -> Receipt {
        let receipt = Receipt::new(&record, self.news.clone());
        self.records().push(record);
        self.news.send_replace(());
        receipt
    }

    pub(super) async fn wait_until(&self, done: impl Fn(&Ring) -> bool) {
        let mut news = self.news.subscribe();
        while !done(&self.records()) {
            // The sender lives as long as `self`, so this cannot fail.
            let _ = news.changed().await;
        }
    }

    pub(super) fn event_delay(&self) -> Duration {
        Duration::from_millis(self.options.event_delay_ms)
    }
}

/// A poisoned lock only means that a test's thread failed while it held one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
