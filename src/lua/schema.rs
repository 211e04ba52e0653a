//! A schema.lua → [`Record`]: the loader's source of schemas.
//!
//! Running the file and walking the table it returns is the only faithful reader: schemas call
//! typedefs, and their validators are Lua functions. Those stay in the VM and are called from the
//! rules made here, so a schema lives and dies with its VM, on one thread.

pub(super) mod api;
mod functions;
mod read;
mod rules;
pub(super) mod sets;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use mlua::Table;
use serde_json::Value;

use self::read::Reader;
use super::modules::{KONGS, told};
use super::{NO_TABLE, Vm, bundled_plugins};
use crate::schema::{Check, Custom, Error, PluginConfig, Record, Schemas, Step};

/// The schemas of entities and of the plugins that are switched on.
pub struct LuaSchemas {
    vm: Vm,
    /// What the setting says, and what it stands for.
    setting: Vec<String>,
    plugins: BTreeSet<String>,
    entities: RefCell<HashMap<String, Option<Rc<dyn Check>>>>,
    configs: RefCell<HashMap<String, PluginCheck>>,
}

/// The plugins that the setting calls `bundled`.
fn bundled(vm: &Vm) -> Vec<String> {
    let is_there = |name: &&str| vm.has_module(&format!("kong.plugins.{name}.schema"));
    let on_path = KONGS.into_iter().filter(is_there);
    bundled_plugins().chain(on_path).map(str::to_owned).collect()
}

/// The schema of a plugin's config, or why there is none.
type PluginCheck = Result<Rc<dyn Check>, String>;

impl LuaSchemas {
    /// Schemas from a VM, for the plugins of Kong's `plugins` setting.
    ///
    /// The name `bundled` stands for every plugin that comes with the gateway, and for those of
    /// Kong's that are on the path.
    pub fn new<S: AsRef<str>>(vm: Vm, plugins: &[S]) -> Self {
        let setting: Vec<_> = plugins.iter().map(|name| name.as_ref().to_owned()).collect();
        let plugins = setting.iter().flat_map(|name| match name.as_str() {
            "bundled" => bundled(&vm),
            name => vec![name.to_owned()],
        });
        Self {
            plugins: plugins.collect(),
            vm,
            setting,
            entities: RefCell::default(),
            configs: RefCell::default(),
        }
    }

    /// The plugins that are switched on.
    pub fn plugins(&self) -> &BTreeSet<String> {
        &self.plugins
    }

    fn read_entity(&self, collection: &str) -> Option<Rc<dyn Check>> {
        let module = format!("kong.db.schema.entities.{collection}");
        let table = match self.vm.has_module(&module) {
            true => self.vm.require(&module).map_err(super::Error::from),
            false => self.plugin_entity(collection)?,
        };
        let record = table
            .map_err(|error| error.to_string())
            .and_then(|table: Table| Reader::new(&self.vm).entity(&table));
        Some(match record {
            Ok(record) => Rc::new(record),
            Err(reason) => {
                Rc::new(Unreadable(format!("schema of '{collection}' is invalid: {reason}")))
            }
        })
    }

    /// The schema of a collection that a plugin brings.
    fn plugin_entity(&self, collection: &str) -> Option<Result<Table, super::Error>> {
        let named = |dao: &Table| dao.get::<String>("name").is_ok_and(|name| name == collection);
        self.daos().into_iter().find(named).map(Ok)
    }

    /// The entities that plugins bring in their `daos.lua`.
    fn daos(&self) -> Vec<Table> {
        let modules = self.plugins.iter().map(|name| format!("kong.plugins.{name}.daos"));
        let modules = modules.filter(|module| self.vm.has_module(module));
        let read = |module: String| match self.vm.require::<Table>(&module) {
            // A list, or in older plugins a map.
            Ok(daos) => daos.pairs::<mlua::Value, Table>().flatten().map(|(_, dao)| dao).collect(),
            Err(error) => {
                tracing::error!("cannot read {module}: {error}");
                Vec::new()
            }
        };
        modules.flat_map(read).collect()
    }

    /// What the schema of schemas has against one.
    fn fault(
        &self,
        ask: impl FnOnce(&Table) -> mlua::Result<Option<String>>,
    ) -> Result<Option<String>, String> {
        let meta = self.vm.require("silverback.metaschema");
        meta.and_then(|meta: Table| ask(&meta)).map_err(|error: mlua::Error| error.to_string())
    }

    /// What is wrong with the entities that a user's plugin brings, in Kong's words.
    ///
    /// # Errors
    /// That.
    pub fn check_entities(&self, plugin: &str) -> Result<(), String> {
        let module = format!("kong.plugins.{plugin}.daos");
        if self.vm.path_of(&module).is_none() {
            return Ok(());
        }
        let daos: mlua::Value = self.vm.require(&module).map_err(|e| not_loaded(&module, &e))?;
        let file = self.vm.path_of(&module);
        let fault = self.fault(|meta| {
            let check: mlua::Function = meta.get("entities")?;
            check.call((plugin, &daos, file))
        });
        fault?.map_or(Ok(()), Err)
    }

