//! A private key and its certificates, out of PEM or PKCS#12.
//!
//! Microsoft's tools hand them out in many wrappings: PEM with a PKCS#8 key (plain or encrypted) or
//! a PKCS#1 one, PFX in the ciphers of today and in those of 1999, and Key Vault gives a PFX in
//! base64. Which certificate belongs to the key is found out, not assumed from the order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use p12_keystore::error::Error as Pkcs12Error;
use p12_keystore::{Certificate, Pkcs12Archive};
use pkcs8::EncryptedPrivateKeyInfoRef;
use ring::rsa::KeyPair;

use crate::entity::Secret;

/// An RSA key with its certificates.
pub(super) struct Keystore {
    pub(super) key: KeyPair,
    /// DER; the key's own first, then its issuers as far as they are there.
    pub(super) chain: Vec<Vec<u8>>,
}

/// Why there is no usable key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKeystore {
    #[error("holds no private key")]
    NoKey,
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds no certificate of its private key")]
    Strangers,
    #[error("holds a key that is not RSA")]
    NotRsa,
    #[error("holds an RSA key that cannot be used ({0})")]
    Rejected(String),
    #[error("is protected by a password")]
    NeedsPassword,
    #[error("does not open with this password")]
    WrongPassword,
    #[error("is encrypted in a way that is too old")]
    OldCipher,
    #[error("is neither PEM nor PKCS#12 ({0})")]
    Malformed(String),
}

impl BadKeystore {
    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::NoKey | Self::NoCertificate | Self::Strangers => {
                "put the private key and its certificate into one file"
            }
            Self::NotRsa | Self::Rejected(_) => {
                "Entra takes RSA certificates only; make one with a key of 2048 to 4096 bits"
            }
            Self::NeedsPassword | Self::WrongPassword => {
                "set auth.azure_client_certificate_password (AZURE_CLIENT_CERTIFICATE_PASSWORD)"
            }
            Self::OldCipher => "export it again with AES-256 (openssl pkcs8 -topk8, or pkcs12)",
            Self::Malformed(_) => "export it again, with its private key",
        }
    }
}

impl Keystore {
    /// Reads PEM, PKCS#12, or PKCS#12 in base64.
    pub(super) fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Self, BadKeystore> {
        if memmem::find(bytes, b"-----BEGIN ").is_some() {
            return from_pem(&String::from_utf8_lossy(bytes), password);
        }
        if bytes.first() == Some(&DER_SEQUENCE) {
            return from_pkcs12(bytes, password);
        }
        let text: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        let bytes = STANDARD.decode(text).map_err(|e| BadKeystore::Malformed(e.to_string()))?;
        from_pkcs12(&bytes, password)
    }

    fn new(keys: Vec<KeyPair>, certificates: &[Certificate]) -> Result<Self, BadKeystore> {
        if keys.is_empty() {
            return Err(BadKeystore::NoKey);
        }
        if certificates.is_empty() {
            return Err(BadKeystore::NoCertificate);
        }
        for key in keys {
            // A certificate holds its public key in the very bytes that the key gives for it.
            let public = key.public().as_ref();
            let is_own = |c: &&Certificate| memmem::find(c.as_der(), public).is_some();
            if let Some(own) = certificates.iter().find(is_own) {
                return Ok(Self { key, chain: chain(own, certificates) });
            }
        }
        Err(BadKeystore::Strangers)
    }
}

const DER_SEQUENCE: u8 = 0x30;

/// A certificate and its issuers, each below the one that signed it (RFC 7515 section 4.1.6).
fn chain(own: &Certificate, all: &[Certificate]) -> Vec<Vec<u8>> {
    let mut chain = vec![own];
    while let Some(last) = chain.last() {
        let is_next = |c: &&Certificate| c.subject() == last.issuer() && !chain.contains(c);
        let Some(next) = all.iter().find(is_next) else { break };
        chain.push(next);
    }
    chain.into_iter().map(|certificate| certificate.as_der().to_vec()).collect()
}

