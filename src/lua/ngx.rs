//! `ngx.*`: what OpenResty gives its Lua code, beside Kong's own functions.
//!
//! Here are constants, log levels, time, sleep and context; the folder has the rest.

mod context;
pub(super) mod ctx;
pub(super) mod encode;
pub(super) mod header;
pub(super) mod output;
pub(super) mod re;
mod req;
mod req_body;
mod shared;
pub(super) mod socket;
pub(super) mod ssl;
mod timer;
pub(super) mod var;

pub(super) use self::timer::{Counts, Light};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlua::{FromLuaMulti, Function, Lua, LuaSerdeExt, MultiValue, Table, Value};

use super::bind::{self, Answer, Fault};
use super::{phase, state};
use crate::pdk::{Exchange, Phase};

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
    ngx.set("log", bind::function(lua, log)?)?;
    ngx.set("time", lua.create_function(|_, ()| Ok(now().as_secs()))?)?;
    ngx.set("now", lua.create_function(|_, ()| Ok(now().as_millis() as f64 / 1000.0))?)?;
    ngx.set("update_time", lua.create_function(|_, ()| Ok(()))?)?;
    ngx.set("sleep", bind::waiting(lua, |lua, args| async move { sleep(&lua, args).await })?)?;
    ngx.set("get_phase", lua.create_function(|lua, ()| Ok(phase_name(lua)))?)?;
    ngx.set("config", config(lua)?)?;
    constants(&ngx)?;
    ngx.set("worker", worker(lua)?)?;
    ctx::install(lua)?;
    encode::install(lua, &ngx)?;
    output::install(lua, &ngx)?;
    re::install(lua, &ngx)?;
    req::install(lua, &ngx)?;
    shared::install(lua, &ngx)?;
    socket::install(lua, &ngx)?;
    ssl::install(lua)?;
    timer::install(lua, &ngx)?;
    var::install(lua, &ngx)?;
    install_arg(lua, &ngx)?;
    ngx.set("location", location(lua)?)?;
    let meta = lua.create_table()?;
    // The name that plugins ask for most costs no list of arguments.
    let index = "local ctx, other = ...
        return function(ngx, name)
          if name == 'ctx' then return ctx() end
          return other(ngx, name)
        end";
    let index = lua.load(index).set_name("=host");
    let functions = (lua.create_function(ctx_table)?, lua.create_function(of_exchange)?);
    meta.set("__index", index.call::<Function>(functions)?)?;
    meta.set("__newindex", bind::function(lua, set_of_exchange)?)?;
    ngx.set_metatable(Some(meta))?;
    // Libraries for OpenResty and others ask `require` whether this is OpenResty.
    let package: Table = lua.globals().get("package")?;
    package.get::<Table>("loaded")?.set("ngx", &ngx)?;
    lua.globals().set("ngx", ngx)
}

/// `ngx.ctx` of the current exchange; outside of one it is a table of the timer's.
fn ctx_table(lua: &Lua, (): ()) -> mlua::Result<Table> {
    match state::current() {
        Some(ex) => state::of(lua, &ex).ngx(lua),
        None => phase::ctx(lua),
    }
}

/// Other names that follow the current exchange.
fn of_exchange(lua: &Lua, (_, key): (Table, Value)) -> mlua::Result<Value> {
    let Value::String(key) = key else { return Ok(Value::Nil) };
    let ex = state::current();
    match (&*key.to_string_lossy(), ex) {
        ("status", Some(ex)) => Ok(Value::Integer(status(lua, &ex)?.into())),
        ("headers_sent", Some(ex)) => Ok(Value::Boolean(output::is_head_out(lua, &ex)?)),
        ("is_subrequest", Some(_)) => Ok(Value::Boolean(false)),
        _ => Ok(Value::Nil),
    }
}

/// The status of the response; nginx has 0 until there is one.
fn status(lua: &Lua, ex: &Exchange) -> mlua::Result<u16> {
    let is_known = ex.response.has_status() || output::is_head_out(lua, ex)?;
    Ok(if is_known { ex.response.status().as_u16() } else { 0 })
}

/// What is set on `ngx` for the current exchange must not be seen by the others.
fn set_of_exchange(lua: &Lua, args: MultiValue) -> Answer {
    let (ngx, key, value) = <(Table, Value, Value)>::from_lua_multi(args, lua)?;
    let name = key.as_string().map(|key| key.to_string_lossy());
    match name.as_deref() {
        Some("status") => output::set_status(lua, &value)?,
        Some("ctx") => {
            let Value::Table(table) = value else {
                return Err("ngx.ctx must be a table".into());
            };
            if let Some(ex) = state::current() {
                state::of(lua, &ex).set_ngx(table);
            }
        }
        _ => ngx.raw_set(key, value)?,
    }
    one(lua, ())
}

/// `ngx.arg` is of body filters, which find their chunk in it. What is set is looked at there and
/// then, and kept in a table behind it.
const ARG: &str = "
local slots, joined = ...
local function check()
  if ngx.get_phase() ~= 'body_filter' then
    error('API disabled in the current context', 3)
  end
