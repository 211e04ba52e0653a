//! Whether a token is signed with a key, by the algorithm of the key's owner.
//!
//! A key of another kind than the algorithm needs has signed nothing. Kong fails with a 500 where a
//! signature has a wrong length; here it is a wrong signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p521::ecdsa::signature::Verifier as _;
use pkcs8::ObjectIdentifier;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use ring::{hmac, signature as ring_signature};
use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::token::Token;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Whether the token's signature is this HMAC; takes as long for a wrong one as for the right one.
pub(super) fn is_hmac(algorithm: &str, secret: &[u8], token: &Token<'_>) -> bool {
    let algorithm = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return false,
    };
    hmac::verify(&hmac::Key::new(algorithm, secret), token.signed, &token.signature).is_ok()
}

/// How ring verifies it. Keys of RSA may be as short as Kong takes them, except for SHA-384.
fn verification(
    algorithm: &str,
    kind: Kind,
) -> Option<&'static dyn ring_signature::VerificationAlgorithm> {
    use ring::signature as s;
    Some(match (algorithm, kind) {
        ("RS256", Kind::Rsa) => &s::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        ("RS384", Kind::Rsa) => &s::RSA_PKCS1_2048_8192_SHA384,
        ("RS512", Kind::Rsa) => &s::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        ("PS256", Kind::Rsa) => &s::RSA_PSS_2048_8192_SHA256,
        ("PS384", Kind::Rsa) => &s::RSA_PSS_2048_8192_SHA384,
        ("PS512", Kind::Rsa) => &s::RSA_PSS_2048_8192_SHA512,
        ("ES256", Kind::P256) => &s::ECDSA_P256_SHA256_FIXED,
        ("ES384", Kind::P384) => &s::ECDSA_P384_SHA384_FIXED,
        ("EdDSA", Kind::Ed25519) => &s::ED25519,
        _ => return None,
    })
}

fn is_signed_p521(point: &[u8], token: &Token<'_>) -> bool {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p521::ecdsa::Signature::from_slice(&token.signature);
    let (Ok(key), Ok(signature)) = (key, signature) else { return false };
    key.verify(token.signed, &signature).is_ok()
}

/// A public key as its algorithm takes it.
pub(super) struct Key {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Key {
    /// A PEM key. A private one stands for its public half, as in OpenSSL.
    pub(super) fn read(pem: &str) -> Option<Self> {
        let (section, der) = section(pem)?;
        match section {
            "PUBLIC KEY" => Self::from_spki(&der),
            "RSA PUBLIC KEY" => Some(Self { kind: Kind::Rsa, bytes: der }),
            _ => {
                let private = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
                let public = any_supported_type(&private).ok()?;
                Self::from_spki(&public.public_key()?)
            }
        }
    }

    /// Whether the token is signed with its private half.
    pub(super) fn has_signed(&self, algorithm: &str, token: &Token<'_>) -> bool {
        let (kind, bytes) = (self.kind, self.bytes.as_slice());
        if (algorithm, kind) == ("ES512", Kind::P521) {
            return is_signed_p521(bytes, token);
        }
        let Some(how) = verification(algorithm, kind) else { return false };
        let key = ring_signature::UnparsedPublicKey::new(how, bytes);
        key.verify(token.signed, &token.signature).is_ok()
    }

    fn from_spki(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::try_from(der).ok()?;
        let curve = || info.algorithm.parameters_oid().ok();
        let kind = match info.algorithm.oid {
            RSA => Kind::Rsa,
            ED25519 => Kind::Ed25519,
            EC if curve() == Some(P256) => Kind::P256,
            EC if curve() == Some(P384) => Kind::P384,
            EC if curve() == Some(P521) => Kind::P521,
            _ => return None,
        };
        Some(Self { kind, bytes: info.subject_public_key.as_bytes()?.to_vec() })
    }
}

/// The first section of a PEM file: its name and what it holds.
fn section(pem: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (name, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    // A private key of the old kind may have headers: then only its name is of use.
    Some((name, STANDARD.decode(body).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
