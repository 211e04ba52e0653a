//! How to reach a Redis server: Kong's `redis` records, the one of the open plugins and the longer
//! one of the others.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{Cmd, ProtocolVersion, RedisConnectionInfo, Value, cmd};
use serde::Deserialize;
use serde_json::Value as Json;

use super::millis;
use crate::azure::{self, Token};
use crate::entity::Secret;
use crate::settings::Env;

/// Kong's default for every time of a connection, in milliseconds.
const TIMEOUT_MS: u64 = 2000;
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 6379; // Kong's default here, too

/// The record `redis` of Kong's open plugins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Short {
    pub host: Option<String>,
    pub port: Option<u16>,
    /// For each step, in milliseconds.
    pub timeout: Option<u64>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub database: Option<i64>,
    pub ssl: Option<bool>,
    pub ssl_verify: Option<bool>,
    pub server_name: Option<String>,
}

/// The record `redis` of Kong's other plugins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Record {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub connect_timeout: Option<u64>,
    pub read_timeout: Option<u64>,
    pub send_timeout: Option<u64>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub database: Option<i64>,
    pub ssl: Option<bool>,
    pub ssl_verify: Option<bool>,
    pub server_name: Option<String>,
    pub sentinel_master: Option<String>,
    pub sentinel_role: Option<String>,
    pub sentinel_nodes: Option<Vec<Node>>,
    pub sentinel_username: Option<Secret>,
    pub sentinel_password: Option<Secret>,
    pub cluster_nodes: Option<Vec<ClusterNode>>,
    pub cluster_max_redirections: Option<u64>,
    pub keepalive_pool_size: Option<u64>,
    pub keepalive_backlog: Option<u64>,
    pub connection_is_proxied: Option<bool>,
    pub cloud_authentication: Option<Cloud>,
}

/// A sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    host: Option<String>,
    port: Option<u16>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterNode {
    ip: Option<String>,
    port: Option<u16>,
}

/// How to sign in to a server of a cloud (`cloud_authentication`).
#[derive(Debug, Clone, Deserialize)]
pub struct Cloud {
    auth_provider: Option<String>,
    azure_client_id: Option<String>,
    azure_client_secret: Option<Secret>,
    azure_tenant_id: Option<String>,
}

/// A host and a port.
pub(super) type Place = (String, u16);

/// What tokens for Azure's caches are for.
const AZURE_SCOPE: &str = "https://redis.azure.com/.default";

/// A server, as far as one tells it from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    host: String,
    port: u16,
    username: Option<Secret>,
    password: Option<Secret>,
    database: i64,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    /// Whether certificates are verified; `None` is no TLS.
    pub(super) tls: Option<bool>,
    pub(super) server_name: Option<String>,
    pub(super) sentinel: Option<Sentinel>,
    /// Nodes of a cluster to begin with.
    nodes: Vec<ClusterNode>,
    pub(super) redirections_max: u64,
    cloud: Option<azure::Auth>,
}

/// Who knows where the server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sentinel {
    master: String,
    wants_replica: bool,
    nodes: Vec<Node>,
    username: Option<Secret>,
    password: Option<Secret>,
}

impl From<Short> for Record {
    fn from(short: Short) -> Self {
        Self {
            host: short.host,
            port: short.port,
            connect_timeout: short.timeout,
            read_timeout: short.timeout,
            send_timeout: short.timeout,
            username: short.username,
            password: short.password,
            database: short.database,
            ssl: short.ssl,
            ssl_verify: short.ssl_verify,
            server_name: short.server_name,
            ..Self::default()
        }
    }
}

