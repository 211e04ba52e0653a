//! Upstream → Target: Kong's four algorithms, over the targets that are healthy.
//!
//! A ring outlives a reload that leaves its Upstream alone, so that a configuration change
//! elsewhere does not start every rotation anew. Rings belong to a worker; health is shared.

mod hashing;
pub mod health;
mod key;
mod latency;
mod least_connections;
mod round_robin;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::hashing::Wheel;
use self::health::{Health, Healths, Report};
use self::latency::Latency;
use self::least_connections::LeastConnections;
use self::round_robin::RoundRobin;
use crate::entity::{Algorithm, Target, Upstream};
use crate::pdk::Exchange;
use crate::snapshot::Snapshot;

/// The port of a target that names none (Kong).
const DEFAULT_PORT: u16 = 8000;

/// The Upstreams of one worker, by name.
#[derive(Default)]
pub struct Balancer {
    rings: HashMap<Rc<str>, Rc<Ring>>,
}

/// The targets of one Upstream and whose turn it is.
pub struct Ring {
    /// The upstream's `host_header`.
    pub host_header: Option<HeaderValue>,
    upstream: Arc<Upstream>,
    peers: Vec<Peer>,
    health: Arc<Health>,
    choice: Choice,
}

/// One target with a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Host name or address.
    pub host: Rc<str>,
    /// Its port.
    pub port: u16,
    weight: u32,
}

/// The algorithm and what it remembers.
enum Choice {
    RoundRobin(RoundRobin),
    Hashing(Wheel),
    LeastConnections(LeastConnections),
    Latency(Latency),
}

/// What one exchange has tried so far.
#[derive(Default)]
pub struct Turn {
    /// For the client, so that it comes back with the key of its target.
    pub cookie: Option<HeaderValue>,
    key: Option<String>,
    chosen: Option<(Rc<Ring>, usize)>,
    tried: SmallVec<[usize; 4]>,
    unresolved: SmallVec<[usize; 4]>,
    lease: Option<Lease>,
}

/// A request under way: the algorithms count it until this is dropped.
pub struct Lease {
    ring: Rc<Ring>,
    peer: usize,
    began: Instant,
}

impl Balancer {
    /// The rings for a Snapshot, keeping those of `old` that are the same.
    pub fn new(snapshot: &Snapshot, healths: &Healths, old: &Self) -> Self {
        let ring = |upstream: &Arc<Upstream>| {
            let targets = snapshot.targets.get(&upstream.id).map_or(&[][..], Vec::as_slice);
            let ring = Ring::new(upstream, targets, healths);
            let kept = old.rings.get(upstream.name.as_str()).filter(|kept| kept.is_like(&ring));
            (Rc::from(upstream.name.as_str()), kept.cloned().unwrap_or_else(|| Rc::new(ring)))
        };
        let rings = snapshot.upstreams.values().map(ring).collect();
        healths.keep(|id| snapshot.upstreams.values().any(|upstream| upstream.id == *id));
        Self { rings }
    }

    /// The ring of an Upstream.
    pub fn ring(&self, name: &str) -> Option<&Rc<Ring>> {
        self.rings.get(name)
    }
}

