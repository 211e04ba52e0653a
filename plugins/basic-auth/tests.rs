//! Where the password may stand, how loosely it is read, and what is hidden.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::entity::{Consumer, Ref, Secret};
use crate::plugin::Stop;

const BOB: Uuid = Uuid::from_u128(0xb0b);

/// Bob with the password `a:b c`, and an anonymous consumer.
fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (id, username) in [(BOB, "bob"), (Uuid::from_u128(2), "anon")] {
        let json = json!({"id": id, "username": username, "custom_id": null, "tags": null});
        let consumer: Consumer = serde_json::from_value(json).unwrap();
        snapshot.consumers.insert(id, Arc::new(consumer));
        snapshot.consumers_by_username.insert(username.into(), id);
    }
    let digest = Sha1::digest(format!("a:b c{BOB}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let credential = BasicAuthCredential {
        id: Uuid::from_u128(9),
        username: "bu".into(),
        password: Secret::new(&digest),
        consumer: Ref { id: BOB },
    };
    snapshot.basicauth_credentials.insert("bu".into(), Arc::new(credential));
    Arc::new(snapshot)
}

fn plugin(changes: Value) -> BasicAuth {
    let mut config = json!({"anonymous": null, "hide_credentials": false, "realm": "service"});
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    BasicAuth::new(serde_json::from_value(config).unwrap(), &snapshot()).unwrap()
}

async fn run(plugin: &BasicAuth, ex: &Exchange) -> String {
    match plugin.access(ex).outcome().await {
        Ok(()) => ex.client.consumer().unwrap().username.clone().unwrap(),
        Err(Stop::Exit) => ex.response.status().as_u16().to_string(),
        Err(Stop::Fault(fault)) => panic!("{fault:#}"),
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn the_password_is_read_as_loosely_as_in_kong() {
    let good = basic("bu:a:b c");
    let encoded = good.trim_start_matches("Basic ");
    for (value, expected) in [
        (good.clone(), "bob"),
        (format!("basic{encoded}"), "bob"),
        (format!("Negotiate x, Basic   {encoded}"), "bob"),
        (format!("BASIC {encoded}"), "401"),
        (basic(":bu:a:b c"), "bob"),
        (basic("bu:a:b c\nmore"), "bob"),
        (basic("bu:a:b"), "401"),
        (basic("bu:"), "401"),
        (basic("bu"), "401"),
        (basic("BU:a:b c"), "401"),
        ("Basic !!!".to_owned(), "401"),
        ("Bearer x".to_owned(), "401"),
        (String::new(), "401"),
    ] {
        let ex = Exchange::for_test("GET", "/", &[("authorization", &value)]);
        assert_eq!(run(&plugin(json!({})), &ex).await, expected, "{value}");
    }
}

#[tokio::test]
async fn the_proxys_header_stands_first_if_its_user_is_known() {
    let (good, wrong, stranger) = (basic("bu:a:b c"), basic("bu:x"), basic("eve:x"));
    for (proxy, own, expected) in
        [(&good, &wrong, "bob"), (&wrong, &good, "401"), (&stranger, &good, "bob")]
    {
        let headers = [("proxy-authorization", proxy.as_str()), ("authorization", own)];
        let ex = Exchange::for_test("GET", "/", &headers);
        assert_eq!(run(&plugin(json!({})), &ex).await, expected, "{proxy} {own}");
    }
}

#[tokio::test]
async fn a_header_that_was_looked_at_is_hidden() {
    let plugin = plugin(json!({"hide_credentials": true, "anonymous": "anon"}));
    let (good, wrong) = (basic("bu:a:b c"), basic("eve:x"));
    let headers = [("proxy-authorization", good.as_str()), ("authorization", &wrong)];
    let ex = Exchange::for_test("GET", "/", &headers);
    assert_eq!(run(&plugin, &ex).await, "bob");
    assert!(ex.request.header("proxy-authorization").is_none());
    assert!(ex.request.header("authorization").is_some());
    let ex = Exchange::for_test("GET", "/", &[("authorization", &wrong)]);
    assert_eq!(run(&plugin, &ex).await, "anon");
    assert!(ex.request.header("authorization").is_none());
}

#[tokio::test]
async fn the_upstream_learns_the_user_name() {
    let ex = Exchange::for_test("GET", "/", &[("authorization", &basic("bu:a:b c"))]);
    run(&plugin(json!({})), &ex).await;
    assert_eq!(ex.request.header("x-credential-identifier").unwrap(), "bu");
    assert_eq!(ex.request.header("x-consumer-username").unwrap(), "bob");
}

#[tokio::test]
async fn a_refusal_names_the_realm() {
    let ex = Exchange::for_test("GET", "/", &[]);
    assert_eq!(run(&plugin(json!({"realm": "r"})), &ex).await, "401");
    assert_eq!(ex.response.header(WWW_AUTHENTICATE).unwrap(), "Basic realm=\"r\"");
    assert_eq!(ex.answer_json()["message"], "Unauthorized");
}
