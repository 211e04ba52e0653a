//! Sets in a plugin's config: `conf.methods.GET` is true when GET is one of them.
//!
//! JSON knows lists only, so the schema says which of them are sets.

use mlua::{Lua, Table, Value};

use super::read::Reader;
use crate::lua::Vm;
use crate::schema::{Field, Kind, Record};

/// The schema of a plugin's config, if it can be read.
pub(crate) fn schema_of(vm: &Vm, plugin: &str) -> Option<Record> {
    let parent: Table = vm.require("kong.db.schema.entities.plugins").ok()?;
    let schema: Table = vm.require(&format!("kong.plugins.{plugin}.schema")).ok()?;
    let entity = Reader::new(vm).plugin(&parent, &schema).ok()?;
    let (_, config) = entity.fields.into_iter().find(|(name, _)| name == "config")?;
    match config.kind {
        Kind::Record(record) => Some(*record),
        _ => None,
    }
}

/// Makes the sets of a config answer to their values.
pub(crate) fn mark(lua: &Lua, record: &Record, config: &Table) -> mlua::Result<()> {
    for (name, field) in &record.fields {
        if let Value::Table(value) = config.raw_get(name.as_str())? {
            mark_field(lua, field, &value)?;
        }
    }
    Ok(())
}

fn mark_field(lua: &Lua, field: &Field, value: &Table) -> mlua::Result<()> {
    match &field.kind {
        Kind::Record(record) => mark(lua, record, value)?,
        Kind::Set(_) if value.raw_len() > 0 => {
            let members = lua.create_table()?;
            for member in value.sequence_values::<Value>() {
                members.raw_set(member?, true)?;
            }
            let meta = lua.create_table()?;
            meta.raw_set("__index", members)?;
            value.set_metatable(Some(meta))?;
        }
        Kind::Array(part) | Kind::Map { values: part, .. } => {
            for pair in value.pairs::<Value, Value>() {
                if let (_, Value::Table(value)) = pair? {
                    mark_field(lua, part, &value)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
