//! `{vault://env/NAME}`: secrets that stay out of the file.
//!
//! Only fields that a schema marks as referenceable are looked at. A reference that cannot be
//! resolved loads with a warning, as in Kong, but unlike Kong it does not become an empty string:
//! it stays as it is, so that a plugin that needs it can tell and fail the request.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::problem::Path;
use crate::entity::Referenced;
use crate::schema::Step;
use crate::settings::{Env, Reference, Unresolved, Vault, is_reference};

/// The vaults that references can name.
pub(super) struct Vaults<'a> {
    env: &'a Env,
    /// By prefix.
    entities: HashMap<String, Vault>,
}

/// What has become of the references in a value.
pub(super) struct Resolved {
    /// The paths of references that stay: with a reason, or because the field may hold none.
    pub(super) left: Vec<(Vec<Step>, Option<Unresolved>)>,
    /// The references that fields have which may hold them.
    pub(super) references: Vec<Referenced>,
}

impl<'a> Vaults<'a> {
    /// The vaults of a configuration, from their validated entities.
    pub(super) fn new<'v>(env: &'a Env, entities: impl Iterator<Item = &'v Value>) -> Self {
        let entities = entities
            .filter_map(|entity| Some((entity["prefix"].as_str()?.to_owned(), Vault::of(entity))));
        Self { env, entities: entities.collect() }
    }

    /// Puts secrets in place of the references in the fields that may hold them.
    pub(super) fn resolve_in(&self, value: &mut Value, referenceable: &[String]) -> Resolved {
        let key = |path: &[Step]| Path(path.to_vec()).to_string();
        let mut seen = HashSet::new();
        let (mut left, mut references) = (Vec::new(), Vec::new());
        for pattern in referenceable {
            let pattern: Vec<&str> = pattern.split('.').collect();
            let is_name = |part: &&str| **part != *"*";
            let named = pattern.iter().rposition(is_name).map_or(0, |last| last + 1);
            walk(value, &pattern, &mut Vec::new(), &mut |path, text| {
                if !is_reference(text) || !seen.insert(key(path)) {
                    return;
                }
                references.extend(referenced(path, named, text));
                match self.resolve(text) {
                    Ok(secret) => *text = secret,
                    Err(reason) => left.push((path.to_vec(), Some(reason))),
                }
            });
        }
        walk(value, &[], &mut Vec::new(), &mut |path, text| {
            if is_reference(text) && !seen.contains(&key(path)) {
                left.push((path.to_vec(), None));
            }
        });
        Resolved { left, references }
    }

    fn resolve(&self, text: &str) -> Result<String, Unresolved> {
        Reference::parse(text)?.secret(self.env, |name| self.entities.get(name).cloned())
    }
}

/// A reference for who looks secrets up again: in a field, which is the `named`th step of its path,
/// or in an item of that.
fn referenced(path: &[Step], named: usize, text: &str) -> Option<Referenced> {
    let key = |step: &Step| match step {
        Step::Field(name) | Step::Key(name) => Value::from(name.as_str()),
        Step::Index(index) => Value::from(index + 1),
    };
    let (record, rest) = path.split_at_checked(named.checked_sub(1)?)?;
    let (field, item) = match rest {
        [Step::Field(field)] => (field, None),
        [Step::Field(field), item] => (field, Some(key(item))),
        _ => return None,
    };
    let record = record.iter().map(key).collect();
    Some(Referenced { record, field: field.clone(), item, text: text.to_owned() })
}

pub(super) type Visit<'v> = &'v mut dyn FnMut(&[Step], &mut String);

/// Visits every string at or below the places that a pattern names; `*` is any key or index.
pub(super) fn walk(value: &mut Value, pattern: &[&str], path: &mut Vec<Step>, visit: Visit<'_>) {
    let (wanted, rest) = pattern.split_first().map_or(("*", pattern), |(w, rest)| (*w, rest));
    match value {
        Value::String(text) if pattern.is_empty() => visit(path, text),
        Value::Object(map) => {
            for (key, inner) in map.iter_mut().filter(|(key, _)| wanted == "*" || wanted == *key) {
                path.push(Step::Field(key.clone()));
                walk(inner, rest, path, visit);
                path.pop();
            }
        }
        Value::Array(items) if wanted == "*" => {
            for (index, inner) in items.iter_mut().enumerate() {
                path.push(Step::Index(index));
                walk(inner, rest, path, visit);
                path.pop();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
