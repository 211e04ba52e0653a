//! `kong.client`: who the client is.

use super::value::one;
use super::{Phases, Row};
use crate::lua::json;

pub(super) const ROWS: &[Row] = &[
    Row::now("client.get_ip", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.connection.peer.ip().to_string())
    }),
    Row::now("client.get_forwarded_ip", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.connection.client.ip().to_string())
    }),
    Row::now("client.get_port", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.connection.peer.port())
    }),
    Row::now("client.get_forwarded_port", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.connection.client.port())
    }),
    Row::now("client.get_protocol", Phases::ROUTED, |lua, ex, _| one(lua, ex.request.scheme())),
    Row::now("client.get_consumer", Phases::ROUTED, |lua, ex, _| {
        let consumer = ex.client.consumer();
        one(lua, consumer.map(|consumer| json::entity(lua, &consumer.json)).transpose()?)
    }),
    Row::now("client.get_credential", Phases::ROUTED, |lua, ex, _| {
        let Some(credential) = ex.client.credential() else { return one(lua, ()) };
        let entity = serde_json::json!({
            "id": credential.id,
            "consumer": { "id": credential.consumer_id },
        });
        one(lua, json::entity(lua, &entity)?)
    }),
];
