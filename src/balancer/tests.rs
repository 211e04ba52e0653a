//! Rings as exchanges see them: algorithms, health, thresholds, keys.

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::health::Found;
use super::*;
use crate::entity::Target;
use crate::pdk::Credential;
use crate::pdk::client::{Id, Named};

fn upstream(extra: &Value) -> Arc<Upstream> {
    let unhealthy = json!({
        "http_statuses": [500], "tcp_failures": 2, "timeouts": 1, "http_failures": 1,
    });
    let mut entity = json!({
        "id": "5f1d8a52-6a3e-4bd4-9d3f-111111111111", "name": "u", "slots": 1000,
        "algorithm": "round-robin", "hash_on": "none", "hash_fallback": "none",
        "healthchecks": {
            "threshold": 0,
            "active": {
                "type": "http", "timeout": 1, "concurrency": 1, "http_path": "/",
                "https_verify_certificate": true, "unhealthy": unhealthy,
                "healthy": {"interval": 0, "http_statuses": [200], "successes": 2},
            },
            "passive": {
                "healthy": {"http_statuses": [200], "successes": 2}, "unhealthy": unhealthy,
            },
        },
    });
    for (name, value) in extra.as_object().unwrap() {
        entity[name] = value.clone();
    }
    let json = Arc::new(entity.clone());
    let entity: Upstream = serde_json::from_value(entity).unwrap();
    Arc::new(Upstream { json, ..entity })
}

fn targets(upstream: &Upstream, names: &[&str]) -> Vec<Arc<Target>> {
    let id = upstream.id;
    let target = |name: &&str| {
        let entity = json!({"id": id, "target": name, "weight": 100, "upstream": {"id": id}});
        Arc::new(serde_json::from_value::<Target>(entity).unwrap())
    };
    names.iter().map(target).collect()
}

fn ring(upstream: &Arc<Upstream>, names: &[&str], healths: &Healths) -> Rc<Ring> {
    Rc::new(Ring::new(healths.of(upstream, &targets(upstream, names)), None))
}

/// Peers with these weights and their numbers as ports.
pub(super) fn peers(weights: &[u32]) -> Vec<Rc<Peer>> {
    let upstream = upstream(&json!({}));
    let target = |(n, weight): (usize, &u32)| {
        let mut target = (*targets(&upstream, &[&format!("10.0.0.1:{n}")])[0]).clone();
        target.weight = *weight;
        Arc::new(target)
    };
    let targets: Vec<_> = weights.iter().enumerate().map(target).collect();
    Peers::new(&Health::new(&upstream, &targets, &[]), &[]).all
}

fn get(headers: &[(&str, &str)]) -> Exchange {
    Exchange::for_test("GET", "/p?a=2&a=1&b", headers)
}

fn host(ring: &Rc<Ring>, turn: &mut Turn, ex: &Exchange) -> Option<String> {
    ring.next(turn, ex).map(|peer| peer.host.to_string())
}

/// Says what happened to the n-th target.
fn passive(ring: &Ring, n: usize, report: Report) {
    let place = &ring.health.places()[n];
    ring.health.passive(&place.target, &place.addresses[0], report);
}

fn active(ring: &Ring, n: usize, report: Report) {
    let place = &ring.health.places()[n];
    ring.health.active(&place.target, &place.addresses[0], report);
}

fn states(ring: &Ring) -> Vec<&'static str> {
    ring.health.places().iter().map(|place| ring.health.state(place)).collect()
}

fn found(host: &str, port: u16, weight: Option<u32>) -> Found {
    Found { host: host.into(), port, weight }
}

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";

#[test]
fn failures_in_a_row_take_a_target_out_and_successes_bring_it_back() {
    let ring = ring(&upstream(&json!({})), &[A, B], &Healths::default());
    passive(&ring, 0, Report::TcpFailure);
    passive(&ring, 0, Report::Status(200));
    passive(&ring, 0, Report::TcpFailure);
    assert_eq!(states(&ring)[0], "HEALTHY");
    passive(&ring, 0, Report::TcpFailure);
    assert_eq!(states(&ring)[0], "UNHEALTHY");
    for _ in 0..3 {
        assert_eq!(host(&ring, &mut Turn::default(), &get(&[])).as_deref(), Some(B));
    }
    active(&ring, 0, Report::Status(200));
    active(&ring, 0, Report::Timeout);
    active(&ring, 0, Report::Connected);
    assert_eq!(states(&ring)[0], "UNHEALTHY");
    active(&ring, 0, Report::Status(200));
    assert_eq!(states(&ring)[0], "HEALTHY");
}

