//! JSON as the module `cjson` reads and writes it: Kong's plugins see its texts and its numbers.
//!
//! Numbers have 14 digits (16 in `cjson.safe` and in the PDK), slashes are not escaped (Kong turns
//! that off), bytes that are no UTF-8 pass, and a table is an array if its keys are whole numbers
//! from 1 on or its metatable says so.

mod decode;
mod encode;

use mlua::{Lua, LuaSerdeExt, Table, Value};

pub(super) use self::decode::decode;
pub(super) use self::encode::{encode, general};
use super::bind::{self, Answer};

/// Levels of nesting that are read and written: what a worker's stack has room for in any case.
/// lua-cjson stops at 1000.
const DEPTH: usize = 128;

/// Puts `encode` and `decode` where `kong-compat/cjson.lua` finds them.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let encoded = |lua: &Lua, mut args: mlua::MultiValue| -> Answer {
        let value = args.pop_front().unwrap_or(Value::Nil);
        let options = match args.pop_front() {
            Some(Value::Table(table)) => encode::Options::read(&table)?,
            _ => encode::Options::default(),
        };
        let mut text = Vec::new();
        encode::write(lua, &value, options, &mut text)?;
        Ok(mlua::IntoLuaMulti::into_lua_multi(lua.create_string(text)?, lua)?)
    };
    host.set("json_encode", bind::function(lua, encoded)?)?;
    let decoded = |lua: &Lua, mut args: mlua::MultiValue| -> Answer {
        let Some(Value::String(text)) = args.pop_front() else {
            return Err("bad argument #1 to 'decode' (string expected)".into());
        };
        let marks = matches!(args.pop_front(), Some(Value::Boolean(true)));
        let value = decode(lua, &text.as_bytes(), marks)?;
        Ok(mlua::IntoLuaMulti::into_lua_multi(value, lua)?)
    };
    host.set("json_decode", bind::function(lua, decoded)?)?;
    // Copies of a table take its metatable along, and compare it.
    lua.array_metatable().raw_remove("__metatable")?;
    host.set("array_mt", lua.array_metatable())?;
    let empty = lua.create_table()?;
    lua.set_named_registry_value(EMPTY_ARRAY, &empty)?;
    host.set("empty_array_mt", empty)
}

/// The registry's name for `cjson.empty_array_mt`.
const EMPTY_ARRAY: &str = "silverback.empty_array_mt";

#[cfg(test)]
mod tests;
