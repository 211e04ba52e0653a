//! One loaded configuration: validated entities with their indexes.
//!
//! A Snapshot is data. It crosses threads in an `Arc` and is never changed; each worker compiles
//! it into a Runloop of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::Catalog;
use crate::entity::{
    BasicAuthCredential, Consumer, ConsumerGroup, Groups, HmacAuthCredential, JwtSecret,
    KeyAuthCredential, PluginEntity, Record, Route, Secret, Service, Target, Upstream,
};
use crate::settings::Env;

/// Everything a configuration says, after validation.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Fingerprint of the text that was loaded; equal text gives an equal hash.
    pub hash: String,
    /// By id.
    pub services: HashMap<Uuid, Arc<Service>>,
    /// In the order of the file.
    pub routes: Vec<Arc<Route>>,
    /// By name: a `service.host` equal to one of them is balanced.
    pub upstreams: HashMap<String, Arc<Upstream>>,
    /// By upstream id, in the order of the file.
    pub targets: HashMap<Uuid, Vec<Arc<Target>>>,
    /// By id.
    pub consumers: HashMap<Uuid, Arc<Consumer>>,
    /// Ids of consumers by username.
    pub consumers_by_username: HashMap<String, Uuid>,
    /// By id.
    pub consumer_groups: HashMap<Uuid, Arc<ConsumerGroup>>,
    /// By key, which can be asked for as a `&str`.
    pub keyauth_credentials: HashMap<Secret, Arc<KeyAuthCredential>>,
    /// By user name.
    pub basicauth_credentials: HashMap<Arc<str>, Arc<BasicAuthCredential>>,
    /// By key.
    pub jwt_secrets: HashMap<Arc<str>, Arc<JwtSecret>>,
    /// By user name.
    pub hmacauth_credentials: HashMap<Arc<str>, Arc<HmacAuthCredential>>,
    /// By consumer id.
    pub acls: HashMap<Uuid, Groups>,
    /// In the order of the file; disabled ones are kept (they show in dumps) and never run.
    pub plugins: Vec<Arc<PluginEntity>>,
    /// Plugins whose handler is Lua: names, and the user's file where it replaces ours.
    pub scripts: BTreeMap<String, Option<String>>,
    /// The variables it was loaded with; identities take what the file leaves out from here.
    pub env: Env,
    /// Where services, routes and plugins stand in their files, for what is found out later.
    pub places: HashMap<Uuid, Place>,
    /// Entities without a type of their own, by collection, in the order of the file.
    pub records: BTreeMap<String, Vec<Arc<Record>>>,
    /// The generation of Lua code that it was tried with; another one needs new VMs.
    pub code: u64,
    /// Every entity as JSON, for Lua plugins; empty if there are none.
    pub catalog: Catalog,
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the file.
    pub file: Arc<str>,
    /// From 1; 0 for no line.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The way to the value: `services[0].plugins[1]`.
    pub path: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.path)
    }
}

impl Snapshot {
    /// A message about a plugin, with the place of its configuration.
    pub fn at_plugin(&self, id: Uuid, message: &str) -> String {
        let place = self.places.get(&id).map(|place| format!("{place}: "));
        format!("{}{message}", place.unwrap_or_default())
    }

    /// The consumer that `anonymous` or a credential names, by id or by username.
    pub fn consumer(&self, id_or_username: &str) -> Option<&Arc<Consumer>> {
        let id = Uuid::parse_str(id_or_username)
            .ok()
            .filter(|id| self.consumers.contains_key(id))
            .or_else(|| self.consumers_by_username.get(id_or_username).copied())?;
        self.consumers.get(&id)
    }
}