#[test]
fn what_is_no_http_is_a_failure_whatever_the_lists_say() {
    let ring = ring(&upstream(&json!({})), &[A, B], &Healths::default());
    active(&ring, 0, Report::Status(418));
    assert_eq!(states(&ring)[0], "HEALTHY");
    active(&ring, 0, Report::Status(0));
    assert_eq!(states(&ring)[0], "UNHEALTHY");
}

#[test]
fn somebody_may_know_better_than_the_checks() {
    let ring = ring(&upstream(&json!({})), &[A, B], &Healths::default());
    let target = format!("{A}:8000");
    assert!(ring.health.force(&target, None, false));
    assert_eq!(states(&ring), ["UNHEALTHY", "HEALTHY"]);
    assert!(!ring.health.force(&target, Some("10.9.9.9".parse().unwrap()), true));
    assert!(ring.health.force(&target, Some(A.parse().unwrap()), true));
    assert_eq!(states(&ring), ["HEALTHY", "HEALTHY"]);
    assert!(!ring.health.force("10.0.0.7:1", None, true));
}

#[test]
fn at_the_threshold_nobody_is_asked() {
    for algorithm in ["round-robin", "consistent-hashing", "least-connections", "latency"] {
        let mut checks = upstream(&json!({})).json["healthchecks"].clone();
        checks["threshold"] = json!(50);
        let upstream = upstream(&json!({"healthchecks": checks, "algorithm": algorithm}));
        let ring = ring(&upstream, &[A, B, C], &Healths::default());
        passive(&ring, 0, Report::Timeout);
        assert!(ring.next(&mut Turn::default(), &get(&[])).is_some(), "{algorithm}");
        passive(&ring, 1, Report::Timeout);
        assert!(ring.next(&mut Turn::default(), &get(&[])).is_none(), "{algorithm}");
    }
}

#[test]
fn a_retry_goes_to_a_target_that_was_not_tried() {
    for algorithm in ["round-robin", "least-connections", "latency"] {
        let upstream = upstream(&json!({"algorithm": algorithm}));
        let ring = ring(&upstream, &[A, B], &Healths::default());
        let (ex, mut turn) = (get(&[]), Turn::default());
        assert_ne!(host(&ring, &mut turn, &ex), host(&ring, &mut turn, &ex), "{algorithm}");
        turn.resolved(false);
        let last = turn.tried.last().map(|peer| peer.host.to_string());
        let again = host(&ring, &mut turn, &ex);
        assert!(again.is_some() && again != last, "{algorithm}");
    }
}

#[test]
fn least_connections_count_until_the_lease_is_dropped() {
    let upstream = upstream(&json!({"algorithm": "least-connections"}));
    let ring = ring(&upstream, &[A, B], &Healths::default());
    let (ex, mut first) = (get(&[]), Turn::default());
    let busy = host(&ring, &mut first, &ex);
    let lease = first.lease();
    for _ in 0..3 {
        assert_ne!(host(&ring, &mut Turn::default(), &ex), busy);
    }
    drop(lease);
    let mut both: Vec<_> = (0..2).map(|_| host(&ring, &mut Turn::default(), &ex)).collect();
    both.sort();
    assert_eq!(both, [Some(A.to_owned()), Some(B.to_owned())]);
}

#[test]
fn keys_come_from_where_hash_on_says_and_then_from_the_fallback() {
    let of =
        |extra: Value, headers: &[(&str, &str)]| key::of(&upstream(&extra), &get(headers)).text;
    let header = json!({"hash_on": "header", "hash_on_header": "X-A", "hash_fallback": "ip"});
    assert_eq!(of(header.clone(), &[("x-a", "1"), ("x-a", "2")]), "1, 2");
    assert_eq!(of(header, &[]), "127.0.0.1");
    assert_eq!(of(json!({"hash_on": "path"}), &[]), "/p");
    let argument = |name| json!({"hash_on": "query_arg", "hash_on_query_arg": name});
    assert_eq!(of(argument("a"), &[]), "1,2");
    assert_eq!(of(argument("b"), &[]), "true");
    assert_eq!(of(json!({"hash_on": "consumer"}), &[]), "");
}

#[test]
fn clients_that_lua_names_without_a_uuid_do_not_share_a_target() {
    let upstream = upstream(&json!({"hash_on": "consumer", "hash_fallback": "path"}));
    for (named, id, expected) in [
        (Named::Stranger(Some(Id::read("a"))), Some("k"), "a"),
        (Named::Stranger(None), Some("k"), "k"),
        (Named::Nobody, None, "/p"),
    ] {
        let ex = get(&[]);
        let id = id.map(Id::read);
        ex.client.set(named, Some(Credential { id, identifier: None, consumer_id: None }));
        assert_eq!(key::of(&upstream, &ex).text, expected);
    }
}

