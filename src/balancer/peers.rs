//! The addresses of an Upstream as one worker sees them, and what it has counted for each.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use super::hashing::{Share, Wheel};
use super::health::{Address, Health, Place};
use super::latency::Average;
use crate::entity::Algorithm;

/// One address with a share of the requests.
#[derive(Debug)]
pub struct Peer {
    /// Host name or address.
    pub host: Rc<str>,
    /// Its port.
    pub port: u16,
    /// Where it is; a name that an SRV record leads to is to be resolved first.
    pub address: Option<SocketAddr>,
    /// What it is called in `Host`.
    pub name: Rc<str>,
    pub(super) weight: u32,
    pub(super) target: Arc<str>,
    pub(super) known: Arc<Address>,
    pub(super) tally: Tally,
}

/// What the algorithms remember of a peer. It outlives changes of the others.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Round-robin: what it has saved up since its last turn.
    pub(super) saved: Cell<i64>,
    /// Least-connections: requests under way, and when it was chosen last.
    pub(super) open: Cell<u32>,
    pub(super) chosen: Cell<u64>,
    /// Latency: its average.
    pub(super) average: Cell<Option<Average>>,
}

/// Those that may be chosen.
pub(super) type Candidates<'a> = SmallVec<[&'a Rc<Peer>; 8]>;

/// All peers of one version of the addresses.
pub(super) struct Peers {
    pub(super) version: u64,
    pub(super) all: Vec<Rc<Peer>>,
    pub(super) total: u64,
    pub(super) wheel: Option<Wheel>,
}

impl Peers {
    /// Those that the health knows by now; what `old` has counted for them stays counted.
    pub(super) fn new(health: &Health, old: &[Rc<Peer>]) -> Self {
        let version = health.version();
        let places = health.places();
        let mut all: Vec<Rc<Peer>> = Vec::new();
        for place in places.iter() {
            let of_place = place.addresses.iter().filter(|address| address.weight > 0);
            all.extend(of_place.map(|address| {
                let kept = old.iter().find(|peer| Arc::ptr_eq(&peer.known, address));
                kept.cloned().unwrap_or_else(|| Rc::new(Peer::new(place, address)))
            }));
        }
        let total = all.iter().map(|peer| u64::from(peer.weight)).sum();
        let upstream = &health.upstream;
        let wheel = (upstream.algorithm == Algorithm::ConsistentHashing).then(|| {
            let shares = all.iter().map(|peer| Share {
                target: (&peer.target, peer.port),
                address: peer.known.text(),
                weight: peer.weight,
            });
            Wheel::new(upstream.slots, places.len(), &shares.collect::<Vec<_>>())
        });
        Self { version, all, total, wheel }
    }

    /// Those that are healthy, unless they have too little of the weight (Kong's threshold: more
    /// than this percentage must be there).
    pub(super) fn available(&self, threshold: f64) -> Candidates<'_> {
        let mut available: Candidates<'_> =
            self.all.iter().filter(|peer| peer.is_healthy()).collect();
        let weight: u64 = available.iter().map(|peer| u64::from(peer.weight)).sum();
        #[allow(clippy::cast_precision_loss)] // weights have 16 bits
        let percent = weight as f64 * 100.0 / self.total.max(1) as f64;
        if percent <= threshold {
            available.clear();
        }
        available
    }
}

impl Peer {
    fn new(place: &Place, address: &Arc<Address>) -> Self {
        Self {
            host: (*address.host).into(),
            port: address.port,
            address: address.ip.map(|ip| SocketAddr::new(ip, address.port)),
            name: (*address.name).into(),
            weight: address.weight,
            target: place.target.clone(),
            known: address.clone(),
            tally: Tally::default(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.known.state.is_healthy()
    }
}

/// The peers in force of a worker.
pub(super) struct Current(RefCell<Rc<Peers>>);

impl Current {
    pub(super) fn new(peers: Peers) -> Self {
        Self(RefCell::new(Rc::new(peers)))
    }

    /// The peers, renewed if there are others by now.
    pub(super) fn get(&self, health: &Health) -> Rc<Peers> {
        let peers = self.0.borrow().clone();
        if peers.version == health.version() {
            return peers;
        }
        let peers = Rc::new(Peers::new(health, &peers.all));
        *self.0.borrow_mut() = peers.clone();
        peers
    }
}
