//! The managed identity endpoints beyond IMDS and App Service, and the forms of an expiry.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;
use crate::sim::{Expiry, Kind, Pinned, Rule};

const ARC: &str = "/arc/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://a";
const ML: &str = "/azureml/msi/token?api-version=2017-09-01&resource=https://a";
const SHELL: &str = "/cloudshell/oauth2/token";
const METADATA: (&str, &str) = ("metadata", "true");
const SECRET: (&str, &str) = ("secret", "sim-identity-header");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn arc(arc_is_old: bool) -> (Sim, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let arc_key_folder = Some(folder.path().to_owned());
    (start(Options { arc_key_folder, arc_is_old, ..Options::default() }), folder)
}

/// The key file that a challenge names.
fn realm(got: &Got) -> std::path::PathBuf {
    let challenge = got.header("www-authenticate").unwrap();
    challenge.strip_prefix("Basic realm=").unwrap().into()
}

async fn with_key(sim: &Sim, path: &str) -> Got {
    let challenge = get(sim, path, &[METADATA]).await;
    let key = std::fs::read_to_string(realm(&challenge)).unwrap();
    get(sim, path, &[METADATA, ("authorization", &format!("Basic {key}"))]).await
}

#[tokio::test]
async fn arc_wants_the_content_of_the_file_that_it_names() {
    let (sim, folder) = arc(false);
    let challenge = get(&sim, ARC, &[METADATA]).await;
    assert_eq!(challenge.status, 401);
    let path = realm(&challenge);
    assert_eq!(path.parent(), Some(folder.path()));
    assert!(path.to_str().unwrap().ends_with(".key"));
    let key = format!("Basic {}", std::fs::read_to_string(&path).unwrap());

    let got = get(&sim, ARC, &[METADATA, ("authorization", &key)]).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(shape(&got.json()), shape(&vector("msi-02-arc-challenge")["responses"][1]["body"]));
    assert_eq!(sim.last().unwrap().identity, "azure arc managed identity (system-assigned)");
    assert_eq!(sim.last().unwrap().kind, Kind::Arc);

    assert!(!path.exists(), "a key works once");
    for headers in [&[METADATA, ("authorization", &*key)][..], &[METADATA, ("authorization", "x")]]
    {
        let again = get(&sim, ARC, headers).await;
        assert_eq!((again.status, realm(&again).exists()), (401, true));
    }
    assert_eq!(get(&sim, ARC, &[]).await.json()["error"], "bad_request_102");
}

#[tokio::test]
async fn an_old_arc_agent_gives_the_systems_token_to_everybody() {
    for (is_old, echoed, identity) in [
        (false, json!("AbC"), "azure arc managed identity (client id AbC)"),
        (true, Value::Null, "azure arc managed identity (system-assigned)"),
    ] {
        let (sim, _folder) = arc(is_old);
        let got = with_key(&sim, &format!("{ARC}&client_id=AbC")).await;
        assert_eq!((got.status, &got.json()["client_id"]), (200, &echoed));
        assert_eq!(sim.last().unwrap().identity, identity);
        let got = with_key(&sim, &format!("{ARC}&msi_res_id=/sub")).await;
        assert_eq!(got.json()["msi_res_id"].is_string(), !is_old);
    }
}

#[tokio::test]
async fn azure_ml_speaks_the_contract_of_2017_only() {
    let sim = start(Options::default());
    let got = get(&sim, &format!("{ML}&clientid=c"), &[SECRET]).await;
    assert!(got.json()["expires_on"].as_str().unwrap().ends_with(" +00:00"));
    assert_eq!(sim.last().unwrap().identity, "azure ml managed identity (client id c)");
    assert_eq!(sim.last().unwrap().kind, Kind::AzureMl);
    assert_eq!(get(&sim, ML, &[("secret", "other")]).await.status, 401);
    assert_eq!(get(&sim, ML, &[("x-identity-header", SECRET.1)]).await.status, 401);
    assert_eq!(get(&sim, &ML.replace("2017-09", "2019-08"), &[SECRET]).await.status, 400);
    assert_eq!(get(&sim, &format!("{ML}&clientid=unknown-1"), &[SECRET]).await.status, 500);
}

#[tokio::test]
async fn cloud_shell_takes_a_form_and_no_selector() {
    let sim = start(Options::default());
    let headers = [METADATA, FORM];
    let got = post(&sim, SHELL, &headers, "resource=https%3A%2F%2Fa").await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(sim.last().unwrap().identity, "cloud shell (system-assigned)");
    let vector = &vector("msi-05-cloud-shell")["error_response"]["body"];
    let got = post(&sim, SHELL, &headers, "resource=unknown").await;
    assert_eq!((got.status, shape(&got.json())), (400, shape(vector)));
    assert_eq!(got.json()["error"]["code"], vector["error"]["code"]);
    for (path, headers, body) in [
        (SHELL, &headers[..], "resource=https://a&client_id=c"),
        ("/cloudshell/oauth2/token?msi_res_id=c", &headers, "resource=https://a"),
        (SHELL, &[METADATA], "resource=https://a"),
        (SHELL, &[FORM], "resource=https://a"),
        (SHELL, &headers, ""),
    ] {
        let got = post(&sim, path, headers, body).await;
        assert_eq!(got.status, 400, "{path} {body}");
        assert!(got.json()["error"]["message"].is_string(), "{}", got.text());
    }
    assert_eq!(get(&sim, SHELL, &headers).await.status, 405);
}

