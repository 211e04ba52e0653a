//! The table of native plugins: name, priority, constructor.
//!
//! A plugin is a folder: `schema.lua` says what its configuration may be, `handler.rs` (or
//! `handler.lua`) what it does. Priorities are Kong's.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::entity::PluginEntity;
use crate::plugin::Plugin;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

#[path = "ai-proxy/handler.rs"]
mod ai_proxy;
#[path = "ai-proxy-advanced/handler.rs"]
mod ai_proxy_advanced;
#[path = "correlation-id/handler.rs"]
mod correlation_id;
#[path = "file-log/handler.rs"]
mod file_log;
mod findings;
#[path = "key-auth/handler.rs"]
mod key_auth;
#[path = "request-termination/handler.rs"]
mod request_termination;
#[path = "response-transformer/handler.rs"]
mod response_transformer;

pub use findings::{Credential, Findings, ModelTarget};

/// A plugin written in Rust.
pub struct Native {
    /// The name in a configuration.
    pub name: &'static str,
    /// Greater runs earlier.
    pub priority: i64,
    /// Its constructor.
    pub make: Make,
}

/// Makes an instance, or says everything that stands against it.
pub type Make = fn(&Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>>;

/// What a plugin is made from.
pub struct Context<'a> {
    /// The process.
    pub shared: &'a Arc<Shared>,
    /// The configuration it belongs to.
    pub snapshot: &'a Arc<Snapshot>,
    /// Its own part of it.
    pub entity: &'a Arc<PluginEntity>,
    /// Takes what the author of the configuration should know. Workers pass on nothing: the
    /// loader's trial has told it already.
    pub findings: Option<&'a Findings>,
    /// What the instance before it left ([`Plugin::state`]), if its configuration was the same.
    pub state: Option<&'a Rc<dyn Any>>,
}

impl Context<'_> {
    /// Tells the author of the configuration something that does not stand in the way.
    pub fn warn(&self, message: &str) {
        if let Some(findings) = self.findings {
            let entity = self.entity;
            let line = format!("plugin '{}': {message}", entity.name);
            findings.warnings.borrow_mut().push(self.snapshot.at_plugin(entity.id, &line));
        }
    }

    /// The configuration as the plugin's own type. The schema has filled in and checked it, so a
    /// mismatch means that schema.lua and handler.rs disagree.
    ///
    /// # Errors
    /// The field in question.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Vec<String>> {
        T::deserialize(&self.entity.config).map_err(|error| vec![format!("config: {error}")])
    }
}

/// Every native plugin, in the order in which they run.
pub const NATIVE: &[Native] = &[
    Native { name: "correlation-id", priority: 100_001, make: correlation_id::make },
    Native { name: "key-auth", priority: 1250, make: key_auth::make },
    Native { name: "response-transformer", priority: 800, make: response_transformer::make },
    Native { name: "ai-proxy-advanced", priority: 770, make: ai_proxy_advanced::make },
    Native { name: "ai-proxy", priority: 770, make: ai_proxy::make },
    Native { name: "file-log", priority: 9, make: file_log::make },
    Native { name: "request-termination", priority: 2, make: request_termination::make },
];

/// The native plugin of this name.
pub fn native(name: &str) -> Option<&'static Native> {
    NATIVE.iter().find(|native| native.name == name)
}
