//! The module `ngx.ssl`: certificates and keys for `sock:setclientcert`, and the handshake of a
//! client in Kong's phase `certificate`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mlua::{Lua, LuaString, MetaMethod, MultiValue, Table, UserData, UserDataMethods, Value};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::one;
use crate::lua::bind::{self, Answer};
use crate::lua::{phase, state};
use crate::pdk::request::Connection;
use crate::pdk::{Shown, Wish};

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
pub(in crate::lua) fn chain(value: &Value) -> Option<Vec<CertificateDer<'static>>> {
    value.as_userdata()?.borrow::<Chain>().ok().map(|chain| chain.0.clone())
}

/// The key that a Lua value stands for.
pub(in crate::lua) fn key(value: &Value) -> Option<PrivateKeyDer<'static>> {
    value.as_userdata()?.borrow::<Key>().ok().map(|key| key.0.clone_key())
}

/// A chain as PEM text.
pub(in crate::lua) fn pem_of(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().fold(String::new(), |mut text, certificate| {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = STANDARD.encode(certificate);
        for line in base64.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
        text
    })
}

/// The certificates in PEM text; `None` if there are none, or one cannot be read.
pub(in crate::lua) fn chain_of(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    found.ok().filter(|chain| !chain.is_empty())
}

/// A function of the module, by its name.
type Named = (&'static str, fn(&Lua, MultiValue) -> Answer);

/// From one form of certificates and keys to another.
const FORMS: [Named; 5] = [
    ("parse_pem_cert", parse_pem_cert),
    ("parse_pem_priv_key", parse_pem_priv_key),
    ("parse_der_cert", |lua, args| {
        let text = text(&args, "parse_der_cert")?;
        let chain = vec![CertificateDer::from(text.as_bytes().to_vec())];
        one(lua, lua.create_userdata(Chain(chain))?)
    }),
    ("cert_pem_to_der", |lua, args| {
        let text = text(&args, "cert_pem_to_der")?;
        match chain_of(&text.as_bytes()) {
            // The form in which `set_der_cert` takes it.
            Some(chain) => one(
                lua,
                lua.create_string(chain.iter().flat_map(|one| one.to_vec()).collect::<Vec<u8>>())?,
            ),
            None => one(lua, (Value::Nil, "PEM_read_bio_X509_AUX() failed")),
        }
    }),
    ("priv_key_pem_to_der", |lua, args| {
        let text = text(&args, "priv_key_pem_to_der")?;
        match PrivateKeyDer::from_pem_slice(&text.as_bytes()) {
            Ok(key) => one(lua, lua.create_string(key.secret_der())?),
            Err(_) => one(lua, (Value::Nil, "PEM_read_bio_PrivateKey() failed")),
        }
    }),
];

/// Who is at the other end, and how it was reached.
const PEER: [Named; 6] = [
    ("server_name", |lua, _| {
        one(lua, connection(|connection| connection.sni.as_deref().map(str::to_owned)).flatten())
    }),
    ("server_port", |lua, _| one(lua, connection(|connection| connection.port))),
    ("raw_server_addr", |lua, _| raw_address(lua, connection(|connection| connection.local))),
    ("raw_client_addr", |lua, _| raw_address(lua, connection(|connection| connection.peer.ip()))),
    ("get_tls1_version", |lua, _| {
        one(lua, version().map(|version| if version == "TLSv1.3" { 0x304 } else { 0x303 }))
    }),
    ("get_tls1_version_str", |lua, _| one(lua, version())),
];

/// What the client is shown, and what it is asked.
const CERTIFICATE: [Named; 8] = [
    ("clear_certs", |lua, _| shown(lua, |shown| *shown = Shown::default())),
    ("set_cert", |lua, mut args| {
        let chain = chain(&args.pop_front().unwrap_or(Value::Nil));
        let chain = chain.ok_or("bad argument #1 to 'set_cert' (cdata expected)")?;
        shown(lua, |shown| shown.chain = chain)
    }),
    ("set_priv_key", |lua, mut args| {
        let key = key(&args.pop_front().unwrap_or(Value::Nil));
        let key = key.ok_or("bad argument #1 to 'set_priv_key' (cdata expected)")?;
        shown(lua, |shown| shown.key = Some(key))
    }),
    ("set_der_cert", |lua, args| {
        let chain = ders(&text(&args, "set_der_cert")?.as_bytes());
        match chain {
            Some(chain) => shown(lua, |shown| shown.chain = chain),
            None => one(lua, (Value::Nil, "d2i_X509_bio() failed")),
        }
    }),
    ("set_der_priv_key", |lua, args| {
        match PrivateKeyDer::try_from(text(&args, "set_der_priv_key")?.as_bytes().to_vec()) {
            Ok(key) => shown(lua, |shown| shown.key = Some(key)),
            Err(_) => one(lua, (Value::Nil, "d2i_PrivateKey_bio() failed")),
        }
    }),
    ("verify_client", |lua, mut args| {
        let authorities = chain(&args.pop_front().unwrap_or(Value::Nil)).unwrap_or_default();
        wish(lua, |wish| wish.asks = Some(authorities))
    }),
    ("get_client_random", |lua, _| one(lua, (Value::Nil, "not available"))),
    ("export_keying_material", |lua, _| one(lua, (Value::Nil, "not available"))),
];

pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let ssl = lua.create_table()?;
    for (name, function) in FORMS.iter().chain(&PEER).chain(&CERTIFICATE) {
        ssl.set(*name, bind::function(lua, *function)?)?;
    }
    for (name, version) in [("TLS1_2_VERSION", 0x303), ("TLS1_3_VERSION", 0x304)] {
        ssl.set(name, version)?;
    }
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("ngx.ssl", lua.create_function(move |_, _: String| Ok(ssl.clone()))?)
}