end
return setmetatable({}, {
  __index = function(_, key)
    local value = slots[key]
    if value ~= nil then return value end
    check()
    return key == 1 and '' or nil
  end,
  __newindex = function(_, key, value)
    check()
    local index, kind = tonumber(key), type(value)
    if not index then
      error(\"bad argument #2 to '__newindex' (number expected, got \" .. type(key) .. ')', 2)
    elseif index == 2 then
      slots[2] = not not value
    elseif index ~= 1 then
      error('bad index: ' .. tostring(key), 2)
    elseif kind == 'table' then
      slots[1] = joined(value)
    elseif kind == 'string' or kind == 'number' then
      slots[1] = tostring(value)
    elseif kind == 'nil' then
      slots[1] = nil
    else
      error('bad chunk data type: ' .. kind, 2)
    end
  end,
})";

/// Where the table behind `ngx.arg` is kept.
const SLOTS: &str = "silverback.arg";

/// The piece of the body, which is item 1, and whether it is the last, which is 2.
pub(super) fn arg(lua: &Lua) -> mlua::Result<Table> {
    lua.named_registry_value(SLOTS)
}

fn install_arg(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let slots = lua.create_table()?;
    lua.set_named_registry_value(SLOTS, &slots)?;
    let joined = bind::function(lua, |lua, mut args| {
        let Some(Value::Table(parts)) = args.pop_front() else { return one(lua, "") };
        one(lua, lua.create_string(output::joined(&parts, (3, "__newindex"))?)?)
    })?;
    ngx.set("arg", lua.load(ARG).set_name("=ngx.arg").call::<Table>((slots, joined))?)
}

use super::kong::value::one;

/// A value that is a number.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// Statuses, methods and results by OpenResty's names.
fn constants(ngx: &Table) -> mlua::Result<()> {
    for (name, code) in STATUSES {
        ngx.set(format!("HTTP_{name}"), code)?;
    }
    for (name, bit) in req::METHODS {
        ngx.set(format!("HTTP_{name}"), bit)?;
    }
    for (name, code) in [("OK", 0), ("ERROR", -1), ("AGAIN", -2), ("DONE", -4), ("DECLINED", -5)] {
        ngx.set(name, code)?;
    }
    Ok(())
}

const STATUSES: [(&str, u16); 40] = [
    ("CONTINUE", 100),
    ("SWITCHING_PROTOCOLS", 101),
    ("OK", 200),
    ("CREATED", 201),
    ("ACCEPTED", 202),
    ("NO_CONTENT", 204),
    ("PARTIAL_CONTENT", 206),
    ("SPECIAL_RESPONSE", 300),
    ("MOVED_PERMANENTLY", 301),
    ("MOVED_TEMPORARILY", 302),
    ("SEE_OTHER", 303),
    ("NOT_MODIFIED", 304),
    ("TEMPORARY_REDIRECT", 307),
    ("PERMANENT_REDIRECT", 308),
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("PAYMENT_REQUIRED", 402),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("NOT_ALLOWED", 405),
    ("NOT_ACCEPTABLE", 406),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("GONE", 410),
    ("UPGRADE_REQUIRED", 426),
    ("TOO_MANY_REQUESTS", 429),
    ("CLOSE", 444),
    ("ILLEGAL", 451),
    ("INTERNAL_SERVER_ERROR", 500),
    ("METHOD_NOT_IMPLEMENTED", 501),
    ("NOT_IMPLEMENTED", 501),
    ("BAD_GATEWAY", 502),
    ("SERVICE_UNAVAILABLE", 503),
    ("GATEWAY_TIMEOUT", 504),
    ("VERSION_NOT_SUPPORTED", 505),
    ("INSUFFICIENT_STORAGE", 507),
    ("REQUEST_ENTITY_TOO_LARGE", 413),
    ("REQUEST_URI_TOO_LARGE", 414),
    ("UNSUPPORTED_MEDIA_TYPE", 415),
    ("UNPROCESSABLE_ENTITY", 422),
];

/// `ngx.worker`: a worker is a thread here, and all have one process id.
fn worker(lua: &Lua) -> mlua::Result<Table> {
    let options = super::Options::of_vm(lua)?;
    let id = options.worker.unwrap_or(0);
    let count = options.configuration.get("nginx_worker_processes");
    let count = count.and_then(|count| count.as_str()?.parse::<usize>().ok()).unwrap_or(1);
    let worker = lua.create_table()?;
    worker.set("id", lua.create_function(move |_, ()| Ok(id))?)?;
    worker.set("count", lua.create_function(move |_, ()| Ok(count))?)?;
    worker.set("pid", lua.create_function(|_, ()| Ok(std::process::id()))?)?;
    worker.set("pids", lua.create_function(|_, ()| Ok(vec![std::process::id()]))?)?;
    let exiting = |lua: &Lua, ()| Ok(Counts::of(lua).is_some_and(|counts| counts.is_exiting()));
    worker.set("exiting", lua.create_function(exiting)?)?;
    Ok(worker)
}

/// OpenResty's name of the phase; `response` is Kong's own and runs in `access`.
fn phase_name(lua: &Lua) -> &'static str {
    match state::current().map(|ex| ex.phase()) {
        None => phase::outside(lua),
        Some(Phase::Response) => "access",
        Some(phase) => phase.name(),
    }
}

