//! JSON as the module `cjson` reads and writes it: Kong's plugins see its texts and its numbers.
//!
//! Numbers have 14 digits (16 in `cjson.safe` and in the PDK), slashes are not escaped (Kong turns
//! that off), bytes that are no UTF-8 pass, and a table is an array if its keys are whole numbers
//! from 1 on or its metatable says so.

mod decode;
mod encode;
mod number;

use mlua::{LightUserData, Lua, LuaSerdeExt, Table, Value};

pub(super) use self::decode::{Options as DecodeOptions, decode};
pub(super) use self::encode::{encode, general};
use super::bind::{self, Answer};

/// Levels of nesting that are read and written at most, which is what lua-cjson begins with. The
/// stacks of threads that run Lua have room for it ([`STACK`]).
const DEPTH: usize = 1000;

/// What a thread that runs Lua needs for its stack.
pub(crate) const STACK: usize = 16 << 20;

/// `cjson.empty_array`: an address that nothing else has.
fn empty_array() -> LightUserData {
    static PLACE: u8 = 0;
    LightUserData(std::ptr::from_ref(&PLACE).cast_mut().cast())
}

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
        let mut options = DecodeOptions::default();
        if let Some(Value::Table(table)) = args.pop_front() {
            options.marks = table.raw_get("marks")?;
            options.is_strict = table.raw_get("strict")?;
            options.depth = table.raw_get::<usize>("depth")?.min(DEPTH);
        }
        let value = decode(lua, &text.as_bytes(), options)?;
        Ok(mlua::IntoLuaMulti::into_lua_multi(value, lua)?)
    };
    host.set("json_decode", bind::function(lua, decoded)?)?;
    // Plugins compare it with what `getmetatable` gives them, so it may not hide itself.
    let marked = lua.array_metatable();
    marked.raw_set("__metatable", Value::Nil)?;
    host.set("array_mt", marked)?;
    let empty = lua.create_table()?;
    lua.set_named_registry_value(EMPTY_ARRAY, &empty)?;
    host.set("empty_array_mt", empty)?;
    host.set("empty_array", Value::LightUserData(empty_array()))
}

/// The registry's name for `cjson.empty_array_mt`.
const EMPTY_ARRAY: &str = "silverback.empty_array_mt";

#[cfg(test)]
mod tests;