/// Looks at what the running request or handshake came in over.
fn connection<T>(of: impl FnOnce(&Connection) -> T) -> Option<T> {
    match state::current() {
        Some(ex) => Some(of(&ex.request.connection)),
        None => phase::handshake().map(|handshake| of(&handshake.connection)),
    }
}

fn version() -> Option<&'static str> {
    connection(|connection| connection.session.map(|session| session.version)).flatten()
}

/// The bytes of an address and its kind.
fn raw_address(lua: &Lua, address: Option<IpAddr>) -> Answer {
    let Some(address) = address else { return one(lua, (Value::Nil, "no request found")) };
    match address {
        IpAddr::V4(four) => one(lua, (lua.create_string(four.octets())?, "inet")),
        IpAddr::V6(six) => one(lua, (lua.create_string(six.octets())?, "inet6")),
    }
}

/// Changes what plugins want of the handshake; elsewhere it is too late (OpenResty).
fn wish(lua: &Lua, change: impl FnOnce(&mut Wish)) -> Answer {
    let Some(handshake) = phase::handshake() else {
        return match connection(|connection| connection.tls) {
            None => Err("no request found".into()),
            Some(true) => Err("API disabled in the current context".into()),
            Some(false) => one(lua, (Value::Nil, "bad ssl conn")),
        };
    };
    change(&mut handshake.wish.borrow_mut());
    one(lua, true)
}

fn shown(lua: &Lua, change: impl FnOnce(&mut Shown)) -> Answer {
    wish(lua, |wish| change(wish.shown.get_or_insert_default()))
}

/// Certificates in DER, one behind the other.
fn ders(mut bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut chain = Vec::new();
    while !bytes.is_empty() {
        let length = der_length(bytes)?;
        chain.push(CertificateDer::from(bytes.get(..length)?.to_vec()));
        bytes = bytes.get(length..)?;
    }
    (!chain.is_empty()).then_some(chain)
}

/// How long the SEQUENCE is that begins here, its head included.
fn der_length(bytes: &[u8]) -> Option<usize> {
    let (0x30, first) = (*bytes.first()?, usize::from(*bytes.get(1)?)) else { return None };
    if first < 0x80 {
        return Some(first + 2);
    }
    let count = first & 0x7f;
    let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
    let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    Some(length + 2 + count)
}

fn text(args: &MultiValue, name: &str) -> Result<LuaString, bind::Fault> {
    match args.front() {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("bad argument #1 to '{name}' (string expected)").into()),
    }
}

fn parse_pem_cert(lua: &Lua, args: MultiValue) -> Answer {
    let text = text(&args, "parse_pem_cert")?;
    match chain_of(&text.as_bytes()) {
        Some(chain) => one(lua, lua.create_userdata(Chain(chain))?),
        None => one(lua, (Value::Nil, "PEM_read_bio_X509_AUX() failed")),
    }
}

fn parse_pem_priv_key(lua: &Lua, args: MultiValue) -> Answer {
    let text = text(&args, "parse_pem_priv_key")?;
    match PrivateKeyDer::from_pem_slice(&text.as_bytes()) {
        Ok(key) => one(lua, lua.create_userdata(Key(key))?),
        Err(_) => one(lua, (Value::Nil, "PEM_read_bio_PrivateKey() failed")),
    }
}
