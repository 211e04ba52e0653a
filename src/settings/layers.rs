//! Where a property's value comes from, and the kinds of values there are.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{conf_lines, flag_of, size};
use super::{Env, Flags, Listen, Reference, Unresolved, checks, is_reference, known};

/// Property values by layer, and what was wrong with them.
pub(super) struct Layers {
    values: BTreeMap<String, (String, String)>,
    /// Properties whose value was a vault reference: it is not printed.
    secret: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<String>,
}

impl Layers {
    pub(super) fn new(flags: &Flags, env: &Env, conf: Option<&str>) -> Self {
        let mut layers = Self {
            values: BTreeMap::new(),
            secret: BTreeSet::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value, origin) in conf.into_iter().flat_map(conf_lines) {
            layers.put(name, value, origin);
        }
        for (variable, value) in env.iter() {
            let name = variable.strip_prefix("KONG_").map(str::to_ascii_lowercase);
            let ours = variable.starts_with("SILVERBACK_").then(|| variable.to_ascii_lowercase());
            if let Some(name) = name.or(ours) {
                layers.put(name, value.to_owned(), variable.to_owned());
            }
        }
        for (name, value) in flags {
            layers.put(name.clone(), value.clone(), flag_of(name));
        }
        layers.resolve_references(env);
        layers.check();
        let without_effect = |(name, (value, _)): &(&String, &(String, String))| {
            known::is_without_effect(name, value)
        };
        let idle = layers.values.iter().filter(without_effect).map(|(name, _)| name.as_str());
        let idle: Vec<_> = idle.collect();
        if !idle.is_empty() {
            let line = format!("settings of Kong without an effect here: {}", idle.join(", "));
            layers.warnings.push(line);
        }
        layers
    }

    /// Takes out what Kong refuses whatever it is for.
    fn check(&mut self) {
        let Self { values, secret, warnings, errors } = self;
        values.retain(|name, (value, origin)| {
            *value = value.trim().to_owned();
            let Some(fault) = checks::fault(name, value) else {
                let doubt = checks::doubt(name, value).filter(|_| !secret.contains(name));
                warnings.extend(doubt.map(|doubt| format!("{origin}: {doubt}")));
                return true;
            };
            let fault = if secret.contains(name) { fault.replace(&**value, "***") } else { fault };
            errors.push(format!("{origin}: {fault}"));
            false
        });
    }

    /// An error about a property, in Kong's words.
    pub(super) fn refuse(&mut self, name: &str, message: &str) {
        let origin = self.values.get(name).map_or(name, |(_, origin)| origin);
        let told = if origin == name && message.starts_with(name) {
            message.to_owned()
        } else {
            format!("{origin}: {message}")
        };
        self.errors.push(told);
    }

    /// Whether somebody has set a property.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Puts the values of `{vault://env/NAME}` in; one that has none is an error (Kong).
    fn resolve_references(&mut self, env: &Env) {
        let prefix = self.text("vault_env_prefix", "");
        let Self { values, secret, errors, .. } = self;
        values.retain(|name, (value, origin)| {
            if !is_reference(value) {
                return true;
            }
            let resolved = Reference::parse(value).and_then(|reference| {
                let known = reference.vault == "env";
                let unknown = || Unresolved::Vault(reference.vault.clone());
                known.then(|| reference.value(env, &prefix)).ok_or_else(unknown)?
            });
            let message = |reason: Unresolved| {
                format!("{origin}: the vault reference of '{name}' cannot be resolved: {reason}")
            };
            match resolved {
                Ok(resolved) => {
                    *value = resolved;
                    secret.insert(name.clone());
                    true
                }
                Err(reason) => {
                    errors.push(message(reason));
                    false
                }
            }
        });
    }

    fn put(&mut self, name: String, value: String, origin: String) {
        if !known::is_known(&name) {
            let hint = known::nearest(&name).map(|n| format!("; did you mean '{n}'?"));
            let hint = hint.unwrap_or_default();
            self.warnings.push(format!("{origin}: no such setting, it is ignored{hint}"));
            return;
        }
        if let Some(note) = known::note(&name, &value) {
            self.warnings.push(format!("{origin}: {note}"));
        }
        self.values.insert(name, (value, origin));
    }

    /// A value; one that is empty is not set (Kong).
    pub(super) fn text(&self, name: &str, default: &str) -> String {
        let value = self.values.get(name).map(|(value, _)| value.as_str());
        value.filter(|value| !value.is_empty()).unwrap_or(default).to_owned()
    }

    pub(super) fn parse<T>(
        &mut self,
        name: &str,
        default: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(name, default);
        let parsed = parse(value.trim());
        if parsed.is_none() {
            let origin = self.values.get(name).map_or(name, |(_, origin)| origin);
            let shown = if self.secret.contains(name) { "***" } else { &value };
            self.errors.push(format!("{origin}: '{shown}' is not {expected}"));
        }
        parsed
    }

    pub(super) fn number(&mut self, name: &str, default: u64) -> u64 {
        let parsed = self.parse(name, &default.to_string(), "a whole number", |v| v.parse().ok());
        parsed.unwrap_or(default)
    }

    /// A number that `checks.rs` has judged.
    pub(super) fn rate(&self, name: &str, default: &str) -> f64 {
        self.text(name, default).parse().unwrap_or_default()
    }

    pub(super) fn flag(&mut self, name: &str, default: &str) -> bool {
        let read = |v: &str| match v {
            "on" | "true" | "yes" => Some(true),
            "off" | "false" | "no" => Some(false),
            _ => None,
        };
        self.parse(name, default, "on or off", read).unwrap_or_default()
    }

    pub(super) fn size(&mut self, name: &str, default: &str) -> u64 {
        self.parse(name, default, "a size such as 16m, 512k or 1048576", size).unwrap_or_default()
    }

    pub(super) fn listens(&mut self, name: &str, default: &str) -> Vec<Listen> {
        match Listen::parse_list(&self.text(name, default)) {
            Ok(list) => list,
            Err(error) => {
                self.refuse(name, &format!("{name} {error}"));
                Vec::new()
            }
        }
    }

    pub(super) fn list(&self, name: &str, default: &str) -> Vec<String> {
        let value = self.text(name, default);
        value.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()
    }
}
