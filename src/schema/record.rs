//! A record: named fields and checks across them.
//!
//! Kong has two twists on it: shorthand fields (`services.url` stands for four others) and
//! subschemas (a Route of protocol `grpc` has other rules), here called variants.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::entity_check::EntityCheck;
use super::plugin_config::ImpliedElement;
use super::report::Report;
use super::rule::{Mapping, Predicate, Refusal};
use super::{Check, Error, Field, Kind, Step, text};

/// A record and what its fields must be.
#[derive(Default)]
pub struct Record {
    /// By name, in the order of the schema.
    pub fields: Vec<(String, Field)>,
    /// Other ways to write some of the fields.
    pub shorthands: Vec<Shorthand>,
    /// Rules across fields.
    pub checks: Vec<EntityCheck>,
    /// Kong's `check`: a last look at the whole record.
    pub check: Option<Predicate>,
    /// Fields and checks that depend on the value of a field.
    pub variants: Option<Variants>,
    /// An array whose only element may be written in place; heeded for a plugin's `config`.
    pub implied: Option<ImpliedElement>,
    /// See [`Check::partials`].
    pub partials: Vec<(String, Vec<String>)>,
    /// See [`Check::referenceable`]; [`Record::with_paths`] fills it in.
    pub referenceable: Vec<String>,
    /// See [`Check::secrets`]; [`Record::with_paths`] fills it in.
    pub secrets: Vec<String>,
}

/// A field that stands for others: `url` for `protocol`, `host`, `port` and `path`.
pub struct Shorthand {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub field: Field,
    /// A record of the fields it stands for, from its value; anything else stands for none.
    pub expand: Mapping,
}

/// A field that is going away.
pub struct Deprecation {
    /// What to use instead.
    pub message: String,
    /// A value that is no sign of use.
    pub old_default: Option<Value>,
    /// Where the value lives now.
    pub replaced_with: Vec<Replacement>,
}

/// The new place of a deprecated field.
pub struct Replacement {
    /// The way there, from the record of the deprecated field.
    pub path: Vec<String>,
    /// Computes the old value from the record, if the new one has another form.
    pub reverse: Option<Mapping>,
}

/// Kong's subschemas.
pub struct Variants {
    /// The field that selects one: a text, or a set of which the first known element counts.
    pub key: String,
    /// Fields and checks to add or to put in place of the record's own, by the value of the key.
    pub by_value: Vec<(String, Rc<Record>)>,
    /// What to say of a value that selects none; `%s` is the value.
    pub unknown: String,
}

impl Field {
    /// Lists the paths of the values that have an attribute.
    fn list(&self, path: String, has: fn(&Self) -> bool, paths: &mut Vec<String>) {
        match &self.kind {
            Kind::Record(record) => record.list(&format!("{path}."), has, paths),
            Kind::Array(part) | Kind::Set(part) | Kind::Map { values: part, .. } => {
                if has(self) && !has(part) {
                    paths.push(format!("{path}.*"));
                }
                part.list(format!("{path}.*"), has, paths);
            }
            _ if has(self) => paths.push(path),
            _ => {}
        }
    }

    fn names(&self, path: &[Step]) -> Vec<&str> {
        match (&self.kind, path.split_first()) {
            (Kind::Record(record), _) => record.names(path),
            (
                Kind::Array(part) | Kind::Set(part) | Kind::Map { values: part, .. },
                Some((_, path)),
            ) => part.names(path),
            _ => Vec::new(),
        }
    }
}

impl Deprecation {
    pub(super) fn warn(&self, value: &Value) {
        if self.old_default.as_ref() != Some(value) {
            tracing::warn!("{}", self.message);
        }
    }
}

impl Check for Record {
    fn process(&self, input: Value) -> (Value, Vec<Error>) {
        let mut report = Report::default();
        let Value::Object(data) = input else {
            report.error("expected a record");
            return (input, report.into_errors());
        };
        let mut data = self.fill(data, &mut report);
        // A shorthand that cannot be expanded leaves nothing to look at.
        if report.len() == 0 {
            self.validate(&data, &mut report);
        }
        let errors = report.into_errors();
        if errors.is_empty() {
            self.unify_sets(&mut data);
        }
        (Value::Object(data), errors)
    }

    fn referenceable(&self) -> &[String] {
        &self.referenceable
    }

    fn secrets(&self) -> &[String] {
        &self.secrets
    }

    fn fields(&self, path: &[Step]) -> Vec<&str> {
        self.names(path)
    }
}

impl Record {
    /// The record with its gaps filled, and what is wrong with its shorthands (Kong's
    /// `process_auto_fields`).
    pub fn filled(&self, data: Map<String, Value>) -> (Map<String, Value>, Vec<Error>) {
        let mut report = Report::default();
        let data = self.fill(data, &mut report);
        (data, report.into_errors())
    }

    /// Everything wrong with a record as it stands (Kong's `validate`): at its top nothing is
    /// filled in. What is not there is no error where a record is only changed.
    pub fn judge(&self, data: Map<String, Value>, is_whole: bool) -> Vec<Error> {
        let given: Vec<String> = data.keys().cloned().collect();
        let (mut data, mut errors) = self.filled(data);
        data.retain(|name, _| given.contains(name));
        let mut report = Report::default();
        self.validate(&data, &mut report);
        errors.extend(report.into_errors());
        errors.retain(|error| match error.path.as_slice() {
            [Step::Field(name)] if error.message == text::REQUIRED => {
                is_whole || data.contains_key(name)
            }
            _ => true,
        });
        errors
    }

