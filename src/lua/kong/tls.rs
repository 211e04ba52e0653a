//! `kong.client.tls`, and what plugins show to upstreams: certificates.

use mlua::{Lua, MultiValue, Value};
use rustls_pki_types::CertificateDer;

use super::value::one;
use super::{Call, Phases, Row};
use crate::entity::Protocol;
use crate::lua::bind::{Answer, Fault};
use crate::lua::ngx::ssl;
use crate::lua::{limit, phase};
use crate::pdk::{Exchange, Handshake};
use crate::tls;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "client.tls.request_client_certificate",
        phases: Phases::CERTIFICATE,
        call: Call::Handshake(|lua, handshake, mut args| {
            let authorities = match args.pop_front() {
                None | Some(Value::Nil) => Vec::new(),
                Some(value) => match ssl::chain(&value) {
                    Some(chain) => chain,
                    None => return one(lua, (Value::Nil, "not a chain of certificates")),
                },
            };
            handshake.wish.borrow_mut().asks = Some(authorities);
            one(lua, true)
        }),
    },
    Row {
        name: "client.tls.disable_session_reuse",
        phases: Phases::CERTIFICATE,
        call: Call::Handshake(|lua, handshake: &Handshake, _| {
            handshake.wish.borrow_mut().is_once = true;
            one(lua, true)
        }),
    },
    Row::now("client.tls.get_full_client_certificate_chain", Phases::CLIENT_CHAIN, |lua, ex, _| {
        let connection = &ex.request.connection;
        if !connection.tls {
            let told = "connection is not TLS or TLS support for Nginx not enabled";
            return one(lua, (Value::Nil, told));
        }
        one(lua, connection.shown.as_ref().map(|shown| ssl::pem_of(&shown.chain)))
    }),
    Row::now("client.tls.set_client_verify", Phases::CLIENT_VERIFY, |lua, ex, mut args| {
        let Some(Value::String(verify)) = args.pop_front() else {
            return Err("assertion failed!".into());
        };
        let verify = verify.to_string_lossy();
        if verify != "SUCCESS" && verify != "NONE" && !verify.starts_with("FAILED:") {
            return Err(format!(
                "unknown client verify value: {verify} accepted values are: \"SUCCESS\", \
                 \"NONE\" or \"FAILED:<reason>\""
            )
            .into());
        }
        ex.log.set_client_verify(verify);
        one(lua, ())
    }),
    Row::now("service.set_tls_cert_key", Phases::TARGET, set_tls_cert_key),
    Row::now("service.set_tls_verify_store", Phases::TARGET, |lua, ex, mut args| {
        let Some(Value::Table(store)) = args.pop_front() else {
            return Err("argument must be a resty.openssl.x509.store object".into());
        };
        let trusted = trusted(lua, &store)?;
        ex.service.change_tls(|tls| tls.trusted = Some(trusted.into()));
        one(lua, true)
    }),
    Row::now("service.request.disable_tls", Phases::BALANCING, |lua, ex, _| {
        switch(ex, Protocol::Http);
        one(lua, true)
    }),
    Row::now("service.request.enable_tls", Phases::BALANCING, |lua, ex, _| {
        switch(ex, Protocol::Https);
        one(lua, true)
    }),
];

fn switch(ex: &Exchange, scheme: Protocol) {
    let is_grpc = ex.service.scheme().is_grpc();
    ex.service.set_scheme(match (scheme.is_tls(), is_grpc) {
        (true, true) => Protocol::Grpcs,
        (false, true) => Protocol::Grpc,
        (_, false) => scheme,
    });
}

fn set_tls_cert_key(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let chain = ssl::chain(&args.pop_front().unwrap_or(Value::Nil));
    let chain = chain.ok_or_else(|| Fault::from("chain must be a parsed cdata object"))?;
    let key = ssl::key(&args.pop_front().unwrap_or(Value::Nil));
    let key = key.ok_or_else(|| Fault::from("key must be a parsed cdata object"))?;
    match tls::pair(chain, key) {
        Ok(pair) => {
            ex.service.change_tls(|tls| tls.shown = Some(pair));
            one(lua, true)
        }
        Err(error) => one(lua, (Value::Nil, error.to_string())),
    }
}

/// The certificates in a store of `resty.openssl`.
fn trusted(lua: &Lua, store: &mlua::Table) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let list: Option<mlua::Table> = store.get("trusted")?;
    let list =
        list.ok_or_else(|| Fault::from("argument must be a resty.openssl.x509.store object"))?;
    let mut all = Vec::new();
    for certificate in list.sequence_values::<mlua::Table>() {
        let certificate = certificate?;
        let pem: mlua::Function = certificate.get("to_PEM")?;
        let text: String = limit::on(lua, || pem.call(&certificate))?;
        all.extend(ssl::chain_of(text.as_bytes()).unwrap_or_default());
    }
    Ok(all)
}

/// What a handshake's row is given; it is refused without one.
pub(super) fn handshake() -> Result<std::rc::Rc<Handshake>, Fault> {
    phase::handshake().ok_or_else(|| Fault::from("no request found"))
}
