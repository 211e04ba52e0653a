//! RSA for `resty.openssl.pkey`: a key is a table of numbers as bytes, as PKCS #1 names them.

use getrandom::SysRng;
use mlua::{BString, Lua, Table};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BoxedUint, Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, PrivateKey, Pss, PublicKey};
use sha1::Digest as _;

use super::function;

/// The sizes in bits of keys that OpenSSL takes too, and that are no way to hold a worker up.
const SIZES: std::ops::RangeInclusive<usize> = 512..=8192;
/// OpenSSL's numbers for paddings.
const PKCS1: u32 = 1;
const OAEP: u32 = 4;
const PSS: u32 = 6;

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let set = |name, function| host.set(name, function);
    set("rsa_sign", function(lua, sign)?)?;
    set("rsa_verify", function(lua, |verification| verify(verification).unwrap_or(false))?)?;
    set("rsa_encrypt", function(lua, encrypt)?)?;
    set("rsa_decrypt", function(lua, decrypt)?)?;
    let generate = |lua: &Lua, (bits, exponent): (usize, u64)| {
        generate(bits, exponent).map(|key| table(lua, &key)).transpose()
    };
    host.set("rsa_generate", lua.create_function(generate)?)
}

fn number(key: &Table, name: &str) -> Option<BoxedUint> {
    let bytes: BString = key.get(name).ok()?;
    Some(BoxedUint::from_be_slice_vartime(&bytes))
}

fn public(key: &Table) -> Option<PublicKey> {
    PublicKey::new_with_size_limits(number(key, "n")?, number(key, "e")?, SIZES).ok()
}

fn private(key: &Table) -> Option<PrivateKey> {
    public(key)?;
    let primes = number(key, "p").zip(number(key, "q"));
    let primes = primes.map(|(p, q)| vec![p, q]).unwrap_or_default();
    let (n, e, d) = (number(key, "n")?, number(key, "e")?, number(key, "d")?);
    PrivateKey::from_components(n, e, d, primes).ok()
}

/// The parts of a new key under the names of RFC 7517.
fn table(lua: &Lua, key: &PrivateKey) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let [p, q] = key.primes() else { return Ok(table) };
    let parts = [("n", key.n().as_ref()), ("e", key.e()), ("d", key.d()), ("p", p), ("q", q)];
    for (name, number) in parts {
        table.set(name, BString::from(number.to_be_bytes_trimmed_vartime().to_vec()))?;
    }
    Ok(table)
}

fn generate(bits: usize, exponent: u64) -> Option<PrivateKey> {
    if !SIZES.contains(&bits) {
        return None;
    }
    PrivateKey::new_with_exp(&mut SysRng, bits, exponent.into()).ok()
}

/// Padding, digest, how long the salt is, and what is signed: a hash, or without a digest anything.
type Signing = (Table, u32, Option<String>, Option<usize>, BString);

fn sign((key, padding, digest, salt, hash): Signing) -> Option<BString> {
    let key = private(&key)?;
    let signature = match (padding, digest) {
        (PKCS1, None) => key.sign(Pkcs1v15Sign::new_unprefixed(), &hash),
        (PKCS1, Some(digest)) => {
            with_digest!(&digest, D => key.sign(Pkcs1v15Sign::new::<D>(), &hash))?
        }
        (PSS, Some(digest)) => with_digest!(&digest, D => {
            let salt = salt.unwrap_or_else(<D as sha1::Digest>::output_size);
            key.sign(Pss::<D>::new_with_salt(salt), &hash)
        })?,
        _ => return None,
    };
    Some(signature.ok()?.into())
}

type Verification = (Table, u32, Option<String>, Option<usize>, BString, BString);

fn verify((key, padding, digest, salt, hash, signature): Verification) -> Option<bool> {
    let key = public(&key)?;
    let verified = match (padding, digest) {
        (PKCS1, None) => key.verify(Pkcs1v15Sign::new_unprefixed(), &hash, &signature),
        (PKCS1, Some(digest)) => {
            with_digest!(&digest, D => key.verify(Pkcs1v15Sign::new::<D>(), &hash, &signature))?
        }
        (PSS, Some(digest)) => with_digest!(&digest, D => {
            let scheme = Pss::<D> { blinded: true, digest: D::new(), salt_len: salt };
            key.verify(scheme, &hash, &signature)
        })?,
        _ => return None,
    };
    Some(verified.is_ok())
}

/// Padding, the digest of OAEP and that of its mask.
type Crypting = (Table, u32, Option<String>, Option<String>, BString);

/// The two digests of OAEP: SHA-1, and for the mask the same as for the rest.
fn oaep(digest: Option<String>, mask: Option<String>) -> (String, String) {
    let digest = digest.unwrap_or_else(|| "sha1".to_owned());
    let mask = mask.unwrap_or_else(|| digest.clone());
    (digest, mask)
}

fn encrypt((key, padding, digest, mask, text): Crypting) -> Option<BString> {
    let key = public(&key)?;
    let sealed = match padding {
        PKCS1 => key.encrypt(&mut SysRng, Pkcs1v15Encrypt, &text),
        OAEP => {
            let (digest, mask) = oaep(digest, mask);
            with_digest!(&digest, D => with_digest!(&mask, M => {
                key.encrypt(&mut SysRng, Oaep::<D, M>::new_with_mgf_hash(), &text)
            }))??
        }
        _ => return None,
    };
    Some(sealed.ok()?.into())
}

fn decrypt((key, padding, digest, mask, text): Crypting) -> Option<BString> {
    let key = private(&key)?;
    let opened = match padding {
        PKCS1 => key.decrypt(Pkcs1v15Encrypt, &text),
        OAEP => {
            let (digest, mask) = oaep(digest, mask);
            with_digest!(&digest, D => with_digest!(&mask, M => {
                key.decrypt(Oaep::<D, M>::new_with_mgf_hash(), &text)
            }))??
        }
        _ => return None,
    };
    Some(opened.ok()?.into())
}
