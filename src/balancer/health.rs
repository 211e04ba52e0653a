//! Whether targets take requests: shared by all workers, read without a lock.
//!
//! The rules are those of Kong's health checker: failures of one kind in a row make a target
//! unhealthy, successes in a row make it healthy, and a limit of 0 counts nothing. Passive and
//! active checks count together. Health belongs to a target (`host:port`), not to each address of
//! its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use dashmap::DashMap;
use uuid::Uuid;

use crate::entity::{Healthchecks, Healthy, Unhealthy, Upstream};

/// The health of every Upstream, by id. It outlives reloads that leave the Upstream alone.
#[derive(Default)]
pub struct Healths {
    known: DashMap<Uuid, Arc<Health>>,
}

/// The health of the targets of one Upstream.
pub struct Health {
    /// The Upstream's name.
    pub upstream: String,
    /// The rules.
    pub checks: Healthchecks,
    /// Targets that have weight.
    pub targets: Vec<Arc<TargetHealth>>,
}

/// What is known of one target.
#[derive(Default)]
pub struct TargetHealth {
    /// `host:port`.
    pub name: String,
    unhealthy: AtomicBool,
    unresolved: AtomicBool,
    successes: AtomicU32,
    http_failures: AtomicU32,
    tcp_failures: AtomicU32,
    timeouts: AtomicU32,
}

/// What happened to a request or a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An answer with this status.
    Status(u16),
    /// No connection, or one that broke off.
    TcpFailure,
    /// No answer in time.
    Timeout,
}

impl Healths {
    /// The health of an Upstream with these targets; what is known of a target stays known while
    /// the rules are the same.
    pub fn of(&self, upstream: &Upstream, targets: &[String]) -> Arc<Health> {
        let mut entry = self.known.entry(upstream.id).or_insert_with(|| {
            Arc::new(Health {
                upstream: upstream.name.clone(),
                checks: upstream.healthchecks.clone(),
                targets: Vec::new(),
            })
        });
        let same_rules = entry.checks == upstream.healthchecks;
        let same_targets = entry.targets.iter().map(|target| &target.name).eq(targets);
        if !same_rules || !same_targets {
            let kept = |name: &String| {
                let known = entry.targets.iter().find(|target| same_rules && target.name == *name);
                let new = || Arc::new(TargetHealth { name: name.clone(), ..Default::default() });
                known.cloned().unwrap_or_else(new)
            };
            let targets = targets.iter().map(kept).collect();
            let (name, checks) = (upstream.name.clone(), upstream.healthchecks.clone());
            *entry = Arc::new(Health { upstream: name, checks, targets });
        }
        entry.clone()
    }

    /// Forgets the Upstreams that are gone.
    pub fn keep(&self, is_there: impl Fn(&Uuid) -> bool) {
        self.known.retain(|id, _| is_there(id));
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Arc<Health>> {
        let mut all: Vec<_> = self.known.iter().map(|entry| entry.value().clone()).collect();
        all.sort_by(|a, b| a.upstream.cmp(&b.upstream));
        all
    }
}

impl Health {
    /// Whether a target takes requests.
    pub fn is_available(&self, target: usize) -> bool {
        self.targets.get(target).is_some_and(|target| !target.unhealthy.load(Relaxed))
    }

    /// What a request has shown of a target.
    pub fn passive(&self, target: usize, report: Report) {
        let rules = &self.checks.passive;
        self.learn(target, report, &rules.healthy, &rules.unhealthy, "passive");
    }

    /// What a probe has shown of a target.
    pub fn active(&self, target: usize, report: Report) {
        let rules = &self.checks.active;
        self.learn(target, report, &rules.healthy, &rules.unhealthy, "active");
    }

    /// Whether the name of a target has an address.
    pub fn resolved(&self, target: usize, is_resolved: bool) {
        let Some(target) = self.targets.get(target) else { return };
        if target.unresolved.load(Relaxed) == is_resolved {
            target.unresolved.store(!is_resolved, Relaxed);
        }
    }

    fn learn(&self, n: usize, report: Report, good: &Healthy, bad: &Unhealthy, check: &str) {
        let Some(target) = self.targets.get(n) else { return };
        let changed = match report {
            Report::Status(status) if good.http_statuses.contains(&status) => {
                target.succeeded(good.successes)
            }
            Report::Status(status) if bad.http_statuses.contains(&status) => {
                target.failed(&target.http_failures, bad.http_failures)
            }
            Report::Status(_) => false,
            Report::TcpFailure => target.failed(&target.tcp_failures, bad.tcp_failures),
            Report::Timeout => target.failed(&target.timeouts, bad.timeouts),
        };
        if changed {
            let (upstream, target, state) = (&self.upstream, &target.name, self.state(n));
            tracing::warn!(upstream, target, check, "the target is {state} now ({report:?})");
        }
    }

    /// Kong's word for the state of a target.
    pub fn state(&self, target: usize) -> &'static str {
        let Some(known) = self.targets.get(target) else { return "HEALTHCHECKS_OFF" };
        if known.unresolved.load(Relaxed) {
            "DNS_ERROR"
        } else if !self.checks.is_on() {
            "HEALTHCHECKS_OFF"
        } else if known.unhealthy.load(Relaxed) {
            "UNHEALTHY"
        } else {
            "HEALTHY"
        }
    }
}

impl TargetHealth {
    /// Counts a success; true when the target has become healthy.
    fn succeeded(&self, limit: u32) -> bool {
        if limit == 0 {
            return false;
        }
        for failures in [&self.http_failures, &self.tcp_failures, &self.timeouts] {
            if failures.load(Relaxed) > 0 {
                failures.store(0, Relaxed);
            }
        }
        if !self.unhealthy.load(Relaxed) || self.successes.fetch_add(1, Relaxed) + 1 < limit {
            return false;
        }
        self.successes.store(0, Relaxed);
        self.unhealthy.swap(false, Relaxed)
    }

    /// Counts a failure of one kind; true when the target has become unhealthy.
    fn failed(&self, kind: &AtomicU32, limit: u32) -> bool {
        if limit == 0 {
            return false;
        }
        self.successes.store(0, Relaxed);
        if self.unhealthy.load(Relaxed) || kind.fetch_add(1, Relaxed) + 1 < limit {
            return false;
        }
        kind.store(0, Relaxed);
        !self.unhealthy.swap(true, Relaxed)
    }
}
