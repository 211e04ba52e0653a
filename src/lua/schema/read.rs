//! Walks the table of a schema: records, fields, and their attributes.
//!
//! Strict as Kong's metaschema is: an unknown attribute is an error, so a misspelt `requird` is
//! found when the schema is read and not when its rule is missed.

use mlua::{FromLua, Lua, Table, Value as LuaValue};
use serde_json::Value;

use super::functions::Home;
use super::{functions, rules};
use crate::lua::{Vm, json};
use crate::schema::{
    Custom, Deprecation, Field, ImpliedElement, Kind, Record, Replacement, Shorthand, Variants,
};

/// Reads schemas out of one VM. Errors say which field they are about.
pub(super) struct Reader {
    lua: Lua,
    home: Home,
}

/// Whether records are expanded when absent: Kong does so in entities, but not below lists.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Entity,
    List,
}

/// A schema nested deeper than this is taken for one that contains itself.
const DEPTH_LIMIT: usize = 32;

/// Attributes that mean nothing to the check of a file.
const INFORMATIVE: [&str; 15] = [
    "description",
    "examples",
    "unique",
    "unique_across_ws",
    "immutable",
    "legacy",
    "transient",
    "nilable",
    "generate_admin_api",
    "reference",
    "on_delete",
    "json_schema",
    "indexed",
    "transformations",
    "translate_backwards",
];

/// Attributes of every type, beside the rules.
const GENERAL: [&str; 13] = [
    "type",
    "required",
    "default",
    "auto",
    "abstract",
    "referenceable",
    "encrypted",
    "err",
    "deprecation",
    "elements",
    "keys",
    "values",
    "func",
];

/// Attributes of records alone.
const RECORD: [&str; 5] =
    ["fields", "shorthand_fields", "entity_checks", "check", "implied_element"];

impl Reader {
    pub(super) fn new(vm: &Vm) -> Self {
        Self { lua: vm.lua().clone(), home: Home::Kept(vm.lua().clone()) }
    }

