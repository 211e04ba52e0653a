//! One field of a record: its type, its attributes, and whether a value fits.

use serde_json::{Map, Value};

use super::report::Report;
use super::rule::{Refusal, Rule};
use super::{Deprecation, Record, Step, text};
use crate::settings::is_reference;

/// The definition of a field, of the elements of an array, or of the keys or values of a map.
pub struct Field {
    /// Its type.
    pub kind: Kind,
    /// Null and absence are errors.
    pub required: bool,
    /// What takes the place of an absent value; null says so in the schema.
    pub default: Option<Value>,
    /// The gateway makes the value when it is absent; here for texts only (keys and secrets).
    /// Ids and timestamps are the loader's.
    pub auto: bool,
    /// It is described elsewhere: its value passes unchecked.
    pub is_abstract: bool,
    /// It may hold a vault reference, which is not checked until it is resolved.
    pub referenceable: bool,
    /// Its value is a secret: it is not shown.
    pub encrypted: bool,
    /// Takes the place of the text of any rule.
    pub err: Option<String>,
    /// In Kong's order.
    pub rules: Vec<Rule>,
    /// Set if the field should not be used any more.
    pub deprecation: Option<Deprecation>,
}

/// Types of Kong's schema language.
pub enum Kind {
    /// Anything; only the rules count.
    Any,
    /// A text.
    String,
    /// Any number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list.
    Array(Box<Field>),
    /// A list that counts each value once.
    Set(Box<Field>),
    /// Free keys.
    Map {
        /// What a key must be.
        keys: Box<Field>,
        /// What a value must be.
        values: Box<Field>,
    },
    /// Fixed keys.
    Record(Box<Record>),
    /// `{"id": ...}` of another entity.
    Foreign,
    /// A Lua function: no configuration file can hold one.
    Function,
    /// Any JSON.
    Json,
}

impl Kind {
    /// Whether a value that exists is of this type; Kong's text if it is not.
    fn mismatch(&self, value: &Value) -> Option<&'static str> {
        let (fits, said) = match self {
            Self::Any | Self::Json | Self::Foreign => return None,
            Self::String => (value.is_string(), "expected a string"),
            Self::Number => (value.is_number(), "expected a number"),
            Self::Integer => (is_whole(value), "expected an integer"),
            Self::Boolean => (value.is_boolean(), "expected a boolean"),
            Self::Array(_) => (value.is_array(), "expected an array"),
            Self::Set(_) => (value.is_array(), "expected a set"),
            // To Lua a list is a map with numbers for keys; the keys are checked below.
            Self::Map { .. } => (value.is_object() || value.is_array(), "expected a map"),
            Self::Record(_) => (value.is_object(), "expected a record"),
            Self::Function => (false, "expected a function"),
        };
        (!fits).then_some(said)
    }
}

impl Field {
    /// A field of a type, with no attributes.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            required: false,
            default: None,
            auto: false,
            is_abstract: false,
            referenceable: false,
            encrypted: false,
            err: None,
            rules: Vec::new(),
            deprecation: None,
        }
    }

    /// Whether the field accepts a value.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        let mut report = Report::default();
        self.validate(value, &mut report);
        report.len() == 0
    }

    /// Reports everything wrong with a value that is present (null is).
    pub(super) fn validate(&self, value: &Value, report: &mut Report) {
        if let Some(message) = self.null_error(value) {
            return report.error(message);
        }
        if value.is_null() || self.is_abstract {
            return;
        }
        if let Some(deprecation) = &self.deprecation {
            deprecation.warn(value);
        }
        if self.referenceable && value.as_str().is_some_and(is_reference) {
            return;
        }
        if let Some(message) = self.kind.mismatch(value) {
            return report.error(message);
        }
        let before = report.len();
        self.validate_parts(value, report);
        if report.len() > before {
            return;
        }
        if let Some(refusal) = self.rules.iter().find_map(|rule| rule.check(value).err()) {
            self.refuse(refusal, report);
        } else if matches!(self.kind, Kind::Integer) && !value.is_i64() {
            report.error(TOO_LARGE);
        }
    }

    /// What null says, or the rule that only null may stand here.
    fn null_error(&self, value: &Value) -> Option<String> {
        let own = |message: &str| self.err.clone().unwrap_or_else(|| message.to_owned());
        for rule in &self.rules {
            match rule {
                Rule::Ne(Value::Null) if value.is_null() => {
                    return Some(own("value must not be null"));
                }
                Rule::Eq(Value::Null) if !value.is_null() => {
                    return Some(own("value must be null"));
                }
                Rule::Eq(wanted) if value.is_null() && !wanted.is_null() => {
                    return Some(format!("value must be {}", text::tostring(wanted)));
                }
                _ => {}
            }
        }
        (value.is_null() && self.required).then(|| text::REQUIRED.to_owned())
    }

    fn validate_parts(&self, value: &Value, report: &mut Report) {
        match (&self.kind, value) {
            (Kind::Array(element) | Kind::Set(element), Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    report.within(Step::Index(i), |report| element.validate(item, report));
                }
            }
            (Kind::Map { keys, values }, Value::Object(map)) => {
                for (key, value) in map {
                    validate_entry(keys, values, key, value, report);
                }
            }
            (Kind::Map { keys, .. }, Value::Array(items)) if !items.is_empty() => {
                keys.validate(&Value::from(1), report);
            }
            (Kind::Record(record), Value::Object(data)) => record.validate(data, report),
            (Kind::Foreign, value) => validate_primary_key(value, report),
            _ => {}
        }
    }

    fn refuse(&self, refusal: Refusal, report: &mut Report) {
        match (&self.err, refusal) {
            (Some(own), _) => report.error(own),
            (None, Refusal::Text(message)) => report.error(message),
            (None, Refusal::Fields(errors)) => {
                errors.into_iter().for_each(|error| report.nested(error));
            }
            (None, Refusal::Unsaid) => report.error("failed validating"),
        }
    }

    /// Whether the value is a reference, whose rules have to wait until it is resolved.
    pub(super) fn holds_reference(&self, value: &Value) -> bool {
        matches!(self.kind, Kind::String)
            && self.referenceable
            && value.as_str().is_some_and(is_reference)
    }
}

/// A wrong key is an error of the map; a wrong value is found under its key.
fn validate_entry(keys: &Field, values: &Field, key: &str, value: &Value, report: &mut Report) {
    let before = report.len();
    keys.validate(&Value::from(key), report);
    if report.len() == before {
        report.within(Step::Key(key.to_owned()), |report| values.validate(value, report));
    }
}

fn validate_primary_key(value: &Value, report: &mut Report) {
    let id = value.as_object().and_then(|pk: &Map<String, Value>| pk.get("id"));
    report.within(Step::Field("id".to_owned()), |report| match id {
        None => report.error(text::MISSING_PRIMARY_KEY),
        Some(Value::Null) => report.error(text::REQUIRED),
        Some(Value::String(id)) => {
            if let Err(Refusal::Text(message)) = Rule::Uuid.check(&Value::from(id.as_str())) {
                report.error(message);
            }
        }
        Some(_) => report.error("expected a string"),
    });
}

/// What is said of a whole number that no field of ours holds; to Kong every double is a number.
const TOO_LARGE: &str = "value should be between -9223372036854775808 and 9223372036854775807";

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => false,
    }
}
