//! `{vault://env/NAME}`: secrets that stay out of the file.
//!
//! Only fields that a schema marks as referenceable are looked at. A reference that cannot be
//! resolved loads with a warning, as in Kong, but unlike Kong it does not become an empty string:
//! it stays as it is, so that a plugin that needs it can tell and fail the request.

use std::collections::{HashMap, HashSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::problem::Path;
use crate::schema::{Step, is_reference};
use crate::settings::Env;

/// Why a reference has no value. No text holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    /// Neither `env` nor the prefix of a vault entity.
    #[error("there is no vault '{0}' (use env, or declare it under 'vaults')")]
    Vault(String),
    /// Kong Enterprise has more kinds.
    #[error("the vault '{prefix}' is of the kind '{kind}', which is not built yet (use env)")]
    Kind { prefix: String, kind: String },
    /// Not set, or empty.
    #[error("environment variable '{0}' is not set")]
    Variable(String),
    /// A key is asked for, so the value must be a flat JSON object.
    #[error("environment variable '{variable}' is not a JSON object with a string '{key}'")]
    Key { variable: String, key: String },
    /// Kong's syntax: `{vault://<vault>/<resource>[/<key>][?<options>][#<version>]}`.
    #[error("it is not of the form {{vault://<vault>/<name>[/<key>]}}")]
    Malformed,
}

/// The vaults that references can name.
pub(super) struct Vaults<'a> {
    env: &'a Env,
    /// By prefix: the kind, and what goes before the names of variables.
    entities: HashMap<String, (String, String)>,
}

impl<'a> Vaults<'a> {
    /// The vaults of a configuration, from their validated entities.
    pub(super) fn new<'v>(env: &'a Env, entities: impl Iterator<Item = &'v Value>) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let entities = entities.filter_map(|entity| {
            let prefix = text(&entity["prefix"])?;
            let variables = text(&entity["config"]["prefix"]).unwrap_or_default();
            Some((prefix, (text(&entity["name"])?, variables)))
        });
        Self { env, entities: entities.collect() }
    }

    /// Puts secrets in place of the references in the fields that may hold them.
    ///
    /// Answers the paths of references that stay: with a reason, or because the field may hold
    /// none.
    pub(super) fn resolve_in(
        &self,
        value: &mut Value,
        referenceable: &[String],
    ) -> Vec<(Vec<Step>, Option<Unresolved>)> {
        let key = |path: &[Step]| Path(path.to_vec()).to_string();
        let mut seen = HashSet::new();
        let mut left = Vec::new();
        for pattern in referenceable {
            let pattern: Vec<&str> = pattern.split('.').collect();
            walk(value, &pattern, &mut Vec::new(), &mut |path, text| {
                if !is_reference(text) || !seen.insert(key(path)) {
                    return;
                }
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
        left
    }

    fn resolve(&self, reference: &str) -> Result<String, Unresolved> {
        let reference = Reference::parse(reference).ok_or(Unresolved::Malformed)?;
        let prefix = match (&reference.prefix, self.entities.get(&reference.vault)) {
            (Some(prefix), _) if reference.vault == "env" => prefix.clone(),
            (None, _) if reference.vault == "env" => {
                self.env.get("KONG_VAULT_ENV_PREFIX").unwrap_or_default().to_owned()
            }
            (_, None) => return Err(Unresolved::Vault(reference.vault)),
            (_, Some((kind, _))) if kind != "env" => {
                let (prefix, kind) = (reference.vault, kind.clone());
                return Err(Unresolved::Kind { prefix, kind });
            }
            (prefix, Some((_, of_entity))) => prefix.as_ref().unwrap_or(of_entity).clone(),
        };
        let mut variable = format!("{prefix}{}", reference.resource).replace('-', "_");
        variable.make_ascii_uppercase();
        if reference.version == Some(2) {
            variable.push_str("_PREVIOUS"); // Kong: the secret before the last rotation
        }
        let Some(value) = self.env.get(&variable) else {
            return Err(Unresolved::Variable(variable));
        };
        let Some(key) = reference.key else { return Ok(value.to_owned()) };
        let object: Option<Value> = serde_json::from_str(value).ok();
        match object.as_ref().and_then(|object| object.get(&key)?.as_str()) {
            Some(secret) if !secret.is_empty() => Ok(secret.to_owned()),
            _ => Err(Unresolved::Key { variable, key }),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Reference {
    vault: String,
    resource: String,
    key: Option<String>,
    prefix: Option<String>,
    version: Option<u32>,
}

impl Reference {
    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("{vault://")?.strip_suffix('}')?;
        let (inner, version) = match inner.split_once('#') {
            Some((inner, version)) => (inner, Some(version.parse().ok()?)),
            None => (inner, None),
        };
        let (inner, query) = inner.split_once('?').unwrap_or((inner, ""));
        let prefix = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "prefix")
            .map(|(_, value)| value.into_owned());
        let (vault, path) = inner.split_once('/')?;
        let decode =
            |part: &str| percent_decode_str(part).decode_utf8().ok().map(|s| s.into_owned());
        // A slash at the end says that the whole path is the resource.
        let (resource, key) = match path.rsplit_once('/') {
            Some((resource, "")) => (resource, None),
            Some((resource, key)) => (resource, Some(decode(key)?)),
            None => (path, None),
        };
        let (vault, resource) = (decode(vault)?, decode(resource)?);
        let complete = !vault.is_empty() && !resource.is_empty();
        complete.then_some(Self { vault, resource, key, prefix, version })
    }
}

type Visit<'v> = &'v mut dyn FnMut(&[Step], &mut String);

/// Visits every string at or below the places that a pattern names; `*` is any key or index.
fn walk(value: &mut Value, pattern: &[&str], path: &mut Vec<Step>, visit: Visit<'_>) {
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
