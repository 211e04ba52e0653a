//! What it costs to find a Route among ten and among ten thousand: `cargo bench --bench router`.
//!
//! Each line is one set of routes: nanoseconds per match; milliseconds to make the router, as each
//! worker does; and milliseconds to compile all its expressions, as the loader does once.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use serde_json::{Value, json};
use silverback::entity::Route;
use silverback::router::{Query, Router};
use silverback::settings::RouterFlavor;
use silverback::snapshot::Snapshot;
use uuid::Uuid;

const MATCHES: usize = 1_000_000;

/// A set of routes: the fields of the n-th, and a host and path for it.
type Set = (&'static str, fn(usize) -> Value, fn(usize) -> (String, String));

const SETS: [Set; 6] = [
    (
        "prefix",
        |n| json!({"paths": [format!("/team-{}/service-{n}", n % 97)]}),
        |n| ("gw.test".into(), format!("/team-{}/service-{n}/v1/chat/completions", n % 97)),
    ),
    (
        "regex",
        |n| json!({"paths": [format!("~/api/service-{n}/v\\d+/(?<id>[^/]+)$")]}),
        |n| ("gw.test".into(), format!("/api/service-{n}/v2/abcdef")),
    ),
    (
        "host and path",
        |n| json!({"hosts": [format!("tenant-{n}.gw.test")], "paths": ["/v1", "/v1/chat"]}),
        |n| (format!("tenant-{n}.gw.test"), "/v1/chat/completions".into()),
    ),
    (
        "wildcard host",
        |n| json!({"hosts": [format!("*.tenant-{n}.gw.test")]}),
        |n| (format!("a.tenant-{n}.gw.test"), "/v1/chat/completions".into()),
    ),
    (
        "expression",
        |n| {
            json!({"expression": format!(
            "http.host == \"tenant-{n}.gw.test\" && http.path ^= \"/v1\"")})
        },
        |n| (format!("tenant-{n}.gw.test"), "/v1/chat/completions".into()),
    ),
    (
        "no route",
        |n| json!({"paths": [format!("/team-{}/service-{n}", n % 97)]}),
        |_| ("gw.test".into(), "/team-1/nothing/of/the/kind".into()),
    ),
];

fn main() {
    println!(
        "{:16} {:>8} {:>10} {:>10} {:>10}",
        "routes", "count", "ns/match", "make ms", "check ms"
    );
    for (name, fields, request) in SETS {
        for count in [10, 10_000] {
            measure(name, count, fields, request);
        }
    }
}

fn measure(
    name: &str,
    count: usize,
    fields: fn(usize) -> Value,
    request: fn(usize) -> (String, String),
) {
    let routes = (0..count).map(|n| route(n, fields(n))).collect();
    let snapshot = Snapshot { routes, ..Snapshot::default() };
    let began = Instant::now();
    let router = Router::new(&snapshot, RouterFlavor::Expressions).unwrap();
    let made = began.elapsed();
    let began = Instant::now();
    router.check().unwrap();
    let checked = began.elapsed();
    let requests: Vec<_> = (0..count).map(request).collect();
    let headers = HeaderMap::new();
    let mut found = 0;
    let began = Instant::now();
    for n in 0..MATCHES {
        // A large step, so that neighbours in memory do not help.
        let (host, path) = &requests[n.wrapping_mul(7919) % count];
        let hit = router.find(black_box(&Query {
            path,
            query: None,
            host,
            port: 8000,
            method: "POST",
            tls: false,
            sni: None,
            headers: &headers,
            source: "10.0.0.1:4711".parse().unwrap(),
            address: "10.0.0.2".parse().unwrap(),
        }));
        found += usize::from(hit.is_some());
    }
    let each = began.elapsed().as_nanos() / MATCHES as u128;
    assert!(found == MATCHES || name == "no route" && found == 0, "{name}: {found}");
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    println!("{name:16} {count:>8} {each:>10} {:>10.1} {:>10.1}", ms(made), ms(checked));
}

fn route(n: usize, fields: Value) -> Arc<Route> {
    let mut value = json!({
        "id": Uuid::new_v5(&Uuid::NAMESPACE_DNS, n.to_string().as_bytes()), "name": n.to_string(),
        "protocols": ["http", "https"], "https_redirect_status_code": 426, "regex_priority": 0,
        "strip_path": true, "preserve_host": false, "request_buffering": true,
        "response_buffering": true,
    });
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(value).unwrap())
}
