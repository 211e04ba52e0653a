//! What Kong makes of some fields before it keeps them (the `transformations` of its schemas).
//!
//! `_transform: false` says that a file holds what Kong keeps, as `kong config db_export` writes
//! it: passwords stay as they are.

use std::collections::HashMap;
use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::draft::Draft;
use super::judge::Judged;
use super::links::twice;
use super::problem::{Kong, Report};

/// Transforms the entities of a valid configuration.
pub(super) fn apply(
    drafts: &[Draft],
    judged: &mut [Judged],
    transforms: bool,
    report: &mut Report,
) {
    let mut digests: HashMap<String, &Draft> = HashMap::new();
    for (draft, judged) in drafts.iter().zip(judged) {
        let entity = &mut judged.entity;
        match draft.kind.name {
            "basicauth_credentials" if transforms => {
                let (Some(password), Some(consumer)) =
                    (entity["password"].as_str(), draft.link("consumer"))
                else {
                    continue;
                };
                entity["password"] = json!(hashed(password, consumer));
            }
            "ca_certificates" => {
                let Some(digest) = digest(entity) else { continue };
                match digests.get(&digest) {
                    Some(first) => {
                        let problem = twice(draft, first, "cert", "cert_digest", &digest, report);
                        let of = draft.id.to_string();
                        problem.kong = Kong::Unique { collection: draft.kind.name, of };
                    }
                    None => drop(digests.insert(digest.clone(), draft)),
                }
                entity["cert_digest"] = json!(digest);
            }
            _ => {}
        }
    }
}

/// Kong's basic-auth: SHA-1 of the password and the consumer's id.
fn hashed(password: &str, consumer: Uuid) -> String {
    hex(&Sha1::digest(format!("{password}{consumer}")))
}

/// The fingerprint by which Kong knows a CA certificate.
fn digest(entity: &Value) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(entity["cert"].as_str()?.as_bytes()).ok()?;
    Some(hex(&Sha256::digest(&certificate)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_kong_hashes_it() {
        // sha1("secret" + the id of the consumer "bob" in a file without ids).
        let bob = Uuid::parse_str("def4f7d3-9863-5ad2-8fa9-c949bf26f55e").unwrap();
        assert_eq!(hashed("secret", bob), "8fe48dc3e66ec5767137e5c264b0b44e5e878d32");
    }
}
