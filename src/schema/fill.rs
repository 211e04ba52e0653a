//! What was left out: shorthands, defaults, and the structure of records.
//!
//! After it every declared field is there (null when unset), except a required one that has no
//! value: validation reports that one as missing.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::record::{Record, Shorthand};
use super::report::{Report, lookup};
use super::rule::same;
use super::{Field, Kind, Step, text};

impl Record {
    /// The record with its shorthands expanded and its gaps filled, in the order of the schema.
    ///
    /// Unknown fields stay, at the end. The only errors are those of shorthands.
    pub(super) fn fill(
        &self,
        mut data: Map<String, Value>,
        report: &mut Report,
    ) -> Map<String, Value> {
        for shorthand in &self.shorthands {
            let step = Step::Field(shorthand.name.clone());
            report.within(step, |report| shorthand.apply(&mut data, report));
        }
        let variant = self.variant(&data);
        let mut filled = Map::new();
        for (name, base) in &self.fields {
            let field = self.field(name, variant).unwrap_or(base);
            let value = data.shift_remove(name);
            let step = Step::Field(name.clone());
            if let Some(value) = report.within(step, |report| field.fill(value, report)) {
                filled.insert(name.clone(), value);
            }
        }
        filled.extend(data);
        filled
    }

    /// Drops what a set holds twice once more: its items may have become equal by their defaults.
    pub(super) fn unify_sets(&self, data: &mut Map<String, Value>) {
        for (name, value) in data {
            if let Some(field) = self.field(name, None) {
                field.unify_sets(value);
            }
        }
    }
}

impl Field {
    /// The value with its parts filled, or what stands for an absent one.
    fn fill(&self, value: Option<Value>, report: &mut Report) -> Option<Value> {
        let Some(value) = value else { return self.fill_missing(report) };
        if self.is_abstract {
            return Some(value);
        }
        Some(match (&self.kind, self.kind.reshaped(value)) {
            (Kind::Record(record), Value::Object(data)) => Value::Object(record.fill(data, report)),
            (Kind::Array(part) | Kind::Set(part), Value::Array(mut items)) => {
                if matches!(self.kind, Kind::Set(_)) {
                    unify(&mut items);
                }
                let fill = |(i, item)| {
                    report.within(Step::Index(i), |report| part.fill(Some(item), report))
                };
                Value::Array(items.into_iter().enumerate().filter_map(fill).collect())
            }
            (Kind::Map { values, .. }, Value::Object(map)) => {
                let fill = |(key, value): (String, Value)| {
                    let step = Step::Key(key.clone());
                    let value = report.within(step, |report| values.fill(Some(value), report))?;
                    Some((key, value))
                };
                Value::Object(map.into_iter().filter_map(fill).collect())
            }
            (_, value) => value,
        })
    }

    fn fill_missing(&self, report: &mut Report) -> Option<Value> {
        if let Some(default) = &self.default {
            return self.fill(Some(default.clone()), report);
        }
        if self.auto && matches!(self.kind, Kind::String) {
            return Some(Value::String(Uuid::new_v4().simple().to_string()));
        }
        match &self.kind {
            _ if !self.required => Some(Value::Null),
            Kind::Record(record) if !self.is_abstract => {
                Some(Value::Object(record.fill(Map::new(), report)))
            }
            _ => None,
        }
    }

    fn unify_sets(&self, value: &mut Value) {
        match (&self.kind, value) {
            (Kind::Record(record), Value::Object(data)) => record.unify_sets(data),
            (Kind::Array(part), Value::Array(items)) => {
                items.iter_mut().for_each(|item| part.unify_sets(item));
            }
            (Kind::Map { values, .. }, Value::Object(map)) => {
                map.values_mut().for_each(|value| values.unify_sets(value));
            }
            (Kind::Set(_), Value::Array(items)) => unify(items),
            _ => {}
        }
    }
}

/// Keeps the first of equal items.
fn unify(items: &mut Vec<Value>) {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.to_string()));
}

impl Kind {
    /// Lua does not tell an empty list from an empty map, nor 1.0 from 1; the schema does.
    fn reshaped(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Array(_) | Self::Set(_), Value::Object(map)) if map.is_empty() => {
                Value::Array(Vec::new())
            }
            (Self::Record(_) | Self::Map { .. }, Value::Array(items)) if items.is_empty() => {
                Value::Object(Map::new())
            }
            // The items of a list have numbers for names, which no record knows.
            (Self::Record(_), Value::Array(items)) => {
                let numbered = items.into_iter().enumerate();
                let named = numbered.map(|(i, item)| ((i + 1).to_string(), item));
                Value::Object(named.collect())
            }
            (Self::Integer, Value::Number(number)) => match number.as_f64() {
                Some(n) if number.is_f64() && n.fract() == 0.0 && n.abs() < 9.2e18 => {
                    Value::from(n as i64)
                }
                _ => Value::Number(number),
            },
            (_, value) => value,
        }
    }
}

impl Shorthand {
    /// Puts the fields it stands for in its place.
    ///
    /// Without a deprecation the shorthand wins over the fields themselves; with one it loses, and
    /// a contradiction is an error (Kong).
    fn apply(&self, data: &mut Map<String, Value>, report: &mut Report) {
        let Some(value) = data.get(&self.name).cloned() else { return };
        let before = report.len();
        self.field.validate(&value, report);
        if report.len() > before {
            return;
        }
        if let Some(message) = self.contradiction(&value, data) {
            return report.error(message);
        }
        data.remove(&self.name);
        match (self.expand)(&value) {
            Ok(Value::Object(fields)) => {
                let wins = self.field.deprecation.is_none();
                for (name, new) in fields {
                    let old = data.remove(&name);
                    data.insert(name, merged(old, new, wins));
                }
            }
            Ok(_) => {}
            Err(message) => report.error(message),
        }
    }

    fn contradiction(&self, value: &Value, data: &Map<String, Value>) -> Option<String> {
        let replacements = &self.field.deprecation.as_ref()?.replaced_with;
        replacements.iter().filter(|_| !value.is_null()).find_map(|replacement| {
            let path = replacement.path.join(".");
            let new = match &replacement.reverse {
                Some(reverse) => reverse(&Value::Object(data.clone())).ok(),
                None => lookup(data, &path).cloned(),
            };
            let new = new.filter(|new| !new.is_null() && !same(new, value))?;
            Some(format!(
                "both deprecated and new field are used but their values mismatch: \
                 {} = {} vs {path} = {}",
                self.name,
                text::tostring(value),
                text::tostring(&new)
            ))
        })
    }
}

/// Two values of a field, of which `new` comes from a shorthand. Records are merged.
fn merged(old: Option<Value>, new: Value, new_wins: bool) -> Value {
    match (old, new) {
        (None | Some(Value::Null), new) => new,
        (Some(Value::Object(mut old)), Value::Object(new)) => {
            for (name, new) in new {
                let inner = old.remove(&name);
                old.insert(name, merged(inner, new, new_wins));
            }
            Value::Object(old)
        }
        (Some(old), new) => {
            if new_wins {
                new
            } else {
                old
            }
        }
    }
}
