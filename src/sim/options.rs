//! What a simulator is told at start; the defaults accept everything that Azure could accept.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// How a simulator behaves.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 picks a free port.
    pub listen: SocketAddr,
    /// Speak TLS with this configuration; HTTP/1.1 is the only protocol, so offer no other in ALPN.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The API keys of the resource. None: key authentication is switched off (403), as on
    /// resources that allow Entra tokens only.
    pub keys: Vec<String>,
    /// The deployments that exist. None: every name is a deployment.
    pub deployments: Vec<String>,
    /// The tenants that Entra knows, by GUID or domain. None: every well-formed one.
    pub tenants: Vec<String>,
    /// The client secrets that Entra accepts. None: all but `wrong-secret` and `expired-secret`.
    pub client_secrets: Vec<String>,
    /// Client, object or resource ids of the user-assigned identities. None: every id but those
    /// that begin with `unknown-`.
    pub identities: Vec<String>,
    /// Whether the machine has a system-assigned identity too.
    pub system_identity: bool,
    /// What App Service wants in `X-IDENTITY-HEADER`; the value for `IDENTITY_HEADER`.
    pub identity_header: String,
    /// Life of an issued token. None: Azure's own, 3599 s from Entra and 86399 s otherwise.
    pub token_lifetime_secs: Option<u64>,
    /// The model that replies name; in Azure it is not the deployment's name.
    pub model: String,
    /// How many content events a stream has; 0 = one a word.
    pub stream_events: usize,
    /// The pause before each event of a stream but the first.
    pub event_delay_ms: u64,
    /// How many requests to keep (and at most 64 MiB of bodies); 0 = none.
    pub record: usize,
    /// Show keys, tokens and client secrets in `GET /sim/requests` instead of fingerprints.
    pub raw_secrets: bool,
    /// Benchmark mode: the data plane checks nothing, records nothing, ignores faults and sends
    /// prebuilt replies.
    pub lean: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            keys: vec!["sim-key".into()],
            deployments: Vec::new(),
            tenants: Vec::new(),
            client_secrets: Vec::new(),
            identities: Vec::new(),
            system_identity: true,
            identity_header: "sim-identity-header".into(),
            token_lifetime_secs: None,
            model: "gpt-4o-2024-11-20".into(),
            stream_events: 0,
            event_delay_ms: 0,
            record: 1000,
            raw_secrets: false,
            lean: false,
        }
    }
}
