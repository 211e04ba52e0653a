//! The sources of the matrix: the environment that makes each, and the request it has to make.

use std::path::PathBuf;

use silverback::sim::{Kind, Options, Recorded};

use super::Situation as S;
use crate::azure_scene::{CLIENT, TENANT};

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    ClientSecret,
    WorkloadIdentity,
    Imds,
    AppService,
}

impl Source {
    /// Its name in the log.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ClientSecret => "client secret",
            Self::WorkloadIdentity => "workload identity",
            Self::Imds => "managed identity (IMDS)",
            Self::AppService => "managed identity (App Service)",
        }
    }

    /// Calls of an exchange whose connections are dropped.
    pub fn tries(self) -> usize {
        if self == Self::Imds { 2 } else { 3 }
    }
}

const SECRET: &str = "canary+secret&more%";
const HEADER: &str = "canary-identity-header";
const FEDERATED: &str = "canary.FEDERATED.token";
const ROTATED: &str = "canary.ROTATED.token";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const RESOURCE: &str = "https://cognitiveservices.azure.com";

/// The environment of a source and what it expects to see.
pub struct Scenery {
    source: Source,
    endpoint: String,
    client: Option<&'static str>,
    secret: &'static str,
    has_several: bool,
    folder: tempfile::TempDir,
}

/// A token request as it has to be.
pub struct Wire {
    kind: Kind,
    method: &'static str,
    path: String,
    /// The query or the form, in order.
    fields: Vec<(&'static str, Vec<String>)>,
    headers: Vec<(&'static str, String)>,
    absent: &'static [&'static str],
}

impl Scenery {
    pub fn new(source: Source) -> Self {
        let (client, secret) = match source {
            Source::ClientSecret => (Some(CLIENT), SECRET),
            Source::WorkloadIdentity => (Some(CLIENT), FEDERATED),
            Source::Imds => (None, ""),
            Source::AppService => (None, HEADER),
        };
        let folder = tempfile::tempdir().unwrap();
        let endpoint = String::new();
        let scenery = Self { source, endpoint, client, secret, has_several: false, folder };
        scenery.write(secret);
        scenery
    }

    /// What the situation changes in the environment and in Azure.
    pub fn arrange(&mut self, situation: S) {
        match situation {
            S::WrongSecret => {
                self.secret = match self.source {
                    Source::ClientSecret => "wrong-secret",
                    Source::WorkloadIdentity => "wrong-assertion",
                    Source::Imds | Source::AppService => "canary-of-somebody-else",
                };
                self.write(self.secret);
            }
            S::IdentityNotFound => {
                self.client = Some(match self.source {
                    Source::ClientSecret | Source::WorkloadIdentity => "unknown-client",
                    Source::Imds | Source::AppService => "unknown-1",
                });
            }
            S::SeveralIdentities => self.has_several = true,
            _ => {}
        }
    }

    pub fn options(&self) -> Options {
        let mut options = Options { identity_header: HEADER.into(), ..Options::default() };
        if self.has_several {
            options.system_identity = false;
            options.identities = vec!["one".into(), "two".into()];
        }
        options
    }

    pub fn point_at(&mut self, endpoint: &str) {
        self.endpoint = endpoint.to_owned();
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
        };
        if matches!(self.source, Source::ClientSecret | Source::WorkloadIdentity) {
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
            Source::WorkloadIdentity => format!("workload identity {application}"),
            Source::Imds => "managed identity (system-assigned)".to_owned(),
            Source::AppService => "app service managed identity (system-assigned)".to_owned(),
        }
    }

    /// What no output may hold.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec!["canary".to_owned(), "sim-token-".to_owned(), ROTATED.to_owned()];
        secrets.extend((!self.secret.is_empty()).then(|| self.secret.to_owned()));
        secrets
    }

    /// What a client may not learn.
    pub fn details(&self) -> Vec<String> {
        let mut details = vec![TENANT.to_owned(), "azure.com".to_owned()];
        details.extend(self.client.map(str::to_owned));
        details
    }

    pub fn rotate(&self) {
        self.write(ROTATED);
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
            Source::WorkloadIdentity => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                self.entra(vec![
                    ("client_assertion_type", vec![kind.to_owned()]),
                    ("client_assertion", vec![self.secret.to_owned(), ROTATED.to_owned()]),
                ])
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

impl Wire {
    pub fn assert_matches(&self, seen: &Recorded, what: &str) {
        assert_eq!(seen.kind, self.kind, "{what}");
        assert_eq!((&*seen.method, &seen.path), (self.method, &self.path), "{what}");
        let sent = if self.method == "GET" { seen.query.as_bytes() } else { &seen.body[..] };
        let sent: Vec<(String, String)> = url::form_urlencoded::parse(sent).into_owned().collect();
        assert_eq!(sent.len(), self.fields.len(), "{what}: {seen:?}");
        for ((name, value), (wanted, values)) in sent.iter().zip(&self.fields) {
            assert!(name == wanted && values.contains(value), "{what}: {name} in {seen:?}");
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
