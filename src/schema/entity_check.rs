//! Rules across the fields of a record: Kong's entity checks.
//!
//! A rule is skipped while one of its fields holds a vault reference, and most are skipped while
//! one of their fields is wrong in itself.

use serde_json::{Map, Value};

use super::report::{Report, lookup, place};
use super::rule::{Predicate, Refusal, same};
use super::{Field, Record, text};

/// One entry of `entity_checks`.
pub struct EntityCheck {
    /// What it demands.
    pub rule: EntityRule,
    /// The schema's author wants it run although fields are absent.
    pub run_with_missing_fields: bool,
    /// The schema's author wants it run although fields are wrong.
    pub run_with_invalid_fields: bool,
}

/// Kong's kinds of entity checks; fields are dotted paths.
#[allow(missing_docs)]
pub enum EntityRule {
    AtLeastOneOf(Vec<String>),
    OnlyOneOf(Vec<String>),
    Distinct(Vec<String>),
    MutuallyRequired(Vec<String>),
    MutuallyExclusive(Vec<String>),
    MutuallyExclusiveSets(Vec<String>, Vec<String>),
    /// If one field matches, another must match.
    Conditional {
        if_field: String,
        if_match: Box<Field>,
        then_field: String,
        then_match: Box<Field>,
        then_err: Option<String>,
    },
    /// If a field matches, one of others must be given.
    ConditionalAtLeastOneOf {
        if_field: String,
        then: Branch,
        otherwise: Option<Branch>,
    },
    /// The author's own, in Lua; it sees the named fields only.
    Custom {
        field_sources: Vec<String>,
        check: Predicate,
    },
}

/// What a field must match for one of others to be demanded.
pub struct Branch {
    /// The match.
    pub matches: Box<Field>,
    /// The fields of which one must be given.
    pub at_least_one_of: Vec<String>,
    /// The author's text; `%s` is the list of fields.
    pub err: Option<String>,
}

impl EntityCheck {
    /// Reports what the rule finds in a record.
    pub(super) fn run(
        &self,
        record: &Record,
        variant: Option<&Record>,
        data: &Map<String, Value>,
        report: &mut Report,
    ) {
        let fields = self.rule.fields();
        let holds_reference = |name: &&str| {
            let value = lookup(data, name);
            record
                .field_at(name, variant)
                .zip(value)
                .is_some_and(|(field, value)| field.holds_reference(value))
        };
        if fields.iter().any(holds_reference) {
            return;
        }
        let with_invalid = self.run_with_invalid_fields || self.rule.runs_with_invalid_fields();
        if !with_invalid && fields.iter().any(|name| report.has_error_in(name)) {
            return;
        }
        let with_missing = self.rule.runs_with_missing_fields();
        if !with_missing && fields.iter().all(|name| lookup(data, name).is_none()) {
            return;
        }
        if !with_missing && !self.run_with_missing_fields {
            let needed = self.rule.needed();
            let missing: Vec<_> =
                needed.into_iter().filter(|name| lookup(data, name).is_none()).collect();
            if !missing.is_empty() {
                return missing
                    .into_iter()
                    .for_each(|name| report.set(name, text::REQUIRED_FOR_CHECK));
            }
        }
        self.rule.apply(data, report);
    }
}

