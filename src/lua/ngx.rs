//! `ngx.*`: null, log levels, time, sleep, context.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlua::{Lua, LuaSerdeExt, MultiValue, Table, Value, Variadic};

use super::bind::{self, Answer, Ending, Fault};
use super::state;
use crate::pdk::Phase;

/// OpenResty's log levels, by the number that `ngx.log` takes.
const LEVELS: [(&str, i64); 9] = [
    ("STDERR", 0),
    ("EMERG", 1),
    ("ALERT", 2),
    ("CRIT", 3),
    ("ERR", 4),
    ("WARN", 5),
    ("NOTICE", 6),
    ("INFO", 7),
    ("DEBUG", 8),
];

/// Installs the global `ngx`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let ngx = lua.create_table()?;
    ngx.set("null", lua.null())?;
    for (name, number) in LEVELS {
        ngx.set(name, number)?;
    }
    ngx.set("log", lua.create_function(log)?)?;
    ngx.set("time", lua.create_function(|_, ()| Ok(now().as_secs()))?)?;
    ngx.set("now", lua.create_function(|_, ()| Ok(now().as_millis() as f64 / 1000.0))?)?;
    ngx.set("update_time", lua.create_function(|_, ()| Ok(()))?)?;
    let sleep = lua.create_async_function(|lua, seconds| async move {
        bind::settle(&lua, sleep(seconds).await)
    })?;
    ngx.set("sleep", bind::bind(lua, sleep, Ending::Return)?)?;
    ngx.set("config", config(lua)?)?;
    ngx.set("arg", lua.create_table()?)?;
    let meta = lua.create_table()?;
    meta.set("__index", lua.create_function(of_exchange)?)?;
    meta.set("__newindex", lua.create_function(set_of_exchange)?)?;
    ngx.set_metatable(Some(meta))?;
    lua.globals().set("ngx", ngx)
}

/// `ngx.ctx`: a table of the current exchange; outside of one an empty table.
fn of_exchange(lua: &Lua, (_, key): (Table, String)) -> mlua::Result<Option<Table>> {
    match (key.as_str(), state::current()) {
        ("ctx", Some(ex)) => Ok(Some(state::of(lua, &ex)?.ngx.borrow().clone())),
        ("ctx", None) => lua.create_table().map(Some),
        _ => Ok(None),
    }
}

/// `ngx.ctx = {}` is for the current exchange: set on `ngx` itself, every other would see it.
fn set_of_exchange(lua: &Lua, (ngx, key, value): (Table, Value, Value)) -> mlua::Result<()> {
    if key.as_string().is_none_or(|key| key != "ctx") {
        return ngx.raw_set(key, value);
    }
    let Value::Table(table) = value else {
        return Err(mlua::Error::runtime("ngx.ctx must be a table"));
    };
    if let Some(ex) = state::current() {
        *state::of(lua, &ex)?.ngx.borrow_mut() = table;
    }
    Ok(())
}

fn config(lua: &Lua) -> mlua::Result<Table> {
    let config = lua.create_table()?;
    config.set("subsystem", "http")?;
    config.set("ngx_lua_version", 10_029)?;
    Ok(config)
}

/// `ngx.log(level, ...)`: the rest is put together as by `tostring`.
fn log(_: &Lua, (level, parts): (i64, Variadic<Value>)) -> mlua::Result<()> {
    emit(level, &concat(&parts)?);
    Ok(())
}

/// Writes a line to the operator's log at an OpenResty level.
pub(super) fn emit(level: i64, message: &str) {
    match level {
        ..=4 => tracing::error!(target: "lua", "{message}"),
        5 => tracing::warn!(target: "lua", "{message}"),
        6 | 7 => tracing::info!(target: "lua", "{message}"),
        _ => tracing::debug!(target: "lua", "{message}"),
    }
}

/// The arguments of a log call as one text.
pub(super) fn concat(parts: &[Value]) -> mlua::Result<String> {
    parts.iter().map(Value::to_string).collect()
}

/// `ngx.sleep`, in the phases that may wait.
async fn sleep(seconds: f64) -> Answer {
    if let Some(phase) = state::current().map(|ex| ex.phase())
        && matches!(phase, Phase::HeaderFilter | Phase::BodyFilter | Phase::Log)
    {
        return Err(format!("API disabled in the context of {}_by_lua*", phase.name()).into());
    }
    let pause = Duration::try_from_secs_f64(seconds)
        .map_err(|_| Fault::from(format!("invalid sleep duration: {seconds}")))?;
    tokio::time::sleep(pause).await;
    Ok(MultiValue::new())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
