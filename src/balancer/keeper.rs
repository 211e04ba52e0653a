//! What the control thread does for Upstreams: it follows the names of targets and sends probes.
//!
//! Once for the process, and only for the configuration in force: when an Upstream goes or changes
//! its errands stop at once, those under way included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::health::{Address, Found, Health};
use super::probe::Probe;
use crate::dns::{Dns, Names, Records, Unresolved};
use crate::entity::CheckKind;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tls::probe_config;

/// Names are asked for again a little after their time is over (Kong).
const AFTERWARDS: Duration = Duration::from_millis(500);

/// The errands of one Upstream; dropped they stop.
struct Errands {
    health: Arc<Health>,
    tls: Option<Arc<ClientConfig>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Errands {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Follows the configurations until their sender is gone.
pub async fn keep(shared: Arc<Shared>, mut news: watch::Receiver<Arc<Snapshot>>) {
    let mut errands: Vec<Errands> = Vec::new();
    loop {
        let snapshot = news.borrow_and_update().clone();
        errands = adopt(&shared, &snapshot, errands);
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// Starts what is new, goes on with what is the same, and stops the rest.
fn adopt(shared: &Arc<Shared>, snapshot: &Snapshot, mut old: Vec<Errands>) -> Vec<Errands> {
    let mut new = Vec::new();
    for upstream in snapshot.upstreams.values() {
        let targets = snapshot.targets.get(&upstream.id).map_or(&[][..], Vec::as_slice);
        let health = shared.healths.of(upstream, targets);
        let active = &upstream.healthchecks.active;
        let is_https = active.is_on() && active.kind == CheckKind::Https;
        let tls = is_https.then(|| probe_config(&shared.tls, snapshot, upstream));
        let tls = tls.transpose().unwrap_or_else(|error| {
            tracing::error!(upstream = upstream.name, "health checks cannot use TLS: {error}");
            None
        });
        let is_same = |errands: &Errands| {
            let same_tls = match (&errands.tls, &tls) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (old, new) => old.is_none() && new.is_none(),
            };
            Arc::ptr_eq(&errands.health, &health) && same_tls
        };
        match old.iter().position(is_same) {
            Some(at) => new.push(old.swap_remove(at)),
            None => new.push(start(shared, health, tls)),
        }
    }
    let in_force: Vec<_> = new.iter().map(|errands| errands.health.clone()).collect();
    shared.healths.keep(&in_force);
    new
}

fn start(shared: &Arc<Shared>, health: Arc<Health>, tls: Option<Arc<ClientConfig>>) -> Errands {
    let mut tasks = Vec::new();
    for (n, place) in health.places().iter().enumerate() {
        if place.host.parse::<std::net::IpAddr>().is_err() {
            let follow = follow(shared.dns.clone(), health.clone(), n, place.host.clone());
            tasks.push(tokio::task::spawn_local(follow).abort_handle());
        }
    }
    let active = &health.upstream.healthchecks.active;
    let host_header = health.upstream.host_header.as_deref();
    let probe = Arc::new(Probe::new(active, host_header, tls.clone()));
    let intervals = [(true, active.healthy.interval), (false, active.unhealthy.interval)];
    for (healthy, interval) in intervals {
        let Some(secs) = interval.filter(|secs| *secs > 0.0) else { continue };
        let interval = Duration::from_secs_f64(secs.clamp(0.001, 1e6));
        let names = Names::new(shared.dns.clone());
        let watch = watch(health.clone(), probe.clone(), names, healthy, interval);
        tasks.push(tokio::task::spawn_local(watch).abort_handle());
    }
    Errands { health, tls, tasks }
}

/// Asks for the name of a target, again and again. A failure is told when it begins.
pub(super) async fn follow(dns: Arc<Dns>, health: Arc<Health>, n: usize, name: Arc<str>) {
    let mut is_failing = false;
    loop {
        let (records, until) = dns.records(&name).await;
        if let Some(error) = records.as_ref().err().filter(|_| !is_failing) {
            tracing::warn!(fault = "upstream", "{error}");
        }
        is_failing = records.is_err();
        health.put(n, &found(records));
        sleep_until(until.max(Instant::now()) + AFTERWARDS).await;
    }
}

fn found(records: Result<Records, Unresolved>) -> Vec<Found> {
    match records {
        Ok(Records::Addresses(addresses)) => addresses
            .iter()
            .map(|ip| Found { host: ip.to_string().into(), port: 0, weight: None })
            .collect(),
        Ok(Records::Services(services)) => services
            .iter()
            .map(|one| Found { host: one.target.clone(), port: one.port, weight: one.weight })
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// Probes the addresses that are healthy, or those that are not, at each interval: the first time
/// after one has passed (Kong). Upstreams do not all begin at once.
async fn watch(
    health: Arc<Health>,
    probe: Arc<Probe>,
    names: Names,
    healthy: bool,
    interval: Duration,
) {
    let jitter = interval.mul_f64(fastrand::f64() * 0.1);
    let mut ticks = interval_at(Instant::now() + interval + jitter, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let at_once = health.upstream.healthchecks.active.concurrency.max(1) as usize;
    loop {
        ticks.tick().await;
        let places = health.places();
        let targets = places.iter().filter(|place| place.weight > 0);
        let addresses = targets.flat_map(|place| {
            place.addresses.iter().map(|address| (place.target.clone(), address.clone()))
        });
        let due = addresses.filter(|(_, address)| address.state.is_healthy() == healthy);
        let due: Vec<_> = due.collect();
        let check = |(target, address): (Arc<str>, Arc<Address>)| {
            let (health, probe, names) = (&health, &probe, &names);
            async move {
                let Some(to) = located(&address, names).await else { return };
                let report = probe.send(&address, to).await;
                health.active(&target, &address, report);
            }
        };
        futures_util::stream::iter(due).for_each_concurrent(at_once, check).await;
    }
}

/// Where an address is; one that is a name may have none.
async fn located(address: &Address, names: &Names) -> Option<SocketAddr> {
    match address.ip {
        Some(ip) => Some(SocketAddr::new(ip, address.port)),
        None => names.address(&address.host, address.port).await.ok(),
    }
}
