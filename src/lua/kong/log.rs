//! `kong.log`: lines for the operator, and the record of an exchange.

use mlua::{Lua, Table, Value, Variadic};

use super::value::{self, one};
use super::{Phases, Row};
use crate::lua::bind::Answer;
use crate::lua::{json, ngx, state};
use crate::pdk::{Exchange, log};

pub(super) const ROWS: &[Row] = &[
    Row::now("log.serialize", Phases::REQUEST, |lua, ex, _| {
        one(lua, json::entity(lua, &log::serialize(ex))?)
    }),
    Row::now("log.set_serialize_value", Phases::REQUEST, set_serialize_value),
];

/// Kong's names of the levels; there is no `error` among them.
const LEVELS: [(&str, i64); 8] = [
    ("emerg", 1),
    ("alert", 2),
    ("crit", 3),
    ("err", 4),
    ("warn", 5),
    ("notice", 6),
    ("info", 7),
    ("debug", 8),
];

/// `kong.log` with a function for each level; called as a function it logs at `notice`.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let log = lua.create_table()?;
    for (name, level) in LEVELS {
        let write = move |lua: &Lua, parts: Variadic<Value>| write(lua, level, &parts);
        log.set(name, lua.create_function(write)?)?;
    }
    let notice = |lua: &Lua, (_, parts): (Value, Variadic<Value>)| write(lua, 6, &parts);
    let meta = lua.create_table()?;
    meta.set("__call", lua.create_function(notice)?)?;
    log.set_metatable(Some(meta))?;
    Ok(log)
}

/// `[kong] handler.lua:10 [my-plugin] message`.
fn write(lua: &Lua, level: i64, parts: &[Value]) -> mlua::Result<()> {
    let place = lua.inspect_stack(1, |debug| {
        let source = debug.source().short_src.unwrap_or_default();
        let file = source.rsplit('/').next().unwrap_or_default();
        format!("{file}:{}", debug.current_line().unwrap_or_default())
    });
    let ex = state::current();
    let plugin = match &ex {
        Some(ex) => state::of(lua, ex)?.running().map(|running| format!("[{}] ", running.name)),
        None => None,
    };
    let message = ngx::concat(parts)?;
    let (place, plugin) = (place.unwrap_or_default(), plugin.unwrap_or_default());
    ngx::emit(level, &format!("[kong] {place} {plugin}{message}"));
    Ok(())
}

/// `kong.log.set_serialize_value(path, value)`; of the modes only `set` is here.
fn set_serialize_value(lua: &Lua, ex: &Exchange, mut args: mlua::MultiValue) -> Answer {
    let path = value::utf8(&mut args, "key must be a string")?;
    let value = match args.pop_front().unwrap_or(Value::Nil) {
        Value::Function(_) | Value::Thread(_) | Value::UserData(_) => {
            return Err("value must be nil, a number, string, boolean or a table".into());
        }
        value => json::from_lua(lua, value)?,
    };
    ex.log.set(&path, value);
    one(lua, ())
}
