//! Whom a token names, what is wrong with others, and which claims count.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::header::WWW_AUTHENTICATE;
use uuid::Uuid;

use super::*;
use crate::entity::{Consumer, Ref, Secret};
use crate::plugin::Stop;

const BOB: Uuid = Uuid::from_u128(0xb0b);
const PEM: &str = include_str!("../../spec/certificates/pkcs8.pem");

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (id, username) in [(BOB, "bob"), (Uuid::from_u128(2), "anon")] {
        let json = json!({"id": id, "username": username, "custom_id": null, "tags": null});
        let consumer: Consumer = serde_json::from_value(json).unwrap();
        snapshot.consumers.insert(id, Arc::new(consumer));
        snapshot.consumers_by_username.insert(username.into(), id);
    }
    let private = PEM[PEM.find("-----BEGIN PRIVATE").unwrap()..].to_owned();
    let secret = |key: &str, algorithm: &str, secret: Option<&str>| JwtSecret {
        id: Uuid::from_u128(9),
        key: key.into(),
        secret: secret.map(Secret::new),
        rsa_public_key: algorithm.starts_with("RS").then(|| private.clone()),
        algorithm: algorithm.to_owned(),
        consumer: Ref { id: BOB },
    };
    let secrets = [
        secret("hs", "HS256", Some("sekret")),
        secret("b64", "HS256", Some("c2Vrc+/V")),
        secret("bad64", "HS256", Some("s!")),
        secret("nobodys", "HS256", None),
        secret("rs", "RS256", Some("sekret")),
    ];
    snapshot.jwt_secrets =
        secrets.into_iter().map(|s| (s.key.clone(), Arc::new(s))).collect::<HashMap<_, _>>();
    Arc::new(snapshot)
}

