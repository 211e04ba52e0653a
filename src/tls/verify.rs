//! Who an upstream must be.
//!
//! rustls looks at the chain and the name; two of Kong's rules are added. A certificate that the
//! operator named is accepted as the upstream's own, and a chain may be too long.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::provider;
use super::upstream::{Terms, Trusted};

/// The chain ends at a certificate that is trusted, and later than `tls_verify_depth` allows.
#[derive(Debug, thiserror::Error)]
#[error("the chain has more intermediate certificates than tls_verify_depth ({0}) allows")]
pub(super) struct TooDeep(u32);

/// Verifies chain, name and depth.
#[derive(Debug)]
pub(super) struct Careful {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Arc<Trusted>,
    depth: Option<u32>,
}

impl Careful {
    pub(super) fn new(terms: &Terms) -> Result<Self, Error> {
        let roots = terms.trusted.roots.clone();
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, trusted: terms.trusted.clone(), depth: terms.depth })
    }

    /// A self-signed certificate is its own authority, which OpenSSL accepts where it is trusted:
    /// many an upstream has one that says `CA:TRUE`. It has been found valid in time by then.
    fn is_its_own_authority(&self, error: &Error, certificate: &CertificateDer<'_>) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
            return false;
        };
        matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
            && self.trusted.named.iter().any(|named| named == certificate)
    }

    fn is_shallow(
        &self,
        depth: u32,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let algorithms = provider().signature_verification_algorithms.all;
        let fits = |path: &webpki::VerifiedPath<'_>| {
            let length = path.intermediate_certificates().count();
            let fits = u32::try_from(length).is_ok_and(|length| length <= depth);
            if fits { Ok(()) } else { Err(webpki::Error::MaximumPathDepthExceeded) }
        };
        let usage = KeyUsage::server_auth();
        let roots = &self.trusted.roots.roots;
        EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
            let path = certificate.verify_for_usage(
                algorithms,
                roots,
                intermediates,
                now,
                usage,
                None,
                Some(&fits),
            );
            path.is_ok()
        })
    }
}

impl ServerCertVerifier for Careful {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if let Err(error) = &verified
            && self.is_its_own_authority(error, end_entity)
        {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&certificate, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match self.depth {
            Some(depth)
                if verified.is_ok() && !self.is_shallow(depth, end_entity, intermediates, now) =>
            {
                let error = OtherError(Arc::new(TooDeep(depth)));
                Err(CertificateError::Other(error).into())
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trusted {{ roots: {}, named: {} }}", self.roots.len(), self.named.len())
    }
}

/// `tls_verify: false`: any certificate will do. Signatures are still checked.
#[derive(Debug)]
pub(super) struct Anybody(Arc<CryptoProvider>);

impl Anybody {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
