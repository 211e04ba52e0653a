//! The addresses of an Upstream as one worker sees them, and what it has counted for each.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use super::hashing::{Share, Wheel};
use super::health::{Address, Health, Place};
use super::latency::Average;
use crate::entity::{Algorithm, Upstream};

/// One address with a share of the requests.
#[derive(Debug)]
pub struct Peer {
    /// Host name or address.
    pub host: Rc<str>,
    /// Its port.
    pub port: u16,
    /// Where it is; a name that an SRV record leads to is to be resolved first.
    pub address: Option<SocketAddr>,
    /// What it is called: what the Upstream's `host_header` says, else the target's name.
    pub name: Rc<str>,
    /// The same as it stands in `Host`, alone and with the port.
    host_headers: [Option<HeaderValue>; 2],
    pub(super) weight: u32,
    pub(super) target: Arc<str>,
    pub(super) known: Arc<Address>,
    pub(super) tally: Rc<Tally>,
}

/// What the algorithms remember of an address. It outlives changes of its weight and its name.
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
        let (places, upstream) = (health.places(), &health.upstream);
        let mut all: Vec<Rc<Peer>> = Vec::new();
        for place in places.iter() {
            let of_place = place.addresses.iter().filter(|address| address.weight > 0);
            all.extend(of_place.map(|address| {
                let kept = old.iter().find(|peer| Arc::ptr_eq(&peer.known.state, &address.state));
                let name = name_of(address, upstream);
                match kept {
                    Some(kept) if Arc::ptr_eq(&kept.known, address) && *kept.name == *name => {
                        kept.clone()
                    }
                    _ => Rc::new(Peer::new(place, address, name, kept.map(Rc::as_ref))),
                }
            }));
        }
        let total = all.iter().map(|peer| u64::from(peer.weight)).sum();
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
    /// A peer that goes on with what was counted for `old`.
    fn new(place: &Place, address: &Arc<Address>, name: &str, old: Option<&Self>) -> Self {
        let with_port = HeaderValue::from_str(&format!("{name}:{}", address.port));
        Self {
            host: (*address.host).into(),
            port: address.port,
            address: address.ip.map(|ip| SocketAddr::new(ip, address.port)),
            name: name.into(),
            host_headers: [HeaderValue::from_str(name).ok(), with_port.ok()],
            weight: address.weight,
            target: place.target.clone(),
            known: address.clone(),
            tally: old.map(|old| old.tally.clone()).unwrap_or_default(),
        }
    }

    /// `Host` for a scheme with this port of its own.
    pub fn host_header(&self, default_port: u16) -> Option<HeaderValue> {
        self.host_headers[usize::from(self.port != default_port)].clone()
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.known.state.is_healthy()
    }
}

/// What an address is called in `Host`.
fn name_of<'a>(address: &'a Address, upstream: &'a Upstream) -> &'a str {
    let given = upstream.host_header.as_deref();
    given.filter(|name| HeaderValue::from_str(name).is_ok()).unwrap_or(&address.name)
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