fn from_pkcs12(bytes: &[u8], password: Option<&Secret>) -> Result<Keystore, BadKeystore> {
    let text = password.map_or("", Secret::expose);
    let archive = Pkcs12Archive::from_pkcs12(bytes, text).map_err(|error| match error {
        Pkcs12Error::MacError(_) | Pkcs12Error::UnpadError | Pkcs12Error::Pkcs5Error(_) => {
            bad_password(password)
        }
        Pkcs12Error::UnsupportedEncryptionScheme => BadKeystore::OldCipher,
        other => BadKeystore::Malformed(other.to_string()),
    })?;
    let keys = archive.keys.iter().map(|bag| rsa(KeyPair::from_pkcs8(bag.key.as_der())));
    let keys = keys.collect::<Result<_, _>>()?;
    let certificates: Vec<_> = archive.certs.into_iter().map(|bag| bag.cert).collect();
    Keystore::new(keys, &certificates)
}

fn from_pem(text: &str, password: Option<&Secret>) -> Result<Keystore, BadKeystore> {
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for section in sections(text) {
        let (label, der) = section?;
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                let certificate = Certificate::from_der(&der);
                let malformed = |e: Pkcs12Error| BadKeystore::Malformed(e.to_string());
                certificates.push(certificate.map_err(malformed)?);
            }
            "PRIVATE KEY" => keys.push(rsa(KeyPair::from_pkcs8(&der))?),
            "RSA PRIVATE KEY" => keys.push(rsa(KeyPair::from_der(&der))?),
            "ENCRYPTED PRIVATE KEY" => keys.push(decrypt(&der, password)?),
            "EC PRIVATE KEY" => return Err(BadKeystore::NotRsa),
            _ => {} // parameters, a bare public key
        }
    }
    Keystore::new(keys, &certificates)
}

fn decrypt(der: &[u8], password: Option<&Secret>) -> Result<KeyPair, BadKeystore> {
    let sealed = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| BadKeystore::OldCipher)?;
    let password = password.ok_or(BadKeystore::NeedsPassword)?;
    let plain = sealed.decrypt(password.expose()).map_err(|_| BadKeystore::WrongPassword)?;
    rsa(KeyPair::from_pkcs8(plain.as_bytes()))
}

fn rsa(key: Result<KeyPair, ring::error::KeyRejected>) -> Result<KeyPair, BadKeystore> {
    key.map_err(|rejected| match rejected.to_string().as_str() {
        "WrongAlgorithm" => BadKeystore::NotRsa,
        problem => BadKeystore::Rejected(problem.to_owned()),
    })
}

fn bad_password(password: Option<&Secret>) -> BadKeystore {
    if password.is_some() { BadKeystore::WrongPassword } else { BadKeystore::NeedsPassword }
}

/// The labels and contents of a PEM text (RFC 7468); what stands between them is a comment, as
/// the attributes that `openssl pkcs12` writes there.
fn sections(text: &str) -> impl Iterator<Item = Result<(&str, Vec<u8>), BadKeystore>> {
    fn label(line: &str) -> Option<&str> {
        line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
    }
    let mut lines = text.lines().map(str::trim);
    std::iter::from_fn(move || {
        let label = lines.find_map(label)?;
        let is_body = |line: &&str| !line.starts_with("-----END ");
        let body: Vec<&str> = lines.by_ref().take_while(is_body).collect();
        if body.iter().any(|line| line.starts_with("Proc-Type:")) {
            return Some(Err(BadKeystore::OldCipher)); // encryption of OpenSSL's own, before PKCS#8
        }
        let der = STANDARD.decode(body.concat());
        Some(der.map(|der| (label, der)).map_err(|e| BadKeystore::Malformed(e.to_string())))
    })
}

#[cfg(test)]
mod tests;
