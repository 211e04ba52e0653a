//! Connections of Lua code: whom the gateway trusts, and why somebody is refused in the words of
//! OpenSSL, which plugins look into.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::verify::Careful;

/// OpenSSL's number and words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(&'static str);

/// Refuses in OpenSSL's words.
#[derive(Debug)]
pub(super) struct Worded {
    pub(super) inner: Careful,
    /// Whose certificate it is does not matter: Lua code gave no name (OpenResty).
    pub(super) any_name: bool,
}

/// Why a handshake failed, as OpenResty tells it.
pub fn words(error: &io::Error) -> &'static str {
    const UNKNOWN: &str = "handshake failed";
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(told)))) = inner else {
        return UNKNOWN;
    };
    told.downcast_ref::<Words>().map_or(UNKNOWN, |words| words.0)
}

/// OpenSSL's words for what is wrong with a chain.
pub(super) fn of_chain(
    certificate: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> &'static str {
    let is_own = |certificate: &CertificateDer<'_>| {
        EndEntityCert::try_from(certificate)
            .is_ok_and(|certificate| certificate.issuer() == certificate.subject())
    };
    match others.last() {
        None if is_own(certificate) => "18: self-signed certificate",
        None => "21: unable to verify the first certificate",
        Some(last) if is_own(last) => "19: self-signed certificate in certificate chain",
        Some(_) => "20: unable to get local issuer certificate",
    }
}

impl ServerCertVerifier for Worded {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let Err(Error::InvalidCertificate(error)) = verified else { return verified };
        let words = match &error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                if self.any_name {
                    return Ok(ServerCertVerified::assertion());
                }
                "certificate host mismatch"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "10: certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "9: certificate is not yet valid"
            }
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::Other(_) => of_chain(end_entity, intermediates),
            _ => return Err(error.into()),
        };
        Err(CertificateError::Other(OtherError(Arc::new(Words(words)))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
