//! Who is who: ids, references between entities, and names that must not be taken twice.
//!
//! Generated ids are Kong's (UUID version 5 over the collection and the key), so the same file
//! gives the same ids, in Kong and here. Where Kong takes a random id the place in the file
//! decides: counters keyed by a credential outlive a reload.

use std::collections::HashMap;

use serde_json::Value;
use uuid::{Uuid, uuid};

use super::collections::{Collection, Identity, by_name};
use super::draft::{Draft, unknown_field};
use super::node::{Data, Node};
use super::problem::{At, Kong, Path, Problem, Report, merged};

/// Kong's name space for generated ids.
const NAMESPACE: Uuid = uuid!("fd02801f-0957-4a15-a55a-c8d9606f30b5");

/// Fields of a referenced entity that may stand beside its id or name; decK's dumps have them.
const BYSTANDERS: [&str; 3] = ["tags", "created_at", "updated_at"];

/// Gives every draft its id.
pub(super) fn identify(drafts: &mut [Draft], report: &Report) {
    for index in 0..drafts.len() {
        let draft = &drafts[index];
        let given = draft.node.field("id").and_then(Node::as_str);
        let id = given
            .and_then(|id| Uuid::parse_str(id).ok())
            .unwrap_or_else(|| generated(draft, drafts, report));
        drafts[index].id = id;
    }
}

fn generated(draft: &Draft, drafts: &[Draft], report: &Report) -> Uuid {
    let kind = draft.kind;
    let key = match kind.identity {
        Identity::Key => {
            kind.key.and_then(|key| draft.node.field(key)?.as_str().map(str::to_owned))
        }
        Identity::Fields(fields) => Some(cache_key(draft, drafts, fields)),
        Identity::Place => None,
    };
    let place = || merged(&draft.path, draft.document, &report.offsets).to_string();
    let collection = Uuid::new_v5(&NAMESPACE, kind.name.as_bytes());
    Uuid::new_v5(&collection, key.unwrap_or_else(place).as_bytes())
}

/// Kong's cache key: the fields as they are written, the parent by its id.
///
/// A consumer group is appended only where there is one: the ids of all other plugins stay those
/// of a Kong that has no groups.
fn cache_key(draft: &Draft, drafts: &[Draft], fields: &[&'static str]) -> String {
    let text = |field: &str| match draft.parent {
        Some((parent_field, parent)) if parent_field == field => {
            Some(drafts[parent].id.to_string())
        }
        _ => {
            let node = draft.node.field(field)?;
            named(node, target_key(draft.kind, field)).map(str::to_owned)
        }
    };
    let mut key = format!("{}:*", draft.kind.name);
    for field in fields {
        key.push(':');
        key.push_str(&text(field).unwrap_or_default());
    }
    if let Some(group) = text("consumer_group") {
        key.push(':');
        key.push_str(&group);
    }
    key
}

/// The id or name in a reference to an entity with this key, without judging its shape.
fn named<'a>(node: &'a Node, key: Option<&str>) -> Option<&'a str> {
    node.as_str().or_else(|| node.field("id")?.as_str()).or_else(|| node.field(key?)?.as_str())
}

/// The key of the collection that a foreign field points to.
fn target_key(kind: &Collection, field: &str) -> Option<&'static str> {
    let (_, target) = kind.foreign.iter().find(|(name, _)| *name == field)?;
    by_name(target)?.key
}

/// Finds entities by key and by id.
#[derive(Default)]
struct Index<'a> {
    by_key: HashMap<(&'static str, &'a str), usize>,
    by_id: HashMap<(&'static str, Uuid), usize>,
}

/// Resolves every reference and reports names and ids that are taken twice.
pub(super) fn connect(drafts: &mut [Draft], report: &mut Report) {
    let index = index(drafts, report);
    let links: Vec<_> = drafts.iter().map(|draft| resolve(draft, drafts, &index, report)).collect();
    for (draft, links) in drafts.iter_mut().zip(links) {
        draft.links = links;
    }
    scopes(drafts, report);
}

fn index<'a>(drafts: &'a [Draft], report: &mut Report) -> Index<'a> {
    let mut index = Index::default();
    let mut unique: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for at in in_kongs_order(drafts) {
        let draft = &drafts[at];
        let kind = draft.kind;
        let mut taken = false;
        for field in kind.key.iter().chain(kind.unique) {
            let Some(value) = draft.node.field(field).and_then(Node::as_str) else { continue };
            if let Some(first) = unique.get(&(kind.name, field, value)) {
                let shown = if kind.secret_key { "***" } else { value };
                let problem = twice(draft, &drafts[*first], field, field, shown, report);
                problem.kong = match kind.key == Some(field) {
                    true => Kong::Duplicate,
                    false => Kong::Unique { collection: kind.name, of: name_of(draft) },
                };
                taken = true;
                continue;
            }
            unique.insert((kind.name, field, value), at);
            if kind.key == Some(field) {
                index.by_key.insert((kind.name, value), at);
            }
        }
        match index.by_id.get(&(kind.name, draft.id)) {
            Some(first) if !taken => {
                let id = draft.id.to_string();
                let problem = twice(draft, &drafts[*first], "id", "primary key", &id, report);
                problem.kong = Kong::Duplicate;
            }
            Some(_) => {}
            None => drop(index.by_id.insert((kind.name, draft.id), at)),
        }
    }
    index
}

