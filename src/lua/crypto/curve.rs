//! Elliptic curves for `resty.openssl.pkey`: ECDSA and ECDH over NIST's curves, and Ed25519.
//!
//! A private key is its number, a public one its point as SEC 1 writes it, a signature `r` and `s`
//! side by side.

use mlua::{BString, Lua, Table};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p521::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use ring::signature::{self as ring_signature, Ed25519KeyPair, KeyPair as _};

use super::function;

/// Runs an expression with the crate of a curve, as RFC 7518 names it.
macro_rules! with_curve {
    ($name:expr, $curve:ident => $body:expr) => {
        match $name {
            "P-256" => {
                use p256 as $curve;
                Some($body)
            }
            "P-384" => {
                use p384 as $curve;
                Some($body)
            }
            "P-521" => {
                use p521 as $curve;
                Some($body)
            }
            _ => None,
        }
    };
}

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let set = |name, function| host.set(name, function);
    set("ec_generate", function(lua, |curve: String| generate(&curve))?)?;
    set("ec_public", function(lua, |(curve, d): (String, BString)| public(&curve, &d))?)?;
    set("ec_point", function(lua, |(curve, point): (String, BString)| point_of(&curve, &point))?)?;
    set("ec_sign", function(lua, sign)?)?;
    set("ec_verify", function(lua, |verification| verify(verification).unwrap_or(false))?)?;
    set("ec_shared", function(lua, shared)?)?;
    set("ed25519_public", function(lua, |seed: BString| ed25519_public(&seed))?)?;
    set(
        "ed25519_sign",
        function(lua, |(seed, text): (BString, BString)| ed25519_sign(&seed, &text))?,
    )?;
    set("ed25519_verify", function(lua, ed25519_verify)?)
}

fn generate(curve: &str) -> Option<BString> {
    with_curve!(curve, c => c::SecretKey::try_generate().ok()?.to_bytes().to_vec().into())
}

/// The point of a private key.
fn public(curve: &str, d: &[u8]) -> Option<BString> {
    with_curve!(curve, c => {
        let key = c::SecretKey::from_slice(d).ok()?;
        key.public_key().to_sec1_point(false).as_bytes().to_vec().into()
    })
}

/// A point that is on the curve, written in full.
fn point_of(curve: &str, point: &[u8]) -> Option<BString> {
    with_curve!(curve, c => {
        let key = c::PublicKey::from_sec1_bytes(point).ok()?;
        key.to_sec1_point(false).as_bytes().to_vec().into()
    })
}

fn sign((curve, d, hash): (String, BString, BString)) -> Option<BString> {
    with_curve!(curve.as_str(), c => {
        let key = c::ecdsa::SigningKey::from_slice(&d).ok()?;
        let signature: c::ecdsa::Signature = key.sign_prehash(&hash).ok()?;
        signature.to_bytes().to_vec().into()
    })
}

fn verify((curve, point, hash, signature): (String, BString, BString, BString)) -> Option<bool> {
    with_curve!(curve.as_str(), c => {
        let key = c::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
        let signature = c::ecdsa::Signature::from_slice(&signature).ok()?;
        key.verify_prehash(&hash, &signature).is_ok()
    })
}

/// What two owners of keys share: ECDH.
fn shared((curve, d, point): (String, BString, BString)) -> Option<BString> {
    with_curve!(curve.as_str(), c => {
        let key = c::SecretKey::from_slice(&d).ok()?;
        let other = c::PublicKey::from_sec1_bytes(&point).ok()?;
        key.diffie_hellman(&other).raw_secret_bytes().to_vec().into()
    })
}

fn ed25519_public(seed: &[u8]) -> Option<BString> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    Some(key.public_key().as_ref().to_vec().into())
}

fn ed25519_sign(seed: &[u8], text: &[u8]) -> Option<BString> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    Some(key.sign(text).as_ref().to_vec().into())
}

fn ed25519_verify((point, text, signature): (BString, BString, BString)) -> bool {
    let key = ring_signature::UnparsedPublicKey::new(&ring_signature::ED25519, &*point);
    key.verify(&text, &signature).is_ok()
}
