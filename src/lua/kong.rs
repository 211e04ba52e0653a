//! `kong.*`: thin bindings onto the PDK.

use mlua::{Lua, Table, Value, Variadic};

use super::ngx;

/// The Kong whose plugins and configuration run here unchanged.
const KONG_VERSION: (&str, i64) = ("3.10.0", 3_010_000);

/// Installs the global `kong`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let kong = lua.create_table()?;
    kong.set("version", KONG_VERSION.0)?;
    kong.set("version_num", KONG_VERSION.1)?;
    kong.set("configuration", lua.create_table()?)?;
    kong.set("log", log(lua)?)?;
    let vault = lua.create_table()?;
    let is_reference = |_: &Lua, value: Value| {
        let text = value.as_string().and_then(|text| text.to_str().ok());
        Ok(text.is_some_and(|text| crate::schema::is_reference(&text)))
    };
    vault.set("is_reference", lua.create_function(is_reference)?)?;
    kong.set("vault", vault)?;
    lua.globals().set("kong", kong)
}

/// `kong.log` and its levels; called as a function it logs at `notice`.
fn log(lua: &Lua) -> mlua::Result<Table> {
    let log = lua.create_table()?;
    let levels = [
        ("emerg", 1),
        ("alert", 2),
        ("crit", 3),
        ("err", 4),
        ("warn", 5),
        ("notice", 6),
        ("info", 7),
        ("debug", 8),
    ];
    for (name, level) in levels {
        let write = move |_: &Lua, parts: Variadic<Value>| {
            ngx::emit(level, &ngx::concat(&parts)?);
            Ok(())
        };
        log.set(name, lua.create_function(write)?)?;
    }
    let meta = lua.create_table()?;
    let notice = |_: &Lua, (_, parts): (Value, Variadic<Value>)| {
        ngx::emit(6, &ngx::concat(&parts)?);
        Ok(())
    };
    meta.set("__call", lua.create_function(notice)?)?;
    log.set_metatable(Some(meta))?;
    Ok(log)
}
