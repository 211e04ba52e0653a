//! Microsoft's azure-identity for Python as an oracle: in the same environment silverback asks for
//! a token with the same request. What differs on purpose is in [`DIFFERENCES`]; nothing else may.
//!
//! The script is tests/sdk/identity.py, and `tests/sdk/setup` installs what it needs.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use silverback::sim::{Expiry, Kind, Options, Pinned, Recorded, Rule, Sim};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::azure_scene::{CLIENT, HELLO, TENANT, Target, assert_chat};
use super::gateway::Builder;
use super::sdk;

/// In which cases (everywhere, if none is named) a header, argument or field differs, and why.
const DIFFERENCES: &[(&[&str], &str, &str)] = &[
    (MSAL, "field client_info", "asks for data on a user, and here is none"),
    (MSAL, "header content-length", "because of that field, or of the signature's members"),
    (MSAL, "header accept", "Entra knows nothing but JSON"),
    (MSAL, "header client-request-id", "an older name of x-ms-client-request-id"),
    (MSAL, "header x-client-current-telemetry", "what MSAL reports of itself"),
    (MSAL, "header x-client-last-telemetry", "what MSAL reports of itself"),
    (MSAL, "header x-client-os", "what MSAL reports of itself"),
    (MSAL, "header x-ms-lib-capability", "what MSAL reports of itself"),
    (SIGNED, "assertion header alg", "PS256 is what Microsoft now asks for; RS256 is for ADFS"),
    (SIGNED, "assertion header x5t", "SHA-1, which goes with RS256"),
    (SIGNED, "assertion header x5t#S256", "SHA-256, which goes with PS256"),
    (SIGNED, "claim nbf", "Microsoft's documentation has it, MSAL for Python leaves it out"),
    (&[], "header x-client-sku", "what MSAL reports of itself"),
    (&[], "header x-client-ver", "what MSAL reports of itself"),
    (&[], "header x-ms-client-request-id", "random; and a metadata service keeps no such log"),
    (&[], "header user-agent", "each its own"),
    (&[], "header accept-encoding", "a token is too small to be worth unpacking"),
    (&[], "header connection", "HTTP/1.1 keeps connections without being asked"),
];

const MSAL: &[&str] = &[SECRET, CERTIFICATE];
const SIGNED: &[&str] = &[CERTIFICATE];
const SECRET: &str = "client secret";
const CERTIFICATE: &str = "client certificate";
const PEM: &[u8] = include_bytes!("../../spec/certificates/pkcs8.pem");

const OBJECT: &str = "99999999-bbbb-cccc-dddd-eeeeeeeeeeee";
const RESOURCE: &str = "/subscriptions/1/resourceGroups/g/providers/\
    Microsoft.ManagedIdentity/userAssignedIdentities/my id";

