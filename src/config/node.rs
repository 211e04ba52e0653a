//! The tree of a configuration text: values that know where they were written.
//!
//! Everything that decK does to a file before Kong sees it (merging, defaults, tags) happens on
//! this tree, so an error in a merged value still points at the line its author wrote.

use serde_json::{Map, Value};

use crate::schema::Step;

/// Deepest nesting that is read. No entity needs a fraction of it; the call stack bears it.
pub(super) const MAX_DEPTH: usize = 100;

/// A position in one of the loaded files; line and column count from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Pos {
    /// Index of the file among the sources.
    pub(super) file: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What is wrong with a text before it means anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) pos: Pos,
    pub(super) message: String,
    /// What Kong's reader says, if it refuses the text, too.
    pub(super) kong: Option<String>,
}

impl Fault {
    /// A fault at a position.
    pub(super) fn new(pos: Pos, message: impl Into<String>) -> Self {
        Self { pos, message: message.into(), kong: None }
    }
}

/// A value and the position of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) pos: Pos,
    pub(super) data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// Null, a boolean, a number or a string; never an array or an object.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the text; no key occurs twice.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key is written.
    pub(super) pos: Pos,
    pub(super) value: Node,
}

impl Node {
    /// Whether this is null or was left empty.
    pub(super) fn is_null(&self) -> bool {
        self.data == Data::Scalar(Value::Null)
    }

    /// Whether this is `{}`, which to Lua is an empty list as well.
    pub(super) fn is_empty_map(&self) -> bool {
        matches!(&self.data, Data::Map(entries) if entries.is_empty())
    }

    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map; nothing for any other value.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; nothing for any other value.
    pub(super) fn items(&self) -> &[Self] {
        match &self.data {
            Data::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key; null counts as not given.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    /// Sets a key, in place of an earlier value.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        let Data::Map(entries) = &mut self.data else { return };
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value,
            None => entries.push(Entry { key: key.to_owned(), pos: value.pos, value }),
        }
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }

    /// Fills in what is missing from `base`, map by map; what is here wins, lists are not mixed.
    pub(super) fn fill_from(&mut self, base: &Self) {
        let (Data::Map(entries), Data::Map(others)) = (&mut self.data, &base.data) else { return };
        for other in others {
            match entries.iter_mut().find(|entry| entry.key == other.key) {
                Some(entry) => entry.value.fill_from(&other.value),
                None => entries.push(other.clone()),
            }
        }
    }

    /// The position of the value at `path`, or of the nearest thing around it that was written.
    ///
    /// For a field it is the position of its key: a value may begin on a later line.
    pub(super) fn locate(&self, path: &[Step]) -> Pos {
        let (mut node, mut pos) = (self, self.pos);
        for step in path {
            let next = match step {
                Step::Field(key) | Step::Key(key) => {
                    node.entry(key).map(|entry| (&entry.value, entry.pos))
                }
                Step::Index(index) => node.items().get(*index).map(|item| (item, item.pos)),
            };
            let Some(next) = next else { break };
            (node, pos) = next;
        }
        pos
    }

    /// The way to the value that was written at `pos`: the reverse of [`Node::locate`].
    pub(super) fn path_to(&self, pos: Pos) -> Vec<Step> {
        let (mut node, mut path) = (self, Vec::new());
        loop {
            let entries = node.entries().iter();
            let fields = entries.map(|e| (e.pos, Step::Field(e.key.clone()), &e.value));
            let items = node.items().iter().enumerate();
            let items = items.map(|(index, item)| (item.pos, Step::Index(index), item));
            let begun = fields.chain(items).filter(|(begin, ..)| *begin <= pos);
            let Some((_, step, inner)) = begun.max_by_key(|(begin, ..)| *begin) else {
                return path;
            };
            path.push(step);
            node = inner;
        }
    }

    /// The value at `path`.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| match step {
            Step::Field(key) | Step::Key(key) => node.entry(key).map(|entry| &entry.value),
            Step::Index(index) => node.items().get(*index),
        })
    }

    /// Puts a value at a dotted path, in place of what is there, and makes the maps on the way.
    pub(super) fn place(&mut self, path: &str, value: Self) {
        let Some((head, rest)) = path.split_once('.') else { return self.set(path, value) };
        let is_map = |node: &Self| matches!(node.data, Data::Map(_));
        if !self.field(head).is_some_and(is_map) {
            self.set(head, Self { pos: value.pos, data: Data::Map(Vec::new()) });
        }
        if let Some(inner) = self.within(head) {
            inner.place(rest, value);
        }
    }

    /// The value of a key, to change it.
    pub(super) fn within(&mut self, key: &str) -> Option<&mut Self> {
        let Data::Map(entries) = &mut self.data else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// A value all of which is at `pos`.
    pub(super) fn of_value(value: &Value, pos: Pos) -> Self {
        let data = match value {
            Value::Array(items) => {
                Data::List(items.iter().map(|item| Self::of_value(item, pos)).collect())
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| Entry {
                    key: key.clone(),
                    pos,
                    value: Self::of_value(value, pos),
                };
                Data::Map(map.iter().map(entry).collect())
            }
            scalar => Data::Scalar(scalar.clone()),
        };
        Self { pos, data }
    }

    /// The value without its positions.
    pub(super) fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Data::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                map.extend(entries.iter().map(|e| (e.key.clone(), e.value.to_value())));
                Value::Object(map)
            }
        }
    }
}
