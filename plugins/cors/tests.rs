//! Preflights and other replies.

use serde_json::{Value, json};

use super::*;
use crate::plugin::Stop;

fn plugin(changes: Value) -> Cors {
    let mut config = json!({
        "origins": null, "headers": null, "exposed_headers": null, "methods": ["GET", "PUT"],
        "max_age": null, "credentials": false, "private_network": false,
        "preflight_continue": false, "allow_origin_absent": true,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Cors::new(serde_json::from_value(config).unwrap()).unwrap()
}

const ORIGIN_Z: (&str, &str) = ("origin", "https://z");
const METHOD: (&str, &str) = ("access-control-request-method", "PUT");

/// The headers of a reply to this request, sorted, without their common beginning.
async fn reply(plugin: &Cors, method: &str, headers: &[(&str, &str)]) -> (bool, Vec<String>) {
    let ex = Exchange::for_test(method, "/", headers);
    let outcome = plugin.access(&ex).outcome().await;
    assert!(!matches!(outcome, Err(Stop::Fault(_))));
    plugin.header_filter(&ex).unwrap();
    let headers = ex.response.headers();
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        let name = name.as_str().trim_start_matches("access-control-");
        format!("{name}: {}", value.to_str().unwrap())
    };
    let mut lines: Vec<String> = headers.iter().map(line).collect();
    lines.retain(|line| !line.starts_with("content-length"));
    lines.sort();
    (outcome.is_err(), lines)
}

#[tokio::test]
async fn a_preflight_is_answered_here() {
    let asks = [ORIGIN_Z, METHOD, ("access-control-request-headers", "x-q")];
    let (answered, lines) = reply(&plugin(json!({})), "OPTIONS", &asks).await;
    assert!(answered);
    assert_eq!(lines, ["allow-headers: x-q", "allow-methods: GET,PUT", "allow-origin: *"]);

    let config = json!({"headers": ["X-A", "X-B"], "max_age": 600, "private_network": true});
    let private = ("access-control-request-private-network", "true");
    let (_, lines) = reply(&plugin(config), "OPTIONS", &[ORIGIN_Z, METHOD, private]).await;
    let expected = [
        "allow-headers: X-A,X-B",
        "allow-methods: GET,PUT",
        "allow-origin: *",
        "allow-private-network: true",
        "max-age: 600",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_preflight_names_an_origin_and_a_method() {
    for headers in [&[ORIGIN_Z][..], &[METHOD], &[("origin", ""), METHOD]] {
        assert!(!reply(&plugin(json!({})), "OPTIONS", headers).await.0, "{headers:?}");
    }
    assert!(!reply(&plugin(json!({})), "GET", &[ORIGIN_Z, METHOD]).await.0);
}

#[tokio::test]
async fn what_the_upstream_says_to_a_preflight_stays() {
    let plugin = plugin(json!({"preflight_continue": true}));
    assert_eq!(reply(&plugin, "OPTIONS", &[ORIGIN_Z, METHOD]).await, (false, Vec::new()));
}

#[tokio::test]
async fn credentials_need_a_named_origin() {
    let one = json!({"credentials": true, "origins": ["https://a"], "exposed_headers": ["X-E"]});
    let expected = [
        "allow-credentials: true",
        "allow-origin: https://a",
        "expose-headers: X-E",
        "vary: Origin",
    ];
    assert_eq!(reply(&plugin(one), "GET", &[ORIGIN_Z]).await.1, expected);
    let all = plugin(json!({"credentials": true}));
    let expected = ["allow-credentials: true", "allow-origin: https://z", "vary: Origin"];
    assert_eq!(reply(&all, "GET", &[ORIGIN_Z]).await.1, expected);
    assert_eq!(reply(&all, "GET", &[]).await.1, ["allow-origin: *"]);
    let many = plugin(json!({"origins": ["https://a", "https://b"]}));
    assert_eq!(reply(&many, "GET", &[ORIGIN_Z]).await.1, ["vary: Origin"]);
}

#[tokio::test]
async fn replies_to_no_origin_may_go_without() {
    let plugin = plugin(json!({"allow_origin_absent": false}));
    assert_eq!(reply(&plugin, "GET", &[]).await.1, Vec::<String>::new());
    assert_eq!(reply(&plugin, "GET", &[ORIGIN_Z]).await.1, ["allow-origin: *"]);
}

#[tokio::test]
async fn a_preflight_does_not_vary_by_origin_twice() {
    let config = json!({"origins": ["x", "*"], "credentials": true});
    let (answered, lines) = reply(&plugin(config.clone()), "OPTIONS", &[ORIGIN_Z, METHOD]).await;
    let expected = [
        "allow-credentials: true",
        "allow-methods: GET,PUT",
        "allow-origin: https://z",
        "vary: Origin",
    ];
    assert!(answered);
    assert_eq!(lines, expected);
    // Kong adds one to another on the way back.
    let (_, lines) = reply(&plugin(config), "GET", &[ORIGIN_Z]).await;
    assert_eq!(lines[2..], ["vary: Origin", "vary: Origin"]);
}
