//! An Upstream, its Targets, and how their health is watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::Ref;

/// A virtual host name that is balanced over Targets.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Upstream {
    pub id: Uuid,
    pub name: String,
    pub algorithm: Algorithm,
    /// Cells of the wheel of consistent hashing.
    pub slots: u32,
    pub hash_on: HashOn,
    pub hash_fallback: HashOn,
    pub hash_on_header: Option<String>,
    pub hash_fallback_header: Option<String>,
    pub hash_on_cookie: Option<String>,
    pub hash_on_cookie_path: Option<String>,
    pub hash_on_query_arg: Option<String>,
    pub hash_fallback_query_arg: Option<String>,
    pub hash_on_uri_capture: Option<String>,
    pub hash_fallback_uri_capture: Option<String>,
    pub healthchecks: Healthchecks,
    /// Replaces the host in `Host`; the target's port is still appended (Kong does so too).
    pub host_header: Option<String>,
    /// `Host` names the service that an SRV record leads to, and not the target.
    #[serde(default)]
    pub use_srv_name: bool,
    /// What the targets are shown, unless the Service has one of its own.
    pub client_certificate: Option<Ref>,
    pub tags: Option<Vec<String>>,
    #[serde(skip)]
    pub json: Arc<Value>,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Algorithm {
    RoundRobin,
    ConsistentHashing,
    LeastConnections,
    Latency,
}

/// What of a request is hashed to choose a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum HashOn {
    None,
    Consumer,
    Ip,
    Header,
    Cookie,
    Path,
    QueryArg,
    UriCapture,
}

/// When a target leaves the rotation, and when it returns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Healthchecks {
    /// Percent of the weight that must be available for the Upstream to serve at all.
    pub threshold: f64,
    /// Probes.
    pub active: Active,
    /// What is learnt from the requests themselves.
    pub passive: Passive,
}

/// Probes that the gateway sends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct Active {
    #[serde(rename = "type")]
    pub kind: CheckKind,
    /// Seconds.
    pub timeout: f64,
    /// Probes at the same time.
    pub concurrency: u32,
    pub http_path: String,
    pub https_sni: Option<String>,
    pub https_verify_certificate: bool,
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    pub healthy: Healthy,
    pub unhealthy: Unhealthy,
}

/// What is learnt from the requests themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct Passive {
    pub healthy: Healthy,
    pub unhealthy: Unhealthy,
}

/// What counts as a success, and how many make a target healthy; 0 counts nothing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct Healthy {
    /// Seconds between two probes of a healthy target; passive checks have none.
    pub interval: Option<f64>,
    pub http_statuses: Vec<u16>,
    pub successes: u32,
}

/// What counts as a failure, and how many of a kind make a target unhealthy; 0 counts nothing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct Unhealthy {
    /// Seconds between two probes of an unhealthy target; passive checks have none.
    pub interval: Option<f64>,
    pub http_statuses: Vec<u16>,
    pub tcp_failures: u32,
    pub timeouts: u32,
    pub http_failures: u32,
}

/// How a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CheckKind {
    Tcp,
    Http,
    Https,
    Grpc,
    Grpcs,
}

impl Healthchecks {
    /// Whether anything can change the health of a target.
    pub fn is_on(&self) -> bool {
        let seen = &self.passive.unhealthy;
        self.active.is_on() || seen.tcp_failures + seen.timeouts + seen.http_failures > 0
    }
}

impl Active {
    /// Whether probes are sent.
    pub fn is_on(&self) -> bool {
        [self.healthy.interval, self.unhealthy.interval].iter().flatten().any(|secs| *secs > 0.0)
    }
}

/// One address of an Upstream.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Target {
    pub id: Uuid,
    /// `host:port`.
    pub target: String,
    /// 0 takes the target out of rotation.
    pub weight: u32,
    pub upstream: Ref,
    pub tags: Option<Vec<String>>,
    #[serde(skip)]
    pub json: Arc<Value>,
}
