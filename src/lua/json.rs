//! JSON values to Lua values and back.
//!
//! JSON's null is `ngx.null`, the null pointer as light userdata, as in OpenResty.

use mlua::serde::{DeserializeOptions, SerializeOptions};
use mlua::{Lua, LuaSerdeExt, Value as LuaValue};
use serde_json::Value;

/// A Lua value for a JSON value. Arrays get the metatable that `cjson.array_mt` is.
pub(super) fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    lua.to_value_with(value, SerializeOptions::new())
}

/// A Lua value for an entity or a config, in which null is nil as Kong's plugins expect.
pub(super) fn entity(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    let nil = SerializeOptions::new().serialize_none_to_null(false).serialize_unit_to_null(false);
    lua.to_value_with(value, nil)
}

/// A JSON value for a Lua value. Functions become null; a table within itself is an error.
///
/// An empty table without a metatable becomes an object, because Lua cannot tell; who knows better
/// (the schema does) turns it round.
pub(super) fn from_lua(lua: &Lua, value: LuaValue) -> mlua::Result<Value> {
    let options = DeserializeOptions::new().deny_unsupported_types(false);
    lua.from_value_with(value, options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_survive_the_way_to_lua_and_back() {
        let lua = Lua::new();
        let value = json!({"a": [1, 2.5, null, "x"], "b": {"c": true}, "e": [], "n": null});
        assert_eq!(from_lua(&lua, to_lua(&lua, &value).unwrap()).unwrap(), value);
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let lua = Lua::new();
        let value: LuaValue = lua.load("return { 2^31, 0.5, 3.0 }").eval().unwrap();
        assert_eq!(from_lua(&lua, value).unwrap().to_string(), "[2147483648,0.5,3]");
    }

    #[test]
    fn a_table_within_itself_is_an_error() {
        let lua = Lua::new();
        let value: LuaValue = lua.load("local t = {} t.t = t return t").eval().unwrap();
        assert!(from_lua(&lua, value).is_err());
    }
}
