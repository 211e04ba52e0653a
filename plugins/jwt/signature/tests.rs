//! Every algorithm with its kind of key, and with none of the others.

use p521::ecdsa::signature::Signer as _;
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

use super::*;

const TEXT: &str = "header.claims";

/// What signs a text.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key in PEM, and its private half.
struct Signer {
    pem: String,
    sign: Sign,
}

fn ecdsa(how: &'static rcgen::SignatureAlgorithm) -> Signer {
    let key = rcgen::KeyPair::generate_for(how).unwrap();
    let der = key.serialize_der();
    let how = if how == &rcgen::PKCS_ECDSA_P256_SHA256 {
        &ring_signature::ECDSA_P256_SHA256_FIXED_SIGNING
    } else {
        &ring_signature::ECDSA_P384_SHA384_FIXED_SIGNING
    };
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(how, &der, &random).unwrap();
    let sign = move |text: &[u8]| pair.sign(&random, text).unwrap().as_ref().to_vec();
    Signer { pem: key.public_key_pem(), sign: Box::new(sign) }
}

fn ed25519() -> Signer {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.serialize_der()).unwrap();
    let sign = move |text: &[u8]| pair.sign(text).as_ref().to_vec();
    Signer { pem: key.public_key_pem(), sign: Box::new(sign) }
}

fn rsa(how: &'static dyn ring_signature::RsaEncoding) -> Signer {
    let pem = include_str!("../../../spec/certificates/pkcs8.pem");
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_der()).unwrap();
    let sign = move |text: &[u8]| {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(how, &SystemRandom::new(), text, &mut signature).unwrap();
        signature
    };
    let private = pem[pem.find("-----BEGIN PRIVATE").unwrap()..].to_owned();
    Signer { pem: private, sign: Box::new(sign) }
}

fn p521_key() -> Signer {
    let key = p521::ecdsa::SigningKey::from_slice(&[7; 66].map(|byte| byte & 1)).unwrap();
    // What says that a key is one of this curve.
    const PREFIX: &[u8] = b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
        \x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00";
    let point = key.verifying_key().to_sec1_point(false);
    let der = STANDARD.encode([PREFIX, point.as_bytes()].concat());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
    let sign = move |text: &[u8]| {
        let signature: p521::ecdsa::Signature = key.sign(text);
        signature.to_bytes().to_vec()
    };
    Signer { pem, sign: Box::new(sign) }
}

fn signers() -> Vec<(&'static str, Signer)> {
    use ring::signature as s;
    vec![
        ("RS256", rsa(&s::RSA_PKCS1_SHA256)),
        ("RS384", rsa(&s::RSA_PKCS1_SHA384)),
        ("RS512", rsa(&s::RSA_PKCS1_SHA512)),
        ("PS256", rsa(&s::RSA_PSS_SHA256)),
        ("PS384", rsa(&s::RSA_PSS_SHA384)),
        ("PS512", rsa(&s::RSA_PSS_SHA512)),
        ("ES256", ecdsa(&rcgen::PKCS_ECDSA_P256_SHA256)),
        ("ES384", ecdsa(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ("ES512", p521_key()),
        ("EdDSA", ed25519()),
    ]
}

fn token(text: &str, signature: Vec<u8>) -> Token<'_> {
    Token::for_test(text.as_bytes(), signature)
}

fn is_signed(algorithm: &str, pem: &str, token: &Token<'_>) -> bool {
    Key::read(pem).is_some_and(|key| key.has_signed(algorithm, token))
}

#[test]
fn a_signature_counts_for_its_algorithm_alone() {
    let signers = signers();
    for (name, signer) in &signers {
        let signature = (signer.sign)(TEXT.as_bytes());
        for (algorithm, _) in &signers {
            let good = is_signed(algorithm, &signer.pem, &token(TEXT, signature.clone()));
            assert_eq!(good, algorithm == name, "{name} taken for {algorithm}");
        }
        assert!(!is_signed(name, &signer.pem, &token("header.other", signature.clone())));
        for broken in [Vec::new(), signature[1..].to_vec(), [&signature[..], &[0]].concat()] {
            assert!(!is_signed(name, &signer.pem, &token(TEXT, broken)), "{name}");
        }
    }
}

#[test]
fn the_public_key_of_rsa_may_have_either_form() {
    let signer = rsa(&ring_signature::RSA_PKCS1_SHA256);
    let bytes = Key::read(&signer.pem).unwrap().bytes;
    let pkcs1 = format!(
        "text before\n-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        STANDARD.encode(bytes)
    );
    let signature = (signer.sign)(TEXT.as_bytes());
    assert!(is_signed("RS256", &pkcs1, &token(TEXT, signature)));
}

#[test]
fn what_is_no_key_has_signed_nothing() {
    for pem in ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\nAA==\n-----END "] {
        for (algorithm, _) in signers() {
            assert!(!is_signed(algorithm, pem, &token(TEXT, vec![0; 64])), "{algorithm} {pem}");
        }
    }
}

#[test]
fn hmacs_have_three_lengths() {
    let key = hmac::Key::new(hmac::HMAC_SHA384, b"s");
    let tag = hmac::sign(&key, TEXT.as_bytes()).as_ref().to_vec();
    assert!(is_hmac("HS384", b"s", &token(TEXT, tag.clone())));
    assert!(!is_hmac("HS384", b"t", &token(TEXT, tag.clone())));
    assert!(!is_hmac("HS256", b"s", &token(TEXT, tag.clone())));
    assert!(!is_hmac("RS256", b"s", &token(TEXT, tag)));
}