/// One environment, for both.
struct Case {
    name: &'static str,
    env: Vec<(&'static str, String)>,
    /// The class of the SDK and its arguments.
    credential: &'static str,
    arguments: Value,
    /// Lines under `auth` beside the switch, where Kong or we have a field for the argument.
    auth: Vec<String>,
}

/// The addresses and files that the cases need.
struct Place {
    entra: Sim,
    metadata: Sim,
    folder: tempfile::TempDir,
}

impl Place {
    /// Entra speaks TLS, since the SDK calls no other.
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let pinned = Pinned::new(made.cert.der().clone(), key.clone_key().into()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        // As the kubelet writes it. A line end we would cut off, and the SDK would send it.
        std::fs::write(folder.path().join("token"), "HEADER.FEDERATED.SIGNATURE").unwrap();
        std::fs::write(folder.path().join("client.pem"), PEM).unwrap();
        let client_certificates = vec![CertificateDer::from_pem_slice(PEM).unwrap()];
        let entra = Options { tls: Some(tls.into()), client_certificates, ..Options::default() };
        let metadata = Options { service_fabric: Some(pinned), ..Options::default() };
        let metadata = Sim::start(metadata).unwrap();
        // The SDK cannot read the dates of this endpoint.
        let ml = Rule { kind: Some(Kind::AzureMl), ..Rule::default() };
        metadata.fault(Rule { expiry: Some(Expiry::String), ..ml }).unwrap();
        Self { entra: Sim::start(entra).unwrap(), metadata, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The requests for a token since the last call, wherever they went.
    fn exchanges(&self) -> Vec<Recorded> {
        let all = self.entra.take().into_iter().chain(self.metadata.take());
        all.filter(|seen| seen.kind.is_token_endpoint()).collect()
    }

    fn cases(&self) -> Vec<Case> {
        let app = |name, value: &str| {
            vec![
                ("AZURE_AUTHORITY_HOST", self.entra.url()),
                ("AZURE_TENANT_ID", TENANT.to_owned()),
                ("AZURE_CLIENT_ID", CLIENT.to_owned()),
                (name, value.to_owned()),
            ]
        };
        let plain = json!({ "connection_verify": self.file("ca.pem") });
        let discover_nothing = json!({
            "connection_verify": self.file("ca.pem"),
            "disable_instance_discovery": true,
        });
        let file = self.file("token");
        let mut cases = vec![
            Case {
                name: SECRET,
                env: app("AZURE_CLIENT_SECRET", "a+secret&more% ="),
                credential: "EnvironmentCredential",
                arguments: discover_nothing.clone(),
                auth: vec![],
            },
            Case {
                name: CERTIFICATE,
                env: app("AZURE_CLIENT_CERTIFICATE_PATH", &self.file("client.pem")),
                credential: "EnvironmentCredential",
                arguments: discover_nothing.clone(),
                auth: vec![],
            },
            Case {
                name: "workload identity",
                env: app("AZURE_FEDERATED_TOKEN_FILE", &file),
                credential: "WorkloadIdentityCredential",
                arguments: plain,
                auth: vec![],
            },
        ];
        cases.extend(self.machines());
        cases
    }

    /// Managed identities on every host that can be played without a folder of the system.
    fn machines(&self) -> Vec<Case> {
        let url = self.metadata.url();
        let fabric = self.metadata.service_fabric().unwrap();
        let imds = vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.clone())];
        let app_service = vec![
            ("IDENTITY_ENDPOINT", format!("{url}/msi/token")),
            ("IDENTITY_HEADER", "sim-identity-header".to_owned()),
        ];
        let azure_ml = vec![
            ("MSI_ENDPOINT", format!("{url}/azureml/msi/token")),
            ("MSI_SECRET", "sim-identity-header".to_owned()),
        ];
        let cloud_shell = vec![("MSI_ENDPOINT", format!("{url}/cloudshell/oauth2/token"))];
        let service_fabric = vec![
            ("IDENTITY_ENDPOINT", fabric.endpoint.clone()),
            ("IDENTITY_HEADER", "sim-identity-header".to_owned()),
            ("IDENTITY_SERVER_THUMBPRINT", fabric.thumbprint.clone()),
        ];
        let mut cases = Vec::new();
        // So many of the ways to name an identity exist there.
        for (name, env, ways) in [
            ("IMDS", imds, 4),
            ("App Service", app_service, 4),
            ("Azure ML", azure_ml, 2),
            ("Cloud Shell", cloud_shell, 1),
            ("Service Fabric", service_fabric, 1),
        ] {
            for (arguments, field) in selectors().into_iter().take(ways) {
                cases.push(Case {
                    name,
                    env: env.clone(),
                    credential: "ManagedIdentityCredential",
                    arguments,
                    auth: field.into_iter().collect(),
                });
            }
        }
        cases
    }
}

/// The four ways to say which managed identity: the SDK's arguments and our field.
fn selectors() -> [(Value, Option<String>); 4] {
    let config = |name: &str, id: &str| json!({ "identity_config": { name: id } });
    [
        (json!({}), None),
        (json!({ "client_id": CLIENT }), Some(format!("azure_client_id: {CLIENT}"))),
        (config("object_id", OBJECT), Some(format!("azure_managed_identity_object_id: {OBJECT}"))),
        (
            config("resource_id", RESOURCE),
            Some(format!("azure_managed_identity_resource_id: {RESOURCE}")),
        ),
    ]
}

/// One request for a token for each case, as the SDK makes it.
async fn ask_the_sdk(place: &Place, cases: &[Case]) -> Vec<Recorded> {
    let python = sdk::folder().join(".venv/bin/python");
    let list: Value = cases
        .iter()
        .map(|case| {
            let env: serde_json::Map<String, Value> =
                case.env.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
            json!({ "name": case.name, "env": env, "credential": case.credential,
                "arguments": case.arguments })
        })
        .collect();
    let mut command = Command::new(&python);
    command.arg(sdk::folder().join("identity.py")).env_clear().env("NO_PROXY", "127.0.0.1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).await.unwrap();
    let limit = Duration::from_secs(60);
    let output = tokio::time::timeout(limit, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), cases.len(), "{said}");
    place.exchanges()
}

/// The same from a gateway.
async fn ask_silverback(place: &Place, case: &Case) -> Recorded {
    let mut auth = vec!["azure_use_managed_identity: true"];
    auth.extend(case.auth.iter().map(String::as_str));
    let builder = Builder::default().set("lua_ssl_trusted_certificate", &place.file("ca.pem"));
    let builder = case.env.iter().fold(builder, |b, (name, value)| b.env(name, value));
    // The model is played by whoever issued the token.
    let sim =
        if case.credential == "ManagedIdentityCredential" { &place.metadata } else { &place.entra };
    let gateway = builder.start(&Target::new(&auth).yaml(&sim.url()));
    assert_chat(&gateway.post("/chat", HELLO).await, case.name);
    let mut exchanges = place.exchanges();
    assert_eq!(exchanges.len(), 1, "{}", case.name);
    exchanges.remove(0)
}

/// Everything in a request by which two of them can differ.
fn parts(seen: &Recorded) -> Vec<(String, String)> {
    let pairs = |bytes: &[u8], what: &str| -> Vec<(String, String)> {
        let pairs = url::form_urlencoded::parse(bytes);
        pairs.map(|(name, value)| (format!("{what} {name}"), value.into_owned())).collect()
    };
    let mut parts = vec![
        ("method".to_owned(), seen.method.clone()),
        ("path".to_owned(), seen.path.clone()),
        ("kind".to_owned(), format!("{:?}", seen.kind)),
    ];
    parts.extend(pairs(seen.query.as_bytes(), "argument"));
    for (name, value) in pairs(&seen.body, "field") {
        match signed_parts(&value) {
            Some(signed) => parts.extend(signed),
            None => parts.push((name, value)),
        }
    }
    let headers = seen.headers.iter();
    parts.extend(headers.map(|(name, value)| (format!("header {name}"), value.clone())));
    parts.sort();
    parts
}

/// An assertion signed with a certificate, which no two calls have in common, by what it says. Its
/// signature has been verified.
fn signed_parts(jwt: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    for (what, part) in ["assertion header", "claim"].into_iter().zip(jwt.split('.')) {
        let members: serde_json::Map<String, Value> =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        let secs = |name: &str| members[name].as_f64().unwrap();
        for (name, value) in &members {
            let value = match name.as_str() {
                "jti" => "random".to_owned(),
                "iat" | "nbf" => "now".to_owned(),
                "exp" => format!("after {:.0} s", secs("exp") - secs("iat")),
                _ => value.to_string(),
            };
            parts.push((format!("{what} {name}"), value));
        }
    }
    Some(parts)
}

#[tokio::test]
async fn microsofts_sdk_asks_in_the_same_way() {
    if sdk::is_skipped("microsofts_sdk_asks_in_the_same_way") {
        return;
    }
    assert!(
        sdk::folder().join(".venv/bin/python").is_file(),
        "the Python package `azure-identity` is not installed: run tests/sdk/setup \
         (or set SILVERBACK_SKIP_SDK_TESTS=1)"
    );
    let place = Place::new();
    let cases = place.cases();
    let theirs = ask_the_sdk(&place, &cases).await;
    assert_eq!(theirs.len(), cases.len(), "{theirs:?}");
    let (mut met, mut faults) = (BTreeSet::new(), Vec::new());
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = ask_silverback(&place, case).await;
        let (theirs, ours) = (parts(theirs), parts(&ours));
        let only = |who: &str, one: &[(String, String)], other: &[(String, String)]| {
            let lone = one.iter().filter(|part| !other.contains(part));
            lone.map(|(name, value)| {
                (name.clone(), format!("{}: {who} {name}: {value}", case.name))
            })
            .collect::<Vec<_>>()
        };
        let lone = [only("SDK", &theirs, &ours), only("silverback", &ours, &theirs)].concat();
        for (name, text) in lone {
            let applies = |of: &[&str]| of.is_empty() || of.contains(&case.name);
            match DIFFERENCES.iter().find(|(of, known, _)| applies(of) && *known == name) {
                Some((of, known, _)) => drop(met.insert((*of, *known))),
                None => faults.push(text),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let stale = DIFFERENCES.iter().find(|(of, known, _)| !met.contains(&(*of, *known)));
    assert_eq!(stale, None, "no longer a difference");
}
