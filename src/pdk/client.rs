//! Who the client is: the consumer an authentication plugin named (`kong.client`).

use std::cell::RefCell;
use std::sync::Arc;

use http::HeaderValue;
use uuid::Uuid;

use super::Exchange;
use crate::entity::{Consumer, ConsumerGroup};

/// The authenticated consumer, if any, and the credential that said so.
#[derive(Default)]
pub struct Client {
    consumer: RefCell<Option<Arc<Consumer>>>,
    credential: RefCell<Option<Credential>>,
}

/// What a client authenticated with. The secret part stays with the plugin.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Id of the credential entity: `X-Credential-Identifier`.
    pub id: Uuid,
    /// The consumer the credential belongs to.
    pub consumer_id: Uuid,
}

impl Client {
    /// The authenticated consumer.
    pub fn consumer(&self) -> Option<Arc<Consumer>> {
        self.consumer.borrow().clone()
    }

    /// The credential in use; an anonymous consumer has none.
    pub fn credential(&self) -> Option<Credential> {
        self.credential.borrow().clone()
    }

    /// Id of the authenticated consumer.
    pub fn consumer_id(&self) -> Option<Uuid> {
        self.consumer.borrow().as_ref().map(|c| c.id)
    }

    /// Calls `f` with the groups of the consumer, ordered by name.
    pub fn with_groups<R>(&self, f: impl FnOnce(&[Arc<ConsumerGroup>]) -> R) -> R {
        f(self.consumer.borrow().as_ref().map_or(&[], |c| &c.groups))
    }
}

impl Exchange {
    /// Names the consumer and tells the upstream, as Kong's authentication plugins do.
    ///
    /// Whatever the client itself sent in these headers is replaced or removed: an upstream may
    /// trust them.
    pub fn authenticate(&self, consumer: Option<Arc<Consumer>>, credential: Option<Credential>) {
        let set = |name: &'static str, value: Option<&str>| match value
            .and_then(|v| HeaderValue::from_str(v).ok())
        {
            Some(value) => self.request.set_header(name, value),
            None => self.request.clear_header(name),
        };
        let id = consumer.as_ref().map(|c| c.id.to_string());
        set("x-consumer-id", id.as_deref());
        set("x-consumer-custom-id", consumer.as_ref().and_then(|c| c.custom_id.as_deref()));
        set("x-consumer-username", consumer.as_ref().and_then(|c| c.username.as_deref()));
        let credential_id = credential.as_ref().map(|c| c.id.to_string());
        set("x-credential-identifier", credential_id.as_deref());
        set("x-anonymous-consumer", credential.is_none().then_some("true"));
        *self.client.consumer.borrow_mut() = consumer;
        *self.client.credential.borrow_mut() = credential;
    }
}
