//! Kong's declarative format and decK's state files: the union of both.
//!
//! Kong refuses decK's `_info`, `_plugin_configs`, `_workspace` and `_konnect`, because decK
//! resolves or drops them before Kong sees the file. Here nobody stands between, so that work is
//! done on the tree as it was written.

use serde_json::Value;

use super::collections::{self, by_name};
use super::draft::{Collector, Draft, remark, unknown_field};
use super::edition;
use super::node::{Data, Entry, Node, Pos};
use super::problem::{At, Path, Report};
use super::upgrade;

/// The versions that Kong reads.
const FORMATS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Keys at the top of a file that are not collections.
const META: [&str; 8] = [
    "_format_version",
    "_transform",
    "_comment",
    "_ignore",
    "_info",
    "_plugin_configs",
    "_konnect",
    "_workspace",
];

/// What decK lets `_info` hold; of these, only the first two mean something to a file.
const INFO: [&str; 6] = [
    "select_tags",
    "defaults",
    "default_lookup_tags",
    "consumer_group_policy_overrides",
    "skip_hash_for_basic_auth",
    "include_plugin_definitions",
];

/// The collections that `_info.defaults` speaks of, by its own names.
const DEFAULTS: [(&str, &str); 4] = [
    ("service", "services"),
    ("route", "routes"),
    ("upstream", "upstreams"),
    ("target", "targets"),
];

/// The entities of all documents, with everything filled in that decK would fill in, and whether
/// values are still to be transformed (`_transform`).
pub(super) fn read(documents: Vec<Node>, report: &mut Report) -> (Vec<Draft>, bool) {
    let mut drafts = Vec::new();
    let mut meta = Meta::default();
    for (document, root) in documents.into_iter().enumerate() {
        let entries = match root.data {
            Data::Map(entries) => entries,
            // An empty Lua table is an array and a map.
            Data::List(items) if items.is_empty() => Vec::new(),
            _ => {
                let at = At { document, path: &Path::default(), pos: root.pos };
                report.error(at, "failed parsing declarative configuration: expected an object");
                continue;
            }
        };
        meta.last = Some((document, root.pos));
        for entry in entries {
            let path = Path::default().field(&entry.key);
            if META.contains(&entry.key.as_str()) {
                meta.read(entry, document, &path, report);
                continue;
            }
            let at = At { document, path: &path, pos: entry.pos };
            let Some(kind) = by_name(&entry.key) else {
                let known = META.into_iter().chain(collections::names());
                unknown_field(report, at, &entry.key, known);
                continue;
            };
            let key = entry.key.clone();
            let mut collector = Collector { drafts: &mut drafts, report, document };
            let count = collector.collection(kind, entry, &path, None);
            report.count(document, &key, count);
        }
    }
    meta.apply(&mut drafts, report);
    (drafts, meta.transform.unwrap_or(true))
}

/// What the keys with an underscore say, over all files.
#[derive(Default)]
struct Meta {
    /// The last file and its beginning, for errors about what is nowhere.
    last: Option<(usize, Pos)>,
    version_given: bool,
    version: Option<String>,
    transform: Option<bool>,
    select_tags: Vec<Node>,
    /// Maps, the most important first.
    defaults: Vec<Node>,
    plugin_configs: Vec<Node>,
}

impl Meta {
    fn read(&mut self, entry: Entry, document: usize, path: &Path, report: &mut Report) {
        let at = At { document, path, pos: entry.pos };
        match entry.key.as_str() {
            "_format_version" => self.format_version(&entry.value, at, report),
            "_transform" => match entry.value.data {
                Data::Scalar(Value::Bool(transform)) => self.transform = Some(transform),
                Data::Scalar(Value::Null) => {}
                _ => drop(report.error(at, "expected a boolean")),
            },
            "_info" => self.info(entry.value, at, report),
            "_plugin_configs" => match entry.value.data {
                Data::Map(_) => self.plugin_configs.insert(0, entry.value),
                _ => drop(report.error(at, "expected a map")),
            },
            "_konnect" => report.warn(at, "ignored: there is no control plane to load into"),
            "_workspace" => {
                report.warn(at, "ignored: everything is loaded into the workspace 'default'");
            }
            "_comment" | "_ignore" => remark(&entry, at, report),
            _ => {}
        }
    }

    fn format_version(&mut self, value: &Node, at: At<'_>, report: &mut Report) {
        self.version_given = true;
        match value.as_str() {
            None if value.is_null() => {
                let hint = "begin the file with _format_version: \"3.0\"".to_owned();
                report.error(at, "required field missing").hint = Some(hint);
            }
            Some(version) if FORMATS.contains(&version) => {
                self.version = Some(version.to_owned());
            }
            Some(_) => drop(report.error(at, "expected one of: 1.1, 2.1, 3.0")),
            None => {
                // YAML reads 3.0 as a number, which Kong and decK refuse.
                let hint = "write it in quotes: _format_version: \"3.0\"".to_owned();
                report.error(at, "expected a string").hint = Some(hint);
            }
        }
    }