impl Ring {
    fn new(upstream: &Arc<Upstream>, targets: &[Arc<Target>], healths: &Healths) -> Self {
        let peers: Vec<Peer> = targets.iter().filter(|t| t.weight > 0).map(|t| peer(t)).collect();
        let names: Vec<String> = peers.iter().map(Peer::name).collect();
        let host_header = upstream.host_header.as_deref();
        let choice = match upstream.algorithm {
            Algorithm::RoundRobin => Choice::RoundRobin(RoundRobin::new(peers.len())),
            Algorithm::ConsistentHashing => {
                let shares: Vec<_> =
                    names.iter().cloned().zip(peers.iter().map(|peer| peer.weight)).collect();
                Choice::Hashing(Wheel::new(upstream.slots, &shares))
            }
            Algorithm::LeastConnections => {
                Choice::LeastConnections(LeastConnections::new(peers.len()))
            }
            Algorithm::Latency => Choice::Latency(Latency::new(peers.len())),
        };
        Self {
            host_header: host_header.and_then(|h| HeaderValue::from_str(h).ok()),
            health: healths.of(upstream, &names),
            upstream: upstream.clone(),
            choice,
            peers,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.peers == other.peers
            && self.upstream.json == other.upstream.json
            && Arc::ptr_eq(&self.health, &other.health)
    }

    /// The target of the next attempt; `None` when no target takes requests.
    pub fn next(self: &Rc<Self>, turn: &mut Turn, ex: &Exchange) -> Option<Peer> {
        // The attempt before is over, for those who count.
        turn.lease = None;
        let chosen = self.choose(turn, ex)?;
        turn.chosen = Some((self.clone(), chosen));
        turn.tried.push(chosen);
        if let Choice::LeastConnections(loads) = &self.choice {
            loads.begin(chosen);
        }
        if matches!(self.choice, Choice::LeastConnections(_) | Choice::Latency(_)) {
            turn.lease = Some(Lease { ring: self.clone(), peer: chosen, began: Instant::now() });
        }
        self.peers.get(chosen).cloned()
    }

    fn choose(&self, turn: &mut Turn, ex: &Exchange) -> Option<usize> {
        let may = |peer: usize| self.health.is_available(peer);
        if let Choice::Hashing(wheel) = &self.choice {
            let key = turn.key.get_or_insert_with(|| {
                let key = key::of(&self.upstream, ex);
                turn.cookie = key.cookie;
                key.text
            });
            // The threshold is no matter of consistent hashing, and a retry goes to the same
            // target unless its health has changed: both as in Kong.
            return wheel.find(key, |peer| may(peer) && !turn.unresolved.contains(&peer));
        }
        let weights = self.peers.iter().map(|peer| peer.weight).enumerate();
        let mut candidates: SmallVec<[(usize, u32); 8]> =
            weights.filter(|(peer, _)| may(*peer)).collect();
        if !self.has_enough(&candidates) {
            return None;
        }
        candidates.retain(|(peer, _)| !turn.unresolved.contains(peer));
        let untried = |(peer, _): &&(usize, u32)| !turn.tried.contains(peer);
        let fresh: SmallVec<[(usize, u32); 8]> =
            candidates.iter().filter(untried).copied().collect();
        let fresh = if fresh.is_empty() { &candidates } else { &fresh };
        match &self.choice {
            Choice::RoundRobin(turns) => turns.next(fresh),
            Choice::LeastConnections(loads) => loads.next(fresh),
            Choice::Latency(latency) => latency.next(fresh),
            Choice::Hashing(_) => None,
        }
    }

    /// Whether the available weight reaches the threshold, in percent (Kong).
    fn has_enough(&self, available: &[(usize, u32)]) -> bool {
        let threshold = self.upstream.healthchecks.threshold;
        let sum = |weights: &mut dyn Iterator<Item = u32>| weights.map(f64::from).sum::<f64>();
        threshold <= 0.0
            || sum(&mut available.iter().map(|(_, weight)| *weight)) * 100.0
                >= sum(&mut self.peers.iter().map(|peer| peer.weight)) * threshold
    }
}

impl Turn {
    /// Says how the attempt went, for passive health checks.
    pub fn report(&self, report: Report) {
        if let Some((ring, peer)) = &self.chosen {
            ring.health.passive(*peer, report);
        }
    }

    /// Says whether the name of the target has an address. One without does not come again.
    pub fn resolved(&mut self, is_resolved: bool) {
        let Some((ring, peer)) = &self.chosen else { return };
        ring.health.resolved(*peer, is_resolved);
        if !is_resolved {
            self.unresolved.push(*peer);
        }
    }

    /// What is to be kept until the exchange ends.
    pub fn lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.ring.choice {
            Choice::LeastConnections(loads) => loads.end(self.peer),
            Choice::Latency(latency) => {
                latency.observe(self.peer, self.began.elapsed().as_secs_f64());
            }
            Choice::RoundRobin(_) | Choice::Hashing(_) => {}
        }
    }
}

impl Peer {
    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn peer(target: &Target) -> Peer {
    let text = target.target.as_str();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(DEFAULT_PORT)),
        _ => (text, DEFAULT_PORT),
    };
    Peer { host: host.into(), port, weight: target.weight }
}