/// Collections in the order in which Kong reads them; the rest, which Kong does not have, follows.
const KONGS_ORDER: [&str; 18] = [
    "ca_certificates",
    "certificates",
    "consumers",
    "key_sets",
    "keys",
    "services",
    "routes",
    "plugins",
    "snis",
    "upstreams",
    "targets",
    "vaults",
    "acls",
    "basicauth_credentials",
    "hmacauth_credentials",
    "jwt_secrets",
    "keyauth_credentials",
    "oauth2_credentials",
];

/// The drafts as Kong meets them: collection by collection, and what is nested before what is
/// around it. It decides which of two equal ones is the second.
fn in_kongs_order(drafts: &[Draft]) -> Vec<usize> {
    let rank = |draft: &Draft| {
        let place = KONGS_ORDER.iter().position(|name| *name == draft.kind.name);
        place.unwrap_or(KONGS_ORDER.len())
    };
    let mut keys: Vec<Vec<(usize, usize)>> = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.iter().enumerate() {
        let around = draft.parent.map(|(_, parent)| keys[parent].as_slice()).unwrap_or_default();
        let mut key = around.to_vec();
        key.push((rank(draft), at));
        keys.push(key);
    }
    for key in &mut keys {
        key.push((usize::MAX, usize::MAX));
    }
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
    order
}

/// What Kong calls an entity in errors that have no position: its key, or else its id.
fn name_of(draft: &Draft) -> String {
    let key = draft.kind.key.filter(|_| !draft.kind.secret_key);
    let key = key.and_then(|key| draft.node.field(key)?.as_str());
    key.map_or_else(|| draft.id.to_string(), str::to_owned)
}

/// Kong's uniqueness error, with the place of the first entity beside it.
pub(super) fn twice<'r>(
    draft: &Draft,
    first: &Draft,
    field: &str,
    what: &str,
    value: &str,
    report: &'r mut Report,
) -> &'r mut Problem {
    let message = format!(
        "uniqueness violation: '{}' entity with {what} set to '{value}' already declared",
        draft.kind.name
    );
    let pos = first.at(field).pos;
    let file = report.names.get(pos.file).cloned().unwrap_or_else(|| "".into());
    let hint = format!("first in {file}:{}", pos.line);
    let problem = report.error(draft.at(field), message);
    (problem.hint, problem.kong) = (Some(hint), Kong::Own);
    problem
}

/// Kong (with a database) keeps one plugin of a name in a scope; ids given by hand cannot hide two.
fn scopes(drafts: &[Draft], report: &mut Report) {
    let mut seen: HashMap<(&str, [Option<Uuid>; 4]), usize> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate().filter(|(_, d)| d.kind.name == "plugins") {
        let Some(name) = draft.node.field("name").and_then(Node::as_str) else { continue };
        let scope = ["service", "route", "consumer", "consumer_group"].map(|f| draft.link(f));
        if scope.contains(&Some(Uuid::nil())) {
            continue; // one of the references is wrong
        }
        match seen.get(&(name, scope)) {
            Some(first) if drafts[*first].id != draft.id => {
                let what = "name and scope";
                twice(draft, &drafts[*first], "name", what, name, report);
            }
            Some(_) => {} // reported with the id
            None => drop(seen.insert((name, scope), at)),
        }
    }
}

fn resolve(
    draft: &Draft,
    drafts: &[Draft],
    index: &Index<'_>,
    report: &mut Report,
) -> Vec<(&'static str, Uuid)> {
    let mut links = Vec::new();
    for (field, target) in draft.kind.foreign {
        let Some(target) = by_name(target) else { continue };
        let reference = Reference { draft, field, target };
        if let Some((parent_field, parent)) = draft.parent
            && parent_field == *field
        {
            links.push((*field, drafts[parent].id));
            reference.repeats(&drafts[parent], report);
        } else if let Some(node) = draft.node.field(field) {
            let name = reference.name(node, report);
            let id = name.and_then(|name| reference.find(name, node, index, drafts, report));
            links.push((*field, id.unwrap_or_default()));
        }
    }
    links
}

/// A field of an entity that points to another.
struct Reference<'a> {
    draft: &'a Draft,
    field: &'static str,
    target: &'static Collection,
}

