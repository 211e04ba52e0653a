//! Rules of the router, one test each.

use serde_json::{Value, json};

use super::*;

pub(super) fn route(name: &str, fields: Value) -> Arc<Route> {
    let mut value = json!({
        "id": Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()), "name": name,
        "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": null,
        "headers": null, "snis": null, "https_redirect_status_code": 426, "regex_priority": 0,
        "strip_path": true, "preserve_host": false, "request_buffering": true,
        "response_buffering": true, "service": null, "tags": null,
    });
    for (key, field) in fields.as_object().unwrap() {
        value[key] = field.clone();
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A request: what of a query differs from the usual.
struct Ask<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    tls: bool,
    sni: Option<&'a str>,
}

fn router(routes: &[(&str, Value)], flavor: RouterFlavor) -> Result<Router, String> {
    let routes = routes.iter().map(|(name, fields)| route(name, fields.clone())).collect();
    Router::new(&Snapshot { routes, ..Snapshot::default() }, flavor)
}

/// The name of the Route and what it matched of the path.
fn ask(router: &Router, ask: &Ask<'_>) -> Option<(String, Hit2)> {
    let (authority, target) = ask.url.split_once('/').unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut map = HeaderMap::new();
    for (name, value) in ask.headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        map.append(name, http::HeaderValue::from_str(value).unwrap());
    }
    let (host, port) = split_port(authority);
    let hit = router.find(&Query {
        path: &path::decoded(&format!("/{path}")),
        query,
        host,
        port: port.unwrap_or(8000),
        method: ask.method,
        tls: ask.tls,
        sni: ask.sni,
        headers: &map,
        source: "10.1.2.3:4711".parse().unwrap(),
        address: "127.0.0.1".parse().unwrap(),
    })?;
    Some((hit.route.name.clone().unwrap(), (hit.matched, hit.captures)))
}

type Hit2 = (Option<String>, Vec<(String, String)>);

fn found(routes: &[(&str, Value)], method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let router = router(routes, RouterFlavor::TraditionalCompatible).unwrap();
    let hit = ask(&router, &Ask { method, url, headers, tls: false, sni: None });
    hit.map_or("none".into(), |(name, _)| name)
}

#[test]
fn the_longest_prefix_wins_and_prefixes_are_not_segment_aligned() {
    let routes = [("a", json!({"paths": ["/a"]})), ("ab", json!({"paths": ["/a/b"]}))];
    assert_eq!(found(&routes, "GET", "h/a/bc", &[]), "ab");
    assert_eq!(found(&routes, "GET", "h/abc", &[]), "a");
    assert_eq!(found(&routes, "GET", "h/b", &[]), "none");
}

#[test]
fn any_regex_beats_a_longer_prefix() {
    let routes = [("re", json!({"paths": ["~/a/\\d+"]})), ("p", json!({"paths": ["/a/1234"]}))];
    assert_eq!(found(&routes, "GET", "h/a/1234", &[]), "re");
}

#[test]
fn regex_priority_then_the_greater_id_and_never_the_length() {
    let routes = [
        ("long", json!({"paths": ["~/a/[0-9][0-9]*"]})),
        ("high", json!({"paths": ["~/a/"], "regex_priority": 1})),
        ("short", json!({"paths": ["~/a/"]})),
    ];
    assert_eq!(found(&routes, "GET", "h/a/1", &[]), "high");
    let greater = [&routes[0], &routes[2]].map(|(name, _)| (route(name, json!({})).id, *name));
    let greater = greater.iter().max().unwrap().1;
    assert_eq!(found(&[routes[0].clone(), routes[2].clone()], "GET", "h/a/1", &[]), greater);
}

#[test]
fn more_criteria_win_over_a_longer_path() {
    let routes = [
        ("path", json!({"paths": ["/a/b/c"]})),
        ("host", json!({"paths": ["/a"], "hosts": ["h"]})),
    ];
    assert_eq!(found(&routes, "GET", "h/a/b/c", &[]), "host");
    assert_eq!(found(&routes, "GET", "x/a/b/c", &[]), "path");
}

#[test]
fn a_plain_host_wins_over_a_wildcard() {
    let routes = [
        ("wild", json!({"hosts": ["*.b.test"]})),
        ("plain", json!({"hosts": ["a.b.test"]})),
        ("right", json!({"hosts": ["c.*"]})),
    ];
    assert_eq!(found(&routes, "GET", "a.b.test/", &[]), "plain");
    assert_eq!(found(&routes, "GET", "z.b.test/", &[]), "wild");
    assert_eq!(found(&routes, "GET", "c.any/", &[]), "right");
}

#[test]
fn methods_do_not_imply_head() {
    let routes = [("g", json!({"methods": ["GET"]}))];
    assert_eq!(found(&routes, "GET", "h/", &[]), "g");
    assert_eq!(found(&routes, "HEAD", "h/", &[]), "none");
}

#[test]
fn header_values_are_or_and_names_are_and() {
    let routes = [("r", json!({"headers": {"x-a": ["1", "2"], "x-b": ["~*^v\\d$"]}}))];
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "2"), ("x-b", "v7")]), "r");
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "2"), ("x-b", "V7")]), "r");
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "3"), ("x-b", "v7")]), "none");
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "1")]), "none");
}

