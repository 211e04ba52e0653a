use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::entity::Consumer;
use crate::gateway::Control;
use crate::pdk::Credential;
use crate::settings::Settings;

fn shared() -> Arc<Shared> {
    crate::tls::install_provider();
    let control = Control::start().unwrap();
    let shared = Shared::new(Settings::defaults(), control.handle.clone(), None).unwrap();
    control.stop();
    Arc::new(shared)
}

fn read(changes: Value, shared: &Arc<Shared>) -> Result<RateLimiting, Vec<String>> {
    let mut config = json!({
        "second": null, "minute": null, "hour": null, "day": null, "month": null, "year": null,
        "limit_by": "consumer", "header_name": null, "path": null, "policy": "local",
        "fault_tolerant": true, "redis": null, "hide_client_headers": false, "error_code": 429,
        "error_message": "API rate limit exceeded", "sync_rate": -1,
    });
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    let scope = Scope { name: "rate-limiting".into(), route: None, service: None };
    RateLimiting::new(serde_json::from_value(config).unwrap(), shared.clone(), scope)
}

/// The status of a request in a second, and its headers.
fn asked(plugin: &RateLimiting, ex: &Exchange, second: u64) -> u16 {
    match plugin.judge(ex, &Moment::at(second)) {
        Ok(()) => 200,
        Err(_) => ex.response.status().as_u16(),
    }
}

fn header(ex: &Exchange, name: &str) -> Option<String> {
    ex.response.header(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn the_least_that_is_left_is_told_and_a_refusal_counts_nowhere() {
    let plugin = read(json!({"minute": 2, "hour": 3}), &shared()).unwrap();
    let mut told = Vec::new();
    for second in [7200, 7201, 7210, 7260, 7261] {
        let ex = Exchange::for_test("GET", "/", &[]);
        let status = asked(&plugin, &ex, second);
        let names = [
            "x-ratelimit-remaining-minute",
            "x-ratelimit-remaining-hour",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
        ];
        let values = names.map(|name| header(&ex, name).unwrap());
        told.push(format!("{status} {} {:?}", values.join(" "), header(&ex, "retry-after")));
        assert_eq!(header(&ex, "x-ratelimit-limit-minute").as_deref(), Some("2"));
    }
    assert_eq!(
        told,
        [
            "200 1 2 2 1 60 None",
            "200 0 1 2 0 59 None",
            "429 0 1 2 0 50 Some(\"50\")",
            // Both have as much left in the second minute; the hour is the longer one.
            "200 1 0 3 0 3540 None",
            "429 1 0 3 0 3539 Some(\"3539\")",
        ]
    );
}

#[test]
fn clients_are_told_nothing_when_it_is_hidden() {
    let changes = json!({
        "day": 1, "hide_client_headers": true, "error_code": 420, "error_message": "calm down",
    });
    let plugin = read(changes, &shared()).unwrap();
    assert_eq!(asked(&plugin, &Exchange::for_test("GET", "/", &[]), 0), 200);
    let ex = Exchange::for_test("GET", "/", &[]);
    assert_eq!(asked(&plugin, &ex, 1), 420);
    assert_eq!(ex.answer_json()["message"], "calm down");
    assert!(header(&ex, "retry-after").is_none() && header(&ex, "ratelimit-limit").is_none());
}

#[test]
fn requests_are_counted_by_header_path_consumer_and_credential() {
    let consumer = |n| {
        let consumer = Consumer {
            id: Uuid::from_u128(n),
            username: None,
            custom_id: None,
            tags: None,
            groups: Vec::new(),
            json: Arc::default(),
        };
        Some(Arc::new(consumer))
    };
    let credential = |n| Some(Credential::new(Uuid::from_u128(n), None, Uuid::from_u128(1)));
    let plain = |target: &str, value: &str| Exchange::for_test("GET", target, &[("x-k", value)]);
    let known = |who, with| {
        let ex = plain("/", "a");
        ex.authenticate(consumer(who), credential(with));
        ex
    };
    for (changes, exchanges, statuses) in [
        (
            json!({"limit_by": "header", "header_name": "x-k"}),
            [plain("/", "a"), plain("/", "b"), plain("/", "a")],
            [200, 200, 429],
        ),
        (
            json!({"limit_by": "path", "path": "/p"}),
            [plain("/p?x", "a"), plain("/q", "a"), plain("/%70", "a")],
            [200, 200, 429],
        ),
        (json!({}), [known(1, 1), known(2, 1), known(1, 2)], [200, 200, 429]),
        (
            json!({"limit_by": "credential"}),
            [known(1, 1), known(1, 2), known(2, 1)],
            [200, 200, 429],
        ),
        (json!({"limit_by": "ip"}), [known(1, 1), known(2, 2), plain("/", "a")], [200, 429, 429]),
        (
            json!({"limit_by": "service"}),
            [known(1, 1), plain("/", ""), known(3, 1)],
            [200, 429, 429],
        ),
    ] {
        let mut changes = changes;
        changes["year"] = json!(1);
        let plugin = read(changes.clone(), &shared()).unwrap();
        let got = exchanges.each_ref().map(|ex| asked(&plugin, ex, 9));
        assert_eq!(got, statuses, "{changes}");
    }
}

#[test]
fn a_reload_and_another_worker_go_on_counting() {
    let shared = shared();
    let statuses = [2, 2, 3].map(|limit| {
        let plugin = read(json!({"minute": limit}), &shared).unwrap();
        asked(&plugin, &Exchange::for_test("GET", "/", &[]), 60)
    });
    assert_eq!(statuses, [200, 200, 200]);
    let plugin = read(json!({"minute": 3}), &shared).unwrap();
    assert_eq!(asked(&plugin, &Exchange::for_test("GET", "/", &[]), 60), 429);
}

#[test]
fn limits_may_be_fractions_and_are_told_as_kong_writes_numbers() {
    let plugin = read(json!({"second": 1.5}), &shared()).unwrap();
    let first = Exchange::for_test("GET", "/", &[]);
    assert_eq!(asked(&plugin, &first, 5), 200);
    assert_eq!(header(&first, "ratelimit-limit").as_deref(), Some("1.5"));
    assert_eq!(header(&first, "ratelimit-remaining").as_deref(), Some("0.5"));
    let more = [5, 5, 6].map(|second| asked(&plugin, &Exchange::for_test("GET", "/", &[]), second));
    assert_eq!(more, [200, 429, 200]);
}

#[test]
fn what_cannot_work_is_an_error_at_load() {
    let shared = shared();
    for (changes, error) in [
        (json!({"error_code": 600}), "config.error_code: must be a status, 100 to 599"),
        (json!({"policy": "redis"}), "config.redis: is missing"),
    ] {
        assert_eq!(read(changes, &shared).err().unwrap(), [error]);
    }
}
