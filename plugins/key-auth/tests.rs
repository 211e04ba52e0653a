//! Places, order, hiding, refusals and the anonymous consumer.

use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::entity::{Consumer, Ref, Secret};

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (number, username, key) in [(1, "bob", "kb"), (2, "eve", "ke"), (3, "anon", "unused")] {
        let id = Uuid::from_u128(number);
        let consumer = Consumer {
            id,
            username: Some(username.into()),
            custom_id: None,
            tags: None,
            groups: Vec::new(),
            json: Arc::default(),
        };
        let credential = KeyAuthCredential {
            id: Uuid::from_u128(10 + number),
            key: Secret::new(key),
            consumer: Ref { id },
            ttl: (username == "anon").then_some(60.0),
            tags: None,
        };
        snapshot.consumers.insert(id, Arc::new(consumer));
        snapshot.consumers_by_username.insert(username.into(), id);
        snapshot.keyauth_credentials.insert(Secret::new(key), Arc::new(credential));
    }
    Arc::new(snapshot)
}

fn plugin(changes: Value) -> KeyAuth {
    let mut config = json!({
        "key_names": ["apikey"], "hide_credentials": false, "anonymous": null,
        "key_in_header": true, "key_in_query": true, "key_in_body": false,
        "run_on_preflight": true, "realm": null,
    });
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    KeyAuth::new(serde_json::from_value(config).unwrap(), &snapshot(), 1 << 20).unwrap()
}

/// Runs `access` and says who was let in, or the status and message of the refusal.
async fn run(plugin: &KeyAuth, ex: &Exchange) -> String {
    match plugin.access(ex).outcome().await {
        Ok(()) => {
            ex.client.consumer().map_or("nobody".into(), |c| c.username.clone().unwrap_or_default())
        }
        Err(Stop::Exit) => {
            let message = ex.answer_json()["message"].as_str().unwrap().to_owned();
            format!("{} {message}", ex.response.status().as_u16())
        }
        Err(Stop::Fault(fault)) => format!("{fault:#}"),
    }
}

