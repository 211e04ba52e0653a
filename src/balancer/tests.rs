//! Rings as exchanges see them: algorithms, health, thresholds, keys.

use serde_json::{Value, json};

use super::*;

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

fn ring(upstream: &Arc<Upstream>, names: &[&str], healths: &Healths) -> Rc<Ring> {
    let target = |name: &&str| {
        let id = upstream.id;
        let entity = json!({"id": id, "target": name, "weight": 100, "upstream": {"id": id}});
        Arc::new(serde_json::from_value::<Target>(entity).unwrap())
    };
    let targets: Vec<Arc<Target>> = names.iter().map(target).collect();
    Rc::new(Ring::new(upstream, &targets, healths))
}

fn get(headers: &[(&str, &str)]) -> Exchange {
    Exchange::for_test("GET", "/p?a=2&a=1&b", headers)
}

fn host(ring: &Rc<Ring>, turn: &mut Turn, ex: &Exchange) -> Option<String> {
    ring.next(turn, ex).map(|peer| peer.host.to_string())
}

#[test]
fn failures_in_a_row_take_a_target_out_and_successes_bring_it_back() {
    let ring = ring(&upstream(&json!({})), &["a", "b"], &Healths::default());
    let health = &ring.health;
    health.passive(0, Report::TcpFailure);
    health.passive(0, Report::Status(200));
    health.passive(0, Report::TcpFailure);
    assert_eq!(health.state(0), "HEALTHY");
    health.passive(0, Report::TcpFailure);
    assert_eq!(health.state(0), "UNHEALTHY");
    for _ in 0..3 {
        assert_eq!(host(&ring, &mut Turn::default(), &get(&[])).as_deref(), Some("b"));
    }
    health.active(0, Report::Status(200));
    assert_eq!(health.state(0), "UNHEALTHY");
    health.active(0, Report::Status(200));
    assert_eq!(health.state(0), "HEALTHY");
}

#[test]
fn below_the_threshold_nobody_is_asked() {
    let mut checks = upstream(&json!({})).json["healthchecks"].clone();
    checks["threshold"] = json!(51);
    let ring = ring(&upstream(&json!({"healthchecks": checks})), &["a", "b"], &Healths::default());
    assert!(ring.next(&mut Turn::default(), &get(&[])).is_some());
    ring.health.passive(1, Report::Timeout);
    assert_eq!(ring.next(&mut Turn::default(), &get(&[])), None);
}

#[test]
fn a_retry_goes_to_a_target_that_was_not_tried() {
    for algorithm in ["round-robin", "least-connections", "latency"] {
        let upstream = upstream(&json!({"algorithm": algorithm}));
        let ring = ring(&upstream, &["a", "b"], &Healths::default());
        let (ex, mut turn) = (get(&[]), Turn::default());
        assert_ne!(host(&ring, &mut turn, &ex), host(&ring, &mut turn, &ex), "{algorithm}");
        turn.resolved(false);
        let last = turn.tried.last().copied();
        let again = ring.choose(&mut turn, &ex);
        assert!(again.is_some() && again != last, "{algorithm}");
    }
}

#[test]
fn least_connections_count_until_the_lease_is_dropped() {
    let upstream = upstream(&json!({"algorithm": "least-connections"}));
    let ring = ring(&upstream, &["a", "b"], &Healths::default());
    let (ex, mut first) = (get(&[]), Turn::default());
    let busy = host(&ring, &mut first, &ex);
    let lease = first.lease();
    for _ in 0..3 {
        assert_ne!(host(&ring, &mut Turn::default(), &ex), busy);
    }
    drop(lease);
    let mut both: Vec<_> = (0..2).map(|_| host(&ring, &mut Turn::default(), &ex)).collect();
    both.sort();
    assert_eq!(both, [Some("a".to_owned()), Some("b".to_owned())]);
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
fn a_client_without_the_cookie_gets_one_and_keeps_its_target() {
    let cookie = json!({
        "algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "sticky",
        "hash_on_cookie_path": "/x",
    });
    let ring = ring(&upstream(&cookie), &["a", "b", "c"], &Healths::default());
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
fn health_survives_what_does_not_touch_it() {
    let (healths, upstream) = (Healths::default(), upstream(&json!({})));
    let before = ring(&upstream, &["a", "b"], &healths);
    before.health.passive(0, Report::Timeout);
    assert!(before.is_like(&ring(&upstream, &["a", "b"], &healths)));
    let grown = ring(&upstream, &["c", "a", "b"], &healths);
    let states: Vec<_> = (0..3).map(|n| grown.health.state(n)).collect();
    assert_eq!(states, ["HEALTHY", "UNHEALTHY", "HEALTHY"]);
    healths.keep(|_| false);
    assert!(healths.list().is_empty());
}

#[test]
fn targets_have_ports() {
    let ring = ring(&upstream(&json!({})), &["a", "b:9", "[::1]", "[::1]:7"], &Healths::default());
    let names: Vec<String> = ring.peers.iter().map(Peer::name).collect();
    assert_eq!(names, ["a:8000", "b:9", "[::1]:8000", "[::1]:7"]);
}
