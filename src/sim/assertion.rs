//! Client assertions that are signed with a certificate (RFC 7523), verified as Entra does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::CertificateDer;
use serde_json::Value;

use super::clock;

/// A JWT in its parts.
pub(super) struct Assertion<'a> {
    header: Value,
    claims: Value,
    /// What the signature is over.
    signed: &'a str,
    signature: &'a str,
}

/// Entra takes assertions for ten minutes by habit, and for no longer than a day.
const LIFE_MAX_SECS: u64 = 24 * 3600;

/// How far two clocks may be apart.
const SKEW_SECS: u64 = 300;

impl<'a> Assertion<'a> {
    /// The parts of a text that has the form of a JWT.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        Some(Self { header: json(header)?, claims: json(claims)?, signed, signature })
    }

    /// Whether it names the certificate it was signed with; a federated token does not.
    pub(super) fn names_certificate(&self) -> bool {
        ["x5t", "x5t#S256"].iter().any(|name| self.header.get(name).is_some())
    }

    /// Checks the claims and the signature; the error is the reason in Entra's brackets.
    pub(super) fn verify(
        &self,
        known: &[CertificateDer<'_>],
        audience: &str,
        client_id: &str,
    ) -> Result<(), String> {
        let certificate = known.iter().find(|der| self.is_of(der));
        let certificate = certificate.ok_or("The key was not found")?;
        let algorithm: &'static dyn VerificationAlgorithm = match self.header["alg"].as_str() {
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            other => return Err(format!("The algorithm {} is not supported", other.unwrap_or(""))),
        };
        let key = public_key(certificate).ok_or("The certificate cannot be read")?;
        let key = UnparsedPublicKey::new(algorithm, key);
        let signature = URL_SAFE_NO_PAD.decode(self.signature).unwrap_or_default();
        key.verify(self.signed.as_bytes(), &signature)
            .map_err(|_| "The key was found, but use of the key to verify the signature failed")?;
        self.check_claims(audience, client_id)
    }

    /// A claim in seconds since 1970. It may have a fraction (RFC 7519 section 2), and has one in
    /// the assertions of MSAL for Python.
    pub(super) fn time(&self, claim: &str) -> Option<u64> {
        self.claims[claim].as_f64().filter(|secs| *secs >= 0.0).map(|secs| secs as u64)
    }

    fn is_of(&self, der: &[u8]) -> bool {
        let named = |name: &str, of: Digest| {
            let given = self.header[name].as_str().unwrap_or_default();
            given.trim_end_matches('=') == URL_SAFE_NO_PAD.encode(of) // MSAL for Python pads it
        };
        named("x5t#S256", digest(&SHA256, der))
            || named("x5t", digest(&SHA1_FOR_LEGACY_USE_ONLY, der))
    }

    fn check_claims(&self, audience: &str, client_id: &str) -> Result<(), String> {
        let claim = |name: &str| self.claims[name].as_str().unwrap_or_default();
        if claim("aud") != audience {
            return Err(format!("The audience '{}' is not '{audience}'", claim("aud")));
        }
        if claim("iss") != client_id || claim("sub") != client_id {
            return Err("Issuer and subject are not the client id".to_owned());
        }
        if claim("jti").is_empty() {
            return Err("The claim jti is missing".to_owned());
        }
        let now = clock::now_secs();
        let begins = self.time("nbf").or_else(|| self.time("iat")).unwrap_or(0);
        match self.time("exp") {
            Some(exp) if exp > now + LIFE_MAX_SECS => Err("The claim exp is too far off".into()),
            Some(_) if begins > now + SKEW_SECS => Err("The assertion is not valid yet".into()),
            Some(_) => Ok(()),
            None => Err("The claim exp is missing".into()),
        }
    }
}

/// The `subjectPublicKey` of a certificate (RFC 5280 section 4.1), which for RSA is what `ring`
/// wants. By hand, since the parser of rustls takes version 3 only, and Entra takes version 1 too.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = element(certificate)?;
    let (_, signed) = element(certificate)?;
    // Number, algorithm, issuer, validity and subject come first; before them perhaps a version.
    let before = if signed.first() == Some(&0xa0) { 6 } else { 5 };
    let info = (0..before).try_fold(signed, |rest, _| rest.get(element(rest)?.0..))?;
    let (_, inside) = element(info)?;
    let (algorithm, _) = element(inside)?;
    let (_, bits) = element(inside.get(algorithm..)?)?;
    bits.strip_prefix(&[0]) // no unused bits
}

/// The first DER element: its whole length, and its content.
fn element(der: &[u8]) -> Option<(usize, &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (head, length) = match first {
        ..0x80 => (2, first),
        _ => {
            let bytes = der.get(2..2 + (first & 0x7f))?;
            let length = bytes.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
            (2 + bytes.len(), length)
        }
    };
    let end = head.checked_add(length)?;
    Some((end, der.get(head..end)?))
}
