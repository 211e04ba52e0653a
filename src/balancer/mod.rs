//! Upstream → Target → address: Kong's four algorithms, over the addresses that are healthy.
//!
//! A ring outlives a reload that leaves its Upstream alone, so that a configuration change
//! elsewhere does not start every rotation anew. Rings belong to a worker; health is shared.

pub mod hashing;
pub mod health;
pub mod keeper;
mod key;
mod latency;
mod least_connections;
mod peers;
mod probe;
mod round_robin;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::health::{Health, Healths};
use self::least_connections::LeastConnections;
use self::peers::{Candidates, Current, Peers};
use crate::entity::{Algorithm, Upstream};
use crate::pdk::Exchange;
use crate::snapshot::Snapshot;

pub use self::peers::Peer;
pub use self::state::Report;

/// The Upstreams of one worker, by name.
#[derive(Default)]
pub struct Balancer {
    rings: HashMap<Rc<str>, Rc<Ring>>,
}

/// The targets of one Upstream and whose turn it is.
pub struct Ring {
    upstream: Arc<Upstream>,
    health: Arc<Health>,
    peers: Current,
    loads: LeastConnections,
}

/// What one exchange has tried so far.
#[derive(Default)]
pub struct Turn {
    /// For the client, so that it comes back with the key of its target.
    pub cookie: Option<HeaderValue>,
    key: Option<String>,
    chosen: Option<(Rc<Ring>, Rc<Peer>)>,
    tried: SmallVec<[Rc<Peer>; 4]>,
    unresolved: SmallVec<[Rc<Peer>; 4]>,
    lease: Option<Lease>,
}

/// A request under way: the algorithms count it until this is dropped.
pub struct Lease {
    algorithm: Algorithm,
    peer: Rc<Peer>,
    began: Instant,
}

impl Balancer {
    /// The rings for a Snapshot, keeping those of `old` that are the same.
    pub fn new(snapshot: &Snapshot, healths: &Healths, old: &Self) -> Self {
        let ring = |upstream: &Arc<Upstream>| {
            let targets = snapshot.targets.get(&upstream.id).map_or(&[][..], Vec::as_slice);
            let health = healths.of(upstream, targets);
            let name = upstream.name.as_str();
            let kept = old.rings.get(name);
            let same = kept.filter(|kept| Arc::ptr_eq(&kept.health, &health)).cloned();
            let new = || Rc::new(Ring::new(health, kept.map(Rc::as_ref)));
            (Rc::from(name), same.unwrap_or_else(new))
        };
        Self { rings: snapshot.upstreams.values().map(ring).collect() }
    }

    /// The ring of an Upstream.
    pub fn ring(&self, name: &str) -> Option<&Rc<Ring>> {
        self.rings.get(name)
    }
}

impl Ring {
    /// A ring that goes on where `old` was, for the addresses that stay.
    fn new(health: Arc<Health>, old: Option<&Self>) -> Self {
        let upstream = health.upstream.clone();
        let old = old.map(|old| old.peers.get(&old.health));
        let peers = Peers::new(&health, old.as_ref().map_or(&[], |old| &old.all));
        Self { peers: Current::new(peers), loads: LeastConnections::default(), upstream, health }
    }

    /// Waits until every name of a target was asked for once: after a start, and after a reload
    /// that brings new ones.
    pub async fn settle(&self) {
        self.health.settle().await;
    }

    /// The target of the next attempt; `None` when no target takes requests.
    pub fn next(self: &Rc<Self>, turn: &mut Turn, ex: &Exchange) -> Option<Rc<Peer>> {
        // The attempt before is over, for those who count.
        turn.lease = None;
        let chosen = self.choose(turn, ex)?;
        turn.chosen = Some((self.clone(), chosen.clone()));
        turn.tried.push(chosen.clone());
        let algorithm = self.upstream.algorithm;
        if algorithm == Algorithm::LeastConnections {
            least_connections::begin(&chosen);
        }
        if matches!(algorithm, Algorithm::LeastConnections | Algorithm::Latency) {
            turn.lease = Some(Lease { algorithm, peer: chosen.clone(), began: Instant::now() });
        }
        Some(chosen)
    }

    fn choose(&self, turn: &mut Turn, ex: &Exchange) -> Option<Rc<Peer>> {
        let peers = self.peers.get(&self.health);
        let mut candidates = peers.available(self.upstream.healthchecks.threshold);
        if candidates.is_empty() {
            return None;
        }
        if let Some(wheel) = &peers.wheel {
            let key = turn.key.get_or_insert_with(|| {
                let key = key::of(&self.upstream, ex);
                turn.cookie = key.cookie;
                key.text
            });
            // A retry goes to the same target unless its health has changed, as in Kong.
            let may = |n: usize| {
                peers.all.get(n).is_some_and(|p| p.is_healthy() && !has(&turn.unresolved, p))
            };
            return peers.all.get(wheel.find(key, may)?).cloned();
        }
        candidates.retain(|peer| !has(&turn.unresolved, peer));
        let mut fresh: Candidates<'_> = candidates.clone();
        fresh.retain(|peer| !has(&turn.tried, peer));
        let fresh = if fresh.is_empty() { candidates } else { fresh };
        let chosen = match self.upstream.algorithm {
            Algorithm::RoundRobin | Algorithm::ConsistentHashing => round_robin::next(&fresh),
            Algorithm::LeastConnections => self.loads.next(&fresh),
            Algorithm::Latency => latency::next(&fresh),
        };
        chosen.cloned()
    }
}

fn has(some: &[Rc<Peer>], peer: &Rc<Peer>) -> bool {
    some.iter().any(|one| Arc::ptr_eq(&one.known.state, &peer.known.state))
}

impl Turn {
    /// Says how the attempt went, for passive health checks.
    pub fn report(&self, report: Report) {
        if let Some((ring, peer)) = &self.chosen {
            ring.health.passive(&peer.target, &peer.known, report);
        }
    }

    /// Says whether the name of the target has an address. One without does not come again.
    pub fn resolved(&mut self, is_resolved: bool) {
        if let Some((_, peer)) = self.chosen.as_ref().filter(|_| !is_resolved) {
            self.unresolved.push(peer.clone());
        }
    }

    /// What is to be kept until the exchange ends.
    pub fn lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.algorithm {
            Algorithm::LeastConnections => least_connections::end(&self.peer),
            Algorithm::Latency => latency::observe(&self.peer, self.began.elapsed().as_secs_f64()),
            Algorithm::RoundRobin | Algorithm::ConsistentHashing => {}
        }
    }
}
