//! What the trial of a configuration brings to light, beside whether it works.
//!
//! Only the loader's trial has somebody to tell it to; workers pass on nothing.

use std::cell::RefCell;
use std::sync::Arc;

use crate::azure::TokenHandle;
use crate::entity::PluginEntity;
use crate::llm::{NoQuestion, Question, azure::Names};
use crate::pdk::service::Limits;

/// What plugins say about their configurations.
#[derive(Default)]
pub struct Findings {
    /// What their authors should know: one line each.
    pub warnings: RefCell<Vec<String>>,
    /// The models that would be called.
    pub targets: RefCell<Vec<ModelTarget>>,
}

/// One model endpoint of a configuration, as `silverback identity` tries it.
pub struct ModelTarget {
    /// The plugin it belongs to.
    pub plugin: Arc<PluginEntity>,
    /// Where it is in there, such as `config.targets[0]`.
    pub path: String,
    /// The model, when it is the same for all clients.
    pub model: Option<Arc<str>>,
    /// Another name that clients may use for it.
    pub alias: Option<String>,
    /// Azure's names, when they are the same for all clients.
    pub names: Option<Arc<Names>>,
    /// The host; a template in it is filled with a stand-in.
    pub host: String,
    /// How the gateway signs in there.
    pub credential: Credential,
    /// What it can be asked.
    pub question: Result<Question, NoQuestion>,
    /// When it is tried.
    pub turn: Turn,
    /// Timeouts of its own; `None` leaves them to the Service.
    pub limits: Option<Limits>,
}

/// When a target is tried.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// How one of several targets is chosen.
    pub algorithm: &'static str,
    /// Targets of the plugin.
    pub targets: usize,
    /// Its group, from 1. A group is tried when nobody in those before is there.
    pub group: usize,
    /// How many groups there are.
    pub groups: usize,
}

/// How the gateway signs in to a target.
pub enum Credential {
    /// With a token.
    Identity(TokenHandle),
    /// With a key.
    Key {
        /// The field that holds it.
        field: &'static str,
        /// Where it is sent, such as `header api-key`.
        place: String,
    },
    /// Not at all: a vault reference in this field could not be resolved.
    Unresolved(&'static str),
    /// Not at all: clients bring their own.
    None,
}