    fn read_plugin(&self, name: &str) -> PluginCheck {
        let module = format!("kong.plugins.{name}.schema");
        if !is_plain(name) || !self.vm.has_module(&module) {
            return Err(format!("no configuration schema found for plugin: {name}"));
        }
        let broken = |reason: String| format!("error loading plugin schema '{name}': {reason}");
        let parent = self.vm.require_table("kong.db.schema.entities.plugins").map_err(broken)?;
        let schema = self.vm.require_table(&module).map_err(|error| match error {
            error if error.ends_with(NO_TABLE) => error,
            error => format!("error loading module '{module}':\n{error}"),
        })?;
        let file = self.vm.path_of(&module);
        if file.is_some() {
            // Ours are right; a test holds them against the engine.
            let fault = self.fault(|meta| {
                let check: mlua::Function = meta.get("plugin")?;
                check.call((name, &parent, &schema, file))
            });
            fault.map_err(broken)?.map_or(Ok(()), Err)?;
        }
        let record: Record = Reader::new(&self.vm).plugin(&parent, &schema).map_err(broken)?;
        Ok(Rc::new(PluginConfig::new(record)))
    }
}

impl Schemas for LuaSchemas {
    fn entity(&self, collection: &str) -> Option<Rc<dyn Check>> {
        if !is_plain(collection) {
            return None;
        }
        if let Some(known) = self.entities.borrow().get(collection) {
            return known.clone();
        }
        let entity = self.read_entity(collection);
        self.entities.borrow_mut().insert(collection.to_owned(), entity.clone());
        entity
    }

    fn of_plugins(&self) -> Vec<Custom> {
        let customs = self.daos().into_iter().map(|dao| read::custom(&dao));
        let told = |result: Result<Custom, String>| {
            result.inspect_err(|reason| tracing::error!("an entity of a plugin: {reason}")).ok()
        };
        customs.filter_map(told).collect()
    }

    fn plugin_names(&self) -> Vec<String> {
        self.plugins.iter().cloned().collect()
    }

    fn plugin(&self, name: &str) -> Result<Rc<dyn Check>, String> {
        if !self.plugins.contains(name) {
            return Err(format!(
                "plugin '{name}' not enabled; add it to the 'plugins' configuration property"
            ));
        }
        if let Some(known) = self.configs.borrow().get(name) {
            return known.clone();
        }
        let config = self.read_plugin(name);
        self.configs.borrow_mut().insert(name.to_owned(), config.clone());
        config
    }

    fn hint(&self, name: &str) -> Option<String> {
        if !is_plain(name) {
            return None;
        }
        let modules = ["handler", "schema"].map(|part| format!("kong.plugins.{name}.{part}"));
        let file = modules.iter().find_map(|module| self.vm.path_of(module));
        match file {
            Some(file) if !self.plugins.contains(name) => {
                let listed = self.setting.iter().filter(|listed| *listed != "off");
                let listed: String = listed.map(|listed| format!("{listed},")).collect();
                Some(format!("{file} is there; to enable it: KONG_PLUGINS={listed}{name}"))
            }
            None if KONGS.contains(&name) => Some(format!(
                "silverback runs it from Kong's own Lua files: a folder with kong/plugins/{name}, \
                 such as a checkout of Kong, has to be on lua_package_path: \
                 KONG_LUA_PACKAGE_PATH='/path/to/kong/?.lua;/path/to/kong/?/init.lua;./?.lua'"
            )),
            _ => None,
        }
    }
}

/// Why a module could not be loaded, in Kong's words.
fn not_loaded(module: &str, error: &mlua::Error) -> String {
    format!("error loading module '{module}':\n{}", told(&error.to_string()))
}

/// What a schema says of an entity.
pub(super) struct Checked {
    /// It with every declared field.
    pub(super) entity: Value,
    /// What is wrong with it.
    pub(super) errors: Vec<Error>,
}

/// Checks an entity by a definition that is at hand. With `parent`, which is the definition of all
/// plugins, the other one is that of a plugin.
///
/// # Errors
/// The definition is not one.
pub(super) fn check(
    vm: &Vm,
    definition: &Table,
    parent: Option<&Table>,
    entity: Value,
) -> Result<Checked, String> {
    let reader = Reader::new(vm);
    let Some(parent) = parent else {
        let (entity, errors) = reader.entity(definition)?.process(entity);
        return Ok(Checked { entity, errors });
    };
    let of_plugin = PluginConfig::new(reader.plugin(parent, definition)?);
    let Value::Object(entity) = entity else { return Err("expected a table".to_owned()) };
    let (entity, errors) = of_plugin.process_entity(&entity).unwrap_or_default();
    Ok(Checked { entity, errors })
}

/// Whether a name can be part of a module's name; others would reach into other folders.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Stands for a schema that cannot be read: nothing passes, and the reason is told.
struct Unreadable(String);

impl Check for Unreadable {
    fn process(&self, input: Value) -> (Value, Vec<Error>) {
        (input, vec![Error { path: Vec::new(), message: self.0.clone(), of_record: false }])
    }

    fn referenceable(&self) -> &[String] {
        &[]
    }

    fn secrets(&self) -> &[String] {
        &[]
    }

    fn fields(&self, _path: &[Step]) -> Vec<&str> {
        Vec::new()
    }
}
