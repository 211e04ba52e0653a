//! What Consumers show to say who they are, one type for each authentication plugin.

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::{Ref, Secret};

/// A key of a Consumer (`keyauth_credentials`).
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct KeyAuthCredential {
    pub id: Uuid,
    pub key: Secret,
    pub consumer: Ref,
    /// The Unix time at which the key ends: so Kong reads it in a file, and writes it to one.
    #[serde(default)]
    pub ttl: Option<f64>,
    pub tags: Option<Vec<String>>,
}

/// A user name and password of a Consumer (`basicauth_credentials`).
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct BasicAuthCredential {
    pub id: Uuid,
    pub username: Arc<str>,
    /// SHA-1 of the password and the consumer's id, in hexadecimal digits.
    pub password: Secret,
    pub consumer: Ref,
}

/// What the tokens of a Consumer are verified with (`jwt_secrets`).
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct JwtSecret {
    pub id: Uuid,
    /// What a token names in its claim `iss`.
    pub key: Arc<str>,
    /// `None` is one that nobody knows: Kong would make it up.
    pub secret: Option<Secret>,
    /// PEM, of any kind of key.
    pub rsa_public_key: Option<String>,
    pub algorithm: String,
    pub consumer: Ref,
}

/// A user name and the secret that signs its requests (`hmacauth_credentials`).
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct HmacAuthCredential {
    pub id: Uuid,
    pub username: Arc<str>,
    /// `None` is one that nobody knows: Kong would make it up.
    pub secret: Option<Secret>,
    pub consumer: Ref,
}

/// A group that a Consumer is in (`acls`).
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Acl {
    pub id: Uuid,
    pub group: Arc<str>,
    pub consumer: Ref,
}
