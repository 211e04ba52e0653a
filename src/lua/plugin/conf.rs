//! A plugin's configuration as its Lua code gets it.

use std::sync::atomic::{AtomicU64, Ordering};

use mlua::{Lua, Table, Value};

use super::Handler;
use crate::entity::{PluginEntity, Referenced};
use crate::lua::json;
use crate::lua::schema::sets;
use crate::pdk::log::WORKSPACE;

/// Numbers configurations, over all workers.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

impl Handler {
    /// The config with null as nil, and what Kong adds to it.
    pub(super) fn conf(&self, entity: &PluginEntity) -> mlua::Result<Table> {
        let lua = self.vm.lua();
        let conf = json::entity(lua, &entity.config)?;
        let Value::Table(conf) = conf else {
            return Err(mlua::Error::runtime("the config is not a table"));
        };
        if let Some(schema) = &self.schema {
            sets::mark(lua, schema, &conf)?;
        }
        for reference in &entity.references {
            refer(lua, &conf, reference)?;
        }
        let [route, service, consumer] = [
            entity.route.map(|route| route.id),
            entity.service.map(|service| service.id),
            entity.consumer.map(|consumer| consumer.id),
        ]
        .map(|id| id.map(|id| id.to_string()));
        let part = |id: &Option<String>| id.clone().unwrap_or_default();
        let (name, parts) = (&self.name, [&route, &service, &consumer].map(part).join(":"));
        conf.raw_set("__key__", format!("plugins:{name}:{parts}::{WORKSPACE}"))?;
        conf.raw_set("__seq__", SEQUENCE.fetch_add(1, Ordering::Relaxed))?;
        conf.raw_set("__ws_id", WORKSPACE)?;
        conf.raw_set("__plugin_id", entity.id.to_string())?;
        conf.raw_set("plugin_instance_name", entity.instance_name.as_deref())?;
        conf.raw_set("route_id", route)?;
        conf.raw_set("service_id", service)?;
        conf.raw_set("consumer_id", consumer)?;
        Ok(conf)
    }
}

/// Notes a vault reference in `$refs` of its record, where `kong.vault.try` and `update` look.
fn refer(lua: &Lua, conf: &Table, reference: &Referenced) -> mlua::Result<()> {
    let part = |table: &Table, key: Value| match table.raw_get(&key)? {
        Value::Table(inner) => Ok(inner),
        _ => {
            let made = lua.create_table()?;
            table.raw_set(key, &made)?;
            mlua::Result::Ok(made)
        }
    };
    let mut record = conf.clone();
    for step in &reference.record {
        record = part(&record, json::to_lua(lua, step)?)?;
    }
    let name = lua.create_string(&reference.field)?;
    let references = part(&record, Value::String(lua.create_string("$refs")?))?;
    match &reference.item {
        None => references.raw_set(name, reference.text.as_str()),
        Some(item) => {
            let items = part(&references, Value::String(name))?;
            items.raw_set(json::to_lua(lua, item)?, reference.text.as_str())
        }
    }
}
