//! What Kong's core keeps in `ngx.ctx` and plugins read there: Route, Service, client, target.
//!
//! The table is the plugins' own; these names answer while nobody has set them. Those of the client
//! and of the target do what the kit's functions do when a plugin sets them.

use std::net::IpAddr;

use http::HeaderValue;
use mlua::{Lua, MultiValue, Table, Value};

use super::super::bind::{self, Answer};
use super::super::kong::target;
use super::super::{json, state};
use super::{number, one, var};
use crate::entity::Protocol;
use crate::guard::Named;
use crate::pdk::{Exchange, Source, log};

/// The metatable of every `ngx.ctx`, where it costs no name to look up.
struct Meta(Table);

/// A name that nobody knows costs a lookup in Lua; only those of Kong's core cross to Rust.
const BIND: &str = "
local read, introduce, read_target, set_target = ...
local KEPT = { route = true, service = true, router_matches = true, balancer_data = true }
local KNOWN = { authenticated_consumer = true, authenticated_credential = true }
for name in ([[route service router_matches balancer_data plugin_id workspace scheme host
  request_uri KONG_PROCESSING_START KONG_REWRITE_START KONG_ACCESS_START KONG_PROXIED
  KONG_PROXY_LATENCY KONG_RESPONSE_LATENCY KONG_WAITING_TIME]]):gmatch('[%w_]+') do
  KNOWN[name] = true
end
local target = {
  __index = function(_, name)
    return read_target(name)
  end,
  __newindex = function(data, name, value)
    if not set_target(name, value) then
      rawset(data, name, value)
    end
  end,
}
return {
  __index = function(ctx, name)
    if not KNOWN[name] then
      return nil
    end
    local value = read(name)
    if value == true and name == 'balancer_data' then
      value = setmetatable({}, target)
    end
    if value ~= nil and KEPT[name] then
      rawset(ctx, name, value)
    end
    return value
  end,
  __newindex = function(ctx, name, value)
    if name == 'authenticated_consumer' or name == 'authenticated_credential' then
      return introduce(name, value)
    end
    rawset(ctx, name, value)
  end,
}";

/// Makes the metatable of every `ngx.ctx`.
pub(in crate::lua) fn install(lua: &Lua) -> mlua::Result<()> {
    let read = bind::function(lua, |lua, args| with(lua, args, self::read))?;
    let introduce = bind::function(lua, |lua, args| with(lua, args, self::introduce))?;
    let read_target = bind::function(lua, |lua, args| with(lua, args, self::read_target))?;
    let set_target = bind::function(lua, |lua, args| with(lua, args, self::set_target))?;
    let meta: Table =
        lua.load(BIND).set_name("=ngx.ctx").call((read, introduce, read_target, set_target))?;
    lua.set_app_data(Meta(meta));
    Ok(())
}

/// A new `ngx.ctx`.
pub(in crate::lua) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set_metatable(lua.app_data_ref::<Meta>().map(|meta| meta.0.clone()))?;
    Ok(table)
}

/// Calls a function with the exchange, a name and a value; nothing is known outside of one.
fn with(
    lua: &Lua,
    mut args: MultiValue,
    call: fn(&Lua, &Exchange, &str, Value) -> mlua::Result<Value>,
) -> Answer {
    let (name, value) = (args.pop_front(), args.pop_front().unwrap_or(Value::Nil));
    let (Some(ex), Some(Value::String(name))) = (state::current(), name) else {
        return one(lua, Value::Nil);
    };
    one(lua, call(lua, &ex, &name.to_string_lossy(), value)?)
}

fn read(lua: &Lua, ex: &Exchange, name: &str, _: Value) -> mlua::Result<Value> {
    let at = ex.times.started_at_ms.get() as f64;
    let answered = ex.response.source() == Source::Service;
    let sent = ex.times.sent.get();
    Ok(match name {
        "KONG_PROCESSING_START" | "KONG_REWRITE_START" => Value::Number(at),
        "plugin_id" => match state::of(lua, ex).running() {
            Some(running) => text(lua, &running.id.to_string())?,
            None => Value::Nil,
        },
        "workspace" => text(lua, log::WORKSPACE)?,
        "authenticated_consumer" => target::consumer(lua, ex)?,
        "authenticated_credential" => target::credential(lua, ex)?,
        "KONG_PROXIED" if sent.is_some() => Value::Boolean(true),
        "KONG_PROXY_LATENCY" if sent.is_some() => count(ex.times.since_start_ms(sent)),
        "KONG_WAITING_TIME" => ex.times.upstream_ms().map_or(Value::Nil, count),
        "KONG_RESPONSE_LATENCY" if !answered => count(ex.times.since_start_ms(None)),
        "scheme" | "host" | "request_uri" => match var::value(ex, name) {
            Some(value) => Value::String(lua.create_string(value)?),
            None => Value::Nil,
        },
        _ => routed(lua, ex, name)?,
    })
}

