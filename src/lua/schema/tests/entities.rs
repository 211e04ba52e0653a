//! Credentials, keys and certificates against Kong's texts.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::json;

use super::{entity, filled, schemas};
use crate::schema::Schemas;

const CONSUMER: &str = "00000000-0000-4000-8000-000000000001";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----";

fn authority(year: i32) -> String {
    let mut params = CertificateParams::new(vec!["ca.test".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn credentials_are_checked() {
    let consumer = json!({"id": CONSUMER});
    for (collection, given, wrong) in [
        ("basicauth_credentials", json!({"username": "u"}), "password: required field missing"),
        ("hmacauth_credentials", json!({"secret": "s"}), "username: required field missing"),
        ("acls", json!({}), "group: required field missing"),
        ("mtls_auth_credentials", json!({}), "subject_name: required field missing"),
        ("oauth2_credentials", json!({}), "name: required field missing"),
        (
            "oauth2_credentials",
            json!({"name": "n", "redirect_uris": ["/relative"]}),
            "redirect_uris.0: cannot parse '/relative'",
        ),
        (
            "oauth2_credentials",
            json!({"name": "n", "redirect_uris": ["http://a.test/#x"]}),
            "redirect_uris.0: fragment not allowed in 'http://a.test/#x'",
        ),
        (
            "oauth2_credentials",
            json!({"name": "n", "client_type": "secret"}),
            "client_type: expected one of: confidential, public",
        ),
    ] {
        let mut input = given;
        input["consumer"] = consumer.clone();
        assert_eq!(entity(collection, input), [wrong], "{collection}");
    }
    let check = schemas().entity("oauth2_credentials").unwrap();
    let filled = filled(&check, json!({"name": "n", "consumer": consumer}));
    assert_eq!(filled["client_secret"].as_str().unwrap().len(), 32);
    assert_eq!(filled["client_type"], "confidential");
}

#[test]
fn a_public_key_of_jwt_must_be_one() {
    let secret = |key: &str| {
        let consumer = json!({"id": CONSUMER});
        json!({"algorithm": "EdDSA", "rsa_public_key": key, "consumer": consumer})
    };
    assert_eq!(entity("jwt_secrets", secret(PUBLIC)), [""; 0]);
    assert_eq!(
        entity("jwt_secrets", secret("foobar")),
        [
            ": failed conditional validation given value of field 'algorithm'",
            "rsa_public_key: invalid key",
        ]
    );
}

#[test]
fn keys_are_json_web_keys_or_pairs() {
    let jwk = r#"{"kid": "k", "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}"#;
    let pair = KeyPair::generate().unwrap();
    let pem = json!({"public_key": pair.public_key_pem(), "private_key": pair.serialize_pem()});
    assert_eq!(entity("keys", json!({"kid": "k", "jwk": jwk})), [""; 0]);
    assert_eq!(entity("keys", json!({"kid": "k", "pem": pem})), [""; 0]);
    assert_eq!(entity("keys", json!({"kid": "k", "jwk": "{vault://env/jwk}"})), [""; 0]);
    for (input, wrong) in [
        (json!({"kid": "k"}), ": at least one of these fields must be non-empty: 'jwk', 'pem'"),
        (
            json!({"kid": "k", "jwk": jwk, "pem": pem}),
            ": only one or none of these fields must be set: 'jwk', 'pem'",
        ),
        (json!({"kid": "x", "jwk": jwk}), ": kid in jwk.kid must be equal to keys.kid"),
        (
            json!({"kid": "k", "pem": {"public_key": PUBLIC, "private_key": pair.serialize_pem()}}),
            "pem: public key does not match private key",
        ),
        (json!({"kid": "k", "pem": {"public_key": "x"}}), "pem: could not load public key"),
    ] {
        assert_eq!(entity("keys", input), [wrong]);
    }
}

#[test]
fn an_authority_is_one_certificate_a_ca_and_not_expired() {
    assert_eq!(entity("ca_certificates", json!({"cert": authority(2090)})), [""; 0]);
    let leaf = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert.pem();
    for (cert, wrong) in [
        (authority(2001), "certificate expired, \"Not After\" time is in the past"),
        (
            leaf,
            "certificate does not appear to be a CA because it is missing the \"CA\" basic \
             constraint",
        ),
    ] {
        assert_eq!(entity("ca_certificates", json!({"cert": cert})), [format!(": {wrong}")]);
    }
}

#[test]
fn the_alternative_certificate_has_another_kind_of_key() {
    let one = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let input = json!({"cert": cert, "key": key, "cert_alt": cert, "key_alt": key});
    let told = entity("certificates", input);
    assert!(told[0].contains("need to have different type (e.g. RSA and ECDSA)"), "{told:?}");
}
