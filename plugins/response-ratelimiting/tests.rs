use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::gateway::Control;
use crate::settings::Settings;

fn plugin(changes: Value) -> Result<ResponseRateLimiting, Vec<String>> {
    crate::tls::install_provider();
    let control = Control::start().unwrap();
    let shared = Shared::new(Settings::defaults(), control.handle.clone(), None).unwrap();
    control.stop();
    let mut config = json!({
        "header_name": "x-kong-limit", "limit_by": "consumer", "policy": "local",
        "fault_tolerant": true, "redis": null, "block_on_first_violation": false,
        "hide_client_headers": false, "limits": {
            "video": {"second": null, "minute": 3, "hour": 5, "day": null, "month": null,
                "year": null},
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    let scope = |name: &str| Scope { name: name.into(), route: None, service: None };
    ResponseRateLimiting::new(serde_json::from_value(config).unwrap(), Arc::new(shared), scope)
}

/// One exchange at a second since 1970, whose reply says what it costs.
fn exchange(plugin: &ResponseRateLimiting, second: u64, said: &'static str) -> Exchange {
    let ex = Exchange::for_test("GET", "/", &[]);
    if plugin.look(&ex, Moment::at(second)).is_ok() {
        let mut headers = HeaderMap::new();
        headers.insert("x-kong-limit", HeaderValue::from_static(said));
        ex.response.take_head(StatusCode::OK, headers);
    }
    let _ = plugin.header_filter(&ex);
    plugin.log(&ex);
    ex
}

fn told(ex: &Exchange) -> (u16, String) {
    let names = ["x-ratelimit-remaining-video-minute", "x-ratelimit-remaining-video-hour"];
    let value = |name| ex.response.header(name).map(|v| v.to_str().unwrap().to_owned());
    let values = names.map(|name| value(name).unwrap_or_default());
    (ex.response.status().as_u16(), values.join(" "))
}

#[test]
fn what_the_reply_costs_is_counted_and_told() {
    let plugin = plugin(json!({})).unwrap();
    for (second, said, expected) in [
        (60, "video=2, other=9", (200, "1 3")),
        (61, " video = 2 ", (200, "0 1")),
        (62, "other=1", (200, "0 1")),
        // Nothing is left of the minute: the reply does not reach the client and costs nothing.
        (63, "video=1", (429, "0 0")),
        (120, "video=x,video=1=2", (200, "3 1")),
        (121, "video=-1", (200, "4 2")),
    ] {
        let ex = exchange(&plugin, second, said);
        assert_eq!(told(&ex), (expected.0, expected.1.to_owned()), "{second}");
        assert!(ex.response.header("x-kong-limit").is_none());
    }
    let ex = exchange(&plugin, 122, "");
    assert_eq!(ex.request.header("x-ratelimit-remaining-video").unwrap(), "2");
}

#[test]
fn a_limit_that_is_used_up_can_block_before_the_upstream_is_asked() {
    let plugin = plugin(json!({"block_on_first_violation": true})).unwrap();
    exchange(&plugin, 60, "video=3");
    let ex = exchange(&plugin, 61, "");
    assert_eq!(ex.response.status(), 429);
    assert_eq!(ex.answer_json()["message"], "API rate limit exceeded for 'video'");
    assert_eq!(told(&ex).1, " ", "a refusal tells nothing");
}

#[test]
fn headers_can_be_hidden_and_the_upstreams_goes_all_the_same() {
    let plugin = plugin(json!({"hide_client_headers": true})).unwrap();
    let ex = exchange(&plugin, 60, "video=1");
    assert_eq!((told(&ex).1.as_str(), ex.response.headers().len()), (" ", 0));
}

#[test]
fn a_name_that_cannot_be_in_a_header_is_an_error_at_load() {
    let limits = json!({"a b": {"second": 1, "minute": null, "hour": null, "day": null,
        "month": null, "year": null}});
    let error = plugin(json!({"limits": limits})).err().unwrap();
    assert_eq!(error, ["config.limits: 'a b' cannot be part of a header name"]);
}

#[test]
fn a_slow_reply_does_not_wipe_the_counter_of_the_current_window() {
    let plugin = plugin(json!({})).unwrap();
    for cost in ["video=1", "video=0"] {
        let slow = Exchange::for_test("GET", "/", &[]);
        plugin.look(&slow, Moment::at(3_599)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-kong-limit", HeaderValue::from_static(cost));
        slow.response.take_head(StatusCode::OK, headers);
        plugin.header_filter(&slow).unwrap();
        exchange(&plugin, 3_600, "video=1");
        plugin.log(&slow);
    }
    assert_eq!(told(&exchange(&plugin, 3_601, "")), (200, "1 3".to_owned()));
}
