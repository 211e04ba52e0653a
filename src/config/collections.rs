//! The collections of a Kong configuration: how their entities are named, nested and linked.
//!
//! Fields, defaults and checks belong to the schemas. Here is what Kong's declarative reader
//! knows beyond them: the key that other entities may use instead of the id, the fields that
//! point elsewhere (each makes a nested array under the entity it points to), and what the
//! generated id is made of.
//!
//! Plugins bring collections of their own, which are there while a configuration is read.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use crate::schema::Custom;

/// One collection, such as `services`.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) name: &'static str,
    /// The field that names an entity instead of its id (Kong's endpoint key); it is unique.
    pub(super) key: Option<&'static str>,
    /// Further fields that no two entities may share.
    pub(super) unique: &'static [&'static str],
    /// The value of `key` is a secret and is not printed.
    pub(super) secret_key: bool,
    pub(super) identity: Identity,
    /// Fields that hold another entity's id, and the collection of that entity.
    pub(super) foreign: &'static [(&'static str, &'static str)],
    /// Fields of a collection without a schema, beside those that point elsewhere.
    pub(super) own: &'static [&'static str],
    pub(super) support: Support,
}

/// What a generated id is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Identity {
    /// The key.
    Key,
    /// Several fields (Kong's cache key).
    Fields(&'static [&'static str]),
    /// The place in the file, because nothing else says which is which; Kong takes a random id.
    Place,
}

/// Whether a collection means anything here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    /// It does, if there is a schema for it.
    Schema,
    /// It links two others (consumers to groups, partials to plugins) and has no schema.
    Membership,
    /// It does not, and traffic is the same without it: left out with a warning.
    Ignored(&'static str),
    /// It does not, and leaving it out would change what a request meets.
    Refused(&'static str),
}

const BASE: Collection = Collection {
    name: "",
    key: None,
    unique: &[],
    secret_key: false,
    identity: Identity::Key,
    foreign: &[],
    own: &[],
    support: Support::Schema,
};

const CONSUMER: &[(&str, &str)] = &[("consumer", "consumers")];
const CLIENT_CERTIFICATE: &[(&str, &str)] = &[("client_certificate", "certificates")];

const OF_OAUTH2: &[(&str, &str)] = &[("credential", "oauth2_credentials"), ("service", "services")];

/// A collection that is refused, for this reason.
const fn refused(name: &'static str, reason: &'static str) -> Collection {
    Collection { name, support: Support::Refused(reason), ..BASE }
}

/// A collection that is left out with a warning.
const fn ignored(name: &'static str, reason: &'static str) -> Collection {
    Collection { name, support: Support::Ignored(reason), ..BASE }
}

const CONTROL_PLANE: &str = "it belongs to Kong's control plane, which does not run here";
const STORED: &str = "state that a plugin stores at run time, not configuration";

/// All collections. `decK` nests each of them where a field points to (`foreign`).
static ALL: &[Collection] = &[
    Collection { name: "services", key: Some("name"), foreign: CLIENT_CERTIFICATE, ..BASE },
    Collection { name: "routes", key: Some("name"), foreign: &[("service", "services")], ..BASE },
    Collection { name: "consumers", key: Some("username"), unique: &["custom_id"], ..BASE },
    Collection { name: "consumer_groups", key: Some("name"), ..BASE },
    Collection {
        name: "consumer_group_consumers",
        identity: Identity::Place,
        foreign: &[("consumer", "consumers"), ("consumer_group", "consumer_groups")],
        support: Support::Membership,
        ..BASE
    },
    Collection {
        name: "plugins",
        key: Some("instance_name"),
        identity: Identity::Fields(&["name", "route", "service", "consumer"]),
        foreign: &[
            ("service", "services"),
            ("route", "routes"),
            ("consumer", "consumers"),
            ("consumer_group", "consumer_groups"),
        ],
        ..BASE
    },
    Collection { name: "upstreams", key: Some("name"), foreign: CLIENT_CERTIFICATE, ..BASE },
    Collection {
        name: "targets",
        identity: Identity::Fields(&["upstream", "target"]),
        foreign: &[("upstream", "upstreams")],
        ..BASE
    },
    Collection {
        name: "vaults",
        key: Some("prefix"),
        identity: Identity::Fields(&["prefix"]),
        ..BASE
    },
    Collection { name: "certificates", identity: Identity::Place, ..BASE },
    Collection {
        name: "snis",
        key: Some("name"),
        foreign: &[("certificate", "certificates")],
        ..BASE
    },
    Collection { name: "ca_certificates", identity: Identity::Place, ..BASE },
    Collection { name: "key_sets", key: Some("name"), ..BASE },
    Collection {
        name: "keys",
        key: Some("name"),
        identity: Identity::Fields(&["kid", "set"]),
        foreign: &[("set", "key_sets")],
        ..BASE
    },
    Collection {
        name: "keyauth_credentials",
        key: Some("key"),
        secret_key: true,
        identity: Identity::Place,
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "basicauth_credentials",
        key: Some("username"),
        identity: Identity::Fields(&["username"]),
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "hmacauth_credentials",
        key: Some("username"),
        identity: Identity::Fields(&["username"]),
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "jwt_secrets",
        key: Some("key"),
        identity: Identity::Place,
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "oauth2_credentials",
        key: Some("client_id"),
        identity: Identity::Place,
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "acls",
        identity: Identity::Fields(&["consumer", "group"]),
        foreign: CONSUMER,
        ..BASE
    },
    Collection {
        name: "mtls_auth_credentials",
        identity: Identity::Place,
        foreign: &[("consumer", "consumers"), ("ca_certificate", "ca_certificates")],
        ..BASE
    },
    Collection { name: "partials", key: Some("name"), ..BASE },
    Collection {
        name: "plugins_partials",
        identity: Identity::Place,
        foreign: &[("plugin", "plugins"), ("partial", "partials")],
        own: &["path"],
        support: Support::Membership,
        ..BASE
    },
    Collection {
        foreign: &[("service", "services"), ("route", "routes")],
        ..refused("filter_chains", "WebAssembly filters do not run here")
    },
    Collection { foreign: OF_OAUTH2, ..refused("oauth2_tokens", STORED) },
    Collection { foreign: OF_OAUTH2, ..refused("oauth2_authorization_codes", STORED) },
    refused("sessions", STORED),
    refused("session_metadatas", STORED),
    refused("acme_storage", STORED),
    refused("ratelimiting_metrics", STORED),
    ignored("workspaces", "everything is loaded into the workspace 'default'"),
    ignored("parameters", "it is the state of a Kong cluster"),
    ignored("clustering_data_planes", "it is the state of a Kong cluster"),
    ignored("licenses", "nothing here asks for a licence"),
    ignored("rbac_roles", CONTROL_PLANE),
    ignored("rbac_endpoint_permissions", CONTROL_PLANE),
    ignored("service_packages", CONTROL_PLANE),
    refused("custom_entities", "entities of custom plugins are not built yet"),
    refused("cloned_plugins", "cloned plugins are not built yet"),
    refused("custom_plugins", "list Lua plugins in the 'plugins' setting instead"),
];

/// The collections of plugins, while a configuration is read on this thread.
pub(super) struct OfPlugins(());

thread_local! {
    static OF_PLUGINS: RefCell<Vec<&'static Collection>> = const { RefCell::new(Vec::new()) };
}

impl OfPlugins {
    /// They are known until this is dropped.
    pub(super) fn new(customs: &[Custom]) -> Self {
        let is_new = |custom: &&Custom| !ALL.iter().any(|known| known.name == custom.name);
        let collections = customs.iter().filter(is_new).map(lasting).collect();
        OF_PLUGINS.with(|own| *own.borrow_mut() = collections);
        Self(())
    }
}

impl Drop for OfPlugins {
    fn drop(&mut self) {
        OF_PLUGINS.with(|own| own.borrow_mut().clear());
    }
}

/// A collection of a plugin for the time of the process. Equal ones are one: a reload takes no
/// memory unless the code of a plugin has changed.
fn lasting(custom: &Custom) -> &'static Collection {
    static KNOWN: Mutex<Vec<(Custom, &'static Collection)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, collection)) = known.iter().find(|(one, _)| one == custom) {
        return collection;
    }
    let text = |text: &String| -> &'static str { text.clone().leak() };
    let texts = |list: &[String]| -> &'static [&'static str] {
        list.iter().map(text).collect::<Vec<_>>().leak()
    };
    let foreign: Vec<_> = custom.foreign.iter().map(|(a, b)| (text(a), text(b))).collect();
    let identity = match (&custom.endpoint_key, custom.cache_key.is_empty()) {
        (Some(_), _) => Identity::Key,
        (None, false) => Identity::Fields(texts(&custom.cache_key)),
        (None, true) => Identity::Place,
    };
    let collection: &'static Collection = Box::leak(Box::new(Collection {
        name: text(&custom.name),
        key: custom.endpoint_key.as_ref().map(text),
        unique: texts(&custom.unique),
        own: &[],
        secret_key: custom.secret_key,
        identity,
        foreign: foreign.leak(),
        support: Support::Schema,
    }));
    known.push((custom.clone(), collection));
    collection
}

