//! What a client connection is doing, and when that has taken too long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// One for a connection.
pub(super) struct Activity {
    born: Instant,
    /// The time of its life after which nothing has begun or ended.
    since: Cell<Duration>,
    /// A head has begun and not ended. nginx' first one begins with the connection.
    in_head: Cell<bool>,
    /// Exchanges that have not ended.
    open: Cell<usize>,
    requests: Cell<usize>,
    requests_max: usize,
    /// It takes no more requests than those that are here.
    leaves: Cell<bool>,
    /// The client has not taken what was written.
    stuck: Cell<bool>,
    spent: Notify,
}

/// An exchange, as long as this lives.
pub(super) struct Busy(Rc<Activity>);

impl Activity {
    /// A connection that has just begun and serves `requests_max` requests.
    pub(super) fn new(requests_max: usize) -> Rc<Self> {
        Rc::new(Self {
            born: Instant::now(),
            since: Cell::default(),
            in_head: Cell::new(true),
            open: Cell::default(),
            requests: Cell::default(),
            requests_max,
            leaves: Cell::default(),
            stuck: Cell::default(),
            spent: Notify::new(),
        })
    }

    fn mark(&self) {
        self.since.set(self.born.elapsed());
    }

    /// A part of a head is there, and the rest is waited for.
    pub(super) fn head_begun(&self) {
        if !self.in_head.replace(true) {
            self.mark();
        }
    }

    /// No head is waited for that has begun.
    pub(super) fn head_ended(&self) {
        if self.in_head.replace(false) {
            self.mark();
        }
    }

    /// Writing waits for the client, or goes on. Another limit is for the former.
    pub(super) fn writes(&self, goes_on: bool) {
        self.stuck.set(!goes_on);
        self.mark();
    }

    /// A request is there.
    pub(super) fn begin(self: &Rc<Self>) -> Busy {
        self.open.set(self.open.get() + 1);
        self.requests.set(self.requests.get() + 1);
        if self.requests.get() >= self.requests_max {
            self.spent.notify_one();
        }
        Busy(self.clone())
    }

    /// No more requests are taken.
    pub(super) fn leave(&self) {
        self.leaves.set(true);
    }

    /// Whether no more requests are taken.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaves.get()
    }

    /// Whether the last request that it may have is there.
    pub(super) fn is_last(&self) -> bool {
        self.requests.get() >= self.requests_max || self.leaves.get()
    }

    /// Waits until it is spent.
    pub(super) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// Waits until a head has taken longer than `head`, or nothing has happened for `idle`. It
    /// looks at the clock now and then, so that a request costs no timer.
    pub(super) async fn overdue(&self, head: Duration, idle: Duration) {
        const SHORTEST: Duration = Duration::from_millis(1);
        let look = head.min(idle).max(SHORTEST);
        loop {
            let is_busy = self.open.get() > 0 || self.stuck.get();
            let limit = if self.in_head.get() { head } else { idle };
            let left = (self.since.get() + limit).saturating_sub(self.born.elapsed());
            if !is_busy && left.is_zero() {
                return;
            }
            let wait = if is_busy { look } else { left.min(look) };
            tokio::time::sleep(wait.max(SHORTEST)).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let open = self.0.open.get().saturating_sub(1);
        self.0.open.set(open);
        if open == 0 {
            self.0.mark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_millis(20);
    const IDLE: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn what_is_idle_or_slow_is_overdue() {
        let activity = Activity::new(2);
        activity.overdue(HEAD, Duration::MAX).await; // the first head
        activity.head_ended();
        drop(activity.begin());
        activity.overdue(Duration::MAX, IDLE).await;
        activity.head_begun();
        activity.overdue(HEAD, Duration::MAX).await;
    }

    #[tokio::test]
    async fn an_exchange_may_take_its_time() {
        let activity = Activity::new(2);
        let _busy = activity.begin();
        let waited = tokio::time::timeout(IDLE * 3, activity.overdue(HEAD, IDLE));
        assert!(waited.await.is_err());
    }

    #[tokio::test]
    async fn a_connection_is_spent_with_its_last_request() {
        let activity = Activity::new(2);
        let first = activity.begin();
        assert!(!activity.is_last());
        drop((first, activity.begin()));
        assert!(activity.is_last());
        activity.spent().await;
    }
}