impl EntityRule {
    /// The fields it looks at.
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::MutuallyExclusiveSets(one, two) => names(one).chain(names(two)).collect(),
            Self::Conditional { if_field, then_field, .. } => vec![if_field, then_field],
            Self::ConditionalAtLeastOneOf { if_field, then, otherwise } => {
                let others = otherwise.iter().flat_map(|branch| names(&branch.at_least_one_of));
                let then = names(&then.at_least_one_of);
                std::iter::once(if_field.as_str()).chain(then).chain(others).collect()
            }
            Self::AtLeastOneOf(fields)
            | Self::OnlyOneOf(fields)
            | Self::Distinct(fields)
            | Self::MutuallyRequired(fields)
            | Self::MutuallyExclusive(fields)
            | Self::Custom { field_sources: fields, .. } => names(fields).collect(),
        }
    }

    /// The fields without which it cannot run.
    fn needed(&self) -> Vec<&str> {
        match self {
            Self::Conditional { if_field, .. } => vec![if_field],
            _ => self.fields(),
        }
    }

    fn runs_with_missing_fields(&self) -> bool {
        !matches!(
            self,
            Self::OnlyOneOf(_) | Self::Distinct(_) | Self::Conditional { .. } | Self::Custom { .. }
        )
    }

    fn runs_with_invalid_fields(&self) -> bool {
        matches!(
            self,
            Self::AtLeastOneOf(_)
                | Self::OnlyOneOf(_)
                | Self::Distinct(_)
                | Self::Conditional { .. }
                | Self::ConditionalAtLeastOneOf { .. }
        )
    }

    fn apply(&self, data: &Map<String, Value>, report: &mut Report) {
        let given = |name: &&String| is_given(lookup(data, name));
        let count = |fields: &[String]| fields.iter().filter(given).count();
        let (ok, said, fields) = match self {
            Self::AtLeastOneOf(fields) => {
                (count(fields) > 0, "at least one of these fields must be non-empty", fields)
            }
            Self::OnlyOneOf(fields) => {
                (count(fields) == 1, "exactly one of these fields must be non-empty", fields)
            }
            Self::Distinct(fields) => {
                let ok = are_distinct(fields, data);
                (ok, "values of these fields must be distinct", fields)
            }
            Self::MutuallyRequired(fields) => {
                let ok = count(fields) == 0 || count(fields) == fields.len();
                (ok, "all or none of these fields must be set", fields)
            }
            Self::MutuallyExclusive(fields) => {
                (count(fields) <= 1, "only one or none of these fields must be set", fields)
            }
            Self::MutuallyExclusiveSets(one, two) => {
                let sets: Vec<Vec<_>> =
                    [one, two].map(|set| set.iter().filter(given).collect()).into();
                if sets.iter().all(|set| !set.is_empty()) {
                    let sets = text::quoted_sets(&sets);
                    report.record_error(format!("these sets are mutually exclusive: {sets}"));
                }
                return;
            }
            Self::Conditional { .. } => return self.apply_conditional(data, report),
            Self::ConditionalAtLeastOneOf { .. } => return self.apply_branches(data, report),
            Self::Custom { .. } => return self.apply_custom(data, report),
        };
        if !ok {
            report.record_error(format!("{said}: {}", text::quoted(fields)));
        }
    }

    /// The first branch whose match fits decides.
    fn apply_branches(&self, data: &Map<String, Value>, report: &mut Report) {
        let Self::ConditionalAtLeastOneOf { if_field, then, otherwise } = self else { return };
        let Some(value) = lookup(data, if_field) else { return };
        let mut branches = std::iter::once(then).chain(otherwise);
        let Some(branch) = branches.find(|branch| branch.matches.accepts(value)) else { return };
        if branch.at_least_one_of.iter().any(|name| is_given(lookup(data, name))) {
            return;
        }
        let list = text::quoted(&branch.at_least_one_of);
        report.record_error(match &branch.err {
            Some(own) => text::formatted(own, &list),
            None => format!("at least one of these fields must be non-empty: {list}"),
        });
    }

    fn apply_custom(&self, data: &Map<String, Value>, report: &mut Report) {
        let Self::Custom { field_sources, check } = self else { return };
        let mut seen = Map::new();
        for name in field_sources {
            if let Some(value) = lookup(data, name) {
                place(&mut seen, name, value.clone());
            }
        }
        match check(&Value::Object(seen)) {
            Ok(()) => {}
            Err(Refusal::Text(message)) => report.record_error(message),
            Err(Refusal::Fields(errors)) => errors.into_iter().for_each(|e| report.nested(e)),
            Err(Refusal::Unsaid) => report.record_error("failed entity check: custom_entity_check"),
        }
    }

    /// The error is put on `then_field` and on the record.
    fn apply_conditional(&self, data: &Map<String, Value>, report: &mut Report) {
        let Self::Conditional { if_field, if_match, then_field, then_match, then_err } = self
        else {
            return;
        };
        if !lookup(data, if_field).is_some_and(|value| if_match.accepts(value)) {
            return;
        }
        let value = lookup(data, then_field).unwrap_or(&Value::Null);
        let mut found = Report::default();
        then_match.validate(value, &mut found);
        let errors = found.into_errors();
        let Some(first) = errors.first() else { return };
        report.set(then_field, &first.message);
        // Kong has its own text for a wrong value only, not for a missing one.
        let missing = value.is_null() && then_match.required;
        report.record_error(match then_err.as_deref().filter(|_| !missing) {
            Some(own) => text::formatted(own, if_field),
            None => format!("failed conditional validation given value of field '{if_field}'"),
        });
    }
}

fn names(fields: &[String]) -> impl Iterator<Item = &str> {
    fields.iter().map(String::as_str)
}

/// Kong's "non-empty".
fn is_given(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

fn are_distinct(fields: &[String], data: &Map<String, Value>) -> bool {
    let values: Vec<_> = fields
        .iter()
        .filter_map(|name| lookup(data, name))
        .filter(|value| is_given(Some(value)))
        .collect();
    !values.iter().enumerate().any(|(i, a)| values.iter().skip(i + 1).any(|b| same(a, b)))
}
