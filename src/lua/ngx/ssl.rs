//! The module `ngx.ssl`: certificates and keys for `sock:setclientcert`.

use mlua::{Lua, LuaString, MetaMethod, MultiValue, Table, UserData, UserDataMethods, Value};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::one;
use crate::lua::bind::{self, Answer};
use crate::lua::state;

struct Chain(Vec<CertificateDer<'static>>);

impl UserData for Chain {
    /// As a text it is its fingerprint: `resty.http` keeps connections apart by it, and the place
    /// in memory of a chain that is gone may be that of another.
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, chain, ()| {
            let mut digest = Sha256::new();
            chain.0.iter().for_each(|certificate| digest.update(certificate));
            let hex =
                digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            Ok(format!("chain: {hex}"))
        });
    }
}

struct Key(PrivateKeyDer<'static>);

impl UserData for Key {}

/// The certificates that a Lua value stands for.
pub(super) fn chain(value: &Value) -> Option<Vec<CertificateDer<'static>>> {
    value.as_userdata()?.borrow::<Chain>().ok().map(|chain| chain.0.clone())
}

/// The key that a Lua value stands for.
pub(super) fn key(value: &Value) -> Option<PrivateKeyDer<'static>> {
    value.as_userdata()?.borrow::<Key>().ok().map(|key| key.0.clone_key())
}

pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let ssl = lua.create_table()?;
    ssl.set("parse_pem_cert", bind::function(lua, parse_pem_cert)?)?;
    ssl.set("parse_pem_priv_key", bind::function(lua, parse_pem_priv_key)?)?;
    ssl.set("server_name", bind::function(lua, server_name)?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("ngx.ssl", lua.create_function(move |_, _: String| Ok(ssl.clone()))?)
}

fn text(args: &MultiValue, name: &str) -> Result<LuaString, bind::Fault> {
    match args.front() {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("bad argument #1 to '{name}' (string expected)").into()),
    }
}

fn parse_pem_cert(lua: &Lua, args: MultiValue) -> Answer {
    let text = text(&args, "parse_pem_cert")?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text.as_bytes()).collect();
    match found {
        Ok(chain) if !chain.is_empty() => one(lua, lua.create_userdata(Chain(chain))?),
        _ => one(lua, (Value::Nil, "PEM_read_bio_X509_AUX() failed")),
    }
}

fn parse_pem_priv_key(lua: &Lua, args: MultiValue) -> Answer {
    let text = text(&args, "parse_pem_priv_key")?;
    match PrivateKeyDer::from_pem_slice(&text.as_bytes()) {
        Ok(key) => one(lua, lua.create_userdata(Key(key))?),
        Err(_) => one(lua, (Value::Nil, "PEM_read_bio_PrivateKey() failed")),
    }
}

/// The name that the client of the current request asked for in TLS.
fn server_name(lua: &Lua, _: MultiValue) -> Answer {
    let sni =
        state::current().and_then(|ex| ex.request.connection.sni.as_deref().map(String::from));
    one(lua, sni)
}