    /// The record, knowing which of its fields may hold a vault reference, and which a secret.
    pub fn with_paths(mut self) -> Self {
        let (mut referenceable, mut secrets) = (Vec::new(), Vec::new());
        self.list("", |field| field.referenceable, &mut referenceable);
        self.list("", |field| field.encrypted, &mut secrets);
        (self.referenceable, self.secrets) = (referenceable, secrets);
        self
    }

    fn list(&self, prefix: &str, has: fn(&Field) -> bool, paths: &mut Vec<String>) {
        for (name, field) in self.all_fields() {
            field.list(format!("{prefix}{name}"), has, paths);
        }
    }

    /// The fields, and those of all variants.
    fn all_fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        let variants = self.variants.iter().flat_map(|variants| &variants.by_value);
        let variants = variants.flat_map(|(_, variant)| &variant.fields);
        self.fields.iter().chain(variants).map(|(name, field)| (name.as_str(), field))
    }

    /// The names of the fields at a path, shorthands among them.
    pub(super) fn names(&self, path: &[Step]) -> Vec<&str> {
        let shorthands = self.shorthands.iter().map(|s| (s.name.as_str(), &s.field));
        let known = self.all_fields().chain(shorthands);
        match path.split_first() {
            None => known.map(|(name, _)| name).collect(),
            Some((Step::Field(wanted), path)) => {
                let fields = known.filter(|(name, _)| name == wanted);
                fields.flat_map(|(_, field)| field.names(path)).collect()
            }
            Some((Step::Index(_) | Step::Key(_), _)) => Vec::new(),
        }
    }

    /// Fields by name, those of a variant first.
    pub(super) fn field<'a>(&'a self, name: &str, variant: Option<&'a Self>) -> Option<&'a Field> {
        let of = |record: &'a Self| record.fields.iter().find(|(n, _)| n == name).map(|(_, f)| f);
        variant.and_then(of).or_else(|| of(self))
    }

    /// The definition at a dotted path.
    pub(super) fn field_at<'a>(
        &'a self,
        path: &str,
        variant: Option<&'a Self>,
    ) -> Option<&'a Field> {
        let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
        let field = self.field(head, variant)?;
        match (rest, &field.kind) {
            (None, _) => Some(field),
            (Some(rest), Kind::Record(record)) => record.field_at(rest, None),
            _ => None,
        }
    }

    /// The variant that the data selects.
    pub(super) fn variant(&self, data: &Map<String, Value>) -> Option<&Self> {
        let variants = self.variants.as_ref()?;
        let of = |key: &Value| {
            let (_, record) = variants.by_value.iter().find(|(value, _)| key == value.as_str())?;
            Some(record.as_ref())
        };
        match data.get(&variants.key)? {
            Value::Array(keys) => keys.iter().find_map(of),
            key => of(key),
        }
    }

    /// Why no variant is selected: Kong then looks at nothing else.
    fn unselected(&self, data: &Map<String, Value>) -> Option<(&str, String)> {
        let variants = self.variants.as_ref()?;
        let said = |value: &str| text::formatted(&variants.unknown, value);
        let message = match data.get(&variants.key) {
            None | Some(Value::Null) => text::REQUIRED.to_owned(),
            _ if self.variant(data).is_some() => return None,
            Some(Value::String(value)) => said(value),
            // As Lua prints what is not there, and null.
            Some(Value::Array(keys)) => match keys.first() {
                None => said("nil"),
                Some(Value::Null) => said("userdata: NULL"),
                Some(first) => said(&text::tostring(first)),
            },
            Some(_) => return None,
        };
        Some((&variants.key, message))
    }

    /// Reports everything wrong with a record that has been filled.
    pub(super) fn validate(&self, data: &Map<String, Value>, report: &mut Report) {
        if let Some((key, message)) = self.unselected(data) {
            return report.set(key, &message);
        }
        let variant = self.variant(data);
        for (name, value) in data {
            report.within(Step::Field(name.clone()), |report| match self.field(name, variant) {
                Some(field) => field.validate(value, report),
                None => report.error(text::UNKNOWN),
            });
        }
        for (name, base) in &self.fields {
            let field = self.field(name, variant).unwrap_or(base);
            if field.required && !data.contains_key(name) {
                report.set(name, text::REQUIRED);
            }
        }
        for check in &self.checks {
            check.run(self, None, data, report);
        }
        for check in variant.iter().flat_map(|variant| &variant.checks) {
            check.run(self, variant, data, report);
        }
        if let Some(check) = &self.check {
            self.run_own_check(check, data, report);
        }
    }

    /// Kong runs `check` on complete records only.
    fn run_own_check(&self, check: &Predicate, data: &Map<String, Value>, report: &mut Report) {
        let missing = self.fields.iter().find(|(name, _)| !data.contains_key(name));
        if let Some((name, _)) = missing {
            return report.set(name, text::REQUIRED_FOR_CHECK);
        }
        match check(&Value::Object(data.clone())) {
            Ok(()) => {}
            Err(Refusal::Unsaid) => report.record_error("entity check failed"),
            Err(Refusal::Text(message)) => report.record_error(message),
            Err(Refusal::Fields(errors)) => errors.into_iter().for_each(|e| report.nested(e)),
        }
    }
}
