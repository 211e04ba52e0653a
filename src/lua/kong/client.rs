//! `kong.client`: who the client is.

use mlua::{Lua, MultiValue, Value};

use super::value::one;
use super::{Phases, Row, target};
use crate::lua::bind::Answer;
use crate::pdk::Exchange;

pub(super) const ROWS: &[Row] = &[
    Row::connected("client.get_ip", |lua, connection| one(lua, connection.peer.ip().to_string())),
    Row::connected("client.get_forwarded_ip", |lua, connection| {
        one(lua, connection.client.ip().to_string())
    }),
    Row::connected("client.get_port", |lua, connection| one(lua, connection.peer.port())),
    Row::connected("client.get_forwarded_port", |lua, connection| {
        // The header that names a client behind a proxy seldom names its port.
        let port = connection.client.port();
        one(lua, (port != 0).then_some(port))
    }),
    Row::now("client.get_protocol", Phases::ROUTED, get_protocol),
    Row::now("client.get_consumer", Phases::ROUTED, |lua, ex, _| {
        one(lua, target::consumer(lua, ex)?)
    }),
    Row::now("client.get_credential", Phases::ROUTED, |lua, ex, _| {
        one(lua, target::credential(lua, ex)?)
    }),
];

/// The protocol of the Route if it has one alone; else that of the connection, or with
/// `allow_terminated` the one that a trusted peer names in `X-Forwarded-Proto`.
fn get_protocol(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let Some(matched) = ex.matched() else {
        return one(lua, (Value::Nil, "No active route found"));
    };
    if let [only] = matched.route.protocols.as_slice() {
        return one(lua, only.name());
    }
    let terminated = args.pop_front().is_some_and(|flag| flag.as_boolean() == Some(true));
    if terminated && ex.request.forwarded("x-forwarded-proto").as_deref() == Some("https") {
        return one(lua, "https");
    }
    one(lua, ex.request.scheme())
}
