//! Digests, random bytes and UUIDs for `kong-compat/`: what `resty.sha256`, `resty.random` and
//! `kong.tools.uuid` stand on.

use mlua::{Lua, LuaString, Table};
use ring::rand::SecureRandom as _;
use sha1::Digest as _;

/// The most random bytes at a time.
const RANDOM: usize = 1 << 20;

/// Puts `digest`, `hmac`, `random_bytes` and `uuid` into the module that `kong-compat/` uses.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let digest = |lua: &Lua, (name, text): (String, LuaString)| {
        digest(&name, &text.as_bytes()).map(|bytes| lua.create_string(bytes)).transpose()
    };
    host.set("digest", lua.create_function(digest)?)?;
    let hmac = |lua: &Lua, (name, key, text): (String, LuaString, LuaString)| {
        let tag = hmac(&name, &key.as_bytes(), &text.as_bytes());
        tag.map(|bytes| lua.create_string(bytes)).transpose()
    };
    host.set("hmac", lua.create_function(hmac)?)?;
    let random = |lua: &Lua, count: usize| {
        let mut bytes = vec![0; count.min(RANDOM)];
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.is_ok().then(|| lua.create_string(bytes)).transpose()
    };
    host.set("random_bytes", lua.create_function(random)?)?;
    let uuid = |_: &Lua, ()| Ok(uuid::Uuid::new_v4().to_string());
    host.set("uuid", lua.create_function(uuid)?)
}

/// `None` for a digest that is not here.
fn digest(name: &str, text: &[u8]) -> Option<Vec<u8>> {
    Some(match name {
        "md5" => md5::Md5::digest(text).to_vec(),
        "sha1" => sha1::Sha1::digest(text).to_vec(),
        "sha224" => sha2::Sha224::digest(text).to_vec(),
        "sha256" => sha2::Sha256::digest(text).to_vec(),
        "sha384" => sha2::Sha384::digest(text).to_vec(),
        "sha512" => sha2::Sha512::digest(text).to_vec(),
        _ => return None,
    })
}

fn hmac(name: &str, key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    use ring::hmac::{
        HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key, sign,
    };
    let algorithm = match name {
        "sha1" => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => HMAC_SHA256,
        "sha384" => HMAC_SHA384,
        "sha512" => HMAC_SHA512,
        _ => return None,
    };
    Some(sign(&Key::new(algorithm, key), text).as_ref().to_vec())
}