fn config(lua: &Lua) -> mlua::Result<Table> {
    let config = lua.create_table()?;
    config.set("subsystem", "http")?;
    config.set("ngx_lua_version", 10_029)?;
    config.set("nginx_version", 1_027_001)?;
    config.set("debug", false)?;
    config.set("prefix", lua.create_function(|_, ()| Ok("/usr/local/kong/"))?)?;
    config.set("nginx_configure", lua.create_function(|_, ()| Ok(""))?)?;
    Ok(config)
}

/// `ngx.log(level, ...)`: the rest is put together as by `tostring`.
fn log(lua: &Lua, mut args: MultiValue) -> Answer {
    let level = args.pop_front();
    let number = level.as_ref().and_then(number);
    let number = number.ok_or_else(|| encode::wrong(1, "log", "number", level.as_ref()))? as i64;
    if !(0..=8).contains(&number) {
        return Err(format!("bad argument #1 to 'log' (bad log level: {number})").into());
    }
    if is_logged(number) {
        let parts = args.into_vec();
        if let Some(at) = parts.iter().position(is_mute) {
            let told = "expected table to have __tostring metamethod";
            return Err(format!("bad argument #{} to 'log' ({told})", at + 2).into());
        }
        emit(lua, number, &concat(&parts)?);
    }
    one(lua, ())
}

/// A table that cannot say what it is, which OpenResty does not log.
fn is_mute(value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    let says = |meta: &Table| meta.raw_get::<Value>("__tostring").is_ok_and(|says| !says.is_nil());
    !table.metatable().as_ref().is_some_and(says)
}

/// Whether lines of this level are written at all.
pub(super) fn is_logged(level: i64) -> bool {
    match level {
        ..=4 => tracing::enabled!(target: "lua", tracing::Level::ERROR),
        5 => tracing::enabled!(target: "lua", tracing::Level::WARN),
        6 | 7 => tracing::enabled!(target: "lua", tracing::Level::INFO),
        _ => tracing::enabled!(target: "lua", tracing::Level::DEBUG),
    }
}

/// Writes a line to the operator's log at an OpenResty level, with what is known of the code that
/// writes it: its request, its plugin and its phase. Only for levels that are logged.
pub(super) fn emit(lua: &Lua, level: i64, message: &str) {
    let ex = state::current();
    let running = match &ex {
        Some(ex) => state::known(ex).and_then(|state| state.running()),
        None => phase::plugin(lua),
    };
    let request_id = ex.as_ref().map(|ex| tracing::field::display(ex.id));
    let plugin = running.as_ref().map(|running| &*running.name);
    let phase = ex.as_ref().map_or_else(|| phase::outside(lua), |ex| ex.phase().name());
    match level {
        ..=4 => tracing::error!(target: "lua", request_id, plugin, phase, "{message}"),
        5 => tracing::warn!(target: "lua", request_id, plugin, phase, "{message}"),
        6 | 7 => tracing::info!(target: "lua", request_id, plugin, phase, "{message}"),
        _ => tracing::debug!(target: "lua", request_id, plugin, phase, "{message}"),
    }
}

/// The arguments of a log call as one text.
pub(super) fn concat(parts: &[Value]) -> mlua::Result<String> {
    let text = |value: &Value| match value {
        Value::Integer(_) | Value::Number(_) => super::kong::value::shown(value),
        other => other.to_string(),
    };
    parts.iter().map(text).collect()
}

/// `ngx.sleep`, in the phases that may wait.
async fn sleep(lua: &Lua, args: MultiValue) -> Answer {
    encode::counted(&args, 1..=1, "attempt to pass 0 arguments, but accepted 1")?;
    let seconds = match args.front() {
        Some(value @ (Value::Integer(_) | Value::Number(_) | Value::String(_))) => {
            lua.coerce_number(value.clone())?
        }
        _ => None,
    };
    let seconds = seconds.ok_or_else(|| encode::wrong(1, "sleep", "number", args.front()))?;
    socket::waiter(lua)?;
    let pause = Duration::try_from_secs_f64(seconds).map_err(|_| {
        Fault::from(format!("invalid sleep duration \"{}\"", (seconds * 1000.0) as i64))
    })?;
    tokio::time::sleep(pause).await;
    Ok(MultiValue::new())
}

/// `ngx.location`: nginx calls its own locations, of which there are none here.
fn location(lua: &Lua) -> mlua::Result<Table> {
    let location = lua.create_table()?;
    for name in ["capture", "capture_multi"] {
        let refuse = move |_: &Lua, _: MultiValue| -> Answer {
            Err(format!("ngx.location.{name} is not available: there are no locations").into())
        };
        location.set(name, bind::function(lua, refuse)?)?;
    }
    Ok(location)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
