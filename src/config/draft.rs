//! Entities as they are written: taken out of their nesting, not yet judged.
//!
//! Kong lets every entity nest under each one it points to, at any depth; decK adds group
//! membership. Both become one flat list in which a parent stands before its children.

use uuid::Uuid;

use super::collections::{Collection, Support, by_name};
use super::node::{Data, Entry, Node, Pos};
use super::problem::{At, Path, Report};

/// One entity as written.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: &'static Collection,
    /// A map of the fields; nested entities are taken out.
    pub(super) node: Node,
    pub(super) path: Path,
    /// Index of the file that holds it.
    pub(super) document: usize,
    /// The field that points to the entity around it, and that entity's index.
    pub(super) parent: Option<(&'static str, usize)>,
    /// Nil until `links::identify`.
    pub(super) id: Uuid,
    /// Foreign fields as ids; what cannot be resolved is nil. Empty until `links::connect`.
    pub(super) links: Vec<(&'static str, Uuid)>,
}

impl Draft {
    /// Where a field is, or the entity if it has no such field.
    pub(super) fn at(&self, field: &str) -> At<'_> {
        let pos = self.node.entry(field).map_or(self.node.pos, |entry| entry.pos);
        At { document: self.document, path: &self.path, pos }
    }

    /// The id that a foreign field holds.
    pub(super) fn link(&self, field: &str) -> Option<Uuid> {
        self.links.iter().find(|(name, _)| *name == field).map(|(_, id)| *id)
    }
}

/// Flattens the collections of one document.
pub(super) struct Collector<'a> {
    pub(super) drafts: &'a mut Vec<Draft>,
    pub(super) report: &'a mut Report,
    pub(super) document: usize,
}

type Parent = Option<(&'static str, usize)>;

impl Collector<'_> {
    /// Takes in the array of a collection; how many items it has.
    pub(super) fn collection(
        &mut self,
        kind: &'static Collection,
        entry: Entry,
        path: &Path,
        parent: Parent,
    ) -> usize {
        let at = At { document: self.document, path, pos: entry.pos };
        let items = match entry.value.data {
            Data::List(items) => items,
            // An empty Lua table is an array and a map.
            Data::Map(entries) if entries.is_empty() => Vec::new(),
            _ if entry.value.is_null() => Vec::new(),
            _ => {
                self.report.error(at, "expected an array");
                return 0;
            }
        };
        match kind.support {
            _ if items.is_empty() => return 0,
            Support::Refused(reason) => {
                self.report.error(at, format!("'{}' is not supported: {reason}", entry.key));
                return items.len();
            }
            Support::Ignored(reason) => {
                self.report.warn(at, format!("ignored: {reason}"));
                return items.len();
            }
            Support::Schema | Support::Membership => {}
        }
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            self.entity(kind, item, path.index(index), parent);
        }
        count
    }

    fn entity(&mut self, kind: &'static Collection, item: Node, path: Path, parent: Parent) {
        let pos = item.pos;
        let entries = match item.data {
            Data::Map(entries) => entries,
            // `snis: [example.com]` under a certificate.
            Data::Scalar(_) if kind.name == "snis" && item.as_str().is_some() => {
                vec![Entry { key: "name".to_owned(), pos, value: item }]
            }
            _ => {
                let at = At { document: self.document, path: &path, pos };
                self.report.error(at, "expected a record");
                return;
            }
        };
        let index = self.draft(kind, pos, path.clone(), parent);
        let mut own = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = path.field(&entry.key);
            match entry.key.as_str() {
                "_comment" | "_ignore" => {
                    let at = At { document: self.document, path: &path, pos: entry.pos };
                    remark(&entry, at, self.report);
                }
                "groups" if kind.name == "consumers" => {
                    self.members(entry, &path, "consumer", "consumer_group", index);
                }
                "consumers" if kind.name == "consumer_groups" => {
                    self.members(entry, &path, "consumer_group", "consumer", index);
                }
                key => match kind.child(key) {
                    Some((child, field)) => {
                        self.collection(child, entry, &path, Some((field, index)));
                    }
                    None => own.push(entry),
                },
            }
        }
        self.drafts[index].node.data = Data::Map(own);
    }

    /// decK's `consumers[].groups` and `consumer_groups[].consumers`.
    fn members(
        &mut self,
        entry: Entry,
        path: &Path,
        around: &'static str,
        other: &'static str,
        index: usize,
    ) {
        let Some(kind) = by_name("consumer_group_consumers") else { return };
        if !entry.value.is_null() && !matches!(entry.value.data, Data::List(_)) {
            let at = At { document: self.document, path, pos: entry.pos };
            self.report.error(at, "expected an array");
        }
        let Data::List(items) = entry.value.data else { return };
        for (at, item) in items.into_iter().enumerate() {
            let pos = item.pos;
            let link = self.draft(kind, pos, path.index(at), Some((around, index)));
            let reference = Entry { key: other.to_owned(), pos, value: item };
            self.drafts[link].node.data = Data::Map(vec![reference]);
        }
    }

    fn draft(&mut self, kind: &'static Collection, pos: Pos, path: Path, parent: Parent) -> usize {
        let node = Node { pos, data: Data::Map(Vec::new()) };
        let document = self.document;
        let (id, links) = (Uuid::nil(), Vec::new());
        self.drafts.push(Draft { kind, node, path, document, parent, id, links });
        self.drafts.len() - 1
    }
}

/// Kong: `_comment` is a text and `_ignore` a list of anything; both say nothing to the gateway.
pub(super) fn remark(entry: &Entry, at: At<'_>, report: &mut Report) {
    let is_list = matches!(entry.value.data, Data::List(_)) || entry.value.is_empty_map();
    let (fits, expected) = match entry.key.as_str() {
        "_ignore" => (is_list, "expected an array"),
        _ => (entry.value.as_str().is_some(), "expected a string"),
    };
    if !fits && !entry.value.is_null() {
        report.error(at, expected);
    }
}

/// Says that a field is unknown, and which one was probably meant.
pub(super) fn unknown_field<'a>(
    report: &mut Report,
    at: At<'_>,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) {
    let hint = report.suggest(name, known);
    report.error(at, "unknown field").hint = hint;
}
