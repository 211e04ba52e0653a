//! The effective configuration, as a file that loads again to the same thing.
//!
//! Entities stand in their collections, not nested; ids, defaults and shared parts are written
//! out, references to vaults stay references. A null is written only where leaving it out would
//! mean a default.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::assemble::drop_nulls;
use super::collections::{self, OfPlugins, Support};
use super::draft::Draft;
use super::judge::Judged;
use super::masked::MASK;
use super::{Errors, Problem, Reading, Source, emit, problem, vault};
use crate::schema::{Check, Schemas};
use crate::settings::{Env, is_reference};

/// An effective configuration.
#[derive(Debug)]
pub struct Dump {
    /// Kong's declarative format.
    pub document: Value,
    /// What its author should know.
    pub warnings: Vec<Problem>,
}

impl Dump {
    /// The document in YAML.
    pub fn yaml(&self) -> String {
        emit::yaml(&self.document)
    }
}

/// Works out the effective configuration of some texts.
///
/// Without `with_secrets` a `***` stands where a schema says that a secret is, and a placeholder
/// where a variable was put in.
///
/// # Errors
/// Everything that is wrong with the texts, as for [`super::load`].
pub fn dump(
    sources: &[Source],
    schemas: &dyn Schemas,
    env: &Env,
    with_secrets: bool,
) -> Result<Dump, Errors> {
    let _of_plugins = OfPlugins::new(&schemas.of_plugins());
    let reading = Reading::new(sources, schemas, env);
    if !reading.is_sound() {
        return Err(reading.refuse());
    }
    let names = Names::new(&reading.drafts);
    let mut document = Map::new();
    document.insert("_format_version".to_owned(), json!("3.0"));
    // Passwords are written as they are kept.
    document.insert("_transform".to_owned(), json!(false));
    // What links partials to plugins is left out: the plugins are whole.
    for collection in collections::names().filter(|name| *name != "plugins_partials") {
        let of_collection = |(draft, _): &(&Draft, _)| draft.kind.name == collection;
        let entities = reading.drafts.iter().zip(&reading.judged).filter(of_collection);
        let entities: Vec<Value> = entities
            .map(|(draft, judged)| {
                let mut value = written(draft, judged, &names, with_secrets);
                each_text(&mut value, &mut |text| {
                    *text = text.replace("${{", "${{ `${{` }}");
                    if !with_secrets {
                        reading.texts.mask_secrets(text, MASK);
                    }
                });
                value
            })
            .collect();
        if !entities.is_empty() {
            document.insert(collection.to_owned(), Value::Array(entities));
        }
    }
    let mut warnings = reading.report.warnings;
    problem::sort(&mut warnings);
    Ok(Dump { document: Value::Object(document), warnings })
}

/// What references call entities: by collection and id.
struct Names<'a>(HashMap<(&'static str, Uuid), &'a str>);

impl<'a> Names<'a> {
    /// Secrets are no names, and neither is what could be taken for an id.
    fn new(drafts: &'a [Draft]) -> Self {
        let name = |draft: &'a Draft| {
            let key = draft.kind.key.filter(|_| !draft.kind.secret_key)?;
            let name = draft.node.field(key)?.as_str()?;
            let is_id = Uuid::try_parse(name).is_ok();
            (!is_id).then_some(((draft.kind.name, draft.id), name))
        };
        Self(drafts.iter().filter_map(name).collect())
    }

    fn of(&self, draft: &Draft, field: &str, id: Uuid) -> String {
        let target = draft.kind.foreign.iter().find(|(name, _)| *name == field);
        let name = target.and_then(|(_, collection)| self.0.get(&(*collection, id)));
        name.map_or_else(|| id.to_string(), |name| (*name).to_owned())
    }
}

/// One entity as a file holds it.
fn written(draft: &Draft, judged: &Judged, names: &Names<'_>, with_secrets: bool) -> Value {
    let [of_entity, of_config] = &judged.checks;
    let mut entity = without_nulls(&judged.entity, of_entity.as_deref());
    let mut config = without_nulls(&judged.config, of_config.as_deref());
    if !with_secrets {
        mask(&mut entity, of_entity.as_deref());
        mask(&mut config, of_config.as_deref());
    }
    let mut members = Map::new();
    let is_link = matches!(draft.kind.support, Support::Membership);
    if !is_link {
        members.insert("id".to_owned(), json!(draft.id));
    }
    if let Value::Object(entity) = entity {
        members.extend(entity.into_iter().filter(|(name, _)| name != "id"));
    }
    for (field, id) in &draft.links {
        members.insert((*field).to_owned(), json!(names.of(draft, field, *id)));
    }
    if !config.is_null() {
        members.insert("config".to_owned(), config);
    }
    Value::Object(members)
}

/// The value without nulls, if its schema makes the same of it.
fn without_nulls(value: &Value, check: Option<&dyn Check>) -> Value {
    let mut stripped = value.clone();
    drop_nulls(&mut stripped);
    let same = check.is_none_or(|check| {
        let (filled, errors) = check.process(stripped.clone());
        errors.is_empty() && filled == *value
    });
    if same { stripped } else { value.clone() }
}

fn mask(value: &mut Value, check: Option<&dyn Check>) {
    for path in check.map(|check| check.secrets()).unwrap_or_default() {
        let path: Vec<&str> = path.split('.').collect();
        vault::walk(value, &path, &mut Vec::new(), &mut |_, text| {
            if !is_reference(text) {
                MASK.clone_into(text);
            }
        });
    }
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(map) => map.values_mut().for_each(|inner| each_text(inner, change)),
        _ => {}
    }
}
