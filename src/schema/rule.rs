//! Rules for one value: Kong's validators, in the order Kong runs them.

use std::rc::Rc;

use serde_json::Value;
use uuid::Uuid;

use super::{Error, text};

/// Whether a Lua pattern is found in a text.
pub type Pattern = Rc<dyn Fn(&str) -> bool>;

/// A check of the schema's author, in Lua.
pub type Predicate = Rc<dyn Fn(&Value) -> Result<(), Refusal>>;

/// A function of the schema's author from a value to another, in Lua; an error is a fault of it.
pub type Mapping = Rc<dyn Fn(&Value) -> Result<Value, String>>;

/// What an author's check says of a value it does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: the rule's own text is used.
    Unsaid,
    /// A text.
    Text(String),
    /// Errors of fields, with paths relative to the value.
    Fields(Vec<Error>),
}

/// One rule. The names are the attributes of Kong's schema language.
#[allow(missing_docs)]
pub enum Rule {
    Eq(Value),
    Ne(Value),
    NotOneOf(Vec<Value>),
    OneOf(Vec<Value>),
    Gt(f64),
    Timestamp,
    Uuid,
    IsRegex(Predicate),
    Between(f64, f64),
    LenEq(usize),
    LenMin(usize),
    LenMax(usize),
    StartsWith(String),
    NotMatch(Pattern),
    /// Patterns that must not match, each with its own text.
    MatchNone(Vec<(Pattern, Option<String>)>),
    Match(Pattern),
    /// Patterns that must match, each with its own text.
    MatchAll(Vec<(Pattern, Option<String>)>),
    /// One of the patterns must match.
    MatchAny(Vec<Pattern>, Option<String>),
    Contains(Value),
    CustomValidator(Predicate),
    MutuallyExclusiveSubsets(Vec<Vec<String>>),
}

impl Rule {
    /// Checks a value of the field's type; null never comes here.
    pub(super) fn check(&self, value: &Value) -> Result<(), Refusal> {
        match self {
            Self::Eq(wanted) => {
                unless(same(value, wanted), || format!("value must be {}", text::tostring(wanted)))
            }
            Self::Ne(unwanted) => unless(!same(value, unwanted), || {
                format!("value must not be {}", text::tostring(value))
            }),
            Self::NotOneOf(options) => unless(!options.iter().any(|o| same(value, o)), || {
                format!("must not be one of: {}", text::listed(options))
            }),
            Self::OneOf(options) => unless(options.iter().any(|o| same(value, o)), || {
                format!("expected one of: {}", text::listed(options))
            }),
            Self::Contains(wanted) => unless(items(value).iter().any(|i| same(i, wanted)), || {
                format!("expected to contain: {}", text::tostring(wanted))
            }),
            Self::Timestamp => unless(number(value) > 0.0, || "expected a valid timestamp".into()),
            Self::Uuid => unless(is_uuid(value), || "expected a valid UUID".into()),
            Self::IsRegex(check) => unless(check(value).is_ok(), || {
                format!("not a valid regex: {}", text::tostring(value))
            }),
            Self::CustomValidator(check) => check(value).map_err(|refusal| match refusal {
                Refusal::Unsaid => {
                    Refusal::Text(format!("failed validating: {}", text::tostring(value)))
                }
                said => said,
            }),
            Self::MutuallyExclusiveSubsets(subsets) => exclusive(value, subsets),
            Self::Gt(_) | Self::Between(..) => self.check_range(number(value)),
            Self::LenEq(_) | Self::LenMin(_) | Self::LenMax(_) => self.check_length(length(value)),
            _ => self.check_text(value.as_str().unwrap_or_default()),
        }
    }

    fn check_range(&self, value: f64) -> Result<(), Refusal> {
        match *self {
            Self::Gt(limit) => unless(value > limit, || {
                format!("value must be greater than {}", text::tostring(&limit.into()))
            }),
            // Kong prints the limits with %d, which cuts the fraction off.
            Self::Between(low, high) => unless(low <= value && value <= high, || {
                format!("value should be between {} and {}", low as i64, high as i64)
            }),
            _ => Ok(()),
        }
    }

    fn check_length(&self, length: usize) -> Result<(), Refusal> {
        match *self {
            Self::LenEq(n) => unless(length == n, || format!("length must be {n}")),
            Self::LenMin(n) => unless(length >= n, || format!("length must be at least {n}")),
            Self::LenMax(n) => unless(length <= n, || format!("length must be at most {n}")),
            _ => Ok(()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), Refusal> {
        let invalid = || format!("invalid value: {value}");
        match self {
            Self::StartsWith(prefix) => {
                unless(value.starts_with(prefix), || format!("should start with: {prefix}"))
            }
            Self::Match(pattern) => unless(pattern(value), invalid),
            Self::NotMatch(pattern) => unless(!pattern(value), invalid),
            Self::MatchNone(patterns) => match patterns.iter().find(|(p, _)| p(value)) {
                Some((_, said)) => Err(Refusal::Text(said.clone().unwrap_or_else(invalid))),
                None => Ok(()),
            },
            Self::MatchAll(patterns) => match patterns.iter().find(|(p, _)| !p(value)) {
                Some((_, said)) => Err(Refusal::Text(said.clone().unwrap_or_else(invalid))),
                None => Ok(()),
            },
            Self::MatchAny(patterns, said) => {
                unless(patterns.iter().any(|p| p(value)), || said.clone().unwrap_or_else(invalid))
            }
            _ => Ok(()),
        }
    }
}

fn unless(ok: bool, said: impl FnOnce() -> String) -> Result<(), Refusal> {
    if ok { Ok(()) } else { Err(Refusal::Text(said())) }
}

/// Lua has one kind of number: 1 and 1.0 are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Bytes of a text, elements of an array, keys of a map.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

/// The hyphenated form, in either case (Kong's regular expression ignores it).
fn is_uuid(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 36 && Uuid::try_parse(text).is_ok())
}

fn exclusive(value: &Value, subsets: &[Vec<String>]) -> Result<(), Refusal> {
    let mut members: Vec<&[String]> = Vec::new();
    for item in items(value).iter().filter_map(Value::as_str) {
        let subset = subsets.iter().find(|subset| subset.iter().any(|name| name == item));
        if let Some(subset) = subset
            && !members.contains(&subset.as_slice())
        {
            members.push(subset);
        }
    }
    unless(members.len() <= 1, || {
        format!("these sets are mutually exclusive: {}", text::quoted_sets(&members))
    })
}
