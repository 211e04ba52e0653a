//! `kong.node`, `kong.nginx`, `kong.ip`, `kong.plugin`, `kong.table`: what a plugin may ask in any
//! phase, and without a request.

use std::net::IpAddr;
use std::sync::OnceLock;

use mlua::{Lua, MultiValue, Table, Value};

use super::value::{self, one};
use super::{Options, Phases, Row};
use crate::lua::bind::{self, Answer};
use crate::lua::state;

pub(super) const ROWS: &[Row] = &[
    Row::anywhere("node.get_id", |lua, _| one(lua, node_id())),
    Row::anywhere("node.get_hostname", |lua, _| one(lua, hostname())),
    Row::anywhere("node.get_memory_stats", get_memory_stats),
    Row::anywhere("cluster.get_id", |lua, _| one(lua, node_id())),
    Row::anywhere("nginx.get_subsystem", |lua, _| one(lua, "http")),
    Row::anywhere("ip.is_trusted", is_trusted),
    Row::anywhere("table.new", |lua, _| one(lua, lua.create_table()?)),
    Row::anywhere("table.clear", |lua, mut args| {
        let table = value::table(&mut args, "bad argument #1 to 'clear' (table expected)")?;
        table.clear()?;
        one(lua, ())
    }),
    Row::anywhere("table.merge", merge),
    Row::now("plugin.get_id", Phases::REQUEST, |lua, ex, _| {
        one(lua, state::of(lua, ex)?.running().map(|running| running.id.to_string()))
    }),
];

/// One for the process, as long as it lives: nothing is kept on disk.
fn node_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| uuid::Uuid::new_v4().to_string())
}

pub(in crate::lua) fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
        name.map(|name| name.trim().to_owned()).unwrap_or_default()
    })
}

/// Memory of this worker's VM and of the shared dictionaries, in bytes or the unit asked for.
fn get_memory_stats(lua: &Lua, mut args: MultiValue) -> Answer {
    let unit = match args.pop_front() {
        None | Some(Value::Nil) => "b".to_owned(),
        Some(Value::String(unit)) => unit.to_string_lossy().to_ascii_lowercase(),
        Some(_) => return Err("unit must be a string".into()),
    };
    let scale = match args.pop_front() {
        Some(Value::Integer(scale)) => usize::try_from(scale).unwrap_or(2),
        _ => 2,
    };
    let divisor = match unit.as_str() {
        "b" => 0.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        other => {
            return Err(format!("invalid unit '{other}' (expected 'k/K', 'm/M', or 'g/G')").into());
        }
    };
    let shown = |bytes: usize| -> mlua::Result<Value> {
        if divisor == 0.0 {
            return Ok(Value::Number(bytes as f64));
        }
        let name = match unit.as_str() {
            "k" => "KiB",
            "m" => "MiB",
            _ => "GiB",
        };
        let text = format!("{:.scale$} {name}", bytes as f64 / divisor);
        lua.create_string(text).map(Value::String)
    };
    let worker = lua.create_table()?;
    worker.set("pid", std::process::id())?;
    worker.set("http_allocated_gc", shown(lua.used_memory())?)?;
    let dicts = lua.create_table()?;
    let options = Options::of_vm(lua)?;
    for name in options.dicts.names() {
        let Some(dict) = options.dicts.get(name) else { continue };
        let row = lua.create_table()?;
        row.set("capacity", shown(dict.capacity())?)?;
        row.set("allocated_slabs", shown(dict.capacity().saturating_sub(dict.free()))?)?;
        dicts.set(name, row)?;
    }
    let stats = lua.create_table()?;
    stats.set("workers_lua_vms", lua.create_sequence_from([worker])?)?;
    stats.set("lua_shared_dicts", dicts)?;
    one(lua, stats)
}

fn is_trusted(lua: &Lua, mut args: MultiValue) -> Answer {
    let text = value::utf8(&mut args, "ip must be a string")?;
    let address: Option<IpAddr> = text.parse().ok();
    let options = Options::of_vm(lua)?;
    let trusted = address.is_some_and(|ip| options.trusted_ips.iter().any(|net| net.contains(&ip)));
    one(lua, trusted)
}

/// A new table with the fields of both; the second's win.
fn merge(lua: &Lua, args: MultiValue) -> Answer {
    let merged = lua.create_table()?;
    for part in args {
        let Value::Table(part) = part else { continue };
        for pair in part.pairs::<Value, Value>() {
            let (key, value) = pair?;
            merged.raw_set(key, value)?;
        }
    }
    one(lua, merged)
}

/// `kong.tracing`: there are no spans to add to. What a plugin does with one has no effect.
pub(super) fn tracing(lua: &Lua) -> mlua::Result<Table> {
    let nothing = bind::function(lua, |lua, _| one(lua, ()))?;
    let span = lua.create_table()?;
    for name in [
        "set_attribute",
        "add_event",
        "record_error",
        "set_status",
        "finish",
        "each_baggage_items",
        "set_baggage_item",
        "get_baggage_item",
    ] {
        span.set(name, nothing.clone())?;
    }
    let start = {
        let span = span.clone();
        bind::function(lua, move |lua, _| one(lua, span.clone()))?
    };
    let tracing = lua.create_table()?;
    for name in ["start_span", "create_span"] {
        tracing.set(name, start.clone())?;
    }
    for name in [
        "active_span",
        "set_active_span",
        "process_span",
        "set_should_sample",
        "get_sampling_decision",
    ] {
        tracing.set(name, nothing.clone())?;
    }
    Ok(tracing)
}
