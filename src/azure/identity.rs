//! An identity: who the gateway is to Azure, where its tokens come from, and why it was chosen.
//!
//! Every value keeps its origin, because "which identity is this, and who said so" is the first
//! question when Azure answers 401. Secrets are in it, but nothing here prints them.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use url::Url;

use crate::entity::Secret;
use crate::settings::Env;

/// What a target signs in as: decided by [`super::resolve`], never changed afterwards.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) source: Source,
    pub(super) scope: Given<String>,
    /// What was set and not used, in sentences an operator can act on.
    pub(super) notes: Vec<String>,
}

/// Who gives out the token, and with which proof.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// An app registration that proves itself with a secret.
    ClientSecret { app: App, secret: Given<Secret> },
    /// An app registration or user-assigned identity that trusts a Kubernetes service account.
    WorkloadIdentity { app: App, token_file: Given<PathBuf> },
    /// The metadata service of a virtual machine or AKS node.
    Imds { endpoint: Given<Url>, selector: Selector },
    /// The endpoint of App Service, Functions and Container Apps. `IDENTITY_HEADER` is taken
    /// from this environment at each call.
    AppService { endpoint: Given<Url>, selector: Selector, env: Env },
}

/// An application as Entra knows it.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) authority: Given<Url>,
    pub(super) tenant: Given<String>,
    pub(super) client_id: Given<String>,
}

/// Which of a machine's managed identities.
#[derive(Debug, Clone)]
pub(super) enum Selector {
    System,
    ClientId(Given<String>),
    ObjectId(Given<String>),
    ResourceId(Given<String>),
}

/// A value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) from: Origin,
}

/// Who gave a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A field of the plugin's `auth` record.
    Field(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// The suffix of the target's host name.
    Host,
    /// Nobody: Azure's own default.
    Default,
}

/// One line of an identity's description, for logs and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is, such as `client id`.
    pub name: &'static str,
    /// Its value, or `***` for a secret.
    pub value: String,
    /// Who gave it.
    pub from: Origin,
}

/// What makes two identities the same: equal keys share one token.
///
/// A digest over source, authority, tenant, client, selector, scope and the secret's own digest,
/// so that a rotated secret has a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// The names of the facts that are the proof and not the identity.
const PROOFS: [&str; 3] = ["secret", "token file", "certificate"];

impl Identity {
    /// The kind of identity, as documentation names it.
    pub fn kind(&self) -> &'static str {
        match &self.source {
            Source::ClientSecret { .. } => "client secret",
            Source::WorkloadIdentity { .. } => "workload identity",
            Source::Imds { .. } => "managed identity (IMDS)",
            Source::AppService { .. } => "managed identity (App Service)",
        }
    }

    /// The scope that is asked for: `<resource>/.default`.
    pub fn scope(&self) -> &str {
        &self.scope.value
    }

    /// The address that gives out the token, without path and query.
    pub fn endpoint(&self) -> String {
        let url = &self.source.endpoint().value;
        url.origin().ascii_serialization()
    }

    /// Everything that was decided and who decided it; secrets are `***`.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = match &self.source {
            Source::ClientSecret { app, secret } => {
                let mut facts = app.facts();
                facts.push(Fact { name: "secret", value: "***".into(), from: secret.from });
                facts
            }
            Source::WorkloadIdentity { app, token_file } => {
                let mut facts = app.facts();
                let path = token_file.value.display();
                facts.push(Fact::new("token file", path, token_file.from));
                facts
            }
            Source::Imds { endpoint, selector } | Source::AppService { endpoint, selector, .. } => {
                vec![selector.fact(), Fact::new("endpoint", &endpoint.value, endpoint.from)]
            }
        };
        facts.push(Fact::new("scope", &self.scope.value, self.scope.from));
        facts
    }

    /// Whose token it is, in a few words: `client id a, tenant b` or `system-assigned`.
    pub fn subject(&self) -> String {
        match &self.source {
            Source::ClientSecret { app, .. } | Source::WorkloadIdentity { app, .. } => {
                format!("client id {}, tenant {}", app.client_id.value, app.tenant.value)
            }
            Source::Imds { selector, .. } | Source::AppService { selector, .. } => {
                selector.to_string()
            }
        }
    }

    /// What was set and is not used, and why; worth a line in the start log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The key under which all holders of this identity share a token.
    pub fn key(&self) -> Key {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes()); // "ab","c" is not "a","bc"
            digest.update(part);
        };
        add(self.kind().as_bytes());
        for fact in self.facts() {
            add(fact.name.as_bytes());
            add(fact.value.as_bytes());
        }
        if let Source::ClientSecret { secret, .. } = &self.source {
            add(&Sha256::digest(secret.value.expose()));
        }
        Key(digest.finalize().into())
    }

    /// What an identity has in common with those that differ from it in nothing but their proof:
    /// kind, authority, tenant, client, selector and scope.
    pub(super) fn lineage(&self) -> Key {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        add(self.kind());
        for fact in self.facts().iter().filter(|fact| !PROOFS.contains(&fact.name)) {
            add(fact.name);
            add(&fact.value);
        }
        Key(digest.finalize().into())
    }

    /// The files that hold the proof, for whoever watches them.
    pub fn files(&self) -> Vec<&Path> {
        match &self.source {
            Source::WorkloadIdentity { token_file, .. } => vec![&token_file.value],
            Source::ClientSecret { .. } | Source::Imds { .. } | Source::AppService { .. } => {
                Vec::new()
            }
        }
    }

    /// Whether a changed file means a new proof. A kubelet rewrites its token files all the time.
    pub(super) fn is_rotated_by_file(&self) -> bool {
        !matches!(self.source, Source::WorkloadIdentity { .. })
    }
}

impl fmt::Display for Identity {
    /// `client secret: client id a (auth.azure_client_id), tenant ...`; never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        for (i, fact) in self.facts().iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma} {fact}")?;
        }
        Ok(())
    }
}

impl Source {
    pub(super) fn endpoint(&self) -> &Given<Url> {
        match self {
            Self::ClientSecret { app, .. } | Self::WorkloadIdentity { app, .. } => &app.authority,
            Self::Imds { endpoint, .. } | Self::AppService { endpoint, .. } => endpoint,
        }
    }
}

impl App {
    fn facts(&self) -> Vec<Fact> {
        vec![
            Fact::new("client id", &self.client_id.value, self.client_id.from),
            Fact::new("tenant", &self.tenant.value, self.tenant.from),
            Fact::new("authority", &self.authority.value, self.authority.from),
        ]
    }
}

impl Selector {
    fn fact(&self) -> Fact {
        match self {
            Self::System => Fact::new("identity", "system-assigned", Origin::Default),
            Self::ClientId(id) => Fact::new("client id", &id.value, id.from),
            Self::ObjectId(id) => Fact::new("object id", &id.value, id.from),
            Self::ResourceId(id) => Fact::new("resource id", &id.value, id.from),
        }
    }
}

impl fmt::Display for Selector {
    /// `client id 1234` or `system-assigned`, for failure lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system-assigned"),
            _ => {
                let Fact { name, value, .. } = self.fact();
                write!(f, "{name} {value}")
            }
        }
    }
}

impl Fact {
    fn new(name: &'static str, value: impl fmt::Display, from: Origin) -> Self {
        Self { name, value: value.to_string(), from }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.value, self.from)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, "auth.{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::Host => f.write_str("the target's host"),
            Self::Default => f.write_str("default"),
        }
    }
}
