//! `kong.client` and consumer groups, which are Kong Enterprise's: which of them a client is in.

use mlua::{Lua, MultiValue, Table, Value};
use uuid::Uuid;

use super::value::{self, one};
use super::{Phases, Row};
use crate::lua::bind::{Answer, Fault};
use crate::lua::{json, state};
use crate::pdk::Exchange;

pub(super) const ROWS: &[Row] = &[
    Row::now("client.get_consumer_groups", Phases::ROUTED, |lua, ex, _| one(lua, groups(lua, ex)?)),
    Row::now("client.get_consumer_group", Phases::ROUTED, |lua, ex, _| {
        let first = groups(lua, ex)?.map(|groups| groups.raw_get::<Value>(1)).transpose()?;
        one(lua, first)
    }),
    Row::now("client.set_authenticated_consumer_groups", Phases::ROUTED, |lua, ex, mut args| {
        let given = match args.pop_front() {
            None | Some(Value::Nil) => None,
            Some(Value::Table(groups)) => Some(groups),
            Some(_) => return Err("groups must be a table or nil".into()),
        };
        set(lua, ex, given)?;
        one(lua, ())
    }),
    Row::now("client.set_authenticated_consumer_group", Phases::ROUTED, |lua, ex, mut args| {
        let given = match args.pop_front() {
            None | Some(Value::Nil) => None,
            Some(Value::Table(group)) => Some(lua.create_sequence_from([group])?),
            Some(_) => return Err("group must be a table or nil".into()),
        };
        set(lua, ex, given)?;
        one(lua, ())
    }),
    Row::now("client.authenticate_consumer_group_by_consumer_id", Phases::ROUTED, of_consumer),
];

/// What a plugin has set, or the groups of the consumer; nil if it is in none.
fn groups(lua: &Lua, ex: &Exchange) -> Result<Option<Table>, Fault> {
    if let Some(table) = &*state::of(lua, ex).groups.borrow() {
        return Ok(Some(table.clone()));
    }
    let found = ex.client.with_groups(<[_]>::to_vec);
    if found.is_empty() {
        return Ok(None);
    }
    let tables = found.iter().map(|group| json::entity(lua, &group.json));
    Ok(Some(lua.create_sequence_from(tables.collect::<mlua::Result<Vec<_>>>()?)?))
}

/// Sets the groups, for plugins that ask and for the choice among configurations of groups: the
/// configuration has to know those.
fn set(lua: &Lua, ex: &Exchange, given: Option<Table>) -> Result<(), Fault> {
    let mut known = Vec::new();
    let snapshot = ex.entities.get().and_then(|entities| entities.snapshot());
    for group in given.iter().flat_map(|groups| groups.sequence_values::<Table>()) {
        let group = group?;
        let id: Option<String> = group.get("id")?;
        let id = id.and_then(|id| Uuid::parse_str(&id).ok());
        let found = id.and_then(|id| snapshot?.consumer_groups.get(&id));
        known.extend(found.cloned());
    }
    known.sort_by(|a, b| a.name.cmp(&b.name));
    ex.client.set_groups(given.is_some().then_some(known));
    *state::of(lua, ex).groups.borrow_mut() = given;
    Ok(())
}

/// Takes the groups of a consumer of the configuration.
fn of_consumer(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let id = value::utf8(&mut args, "consumer_id must be a string")?;
    let consumer = ex.entities.get().and_then(|entities| entities.consumer(&id));
    let found = consumer.filter(|consumer| consumer.id.to_string() == id);
    let Some(consumer) = found.filter(|consumer| !consumer.groups.is_empty()) else {
        return one(lua, ());
    };
    let groups = consumer.groups.iter().map(|group| json::entity(lua, &group.json));
    let groups = groups.collect::<mlua::Result<Vec<_>>>()?;
    *state::of(lua, ex).groups.borrow_mut() = Some(lua.create_sequence_from(groups)?);
    ex.client.set_groups(Some(consumer.groups.clone()));
    one(lua, ())
}
