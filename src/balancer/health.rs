//! The targets of an Upstream, the addresses that their names have, and the health of each.
//!
//! Health belongs to an address, as in Kong. The control thread puts addresses in (`keeper`);
//! workers notice by a number that there are others, and read a health without a lock.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::state::{Report, State};
use crate::entity::{Target, Upstream};

/// The port of a target that names none (Kong).
const DEFAULT_PORT: u16 = 8000;
/// How long a request waits for names that were never asked for, where it has nowhere to go.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same where other targets have addresses.
const HASTE: Duration = Duration::from_millis(500);

/// The targets of one Upstream in one version of its configuration.
pub struct Health {
    /// The Upstream as it is configured.
    pub upstream: Arc<Upstream>,
    places: Mutex<Arc<[Place]>>,
    version: AtomicU64,
    /// Targets whose names were never asked for.
    pending: AtomicUsize,
    settled: Notify,
    /// Errands are done for it; a worker may be a configuration behind for a moment.
    in_force: AtomicBool,
}

/// One target, and the addresses it has by now.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// `host:port`
    pub target: Arc<str>,
    /// Host name or address.
    pub host: Arc<str>,
    /// The port of addresses that bring none.
    pub port: u16,
    /// Its share; 0 takes no requests.
    pub weight: u32,
    /// Where it is; empty while its name has no address.
    pub addresses: Vec<Arc<Address>>,
    /// What DNS has said of it.
    found: Vec<Found>,
    is_asked: bool,
}

/// One address of a target.
#[derive(Debug)]
pub struct Address {
    /// An IP address; a name where an SRV record leads to one.
    pub host: Arc<str>,
    /// The same, if it is one.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Its share.
    pub weight: u32,
    /// What it is called in `Host`.
    pub name: Arc<str>,
    pub(super) state: Arc<State>,
}

/// What DNS says of a target: a host with a port and a weight of its own, if it has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) weight: Option<u32>,
}

