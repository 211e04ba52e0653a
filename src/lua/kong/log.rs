//! `kong.log`: lines for the operator, and the record of an exchange.

use std::borrow::Cow;

use mlua::{Lua, Table, Value, Variadic};

use super::value::{self, one};
use super::{Phases, Row};
use crate::lua::bind::Answer;
use crate::lua::{json, ngx, state};
use crate::pdk::log::Mode;
use crate::pdk::{Exchange, log};

pub(super) const ROWS: &[Row] = &[
    Row::now("log.serialize", Phases::REQUEST, |lua, ex, _| {
        one(lua, json::entity(lua, &log::serialize(ex))?)
    }),
    Row::anywhere("log.set_format", set_format),
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

/// The registry's name for the formats that plugins have set, by plugin.
const FORMATS: &str = "silverback.log_formats";

/// `kong.log.set_format(text)`: how the lines of this plugin look; nil is the usual way.
fn set_format(lua: &Lua, mut args: mlua::MultiValue) -> Answer {
    let format = match args.pop_front() {
        Some(Value::String(format)) => Some(format),
        None | Some(Value::Nil) => None,
        Some(_) => return Err("format must be a string".into()),
    };
    let formats: Table = match lua.named_registry_value::<Option<Table>>(FORMATS)? {
        Some(formats) => formats,
        None => {
            let formats = lua.create_table()?;
            lua.set_named_registry_value(FORMATS, &formats)?;
            formats
        }
    };
    let plugin = running(lua)?.unwrap_or_default();
    formats.raw_set(plugin, format)?;
    one(lua, ())
}

/// The name of the plugin whose code is running.
fn running(lua: &Lua) -> mlua::Result<Option<String>> {
    let Some(ex) = state::current() else { return Ok(None) };
    Ok(state::of(lua, &ex)?.running().map(|running| running.name.to_string()))
}

/// `[kong] handler.lua:10 [my-plugin] message`, or as the plugin has asked.
fn write(lua: &Lua, level: i64, parts: &[Value]) -> mlua::Result<()> {
    if !ngx::is_logged(level) {
        return Ok(());
    }
    let place = lua.inspect_stack(1, |debug| {
        let source = debug.source().short_src.unwrap_or_default();
        let file = source.rsplit('/').next().unwrap_or_default().to_owned();
        (file, debug.current_line().unwrap_or_default(), debug.names().name.map(Cow::into_owned))
    });
    let (file, line, function) = place.unwrap_or_default();
    let plugin = running(lua)?;
    let message = ngx::concat(parts)?;
    let formats: Option<Table> = lua.named_registry_value(FORMATS)?;
    let format: Option<String> = match formats {
        Some(formats) => formats.raw_get(plugin.as_deref().unwrap_or_default())?,
        None => None,
    };
    let Some(format) = format else {
        let plugin = plugin.map(|name| format!("[{name}] ")).unwrap_or_default();
        ngx::emit(level, &format!("[kong] {file}:{line} {plugin}{message}"));
        return Ok(());
    };
    // `%%` stands for a percent sign; it is kept apart while the others are filled in.
    let text = format
        .replace("%%", "\0")
        .replace("%file_src", &file)
        .replace("%line_src", &line.to_string())
        .replace("%func_name", function.as_deref().unwrap_or("?"))
        .replace("%namespace", plugin.as_deref().unwrap_or("core"))
        .replace("%message", &message)
        .replace('\0', "%");
    ngx::emit(level, &format!("[kong] {text}"));
    Ok(())
}

/// `kong.log.set_serialize_value(path, value, {mode = "set"})`. A nil takes the field out.
fn set_serialize_value(lua: &Lua, ex: &Exchange, mut args: mlua::MultiValue) -> Answer {
    let path = value::utf8(&mut args, "key must be a string")?;
    let value = args.pop_front().unwrap_or(Value::Nil);
    let mode = match args.pop_front() {
        Some(Value::Table(options)) => options.get::<Option<String>>("mode")?,
        _ => None,
    };
    let mode = match mode.as_deref() {
        None | Some("set") => Mode::Set,
        Some("add") => Mode::Add,
        Some("replace") => Mode::Replace,
        Some(_) => return Err("mode must be 'set', 'add' or 'replace'".into()),
    };
    let value = match value {
        value if !is_plain(&value, 0)? => return Err(NOT_PLAIN.into()),
        Value::Nil => None,
        value => Some(json::from_lua(lua, value)?),
    };
    ex.log.put(&path, value, mode);
    one(lua, ())
}

const NOT_PLAIN: &str = "value must be nil, a number, string, boolean or a non-self-referencial \
                         table containing numbers, string and booleans";

/// Whether a record can hold a value: no functions, and no table within itself.
fn is_plain(value: &Value, depth: usize) -> mlua::Result<bool> {
    match value {
        Value::Table(table) => {
            if depth > 100 {
                return Ok(false);
            }
            for pair in table.pairs::<Value, Value>() {
                let (_, inner) = pair?;
                if !is_plain(&inner, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Value::LightUserData(data) => Ok(data.0.is_null()),
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::Number(_) => Ok(true),
        Value::String(_) => Ok(true),
        _ => Ok(false),
    }
}
