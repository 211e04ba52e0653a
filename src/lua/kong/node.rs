//! `kong.node`, `kong.nginx`, `kong.ip`, `kong.plugin`: what a plugin may ask in any
//! phase, and without a request.

use std::net::IpAddr;
use std::sync::OnceLock;

use mlua::{Lua, MultiValue, Value};

use super::value::one;
use super::{Options, Row};
use crate::lua::bind::Answer;
use crate::lua::{phase, state};

pub(super) const ROWS: &[Row] = &[
    Row::anywhere("node.get_id", |lua, _| one(lua, node_id(lua)?)),
    Row::anywhere("node.get_hostname", |lua, _| one(lua, hostname())),
    Row::anywhere("node.get_memory_stats", get_memory_stats),
    Row::anywhere("cluster.get_id", |lua, _| one(lua, node_id(lua)?)),
    Row::anywhere("nginx.get_subsystem", |lua, _| one(lua, "http")),
    Row::anywhere("ip.is_trusted", is_trusted),
    Row::anywhere("nginx.get_statistics", get_statistics),
    Row::anywhere("plugin.get_id", |lua, _| {
        let running = match state::current() {
            Some(ex) => state::of(lua, &ex).running(),
            None => phase::handshake().and_then(|_| phase::plugin(lua)),
        };
        one(lua, running.map(|running| running.id.to_string()))
    }),
];

/// One for the process, as long as it lives: nothing is kept on disk.
fn node_id(lua: &Lua) -> mlua::Result<String> {
    static ID: OnceLock<uuid::Uuid> = OnceLock::new();
    let known = Options::of_vm(lua)?.node.as_ref().map(|node| node.id);
    Ok(known.unwrap_or_else(|| *ID.get_or_init(uuid::Uuid::new_v4)).to_string())
}

/// nginx' counters. What a connection is doing at the moment is not counted.
fn get_statistics(lua: &Lua, _: MultiValue) -> Answer {
    let options = Options::of_vm(lua)?;
    let total = |name| options.node.as_ref().map_or(0, |node| node.metrics.total(name));
    let accepted = total("silverback_connections_accepted_total");
    let active = accepted.saturating_sub(total("silverback_connections_closed_total"));
    let statistics = lua.create_table()?;
    for (name, value) in [
        ("connections_active", active),
        ("connections_reading", 0),
        ("connections_writing", active),
        ("connections_waiting", 0),
        ("connections_accepted", accepted),
        ("connections_handled", accepted),
        ("total_requests", total("kong_nginx_requests_total")),
    ] {
        statistics.set(name, value)?;
    }
    one(lua, statistics)
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
        None | Some(Value::Nil) => 2,
        Some(Value::Integer(scale)) if (0..=99).contains(&scale) => scale.unsigned_abs() as usize,
        Some(Value::Number(scale)) if (0.0..100.0).contains(&scale) => scale as usize,
        Some(_) => return Err("scale must be equal or greater than 0".into()),
    };
    let divisor = match unit.as_str() {
        "b" | "" => 0.0,
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
    // What is no text is no address (Kong).
    let text = args.pop_front().as_ref().and_then(Value::as_string).map(|t| t.to_string_lossy());
    let address: Option<IpAddr> = text.and_then(|text| text.parse().ok());
    let options = Options::of_vm(lua)?;
    let trusted = address.is_some_and(|ip| options.trusted_ips.iter().any(|net| net.contains(&ip)));
    one(lua, trusted)
}
