//! rustls configurations: one for all workers, so that sessions resume wherever they land.

mod handshake;
mod listener;
mod policies;
mod self_signed;
mod session;
mod upstream;
mod verify;
mod worded;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, Error, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::settings::TlsVersion;

pub use handshake::{client_chain, wished};
pub use listener::{Certificates, Choice, of_status, server};
pub use policies::{Policies, probe_config};
pub use session::session;
pub use upstream::{Policy, UpstreamTls};
pub use worded::words;

/// A certificate or key that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct Unusable {
    path: PathBuf,
    reason: String,
}

/// Makes `ring` the provider of the process: reqwest asks for it.
pub fn install_provider() {
    // It fails only when one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Versions by their names in settings.
fn versions(versions: &[TlsVersion]) -> Vec<&'static SupportedProtocolVersion> {
    let version = |version: &TlsVersion| match version {
        TlsVersion::V1_2 => &rustls::version::TLS12,
        TlsVersion::V1_3 => &rustls::version::TLS13,
    };
    versions.iter().map(version).collect()
}

/// A certificate with its chain, and its key, to be shown to a peer that asks for one.
///
/// # Errors
/// They do not belong together, or the key cannot be used.
pub fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, e))?.collect();
    let found = found.map_err(|e| unusable(path, e))?;
    if found.is_empty() { Err(unusable(path, "no PEM certificate in it")) } else { Ok(found) }
}

fn unusable(path: &Path, reason: impl ToString) -> Unusable {
    Unusable { path: path.to_owned(), reason: reason.to_string() }
}

/// What an operator may do about a handshake that failed, to be put behind the error.
pub fn hint(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(error)) => of_certificate(error),
        Some(Error::AlertReceived(alert)) => of_alert(*alert),
        Some(Error::InvalidMessage(_)) => "; see whether the upstream speaks TLS on this port",
        _ => "",
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => {
            "; name its CA in ca_certificates of the Service or in lua_ssl_trusted_certificate, or \
             set tls_verify to false"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; the name is that of the Host header: see preserve_host of the Route, host_header of \
             the Upstream and host of the Service"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; renew the certificate of the upstream"
        }
        _ => "",
    }
}

fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::HandshakeFailure
        | AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            "; if the upstream asks for a certificate, see client_certificate of the Service"
        }
        AlertDescription::UnrecognisedName => {
            "; the name is that of the Host header, and the upstream does not know it"
        }
        AlertDescription::ProtocolVersion => "; see nginx_proxy_proxy_ssl_protocols",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handshake_says_what_to_do() {
        for (error, word) in [
            (CertificateError::UnknownIssuer.into(), "ca_certificates"),
            (CertificateError::NotValidForName.into(), "Host header"),
            (CertificateError::Expired.into(), "renew"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "client_certificate"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "proxy_ssl_protocols"),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            assert!(hint(&error).contains(word), "{error}: {}", hint(&error));
        }
        assert_eq!(hint(&io::ErrorKind::UnexpectedEof.into()), "");
    }
}
