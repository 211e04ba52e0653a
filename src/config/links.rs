//! Who is who: ids, references between entities, and names that must not be taken twice.
//!
//! Generated ids are Kong's (UUID version 5 over the collection and the key), so the same file
//! gives the same ids, in Kong and here. Where Kong takes a random id the place in the file
//! decides: counters keyed by a credential outlive a reload.

use std::collections::HashMap;

use uuid::{Uuid, uuid};

use super::collections::{Collection, Identity, by_name};
use super::draft::{Draft, unknown_field};
use super::node::{Data, Node};
use super::problem::{At, Report, merged};

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
    for (at, draft) in drafts.iter().enumerate() {
        let kind = draft.kind;
        let mut taken = false;
        for field in kind.key.iter().chain(kind.unique) {
            let Some(value) = draft.node.field(field).and_then(Node::as_str) else { continue };
            if let Some(first) = unique.get(&(kind.name, field, value)) {
                let shown = if kind.secret_key { "***" } else { value };
                twice(draft, &drafts[*first], field, field, shown, report);
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
                twice(draft, &drafts[*first], "id", "primary key", &id, report);
            }
            Some(_) => {}
            None => drop(index.by_id.insert((kind.name, draft.id), at)),
        }
    }
    index
}

/// Kong's uniqueness error, with the place of the first entity beside it.
pub(super) fn twice(
    draft: &Draft,
    first: &Draft,
    field: &str,
    what: &str,
    value: &str,
    report: &mut Report,
) {
    let message = format!(
        "uniqueness violation: '{}' entity with {what} set to '{value}' already declared",
        draft.kind.name
    );
    let pos = first.at(field).pos;
    let file = report.names.get(pos.file).cloned().unwrap_or_else(|| "".into());
    let hint = format!("first in {file}:{}", pos.line);
    report.error(draft.at(field), message).hint = Some(hint);
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
        if let Some((parent_field, parent)) = draft.parent
            && parent_field == *field
        {
            links.push((*field, drafts[parent].id));
            repeated(draft, &drafts[parent], field, report);
        } else if let Some(node) = draft.node.field(field) {
            let id = reference(draft, field, node, target, report)
                .and_then(|name| find(index, drafts, target, name, draft, field, report));
            links.push((*field, id.unwrap_or_default()));
        }
    }
    links
}

/// Kong: an entity within another one may name that one, and no other.
fn repeated(draft: &Draft, parent: &Draft, field: &str, report: &mut Report) {
    let Some(node) = draft.node.field(field) else { return };
    let key = parent.kind.key.and_then(|key| parent.node.field(key)?.as_str());
    let is_parent = named(node, parent.kind.key)
        .is_some_and(|name| Some(name) == key || Uuid::parse_str(name) == Ok(parent.id));
    if !is_parent {
        let path = draft.path.field(field);
        let at = At { path: &path, ..draft.at(field) };
        let hint = format!("the {field} is the one around it");
        report.error(at, "value must be null").hint = Some(hint);
    }
}

/// What a reference says: a name or id, alone or as `{id: ...}` or `{name: ...}` (decK).
fn reference<'a>(
    draft: &Draft,
    field: &str,
    node: &'a Node,
    target: &Collection,
    report: &mut Report,
) -> Option<&'a str> {
    let path = draft.path.field(field);
    let at = At { path: &path, ..draft.at(field) };
    let Data::Map(entries) = &node.data else {
        if node.as_str().is_none() {
            report.error(at, "expected a string").hint = Some("a name or an id".to_owned());
        }
        return node.as_str();
    };
    let known = || ["id"].into_iter().chain(target.key).chain(BYSTANDERS);
    let mut unknown = false;
    for entry in entries.iter().filter(|entry| !known().any(|name| name == entry.key)) {
        let path = path.field(&entry.key);
        let at = At { path: &path, pos: entry.pos, ..at };
        unknown_field(report, at, &entry.key, known());
        unknown = true;
    }
    let name = named(node, target.key);
    if name.is_none() && !unknown {
        let path = path.field("id");
        let at = At { path: &path, ..at };
        report.error(at, "missing primary key");
    }
    name.filter(|_| !unknown)
}

fn find(
    index: &Index<'_>,
    drafts: &[Draft],
    target: &Collection,
    name: &str,
    draft: &Draft,
    field: &str,
    report: &mut Report,
) -> Option<Uuid> {
    let by_id = || index.by_id.get(&(target.name, Uuid::parse_str(name).ok()?));
    let found = index.by_key.get(&(target.name, name)).or_else(by_id);
    if found.is_none() {
        let message =
            format!("invalid reference '{field}: {name}' (no such entry in '{}')", target.name);
        let known = index.by_key.keys().filter(|(kind, _)| *kind == target.name);
        let hint = report.suggest(name, known.map(|(_, key)| *key));
        report.error(draft.at(field), message).hint = hint;
    }
    found.map(|at| drafts[*at].id)
}