#[test]
fn a_client_without_the_cookie_gets_one_and_keeps_its_target() {
    let cookie = json!({
        "algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "sticky",
        "hash_on_cookie_path": "/x",
    });
    let ring = ring(&upstream(&cookie), &[A, B, C], &Healths::default());
    let mut turn = Turn::default();
    let first = host(&ring, &mut turn, &get(&[]));
    let set = turn.cookie.clone().unwrap();
    let (pair, rest) = set.to_str().unwrap().split_once(';').unwrap();
    assert_eq!(rest, " Path=/x; Same-Site=Lax; HttpOnly");
    let mut again = Turn::default();
    assert_eq!(host(&ring, &mut again, &get(&[("cookie", &format!("o=1; {pair}"))])), first);
    assert_eq!(again.cookie, None);
}

#[test]
fn health_and_turns_survive_what_does_not_touch_them() {
    let (healths, upstream) = (Healths::default(), upstream(&json!({})));
    let before = ring(&upstream, &[A, B], &healths);
    passive(&before, 0, Report::Timeout);
    let same = healths.of(&upstream, &targets(&upstream, &[A, B]));
    assert!(Arc::ptr_eq(&before.health, &same));
    let grown = healths.of(&upstream, &targets(&upstream, &[C, A, B]));
    let grown = Rc::new(Ring::new(grown, Some(&before)));
    assert_eq!(states(&grown), ["HEALTHY", "UNHEALTHY", "HEALTHY"]);
    let (old, new) = (before.peers.get(&before.health), grown.peers.get(&grown.health));
    assert!(Rc::ptr_eq(&old.all[1], &new.all[2]));
    healths.keep(std::slice::from_ref(&grown.health));
    assert_eq!(healths.list().len(), 1);
    assert!(Arc::ptr_eq(&healths.find(upstream.id).unwrap(), &grown.health));
    healths.keep(&[]);
    assert!(healths.list().is_empty());
}

#[test]
fn targets_have_ports_and_names_for_host() {
    let ring =
        ring(&upstream(&json!({})), &[A, "10.0.0.2:9", "[::1]", "[::1]:7"], &Healths::default());
    let peers = ring.peers.get(&ring.health);
    let texts: Vec<String> = peers.all.iter().map(|peer| peer.known.text()).collect();
    assert_eq!(texts, ["10.0.0.1:8000", "10.0.0.2:9", "[::1]:8000", "[::1]:7"]);
    assert_eq!(&*peers.all[3].name, "[::1]");
    assert_eq!(peers.all[3].address, "[::1]:7".parse().ok());
}

#[test]
fn the_addresses_of_a_name_share_its_requests_and_have_healths_of_their_own() {
    let ring = ring(&upstream(&json!({})), &["a.test:80"], &Healths::default());
    let next = || host(&ring, &mut Turn::default(), &get(&[]));
    assert_eq!((next(), states(&ring)), (None, vec!["DNS_ERROR"]));
    ring.health.put(0, &[found(A, 0, None), found(B, 0, None)]);
    let mut both = [next().unwrap(), next().unwrap()];
    both.sort();
    assert_eq!(both, [A, B]);
    passive(&ring, 0, Report::Timeout);
    assert_eq!(states(&ring), ["HEALTHY"]);
    assert_eq!(next().as_deref(), Some(B));
    // What stays keeps its health, what comes is healthy, what goes is forgotten.
    ring.health.put(0, &[found(C, 0, None), found(A, 0, None)]);
    assert_eq!([next(), next()], [Some(C.to_owned()), Some(C.to_owned())]);
    ring.health.put(0, &[found(A, 0, None)]);
    assert_eq!((next(), states(&ring)), (None, vec!["UNHEALTHY"]));
    ring.health.put(0, &[]);
    assert_eq!(states(&ring), ["DNS_ERROR"]);
}

