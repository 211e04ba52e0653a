//! What Consumers show to say who they are, one type for each authentication plugin.

use std::sync::Arc;

use http::HeaderValue;
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

/// The groups of one Consumer, in the order of the ids of their `acls`, which is Kong's.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Their names.
    pub names: Vec<Arc<str>>,
    /// `X-Consumer-Groups`, if they can be the text of a header.
    pub header: Option<HeaderValue>,
}

impl Groups {
    /// The groups of these entities.
    pub fn new(mut acls: Vec<Acl>) -> Self {
        acls.sort_by_key(|acl| acl.id);
        let names: Vec<Arc<str>> = acls.into_iter().map(|acl| acl.group).collect();
        let header = HeaderValue::from_bytes(names.join(", ").as_bytes()).ok();
        Self { names, header }
    }
}
