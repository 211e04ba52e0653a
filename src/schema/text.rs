//! Kong's texts, and values as Lua prints them.

use serde_json::Value;

pub(super) const REQUIRED: &str = "required field missing";
pub(super) const REQUIRED_FOR_CHECK: &str = "field required for entity check";
pub(super) const UNKNOWN: &str = "unknown field";
pub(super) const MISSING_PRIMARY_KEY: &str = "missing primary key";

/// A value as Lua's `tostring` gives it.
pub(super) fn tostring(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), decimal),
        Value::Array(_) | Value::Object(_) => "table".to_owned(),
        Value::Bool(flag) => flag.to_string(),
    }
}

/// A number as `%.14g` prints it, where that is plain: configuration holds no others.
fn decimal(number: f64) -> String {
    let rounded = format!("{number:.14}");
    match rounded.contains('.') {
        true => rounded.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => rounded,
    }
}

/// `a, b, c`.
pub(super) fn listed(values: &[Value]) -> String {
    values.iter().map(tostring).collect::<Vec<_>>().join(", ")
}

/// `'a', 'b'`.
pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("'{}'", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `('a', 'b'), ('c')`.
pub(super) fn quoted_sets<T: AsRef<str>>(sets: &[impl AsRef<[T]>]) -> String {
    sets.iter().map(|set| format!("({})", quoted(set.as_ref()))).collect::<Vec<_>>().join(", ")
}

/// A text of a schema author with `%s` in it, filled in as by `string.format`.
pub(super) fn formatted(template: &str, argument: &str) -> String {
    template.replacen("%s", argument, 1).replace("%%", "%")
}