    fn info(&mut self, value: Node, at: At<'_>, report: &mut Report) {
        let Data::Map(entries) = value.data else {
            report.error(at, "expected a record");
            return;
        };
        for entry in entries {
            let path = at.path.field(&entry.key);
            let at = At { path: &path, pos: entry.pos, ..at };
            match (entry.key.as_str(), &entry.value.data) {
                ("select_tags", Data::List(tags)) => self.select_tags.extend(tags.clone()),
                ("select_tags", _) => drop(report.error(at, "expected an array")),
                ("defaults", Data::Map(kinds)) => {
                    for kind in kinds {
                        let known = || DEFAULTS.iter().map(|(name, _)| *name);
                        let path = path.field(&kind.key);
                        let at = At { path: &path, pos: kind.pos, ..at };
                        if !known().any(|name| name == kind.key) {
                            unknown_field(report, at, &kind.key, known());
                        } else if !matches!(kind.value.data, Data::Map(_)) {
                            report.error(at, "expected a record");
                        }
                    }
                    self.defaults.insert(0, entry.value);
                }
                ("defaults", _) => drop(report.error(at, "expected a record")),
                (key, _) if INFO.contains(&key) => {
                    report.warn(at, "ignored: there is no control plane");
                }
                (key, _) => unknown_field(report, at, key, INFO.into_iter()),
            }
        }
    }

    fn apply(&self, drafts: &mut [Draft], report: &mut Report) {
        if let (false, Some((document, pos))) = (self.version_given, self.last) {
            let path = Path::default().field("_format_version");
            let hint = "begin the file with _format_version: \"3.0\"".to_owned();
            let at = At { document, path: &path, pos };
            report.error(at, "required field missing").hint = Some(hint);
        }
        let upgrades = matches!(self.version.as_deref(), Some("1.1" | "2.1"));
        for index in 0..drafts.len() {
            let is_plain = match drafts[index].parent {
                None => true,
                Some((_, parent)) => drafts[parent].kind.name == "services",
            };
            let draft = &mut drafts[index];
            if draft.kind.has_tags() {
                self.tag(&mut draft.node);
            }
            if draft.kind.name == "plugins" {
                self.share_config(draft, report);
            }
            self.fill(draft);
            edition::strip(draft);
            if upgrades && is_plain && draft.kind.name == "routes" {
                upgrade::paths(&mut draft.node);
            }
        }
    }

    /// decK: every entity of the file gets the selected tags.
    fn tag(&self, node: &mut Node) {
        let given = match node.field("tags").map(|tags| &tags.data) {
            None => Vec::new(),
            Some(Data::List(tags)) => tags.clone(),
            Some(_) => return, // the schema will say what is wrong with them
        };
        let mut tags = given;
        for tag in &self.select_tags {
            if !tags.iter().any(|known| known.data == tag.data) {
                tags.push(tag.clone());
            }
        }
        if !self.select_tags.is_empty() {
            node.set("tags", Node { pos: node.pos, data: Data::List(tags) });
        }
    }

    /// decK: a plugin's own `config` wins over the shared one, leaf by leaf.
    fn share_config(&self, draft: &mut Draft, report: &mut Report) {
        let Some(name) = draft.node.take("_config") else { return };
        let path = draft.path.field("_config");
        let at = At { document: draft.document, path: &path, pos: name.pos };
        let Some(name) = name.value.as_str() else {
            report.error(at, "expected a string");
            return;
        };
        let Some(shared) = self.plugin_configs.iter().find_map(|configs| configs.field(name))
        else {
            let known = self.plugin_configs.iter().flat_map(|configs| configs.entries());
            let hint = report.suggest(name, known.map(|entry| entry.key.as_str()));
            report.error(at, format!("_plugin_config \"{name}\" not found")).hint = hint;
            return;
        };
        match draft.node.entry("config").map(|entry| entry.value.clone()) {
            Some(mut own) if !own.is_null() => {
                own.fill_from(shared);
                draft.node.set("config", own);
            }
            _ => draft.node.set("config", shared.clone()),
        }
    }

    fn fill(&self, draft: &mut Draft) {
        let name = DEFAULTS.iter().find(|(_, kind)| *kind == draft.kind.name);
        let Some((name, _)) = name else { return };
        for defaults in &self.defaults {
            let Some(defaults) = defaults.field(name) else { continue };
            let mut defaults = defaults.clone();
            if draft.node.field("url").is_some() {
                // decK takes the url apart before it looks at defaults.
                for part in ["protocol", "host", "port", "path"] {
                    defaults.take(part);
                }
            }
            draft.node.fill_from(&defaults);
        }
    }
}
