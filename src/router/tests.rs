//! Rules of the router, one test each.

use serde_json::{Value, json};

use super::*;

fn route(name: &str, fields: Value) -> Arc<Route> {
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

fn found(routes: &[(&str, Value)], method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let routes = routes.iter().map(|(name, fields)| route(name, fields.clone())).collect();
    let router = Router::new(&Snapshot { routes, ..Snapshot::default() }).unwrap();
    let (host, path) = url.split_once('/').unwrap();
    let path = format!("/{path}");
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        map.append(name, http::HeaderValue::from_str(value).unwrap());
    }
    let query = Query {
        path: &path::normalise(&path),
        host,
        port: 8000,
        method,
        tls: false,
        sni: None,
        headers: &map,
    };
    let hit = router.find(&query);
    hit.map_or("none".into(), |hit| hit.route.name.clone().unwrap())
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
fn regex_priority_then_the_longer_pattern() {
    let routes = [
        ("long", json!({"paths": ["~/a/[0-9][0-9]*"]})),
        ("high", json!({"paths": ["~/a/"], "regex_priority": 1})),
        ("short", json!({"paths": ["~/a/"]})),
    ];
    assert_eq!(found(&routes, "GET", "h/a/1", &[]), "high");
    assert_eq!(found(&[routes[0].clone(), routes[2].clone()], "GET", "h/a/1", &[]), "long");
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
fn captures_have_numbers_and_names() {
    let regex = Regex::new("^/d/(?<dep>[^/]+)/x").unwrap();
    let (length, captures) = groups(&regex, "/d/gpt/x/y");
    assert_eq!(length, 8);
    let want = [("1".to_owned(), "gpt".to_owned()), ("dep".to_owned(), "gpt".to_owned())];
    assert_eq!(captures, want);
}
