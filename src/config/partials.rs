//! Partials: a piece of configuration that several plugins share, such as the way to Redis.
//!
//! They are Kong Enterprise's. decK writes the links into the plugins (`partials`), Kong's own
//! format beside them (`plugins_partials`). Which types a plugin takes, and where each goes, is
//! said by its schema (`supported_partials`). After this file there are only whole plugins.

use std::collections::HashMap;

use uuid::Uuid;

use super::draft::{Draft, unknown_field};
use super::node::{Data, Entry, Node, Pos};
use super::problem::{At, Kong, Path, Report};
use crate::schema::Schemas;

/// What a link may say.
const FIELDS: [&str; 3] = ["id", "name", "path"];

/// One link from a plugin to a partial.
struct Link {
    plugin: usize,
    partial: usize,
    /// Where in the plugin the partial goes, if the file says so: `config.redis`.
    place: Option<String>,
    document: usize,
    path: Path,
    pos: Pos,
}

/// Puts the partials into the plugins that name them.
pub(super) fn apply(drafts: &mut [Draft], schemas: &dyn Schemas, report: &mut Report) {
    let partials = Partials::new(drafts);
    let mut links = Vec::new();
    for (at, draft) in drafts.iter_mut().enumerate() {
        match draft.kind.name {
            "plugins" => partials.of_plugin(at, draft, &mut links, report),
            "plugins_partials" => links.extend(partials.of_link(draft)),
            _ => {}
        }
    }
    let mut taken = HashMap::new();
    for link in links {
        let Some(place) = place(&link, drafts, schemas, report) else { continue };
        if let Some(first) = taken.insert((link.plugin, place.clone()), link.partial) {
            let message = format!("'{place}' has a partial: {}", called(&drafts[first]));
            refuse(&link, message, report).hint = None;
            continue;
        }
        if let Some(shared) = shared(&drafts[link.partial], schemas) {
            put(&link, &place, shared, drafts, report);
        }
    }
}

/// The partials and plugins of a configuration, by what a link may call them.
struct Partials {
    names: HashMap<String, usize>,
    ids: HashMap<Uuid, usize>,
    plugins: HashMap<Uuid, usize>,
}

impl Partials {
    fn new(drafts: &[Draft]) -> Self {
        let of = |kind: &'static str| {
            drafts.iter().enumerate().filter(move |(_, draft)| draft.kind.name == kind)
        };
        let name = |draft: &Draft| draft.node.field("name")?.as_str().map(str::to_owned);
        Self {
            names: of("partials").filter_map(|(at, draft)| Some((name(draft)?, at))).collect(),
            ids: of("partials").map(|(at, draft)| (draft.id, at)).collect(),
            plugins: of("plugins").map(|(at, draft)| (draft.id, at)).collect(),
        }
    }

    /// Takes the field `partials` out of a plugin.
    fn of_plugin(
        &self,
        plugin: usize,
        draft: &mut Draft,
        links: &mut Vec<Link>,
        report: &mut Report,
    ) {
        let Some(Entry { value, pos, .. }) = draft.node.take("partials") else { return };
        let path = draft.path.field("partials");
        let document = draft.document;
        let items = match value.data {
            Data::List(items) => items,
            _ if value.is_null() || value.is_empty_map() => return,
            _ => {
                report.error(At { document, path: &path, pos }, "expected an array");
                return;
            }
        };
        let name = draft.node.field("name").and_then(Node::as_str).unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let at = At { document, path: &path, pos: item.pos };
            let Some(partial) = self.named(item, name, at, report) else { continue };
            let Some(place) = said_place(item, at, report) else { continue };
            links.push(Link { plugin, partial, place, document, path, pos: item.pos });
        }
    }

    /// The partial that a link names: by its id, or else by its name (decK).
    fn named(&self, item: &Node, plugin: &str, at: At<'_>, report: &mut Report) -> Option<usize> {
        for entry in item.entries().iter().filter(|e| !FIELDS.contains(&e.key.as_str())) {
            let path = at.path.field(&entry.key);
            let at = At { path: &path, pos: entry.pos, ..at };
            unknown_field(report, at, &entry.key, FIELDS.into_iter());
        }
        let text =
            |field: &str| item.field(field).and_then(Node::as_str).filter(|text| !text.is_empty());
        let Some(said) = text("id").or_else(|| text("name")) else {
            let message =
                format!("partial for plugin {plugin}: either partial ID or name is required");
            report.error(at, message).kong = Kong::Own;
            return None;
        };
        let by_id = || self.ids.get(&Uuid::parse_str(said).ok()?);
        let found = by_id().or_else(|| self.names.get(said));
        if found.is_none() {
            let hint = report.suggest(said, self.names.keys().map(String::as_str));
            let message = format!("partial {said} for plugin {plugin}: entity not found");
            let problem = report.error(at, message);
            (problem.hint, problem.kong) = (hint, Kong::Own);
        }
        found.copied()
    }

    /// A link of Kong's own format; what its references lack has been told.
    fn of_link(&self, draft: &Draft) -> Option<Link> {
        let plugin = *self.plugins.get(&draft.link("plugin")?)?;
        let partial = *self.ids.get(&draft.link("partial")?)?;
        let place = draft.node.field("path").and_then(Node::as_str).map(str::to_owned);
        let (document, path, pos) = (draft.document, draft.path.clone(), draft.node.pos);
        Some(Link { plugin, partial, place, document, path, pos })
    }
}