impl Health {
    /// The health of these targets. What `old` knows of them stays known.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        targets: &[Arc<Target>],
        old: &[Arc<Self>],
    ) -> Self {
        let same_rules = |old: &&Arc<Self>| old.upstream.healthchecks == upstream.healthchecks;
        let known: Vec<_> = old.iter().filter(same_rules).map(|old| old.places()).collect();
        let place = |target: &Arc<Target>| {
            let mut place = Place::new(target);
            let same = |old: &&Place| old.target == place.target;
            let before = known.iter().rev().find_map(|places| places.iter().find(same)).cloned();
            match (before, place.host.parse::<IpAddr>()) {
                (Some(before), _) => place = before.weighing(place.weight, upstream),
                (None, Ok(_)) => {
                    let itself = [Found { host: place.host.clone(), port: 0, weight: None }];
                    place.put(&itself, upstream);
                }
                (None, Err(_)) => {}
            }
            // Names in `Host` may be others now.
            place.rename(upstream);
            place
        };
        let places: Vec<Place> = targets.iter().map(place).collect();
        let pending = places.iter().filter(|place| !place.is_asked).count();
        Self {
            upstream: upstream.clone(),
            places: Mutex::new(places.into()),
            version: AtomicU64::new(1),
            pending: AtomicUsize::new(pending),
            settled: Notify::new(),
            in_force: AtomicBool::new(false),
        }
    }

    /// Whether it is that of this configuration.
    pub(super) fn is_of(&self, upstream: &Upstream, targets: &[Arc<Target>]) -> bool {
        let places = self.places();
        let same = |(place, target): (&Place, &Arc<Target>)| {
            *place.target == *Place::new(target).target && place.weight == target.weight
        };
        self.upstream.json == upstream.json
            && places.len() == targets.len()
            && places.iter().zip(targets).all(same)
    }

    /// The targets with their addresses.
    pub fn places(&self) -> Arc<[Place]> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<[Place]>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with the addresses.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes over what DNS says of a target; nothing is that it has no address.
    pub(super) fn put(&self, n: usize, found: &[Found]) {
        let mut places = self.lock();
        let mut changed = places.to_vec();
        let Some(place) = changed.get_mut(n) else { return };
        let was_asked = place.is_asked;
        place.put(found, &self.upstream);
        let (upstream, target) = (&self.upstream.name, &place.target);
        if place.addresses.is_empty() && !(was_asked && places[n].addresses.is_empty()) {
            tracing::warn!(upstream, %target, "the target has no address now");
        }
        if *place != places[n] {
            *places = changed.into();
            self.version.fetch_add(1, Ordering::Release);
        }
        drop(places);
        if !was_asked && self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }

    /// Waits until the name of each target was asked for once. Later this costs one look.
    pub(super) async fn settle(&self) {
        if self.pending.load(Ordering::Acquire) == 0 {
            return;
        }
        let all = async {
            loop {
                let settled = self.settled.notified();
                if self.pending.load(Ordering::Acquire) == 0 {
                    return;
                }
                settled.await;
            }
        };
        let has_some = self.places().iter().any(|place| !place.addresses.is_empty());
        let _ = tokio::time::timeout(if has_some { HASTE } else { PATIENCE }, all).await;
    }

    /// What a request has shown of an address.
    pub(super) fn passive(&self, target: &str, address: &Address, report: Report) {
        let rules = &self.upstream.healthchecks.passive;
        let change = address.state.learn(report, &rules.healthy, &rules.unhealthy);
        if let Some(change) = change {
            self.tell(target, address, change.is_healthy, "passive", change.counter, change.count);
        }
    }

    /// What a probe has shown of an address.
    pub(super) fn active(&self, target: &str, address: &Address, report: Report) {
        let rules = &self.upstream.healthchecks.active;
        let change = address.state.learn(report, &rules.healthy, &rules.unhealthy);
        if let Some(change) = change {
            self.tell(target, address, change.is_healthy, "active", change.counter, change.count);
        }
    }

    /// Sets the health of a target, or of one of its addresses, whatever the checks say of it
    /// (Kong's Admin API has this). False when there is no such target or nothing checks it.
    pub fn force(&self, target: &str, ip: Option<IpAddr>, is_healthy: bool) -> bool {
        let places = self.places();
        let of_target = places.iter().filter(|place| *place.target == *target);
        let addresses = of_target.flat_map(|place| &place.addresses);
        let mut addresses = addresses.filter(|one| ip.is_none() || one.ip == ip).peekable();
        let is_known = addresses.peek().is_some() && self.upstream.healthchecks.is_on();
        for address in addresses.filter(|_| is_known) {
            if address.state.force(is_healthy) {
                self.tell(target, address, is_healthy, "forced", "", 0);
            }
        }
        is_known
    }

    fn tell(
        &self,
        target: &str,
        address: &Address,
        is_healthy: bool,
        check: &str,
        counter: &str,
        count: u32,
    ) {
        let (upstream, address) = (&self.upstream.name, address.text());
        let state = if is_healthy { "HEALTHY" } else { "UNHEALTHY" };
        let why = if counter.is_empty() { String::new() } else { format!(" ({counter}: {count})") };
        tracing::warn!(upstream, target, address, check, "the target is {state} now{why}");
    }

    /// Kong's word for the state of a target: it is healthy while one of its addresses is.
    pub fn state(&self, place: &Place) -> &'static str {
        let states = || place.addresses.iter().map(|address| self.address_state(place, address));
        match states().next() {
            None => "DNS_ERROR",
            Some(first) => states().find(|state| *state == "HEALTHY").unwrap_or(first),
        }
    }

    /// Kong's word for the state of an address.
    pub fn address_state(&self, place: &Place, address: &Address) -> &'static str {
        if !self.upstream.healthchecks.is_on() || place.weight == 0 {
            "HEALTHCHECKS_OFF"
        } else if address.state.is_healthy() {
            "HEALTHY"
        } else {
            "UNHEALTHY"
        }
    }
}

