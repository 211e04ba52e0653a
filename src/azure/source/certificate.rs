//! An app registration that proves itself with a certificate: a JWT that its key has signed
//! stands in for a secret (RFC 7523).
//!
//! The file is read at every exchange, so a renewed certificate is picked up by itself. Reading,
//! decrypting and signing happen on a thread that may block.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::RSA_PSS_SHA256;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::keystore::{BadKeystore, Keystore};
use super::{About, App, Calling, ProofFile, Source, entra};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::Silence;
use crate::azure::failure::{Cause, Class};
use crate::azure::files;
use crate::azure::identity::{Fact, Given, Origin};
use crate::entity::Secret;

#[derive(Debug)]
pub(in crate::azure) struct ClientCertificate {
    pub(in crate::azure) app: App,
    pub(in crate::azure) certificate: Certificate,
    pub(in crate::azure) password: Option<Given<Secret>>,
    /// Whether the certificates go along, for applications that trust an issuer and a name
    /// instead of one certificate.
    pub(in crate::azure) sends_chain: Option<Given<bool>>,
}

/// Where key and certificate are.
#[derive(Debug, Clone)]
pub(in crate::azure) enum Certificate {
    File(Given<PathBuf>),
    /// The text itself.
    Inline(Given<Secret>),
}

/// A key with a long chain has 20 KiB.
const FILE_MAX: u64 = 256 * 1024;

/// How long an assertion is good for; it is used at once.
const LIFETIME_SECS: u64 = 600;

impl Source for ClientCertificate {
    fn about(&self) -> About<'_> {
        let mut about = About::app("client certificate", &self.app);
        match &self.certificate {
            Certificate::File(file) => {
                about.proof.push(Fact::new("certificate", file.value.display(), file.from));
                about.file = Some(ProofFile::Rotated(&file.value));
            }
            Certificate::Inline(text) => {
                about.proof.push(Fact::new("certificate", "***", text.from));
                about.hidden.push(text.value.expose());
            }
        }
        if let Some(password) = &self.password {
            about.proof.push(Fact::new("password", "***", password.from));
            about.hidden.push(password.value.expose());
        }
        if let Some(chain) = self.sends_chain.filter(|chain| chain.value) {
            about.proof.push(Fact::new("chain", "sent", chain.from));
        }
        about
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(async move {
            let assertion = self.assertion().await?;
            self.app.post_assertion(self, clients, scope, assertion.expose()).await
        })
    }

    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        entra::pause(cause, attempts)
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        self.app.explain_silence(silence)
    }
}

impl ClientCertificate {
    async fn assertion(&self) -> Result<Secret, Cause> {
        let (certificate, password) = (self.certificate.clone(), self.password.clone());
        let (audience, client_id) = (self.app.token_url(), self.app.client_id.value.clone());
        let sends_chain = self.sends_chain.is_some_and(|chain| chain.value);
        let sign = move || {
            let keystore = certificate.read(password.as_ref().map(|given| &given.value))?;
            sign(&keystore, &audience, &client_id, sends_chain)
        };
        let stopped = |_| Cause::new(Class::Aborted, "the assertion was not signed", "");
        tokio::task::spawn_blocking(sign).await.map_err(stopped)?
    }
}

impl Certificate {
    /// Who gave it.
    pub(in crate::azure) fn from(&self) -> Origin {
        match self {
            Self::File(file) => file.from,
            Self::Inline(text) => text.from,
        }
    }

    /// Whether a token could be asked for with it, as it is now.
    pub(in crate::azure) fn check(&self, password: Option<&Secret>) -> Result<(), Cause> {
        self.read(password).map(drop)
    }

    fn read(&self, password: Option<&Secret>) -> Result<Keystore, Cause> {
        match self {
            Self::File(file) => {
                let bytes = files::read(&file.value, FILE_MAX);
                let bytes = bytes.map_err(|error| unreadable(&file.value, &error))?;
                let place = format!("the certificate file {}", file.value.display());
                Keystore::read(&bytes, password).map_err(|bad| unusable(&place, &bad))
            }
            Self::Inline(text) => {
                let bytes = text.value.expose().as_bytes();
                Keystore::read(bytes, password).map_err(|bad| unusable("the certificate", &bad))
            }
        }
    }
}

/// The JWT that Entra takes: PS256, with the certificate named by its SHA-256 thumbprint.
fn sign(
    keystore: &Keystore,
    audience: &str,
    client_id: &str,
    sends_chain: bool,
) -> Result<Secret, Cause> {
    let own = keystore.chain.first().map_or(&[][..], Vec::as_slice);
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(own));
    let mut header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint});
    if sends_chain {
        header["x5c"] = keystore.chain.iter().map(|der| STANDARD.encode(der)).collect();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({
        "aud": audience, "iss": client_id, "sub": client_id, "jti": uuid::Uuid::new_v4(),
        "nbf": now, "iat": now, "exp": now + LIFETIME_SECS,
    });
    let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encoded(&header), encoded(&claims));
    let mut signature = vec![0; keystore.key.public().modulus_len()];
    keystore
        .key
        .sign(&RSA_PSS_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| Cause::new(Class::Config, "the certificate's key does not sign", ""))?;
    Ok(Secret::new(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn unreadable(path: &Path, error: &io::Error) -> Cause {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that runs the gateway read it",
        _ => "see auth.azure_client_certificate_path (AZURE_CLIENT_CERTIFICATE_PATH)",
    };
    let meaning = format!("the certificate file {} cannot be read", path.display());
    Cause::new(Class::Config, meaning, remedy).saying(error.to_string())
}

fn unusable(place: &str, bad: &BadKeystore) -> Cause {
    Cause::new(Class::Config, format!("{place} {bad}"), bad.remedy())
}

#[cfg(test)]
mod tests;
