//! The sources of the matrix: the environment that makes each, and the request it has to make.

use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use silverback::sim::{Kind, Options, Pinned, Recorded, Sim};

use super::Situation as S;
use crate::azure_scene::{CLIENT, TENANT};

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    ClientSecret,
    ClientCertificate,
    WorkloadIdentity,
    Imds,
    AppService,
    AzureMl,
    CloudShell,
    ServiceFabric,
}

impl Source {
    /// Its name in the log.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ClientSecret => "client secret",
            Self::ClientCertificate => "client certificate",
            Self::WorkloadIdentity => "workload identity",
            Self::Imds => "managed identity (IMDS)",
            Self::AppService => "managed identity (App Service)",
            Self::AzureMl => "managed identity (Azure ML)",
            Self::CloudShell => "managed identity (Cloud Shell)",
            Self::ServiceFabric => "managed identity (Service Fabric)",
        }
    }

    /// An application at Entra, and no machine's identity.
    pub fn is_app(self) -> bool {
        matches!(self, Self::ClientSecret | Self::ClientCertificate | Self::WorkloadIdentity)
    }

    /// Calls of an exchange that gets no answer.
    pub fn tries(self) -> usize {
        match self {
            _ if self.is_app() => 3,
            Self::Imds => 2,
            Self::AppService => 3,
            _ => 4,
        }
    }
}

const SECRET: &str = "canary+secret&more%";
const HEADER: &str = "canary-identity-header";
const FEDERATED: &str = "canary.FEDERATED.token";
const ROTATED: &str = "canary.ROTATED.token";
const CERTIFICATE: &str = include_str!("../../../spec/certificates/pkcs8.pem");
const RENEWED: &str = include_str!("../../../spec/certificates/client.pem");
const FABRIC: &str = "/fabric/metadata/identity/oauth2/token";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const RESOURCE: &str = "https://cognitiveservices.azure.com";

/// The environment of a source and what it expects to see.
pub struct Scenery {
    source: Source,
    endpoint: String,
    thumbprint: Option<String>,
    /// The certificates that the application has at Entra.
    registered: Vec<&'static str>,
    client: Option<&'static str>,
    secret: &'static str,
    has_several: bool,
    has_none: bool,
    folder: tempfile::TempDir,
}

/// A token request as it has to be.
pub struct Wire {
    kind: Kind,
    method: &'static str,
    path: String,
    /// The query or the form, in order, each with the values it may have; none = any.
    fields: Vec<(&'static str, Vec<String>)>,
    headers: Vec<(&'static str, String)>,
    absent: &'static [&'static str],
}

impl Scenery {
    pub fn new(source: Source) -> Self {
        let (client, secret) = match source {
            Source::ClientSecret => (Some(CLIENT), SECRET),
            Source::ClientCertificate => (Some(CLIENT), CERTIFICATE),
            Source::WorkloadIdentity => (Some(CLIENT), FEDERATED),
            Source::Imds | Source::CloudShell => (None, ""),
            Source::AppService | Source::AzureMl | Source::ServiceFabric => (None, HEADER),
        };
        let scenery = Self {
            source,
            endpoint: String::new(),
            thumbprint: None,
            registered: vec![CERTIFICATE, RENEWED],
            client,
            secret,
            has_several: false,
            has_none: false,
            folder: tempfile::tempdir().unwrap(),
        };
        scenery.write(secret);
        scenery
    }

    /// What the situation changes in the environment and in Azure.
    pub fn arrange(&mut self, situation: S) {
        match situation {
            S::WrongSecret => {
                self.secret = match self.source {
                    Source::ClientSecret => "wrong-secret",
                    Source::ClientCertificate => {
                        self.registered = vec![RENEWED];
                        CERTIFICATE
                    }
                    Source::WorkloadIdentity => "wrong-assertion",
                    _ => "canary-of-somebody-else",
                };
                self.write(self.secret);
            }
            S::IdentityNotFound => {
                self.has_none = self.source == Source::ServiceFabric;
                self.client = match self.source {
                    _ if self.has_none => None,
                    source if source.is_app() => Some("unknown-client"),
                    _ => Some("unknown-1"),
                };
            }
            S::SeveralIdentities => self.has_several = true,
            _ => {}
        }
    }

    pub fn options(&self) -> Options {
        let mut options = Options { identity_header: HEADER.into(), ..Options::default() };
        options.system_identity = !self.has_none;
        options.client_certificates = self.registered.iter().map(|pem| der(pem)).collect();
        options.service_fabric = (self.source == Source::ServiceFabric).then(pinned);
        if self.has_several {
            options.system_identity = false;
            options.identities = vec!["one".into(), "two".into()];
        }
        options
    }

