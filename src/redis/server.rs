//! How to reach a Redis server: Kong's `redis` records, the one of the open plugins and the longer
//! one of the others.

use std::time::Duration;

use redis::{Cmd, ProtocolVersion, RedisConnectionInfo, Value, cmd};
use serde::Deserialize;
use serde_json::Value as Json;

use super::millis;
use crate::entity::Secret;

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
    pub cluster_nodes: Option<Vec<Json>>,
    pub cluster_max_redirections: Option<u64>,
    pub keepalive_pool_size: Option<u64>,
    pub keepalive_backlog: Option<u64>,
    pub connection_is_proxied: Option<bool>,
    pub cloud_authentication: Option<Json>,
}

/// A sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    host: Option<String>,
    port: Option<u16>,
}

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
        if self.cluster_nodes.as_ref().is_some_and(|nodes| !nodes.is_empty()) {
            errors.push(format!(
                "{place}.cluster_nodes: Redis Cluster is not built yet; name one server with host \
                 and port, or sentinels"
            ));
        }
        let cloud = self.cloud_authentication.as_ref().and_then(|cloud| cloud.get("auth_provider"));
        if cloud.is_some_and(|provider| !provider.is_null()) {
            errors.push(format!(
                "{place}.cloud_authentication: not built yet; use username and password"
            ));
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
        })
    }
}

/// A text that says something: Kong takes an empty one for none.
fn given(secret: Option<Secret>) -> Option<Secret> {
    secret.filter(|secret| !secret.expose().is_empty())
}

impl Server {
    /// `host:port`, or the name that sentinels know it by.
    pub(super) fn place(&self) -> String {
        match &self.sentinel {
            Some(sentinel) => sentinel.master.clone(),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// Where to knock, the first one last.
    pub(super) fn places(&self) -> Vec<(String, u16)> {
        let Some(sentinel) = &self.sentinel else { return vec![(self.host.clone(), self.port)] };
        let place = |node: &Node| {
            let host = node.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
            (host, node.port.unwrap_or(SENTINEL_PORT))
        };
        sentinel.nodes.iter().rev().map(place).collect()
    }

    /// How to say who we are.
    pub(super) fn login(&self) -> RedisConnectionInfo {
        login(self.username.as_ref(), self.password.as_ref()).set_db(self.database)
    }
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
