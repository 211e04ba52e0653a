//! Plugins that look at passwords and signatures: basic-auth, hmac-auth, jwt, standard-webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;

use super::{Running, Way};

const CONSUMERS: &str = r"
consumers:
- username: ann
  custom_id: c1
  basicauth_credentials:
  - {username: au, password: ap}
  hmacauth_credentials:
  - {username: hu, secret: hs}
  jwt_secrets:
  - {key: issuer-1, secret: s3cret}
- username: nobody
";

/// One Service whose Route `/a` has this plugin.
pub fn config(plugin: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{{upstream}}\n  routes:\n  - name: r\n    \
         paths: [/a]\n    plugins:\n    - {plugin}\n{CONSUMERS}"
    )
}

async fn refused(scene: &Running, headers: &[(&str, &str)], status: u16, message: &str) {
    let before = scene.upstream.seen().len();
    let answer = scene.get("/a", headers).await;
    assert_eq!(answer.status(), status, "{headers:?}: {}", answer.text());
    assert!(answer.text().contains(message), "{headers:?}: {}", answer.text());
    assert_eq!(scene.upstream.seen().len(), before, "{headers:?}");
}

async fn accepted(scene: &Running, headers: &[(&str, &str)], consumer: &str) {
    let answer = scene.get("/a", headers).await;
    assert_eq!(answer.status(), 200, "{headers:?}: {}", answer.text());
    assert_eq!(scene.sent().header("x-consumer-username"), Some(consumer), "{headers:?}");
}

#[tokio::test]
async fn basic_auth_takes_the_right_password_and_hides_it() {
    for way in Way::all() {
        let plugin = "{name: basic-auth, config: {hide_credentials: true, realm: here}}";
        let scene = way.scene(&["basic-auth"]).start(&config(plugin)).await;
        let none = scene.get("/a", &[]).await;
        assert_eq!(none.header("www-authenticate"), Some("Basic realm=\"here\""), "{way:?}");
        refused(&scene, &[], 401, "Unauthorized").await;
        let wrong = format!("Basic {}", STANDARD.encode("au:no"));
        refused(&scene, &[("authorization", &wrong)], 401, "Unauthorized").await;
        let right = format!("Basic {}", STANDARD.encode("au:ap"));
        accepted(&scene, &[("authorization", &right)], "ann").await;
        assert_eq!(scene.sent().header("authorization"), None);
        assert_eq!(scene.sent().header("x-credential-identifier"), Some("au"));
        assert_eq!(scene.sent().header("x-consumer-custom-id"), Some("c1"));
    }
}

#[tokio::test]
async fn basic_auth_lets_strangers_in_as_the_anonymous_consumer() {
    for way in Way::all() {
        let plugin = "{name: basic-auth, config: {anonymous: nobody}}";
        let scene = way.scene(&["basic-auth"]).start(&config(plugin)).await;
        accepted(&scene, &[], "nobody").await;
        assert_eq!(scene.sent().header("x-anonymous-consumer"), Some("true"), "{way:?}");
    }
}

fn signed(algorithm: hmac::Algorithm, name: &str, date: &str) -> String {
    let key = hmac::Key::new(algorithm, b"hs");
    let tag = STANDARD.encode(hmac::sign(&key, format!("date: {date}").as_bytes()));
    format!("hmac username=\"hu\", algorithm=\"{name}\", headers=\"date\", signature=\"{tag}\"")
}

#[tokio::test]
async fn hmac_auth_takes_signatures_of_all_its_algorithms() {
    for way in Way::all() {
        let plugin = "{name: hmac-auth, config: {hide_credentials: true}}";
        let scene = way.scene(&["hmac-auth"]).start(&config(plugin)).await;
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        for (algorithm, name) in [
            (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "hmac-sha1"),
            (hmac::HMAC_SHA256, "hmac-sha256"),
            (hmac::HMAC_SHA384, "hmac-sha384"),
            (hmac::HMAC_SHA512, "hmac-sha512"),
        ] {
            let value = signed(algorithm, name, &date);
            accepted(&scene, &[("date", &date), ("authorization", &value)], "ann").await;
            assert_eq!(scene.sent().header("authorization"), None, "{way:?}");
            let other = value.replace("signature=\"", "signature=\"A");
            let headers = [("date", date.as_str()), ("authorization", &other)];
            refused(&scene, &headers, 401, "HMAC signature").await;
        }
        let old = "Thu, 18 Nov 2010 11:27:35 GMT";
        let value = signed(hmac::HMAC_SHA256, "hmac-sha256", old);
        let skewed = "HMAC signature cannot be verified, a valid date or x-date header is required";
        refused(&scene, &[("date", old), ("authorization", &value)], 401, skewed).await;
        refused(&scene, &[], 401, "Unauthorized").await;
    }
}

fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn hs256(claims: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let sign = |text: &[u8]| hmac::sign(&key, text).as_ref().to_vec();
    token(r#"{"alg":"HS256","typ":"JWT"}"#, claims, sign)
}

#[tokio::test]
async fn jwt_takes_tokens_of_its_consumers_and_says_what_is_wrong_with_others() {
    for way in Way::all() {
        let plugin = "{name: jwt, config: {claims_to_verify: [exp], cookie_names: [tok]}}";
        let scene = way.scene(&["jwt"]).start(&config(plugin)).await;
        let good = hs256(r#"{"iss":"issuer-1","exp":4102444800}"#, "s3cret");
        let bearer = format!("Bearer {good}");
        accepted(&scene, &[("authorization", &bearer)], "ann").await;
        assert_eq!(scene.sent().header("x-credential-identifier"), Some("issuer-1"), "{way:?}");
        accepted(&scene, &[("cookie", &format!("tok={good}"))], "ann").await;
        assert_eq!(scene.get(&format!("/a?jwt={good}"), &[]).await.status(), 200);
        for (token, message) in [
            (String::new(), "Unauthorized"),
            ("Bearer x.y.z".to_owned(), "Bad token; invalid JSON"),
            (format!("Bearer {}", hs256(r#"{"iss":"issuer-1"}"#, "s3cret")), "must be a number"),
            (format!("Bearer {}", hs256(r#"{"exp":1}"#, "s3cret")), "No mandatory 'iss' in claims"),
            (format!("Bearer {}", hs256(r#"{"iss":"who"}"#, "s3cret")), "No credentials found"),
            (format!("Bearer {}", hs256(r#"{"iss":"issuer-1"}"#, "no")), "Invalid signature"),
            (format!("Bearer {}", hs256(r#"{"iss":"issuer-1","exp":1}"#, "s3cret")), "expired"),
        ] {
            refused(&scene, &[("authorization", &token)], 401, message).await;
        }
    }
}

#[tokio::test]
async fn jwt_verifies_signatures_of_keys() {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let pair = rcgen::KeyPair::generate().unwrap();
    let random = ring::rand::SystemRandom::new();
    let der = pair.serialize_der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
    let sign = |text: &[u8]| key.sign(&random, text).unwrap().as_ref().to_vec();
    let made = token(r#"{"alg":"ES256"}"#, r#"{"iss":"issuer-2"}"#, sign);
    let pem = pair.public_key_pem().replace('\n', "\\n").replace('\r', "");
    for way in Way::all() {
        let config = config("name: jwt").replace(
            "- {key: issuer-1, secret: s3cret}",
            &format!("- {{key: issuer-2, algorithm: ES256, rsa_public_key: \"{pem}\"}}"),
        );
        let scene = way.scene(&["jwt"]).start(&config).await;
        accepted(&scene, &[("authorization", &format!("Bearer {made}"))], "ann").await;
        let (text, _) = made.rsplit_once('.').unwrap();
        let forged = format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
        refused(&scene, &[("authorization", &forged)], 401, "Invalid signature").await;
        let other = hs256(r#"{"iss":"issuer-2"}"#, "s3cret");
        let header = format!("Bearer {other}");
        refused(&scene, &[("authorization", &header)], 401, "Invalid algorithm").await;
    }
}

#[tokio::test]
async fn standard_webhooks_takes_bodies_that_are_signed_and_fresh() {
    for way in Way::all() {
        let plugin = "{name: standard-webhooks, config: {secret_v1: s3cret}}";
        let scene = way.scene(&["standard-webhooks"]).start(&config(plugin)).await;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        for (time, body, status) in
            [(now, "{\"a\":1}", 200), (now, "", 400), (now - 1000, "{\"a\":1}", 400)]
        {
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
            let tag = STANDARD.encode(hmac::sign(&key, format!("m1.{time}.{body}").as_bytes()));
            let (time, tag) = (time.to_string(), format!("v1,{tag}"));
            let headers =
                [("webhook-id", "m1"), ("webhook-timestamp", &time), ("webhook-signature", &tag)];
            let answer = scene.gateway.send("POST", "/a", &headers, body.as_bytes()).await;
            assert_eq!(answer.status(), status, "{way:?} {body}: {}", answer.text());
        }
        assert_eq!(scene.get("/a", &[]).await.status(), 400);
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}