#[test]
fn a_https_only_route_catches_plain_requests() {
    let routes = [("s", json!({"paths": ["/s"], "protocols": ["https"]}))];
    assert_eq!(found(&routes, "GET", "h/s", &[]), "s");
}

#[test]
fn a_plain_host_and_an_expression_beat_more_criteria() {
    let routes = [
        ("two", json!({"methods": ["GET"], "paths": ["/a"]})),
        ("host", json!({"hosts": ["h"]})),
        ("re", json!({"paths": ["~/a"]})),
    ];
    assert_eq!(found(&routes, "GET", "h/a", &[]), "host");
    assert_eq!(found(&routes[..1], "GET", "x/a", &[]), "two");
    assert_eq!(found(&routes, "GET", "x/a", &[]), "re");
}

#[test]
fn a_port_is_that_of_the_host_header() {
    let routes = [
        ("port", json!({"hosts": ["h:81"]})),
        ("usual", json!({"hosts": ["h:8000"]})),
        ("wild", json!({"hosts": ["*.w:81"]})),
    ];
    assert_eq!(found(&routes, "GET", "h:81/", &[]), "port");
    assert_eq!(found(&routes, "GET", "h/", &[]), "usual");
    assert_eq!(found(&routes, "GET", "h:82/", &[]), "none");
    assert_eq!(found(&routes, "GET", "a.b.w:81/", &[]), "wild");
    assert_eq!(found(&[("any", json!({"hosts": ["h"]}))], "GET", "h:82/", &[]), "any");
}

#[test]
fn kong_compares_hosts_with_their_case() {
    let routes = [("r", json!({"hosts": ["gw.test"]}))];
    assert_eq!(found(&routes, "GET", "gw.test/", &[]), "r");
    assert_eq!(found(&routes, "GET", "GW.test/", &[]), "none");
}

#[test]
fn any_value_of_a_header_may_be_an_expression_in_lower_case() {
    let routes = [("r", json!({"headers": {"X-A": ["one", "~*^V\\D+$"]}}))];
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "ONE")]), "r");
    // Kong makes the pattern lower case, so that its \D is a \d.
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "v7")]), "r");
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "vx")]), "none");
    assert_eq!(found(&routes, "GET", "h/", &[("x_a", "one")]), "r");
    assert_eq!(found(&routes, "GET", "h/", &[("x-a", "zz"), ("x-a", "one")]), "r");
}

#[test]
fn protocols_do_not_choose_between_routes() {
    // Kong's flavour has no such criterion: what came over TLS is for a Route of plain HTTP, too.
    let routes = [("plain", json!({"paths": ["/"], "protocols": ["http"]}))];
    let compatible = router(&routes, RouterFlavor::TraditionalCompatible).unwrap();
    let tls = Ask { method: "GET", url: "h/", headers: &[], tls: true, sni: None };
    assert!(ask(&compatible, &tls).is_some());
    assert!(ask(&router(&routes, RouterFlavor::Expressions).unwrap(), &tls).is_none());
}

#[test]
fn an_sni_counts_on_tls_only_and_may_be_a_wildcard() {
    let snis = json!({"paths": ["/"], "snis": ["a.test.", "*.b.test", "c.*"]});
    let router = router(&[("r", snis)], RouterFlavor::TraditionalCompatible).unwrap();
    let with = |tls, sni| {
        ask(&router, &Ask { method: "GET", url: "h/", headers: &[], tls, sni }).is_some()
    };
    assert!(with(false, None));
    assert!(!with(true, None));
    for (sni, matches) in
        [("a.test", true), ("x.b.test", true), ("c.org", true), ("b.test", false), ("d", false)]
    {
        assert_eq!(with(true, Some(sni)), matches, "{sni}");
    }
}

#[test]
fn what_a_route_used_up_is_told() {
    let routes = [
        ("prefix", json!({"paths": ["/p/"]})),
        ("re", json!({"paths": ["~/d/(?<dep>[^/]+)/x", "~/e/(\\w)"]})),
        ("host", json!({"hosts": ["only"]})),
    ];
    let router = router(&routes, RouterFlavor::TraditionalCompatible).unwrap();
    let hit = |url| {
        ask(&router, &Ask { method: "GET", url, headers: &[], tls: false, sni: None }).unwrap().1
    };
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(hit("h/p/q"), (Some("/p/".into()), vec![]));
    let dep = vec![pair("1", "g pt"), pair("dep", "g pt")];
    assert_eq!(hit("h/d/g%20pt/x/y"), (Some("/d/g pt/x".into()), dep));
    assert_eq!(hit("h/e/zy"), (Some("/e/z".into()), vec![pair("1", "z")]));
    assert_eq!(hit("only/"), (None, vec![]));
}

#[test]
fn a_path_that_does_not_compile_is_told_with_its_route() {
    // The schema refuses most of them; this one is too large for the compiler.
    let routes = [("big", json!({"paths": ["~/\\w{1000}{1000}"]}))];
    let router = router(&routes, RouterFlavor::TraditionalCompatible).unwrap();
    let error = router.check().unwrap_err();
    assert!(error.starts_with("route 'big': path '~/\\w{1000}{1000}': "), "{error}");
    let ask = Ask { method: "GET", url: "h/a", headers: &[], tls: false, sni: None };
    assert!(super::tests::ask(&router, &ask).is_none());
}

mod expressions;
mod reference;
mod traditional;
