//! Whether one address takes requests: what Kong's health checker (lua-resty-healthcheck) counts.
//!
//! Failures of one kind in a row make an address unhealthy, successes in a row make it healthy, and
//! a limit of 0 counts nothing. Passive and active checks count together. All workers share it and
//! read it without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::entity::{Healthy, Unhealthy};

/// What is known of one address.
#[derive(Debug, Default)]
pub(super) struct State {
    unhealthy: AtomicBool,
    successes: AtomicU32,
    http_failures: AtomicU32,
    tcp_failures: AtomicU32,
    timeouts: AtomicU32,
}

/// What happened to a request or a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An answer with this status; 0 is an answer that is no HTTP (Kong).
    Status(u16),
    /// A connection, where nothing more is asked for.
    Connected,
    /// No connection, or one that broke off.
    TcpFailure,
    /// No answer in time.
    Timeout,
}

/// A change of the health, and what has led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) is_healthy: bool,
    pub(super) counter: &'static str,
    pub(super) count: u32,
}

impl State {
    pub(super) fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Relaxed)
    }

    /// Counts a report; tells of the change that it makes.
    pub(super) fn learn(&self, report: Report, good: &Healthy, bad: &Unhealthy) -> Option<Change> {
        match report {
            Report::Connected => self.succeeded(good.successes),
            Report::Status(status) if good.http_statuses.contains(&status) => {
                self.succeeded(good.successes)
            }
            Report::Status(status) if status == 0 || bad.http_statuses.contains(&status) => {
                self.failed(&self.http_failures, "http_failures", bad.http_failures)
            }
            Report::Status(_) => None,
            Report::TcpFailure => self.failed(&self.tcp_failures, "tcp_failures", bad.tcp_failures),
            Report::Timeout => self.failed(&self.timeouts, "timeouts", bad.timeouts),
        }
    }

    /// Somebody knows better (Kong's Admin API): every counter begins anew. True for a change.
    pub(super) fn force(&self, is_healthy: bool) -> bool {
        self.successes.store(0, Relaxed);
        self.forget_failures();
        self.unhealthy.swap(!is_healthy, Relaxed) == is_healthy
    }

    fn succeeded(&self, limit: u32) -> Option<Change> {
        if limit == 0 {
            return None;
        }
        self.forget_failures();
        if self.is_healthy() {
            return None;
        }
        let count = self.successes.fetch_add(1, Relaxed) + 1;
        if count < limit {
            return None;
        }
        self.successes.store(0, Relaxed);
        let changed = self.unhealthy.swap(false, Relaxed);
        changed.then_some(Change { is_healthy: true, counter: "successes", count })
    }

    fn failed(&self, kind: &AtomicU32, counter: &'static str, limit: u32) -> Option<Change> {
        if limit == 0 {
            return None;
        }
        self.successes.store(0, Relaxed);
        if !self.is_healthy() {
            return None;
        }
        let count = kind.fetch_add(1, Relaxed) + 1;
        if count < limit {
            return None;
        }
        self.forget_failures();
        let changed = !self.unhealthy.swap(true, Relaxed);
        changed.then_some(Change { is_healthy: false, counter, count })
    }

    /// Reads before it writes: most requests are successes after successes.
    fn forget_failures(&self) {
        for failures in [&self.http_failures, &self.tcp_failures, &self.timeouts] {
            if failures.load(Relaxed) > 0 {
                failures.store(0, Relaxed);
            }
        }
    }
}