fn plugin(changes: Value) -> Jwt {
    let mut config = json!({
        "uri_param_names": ["jwt"], "cookie_names": [], "key_claim_name": "iss",
        "secret_is_base64": false, "claims_to_verify": null, "anonymous": null,
        "run_on_preflight": true, "maximum_expiration": 0, "header_names": ["authorization"],
        "realm": null,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Jwt::new(serde_json::from_value(config).unwrap(), &snapshot()).unwrap()
}

/// A token signed as HS256.
fn signed(header: Value, claims: Value, secret: &[u8]) -> String {
    let part = |value: Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", BASE64.encode(tag))
}

fn hs256(claims: Value) -> String {
    signed(json!({"alg": "HS256"}), claims, b"sekret")
}

async fn run(plugin: &Jwt, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    let ex = Exchange::for_test("GET", "/", &[("authorization", &bearer)]);
    match plugin.access(&ex).outcome().await {
        Ok(()) => ex.client.consumer().unwrap().username.clone().unwrap(),
        Err(Stop::Exit) => {
            assert_eq!(ex.response.status(), 401);
            String::from_utf8(ex.response.body().unwrap().to_vec()).unwrap()
        }
        Err(Stop::Fault(fault)) => panic!("{fault:#}"),
    }
}

fn message(text: &str) -> String {
    json!({ "message": text }).to_string()
}

#[tokio::test]
async fn a_token_names_the_consumer_of_its_secret() {
    let unknown = message("No credentials found for given 'iss'");
    for (token, expected) in [
        (hs256(json!({"iss": "hs"})), "bob".to_owned()),
        (signed(json!({"alg": "HS256", "iss": "hs"}), json!({}), b"sekret"), "bob".to_owned()),
        (hs256(json!({"iss": "no"})), unknown.clone()),
        (hs256(json!({"iss": 5})), unknown.clone()),
        (hs256(json!({"iss": {"a": []}})), unknown),
        (hs256(json!({})), message("No mandatory 'iss' in claims")),
        (hs256(json!([1])), message("No mandatory 'iss' in claims")),
        (hs256(json!({"iss": ""})), message("Invalid 'iss' in claims")),
        (hs256(json!({"iss": "nobodys"})), message("Invalid signature")),
        (signed(json!({"alg": "HS256"}), json!({"iss": "hs"}), b"x"), message("Invalid signature")),
        ("abc".to_owned(), message("Bad token; invalid JSON")),
    ] {
        assert_eq!(run(&plugin(json!({})), &token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn the_secret_says_which_algorithm_it_is_for() {
    // The classic attack: the public key, which everybody knows, as the secret of an HMAC.
    let confused = signed(json!({"alg": "HS256"}), json!({"iss": "rs"}), PEM.as_bytes());
    let other = signed(json!({"alg": "HS512"}), json!({"iss": "hs"}), b"sekret");
    let unsigned =
        format!("{}.{}.", BASE64.encode(r#"{"alg":"RS256"}"#), BASE64.encode(r#"{"iss":"rs"}"#));
    let plugin = plugin(json!({}));
    assert_eq!(run(&plugin, &confused).await, message("Invalid algorithm"));
    assert_eq!(run(&plugin, &other).await, message("Invalid algorithm"));
    assert_eq!(run(&plugin, &unsigned).await, message("Invalid signature"));
}

#[tokio::test]
async fn a_secret_in_base64_is_decoded() {
    let plugin = plugin(json!({"secret_is_base64": true}));
    let secret = [b's', b'e', b'k', 0x73, 0xef, 0xd5];
    let good = signed(json!({"alg": "HS256"}), json!({"iss": "b64"}), &secret);
    assert_eq!(run(&plugin, &good).await, "bob");
    let bad = hs256(json!({"iss": "bad64"}));
    assert_eq!(run(&plugin, &bad).await, message("Invalid key/secret"));
}

#[tokio::test]
async fn claims_about_time_are_held_against_the_clock() {
    let now = unix_now();
    let both = json!({"claims_to_verify": ["exp", "nbf"]});
    let bounded = json!({"claims_to_verify": ["exp"], "maximum_expiration": 300});
    let exceeds = r#"{"exp":"exceeds maximum allowed expiration"}"#;
    for (config, times, expected) in [
        (&json!({}), json!({"exp": 1}), "bob"),
        (&both, json!({"exp": now + 60.0, "nbf": now}), "bob"),
        (&both, json!({"exp": now, "nbf": now}), r#"{"exp":"token expired"}"#),
        (&both, json!({"exp": now + 60.0, "nbf": now + 60.0}), r#"{"nbf":"token not valid yet"}"#),
        (&both, json!({"exp": "1"}), r#"{"exp":"must be a number","nbf":"must be a number"}"#),
        (&bounded, json!({"exp": now + 200.0}), "bob"),
        (&bounded, json!({"exp": now + 900.0}), exceeds),
    ] {
        let mut claims = times.clone();
        claims["iss"] = json!("hs");
        assert_eq!(
            run(&plugin(config.clone()), &hs256(claims)).await,
            expected,
            "{config} {times}"
        );
    }
}

#[tokio::test]
async fn the_challenge_tells_a_bad_token_from_none() {
    for (realm, headers, expected) in [
        (Value::Null, vec![], "Bearer"),
        (Value::Null, vec![("authorization", "Bearer x")], r#"Bearer error="invalid_token""#),
        (json!("r"), vec![], r#"Bearer realm="r""#),
        (
            json!("r"),
            vec![("authorization", "Bearer x")],
            r#"Bearer realm="r", error="invalid_token""#,
        ),
    ] {
        let ex = Exchange::for_test("GET", "/", &headers);
        assert!(plugin(json!({ "realm": realm })).access(&ex).outcome().await.is_err());
        assert_eq!(ex.response.header(WWW_AUTHENTICATE).unwrap(), expected);
    }
}

#[tokio::test]
async fn preflights_and_anonymous_are_as_in_key_auth() {
    let ex = Exchange::for_test("OPTIONS", "/", &[]);
    assert!(plugin(json!({"run_on_preflight": false})).access(&ex).outcome().await.is_ok());
    assert!(ex.client.consumer().is_none());
    assert_eq!(run(&plugin(json!({"anonymous": "anon"})), "x").await, "anon");
}

#[tokio::test]
async fn the_token_is_told_to_plugins_and_not_to_logs() {
    let token = hs256(json!({"iss": "hs"}));
    let ex = Exchange::for_test("GET", &format!("/?jwt={token}&a=1"), &[]);
    plugin(json!({})).access(&ex).outcome().await.unwrap();
    assert_eq!(ex.shared.value(ACCEPTED), Some(json!(token)));
    assert_eq!(ex.request.header("x-credential-identifier").unwrap(), "hs");
    assert!(!crate::pdk::log::serialize(&ex).to_string().contains(&token));
}

#[tokio::test]
async fn the_key_of_a_credential_is_not_read_again_for_each_token() {
    let plugin = plugin(json!({}));
    let parts = [r#"{"alg":"RS256"}"#, r#"{"iss":"rs"}"#, "x"].map(|part| BASE64.encode(part));
    let key = || plugin.keys.borrow().get("rs").cloned().flatten();
    assert!(key().is_none());
    let refusal = run(&plugin, &parts.join(".")).await;
    assert_eq!(refusal, r#"{"message":"Invalid signature"}"#);
    let first = key().unwrap();
    run(&plugin, &parts.join(".")).await;
    assert!(Rc::ptr_eq(&first, &key().unwrap()));
}