#[tokio::test]
async fn the_first_value_decides_right_or_wrong() {
    const MISSING: &str = "401 No API key found in request";
    let plugin = plugin(json!({"key_names": ["x_k", "apikey"]}));
    for (target, headers, expected) in [
        ("/", vec![("APIKEY", "kb")], "bob"),
        ("/?apikey=ke", vec![], "eve"),
        ("/?apikey=ke", vec![("apikey", "kb")], "bob"),
        ("/?apikey=kb", vec![("apikey", "nope")], "401 Unauthorized"),
        ("/", vec![("x-k", "nope"), ("apikey", "kb")], "401 Unauthorized"),
        ("/", vec![("apikey", "kb"), ("apikey", "kb")], "401 Duplicate API key found"),
        ("/?apikey=kb&apikey=kb", vec![], "401 Duplicate API key found"),
        ("/", vec![("x_k", "ke"), ("x-k", "kb")], "eve"),
        ("/", vec![("apikey", "unused")], "401 Unauthorized"),
        ("/?x_k&apikey=kb", vec![], "bob"),
        ("/?apikey=kb", vec![("apikey", "")], MISSING),
        ("/?APIKEY=kb", vec![], MISSING),
        ("/", vec![], MISSING),
    ] {
        let ex = Exchange::for_test("GET", target, &headers);
        assert_eq!(run(&plugin, &ex).await, expected, "{target} {headers:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_realm() {
    for (realm, expected) in [(json!("my realm"), "Key realm=\"my realm\""), (Value::Null, "Key")] {
        let ex = Exchange::for_test("GET", "/", &[]);
        run(&plugin(json!({ "realm": realm })), &ex).await;
        assert_eq!(ex.response.header(WWW_AUTHENTICATE).unwrap(), expected);
    }
}

#[tokio::test]
async fn the_body_is_the_last_place() {
    let names = ["x-k", "apikey"];
    let plugin = plugin(json!({"key_names": names, "key_in_body": true, "key_in_header": false}));
    let json = [("content-type", "application/json")];
    let form = [("content-type", "application/x-www-form-urlencoded"), ("apikey", "kb")];
    for (target, headers, body, expected) in [
        ("/", &json[..], r#"{"apikey":"kb"}"#, "bob"),
        ("/?apikey=ke", &json, r#"{"apikey":"kb"}"#, "eve"),
        ("/?x-k", &json, r#"{"apikey":"kb"}"#, "bob"),
        ("/", &json, "{bad", "401 No API key found in request"),
        ("/", &form, "a=1&apikey=ke", "eve"),
        ("/", &form, "a=1", "401 No API key found in request"),
    ] {
        let ex = Exchange::for_test_with_text("POST", target, headers, body);
        assert_eq!(run(&plugin, &ex).await, expected, "{body}");
    }
}

#[tokio::test]
async fn a_hidden_key_is_nowhere_left() {
    let plugin = plugin(json!({"hide_credentials": true, "key_in_body": true}));
    let headers = [("apikey", "kb"), ("content-type", "application/json")];
    let body = r#"{"apikey": "kb", "a": 1}"#;
    let ex = Exchange::for_test_with_text("POST", "/p?apikey=kb&b=%41", &headers, body);
    assert_eq!(run(&plugin, &ex).await, "bob");
    assert!(ex.request.header("apikey").is_none());
    assert_eq!(ex.service.path_and_query(), "/p?b=A");
    assert_eq!(ex.request.body(99).await.unwrap(), r#"{"a": 1}"#);
}

/// Kong takes the query apart and puts it together again, wherever the key was.
#[tokio::test]
async fn what_stays_of_a_query_beside_a_hidden_key_is_encoded_anew() {
    let plugin = plugin(json!({"hide_credentials": true}));
    let ex = Exchange::for_test("GET", "/p?c=valu%651&&x/y&api%6B%65%79=kb&a=b+c%20d", &[]);
    assert_eq!(run(&plugin, &ex).await, "bob");
    assert_eq!(ex.service.path_and_query(), "/p?c=value1&x%2Fy=&a=b%20c%20d");
    let ex = Exchange::for_test("GET", "/p?a=1/2", &[("apikey", "kb")]);
    assert_eq!(run(&plugin, &ex).await, "bob");
    assert_eq!(ex.service.path_and_query(), "/p?a=1%2F2");
}

#[tokio::test]
async fn the_last_argument_takes_its_question_mark_along() {
    let ex = Exchange::for_test("GET", "/p?apikey=kb", &[]);
    run(&plugin(json!({"hide_credentials": true})), &ex).await;
    assert_eq!(ex.service.path_and_query(), "/p");
}

#[tokio::test]
async fn a_body_is_only_read_when_it_may_hold_the_key() {
    let mut plugin = plugin(json!({"key_in_body": true}));
    plugin.body_limit = 3;
    let ex = Exchange::for_test_with_text("POST", "/", &[("apikey", "kb")], "four");
    assert_eq!(run(&plugin, &ex).await, "bob");
    plugin.config.hide_credentials = true;
    for headers in [&[("apikey", "kb")][..], &[]] {
        let ex = Exchange::for_test_with_text("POST", "/", headers, "four");
        assert!(plugin.access(&ex).outcome().await.is_err());
        assert_eq!(ex.response.status(), 413);
    }
}

#[tokio::test]
async fn a_preflight_may_go_without_a_key() {
    let ex = Exchange::for_test("OPTIONS", "/", &[]);
    assert_eq!(run(&plugin(json!({"run_on_preflight": false})), &ex).await, "nobody");
    assert!(run(&plugin(json!({})), &ex).await.starts_with("401"));
}

#[tokio::test]
async fn the_anonymous_consumer_stands_in() {
    let third = Uuid::from_u128(3).to_string();
    for anonymous in ["anon", &third] {
        let plugin = plugin(json!({ "anonymous": anonymous }));
        for headers in [&[][..], &[("apikey", "nope")], &[("apikey", "kb"), ("apikey", "kb")]] {
            let ex = Exchange::for_test("GET", "/", headers);
            assert_eq!(run(&plugin, &ex).await, "anon");
            assert_eq!(ex.request.header("x-anonymous-consumer").unwrap(), "true");
        }
    }
    let ex = Exchange::for_test("GET", "/", &[]);
    let message = "500 anonymous consumer ghost is configured but doesn't exist";
    assert_eq!(run(&plugin(json!({"anonymous": "ghost"})), &ex).await, message);
}

#[tokio::test]
async fn with_anonymous_a_known_client_stays_who_it_is() {
    let ex = Exchange::for_test("GET", "/", &[("apikey", "kb"), ("other", "ke")]);
    run(&plugin(json!({})), &ex).await;
    let other = plugin(json!({"key_names": ["other"], "anonymous": "anon"}));
    assert_eq!(run(&other, &ex).await, "bob");
    // Without it both must agree: the later one is the one that counts.
    assert_eq!(run(&plugin(json!({"key_names": ["other"]})), &ex).await, "eve");
}

#[test]
fn what_cannot_be_sent_is_refused_when_it_loads() {
    let config = json!({
        "key_names": ["api key"], "hide_credentials": false, "anonymous": null,
        "key_in_header": true, "key_in_query": true, "key_in_body": false,
        "run_on_preflight": true, "realm": null,
    });
    let config = serde_json::from_value(config).unwrap();
    let errors = KeyAuth::new(config, &snapshot(), 1).err().unwrap();
    assert_eq!(errors, ["config.key_names: 'api key' is no header name"]);
}
