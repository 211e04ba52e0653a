//! Kong's nouns: Service, Route, Consumer, Upstream, Target, Plugin and their credentials.
//!
//! Plain data. Defaults and validity belong to the schemas (`kong-compat/kong/db/schema/entities`);
//! a value of these types has passed them, so there is no `Option` for "not given yet".

mod credential;
mod upstream;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use smallvec::SmallVec;
use uuid::Uuid;

pub use credential::{
    Acl, BasicAuthCredential, Groups, HmacAuthCredential, JwtSecret, KeyAuthCredential,
};
pub use upstream::{
    Active, Algorithm, CheckKind, HashOn, Healthchecks, Healthy, Passive, Target, Unhealthy,
    Upstream,
};

/// A value that is never printed: keys, passwords, tokens.
///
/// `Debug` and `Serialize` give `***`, so neither a log line nor an admin answer can hold it.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: &str) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl std::borrow::Borrow<str> for Secret {
    /// So that a map by secret is asked with what a client sent.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// An application protocol of a Service, a Route or a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Protocol {
    Http,
    Https,
    Grpc,
    Grpcs,
    Ws,
    Wss,
    Tcp,
    Tls,
    TlsPassthrough,
    Udp,
}

impl Protocol {
    /// The port that goes without saying: it is left out of `Host`.
    pub fn default_port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }

    /// The name in a configuration, and in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsPassthrough => "tls_passthrough",
            Self::Udp => "udp",
        }
    }

    /// Whether requests come over it, and not connections without any.
    pub fn is_http(self) -> bool {
        !matches!(self, Self::Tcp | Self::Tls | Self::TlsPassthrough | Self::Udp)
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs | Self::Wss | Self::Tls)
    }

    /// Whether it is for calls by gRPC: what speaks HTTP/2 towards an upstream.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

/// A reference to another entity, as Kong writes it: `{"id": ...}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ref {
    /// Primary key of the referenced entity.
    pub id: Uuid,
}

/// Where requests go: an upstream application.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Service {
    pub id: Uuid,
    pub name: Option<String>,
    pub protocol: Protocol,
    /// A host name, an IP address, or the name of an [`Upstream`].
    pub host: String,
    pub port: u16,
    pub path: Option<String>,
    pub retries: u32,
    /// Milliseconds.
    pub connect_timeout: u64,
    /// Milliseconds between two writes.
    pub write_timeout: u64,
    /// Milliseconds between two reads.
    pub read_timeout: u64,
    pub enabled: bool,
    /// What the gateway shows to the upstream (`certificates`).
    pub client_certificate: Option<Ref>,
    /// `None` leaves it to the gateway, which verifies.
    pub tls_verify: Option<bool>,
    /// Intermediate certificates that a chain may have; `None` is any number.
    pub tls_verify_depth: Option<u32>,
    /// Who is trusted in place of everybody the system trusts (`ca_certificates`).
    pub ca_certificates: Option<Vec<Uuid>>,
    pub tags: Option<Vec<String>>,
    /// The entity as log records and Lua plugins see it.
    #[serde(skip)]
    pub json: Arc<Value>,
}

/// Which requests go to a Service.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Route {
    pub id: Uuid,
    pub name: Option<String>,
    pub protocols: SmallVec<[Protocol; 8]>,
    pub methods: Option<Vec<String>>,
    pub hosts: Option<Vec<String>>,
    /// A prefix, or a regular expression after `~`.
    pub paths: Option<Vec<String>>,
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    pub snis: Option<Vec<String>>,
    pub sources: Option<Vec<Address>>,
    pub destinations: Option<Vec<Address>>,
    /// In place of the criteria above (`router_flavor = expressions`).
    pub expression: Option<String>,
    /// Decides between expressions; the greater one goes first.
    pub priority: Option<u64>,
    pub https_redirect_status_code: u16,
    pub regex_priority: i64,
    pub strip_path: bool,
    /// How the paths of Service and Route are put together; only the old router asks.
    pub path_handling: Option<PathHandling>,
    pub preserve_host: bool,
    pub request_buffering: bool,
    pub response_buffering: bool,
    pub service: Option<Ref>,
    pub tags: Option<Vec<String>>,
    /// Unix seconds. Among equals the old router prefers the older Route.
    pub created_at: Option<u64>,
    /// The entity as log records and Lua plugins see it.
    #[serde(skip)]
    pub json: Arc<Value>,
}

/// How the path of a Service and what is left of a request's become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathHandling {
    /// With one slash between them.
    V0,
    /// One behind the other, as they are.
    V1,
}

/// One of a Route's `sources` or `destinations`: an address or range, a port, or both.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Address {
    pub ip: Option<String>,
    pub port: Option<u16>,
}

/// Who calls.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Consumer {
    pub id: Uuid,
    pub username: Option<String>,
    pub custom_id: Option<String>,
    pub tags: Option<Vec<String>>,
    /// The groups of this consumer, ordered by name: the order in which their plugins are tried.
    #[serde(skip)]
    pub groups: Vec<Arc<ConsumerGroup>>,
    #[serde(skip)]
    pub json: Arc<Value>,
}

/// Consumers that share plugins.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct ConsumerGroup {
    pub id: Uuid,
    pub name: String,
    pub tags: Option<Vec<String>>,
    #[serde(skip)]
    pub json: Arc<Value>,
}

/// One configured plugin and the scope it applies to.
#[derive(Clone, Deserialize)]
#[allow(missing_docs)]
pub struct PluginEntity {
    pub id: Uuid,
    pub name: String,
    pub instance_name: Option<String>,
    pub enabled: bool,
    /// Every field that the plugin's schema declares is here; unset ones are null.
    pub config: Value,
    pub service: Option<Ref>,
    pub route: Option<Ref>,
    pub consumer: Option<Ref>,
    pub consumer_group: Option<Ref>,
    pub protocols: Vec<Protocol>,
    pub tags: Option<Vec<String>>,
    /// Where in the config vault references have been replaced, or stand because they could not.
    #[serde(skip)]
    pub references: Vec<Referenced>,
}

/// A vault reference in a config, by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referenced {
    /// The record that it is in: names, and numbers of items from 1.
    pub record: Vec<Value>,
    /// The field of the record.
    pub field: String,
    /// The item of the field, if that is a list or a map.
    pub item: Option<Value>,
    /// The reference as it was written.
    pub text: String,
}

impl fmt::Debug for PluginEntity {
    /// Without the config: any of its fields may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginEntity").field("id", &self.id).field("name", &self.name).finish()
    }
}

/// An entity that has no type of its own: certificates, vaults, credentials that only Lua reads.
#[derive(Clone)]
pub struct Record {
    /// Primary key.
    pub id: Uuid,
    /// The entity with every field its schema declares; it may hold secrets.
    pub json: Value,
}

impl fmt::Debug for Record {
    /// Without the fields: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("id", &self.id).finish()
    }
}
