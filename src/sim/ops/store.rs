//! What clients have stored: things in the order they came, the oldest of which go first when
//! there is no more room.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::call::Call;

/// Things of all kinds that are kept.
const THINGS_MAX: usize = 1000;

/// Bytes of uploads that are kept.
const BYTES_MAX: usize = 64 << 20;

/// The longest list.
const LIST_MAX: usize = 100;

/// Everything that is stored.
#[derive(Default)]
pub(in super::super) struct Store {
    things: VecDeque<Thing>,
}

/// One stored thing.
pub(super) struct Thing {
    pub(super) kind: &'static str,
    /// What it belongs to; empty for most.
    pub(super) parent: String,
    /// As clients see it, with its `id`.
    pub(super) value: Value,
    /// Its content.
    pub(super) data: Bytes,
    /// How often somebody has asked for it, which lets slow work end.
    pub(super) asked: u32,
}

/// A new id.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}{:016x}", fastrand::u64(..))
}

impl Store {
    /// Keeps a thing.
    pub(super) fn add(&mut self, kind: &'static str, value: Value) {
        self.add_with(kind, "", value, Bytes::new());
    }

    /// Keeps a thing with all that is known of it.
    pub(super) fn add_with(&mut self, kind: &'static str, parent: &str, value: Value, data: Bytes) {
        let bytes = |things: &VecDeque<Thing>| things.iter().map(|t| t.data.len()).sum::<usize>();
        while self.things.len() >= THINGS_MAX || bytes(&self.things) + data.len() > BYTES_MAX {
            if self.things.pop_front().is_none() {
                break;
            }
        }
        self.things.push_back(Thing { kind, parent: parent.to_owned(), value, data, asked: 0 });
    }

    /// The thing of this kind and id.
    pub(super) fn get(&mut self, kind: &str, id: &str) -> Option<&mut Thing> {
        self.things.iter_mut().find(|thing| thing.kind == kind && thing.value["id"] == id)
    }

    /// Removes a thing and what belongs to it; whether it was there.
    pub(super) fn remove(&mut self, kind: &str, id: &str) -> bool {
        let before = self.things.len();
        let is_it = |thing: &Thing| thing.kind == kind && thing.value["id"] == id;
        self.things.retain(|thing| !is_it(thing) && thing.parent != id);
        self.things.len() < before
    }

    /// The list of a kind as clients page through it: newest first, unless `order=asc`.
    pub(super) fn list(&self, kind: &str, parent: &str, call: &Call) -> Value {
        let wanted = self.things.iter().filter(|t| t.kind == kind && t.parent == parent);
        let mut all: Vec<&Value> = wanted.map(|thing| &thing.value).collect();
        if call.argument("order").as_deref() != Some("asc") {
            all.reverse();
        }
        if let Some(after) = call.argument("after") {
            let at = all.iter().position(|value| value["id"] == after.as_str());
            all.drain(..at.map_or(all.len(), |at| at + 1));
        }
        let limit = call.argument("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
        let limit = usize::clamp(limit, 1, LIST_MAX);
        let has_more = all.len() > limit;
        all.truncate(limit);
        let id = |value: Option<&&Value>| value.map_or(Value::Null, |value| value["id"].clone());
        json!({
            "object": "list",
            "first_id": id(all.first()),
            "last_id": id(all.last()),
            "has_more": has_more,
            "data": all,
        })
    }
}