/// The collection of a name.
///
/// `consumer_group_plugins` is the older way to write plugins of a consumer group.
pub(super) fn by_name(name: &str) -> Option<&'static Collection> {
    let name = if name == "consumer_group_plugins" { "plugins" } else { name };
    let own = || OF_PLUGINS.with(|own| own.borrow().iter().find(|one| one.name == name).copied());
    ALL.iter().find(|collection| collection.name == name).or_else(own)
}

/// Every name that may stand at the top of a file.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let own: Vec<_> = OF_PLUGINS.with(|own| own.borrow().iter().map(|one| one.name).collect());
    ALL.iter().map(|collection| collection.name).chain(["consumer_group_plugins"]).chain(own)
}

impl Collection {
    /// The collection of entities that nest under this one's as `name`, with their field for it.
    pub(super) fn child(&self, name: &str) -> Option<(&'static Self, &'static str)> {
        let child = by_name(name)?;
        let (field, _) = child.foreign.iter().find(|(_, target)| *target == self.name)?;
        Some((child, field))
    }

    /// The names of nested arrays, for hints.
    pub(super) fn children(&self) -> impl Iterator<Item = &'static str> {
        names().filter(|name| self.child(name).is_some())
    }

    /// Whether the entities have tags.
    pub(super) fn has_tags(&self) -> bool {
        matches!(self.support, Support::Schema)
    }
}

impl PartialEq for Collection {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_foreign_field_points_to_a_collection() {
        for collection in ALL {
            for (field, target) in collection.foreign {
                assert!(by_name(target).is_some(), "{}.{field}", collection.name);
            }
        }
    }

    #[test]
    fn foreign_fields_make_nested_arrays() {
        let consumers = by_name("consumers").unwrap();
        let children: Vec<_> = consumers.children().collect();
        assert!(children.contains(&"keyauth_credentials") && children.contains(&"plugins"));
        assert!(consumers.child("routes").is_none());
        let groups = by_name("consumer_groups").unwrap();
        let (plugins, field) = groups.child("consumer_group_plugins").unwrap();
        assert_eq!((plugins.name, field), ("plugins", "consumer_group"));
    }
}
