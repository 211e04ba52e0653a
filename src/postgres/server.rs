//! How to reach a Postgres server: Kong's `pgvector` record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;

use super::millis;
use crate::entity::Secret;
use crate::settings::TlsVersion;
use crate::tls::UpstreamTls;

/// Kong's default for every step, in milliseconds.
const TIMEOUT_MS: u64 = 5000;
const PORT: u16 = 5432;

/// The record `pgvector` of Kong's AI plugins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Record {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: Option<String>,
    /// To connect, and for each answer, in milliseconds.
    pub timeout: Option<f64>,
    pub ssl: Option<bool>,
    /// Without it a server that has no TLS is spoken to in the clear.
    pub ssl_required: Option<bool>,
    pub ssl_verify: Option<bool>,
    pub ssl_version: Option<Version>,
    pub ssl_cert: Option<PathBuf>,
    pub ssl_cert_key: Option<PathBuf>,
}

/// The oldest version of TLS that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Version {
    /// Whatever both know.
    #[serde(rename = "any")]
    Any,
    /// 1.2 and later.
    #[serde(rename = "tlsv1_2")]
    V1_2,
    /// 1.3 and later.
    #[serde(rename = "tlsv1_3")]
    V1_3,
}

/// A server, as far as one tells it from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) database: String,
    pub(super) timeout: Duration,
    pub(super) tls: Option<Tls>,
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    pub(super) required: bool,
    verify: bool,
    version: Version,
    shown: Option<(PathBuf, PathBuf)>,
}

impl Record {
    /// The server that is meant. `place` is the record's path in the configuration.
    ///
    /// # Errors
    /// What is missing.
    pub fn server(self, place: &str) -> Result<Server, Vec<String>> {
        let shown = match (self.ssl_cert, self.ssl_cert_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                let line = format!("{place}: ssl_cert and ssl_cert_key must be set together");
                return Err(vec![line]);
            }
        };
        let tls = self.ssl.unwrap_or(false).then(|| Tls {
            required: self.ssl_required.unwrap_or(false),
            verify: self.ssl_verify.unwrap_or(true),
            version: self.ssl_version.unwrap_or(Version::V1_2),
            shown,
        });
        Ok(Server {
            host: self.host.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: self.port.unwrap_or(PORT),
            user: self.user.unwrap_or_else(|| "postgres".to_owned()),
            password: self.password.filter(|password| !password.expose().is_empty()),
            database: self.database.unwrap_or_else(|| "kong-pgvector".to_owned()),
            timeout: millis(self.timeout, TIMEOUT_MS),
            tls,
        })
    }
}

impl Server {
    /// `host:port/database`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

impl Tls {
    /// What connections are made with.
    pub(super) fn config(&self, tls: &UpstreamTls) -> Result<Arc<ClientConfig>, String> {
        let versions: &[TlsVersion] = match self.version {
            Version::Any | Version::V1_2 => &[TlsVersion::V1_2, TlsVersion::V1_3],
            Version::V1_3 => &[TlsVersion::V1_3],
        };
        let shown = self.shown.as_ref().map(|(cert, key)| (&**cert, &**key));
        tls.of_files(self.verify, shown, versions).map(Arc::new)
    }
}
