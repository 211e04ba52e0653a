//! Schemas: types, defaults and checks, in Kong's words.
//!
//! A schema is written in Lua (`schema.lua`) for every entity and every plugin, native or not.
//! `lua::schema` reads the file; what it means is here. A [`Record`] fills in what was left out
//! (`fill`), then looks at every field (`field`, `rule`) and at fields together (`entity_check`).
//! The order of the steps and all texts are Kong 3.10's.

mod entity_check;
mod field;
mod fill;
mod plugin_config;
mod record;
mod report;
mod rule;
mod text;

use std::rc::Rc;

use serde_json::{Map, Value};

pub use self::entity_check::{Branch, EntityCheck, EntityRule};
pub use self::field::{Field, Kind};
pub use self::plugin_config::{ImpliedElement, PluginConfig};
pub use self::record::{Deprecation, Record, Replacement, Shorthand, Variants};
pub use self::rule::{Mapping, Pattern, Predicate, Refusal, Rule};

/// One step of the way to a value: `services`, `0`, `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field of a record.
    Field(String),
    /// A key of a map.
    Key(String),
    /// A position in an array, from 0.
    Index(usize),
}

impl Step {
    /// The name of a field or key.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Field(name) | Self::Key(name) => Some(name),
            Self::Index(_) => None,
        }
    }
}

/// What is wrong with one value, and where.
///
/// The path is relative to the value that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The way to the value.
    pub path: Vec<Step>,
    /// Kong's text.
    pub message: String,
    /// It is about several fields of the record at the path (Kong puts it under `@entity`).
    pub of_record: bool,
}

/// Checks one kind of value and fills in what was left out.
pub trait Check {
    /// The value with every declared field present (null when unset), and everything wrong with it.
    ///
    /// With errors the value is not to be used.
    fn process(&self, input: Value) -> (Value, Vec<Error>);

    /// For a plugin: its whole entity by the plugin's own schema, which may narrow other fields
    /// than `config`. `None` if this is not the schema of a plugin.
    fn process_entity(&self, _entity: &Map<String, Value>) -> Option<(Value, Vec<Error>)> {
        None
    }

    /// For a plugin: the types of partials that it takes, and where in its entity each may go.
    fn partials(&self) -> &[(String, Vec<String>)] {
        &[]
    }

    /// Paths of fields that may hold a `{vault://...}` reference; `*` stands for any index or key.
    fn referenceable(&self) -> &[String];

    /// Paths of fields that hold a secret (Kong: `encrypted`); `*` as above.
    fn secrets(&self) -> &[String];

    /// The names of the fields that a record at a path may have, for hints.
    fn fields(&self, path: &[Step]) -> Vec<&str>;
}

/// A collection of a plugin: how its entities are named and linked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Custom {
    /// Such as `greetings`.
    pub name: String,
    /// The field that names an entity instead of its id.
    pub endpoint_key: Option<String>,
    /// The fields that tell entities apart.
    pub cache_key: Vec<String>,
    /// Fields that no two entities may share.
    pub unique: Vec<String>,
    /// Fields that point to another collection, and to which.
    pub foreign: Vec<(String, String)>,
    /// The value of the endpoint key is a secret.
    pub secret_key: bool,
}

/// Where schemas come from: the loader's Lua VM.
pub trait Schemas {
    /// The schema of an entity by its collection, such as `services` or `keyauth_credentials`.
    fn entity(&self, collection: &str) -> Option<Rc<dyn Check>>;

    /// The collections that plugins bring (`daos.lua`).
    fn of_plugins(&self) -> Vec<Custom> {
        Vec::new()
    }

    /// Names of the plugins that are switched on, for hints.
    fn plugin_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The schema of a plugin's `config`, or why there is none (Kong's text).
    fn plugin(&self, name: &str) -> Result<Rc<dyn Check>, String>;

    /// What repairs an error of [`Self::plugin`], where the source of schemas knows.
    fn hint(&self, _name: &str) -> Option<String> {
        None
    }
}
