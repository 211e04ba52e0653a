//! Amounts that are compared with Redis now and then (`sync_rate`): requests are judged by what
//! this process knows, and what was used here goes to Redis in one go.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::remote::Remote;
use super::{Window, clock};
use crate::shared::Shared;

/// Counters between two comparisons; further ones wait for the next request of theirs.
const TOUCHED_MAX: usize = 10_000;

/// The counters of one plugin instance on one worker.
pub struct Synced {
    shared: Arc<Shared>,
    namespace: Arc<str>,
    remote: Remote,
    every: Duration,
    touched: RefCell<HashMap<(Box<str>, u64), Window>>,
    /// A comparison is to come.
    is_due: Cell<bool>,
}

impl Synced {
    /// Counters that are compared this often.
    pub fn new(
        shared: &Arc<Shared>,
        namespace: Arc<str>,
        remote: Remote,
        every: Duration,
    ) -> Rc<Self> {
        Rc::new(Self {
            shared: shared.clone(),
            namespace,
            remote,
            every,
            touched: RefCell::default(),
            is_due: Cell::default(),
        })
    }

    /// A counter has changed, or was looked at.
    pub fn touch(self: &Rc<Self>, whom: &str, window: &Window) {
        let mut touched = self.touched.borrow_mut();
        if touched.len() < TOUCHED_MAX {
            touched.insert((whom.into(), window.size), *window);
        }
        drop(touched);
        self.wait();
    }

    fn wait(self: &Rc<Self>) {
        if !self.is_due.replace(true) {
            let this = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(this.every).await;
                this.is_due.set(false);
                this.compare().await;
            });
        }
    }

    async fn compare(self: &Rc<Self>) {
        let (amounts, time) = (&self.shared.amounts, clock());
        let touched = std::mem::take(&mut *self.touched.borrow_mut());
        let owed: Vec<_> = touched
            .into_iter()
            .map(|((whom, _), window)| {
                let owed = amounts.owed(&self.namespace, &whom, &window, time);
                (whom, window, owed)
            })
            .collect();
        let told =
            owed.iter().map(|(whom, window, (index, level))| (&**whom, window, *index, *level));
        match self.remote.sync(told).await {
            Ok(all) => {
                for ((whom, window, owed), all) in owed.iter().zip(all) {
                    amounts.heard(&self.namespace, whom, window, *owed, Some(all));
                }
            }
            Err(failure) => {
                let redis = self.remote.place();
                tracing::error!(%redis, "[ai-rate-limiting-advanced] {failure}; trying again");
                for (whom, window, owed) in &owed {
                    amounts.heard(&self.namespace, whom, window, *owed, None);
                    self.touched.borrow_mut().insert((whom.clone(), window.size), *window);
                }
                self.wait();
            }
        }
    }
}
