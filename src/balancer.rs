//! Upstream → Target. For now round-robin with weights.
//!
//! A ring outlives a reload that leaves its targets alone, so that a configuration change
//! elsewhere does not start every rotation anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use crate::entity::{Target, Upstream};
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
    peers: Vec<Peer>,
    /// Smooth weighted round-robin: what each peer has saved up.
    saved: RefCell<Vec<i64>>,
}

/// One target with a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Host name or address.
    pub host: Rc<str>,
    /// Its port.
    pub port: u16,
    weight: i64,
}

impl Balancer {
    /// The rings for a Snapshot, keeping those of `old` whose targets are the same.
    pub fn new(snapshot: &Snapshot, old: &Self) -> Self {
        let ring = |upstream: &Arc<Upstream>| {
            let targets = snapshot.targets.get(&upstream.id).map_or(&[][..], Vec::as_slice);
            let ring = Ring::new(upstream, targets);
            let kept = old.rings.get(upstream.name.as_str()).filter(|kept| kept.is_like(&ring));
            (Rc::from(upstream.name.as_str()), kept.cloned().unwrap_or_else(|| Rc::new(ring)))
        };
        Self { rings: snapshot.upstreams.values().map(ring).collect() }
    }

    /// The ring of an Upstream.
    pub fn ring(&self, name: &str) -> Option<&Rc<Ring>> {
        self.rings.get(name)
    }
}

impl Ring {
    fn new(upstream: &Upstream, targets: &[Arc<Target>]) -> Self {
        let peers: Vec<Peer> = targets.iter().filter(|t| t.weight > 0).map(|t| peer(t)).collect();
        let host_header = upstream.host_header.as_deref();
        Self {
            host_header: host_header.and_then(|h| HeaderValue::from_str(h).ok()),
            saved: RefCell::new(vec![0; peers.len()]),
            peers,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.peers == other.peers && self.host_header == other.host_header
    }

    /// The next target; `None` when no target takes requests.
    pub fn next(&self) -> Option<Peer> {
        let mut saved = self.saved.borrow_mut();
        let total: i64 = self.peers.iter().map(|peer| peer.weight).sum();
        for (saved, peer) in saved.iter_mut().zip(&self.peers) {
            *saved += peer.weight;
        }
        let richest = (0..self.peers.len()).max_by_key(|&i| saved[i])?;
        saved[richest] -= total;
        self.peers.get(richest).cloned()
    }
}

fn peer(target: &Target) -> Peer {
    let text = target.target.as_str();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(DEFAULT_PORT)),
        _ => (text, DEFAULT_PORT),
    };
    Peer { host: host.into(), port, weight: i64::from(target.weight) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(weights: &[(&str, i64)]) -> Ring {
        let peers: Vec<Peer> = weights
            .iter()
            .map(|(host, weight)| Peer { host: (*host).into(), port: 80, weight: *weight })
            .collect();
        Ring { host_header: None, saved: RefCell::new(vec![0; peers.len()]), peers }
    }

    #[test]
    fn weights_are_kept_and_turns_are_spread() {
        let ring = ring(&[("a", 3), ("b", 1)]);
        let turns: String = (0..8).map(|_| ring.next().unwrap().host.to_string()).collect();
        assert_eq!(turns.matches('a').count(), 6);
        assert!(!turns.contains("bb"), "{turns}");
    }

    #[test]
    fn no_target_is_no_peer() {
        assert_eq!(ring(&[]).next(), None);
    }
}