    /// Where the token endpoint is; with Service Fabric it has a door of its own.
    pub fn point_at(&mut self, sim: &Sim, closed: Option<SocketAddr>) {
        let door = sim.service_fabric().map(|door| url::Url::parse(&door.endpoint).unwrap());
        let open = door.map_or_else(|| sim.url(), |url| url.origin().ascii_serialization());
        let scheme = if self.source == Source::ServiceFabric { "https" } else { "http" };
        self.endpoint = closed.map_or(open, |address| format!("{scheme}://{address}"));
        self.thumbprint = sim.service_fabric().map(|door| door.thumbprint.clone());
    }

    /// Scheme, host and port of the token endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn env(&self) -> Vec<(&'static str, String)> {
        let url = &self.endpoint;
        let mut env = match self.source {
            Source::ClientSecret => {
                vec![("AZURE_CLIENT_SECRET", self.secret.to_owned())]
            }
            Source::ClientCertificate => {
                vec![("AZURE_CLIENT_CERTIFICATE_PATH", self.file().to_str().unwrap().to_owned())]
            }
            Source::WorkloadIdentity => {
                vec![("AZURE_FEDERATED_TOKEN_FILE", self.file().to_str().unwrap().to_owned())]
            }
            // A lone header must not go to IMDS.
            Source::Imds => vec![
                ("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.clone()),
                ("IDENTITY_HEADER", HEADER.to_owned()),
            ],
            Source::AppService => vec![
                ("IDENTITY_ENDPOINT", format!("{url}/msi/token")),
                ("IDENTITY_HEADER", self.secret.to_owned()),
            ],
            Source::AzureMl => vec![
                ("MSI_ENDPOINT", format!("{url}/azureml/msi/token")),
                ("MSI_SECRET", self.secret.to_owned()),
            ],
            Source::CloudShell => vec![("MSI_ENDPOINT", format!("{url}/cloudshell/oauth2/token"))],
            Source::ServiceFabric => vec![
                ("IDENTITY_ENDPOINT", format!("{url}{FABRIC}")),
                ("IDENTITY_HEADER", self.secret.to_owned()),
                ("IDENTITY_SERVER_THUMBPRINT", self.thumbprint.clone().unwrap()),
            ],
        };
        if self.source.is_app() {
            env.push(("AZURE_TENANT_ID", TENANT.to_owned()));
            env.push(("AZURE_AUTHORITY_HOST", format!("{url}/")));
        }
        env.extend(self.client.map(|client| ("AZURE_CLIENT_ID", client.to_owned())));
        env
    }

    /// How the simulator names whoever holds the token.
    pub fn identity(&self) -> String {
        let application = format!("(client id {CLIENT}, tenant {TENANT})");
        match self.source {
            Source::ClientSecret => format!("client secret {application}"),
            Source::ClientCertificate => format!("client certificate {application}"),
            Source::WorkloadIdentity => format!("workload identity {application}"),
            Source::Imds => "managed identity (system-assigned)".to_owned(),
            Source::AppService => "app service managed identity (system-assigned)".to_owned(),
            Source::AzureMl => "azure ml managed identity (system-assigned)".to_owned(),
            Source::CloudShell => "cloud shell (system-assigned)".to_owned(),
            Source::ServiceFabric => "service fabric managed identity (system-assigned)".to_owned(),
        }
    }

    /// What no output may hold.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec!["canary".to_owned(), "sim-token-".to_owned(), ROTATED.to_owned()];
        // Of a key, any line of it.
        let line = self.secret.lines().find(|line| !line.is_empty() && !line.starts_with('-'));
        secrets.extend(line.map(str::to_owned));
        secrets
    }

    /// What a client may not learn.
    pub fn details(&self) -> Vec<String> {
        let mut details = vec![TENANT.to_owned(), "azure.com".to_owned()];
        details.extend(self.client.map(str::to_owned));
        details
    }

