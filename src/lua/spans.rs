//! What Lua's tracer tells the plugin that sends traces to collectors.

use mlua::{Lua, LuaString, Table, Value};

use super::{json, state};
use crate::pdk::{MadeEvent, MadeSpan, MadeSpans, Root};

/// Adds `trace_root` and `keep_span` to the module.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("trace_root", lua.create_function(trace_root)?)?;
    host.set("keep_span", lua.create_function(keep_span)?)
}

/// The ids of the trace and the first span of the request; these, unless there are some already.
fn trace_root(
    lua: &Lua,
    (trace, span): (LuaString, LuaString),
) -> mlua::Result<(LuaString, LuaString)> {
    let own = Root { trace: number(&trace), span: number(&span) as u64 };
    let root = state::current().map_or(own, |ex| Root::of(&ex, || own));
    let trace = lua.create_string(root.trace.to_be_bytes())?;
    Ok((trace, lua.create_string(root.span.to_be_bytes())?))
}

/// A span that has ended.
fn keep_span(lua: &Lua, span: Table) -> mlua::Result<()> {
    let Some(ex) = state::current() else { return Ok(()) };
    let events: Option<Table> = span.raw_get("events")?;
    let events = match &events {
        Some(events) => events.sequence_values().map(|one| event(lua, &one?)).collect(),
        None => Ok(Vec::new()),
    };
    let id = |name| span.raw_get::<Option<LuaString>>(name);
    let made = MadeSpan {
        name: text(span.raw_get("name")?),
        kind: span.raw_get::<Option<i32>>("kind")?.unwrap_or(1),
        span: id("span_id")?.map_or(0, |id| number(&id) as u64),
        parent: id("parent_id")?.map(|id| number(&id) as u64),
        began_ns: nanoseconds(span.raw_get("start_time_ns")?),
        ended_ns: nanoseconds(span.raw_get("end_time_ns")?),
        attributes: attributes(lua, span.raw_get("attributes")?)?,
        events: events?,
        status: span.raw_get("status")?,
    };
    MadeSpans::keep(&ex, made);
    Ok(())
}

fn event(lua: &Lua, event: &Table) -> mlua::Result<MadeEvent> {
    Ok(MadeEvent {
        name: text(event.raw_get("name")?),
        at_ns: nanoseconds(event.raw_get("time_ns")?),
        attributes: attributes(lua, event.raw_get("attributes")?)?,
    })
}

/// Those that have a name and a plain value.
fn attributes(lua: &Lua, table: Option<Table>) -> mlua::Result<Vec<(String, serde_json::Value)>> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (Value::String(name), value) = pair? else { continue };
        let value = match value {
            Value::String(text) => text.to_string_lossy().into(),
            Value::Number(_) | Value::Integer(_) | Value::Boolean(_) => json::from_lua(lua, value)?,
            _ => continue,
        };
        found.push((name.to_string_lossy(), value));
    }
    Ok(found)
}

fn text(text: Option<LuaString>) -> String {
    text.map(|text| text.to_string_lossy()).unwrap_or_default()
}

/// The last bytes of an id as a number.
fn number(id: &LuaString) -> u128 {
    id.as_bytes().iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte))
}

/// What is no time is the first of all.
fn nanoseconds(time: Option<f64>) -> u64 {
    time.unwrap_or(0.0).max(0.0) as u64
}