#[tokio::test]
async fn service_fabric_is_a_door_of_its_own_with_a_known_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let pinned = Pinned::new(made.cert.der().clone(), key).unwrap();
    let sim = start(Options { service_fabric: Some(pinned), ..Options::default() });
    let fabric = sim.service_fabric().unwrap();
    assert_eq!(fabric.thumbprint.len(), 40);
    let url = url::Url::parse(&fabric.endpoint).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let client = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(std::sync::Arc::new(client));
    let ask = async |query: &str, headers: &[(&str, &str)]| {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let path = format!("{}?api-version=2019-07-01-preview{query}", url.path());
        exchange(stream, "GET", &path, headers, "").await.unwrap()
    };
    let got = ask("&resource=https://a", &[SECRET]).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(got.json()["expires_on"].is_u64());
    assert_eq!(sim.last().unwrap().identity, "service fabric managed identity (system-assigned)");

    let vector = &vector("msi-04-service-fabric")["error_response"];
    let got = ask("&resource=https://a", &[]).await;
    assert_eq!((json!(got.status), shape(&got.json())), (404.into(), shape(&vector["body"])));
    assert_eq!(got.json()["error"]["code"], "SecretHeaderNotFound");
    let got = ask("&resource=https://a", &[("secret", "other")]).await;
    assert_eq!(got.json()["error"]["code"], "ManagedIdentityNotFound");
    let got = ask("", &[SECRET]).await;
    assert_eq!(got.json()["error"]["code"], "ArgumentNullOrEmpty");
    let plain = get(&sim, url.path(), &[SECRET]).await;
    assert_eq!((plain.status, sim.last().unwrap().kind), (403, Kind::ServiceFabric));
}

#[tokio::test]
async fn a_rule_chooses_the_form_of_an_expiry() {
    let sim = start(Options::default());
    let ask = async |expiry| {
        let rule = Rule { kind: Some(Kind::AzureMl), expiry: Some(expiry), ..Rule::default() };
        sim.clear_faults();
        sim.fault(Rule { token_lifetime_secs: Some(60), ..rule }).unwrap();
        get(&sim, ML, &[SECRET]).await.json()
    };
    let got = ask(Expiry::Missing).await;
    assert_eq!((&got["expires_in"], &got["expires_on"]), (&Value::Null, &Value::Null));
    let got = ask(Expiry::Integer).await;
    assert!(got["expires_in"] == 60 && got["expires_on"].is_u64(), "{got}");
    let got = ask(Expiry::String).await;
    assert!(got["expires_in"] == "60" && got["expires_on"].is_string(), "{got}");
    for (expiry, end) in [
        (Expiry::IsoDate, ".0000000+00:00"),
        (Expiry::UsDate, " +00:00"),
        (Expiry::WindowsDate, "M +00:00"),
    ] {
        let got = ask(expiry).await;
        assert!(got["expires_on"].as_str().unwrap().ends_with(end), "{got}");
        assert_eq!(got["expires_in"], Value::Null);
    }
}

#[tokio::test]
async fn every_token_endpoint_fails_on_demand_in_its_own_shape() {
    let folder = tempfile::tempdir().unwrap();
    let arc_key_folder = Some(folder.path().to_owned());
    let sim = start(Options { arc_key_folder, ..Options::default() });
    let rule = |kind, fault: &str| Rule {
        kind: Some(kind),
        fault: Some(fault.into()),
        times: Some(1),
        ..Rule::default()
    };
    for (kind, method, path, member) in [
        (Kind::Arc, "GET", ARC, "/error"),
        (Kind::AzureMl, "GET", ML, "/statusCode"),
        (Kind::CloudShell, "POST", SHELL, "/error/code"),
        (Kind::ServiceFabric, "GET", "/fabric/metadata/identity/oauth2/token", "/error/code"),
    ] {
        for (fault, status) in [("fault-429-7", 429), ("fault-410", 410), ("fault-500", 500)] {
            sim.fault(rule(kind, fault)).unwrap();
            let got = call(&sim, method, path, &[], "").await.unwrap();
            assert_eq!(got.status, status, "{kind:?} {fault}");
            assert!(got.json().pointer(member).is_some(), "{kind:?} {fault}: {}", got.text());
        }
        sim.fault(rule(kind, "fault-html")).unwrap();
        let got = call(&sim, method, path, &[], "").await.unwrap();
        assert_eq!((got.status, got.header("content-type")), (200, Some("text/html")));
        sim.fault(rule(kind, "fault-portal")).unwrap();
        let got = call(&sim, method, path, &[], "").await.unwrap();
        assert_eq!((got.status, got.header("location").is_some()), (302, true));
        sim.fault(rule(Kind::Identity, "fault-drop")).unwrap();
        assert!(call(&sim, method, path, &[], "").await.is_none());
    }
}
