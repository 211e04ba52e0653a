//! `kong.client`: who the client is.

use mlua::{Lua, MultiValue, Value};

use super::value::one;
use super::{Phases, Row};
use crate::lua::bind::Answer;
use crate::lua::{json, state};
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
        if let Some(table) = &*state::of(lua, ex)?.consumer.borrow() {
            return one(lua, table.clone());
        }
        let consumer = ex.client.consumer();
        one(lua, consumer.map(|consumer| json::entity(lua, &consumer.json)).transpose()?)
    }),
    Row::now("client.get_credential", Phases::ROUTED, |lua, ex, _| {
        if let Some(table) = &*state::of(lua, ex)?.credential.borrow() {
            return one(lua, table.clone());
        }
        let Some(credential) = ex.client.credential() else { return one(lua, ()) };
        let entity = serde_json::json!({
            "id": credential.id.map(|id| id.to_string()),
            "consumer": { "id": credential.consumer_id.map(|id| id.to_string()) },
        });
        one(lua, json::entity(lua, &entity)?)
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