    /// The proof of the second exchange is that of the new file.
    pub fn assert_rotated(&self, seen: &Recorded) {
        let mut form = url::form_urlencoded::parse(&seen.body);
        let (_, proof) = form.find(|(name, _)| name == "client_assertion").unwrap();
        if self.source == Source::WorkloadIdentity {
            assert_eq!(proof, ROTATED);
            return;
        }
        let header = URL_SAFE_NO_PAD.decode(proof.split('.').next().unwrap()).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(der(RENEWED)));
        assert_eq!(header["x5t#S256"], thumbprint);
    }

    pub fn rotate(&self) {
        match self.source {
            Source::ClientCertificate => self.write(RENEWED),
            _ => self.write(ROTATED),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// As the kubelet writes it, more or less; the line end is not part of the token.
    fn write(&self, token: &str) {
        std::fs::write(self.file(), format!("{token}\n")).unwrap();
    }

    pub fn wire(&self) -> Wire {
        match self.source {
            Source::ClientSecret => {
                self.entra(vec![("client_secret", vec![self.secret.to_owned()])])
            }
            // The simulator has verified what is in the assertion.
            Source::ClientCertificate => self.entra(assertion(vec![])),
            Source::WorkloadIdentity => {
                self.entra(assertion(vec![self.secret.to_owned(), ROTATED.to_owned()]))
            }
            Source::Imds => Wire {
                kind: Kind::Imds,
                path: "/metadata/identity/oauth2/token".to_owned(),
                absent: &["x-forwarded-for", "x-identity-header", "secret", "authorization"],
                ..self.metadata("2018-02-01", vec![])
            },
            Source::AppService => Wire {
                kind: Kind::AppService,
                path: "/msi/token".to_owned(),
                absent: &["x-forwarded-for", "secret", "authorization"],
                ..self.metadata("2019-08-01", vec![("x-identity-header", self.secret.to_owned())])
            },
            Source::AzureMl => self.azure_ml(),
            Source::CloudShell => Wire {
                kind: Kind::CloudShell,
                method: "POST",
                path: "/cloudshell/oauth2/token".to_owned(),
                fields: vec![("resource", vec![RESOURCE.to_owned()])],
                headers: vec![
                    ("metadata", "true".to_owned()),
                    ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ],
                absent: &["x-forwarded-for", "x-identity-header", "secret", "authorization"],
            },
            Source::ServiceFabric => Wire {
                kind: Kind::ServiceFabric,
                path: FABRIC.to_owned(),
                headers: vec![("secret", self.secret.to_owned())],
                absent: &["x-forwarded-for", "x-identity-header", "authorization"],
                ..self.metadata("2019-07-01-preview", vec![])
            },
        }
    }

    /// The contract of 2017 has names of its own.
    fn azure_ml(&self) -> Wire {
        let mut wire = self.metadata("2017-09-01", vec![]);
        wire.fields.truncate(2);
        wire.fields.extend(self.client.map(|client| ("clientid", vec![client.to_owned()])));
        Wire {
            kind: Kind::AzureMl,
            path: "/azureml/msi/token".to_owned(),
            headers: vec![("secret", self.secret.to_owned())],
            absent: &["x-forwarded-for", "x-identity-header", "authorization"],
            ..wire
        }
    }

    fn entra(&self, proof: Vec<(&'static str, Vec<String>)>) -> Wire {
        let mut fields = vec![
            ("client_id", vec![self.client.unwrap_or_default().to_owned()]),
            ("grant_type", vec!["client_credentials".to_owned()]),
            ("scope", vec![SCOPE.to_owned()]),
        ];
        fields.extend(proof);
        Wire {
            kind: Kind::Entra,
            method: "POST",
            path: format!("/{TENANT}/oauth2/v2.0/token"),
            fields,
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            absent: &["authorization", "metadata", "x-identity-header", "x-forwarded-for"],
        }
    }

    fn metadata(&self, version: &str, mut headers: Vec<(&'static str, String)>) -> Wire {
        headers.push(("metadata", "true".to_owned()));
        let mut fields = vec![
            ("api-version", vec![version.to_owned()]),
            ("resource", vec![RESOURCE.to_owned()]),
        ];
        fields.extend(self.client.map(|client| ("client_id", vec![client.to_owned()])));
        Wire { kind: Kind::Imds, method: "GET", path: String::new(), fields, headers, absent: &[] }
    }
}

/// The proof that stands in for a secret (RFC 7523).
fn assertion(values: Vec<String>) -> Vec<(&'static str, Vec<String>)> {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    vec![("client_assertion_type", vec![kind.to_owned()]), ("client_assertion", values)]
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A certificate that nobody signed, for Service Fabric.
fn pinned() -> Pinned {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Pinned::new(made.cert.der().clone(), key.into()).unwrap()
}

impl Wire {
    pub fn assert_matches(&self, seen: &Recorded, what: &str) {
        assert_eq!(seen.kind, self.kind, "{what}");
        assert_eq!((&*seen.method, &seen.path), (self.method, &self.path), "{what}");
        let sent = if self.method == "GET" { seen.query.as_bytes() } else { &seen.body[..] };
        let sent: Vec<(String, String)> = url::form_urlencoded::parse(sent).into_owned().collect();
        assert_eq!(sent.len(), self.fields.len(), "{what}: {seen:?}");
        for ((name, value), (wanted, values)) in sent.iter().zip(&self.fields) {
            let is_right = values.is_empty() || values.contains(value);
            assert!(name == wanted && is_right, "{what}: {name} in {seen:?}");
        }
        if self.method == "GET" {
            assert!(seen.body.is_empty(), "{what}: {seen:?}");
        } else {
            assert_eq!(seen.query, "", "{what}");
        }
        for (name, value) in &self.headers {
            assert_eq!(seen.header(name), Some(&**value), "{what}: {name}");
        }
        for name in self.absent {
            assert_eq!(seen.header(name), None, "{what}: {name}");
        }
    }
}
