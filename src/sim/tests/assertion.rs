//! Client certificates at Entra: what an assertion has to say, and that its signature counts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use super::*;
use crate::sim::clock;

const PEM: &[u8] = include_bytes!("../../../spec/certificates/client.pem");
const VERSION_1: &[u8] = include_bytes!("../../../spec/certificates/pkcs8.pem");
const PATH: &str = "/t.example/oauth2/v2.0/token";

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(PEM).unwrap()
}

/// The header and the claims that Microsoft's libraries write.
fn parts() -> (Value, Value) {
    let now = clock::now_secs();
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(certificate()));
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
    let claims = json!({ "aud": format!("http://sim{PATH}"), "iss": "c", "sub": "c", "jti": "1",
        "nbf": now, "iat": now, "exp": now + 600 });
    (header, claims)
}

fn sign(header: &Value, claims: &Value) -> String {
    sign_with(PEM, header, claims)
}

fn sign_with(pem: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn ask(sim: &Sim, assertion: &str) -> Got {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", "c")
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", "https://cognitiveservices.azure.com/.default")
        .append_pair(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        )
        .append_pair("client_assertion", assertion)
        .finish();
    post(sim, PATH, &[("content-type", "application/x-www-form-urlencoded")], &form).await
}

#[tokio::test]
async fn a_registered_certificate_of_either_version_signs_in() {
    for pem in [PEM, VERSION_1] {
        let certificate = CertificateDer::from_pem_slice(pem).unwrap();
        let (mut header, mut claims) = parts();
        header["x5t#S256"] = URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate)).into();
        claims["exp"] = (claims["exp"].as_u64().unwrap() as f64 + 0.5).into();
        let client_certificates = vec![certificate];
        let sim = start(Options { client_certificates, ..Options::default() });
        let got = ask(&sim, &sign_with(pem, &header, &claims)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let identity = "client certificate (client id c, tenant t.example)";
        assert_eq!(sim.last().unwrap().identity, identity);
    }
}

#[tokio::test]
async fn every_flaw_of_an_assertion_has_its_reason() {
    let sim = start(Options { client_certificates: vec![certificate()], ..Options::default() });
    let (header, claims) = parts();
    let changed = |value: &Value, name: &str, to: Value| {
        let mut value = value.clone();
        value[name] = to;
        value
    };
    let now = clock::now_secs();
    for (assertion, reason) in [
        (sign(&changed(&header, "x5t#S256", "other".into()), &claims), "key was not found"),
        (sign(&changed(&header, "alg", "none".into()), &claims), "algorithm none"),
        (sign(&changed(&header, "alg", "RS256".into()), &claims), "verify the signature failed"),
        (sign(&header, &claims) + "AA", "verify the signature failed"),
        (sign(&header, &changed(&claims, "aud", "https://else".into())), "audience"),
        (sign(&header, &changed(&claims, "sub", "d".into())), "client id"),
        (sign(&header, &changed(&claims, "jti", Value::Null)), "jti"),
        (sign(&header, &changed(&claims, "exp", Value::Null)), "exp is missing"),
        (sign(&header, &changed(&claims, "exp", (now + 90_000).into())), "too far"),
        (sign(&header, &changed(&claims, "nbf", (now + 1000).into())), "not valid yet"),
    ] {
        let got = ask(&sim, &assertion).await;
        assert_eq!((got.status, &got.json()["error_codes"][0]), (401, &700_027.into()), "{reason}");
        assert!(got.text().contains(reason), "{reason}: {}", got.text());
    }
    let past = sign(&header, &changed(&claims, "exp", (now - 1).into()));
    assert_eq!(ask(&sim, &past).await.json()["error_codes"][0], 700_024);
}

#[tokio::test]
async fn without_registered_certificates_only_the_form_counts() {
    let sim = start(Options::default());
    let (header, _) = parts();
    assert_eq!(ask(&sim, &sign(&header, &json!({}))).await.status, 200);
    let identity = "client certificate (client id c, tenant t.example)";
    assert_eq!(sim.last().unwrap().identity, identity);
}