/// What there is once a Route has been found.
fn routed(lua: &Lua, ex: &Exchange, name: &str) -> mlua::Result<Value> {
    let Some(matched) = ex.matched() else { return Ok(Value::Nil) };
    Ok(match (name, &matched.service) {
        ("route", _) => json::entity(lua, &matched.route.json)?,
        ("service", Some(service)) => json::entity(lua, &service.json)?,
        ("balancer_data", _) => Value::Boolean(true),
        ("KONG_ACCESS_START", _) => Value::Number(ex.times.started_at_ms.get() as f64),
        ("router_matches", _) => {
            let matches = lua.create_table()?;
            let has_groups =
                |path: &serde_json::Value| path.as_str().is_some_and(|path| path.starts_with('~'));
            let paths = matched.route.json["paths"].as_array();
            if !matched.captures.is_empty() || paths.is_some_and(|all| all.iter().any(has_groups)) {
                let captures = lua.create_table()?;
                for (group, text) in matched.captures.iter() {
                    match group.parse::<i64>() {
                        Ok(number) => captures.raw_set(number, text.as_str())?,
                        Err(_) => captures.raw_set(group.as_str(), text.as_str())?,
                    }
                }
                matches.raw_set("uri_captures", captures)?;
            }
            Value::Table(matches)
        }
        _ => Value::Nil,
    })
}

/// Names the client, as plugins did before there was `kong.client.authenticate`.
fn introduce(lua: &Lua, ex: &Exchange, name: &str, value: Value) -> mlua::Result<Value> {
    match name {
        "authenticated_consumer" => {
            target::introduce_consumer(lua, ex, value.as_table().cloned())?;
        }
        _ => target::introduce_credential(lua, ex, value)?,
    }
    Ok(Value::Nil)
}

/// A field of `ngx.ctx.balancer_data`.
fn read_target(lua: &Lua, ex: &Exchange, name: &str, _: Value) -> mlua::Result<Value> {
    let limits = ex.service.limits.get();
    let last = || ex.service.tries.borrow().last().map(|one| one.address);
    Ok(match name {
        "scheme" => text(lua, ex.service.scheme().name())?,
        "host" => text(lua, &ex.service.host())?,
        "hostname" if last().is_some() => text(lua, &ex.service.host())?,
        "type" => text(lua, kind(&ex.service.host()))?,
        "port" => match last() {
            Some(address) => count(address.port().into()),
            None => count(ex.service.port().into()),
        },
        "ip" => last().map(|at| text(lua, &at.ip().to_string())).transpose()?.unwrap_or(Value::Nil),
        "retries" => count(limits.retries.into()),
        "connect_timeout" => count(limits.connect_ms),
        "send_timeout" => count(limits.write_ms),
        "read_timeout" => count(limits.read_ms),
        "try_count" => count(ex.service.tries.borrow().len() as u64),
        "tries" => json::entity(lua, &log::tries(ex))?,
        _ => Value::Nil,
    })
}

/// Sets a field of `ngx.ctx.balancer_data`; whether Kong's balancer reads it.
fn set_target(_: &Lua, ex: &Exchange, name: &str, value: Value) -> mlua::Result<Value> {
    /// The most that a Service may have.
    const RETRIES_MAX: f64 = 32767.0;
    let whole = number(&value).filter(|number| *number >= 1.0).map(|number| number as u64);
    let mut limits = ex.service.limits.get();
    match (name, whole) {
        ("connect_timeout", Some(ms)) => limits.connect_ms = ms,
        ("send_timeout", Some(ms)) => limits.write_ms = ms,
        ("read_timeout", Some(ms)) => limits.read_ms = ms,
        ("retries", _) => {
            limits.retries = number(&value).unwrap_or_default().clamp(0.0, RETRIES_MAX) as u32;
        }
        ("port", Some(port)) => match u16::try_from(port) {
            Ok(port) => ex.service.set_target(ex.service.host(), port, Named::Plugin),
            Err(_) => return Ok(Value::Boolean(false)),
        },
        ("host", _) => match value.as_string() {
            Some(host) => aim(ex, &host.to_string_lossy()),
            None => return Ok(Value::Boolean(false)),
        },
        ("scheme", _) => match value.as_string().map(|name| name.to_string_lossy()).as_deref() {
            Some("https") => ex.service.set_scheme(Protocol::Https),
            Some("http") => ex.service.set_scheme(Protocol::Http),
            _ => return Ok(Value::Boolean(false)),
        },
        _ => return Ok(Value::Boolean(false)),
    }
    ex.service.limits.set(limits);
    Ok(Value::Boolean(true))
}

/// Sends the request to another host; the name of an Upstream is balanced.
fn aim(ex: &Exchange, host: &str) {
    if ex.entities.get().is_some_and(|entities| entities.has_upstream(host)) {
        return ex.service.balance(host.into());
    }
    if ex.service.host_header().is_none() {
        ex.service.set_host_header(HeaderValue::from_str(host).ok());
    }
    ex.service.set_target(host.into(), ex.service.port(), Named::Plugin);
}

/// What Kong's DNS client makes of a host.
fn kind(host: &str) -> &'static str {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "ipv4",
        Ok(IpAddr::V6(_)) => "ipv6",
        Err(_) => "name",
    }
}

fn text(lua: &Lua, text: &str) -> mlua::Result<Value> {
    lua.create_string(text).map(Value::String)
}

fn count(number: u64) -> Value {
    Value::Number(number as f64)
}
