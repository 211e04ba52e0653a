//! Any request against many Routes, and any path and host as a Route: no panic, and the index finds
//! what a look at every Route finds.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use silverback::config::{self, Source};
use silverback::router::{self, Query, Router, path};
use silverback::settings::{Env, RouterFlavor};

use super::with_schemas;

/// Routes with something of everything.
const ROUTES: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:1/base
  routes:
  - { name: all, paths: [/], strip_path: false }
  - { name: long, paths: [/a/b/c, /a/b, /a], methods: [GET, PUT] }
  - { name: digits, paths: ['~/a/(?<n>\d+)/x'], regex_priority: 3 }
  - { name: digits-too, paths: ['~/a/\d', /a/], regex_priority: 1 }
  - { name: host, hosts: [a.test, '*.a.test', 'a.*', 'a.test:8080'] }
  - { name: host-path, hosts: [a.test], paths: [/a] }
  - { name: headers, headers: { x-a: ['1', '2'], x-b: ['~*^b+$'] } }
  - { name: blank, paths: ['/a b', '/%2F', /ä] }
  - { name: tls, protocols: [https], snis: [a.test, '*.a.test'] }
  - { name: method, methods: [PURGE] }
"#;

/// Lines: method, host, target, SNI, then headers; and of a Route a path, a host, a header's value.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, authority, target, sni) = (next(), next(), next(), next());
    let (route_path, route_host, route_value) = (next(), next(), next());
    let headers: HeaderMap = lines.filter_map(header).collect();
    let (raw, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let decoded = path::decoded(raw);
    let (host, port) = router::split_port(authority);
    let query = Query {
        path: &decoded,
        query,
        host,
        port: port.unwrap_or(80),
        method,
        tls: !sni.is_empty(),
        sni: Some(sni).filter(|sni| !sni.is_empty()),
        headers: &headers,
        source: ([127, 0, 0, 1], 1).into(),
        address: [127, 0, 0, 1].into(),
    };
    with_routers(|fixed, expressions| {
        look(fixed, &query);
        look(expressions, &query);
    });
    let route = json!({
        "_format_version": "3.0",
        "services": [{ "name": "s", "host": "a.test" }],
        "routes": [
            { "name": "r", "service": "s", "paths": [route_path], "hosts": [route_host] },
            { "name": "p", "service": "s", "paths": [route_path] },
            { "name": "h", "service": "s", "headers": { "x-a": [route_value] } },
        ],
    });
    if let Some(router) = router_of(&route.to_string(), RouterFlavor::TraditionalCompatible)
        && router.check().is_ok()
    {
        look(&router, &query);
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

fn with_routers(run: impl FnOnce(&Router, &Router)) {
    thread_local! {
        static ROUTERS: (Router, Router) = (
            router_of(ROUTES, RouterFlavor::TraditionalCompatible).expect("routes"),
            router_of(ROUTES, RouterFlavor::Expressions).expect("routes"),
        );
    }
    ROUTERS.with(|(one, other)| run(one, other));
}

fn router_of(text: &str, flavor: RouterFlavor) -> Option<Router> {
    let source = Source { name: "kong.yaml".into(), text: text.into() };
    let loaded = with_schemas(|schemas| config::load(&[source], schemas, &Env::default())).ok()?;
    Router::new(&loaded.snapshot, flavor).ok()
}

fn look(router: &Router, query: &Query<'_>) {
    let found = router.find(query);
    let looked = router.explain(query).into_iter().find(|look| look.agrees);
    assert_eq!(found.as_ref().map(|hit| hit.index), looked.map(|look| look.index));
    if let Some(hit) = found {
        let matched = hit.matched.as_deref();
        let up = path::upstream(Some("/base"), query.path, matched.or(Some("")));
        assert!(up.starts_with("/base"), "{up}");
    }
}
