//! Changes of top-level members of a JSON object.
//!
//! Members that are not named keep their bytes. (Kong decodes and encodes the whole body, which
//! changes the spelling of numbers and the order of keys.)

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;
use smallvec::SmallVec;

use super::{Config, Type, Values, pair};
use crate::llm::json::Fault;
use crate::llm::splice::{Edit, Key, Object, quote};

/// What happens to the body.
pub(super) struct JsonChanges {
    remove: Vec<Key>,
    rename: Vec<(Key, Key)>,
    replace: Vec<(Key, Vec<u8>)>,
    add: Vec<(Key, Vec<u8>)>,
    append: Vec<(Key, Vec<u8>)>,
}

impl JsonChanges {
    /// Reads the configuration.
    pub(super) fn new(config: &Config) -> Self {
        let renames = config.rename.json.iter().map(|text| pair(text));
        Self {
            remove: config.remove.json.iter().map(|text| Key::new(pair(text).0)).collect(),
            rename: renames
                .filter(|(_, new)| !new.is_empty())
                .map(|(old, new)| (Key::new(old), Key::new(new)))
                .collect(),
            replace: values(&config.replace),
            add: values(&config.add),
            append: values(&config.append),
        }
    }

    /// Nothing happens to any body.
    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// The body after the changes.
    ///
    /// # Errors
    /// It is not one JSON object.
    pub(super) fn apply(&self, body: Bytes) -> Result<Bytes, Fault> {
        let object = Object::read(body)?;
        let mut draft = Draft { object: &object, changes: SmallVec::new() };
        for key in &self.remove {
            draft.set(key, None);
        }
        for (old, new) in &self.rename {
            if let Some(value) = draft.get(old).map(<[u8]>::to_vec) {
                draft.set(new, Some(value.into()));
                draft.set(old, None);
            }
        }
        for (key, value) in &self.replace {
            if draft.has(key) {
                draft.set(key, Some(value.into()));
            }
        }
        for (key, value) in &self.add {
            if !draft.has(key) {
                draft.set(key, Some(value.into()));
            }
        }
        for (key, value) in &self.append {
            let appended = appended(draft.get(key), value);
            draft.set(key, Some(appended.into()));
        }
        Ok(draft.finish())
    }
}

/// An object and what has changed in it so far.
struct Draft<'a> {
    object: &'a Object<Bytes>,
    changes: SmallVec<[Change<'a>; 8]>,
}

/// A member and its new JSON text; `None` when it goes.
type Change<'a> = (&'a Key, Option<Cow<'a, [u8]>>);

impl<'a> Draft<'a> {
    fn get(&self, key: &Key) -> Option<&[u8]> {
        match self.changes.iter().find(|(changed, _)| *changed == key) {
            Some((_, value)) => value.as_deref(),
            None => self.object.get(key.name()),
        }
    }

    /// Whether it has the member; for Lua, and so for Kong, `false` is as good as none.
    fn has(&self, key: &Key) -> bool {
        self.get(key).is_some_and(|value| value != b"false")
    }

    fn set(&mut self, key: &'a Key, value: Option<Cow<'a, [u8]>>) {
        match self.changes.iter_mut().find(|(changed, _)| *changed == key) {
            Some((_, old)) => *old = value,
            None => self.changes.push((key, value)),
        }
    }

    fn finish(&self) -> Bytes {
        let edits: SmallVec<[Edit<'_>; 8]> = self
            .changes
            .iter()
            .map(|(key, value)| match value {
                Some(value) => Edit::set(key, value),
                None => Edit::drop(key),
            })
            .collect();
        self.object.edited(&edits)
    }
}

/// Kong's `append`: text becomes a list, a list grows, anything else is replaced by a list.
///
/// An object is left as it is; Kong would give it a member named `1`.
fn appended(current: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let list = |items: &[&[u8]]| [b"[", items.join(&b","[..]).as_slice(), b"]"].concat();
    match current {
        Some(text @ [b'"', ..]) => list(&[text, value]),
        Some([b'[', items @ .., b']']) if !items.trim_ascii().is_empty() => list(&[items, value]),
        Some(object @ [b'{', ..]) => object.to_vec(),
        _ => list(&[value]),
    }
}

/// Names with their values as JSON text.
fn values(values: &Values) -> Vec<(Key, Vec<u8>)> {
    let entry = |(at, text): (usize, &String)| {
        let (name, value) = pair(text);
        Some((Key::new(name), typed(value, values.json_types.get(at).copied())?))
    };
    values.json.iter().enumerate().filter_map(entry).collect()
}

/// A value as JSON text; `None` for a number that is none, which Kong leaves out, too.
fn typed(value: &str, kind: Option<Type>) -> Option<Vec<u8>> {
    // Kong encodes "no value" before it looks at the type, so that it becomes this word.
    let value = if value.is_empty() { "null" } else { value };
    match kind.unwrap_or(Type::String) {
        Type::String => Some(quote(value)),
        Type::Boolean => Some(if value == "true" { b"true".to_vec() } else { b"false".to_vec() }),
        Type::Number => number(value.trim()).map(|number| number.to_string().into_bytes()),
    }
}

/// A number; whole ones are written without a fraction.
fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let number = text.parse::<f64>().ok()?;
    // Up to 2^53 a float holds every whole number exactly.
    let whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    if whole {
        Some((number as i64).into())
    } else {
        serde_json::Number::from_f64(number).map(Value::Number)
    }
}
