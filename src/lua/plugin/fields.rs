//! `custom_fields_by_lua`: fields of the log record that Lua code of the configuration fills in.
//!
//! Every log plugin of Kong has it. A native one need not know: this stands around it and sets the
//! fields before it writes its record. As in Kong they are in the records of the log plugins that
//! run later, too.

use std::any::Any;
use std::rc::Rc;

use mlua::{Function, Table};
use serde_json::Value;

use super::runner::Runner;
use super::{Vm, json};
use crate::entity::PluginEntity;
use crate::pdk::{Chunk, Exchange, Handshake};
use crate::plugin::{Outcome, Phases, Plugin, Step};

/// The name of the field in the configuration of a log plugin.
const FIELD: &str = "custom_fields_by_lua";

/// A log plugin with fields of its own.
pub struct CustomFields {
    runner: Runner,
    /// Code by the name of its field.
    fields: Table,
    set: Function,
    plugin: Box<dyn Plugin>,
}

/// Whether a configuration has such fields.
pub fn has_fields(entity: &PluginEntity) -> bool {
    entity.config.get(FIELD).and_then(Value::as_object).is_some_and(|fields| !fields.is_empty())
}

impl CustomFields {
    /// Puts the fields of a configuration around its plugin.
    ///
    /// # Errors
    /// Lua's message, if the fields do not fit into the VM.
    pub fn around(plugin: Box<dyn Plugin>, vm: &Vm, entity: &PluginEntity) -> Result<Self, String> {
        let make = || -> mlua::Result<(Table, Function)> {
            let fields = entity.config.get(FIELD).unwrap_or(&Value::Null);
            let fields = mlua::FromLua::from_lua(json::entity(vm.lua(), fields)?, vm.lua())?;
            Ok((fields, vm.require::<Table>("silverback.custom_fields")?.get("set")?))
        };
        let (fields, set) = make().map_err(|error| error.to_string())?;
        Ok(Self { runner: Runner::new(vm, entity), fields, set, plugin })
    }

    fn set(&self, ex: &Exchange) -> Outcome {
        let set = || {
            self.runner.enter(ex)?;
            let _running = self.runner.note("log", Some(ex.id));
            self.set.call(&self.fields)
        };
        set().map_err(|error| self.runner.fault(&error))
    }
}

impl Plugin for CustomFields {
    fn phases(&self) -> Phases {
        self.plugin.phases()
    }

    fn certificate<'a>(&'a self, handshake: &'a Rc<Handshake>) -> Step<'a> {
        self.plugin.certificate(handshake)
    }

    fn rewrite<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.plugin.rewrite(ex)
    }

    fn ahead(&self, ex: &Exchange) {
        self.plugin.ahead(ex);
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.plugin.access(ex)
    }

    fn buffers(&self, ex: &Exchange) -> bool {
        self.plugin.buffers(ex)
    }

    fn response<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.plugin.response(ex)
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        self.plugin.header_filter(ex)
    }

    fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Outcome {
        self.plugin.body_filter(ex, chunk)
    }

    /// A field that fails takes the record with it, as in Kong.
    fn log(&self, ex: &Exchange) {
        match self.set(ex) {
            Ok(()) => self.plugin.log(ex),
            Err(error) => tracing::error!(
                request_id = %ex.id,
                plugin = &*self.runner.running.name,
                phase = "log",
                "{FIELD}: {error}"
            ),
        }
    }

    fn state(&self) -> Option<Rc<dyn Any>> {
        self.plugin.state()
    }
}
