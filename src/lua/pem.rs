//! What is wrong with certificates and keys: the part of module `silverback.host` that Kong has
//! from OpenSSL.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use mlua::{FromLuaMulti, IntoLuaMulti, Lua, Table};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::Value;

use super::x509::{self, Certificate};

/// How a JSON Web Key writes numbers; OpenSSL does not mind bits that are left over.
const NUMBER: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let set = |name, function| host.set(name, function);
    set("certificate_error", function(lua, |pem: String| certificate_error(&pem))?)?;
    set("ca_error", function(lua, |pem: String| ca_error(&pem))?)?;
    set("key_error", function(lua, |pem: String| key_error(&pem))?)?;
    set("public_key_error", function(lua, |pem: String| public_key_error(&pem))?)?;
    set("key_differs", function(lua, |(c, k): (String, String)| key_differs(&c, &k))?)?;
    set("pair_differs", function(lua, |(p, k): (String, String)| pair_differs(&p, &k))?)?;
    set("same_key_type", function(lua, |(a, b): (String, String)| same_key_type(&a, &b))?)?;
    set("jwk_error", function(lua, |(jwk, kid): (String, String)| jwk_error(&jwk, &kid))?)
}

fn function<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    of: impl Fn(A) -> R + 'static,
) -> mlua::Result<mlua::Function> {
    lua.create_function(move |_, arguments: A| Ok(of(arguments)))
}

/// What is wrong with a PEM certificate.
fn certificate_error(pem: &str) -> Option<String> {
    match CertificateDer::from_pem_slice(pem.as_bytes()) {
        Ok(der) if Certificate::read(&der).is_none() => Some("it is no X.509 certificate".into()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// Why a certificate that can be read is no authority to verify others with (Kong's texts).
fn ca_error(pem: &str) -> Option<&'static str> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let certificate = Certificate::read(&der)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if certificate.not_after < now.cast_signed() {
        return Some("certificate expired, \"Not After\" time is in the past");
    }
    let text = "certificate does not appear to be a CA because it is missing the \"CA\" basic \
                constraint";
    (!certificate.is_ca).then_some(text)
}

/// What is wrong with a PEM private key.
fn key_error(pem: &str) -> Option<String> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(key) => any_supported_type(&key).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// What is wrong with a PEM public key (`PUBLIC KEY`, or the older `RSA PUBLIC KEY`).
fn public_key_error(pem: &str) -> Option<String> {
    let Some((section, der)) = first_section(pem) else {
        return Some("no PEM section found".to_owned());
    };
    let is_key = match section.as_str() {
        "PUBLIC KEY" => x509::sequence(&der).and_then(x509::key_algorithm).is_some(),
        "RSA PUBLIC KEY" => x509::sequence(&der).is_some(),
        _ => false,
    };
    (!is_key).then(|| "it is no public key".to_owned())
}

fn first_section(pem: &str) -> Option<(String, Vec<u8>)> {
    let rest = &pem[pem.find("-----BEGIN ")? + 11..];
    let (section, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {section}-----"))?;
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    Some((section.to_owned(), der))
}

/// Whether the key is certainly not the certificate's.
fn key_differs(cert: &str, key: &str) -> bool {
    let Ok(cert) = CertificateDer::from_pem_slice(cert.as_bytes()) else { return false };
    let Some(cert) = Certificate::read(&cert) else { return false };
    let key = signing_key(key).and_then(|key| Some(key.public_key()?.into_owned()));
    key.and_then(|key| Some(x509::sequence(&key)? != cert.public_key)).unwrap_or_default()
}

/// Whether the private key is certainly not that of the public one.
fn pair_differs(public: &str, private: &str) -> bool {
    let Ok(public) = SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()) else {
        return false;
    };
    let derived = signing_key(private).and_then(|key| Some(key.public_key()?.into_owned()));
    derived.is_some_and(|derived| derived.as_ref() != public.as_ref())
}

fn signing_key(pem: &str) -> Option<std::sync::Arc<dyn SigningKey>> {
    any_supported_type(&PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?).ok()
}

/// Whether two certificates have the same kind of key, such as RSA.
fn same_key_type(one: &str, other: &str) -> bool {
    let kind = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        Some(Certificate::read(&der)?.key_algorithm.to_vec())
    };
    kind(one).zip(kind(other)).is_some_and(|(one, other)| one == other)
}

/// What is wrong with a JSON Web Key (RFC 7517) whose id must be `kid`; Kong's texts.
fn jwk_error(jwk: &str, kid: &str) -> Option<&'static str> {
    let Ok(jwk) = serde_json::from_str::<Value>(jwk) else {
        return Some("could not json decode jwk string");
    };
    if jwk["kid"] != kid {
        return Some("kid in jwk.kid must be equal to keys.kid");
    }
    let holds = |name: &&str| {
        jwk[*name]
            .as_str()
            .is_some_and(|text| NUMBER.decode(text).is_ok_and(|bytes| !bytes.is_empty()))
    };
    let parts: &[&str] = match jwk["kty"].as_str() {
        Some("RSA") => &["n", "e"],
        Some("EC") => &["x", "y"],
        Some("OKP") => &["x"],
        _ => return Some("could not load JWK, likely not a valid key"),
    };
    let complete = parts.iter().all(holds);
    (!complete).then_some("could not load JWK, likely not a valid key")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----";

    #[test]
    fn a_key_is_compared_with_its_certificate() {
        let one = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert_eq!(certificate_error(&cert), None);
        assert_eq!(key_error(&key), None);
        assert!(!key_differs(&cert, &key));
        assert!(key_differs(&cert, &two.signing_key.serialize_pem()));
        assert!(certificate_error("nope").is_some());
        assert!(key_error("nope").is_some());
        assert!(same_key_type(&cert, &two.cert.pem()));
    }

    #[test]
    fn a_leaf_is_no_authority() {
        let leaf = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        assert!(ca_error(&leaf.cert.pem()).unwrap().contains("missing the \"CA\""));
    }

    #[test]
    fn public_keys_are_told_from_other_texts() {
        assert_eq!(public_key_error(PUBLIC), None);
        assert!(public_key_error("foobar").is_some());
        assert!(public_key_error(&PUBLIC.replace("MCow", "ACow")).is_some());
    }

    #[test]
    fn a_public_key_is_compared_with_its_private_key() {
        let pair = rcgen::KeyPair::generate().unwrap();
        assert!(!pair_differs(&pair.public_key_pem(), &pair.serialize_pem()));
        assert!(pair_differs(PUBLIC, &pair.serialize_pem()));
    }

    #[test]
    fn a_json_web_key_needs_its_id_and_its_numbers() {
        let key = r#"{"kid": "k", "kty": "RSA", "n": "0vx7agoebGcQ", "e": "AQAB"}"#;
        assert_eq!(jwk_error(key, "k"), None);
        assert_eq!(jwk_error(key, "other"), Some("kid in jwk.kid must be equal to keys.kid"));
        assert_eq!(jwk_error("{", "k"), Some("could not json decode jwk string"));
        let cut = key.replace("\"e\": \"AQAB\"", "\"x\": \"AQAB\"");
        assert_eq!(jwk_error(&cut, "k"), Some("could not load JWK, likely not a valid key"));
    }
}
