//! The requests received: a bounded ring, what became of each reply, and a form without secrets.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::call::{Call, Kind};

/// One request as the simulator received it, with its verdict.
#[derive(Clone)]
pub struct Recorded {
    /// Counted from 1 since the start.
    pub number: u64,
    /// As sent.
    pub method: String,
    /// As sent, percent-encoding included, without the query.
    pub path: String,
    /// As sent, without the question mark; empty when there was none.
    pub query: String,
    /// Names in lower case, in the order of arrival; repeated names stand together.
    pub headers: Vec<(String, String)>,
    /// As sent, transfer coding removed.
    pub body: Bytes,
    /// What was asked for.
    pub kind: Kind,
    /// The deployment, from the path or (on v1) from `model`.
    pub deployment: Option<String>,
    /// Who called, or why that is not known; names and ids, never a secret.
    pub identity: String,
    /// The rule or named fault that decided or changed the reply.
    pub fault: Option<String>,
    /// The status of the reply; 0 when the connection was closed instead.
    pub status: u16,
    outcome: Arc<AtomicU8>,
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not all of it is sent yet.
    Pending,
    /// All of it was handed to the connection.
    Sent,
    /// A fault ended it early, as planned.
    Cut,
    /// The client closed the connection before the end.
    ClientGone,
}

impl Recorded {
    pub(super) fn new(call: &Call, identity: String, fault: Option<String>, status: u16) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        Self {
            number: 0,
            method: call.head.method.to_string(),
            path: call.path().to_owned(),
            query: call.head.uri.query().unwrap_or_default().to_owned(),
            headers: call.head.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect(),
            body: call.body.clone(),
            kind: call.kind,
            deployment: call.deployment.clone(),
            identity,
            fault,
            status,
            outcome: Arc::default(),
        }
    }

    /// The first value of a header; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Path and query as sent.
    pub fn target(&self) -> String {
        match self.query.as_str() {
            "" => self.path.clone(),
            query => format!("{}?{query}", self.path),
        }
    }

    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What has become of the reply so far.
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Acquire) {
            0 => Outcome::Pending,
            1 => Outcome::Sent,
            2 => Outcome::Cut,
            _ => Outcome::ClientGone,
        }
    }

    /// The record as JSON; unless `raw`, secrets are fingerprints.
    pub(super) fn to_json(&self, raw: bool) -> Value {
        let shown = |name: &str, value: &str| match raw || !is_secret(name) {
            true => value.to_owned(),
            false => conceal(value),
        };
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| json!([n, shown(n, v)])).collect();
        let query: Vec<_> = url::form_urlencoded::parse(self.query.as_bytes())
            .map(|(name, value)| json!([name, shown(&name, &value)]))
            .collect();
        let outcome = match self.outcome() {
            Outcome::Pending => "pending",
            Outcome::Sent => "sent",
            Outcome::Cut => "cut",
            Outcome::ClientGone => "client gone",
        };
        json!({
            "number": self.number,
            "kind": self.kind,
            "deployment": self.deployment,
            "identity": self.identity,
            "fault": self.fault,
            "status": self.status,
            "outcome": outcome,
            "method": self.method,
            "path": self.path,
            "query": query,
            "headers": headers,
            "body": self.body_json(&shown),
        })
    }

    /// JSON as JSON, a form as an object, other text as text, and bytes as base64.
    fn body_json(&self, shown: &dyn Fn(&str, &str) -> String) -> Value {
        let kind = self.header("content-type").unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            let fields = url::form_urlencoded::parse(&self.body);
            return fields.map(|(n, v)| (n.to_string(), Value::from(shown(&n, &v)))).collect();
        }
        match (self.json(), std::str::from_utf8(&self.body)) {
            (Some(Value::Object(members)), _) => members
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(text) => {
                        let text = shown(&name, &text);
                        (name, Value::String(text))
                    }
                    other => (name, other),
                })
                .collect::<Map<_, _>>()
                .into(),
            (Some(other), _) => other,
            (None, Ok(text)) => text.into(),
            (None, Err(_)) => json!({ "base64": STANDARD.encode(&self.body) }),
        }
    }
}

impl fmt::Debug for Recorded {
    /// Without secrets: test failures are printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json(false).to_string())
    }
}

/// Names of headers, arguments and members that carry secrets, whichever way they are written.
const SECRETS: [&str; 16] = [
    "accesstoken",
    "apikey",
    "assertion",
    "authorization",
    "clientassertion",
    "clientsecret",
    "cookie",
    "key",
    "ocpapimsubscriptionkey",
    "password",
    "proxyauthorization",
    "refreshtoken",
    "secret",
    "subscriptionkey",
    "xapikey",
    "xidentityheader",
];

fn is_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| *c != '-' && *c != '_').map(|c| c.to_ascii_lowercase()).collect();
    SECRETS.contains(&plain.as_str())
}

/// A secret as its fingerprint; an authentication scheme in front stays readable.
fn conceal(value: &str) -> String {
    match value.split_once(' ') {
        Some((scheme @ ("Bearer" | "Basic"), secret)) => {
            format!("{scheme} {}", fingerprint(secret))
        }
        _ => fingerprint(value),
    }
}

/// The first 48 bits of a SHA-256: enough to tell secrets apart, useless for getting one back.
pub(super) fn fingerprint(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The right to say what became of a reply. Dropped unused, it says that the client left.
pub(super) struct Receipt {
    outcome: Arc<AtomicU8>,
    news: watch::Sender<()>,
}

impl Receipt {
    pub(super) fn new(record: &Recorded, news: watch::Sender<()>) -> Self {
        Self { outcome: Arc::clone(&record.outcome), news }
    }

    pub(super) fn settle(self, outcome: Outcome) {
        self.outcome.store(outcome as u8, Ordering::Release);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let (pending, gone) = (Outcome::Pending as u8, Outcome::ClientGone as u8);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.outcome.compare_exchange(pending, gone, set, fetch);
        self.news.send_replace(());
    }
}

/// The newest requests, bounded in number and in bytes.
pub(super) struct Ring {
    kept: VecDeque<Recorded>,
    limit: usize,
    bytes: usize,
    last_number: u64,
    received: usize,
}

/// All kept bodies together; the newest request is kept whatever its size.
const BODY_BYTES_MAX: usize = 64 << 20;

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit, bytes: 0, last_number: 0, received: 0 }
    }

    pub(super) fn push(&mut self, mut record: Recorded) {
        self.last_number += 1;
        self.received += 1;
        record.number = self.last_number;
        self.bytes += record.body.len();
        self.kept.push_back(record);
        while self.kept.len() > self.limit || (self.bytes > BODY_BYTES_MAX && self.kept.len() > 1) {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.body.len();
        }
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.kept.iter().cloned().collect()
    }

    pub(super) fn last(&self) -> Option<Recorded> {
        self.kept.back().cloned()
    }

    pub(super) fn take(&mut self) -> Vec<Recorded> {
        (self.bytes, self.received) = (0, 0);
        std::mem::take(&mut self.kept).into()
    }

    /// How many arrived since the start or the last `take`, kept or not.
    pub(super) fn received(&self) -> usize {
        self.received
    }
}
