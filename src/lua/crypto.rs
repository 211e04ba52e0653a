//! Cryptography for `kong-compat/`: what `resty.openssl`, `resty.sha256` and `resty.random` stand
//! on.
//!
//! Lua has the objects, the texts of errors and the formats of keys; here are functions over bytes.
//! A function that cannot do what it is asked answers nil.

use hmac::{Hmac, KeyInit as _, Mac as _};
use mlua::{BString, FromLuaMulti, IntoLuaMulti, Lua, Table};
use pkcs8::EncryptedPrivateKeyInfoRef;
use ring::rand::SecureRandom as _;
use sha1::Digest as _;
use subtle::ConstantTimeEq as _;

/// Runs an expression with the type of a digest; `None` for a digest that is not here.
macro_rules! with_digest {
    ($name:expr, $digest:ident => $body:expr) => {
        with_digest!(@ $name, $digest => $body, "md5" md5::Md5, "sha1" sha1::Sha1,
            "sha224" sha2::Sha224, "sha256" sha2::Sha256, "sha384" sha2::Sha384,
            "sha512" sha2::Sha512)
    };
    (@ $name:expr, $digest:ident => $body:expr, $($known:literal $type:ty),*) => {
        match crate::lua::crypto::canonical($name).as_str() {
            $($known => {
                type $digest = $type;
                Some($body)
            })*
            _ => None,
        }
    };
}

mod bignum;
mod cipher;
mod curve;
mod rsa;

/// The most bytes that are made at a time.
const MOST: usize = 1 << 20;
/// What OpenSSL lets scrypt have, if it is not told.
const SCRYPT_MEMORY: u64 = 32 << 20;

/// Puts the functions into the module that `kong-compat/` uses.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let set = |name, function| host.set(name, function);
    set("digest", function(lua, |(name, text): (String, BString)| digest(&name, &text))?)?;
    let of = |(name, key, text): (String, BString, BString)| hmac(&name, &key, &text);
    set("hmac", function(lua, of)?)?;
    set("pbkdf2", function(lua, pbkdf2)?)?;
    set("scrypt", function(lua, scrypt)?)?;
    set("random_bytes", function(lua, random_bytes)?)?;
    set("equal", function(lua, |(a, b): (BString, BString)| bool::from(a.ct_eq(&b)))?)?;
    set("decrypt_private_info", function(lua, decrypt_private_info)?)?;
    set("uuid", function(lua, |(): ()| uuid::Uuid::new_v4().to_string())?)?;
    rsa::install(lua, host)?;
    curve::install(lua, host)?;
    cipher::install(lua, host)?;
    bignum::install(lua, host)
}

fn function<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    of: impl Fn(A) -> R + 'static,
) -> mlua::Result<mlua::Function> {
    lua.create_function(move |_, arguments: A| Ok(of(arguments)))
}

/// The one name of a digest out of those that OpenSSL knows: `SHA256`, `sha-256`, `RSA-SHA256`.
fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace("sha2-", "sha").replace("rsa-", "");
    name.replace('-', "")
}

/// `None` for a digest that is not here.
fn digest(name: &str, text: &[u8]) -> Option<BString> {
    with_digest!(name, D => D::digest(text).to_vec().into())
}

fn hmac(name: &str, key: &[u8], text: &[u8]) -> Option<BString> {
    with_digest!(name, D => {
        let mut tag = Hmac::<D>::new_from_slice(key).ok()?;
        tag.update(text);
        tag.finalize().into_bytes().to_vec().into()
    })
}

fn random_bytes(count: usize) -> Option<BString> {
    let mut bytes = (count <= MOST).then(|| vec![0; count])?;
    ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.into())
}

fn pbkdf2(
    (name, password, salt, rounds, length): (String, BString, BString, u32, usize),
) -> Option<BString> {
    let mut key = (length <= MOST).then(|| vec![0; length])?;
    with_digest!(&name, D => pbkdf2::pbkdf2_hmac::<D>(&password, &salt, rounds.max(1), &mut key))?;
    Some(key.into())
}

type Scrypt = (BString, BString, u64, u32, u32, usize, Option<u64>);

fn scrypt((password, salt, n, r, p, length, memory): Scrypt) -> Option<BString> {
    let memory = memory.filter(|&memory| memory > 0).unwrap_or(SCRYPT_MEMORY);
    let needed = 128u64.checked_mul(u64::from(r))?.checked_mul(n.checked_add(u64::from(p))?)?;
    if !n.is_power_of_two() || n < 2 || needed > memory {
        return None;
    }
    let log_n = u8::try_from(n.trailing_zeros()).ok()?;
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    let mut key = (length <= MOST).then(|| vec![0; length])?;
    scrypt::scrypt(&password, &salt, &params, &mut key).ok()?;
    Some(key.into())
}

/// The key that a password protects (PKCS #8), in DER.
fn decrypt_private_info((bytes, password): (BString, BString)) -> Option<BString> {
    let sealed = EncryptedPrivateKeyInfoRef::try_from(&bytes[..]).ok()?;
    Some(sealed.decrypt(&password[..]).ok()?.as_bytes().to_vec().into())
}
