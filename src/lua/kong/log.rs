//! `kong.log`: lines for the operator, and the record of an exchange.

use std::borrow::Cow;

use mlua::{Lua, Table, Value, Variadic};

use super::value::{self, one};
use super::{Phases, Row};
use crate::lua::bind::{self, Answer};
use crate::lua::{json, ngx, phase, state};
use crate::pdk::log::Mode;
use crate::pdk::{Exchange, log};

pub(super) const ROWS: &[Row] = &[
    Row::now("log.serialize", Phases::LOG, |lua, ex, _| {
        if state::of(lua, ex).has_odd_value.get() {
            return Err(NOT_PLAIN.into());
        }
        one(lua, json::entity(lua, &log::checked(ex)?)?)
    }),
    Row::anywhere("log.set_format", set_format),
    Row::now("log.set_serialize_value", Phases::PLUGINS, set_serialize_value),
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

/// `kong.log` with a function for each level; called as a function it logs at `notice`. The rest of
/// it is in `kong-compat/silverback/log.lua`.
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

    let host = lua.create_table()?;
    let line = |lua: &Lua, args: (i64, usize, Option<String>, Option<String>, Variadic<Value>)| {
        let (level, depth, namespace, format, parts) = args;
        if !ngx::is_logged(level) {
            return Ok(());
        }
        let plugin = namespace.or(running(lua)?);
        line(lua, level, depth, plugin, format.as_deref(), &ngx::concat(&parts)?)
    };
    host.set("write", lua.create_function(line)?)?;
    host.set("is_logged", lua.create_function(|_, level: i64| Ok(ngx::is_logged(level)))?)?;
    let emit = |lua: &Lua, (level, text): (i64, String)| {
        ngx::emit(lua, level, &text);
        Ok(())
    };
    host.set("emit", lua.create_function(emit)?)?;
    let check = |lua: &Lua, _| {
        Phases::LOG.check(lua)?;
        one(lua, ())
    };
    host.set("check_log_phase", bind::function(lua, check)?)?;
    host.set("running", lua.create_function(|lua, ()| running(lua))?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload
        .set("silverback.log_host", lua.create_function(move |_, _: String| Ok(host.clone()))?)?;
    Ok(log)
}

/// The registry's name for the formats that plugins have set, by plugin.
const FORMATS: &str = "silverback.log_formats";

/// `kong.log.set_format(text)`: how the lines of this plugin look; nil is the usual way.
fn set_format(lua: &Lua, mut args: mlua::MultiValue) -> Answer {
    let format = match args.pop_front() {
        Some(Value::String(format)) => Some(format),
        None | Some(Value::Nil | Value::Boolean(false)) => None,
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
    let running = match state::current() {
        Some(ex) => state::of(lua, &ex).running(),
        None => phase::plugin(lua),
    };
    Ok(running.map(|running| running.name.to_string()))
}

/// A line in the format that the running plugin has asked for.
fn write(lua: &Lua, level: i64, parts: &[Value]) -> mlua::Result<()> {
    if !ngx::is_logged(level) {
        return Ok(());
    }
    let plugin = running(lua)?;
    let formats: Option<Table> = lua.named_registry_value(FORMATS)?;
    let format: Option<String> = match formats {
        Some(formats) => formats.raw_get(plugin.as_deref().unwrap_or_default())?,
        None => None,
    };
    line(lua, level, 1, plugin, format.as_deref(), &ngx::concat(parts)?)
}

/// `[kong] handler.lua:10 [my-plugin] message`, or in another format. The caller is `depth`
/// functions up.
fn line(
    lua: &Lua,
    level: i64,
    depth: usize,
    plugin: Option<String>,
    format: Option<&str>,
    message: &str,
) -> mlua::Result<()> {
    let place = lua.inspect_stack(depth, |debug| {
        let source = debug.source().short_src.unwrap_or_default();
        let file = source.rsplit('/').next().unwrap_or_default().to_owned();
        let line = debug.current_line().map_or("?".to_owned(), |line| line.to_string());
        (file, line, debug.names().name.map(Cow::into_owned))
    });
    let (file, line, function) = place.unwrap_or_else(|| ("?".to_owned(), "?".to_owned(), None));
    let Some(format) = format else {
        let plugin = plugin.map(|name| format!("[{name}] ")).unwrap_or_default();
        ngx::emit(lua, level, &format!("[kong] {file}:{line} {plugin}{message}"));
        return Ok(());
    };
    let value = |name: &str, is_first: bool| match name {
        "file_src" => Some(file.as_str()),
        "line_src" => Some(line.as_str()),
        "func_name" => Some(function.as_deref().unwrap_or("?")),
        "message" => Some(message),
        // Kong's pattern wants a character before it.
        "namespace" if !is_first => Some(plugin.as_deref().unwrap_or("core")),
        _ => None,
    };
    ngx::emit(lua, level, &format!("[kong] {}", filled(format, value)));
    Ok(())
}

/// A format with its modifiers filled in. Those that nobody knows stay, and so does one behind
/// another percent sign.
fn filled<'a>(format: &'a str, value: impl Fn(&str, bool) -> Option<&'a str>) -> String {
    let mut text = String::with_capacity(format.len() + 64);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let name = from.get(1..).unwrap_or_default();
        let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len());
        let (name, behind) = name.split_at(end);
        let is_literal = text.ends_with('%');
        match value(name, text.is_empty()).filter(|_| !is_literal) {
            Some(value) => text.push_str(value),
            None => {
                text.push('%');
                text.push_str(name);
            }
        }
        rest = behind;
    }
    text.push_str(rest);
    text
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
        value if !is_plain(&value, 0)? => {
            // Kong looks at values when the record is made.
            state::of(lua, ex).has_odd_value.set(true);
            return one(lua, ());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_of_a_format_are_filled_in_as_kong_does() {
        let value = |name: &str, is_first: bool| match name {
            "message" => Some("a %line_src b"),
            "line_src" => Some("7"),
            "namespace" if !is_first => Some("mine"),
            _ => None,
        };
        let shown = |format| filled(format, value);
        assert_eq!(shown("%line_src [%namespace] %message"), "7 [mine] a %line_src b");
        assert_eq!(shown("%namespace %other 100%"), "%namespace %other 100%");
        assert_eq!(shown("%%message"), "%%message");
    }
}
