//! rustls configurations: one for all workers, so that sessions resume wherever they land.

mod listener;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

pub use listener::{Certificates, Choice, server};

/// A certificate or key that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct Unusable {
    path: PathBuf,
    reason: String,
}

/// How connections to upstreams are encrypted.
#[derive(Clone)]
pub struct UpstreamTls {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl UpstreamTls {
    /// Trusts the system's certificates and those in the given PEM files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no certificate.
    pub fn new(trusted: &[PathBuf]) -> Result<Self, Unusable> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        for path in trusted {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, e))?;
            }
        }
        let verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let mut unverified = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
            .with_no_client_auth();
        // Nothing that was not verified may be resumed as if it were.
        unverified.resumption = rustls::client::Resumption::disabled();
        Ok(Self { verified: Arc::new(verified), unverified: Arc::new(unverified) })
    }

    /// The configuration for a Service with or without `tls_verify`.
    pub fn config(&self, verify: bool) -> Arc<ClientConfig> {
        if verify { self.verified.clone() } else { self.unverified.clone() }
    }
}

/// Makes `ring` the provider of the process: reqwest asks for it.
pub fn install_provider() {
    // It fails only when one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Unusable> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(Path::new("rustls"), e))
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

/// `tls_verify: false`: any certificate will do. Signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
