use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use super::*;
use crate::azure::mock::{self, Answer, Mock, Seen};

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/spec/certificates/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn given<T>(value: T) -> Given<T> {
    Given { value, from: Origin::Field("azure_client_certificate_path") }
}

fn source(authority: &url::Url, file: PathBuf) -> ClientCertificate {
    let app = App {
        authority: given(authority.clone()),
        is_scheme_assumed: false,
        tenant: given("t".to_owned()),
        client_id: given("c".to_owned()),
    };
    let certificate = Certificate::File(given(file));
    ClientCertificate { app, certificate, password: None, sends_chain: None }
}

async fn entra() -> Mock {
    Mock::run(|_| Answer::new(200, r#"{"access_token": "t", "expires_in": 3599}"#)).await
}

async fn cause(source: &ClientCertificate) -> Cause {
    source.call(&mock::clients(), "s/.default").await.unwrap_err()
}

/// Header, claims and signature of the assertion that was sent.
fn assertion(seen: &Seen) -> (Value, Value, String, Vec<u8>) {
    let jwt = seen.form()["client_assertion"].clone();
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let part = |text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    (part(header), part(claims), message.to_owned(), signature)
}

#[tokio::test]
async fn the_assertion_is_one_that_entra_can_check() {
    let entra = entra().await;
    let source = source(&entra.url(), path("pkcs8.pem"));
    source.call(&mock::clients(), "s/.default").await.unwrap();

    let seen = entra.last();
    let form = seen.form();
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!((&*form["client_id"], &*form["scope"]), ("c", "s/.default"));
    assert!(!form.contains_key("client_secret"));

    let (header, claims, message, signature) = assertion(&seen);
    let keystore = source.certificate.read(None).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&keystore.chain[0]));
    assert_eq!(header, json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, keystore.key.public().as_ref());
    assert!(key.verify(message.as_bytes(), &signature).is_ok());
    assert!(key.verify(b"another message", &signature).is_err());

    let url = format!("{}t/oauth2/v2.0/token", entra.url());
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!(url), &json!("c")));
    assert_eq!(claims["sub"], claims["iss"]);
    let secs = |name: &str| claims[name].as_u64().unwrap();
    assert_eq!((secs("exp") - secs("nbf"), secs("iat")), (600, secs("nbf")));

    source.call(&mock::clients(), "s/.default").await.unwrap();
    let (_, again, ..) = assertion(&entra.last());
    assert_ne!(claims["jti"], again["jti"]);
}

#[tokio::test]
async fn the_chain_goes_along_when_asked_for() {
    let entra = entra().await;
    let source = ClientCertificate {
        sends_chain: Some(given(true)),
        ..source(&entra.url(), path("pkcs1-chain.pem"))
    };
    source.call(&mock::clients(), "s/.default").await.unwrap();
    let (header, ..) = assertion(&entra.last());
    let chain = source.certificate.read(None).unwrap().chain;
    let x5c: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    assert_eq!(header["x5c"], json!(x5c));
    assert_eq!(x5c.len(), 2);
}

#[tokio::test]
async fn a_renewed_file_is_picked_up_by_the_next_exchange() {
    let entra = entra().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pem");
    let source = source(&entra.url(), file.clone());

    let missing = cause(&source).await;
    assert_eq!(missing.class, Class::Config);
    let line = missing.to_string();
    assert!(line.contains(file.to_str().unwrap()) && line.contains("os error 2"), "{line}");
    assert!(line.contains("AZURE_CLIENT_CERTIFICATE_PATH"), "{line}");

    std::fs::copy(path("ec.pem"), &file).unwrap();
    let line = cause(&source).await.to_string();
    assert!(line.contains("holds a key that is not RSA; Entra takes RSA"), "{line}");

    std::fs::copy(path("pkcs8.pem"), &file).unwrap();
    assert!(source.call(&mock::clients(), "s/.default").await.is_ok());
    assert_eq!(entra.calls(), 1);
}

#[tokio::test]
async fn an_endless_file_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pem");
    std::fs::write(&file, vec![b'x'; FILE_MAX as usize + 1]).unwrap();
    let authority = url::Url::parse("http://127.0.0.1:1").unwrap();
    for (file, problem) in
        [(file, "larger than 262144 bytes"), ("/dev".into(), "not a regular file")]
    {
        let line = cause(&source(&authority, file)).await.to_string();
        assert!(line.contains(problem), "{line}");
    }
}