impl Record {
    /// The server that is meant. `place` is the record's path in the configuration.
    ///
    /// # Errors
    /// What is not built, and what is missing.
    pub fn server(self, place: &str) -> Result<Server, Vec<String>> {
        let mut errors = Vec::new();
        let nodes = self.cluster_nodes.unwrap_or_default();
        if !nodes.is_empty() && self.database.is_some_and(|database| database != 0) {
            errors.push(format!("{place}.database: a cluster has database 0 alone"));
        }
        let provider = self.cloud_authentication.as_ref();
        let cloud = match provider.and_then(|cloud| cloud.auth_provider.as_deref()) {
            Some("azure") => self.cloud_authentication.map(Cloud::auth),
            Some(other) => {
                errors.push(format!(
                    "{place}.cloud_authentication.auth_provider: '{other}' is not built; use \
                     azure, or username and password"
                ));
                None
            }
            None => None,
        };
        let is_near = self.host.as_deref().is_none_or(is_loopback);
        if cloud.is_some() && self.ssl != Some(true) && !is_near {
            errors.push(format!("{place}.ssl: must be true, so that no token goes in the clear"));
        }
        let sentinel = self.sentinel_master.map(|master| Sentinel {
            master,
            wants_replica: self.sentinel_role.as_deref() == Some("slave"),
            nodes: self.sentinel_nodes.unwrap_or_default(),
            username: given(self.sentinel_username),
            password: given(self.sentinel_password),
        });
        if sentinel.as_ref().is_some_and(|sentinel| sentinel.nodes.is_empty()) {
            errors.push(format!("{place}.sentinel_nodes: must name at least one sentinel"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Server {
            host: self.host.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: self.port.unwrap_or(PORT),
            username: given(self.username),
            password: given(self.password),
            database: self.database.unwrap_or(0),
            connect_timeout: millis(self.connect_timeout, TIMEOUT_MS),
            read_timeout: millis(self.read_timeout, TIMEOUT_MS),
            tls: self.ssl.unwrap_or(false).then(|| self.ssl_verify.unwrap_or(false)),
            server_name: self.server_name,
            sentinel,
            nodes,
            redirections_max: self.cluster_max_redirections.unwrap_or(5).min(100),
            cloud,
        })
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// A text that says something: Kong takes an empty one for none.
fn given(secret: Option<Secret>) -> Option<Secret> {
    secret.filter(|secret| !secret.expose().is_empty())
}

impl Cloud {
    fn auth(self) -> azure::Auth {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        azure::Auth {
            use_managed_identity: true,
            client_id: given(self.azure_client_id),
            client_secret: self::given(self.azure_client_secret),
            tenant_id: given(self.azure_tenant_id),
            scope: Some(AZURE_SCOPE.to_owned()),
            ..azure::Auth::default()
        }
    }
}

impl Server {
    /// The identity whose token is the password; `None` where there is a password, or nothing.
    ///
    /// # Errors
    /// Part of it is missing.
    pub fn identity(&self, env: &Env) -> Result<Option<azure::Identity>, azure::Incomplete> {
        let auth = self.cloud.as_ref().map(|auth| azure::resolve(auth, env, &self.host));
        auth.transpose().map(Option::flatten)
    }

    /// The same, for who can do with one server alone.
    ///
    /// # Errors
    /// It is a cluster.
    pub fn alone(self, place: &str) -> Result<Self, Vec<String>> {
        match self.is_cluster() {
            false => Ok(self),
            true => Err(vec![format!(
                "{place}.cluster_nodes: is not built for vectors; name one server"
            )]),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// `host:port`, or the name that sentinels know it by.
    pub(super) fn place(&self) -> String {
        match &self.sentinel {
            Some(sentinel) => sentinel.master.clone(),
            None if self.is_cluster() => "the cluster".to_owned(),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// Where to knock, the first one last.
    pub(super) fn places(&self) -> Vec<Place> {
        let local = || "127.0.0.1".to_owned();
        if self.is_cluster() {
            let place = |node: &ClusterNode| {
                (node.ip.clone().unwrap_or_else(local), node.port.unwrap_or(PORT))
            };
            return self.nodes.iter().rev().map(place).collect();
        }
        let Some(sentinel) = &self.sentinel else { return vec![(self.host.clone(), self.port)] };
        let place = |node: &Node| {
            let host = node.host.clone().unwrap_or_else(local);
            (host, node.port.unwrap_or(SENTINEL_PORT))
        };
        sentinel.nodes.iter().rev().map(place).collect()
    }

    /// How to say who we are. The user of a token is who it was given to, unless the record says.
    pub(super) fn login(&self, token: Option<&Token>) -> RedisConnectionInfo {
        if let Some(token) = token.and_then(|token| token.authorization().to_str().ok()) {
            let token = Secret::new(token.strip_prefix("Bearer ").unwrap_or(token));
            let user =
                self.username.clone().or_else(|| owner(token.expose()).map(|id| Secret::new(&id)));
            return login(user.as_ref(), Some(&token)).set_db(self.database);
        }
        login(self.username.as_ref(), self.password.as_ref()).set_db(self.database)
    }
}

/// The object id in a token of Entra.
pub(super) fn owner(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Json = serde_json::from_slice(&claims).ok()?;
    claims["oid"].as_str().map(str::to_owned)
}

fn login(username: Option<&Secret>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut login =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
    if let Some(password) = password {
        login = login.set_password(password.expose());
        if let Some(username) = username {
            login = login.set_username(username.expose());
        }
    }
    login
}

impl Sentinel {
    pub(super) fn login(&self) -> RedisConnectionInfo {
        login(self.username.as_ref(), self.password.as_ref())
    }

    pub(super) fn role(&self) -> &'static str {
        if self.wants_replica { "replica" } else { "master" }
    }

    pub(super) fn question(&self) -> Cmd {
        let mut question = cmd("SENTINEL");
        let word = if self.wants_replica { "REPLICAS" } else { "GET-MASTER-ADDR-BY-NAME" };
        question.arg(word).arg(&self.master);
        question
    }

    /// The address in a sentinel's answer: a pair, or a list of replicas of which the first counts
    /// that is up.
    pub(super) fn place(&self, answer: Value) -> Option<(String, u16)> {
        if self.wants_replica {
            let replicas: Vec<std::collections::HashMap<String, String>> =
                redis::from_redis_value(answer).ok()?;
            let is_up = |flags: &String| !flags.contains("down") && !flags.contains("disconnected");
            let replica =
                replicas.into_iter().find(|replica| replica.get("flags").is_none_or(is_up))?;
            return Some((replica.get("ip")?.clone(), replica.get("port")?.parse().ok()?));
        }
        let (host, port): (String, String) = redis::from_redis_value(answer).ok()?;
        Some((host, port.parse().ok()?))
    }
}
