//! Fields of Kong Enterprise, and of very old Kongs, that files carry and that do nothing here.
//!
//! A dump of a control plane writes them with values that ask for nothing; those are left out
//! without a word. Any other value asks for something that would not happen, so the field stays,
//! is unknown to the schema as in the open-source Kong, and gets a hint at what is missing.

use serde_json::Value;

use super::draft::Draft;
use super::node::{Data, Node};

/// A field that no schema here declares.
struct Foreign {
    collection: &'static str,
    field: &'static str,
    /// Whether a value beyond null and the empty ones asks for nothing.
    harmless: fn(&Node) -> bool,
    hint: &'static str,
}

const fn foreign(
    collection: &'static str,
    field: &'static str,
    harmless: fn(&Node) -> bool,
    hint: &'static str,
) -> Foreign {
    Foreign { collection, field, harmless, hint }
}

const ORDERING: &str = "plugins run by Kong's static priorities; ordering is not built yet";
const CONDITION: &str = "conditions are not built yet";
const STICKY: &str = "sticky sessions are not built yet; hash_on: cookie is near to them";
const FAILOVER: &str = "failover targets are not built yet";
const TLS_SANS: &str = "only the host itself is verified";
const MODEL: &str = "plugins are scoped to services, routes, consumers and consumer groups";

static FOREIGN: [Foreign; 8] = [
    foreign("plugins", "ordering", never, ORDERING),
    foreign("plugins", "condition", never, CONDITION),
    foreign("plugins", "model", never, MODEL),
    // Kong before 2.0: where in a service mesh the plugin runs. There is but one place now.
    foreign("plugins", "run_on", is_text, "it has had no meaning since Kong 2.0"),
    foreign("services", "tls_sans", never, TLS_SANS),
    foreign("targets", "failover", is_false, FAILOVER),
    foreign("upstreams", "sticky_sessions_cookie", never, STICKY),
    foreign("upstreams", "sticky_sessions_cookie_path", is_text, STICKY),
];

/// A field of a plugin's config that only Kong Enterprise has.
struct OfPlugin {
    plugin: &'static str,
    field: &'static str,
    /// Whether a value beyond null and the empty ones asks for nothing.
    harmless: fn(&Node) -> bool,
    hint: &'static str,
}

static OF_PLUGINS: [OfPlugin; 3] = [
    OfPlugin {
        plugin: "acl",
        field: "include_consumer_groups",
        harmless: is_false,
        hint: "consumer groups do not count as groups of acl yet; write them into acls",
    },
    OfPlugin {
        plugin: "basic-auth",
        field: "brute_force_protection",
        harmless: is_off,
        hint: "there is no protection against guessing yet",
    },
    OfPlugin {
        plugin: "key-auth",
        field: "identity_realms",
        harmless: is_own_realm,
        hint: "there are no realms beside the consumers of this file",
    },
];

/// Leaves out the fields that ask for nothing.
pub(super) fn strip(draft: &mut Draft) {
    if draft.kind.name == "plugins" {
        strip_websocket(&mut draft.node);
        strip_config(&mut draft.node);
    }
    for known in FOREIGN.iter().filter(|known| known.collection == draft.kind.name) {
        let value = draft.node.entry(known.field).map(|entry| &entry.value);
        if value.is_some_and(|value| is_empty(value) || (known.harmless)(value)) {
            draft.node.take(known.field);
        }
    }
}

fn strip_config(node: &mut Node) {
    let Some(plugin) = node.field("name").and_then(Node::as_str).map(str::to_owned) else { return };
    for known in OF_PLUGINS.iter().filter(|known| known.plugin == plugin) {
        let value = node.field("config").and_then(|config| config.field(known.field));
        if value.is_some_and(|value| is_empty(value) || (known.harmless)(value)) {
            node.within("config").and_then(|config| config.take(known.field));
        }
    }
}

/// Takes Kong Enterprise's protocols for WebSocket out of a plugin's list: a dump has them in every
/// one, and here WebSocket requests come over `http` and `https`.
fn strip_websocket(node: &mut Node) {
    let Some(Data::List(items)) = node.entry("protocols").map(|entry| &entry.value.data) else {
        return;
    };
    let is_other = |item: &&Node| !matches!(item.as_str(), Some("ws" | "wss"));
    let others: Vec<_> = items.iter().filter(is_other).cloned().collect();
    if !others.is_empty() && others.len() < items.len() {
        node.set("protocols", Node { pos: node.pos, data: Data::List(others) });
    }
}

/// What to say of such a field that stayed.
pub(super) fn hint(collection: &str, field: &str) -> Option<String> {
    let known = FOREIGN.iter().find(|f| f.collection == collection && f.field == field);
    known.map(|known| known.hint.to_owned())
}

/// The same for a field of a plugin's config.
pub(super) fn hint_of_plugin(plugin: &str, field: &str) -> Option<String> {
    let known = OF_PLUGINS.iter().find(|of| of.plugin == plugin && of.field == field);
    known.map(|known| known.hint.to_owned())
}

fn is_empty(node: &Node) -> bool {
    match &node.data {
        Data::Scalar(value) => value.is_null() || value == "",
        Data::List(items) => items.is_empty(),
        Data::Map(entries) => entries.iter().all(|entry| is_empty(&entry.value)),
    }
}

fn never(_: &Node) -> bool {
    false
}

fn is_text(node: &Node) -> bool {
    node.as_str().is_some()
}

fn is_false(node: &Node) -> bool {
    node.data == Data::Scalar(Value::Bool(false))
}

/// `strategy: "off"`, which without quotes is a boolean.
fn is_off(node: &Node) -> bool {
    let strategy = node.field("strategy");
    strategy.is_some_and(|strategy| is_false(strategy) || strategy.as_str() == Some("off"))
}

/// Only the consumers of the control plane itself: those of the file.
fn is_own_realm(node: &Node) -> bool {
    let is_own = |realm: &Node| realm.field("scope").and_then(Node::as_str) == Some("cp");
    matches!(node.items(), [realm] if is_own(realm) && realm.field("id").is_none())
}