#[test]
fn services_bring_ports_weights_and_with_use_srv_name_names() {
    for (use_srv_name, name) in [(false, "s.test"), (true, "one.test")] {
        let upstream = upstream(&json!({"use_srv_name": use_srv_name}));
        let ring = ring(&upstream, &["s.test:80"], &Healths::default());
        ring.health.put(0, &[found("one.test", 8001, Some(3)), found(A, 0, Some(1))]);
        let peers = ring.peers.get(&ring.health);
        let shown = |n: usize| {
            let peer: &Peer = &peers.all[n];
            (peer.name.to_string(), peer.port, peer.weight, peer.address)
        };
        assert_eq!(shown(0), (name.to_owned(), 8001, 3, None));
        assert_eq!(shown(1), ("s.test".to_owned(), 80, 1, "10.0.0.1:80".parse().ok()));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_names_but_after_a_start() {
    let ring = ring(&upstream(&json!({})), &["a.test:80", "b.test:80"], &Healths::default());
    let settled = ring.settle();
    tokio::pin!(settled);
    ring.health.put(0, &[]);
    assert!(futures_util::poll!(&mut settled).is_pending());
    ring.health.put(1, &[found(B, 0, None)]);
    settled.await;
    assert!(futures_util::poll!(std::pin::pin!(ring.settle())).is_ready());
    ring.health.put(1, &[]);
    assert!(futures_util::poll!(std::pin::pin!(ring.settle())).is_ready());
}

#[test]
fn a_target_whose_weight_changes_keeps_its_health_and_its_addresses() {
    let (healths, upstream) = (Healths::default(), upstream(&json!({})));
    let weighing = |weights: [u32; 2]| {
        let mut targets = targets(&upstream, &[A, "s.test:80"]);
        for (target, weight) in targets.iter_mut().zip(weights) {
            Arc::make_mut(target).weight = weight;
        }
        healths.of(&upstream, &targets)
    };
    let before = Rc::new(Ring::new(weighing([100, 100]), None));
    before.health.put(1, &[found(B, 81, Some(7)), found(C, 0, None)]);
    passive(&before, 0, Report::Timeout);
    passive(&before, 1, Report::Timeout);
    before.peers.get(&before.health).all[0].tally.open.set(3);
    let drained = Rc::new(Ring::new(weighing([50, 0]), Some(&before)));
    assert_eq!(states(&drained), ["UNHEALTHY", "HEALTHCHECKS_OFF"]);
    let peers = drained.peers.get(&drained.health);
    assert_eq!((peers.all.len(), peers.all[0].weight, peers.all[0].tally.open.get()), (1, 50, 3));
    assert!(futures_util::FutureExt::now_or_never(drained.settle()).is_some());
    let after = Rc::new(Ring::new(weighing([50, 9]), Some(&drained)));
    let peers = after.peers.get(&after.health);
    let shown = peers.all.iter().map(|peer| (peer.port, peer.weight, peer.is_healthy()));
    assert_eq!(shown.collect::<Vec<_>>(), [(8000, 50, false), (81, 7, false), (80, 9, true)]);
}

#[test]
fn a_health_that_a_worker_made_ahead_of_the_control_thread_is_not_lost() {
    let (healths, upstream) = (Healths::default(), upstream(&json!({})));
    let first = healths.of(&upstream, &targets(&upstream, &[A]));
    // A worker is at the next configuration while the control thread still takes over this one.
    let worker = ring(&upstream, &[A, "a.test:80"], &healths);
    healths.keep(std::slice::from_ref(&first));
    assert!(Arc::ptr_eq(&healths.find(upstream.id).unwrap(), &first));
    let next = healths.of(&upstream, &targets(&upstream, &[A, "a.test:80"]));
    assert!(Arc::ptr_eq(&next, &worker.health));
    healths.keep(std::slice::from_ref(&next));
    next.put(1, &[found(B, 0, None)]);
    assert_eq!(states(&worker), ["HEALTHY", "HEALTHY"]);
    assert_eq!(healths.list().len(), 1);
}

#[test]
fn a_host_header_that_changes_counts_for_targets_that_stay() {
    let (healths, plain) = (Healths::default(), upstream(&json!({})));
    let before = ring(&plain, &[A], &healths);
    let named = upstream(&json!({"host_header": "h.test"}));
    let after = healths.of(&named, &targets(&named, &[A]));
    let after = Rc::new(Ring::new(after, Some(&before)));
    let hosts = |ring: &Rc<Ring>| {
        let peer = ring.next(&mut Turn::default(), &get(&[])).unwrap();
        [80, 8000].map(|port| peer.host_header(port).unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(hosts(&before), ["10.0.0.1:8000", "10.0.0.1"]);
    assert_eq!(hosts(&after), ["h.test:8000", "h.test"]);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn dns_that_is_down_is_told_once_for_a_target_and_not_at_each_question() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // With a single subscriber, tracing asks the thread that meets a callsite first, which may be
    // that of another test, whether anybody listens. So there are two.
    let _second =
        tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _listening = tracing::subscriber::set_default(subscriber);
    let ring = ring(&upstream(&json!({})), &["a.test:80"], &Healths::default());
    let options = crate::settings::Settings::defaults().dns;
    let control = tokio::runtime::Handle::current();
    let dns = Arc::new(crate::dns::Dns::table(&options, control, HashMap::new()));
    let follow = keeper::follow(dns, ring.health.clone(), 0, "a.test".into());
    let hour = tokio::time::timeout(Duration::from_secs(3600), follow).await;
    assert!(hour.is_err());
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("could not be resolved").count(), 1, "{log}");
    assert_eq!(log.matches("the target has no address now").count(), 1, "{log}");
}
