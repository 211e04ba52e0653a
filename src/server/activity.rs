//! What a client connection is doing, and when that has taken too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// One for a connection. It belongs to one thread; the counters are atomic because the library
/// asks its streams to be `Send`.
pub(super) struct Activity {
    born: Instant,
    /// Milliseconds of its life after which nothing has begun or ended.
    since: AtomicU64,
    /// A head has begun and not ended. nginx' first one begins with the connection.
    in_head: AtomicBool,
    /// Exchanges that have not ended.
    open: AtomicUsize,
    requests: AtomicUsize,
    requests_max: usize,
    /// It takes no more requests than those that are here.
    leaves: AtomicBool,
    /// The client has not taken what was written.
    stuck: AtomicBool,
    /// It speaks another protocol by now.
    upgraded: AtomicBool,
    spent: Notify,
    /// Whoever waits until an exchange has ended.
    waits: AtomicWaker,
}

/// An exchange, as long as this lives.
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    /// A connection that has just begun and serves `requests_max` requests.
    pub(super) fn new(requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            since: AtomicU64::new(0),
            in_head: AtomicBool::new(true),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            requests_max,
            leaves: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            spent: Notify::new(),
            waits: AtomicWaker::new(),
        })
    }

    fn mark(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(now, Ordering::Relaxed);
    }

    /// A part of a head is there, and the rest is waited for.
    pub(super) fn head_begun(&self) {
        if !self.in_head.swap(true, Ordering::Relaxed) {
            self.mark();
        }
    }

    /// No head is waited for that has begun.
    pub(super) fn head_ended(&self) {
        if self.in_head.swap(false, Ordering::Relaxed) {
            self.mark();
        }
    }

    /// Writing waits for the client, or goes on. Another limit is for the former.
    pub(super) fn writes(&self, goes_on: bool) {
        self.stuck.store(!goes_on, Ordering::Relaxed);
        self.mark();
    }

    /// A request is there.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        if self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= self.requests_max {
            self.spent.notify_one();
        }
        Busy(self.clone())
    }

    /// No more requests are taken.
    pub(super) fn leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// Whether the last request that it may have is there.
    pub(super) fn is_last(&self) -> bool {
        let spent = self.requests.load(Ordering::Relaxed) >= self.requests_max;
        spent || self.leaves.load(Ordering::Relaxed)
    }

    /// Waits until it is spent.
    pub(super) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// Waits until so many requests have come, and all are answered.
    pub(super) fn poll_answered(&self, requests: usize, cx: &Context<'_>) -> Poll<()> {
        self.waits.register(cx.waker());
        let have_come = self.requests.load(Ordering::Relaxed) >= requests;
        match have_come && self.open.load(Ordering::Relaxed) == 0 {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// From now on its bytes are not HTTP.
    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// Waits until a head has taken longer than `head`, or nothing has happened for `idle`. It
    /// looks at the clock now and then, so that a request costs no timer.
    pub(super) async fn overdue(&self, head: Duration, idle: Duration) {
        const SHORTEST: Duration = Duration::from_millis(1);
        let look = head.min(idle).max(SHORTEST);
        loop {
            let is_busy = self.open.load(Ordering::Relaxed) > 0
                || self.stuck.load(Ordering::Relaxed)
                || self.is_upgraded();
            let limit = if self.in_head.load(Ordering::Relaxed) { head } else { idle };
            let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
            let left = (since + limit).saturating_sub(self.born.elapsed());
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
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.mark();
            self.0.waits.wake();
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
    async fn an_exchange_and_another_protocol_may_take_their_time() {
        let activity = Activity::new(2);
        let busy = activity.begin();
        let waited = tokio::time::timeout(IDLE * 3, activity.overdue(HEAD, IDLE));
        assert!(waited.await.is_err());
        activity.upgrade();
        drop(busy);
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
