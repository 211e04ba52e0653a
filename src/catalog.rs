//! Every entity of a configuration as JSON, by collection: what `kong.db` of Lua plugins reads.
//!
//! Workers share it. Which entity has which value of a field is worked out when it is first asked
//! for, once for all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use smallvec::SmallVec;
use uuid::Uuid;

/// The entities of a configuration.
#[derive(Debug, Default, Clone)]
pub struct Catalog(BTreeMap<String, Arc<Collection>>);

/// The entities of one collection, ordered by id: the order in which Kong lists them.
#[derive(Default)]
pub struct Collection {
    rows: Vec<(Uuid, Arc<Value>)>,
    indexes: Mutex<HashMap<String, Arc<Index>>>,
}

/// Positions of rows by a text that is made of some of their fields.
type Index = HashMap<Box<str>, SmallVec<[u32; 1]>>;

impl Catalog {
    /// A catalogue of entities with their collections, in any order.
    pub fn new(entities: impl IntoIterator<Item = (String, Uuid, Arc<Value>)>) -> Self {
        let mut collections: BTreeMap<String, Collection> = BTreeMap::new();
        for (collection, id, json) in entities {
            collections.entry(collection).or_default().rows.push((id, json));
        }
        let sorted = |(name, mut collection): (String, Collection)| {
            collection.rows.sort_by_key(|(id, _)| *id);
            (name, Arc::new(collection))
        };
        Self(collections.into_iter().map(sorted).collect())
    }

    /// The entities of a collection; `None` if there are none.
    pub fn collection(&self, name: &str) -> Option<&Arc<Collection>> {
        self.0.get(name)
    }
}

impl Collection {
    /// The entity of an id.
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<Value>> {
        let at = self.rows.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.rows.get(at).map(|(_, json)| json)
    }

    /// Up to `size` entities from a position, and the position behind them if there are more.
    pub fn page(&self, from: usize, size: usize) -> (Vec<&Arc<Value>>, Option<usize>) {
        let rows = self.rows.get(from..).unwrap_or_default();
        let page = rows.iter().take(size).map(|(_, json)| json).collect();
        (page, (rows.len() > size).then_some(from + size))
    }

    /// The entities whose fields have these values, a page of them.
    ///
    /// A field that points to another entity has that one's id as its value.
    pub fn with(
        &self,
        fields: &[String],
        values: &[String],
        (from, size): (usize, usize),
    ) -> (Vec<&Arc<Value>>, Option<usize>) {
        let index = self.index(fields);
        let found = index.get(values.join(SEPARATOR).as_str());
        let found = found.map(|found| found.as_slice()).unwrap_or_default();
        let rest = found.get(from..).unwrap_or_default();
        let rows = rest.iter().take(size).filter_map(|at| self.rows.get(*at as usize));
        (rows.map(|(_, json)| json).collect(), (rest.len() > size).then_some(from + size))
    }

    fn index(&self, fields: &[String]) -> Arc<Index> {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = fields.join(SEPARATOR);
        if let Some(index) = indexes.get(&name) {
            return index.clone();
        }
        let mut index = Index::new();
        for (at, (_, json)) in self.rows.iter().enumerate() {
            let values: Vec<_> = fields.iter().map(|field| text(json.get(field))).collect();
            if values.iter().all(String::is_empty) {
                continue;
            }
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            index.entry(values.join(SEPARATOR).into()).or_default().push(at);
        }
        let index = Arc::new(index);
        // The fields come from schemas, so there are few of them.
        indexes.insert(name, index.clone());
        index
    }
}

/// A byte that no name and hardly a value has.
const SEPARATOR: &str = "\u{1f}";

/// A field as a text: nothing for null, and the id of an entity that it points to.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(entity)) => text(entity.get("id")),
        Some(other) => other.to_string(),
    }
}

impl std::fmt::Debug for Collection {
    /// Without the entities: they hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").field("len", &self.rows.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let owner = json!({"id": Uuid::from_u128(9)});
        let row = |n: u128, value: Value| ("keys".to_owned(), Uuid::from_u128(n), Arc::new(value));
        Catalog::new([
            row(3, json!({"n": 3, "owner": owner})),
            row(1, json!({"n": 1, "owner": owner})),
            row(2, json!({"n": 2, "owner": null})),
        ])
    }

    fn numbers(rows: &[&Arc<Value>]) -> Vec<i64> {
        rows.iter().map(|row| row["n"].as_i64().unwrap()).collect()
    }

    #[test]
    fn entities_are_listed_by_id_page_by_page() {
        let catalog = catalog();
        let keys = catalog.collection("keys").unwrap();
        let (page, next) = keys.page(0, 2);
        assert_eq!((numbers(&page), next), (vec![1, 2], Some(2)));
        let (page, next) = keys.page(2, 2);
        assert_eq!((numbers(&page), next), (vec![3], None));
        assert!(keys.page(9, 2).0.is_empty());
        assert_eq!(keys.by_id(Uuid::from_u128(2)).unwrap()["n"], 2);
    }

    #[test]
    fn entities_are_found_by_their_fields() {
        let catalog = catalog();
        let keys = catalog.collection("keys").unwrap();
        let find = |fields: &[&str], values: &[&str], from| {
            let [fields, values] = [fields, values]
                .map(|part| part.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            let (rows, next) = keys.with(&fields, &values, (from, 1));
            (numbers(&rows), next)
        };
        let owner = Uuid::from_u128(9).to_string();
        assert_eq!(find(&["n"], &["2"], 0), (vec![2], None));
        assert_eq!(find(&["owner"], &[&owner], 0), (vec![1], Some(1)));
        assert_eq!(find(&["owner"], &[&owner], 1), (vec![3], None));
        assert_eq!(find(&["owner", "n"], &["", "2"], 0), (vec![2], None));
        assert_eq!(find(&["owner"], &[""], 0), (vec![], None));
    }
}
