//! Good signatures, bad ones, old ones, and bodies.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::entity::{Consumer, HmacAuthCredential, Ref, Secret};

const BOB: Uuid = Uuid::from_u128(0xb0b);

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    let json = json!({"id": BOB, "username": "bob", "custom_id": null, "tags": null});
    let consumer: Consumer = serde_json::from_value(json).unwrap();
    snapshot.consumers.insert(BOB, Arc::new(consumer));
    for (username, secret) in [("bob", Some("s3cret")), ("nobodys", None)] {
        let credential = HmacAuthCredential {
            id: Uuid::from_u128(9),
            username: username.into(),
            secret: secret.map(Secret::new),
            consumer: Ref { id: BOB },
        };
        snapshot.hmacauth_credentials.insert(username.into(), Arc::new(credential));
    }
    Arc::new(snapshot)
}

fn plugin(changes: Value) -> HmacAuth {
    let mut config = json!({
        "hide_credentials": false, "clock_skew": 300, "anonymous": null,
        "validate_request_body": false, "enforce_headers": [], "realm": null,
        "algorithms": ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"],
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    HmacAuth::new(serde_json::from_value(config).unwrap(), &snapshot(), 1 << 20).unwrap()
}

/// A date so many seconds from now.
fn date(seconds: i64) -> String {
    let shift = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    httpdate::fmt_http_date(if seconds < 0 { now - shift } else { now + shift })
}

/// The header for a request that is signed over its date.
fn signed(username: &str, algorithm: &str, date: &str) -> String {
    let known = Algorithm::of(algorithm).unwrap_or(Algorithm::Sha1);
    let tag = hmac_of(known, &format!("date: {date}"));
    format!(
        "hmac username=\"{username}\", algorithm=\"{algorithm}\", headers=\"date\", \
         signature=\"{tag}\""
    )
}

fn hmac_of(algorithm: Algorithm, text: &str) -> String {
    STANDARD.encode(ring::hmac::sign(&algorithm.key("s3cret"), text.as_bytes()))
}

async fn run(plugin: &HmacAuth, ex: &Exchange) -> String {
    match plugin.access(ex).outcome().await {
        Ok(()) => ex.client.consumer().unwrap().username.clone().unwrap(),
        Err(Stop::Exit) => ex.answer_json()["message"].as_str().unwrap().to_owned(),
        Err(Stop::Fault(fault)) => panic!("{fault:#}"),
    }
}

#[tokio::test]
async fn a_good_signature_names_the_consumer() {
    let date = date(0);
    for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        let value = signed("bob", algorithm, &date);
        for header in ["authorization", "proxy-authorization"] {
            let ex = Exchange::for_test("GET", "/", &[(header, &value), ("date", &date)]);
            assert_eq!(run(&plugin(json!({})), &ex).await, "bob", "{algorithm}");
            assert_eq!(ex.request.header("x-credential-identifier").unwrap(), "bob");
        }
    }
}

#[tokio::test]
async fn refusals_are_in_kongs_words() {
    let now = date(0);
    let good = signed("bob", "hmac-sha256", &now);
    let forged = good.replace("signature=\"", "signature=\"AAAA");
    let (missing, no_date) = (Refusal::Missing.message(), Refusal::NoDate.message());
    let (not_valid, not_same) = (Refusal::NotValid.message(), Refusal::NotSame.message());
    for (value, expected) in [
        ("", not_valid),
        ("Basic x", not_valid),
        (&signed("eve", "hmac-sha256", &now), not_valid),
        (&signed("bob", "hmac-md5", &now), not_valid),
        (&signed("nobodys", "hmac-sha256", &now), not_same),
        (&forged, not_same),
        (&good.replace("hmac-sha256", "hmac-sha1"), not_same),
    ] {
        let ex = Exchange::for_test("GET", "/", &[("authorization", value), ("date", &now)]);
        assert_eq!(run(&plugin(json!({})), &ex).await, expected, "{value}");
        assert_eq!(ex.response.status(), 401);
    }
    let ex = Exchange::for_test("GET", "/", &[("date", &now)]);
    assert_eq!(run(&plugin(json!({"realm": "r"})), &ex).await, missing);
    assert_eq!(ex.response.header(WWW_AUTHENTICATE).unwrap(), "hmac realm=\"r\"");
    for dates in [vec![], vec![("date", date(-400))], vec![("date", "today".to_owned())]] {
        let mut headers = vec![("authorization", good.as_str())];
        headers.extend(dates.iter().map(|(name, value)| (*name, value.as_str())));
        let ex = Exchange::for_test("GET", "/", &headers);
        assert_eq!(run(&plugin(json!({})), &ex).await, no_date, "{dates:?}");
    }
}

#[tokio::test]
async fn either_date_may_be_the_recent_one() {
    let old = date(-4000);
    let value = signed("bob", "hmac-sha256", &old);
    for (x_date, expected) in [(date(200), "bob"), (date(4000), Refusal::NoDate.message())] {
        let headers = [("authorization", value.as_str()), ("date", &old), ("x-date", &x_date)];
        let ex = Exchange::for_test("GET", "/", &headers);
        assert_eq!(run(&plugin(json!({})), &ex).await, expected);
    }
}

#[tokio::test]
async fn what_a_signature_must_cover_and_may_be_made_with() {
    let now = date(0);
    let value = signed("bob", "hmac-sha256", &now);
    for (config, expected) in [
        (json!({"enforce_headers": ["date"]}), "bob"),
        (json!({"enforce_headers": ["date", "host"]}), Refusal::NotValid.message()),
        (json!({"enforce_headers": ["Date"]}), Refusal::NotValid.message()),
        (json!({"algorithms": ["hmac-sha512"]}), Refusal::NotValid.message()),
    ] {
        let ex = Exchange::for_test("GET", "/", &[("authorization", &value), ("date", &now)]);
        assert_eq!(run(&plugin(config.clone()), &ex).await, expected, "{config}");
    }
}

#[tokio::test]
async fn the_body_is_that_of_the_digest() {
    let now = date(0);
    let value = signed("bob", "hmac-sha256", &now);
    let digest = format!("SHA-256={}", STANDARD.encode(Sha256::digest("a body")));
    let not_same = Refusal::NotSame.message();
    let plugin = plugin(json!({"validate_request_body": true}));
    for (digest, body, expected) in [
        (Some(&digest), "a body", "bob"),
        (Some(&digest), "another", not_same),
        (None, "a body", not_same),
        (None, "", "bob"),
    ] {
        let mut headers = vec![("authorization", value.as_str()), ("date", &now)];
        headers.extend(digest.map(|digest| ("digest", digest.as_str())));
        let ex = Exchange::for_test_with_text("POST", "/", &headers, body);
        assert_eq!(run(&plugin, &ex).await, expected, "{digest:?} {body}");
    }
}

#[tokio::test]
async fn the_header_that_was_read_is_hidden() {
    let now = date(0);
    let value = signed("bob", "hmac-sha256", &now);
    let headers = [("authorization", "Basic x"), ("proxy-authorization", &value), ("date", &now)];
    let ex = Exchange::for_test("GET", "/", &headers);
    assert_eq!(run(&plugin(json!({"hide_credentials": true})), &ex).await, "bob");
    assert!(ex.request.header("proxy-authorization").is_none());
    assert!(ex.request.header("authorization").is_some());
}

#[test]
fn a_date_ahead_of_the_clock_is_not_recent_for_a_part_of_a_second_longer() {
    let plugin = plugin(json!({}));
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(10_000));
    let is_recent = |now| plugin.is_recent(HeaderValue::from_str(&date).ok(), now);
    assert_eq!([9_699, 9_700, 10_300, 10_301].map(is_recent), [false, true, true, false]);
}
