//! What a simulator is told at start; the defaults accept everything that Azure could accept.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::service_fabric::Pinned;

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
    /// The certificates that Entra knows, as DER; then assertions that name a certificate are
    /// verified. None: it is enough that they have the form of one.
    pub client_certificates: Vec<CertificateDer<'static>>,
    /// Client, object or resource ids of the user-assigned identities. None: every id but those
    /// that begin with `unknown-`.
    pub identities: Vec<String>,
    /// Whether the machine has a system-assigned identity too.
    pub system_identity: bool,
    /// The secret of the endpoints that want one: the value for `IDENTITY_HEADER` (App Service and
    /// Service Fabric) and `MSI_SECRET` (Azure ML).
    pub identity_header: String,
    /// Where the endpoint of Azure Arc leaves its key files. None: it has no key to ask for.
    pub arc_key_folder: Option<PathBuf>,
    /// Azure Arc's agent is one of those that ignore which identity is asked for.
    pub arc_is_old: bool,
    /// Serve Service Fabric's endpoint too, on a port of its own with this certificate.
    pub service_fabric: Option<Pinned>,
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
            client_certificates: Vec::new(),
            identities: Vec::new(),
            system_identity: true,
            identity_header: "sim-identity-header".into(),
            arc_key_folder: None,
            arc_is_old: false,
            service_fabric: None,
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
