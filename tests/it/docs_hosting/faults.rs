//! How to come by each problem that the page lists.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use silverback::sim::{Kind, Options, Rule};

use super::places::certificate;

/// One row, and what leads to it.
pub struct Fault {
    pub heading: &'static str,
    /// How the row begins.
    pub row: &'static str,
    pub changes: &'static [Change],
}

/// One thing that is not as it should be.
#[derive(Clone, Copy)]
pub enum Change {
    Set(&'static str, &'static str),
    Unset(&'static str),
    /// The variable leads to where nobody listens.
    Closed(&'static str),
    /// The variable is as the page says, where nothing of the kind is.
    AsWritten(&'static str),
    /// The configuration has this text for that one.
    Text(&'static str, &'static str),
    /// The content of the federated token's file.
    Federated(&'static str),
    /// A file of spec/certificates is the one of the configuration.
    Certificate(&'static str),
    /// What Azure is like.
    Azure(fn() -> Options),
    /// What Azure answers.
    Answer(fn() -> Rule),
}

use Change::{Answer, AsWritten, Azure, Certificate, Closed, Federated, Set, Text, Unset};

const IMDS: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
const SWITCH: &str = "azure_use_managed_identity: true";
const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";

const fn fault(heading: &'static str, row: &'static str, changes: &'static [Change]) -> Fault {
    Fault { heading, row, changes }
}

/// No variable of App Service, and no IMDS either.
const BARE: &[Change] = &[Unset("IDENTITY_ENDPOINT"), Unset("IDENTITY_HEADER"), Closed(IMDS)];

pub const FAULTS: &[Fault] = &[
    fault("The role", "the token is good", &[Answer(no_role)]),
    fault("Virtual machine", "the metadata service does not", &[Closed(IMDS)]),
    fault("Virtual machine", "this machine does not have", &[Azure(no_identity)]),
    fault("Virtual machine", "this machine has several", &[Azure(two_identities)]),
    fault("Scale set", "this machine does not have", &[Azure(two_identities)]),
    fault("AKS", "the token file", &[AsWritten("AZURE_FEDERATED_TOKEN_FILE")]),
    fault("AKS", "no federated credential", &[Federated("wrong-assertion")]),
    fault("AKS", "the federated token", &[Federated("expired-assertion")]),
    fault(
        "AKS",
        "AZURE_KUBERNETES_TOKEN_PROXY",
        &[Set("AZURE_KUBERNETES_TOKEN_PROXY", "https://proxy.example")],
    ),
    fault("App Service", "the metadata service does not", BARE),
    fault("App Service", "nothing answers", &[Closed("IDENTITY_ENDPOINT")]),
    fault("App Service", "the platform does not take", &[Set("IDENTITY_HEADER", "other")]),
    fault("App Service", "the platform gave no token", &[Azure(no_identity)]),
    fault("Functions", "the platform gave no token", &[Azure(two_identities)]),
    fault("Container Apps", "the platform gave no token", &[Azure(two_identities)]),
    fault("Container Apps", "the metadata service does not", BARE),
    fault("Azure Arc", "the Azure Arc agent does not answer", &[Closed("IDENTITY_ENDPOINT")]),
    fault("Azure Arc", "the Arc agent asked for a file", &[]),
    fault("Client secret", "the client secret is", &[Set("GATEWAY_SECRET", "wrong-secret")]),
    fault("Client secret", "all secrets", &[Set("GATEWAY_SECRET", "expired-secret")]),
    fault("Client secret", "the client id is not", &[Text(CLIENT, "unknown-client")]),
    fault("Client secret", "the tenant was not", &[Text(TENANT, "unknown-tenant")]),
    fault("Client secret", "azure_client_secret is missing", &[Text(SECRET_LINE, "")]),
    fault("Client secret", "the endpoint cannot", &[Closed("AZURE_AUTHORITY_HOST")]),
    fault("Client certificate", "the certificate file /etc/silverback/client.pem cannot", &[]),
    fault(
        "Client certificate",
        "the certificate file /etc/silverback/client.pem is protected",
        &[Certificate("encrypted.pem")],
    ),
    fault(
        "Client certificate",
        "the certificate is not",
        &[Certificate("pkcs8.pem"), Azure(other_certificate)],
    ),
    fault("Azure ML", "the platform does not take", &[Set("MSI_SECRET", "other")]),
    fault("Azure ML", "auth.azure_managed_identity_object_id", &[Text(SWITCH, BY_OBJECT_ID)]),
    fault("Service Fabric", "the certificate of", &[AsWritten("IDENTITY_SERVER_THUMBPRINT")]),
    fault("Service Fabric", "this application", &[Azure(no_identity)]),
    fault("Cloud Shell", "auth.azure_client_id", &[Text(SWITCH, BY_CLIENT_ID)]),
    fault("Cloud Shell", "Cloud Shell gives no", &[Text(SWITCH, OTHER_SCOPE)]),
    fault("Sovereign clouds", "the resource is unknown", &[Answer(unknown_resource)]),
    fault(
        "Sovereign clouds",
        "AZURE_AUTHORITY_HOST",
        &[Set("AZURE_AUTHORITY_HOST", "https://login.sovcloud-identity.fr")],
    ),
];

/// Rows that need a file in the fixed folder of Arc's agent: `src/azure/source/azure_arc/tests.rs`
/// compares them.
pub const ELSEWHERE: [(&str, &str); 2] = [
    ("Azure Arc", "the Arc key file /var/opt/azcmagent/tokens/a.key cannot be read"),
    ("Azure Arc", "the Arc agent gave a token of another identity than client id AAAA-1"),
];

const SECRET_LINE: &str = "azure_client_secret: \"{vault://env/gateway-secret}\"";
const BY_OBJECT_ID: &str =
    "{azure_use_managed_identity: true, azure_managed_identity_object_id: '1'}";
const BY_CLIENT_ID: &str = "{azure_use_managed_identity: true, azure_client_id: '1'}";
const OTHER_SCOPE: &str =
    "{azure_use_managed_identity: true, azure_scope: https://unknown/.default}";

fn no_identity() -> Options {
    Options { system_identity: false, ..Options::default() }
}

/// Two user-assigned identities and no other.
fn two_identities() -> Options {
    Options { identities: vec!["one".into(), "two".into()], ..no_identity() }
}

fn other_certificate() -> Options {
    let other = CertificateDer::from_pem_file(certificate("client.pem")).unwrap();
    Options { client_certificates: vec![other], ..Options::default() }
}

fn no_role() -> Rule {
    let fault = Some("fault-permission".into());
    Rule { kind: Some(Kind::Chat), fault, ..Rule::default() }
}

fn unknown_resource() -> Rule {
    let text = "AADSTS500011: The resource principal named https://cognitiveservices.azure.us was \
                not found in the tenant.";
    let body = json!({ "error": "invalid_resource", "error_description": text });
    Rule { kind: Some(Kind::Imds), status: Some(400), body: Some(body), ..Rule::default() }
}
