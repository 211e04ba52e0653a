//! TLS with one certificate and no other: how Service Fabric's endpoint is recognised.
//!
//! The certificate is signed by nobody, so its SHA-1 thumbprint, which the platform gives, stands
//! in for a chain of trust. It is compared during the handshake: no byte of a request goes to
//! anybody else. That the peer has the certificate's key is checked as always.

use std::fmt;
use std::sync::Arc;

use ::ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The SHA-1 digest of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thumbprint([u8; 20]);

impl Thumbprint {
    /// 40 hexadecimal digits; blanks and colons between them do not count.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_padding = |c: &char| c.is_whitespace() || *c == ':';
        let digits: Option<Vec<u32>> =
            text.chars().filter(|c| !is_padding(c)).map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 40)?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8);
        }
        Some(Self(bytes))
    }

    /// Whether it is that of this certificate (DER), in a time that does not depend on where the
    /// two differ.
    pub(super) fn is_of(&self, certificate: &[u8]) -> bool {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
        let pairs = self.0.iter().zip(digest.as_ref());
        std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A TLS configuration that accepts the certificate with this thumbprint.
pub(super) fn tls(thumbprint: Thumbprint) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let pin = Arc::new(Pin { thumbprint, provider: provider.clone() });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth())
}

#[derive(Debug)]
struct Pin {
    thumbprint: Thumbprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _issuers: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.thumbprint.is_of(certificate) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_read_as_tools_print_them() {
        // The digest of nothing.
        let hex = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let spaced = pairs.collect::<Vec<_>>().join(" ");
        for text in [hex, &hex.to_uppercase(), &spaced, &spaced.replace(' ', ":")] {
            let thumbprint = Thumbprint::parse(text).unwrap();
            assert!(thumbprint.is_of(b"") && !thumbprint.is_of(b"x"), "{text}");
            assert_eq!(thumbprint.to_string(), hex.to_uppercase());
        }
        for text in ["", "da39", &hex.replace('d', "g"), &format!("{hex}00")] {
            assert_eq!(Thumbprint::parse(text), None, "{text}");
        }
    }
}