    /// For schemas that live in the VM.
    pub(super) fn of(lua: &Lua) -> Self {
        Self { lua: lua.clone(), home: Home::Own(lua.weak()) }
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// The schema of an entity.
    pub(super) fn entity(&self, table: &Table) -> Result<Record, String> {
        let mut record = self.record(table, Within::Entity, 0)?;
        record.variants = self.variants(table)?;
        if attribute::<Option<bool>>(table, "ttl")?.unwrap_or_default() {
            record.fields.push(("ttl".to_owned(), Field::new(Kind::Number)));
        }
        Ok(record.with_paths())
    }

    /// The schema of Lua code; records of entities are there by default.
    pub(super) fn plain(&self, table: &Table, is_entity: bool) -> Result<Record, String> {
        let within = if is_entity { Within::Entity } else { Within::List };
        self.record(table, within, 0).map(Record::with_paths)
    }

    /// The entity of a plugin: the fields of `plugins`, of which the plugin's schema narrows some.
    pub(super) fn plugin(&self, parent: &Table, schema: &Table) -> Result<Record, String> {
        let mut entity = self.record(parent, Within::Entity, 0)?;
        let own = self.record(schema, Within::Entity, 0)?;
        for (name, field) in own.fields {
            match entity.fields.iter_mut().find(|(n, _)| *n == name) {
                Some(slot) => slot.1 = field,
                None => return Err(format!("{name}: cannot create a new field")),
            }
        }
        entity.checks = own.checks;
        entity.shorthands = own.shorthands;
        entity.check = own.check;
        entity.partials = partials(schema)?;
        Ok(entity.with_paths())
    }

    fn record(&self, table: &Table, within: Within, depth: usize) -> Result<Record, String> {
        let mut record = Record::default();
        let mut names = Vec::new();
        for (name, field) in entries(table, "fields")? {
            let read = self.field(&field, within, depth + 1);
            record.fields.push((name.clone(), read.map_err(|why| format!("{name}: {why}"))?));
            names.push((name, field));
        }
        for (name, field) in entries(table, "shorthand_fields")? {
            let shorthand = self.shorthand(&name, &field, depth + 1);
            record.shorthands.push(shorthand.map_err(|why| format!("{name}: {why}"))?);
        }
        for (kind, argument) in entries(table, "entity_checks")? {
            let check = rules::entity_check(self, &kind, &argument, &names, depth + 1);
            record.checks.push(check.map_err(|why| format!("entity check {kind}: {why}"))?);
        }
        let check: Option<mlua::Function> = attribute(table, "check")?;
        record.check = check.map(|check| functions::predicate(&self.home, check));
        record.implied = implied_element(table)?;
        Ok(record)
    }

    /// Kong's subschemas; an entity's file lists them under `subschemas`.
    fn variants(&self, table: &Table) -> Result<Option<Variants>, String> {
        let key: Option<String> = attribute(table, "subschema_key")?;
        let subschemas: Option<Table> = attribute(table, "subschemas")?;
        let (Some(key), Some(subschemas)) = (key, subschemas) else { return Ok(None) };
        let base = entries(table, "fields")?;
        let mut by_value = Vec::new();
        for pair in subschemas.pairs::<String, Table>() {
            let (value, subschema) = pair.map_err(|error| error.to_string())?;
            // Its checks may speak of the entity's other fields.
            let mut variant = Record::default();
            let mut names = entries(&subschema, "fields")?;
            for (name, field) in &names {
                variant.fields.push((name.clone(), self.field(field, Within::Entity, 1)?));
            }
            names.extend(base.iter().cloned());
            for (kind, argument) in entries(&subschema, "entity_checks")? {
                variant.checks.push(rules::entity_check(self, &kind, &argument, &names, 1)?);
            }
            by_value.push((value, variant.into()));
        }
        let unknown: Option<String> = attribute(table, "subschema_error")?;
        let unknown = unknown.unwrap_or_else(|| "unknown type: %s".to_owned());
        Ok(Some(Variants { key, by_value, unknown }))
    }

    /// The definition of a field on its own: the `if_match` of a conditional, say.
    pub(super) fn matcher(&self, table: &Table, depth: usize) -> Result<Box<Field>, String> {
        self.field(table, Within::List, depth).map(Box::new)
    }

    fn field(&self, table: &Table, within: Within, depth: usize) -> Result<Field, String> {
        if depth > DEPTH_LIMIT {
            return Err("nested too deeply; does the schema contain itself?".to_owned());
        }
        let mut field = Field::new(self.kind(table, within, depth)?);
        let required: Option<bool> = attribute(table, "required")?;
        field.default = match attribute(table, "default")? {
            LuaValue::Nil => None,
            value => Some(self.json(value)?),
        };
        let is_id = attribute::<Option<bool>>(table, "uuid")?.unwrap_or_default();
        field.auto = attribute::<Option<bool>>(table, "auto")?.unwrap_or_default() && !is_id;
        field.is_abstract = attribute::<Option<bool>>(table, "abstract")?.unwrap_or_default();
        let expanded = within == Within::Entity && matches!(field.kind, Kind::Record(_));
        field.required = required.unwrap_or(expanded && !field.is_abstract);
        field.referenceable =
            attribute::<Option<bool>>(table, "referenceable")?.unwrap_or_default();
        field.encrypted = attribute::<Option<bool>>(table, "encrypted")?.unwrap_or_default();
        field.err = attribute(table, "err")?;
        field.deprecation = self.deprecation(table)?;
        field.rules = rules::read(self, table)?;
        self.refuse_unknown(table, &field.kind)?;
        Ok(field)
    }

    fn kind(&self, table: &Table, within: Within, depth: usize) -> Result<Kind, String> {
        let part = |name: &str| -> Result<Box<Field>, String> {
            let part: Option<Table> = attribute(table, name)?;
            let part = part.ok_or_else(|| format!("missing attribute {name}"))?;
            let mut field = self
                .field(&part, Within::List, depth + 1)
                .map_err(|why| format!("{name}: {why}"))?;
            field.required = true;
            Ok(Box::new(field))
        };
        let kind: Option<String> = attribute(table, "type")?;
        Ok(match kind.as_deref().unwrap_or("any") {
            "any" => Kind::Any,
            "string" => Kind::String,
            "number" => Kind::Number,
            "integer" => Kind::Integer,
            "boolean" => Kind::Boolean,
            "array" => Kind::Array(part("elements")?),
            "set" => Kind::Set(part("elements")?),
            "map" => Kind::Map { keys: part("keys")?, values: part("values")? },
            "record" => Kind::Record(Box::new(self.record(table, within, depth)?)),
            "foreign" => Kind::Foreign,
            "function" => Kind::Function,
            "json" => Kind::Json,
            other => return Err(format!("invalid type: {other}")),
        })
    }

    fn shorthand(&self, name: &str, table: &Table, depth: usize) -> Result<Shorthand, String> {
        let func: Option<mlua::Function> = attribute(table, "func")?;
        let func = func.ok_or("missing attribute func")?;
        Ok(Shorthand {
            name: name.to_owned(),
            field: self.field(table, Within::List, depth)?,
            expand: functions::mapping(&self.home, func),
        })
    }

    fn deprecation(&self, table: &Table) -> Result<Option<Deprecation>, String> {
        let Some(table) = attribute::<Option<Table>>(table, "deprecation")? else {
            return Ok(None);
        };
        let mut replaced_with = Vec::new();
        for place in attribute::<Option<Vec<Table>>>(&table, "replaced_with")?.unwrap_or_default() {
            let reverse: Option<mlua::Function> = attribute(&place, "reverse_mapping_function")?;
            replaced_with.push(Replacement {
                path: attribute(&place, "path")?,
                reverse: reverse.map(|reverse| functions::mapping(&self.home, reverse)),
            });
        }
        let old_default = match attribute(&table, "old_default")? {
            LuaValue::Nil => None,
            value => Some(self.json(value)?),
        };
        Ok(Some(Deprecation { message: attribute(&table, "message")?, old_default, replaced_with }))
    }

    fn refuse_unknown(&self, table: &Table, kind: &Kind) -> Result<(), String> {
        for pair in table.pairs::<LuaValue, LuaValue>() {
            let (key, _) = pair.map_err(|error| error.to_string())?;
            let key = key.to_string().map_err(|error| error.to_string())?;
            let known = match kind {
                Kind::Record(_) if RECORD.contains(&key.as_str()) => true,
                _ => [&INFORMATIVE[..], &GENERAL, &rules::NAMES].concat().contains(&key.as_str()),
            };
            if !known {
                return Err(format!("unknown attribute '{key}'"));
            }
        }
        Ok(())
    }

    pub(super) fn json(&self, value: LuaValue) -> Result<Value, String> {
        json::from_lua(self.lua(), value).map_err(|error| error.to_string())
    }
}

/// Kong Enterprise's `supported_partials`: lists of places, by the type of the partial.
fn partials(schema: &Table) -> Result<Vec<(String, Vec<String>)>, String> {
    let table: Option<Table> = attribute(schema, "supported_partials")?;
    let pairs = table.iter().flat_map(Table::pairs::<String, Vec<String>>);
    let partials: mlua::Result<Vec<_>> = pairs.collect();
    partials.map_err(|error| format!("attribute supported_partials: {error}"))
}

fn implied_element(table: &Table) -> Result<Option<ImpliedElement>, String> {
    let Some(table) = attribute::<Option<Table>>(table, "implied_element")? else {
        return Ok(None);
    };
    Ok(Some(ImpliedElement {
        array: attribute(&table, "array")?,
        fields: attribute(&table, "fields")?,
    }))
}

/// How the entities of a plugin's collection are named and linked.
pub(super) fn custom(dao: &Table) -> Result<Custom, String> {
    let mut custom = Custom {
        name: attribute(dao, "name")?,
        endpoint_key: attribute(dao, "endpoint_key")?,
        cache_key: attribute::<Option<Vec<String>>>(dao, "cache_key")?.unwrap_or_default(),
        ..Custom::default()
    };
    for (name, field) in entries(dao, "fields")? {
        let kind: Option<String> = attribute(&field, "type")?;
        let is_set = |attribute_name: &str| {
            attribute::<Option<bool>>(&field, attribute_name).map(Option::unwrap_or_default)
        };
        if kind.as_deref() == Some("foreign") {
            custom.foreign.push((name.clone(), attribute(&field, "reference")?));
        }
        if Some(&name) == custom.endpoint_key.as_ref() {
            custom.secret_key = is_set("encrypted")?;
        } else if is_set("unique")? {
            custom.unique.push(name);
        }
    }
    Ok(custom)
}

/// An attribute of a table, past its metatable; the error names it.
pub(super) fn attribute<T: FromLua>(table: &Table, name: &str) -> Result<T, String> {
    table.raw_get(name).map_err(|error| format!("attribute {name}: {error}"))
}

/// Kong's ordered maps: a list of tables with one key each. A hole ends nothing, as in Kong.
pub(super) fn entries(table: &Table, name: &str) -> Result<Vec<(String, Table)>, String> {
    let list: Option<Table> = attribute(table, name)?;
    let mut entries = Vec::new();
    for item in list.iter().flat_map(Table::sequence_values::<Table>) {
        let item = item.map_err(|error| format!("{name}: {error}"))?;
        for pair in item.pairs::<String, Table>() {
            entries.push(pair.map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(entries)
}
