//! Members of a JSON object, as pieces of its text: the part of module `silverback.host` that
//! changes a body and keeps what it does not change.

use bytes::Bytes;
use mlua::{Lua, LuaString, Table, Value};

use crate::llm::splice::{Edit, Key, Object, quote};

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("json_members", lua.create_function(members)?)?;
    host.set("json_edited", lua.create_function(edited)?)?;
    let quoted = |lua: &Lua, text: LuaString| lua.create_string(quote(&text.to_string_lossy()));
    host.set("json_quote", lua.create_function(quoted)?)
}

/// JSON texts by name; nil when the text is not one JSON object.
fn members(lua: &Lua, text: LuaString) -> mlua::Result<Option<Table>> {
    let text = text.as_bytes();
    let Ok(object) = Object::read(&text[..]) else { return Ok(None) };
    let table = lua.create_table()?;
    // Of several copies the last counts.
    for (name, value) in object.members() {
        table.raw_set(&*name, lua.create_string(value)?)?;
    }
    Ok(Some(table))
}

/// The object after changes, a list of names with JSON text, or false for what goes.
fn edited(lua: &Lua, (text, changes): (LuaString, Table)) -> mlua::Result<LuaString> {
    let object = Object::read(Bytes::copy_from_slice(&text.as_bytes()))
        .map_err(|fault| mlua::Error::runtime(fault.to_string()))?;
    let mut keys = Vec::new();
    for change in changes.sequence_values::<Table>() {
        let change = change?;
        let name: LuaString = change.raw_get(1)?;
        let value = match change.raw_get(2)? {
            Value::String(value) => Some(value.as_bytes().to_vec()),
            _ => None,
        };
        keys.push((Key::new(&name.to_string_lossy()), value));
    }
    let mut edits = Vec::with_capacity(keys.len());
    for (key, value) in &keys {
        edits.push(match value {
            Some(value) => Edit::set(key, value),
            None => Edit::drop(key),
        });
    }
    lua.create_string(object.edited(&edits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_as_text_and_changed_in_their_place() {
        let lua = Lua::new();
        let host = lua.create_table().unwrap();
        install(&lua, &host).unwrap();
        lua.globals().set("host", host).unwrap();
        let run = |code: &str| lua.load(code).eval::<Option<String>>().unwrap().unwrap_or_default();
        let text = r#"[==[{"a\u0062": 1.0, "c":[ 1 ], "c": null}]==]"#;
        assert_eq!(run(&format!("return host.json_members({text}).ab")), "1.0");
        assert_eq!(run(&format!("return host.json_members({text}).c")), "null");
        assert_eq!(run("return host.json_members('[1]')"), "");
        assert_eq!(run("return host.json_quote([==[a\"b]==])"), r#""a\"b""#);
        assert_eq!(
            run(r#"return host.json_edited('{"a": 1.0, "b":2}', {{'b', false}, {'d', '3'}})"#),
            r#"{"a": 1.0,"d":3}"#
        );
    }
}