impl Place {
    fn new(target: &Target) -> Self {
        let text = target.target.as_str();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().unwrap_or(DEFAULT_PORT))
            }
            _ => (text, DEFAULT_PORT),
        };
        let target_name = format!("{host}:{port}").into();
        let host = host.trim_start_matches('[').trim_end_matches(']').into();
        let (weight, addresses) = (target.weight, Vec::new());
        let (found, is_asked) = (Vec::new(), false);
        Self { target: target_name, host, port, weight, addresses, found, is_asked }
    }

    /// The same with another weight: neither its addresses nor their health depend on it.
    fn weighing(mut self, weight: u32, upstream: &Upstream) -> Self {
        if self.weight != weight && self.is_asked {
            let found = std::mem::take(&mut self.found);
            self.weight = weight;
            self.put(&found, upstream);
        }
        self.weight = weight;
        self
    }

    /// Takes over what DNS says. Addresses that stay keep their health.
    fn put(&mut self, found: &[Found], upstream: &Upstream) {
        let old = std::mem::take(&mut self.addresses);
        for one in found {
            let port = if one.port == 0 { self.port } else { one.port };
            let same = |known: &&Arc<Address>| known.host == one.host && known.port == port;
            if self.addresses.iter().any(|known| same(&known)) {
                continue;
            }
            let known = old.iter().find(same);
            // Of a target that is drained the services take nothing either.
            let weight = if self.weight == 0 { 0 } else { one.weight.unwrap_or(self.weight) };
            let address = match known.filter(|known| known.weight == weight) {
                Some(known) => known.clone(),
                None => Arc::new(Address {
                    host: one.host.clone(),
                    ip: one.host.parse().ok(),
                    port,
                    weight,
                    name: self.name_of(&one.host, upstream),
                    state: known.map(|known| known.state.clone()).unwrap_or_default(),
                }),
            };
            self.addresses.push(address);
        }
        self.found = found.to_vec();
        self.is_asked = true;
    }

    /// What an address is called: the target's name, unless the Upstream wants that of the service
    /// that an SRV record leads to (Kong's `use_srv_name`).
    fn name_of(&self, host: &Arc<str>, upstream: &Upstream) -> Arc<str> {
        let is_ip = host.parse::<IpAddr>().is_ok();
        let name = if upstream.use_srv_name && !is_ip { host } else { &self.host };
        if name.contains(':') { format!("[{name}]").into() } else { name.clone() }
    }

    fn rename(&mut self, upstream: &Upstream) {
        for n in 0..self.addresses.len() {
            let old = &self.addresses[n];
            let name = self.name_of(&old.host, upstream);
            if name != old.name {
                let (host, state) = (old.host.clone(), old.state.clone());
                let (ip, port, weight) = (old.ip, old.port, old.weight);
                self.addresses[n] = Arc::new(Address { host, ip, port, weight, name, state });
            }
        }
    }
}

impl Address {
    /// `ip:port`, as Kong's metric has it.
    pub fn text(&self) -> String {
        match self.ip {
            Some(IpAddr::V6(six)) => format!("[{six}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl PartialEq for Address {
    /// Places are alike while they have the very same addresses.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The health of every Upstream. It outlives reloads that leave the Upstream alone.
///
/// Workers and the control thread (`keeper`) hold what they use. Each takes a configuration over in
/// its own time, so what one of them has made is here for the others as long as it is used.
#[derive(Default)]
pub struct Healths {
    known: Mutex<Vec<Weak<Health>>>,
}

impl Healths {
    /// The health of an Upstream with these targets; the same one for every worker.
    pub(super) fn of(&self, upstream: &Arc<Upstream>, targets: &[Arc<Target>]) -> Arc<Health> {
        let mut known = self.lock();
        let alive = known.iter().filter_map(Weak::upgrade);
        let mut of_upstream: Vec<_> =
            alive.filter(|health| health.upstream.id == upstream.id).collect();
        // The last one counts most: only those in force are kept up to date.
        of_upstream.sort_by_key(|health| health.in_force.load(Ordering::Relaxed));
        if let Some(same) = of_upstream.iter().find(|health| health.is_of(upstream, targets)) {
            return same.clone();
        }
        let health = Arc::new(Health::new(upstream, targets, &of_upstream));
        known.push(Arc::downgrade(&health));
        health
    }

    /// Says which are in force, and forgets those that nobody uses any more.
    pub(super) fn keep(&self, in_force: &[Arc<Health>]) {
        self.lock().retain(|known| {
            let Some(known) = known.upgrade() else { return false };
            let is_in_force = in_force.iter().any(|one| Arc::ptr_eq(one, &known));
            known.in_force.store(is_in_force, Ordering::Relaxed);
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Health>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are in force, by name.
    pub fn list(&self) -> Vec<Arc<Health>> {
        let mut all: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        all.retain(|health| health.in_force.load(Ordering::Relaxed));
        all.sort_by(|a, b| a.upstream.name.cmp(&b.upstream.name));
        all
    }

    /// That of one Upstream.
    pub fn find(&self, upstream: Uuid) -> Option<Arc<Health>> {
        self.list().into_iter().find(|health| health.upstream.id == upstream)
    }
}