/// Kong's word for any foreign field of a nested entity.
pub(super) const NULL: &str = "value must be null";

impl Reference<'_> {
    fn path(&self) -> Path {
        self.draft.path.field(self.field)
    }

    /// Kong: an entity within another one may name that one, and no other.
    fn repeats(&self, parent: &Draft, report: &mut Report) {
        let Some(node) = self.draft.node.field(self.field) else { return };
        let key = parent.kind.key.and_then(|key| parent.node.field(key)?.as_str());
        let is_parent = named(node, parent.kind.key)
            .is_some_and(|name| Some(name) == key || Uuid::parse_str(name) == Ok(parent.id));
        let path = self.path();
        let at = At { path: &path, ..self.draft.at(self.field) };
        if is_parent {
            return report.beside(at, NULL);
        }
        let hint = format!("the {} is the one around it", self.field);
        report.error(at, NULL).hint = Some(hint);
    }

    /// What it says: a name or id, alone or as `{id: ...}` or `{name: ...}` (decK).
    fn name<'n>(&self, node: &'n Node, report: &mut Report) -> Option<&'n str> {
        let path = self.path();
        let at = At { path: &path, ..self.draft.at(self.field) };
        let entries = match &node.data {
            Data::Map(entries) => entries.as_slice(),
            Data::List(items) if items.is_empty() => &[],
            Data::Scalar(Value::String(text)) if text.is_empty() => &[],
            Data::Scalar(Value::String(text)) => return Some(text),
            _ => {
                report.error(at, "expected a string").hint = Some("a name or an id".to_owned());
                return None;
            }
        };
        let known = || ["id"].into_iter().chain(self.target.key).chain(BYSTANDERS);
        let mut unknown = false;
        for entry in entries.iter().filter(|entry| !known().any(|name| name == entry.key)) {
            let path = path.field(&entry.key);
            let at = At { path: &path, pos: entry.pos, ..at };
            unknown_field(report, at, &entry.key, known());
            unknown = true;
        }
        let name = named(node, self.target.key).filter(|name| !name.is_empty());
        if name.is_none() && !unknown {
            let path = path.field("id");
            let at = At { path: &path, ..at };
            report.error(
                at,
                match node.entry("id").map(|entry| &entry.value) {
                    None => "missing primary key",
                    Some(id) if id.is_null() => "required field missing",
                    Some(_) => "expected a string",
                },
            );
        }
        name.filter(|_| !unknown)
    }

    fn find(
        &self,
        name: &str,
        node: &Node,
        index: &Index<'_>,
        drafts: &[Draft],
        report: &mut Report,
    ) -> Option<Uuid> {
        let target = self.target.name;
        let by_id = || index.by_id.get(&(target, Uuid::parse_str(name).ok()?));
        let found = index.by_key.get(&(target, name)).or_else(by_id);
        let schema = self.schemas_word(node, report, found.is_some());
        if found.is_none() {
            let field = self.field;
            let is_id = node.field("id").is_some() && Uuid::try_parse(name).is_ok();
            let said = if is_id { node.to_value().to_string() } else { name.to_owned() };
            let message =
                format!("invalid reference '{field}: {said}' (no such entry in '{target}')");
            let known = index.by_key.keys().filter(|(kind, _)| *kind == target);
            let hint = report.suggest(name, known.map(|(_, key)| *key));
            let problem = report.error(self.draft.at(field), message);
            problem.hint = hint;
            problem.kong = schema;
        }
        found.map(|at| drafts[*at].id)
    }

    /// What Kong's schemas say of a reference. Whether there is such an entity is no question of
    /// theirs, but a name that leads nowhere is to them a table without an id; and a nested entity
    /// may have no reference at all, unless everything else is right.
    fn schemas_word(&self, node: &Node, report: &mut Report, found: bool) -> Kong {
        let path = self.path();
        let id = node.field("id").and_then(Node::as_str);
        let is_nested = self.draft.parent.is_some();
        let is_id = id.is_some_and(|id| Uuid::try_parse(id).is_ok());
        if is_nested && (found || is_id) {
            report.beside(At { path: &path, ..self.draft.at(self.field) }, NULL);
        }
        let word = if id.is_some() { "expected a valid UUID" } else { "missing primary key" };
        let at_id = path.field("id");
        if !is_nested && found && !is_id && node.as_str().is_none() {
            report.beside(At { path: &at_id, ..self.draft.at(self.field) }, word);
        }
        let before = match is_nested {
            true => (path, NULL.to_owned()),
            false => (at_id, word.to_owned()),
        };
        let is_late = is_id || (node.as_str().is_some() && !is_nested);
        match is_late {
            true => Kong::Reference {
                collection: self.draft.kind.name,
                of: name_of(self.draft),
                before: Some(before).filter(|_| !is_id),
            },
            false => Kong::Instead(before.0, before.1),
        }
    }
}