/// What a link says of the place; nothing if it says what cannot be one.
fn said_place(item: &Node, at: At<'_>, report: &mut Report) -> Option<Option<String>> {
    let Some(said) = item.field("path").filter(|said| !said.is_null()) else { return Some(None) };
    let text = said.as_str().map(str::to_owned);
    if text.is_none() {
        let path = at.path.field("path");
        report.error(At { path: &path, pos: said.pos, ..at }, "expected a string");
    }
    text.map(Some)
}

/// Where in the plugin the partial goes. Nothing for a plugin that is not known: that is told
/// elsewhere.
fn place(
    link: &Link,
    drafts: &[Draft],
    schemas: &dyn Schemas,
    report: &mut Report,
) -> Option<String> {
    let text = |at: usize, field: &str| drafts[at].node.field(field).and_then(Node::as_str);
    let (plugin, kind) = (text(link.plugin, "name")?, text(link.partial, "type")?);
    let schema = schemas.plugin(plugin).ok()?;
    let supported = schema.partials();
    let Some((_, places)) = supported.iter().find(|(name, _)| name == kind) else {
        let message = format!("plugin '{plugin}' takes no partial of the type '{kind}'");
        let kinds: Vec<&str> = supported.iter().map(|(name, _)| name.as_str()).collect();
        let hint = match kinds.is_empty() {
            true => "it takes none; write the fields into its config".to_owned(),
            false => format!("it takes {}", kinds.join(", ")),
        };
        refuse(link, message, report).hint = Some(hint);
        return None;
    };
    match &link.place {
        None => places.first().cloned(),
        Some(place) if places.contains(place) => Some(place.clone()),
        Some(place) => {
            let message = format!("plugin '{plugin}' takes no partial at '{place}'");
            refuse(link, message, report).hint =
                Some(format!("it takes one at {}", places.join(", ")));
            None
        }
    }
}

fn refuse<'r>(
    link: &Link,
    message: String,
    report: &'r mut Report,
) -> &'r mut super::problem::Problem {
    let at = At { document: link.document, path: &link.path, pos: link.pos };
    let problem = report.error(at, message);
    problem.kong = Kong::Own;
    problem
}

/// The config of a partial with its defaults; nothing for a wrong one, which is told once, there.
fn shared(partial: &Draft, schemas: &dyn Schemas) -> Option<Node> {
    let mut input = partial.node.to_value();
    input["id"] = serde_json::json!(partial.id);
    let (filled, errors) = schemas.entity("partials")?.process(input);
    if !errors.is_empty() {
        return None;
    }
    let pos = partial.node.entry("config").map_or(partial.node.pos, |entry| entry.pos);
    let given = partial.node.field("config").cloned();
    let mut config = given.unwrap_or(Node { pos, data: Data::Map(Vec::new()) });
    config.fill_from(&Node::of_value(&filled["config"], pos));
    Some(config)
}

/// Puts a partial into a plugin. It stands for all that the plugin says there itself.
fn put(link: &Link, place: &str, shared: Node, drafts: &mut [Draft], report: &mut Report) {
    let plugin = &drafts[link.plugin].node;
    let steps: Vec<_> =
        place.split('.').map(|name| crate::schema::Step::Field(name.to_owned())).collect();
    let own = plugin.at(&steps).map(Node::entries).unwrap_or_default();
    let differs = |entry: &&Entry| {
        let other = shared.entry(&entry.key).map(|entry| entry.value.to_value());
        !entry.value.is_null() && other != Some(entry.value.to_value())
    };
    for entry in own.iter().filter(differs) {
        let path = drafts[link.plugin].path.join(&steps).field(&entry.key);
        let at = At { document: drafts[link.plugin].document, path: &path, pos: entry.pos };
        let partial = called(&drafts[link.partial]);
        report.warn(at, format!("has no effect: the partial {partial} says it"));
    }
    drafts[link.plugin].node.place(place, shared);
}

/// What to call a partial.
fn called(partial: &Draft) -> String {
    let name = partial.node.field("name").and_then(Node::as_str);
    name.map_or_else(|| partial.id.to_string(), |name| format!("'{name}'"))
}
