//! Who the client is: the consumer an authentication plugin named (`kong.client`).

use std::cell::RefCell;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

use super::Exchange;
use crate::entity::{Consumer, ConsumerGroup};

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// The authenticated consumer, if any, and the credential that said so.
#[derive(Default)]
pub struct Client {
    consumer: RefCell<Option<Arc<Consumer>>>,
    credential: RefCell<Option<Credential>>,
}

/// What a client authenticated with. The secret part stays with the plugin.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Id of the credential entity.
    pub id: Uuid,
    /// What it is known by (`X-Credential-Identifier`), such as a user name; `None` is its id.
    pub identifier: Option<Arc<str>>,
    /// The consumer the credential belongs to.
    pub consumer_id: Uuid,
}

impl Client {
    /// The authenticated consumer.
    pub fn consumer(&self) -> Option<Arc<Consumer>> {
        self.consumer.borrow().clone()
    }

    /// Names the consumer without telling the upstream (`kong.client.authenticate`).
    pub fn set(&self, consumer: Option<Arc<Consumer>>, credential: Option<Credential>) {
        *self.consumer.borrow_mut() = consumer;
        *self.credential.borrow_mut() = credential;
    }

    /// The credential in use; an anonymous consumer has none.
    pub fn credential(&self) -> Option<Credential> {
        self.credential.borrow().clone()
    }

    /// Whether there is a credential.
    pub fn has_credential(&self) -> bool {
        self.credential.borrow().is_some()
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
        let set = |name: HeaderName, value: Option<&str>| match value
            .and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok())
        {
            Some(value) => self.request.set_header(name, value),
            None => self.request.clear_header(name),
        };
        let named = consumer.as_deref();
        let mut digits = Uuid::encode_buffer();
        set(CONSUMER_ID, named.map(|c| &*c.id.hyphenated().encode_lower(&mut digits)));
        set(CONSUMER_CUSTOM_ID, named.and_then(|c| c.custom_id.as_deref()));
        set(CONSUMER_USERNAME, named.and_then(|c| c.username.as_deref()));
        let identifier = credential.as_ref().map(|c| match &c.identifier {
            Some(identifier) => &**identifier,
            None => &*c.id.hyphenated().encode_lower(&mut digits),
        });
        set(CREDENTIAL_IDENTIFIER, identifier);
        set(ANONYMOUS_CONSUMER, credential.is_none().then_some("true"));
        *self.client.consumer.borrow_mut() = consumer;
        *self.client.credential.borrow_mut() = credential;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_is_replaced_or_removed() {
        let ex = Exchange::for_test(
            "GET",
            "/",
            &[
                ("X-Consumer-Username", "spoof"),
                ("X-Consumer-Custom-ID", "spoof"),
                ("X-Anonymous-Consumer", "true"),
                ("X-Credential-Identifier", "spoof"),
            ],
        );
        let consumer = Consumer {
            id: Uuid::from_u128(1),
            username: Some("bøb".into()),
            custom_id: None,
            tags: None,
            groups: Vec::new(),
            json: Arc::default(),
        };
        let id = Uuid::from_u128(2);
        let credential = Credential { id, identifier: None, consumer_id: consumer.id };
        ex.authenticate(Some(Arc::new(consumer)), Some(credential));
        let headers = ex.request.headers();
        assert_eq!(headers[CONSUMER_ID], "00000000-0000-0000-0000-000000000001");
        assert_eq!(headers[CONSUMER_USERNAME].as_bytes(), "bøb".as_bytes());
        assert_eq!(headers[CREDENTIAL_IDENTIFIER], "00000000-0000-0000-0000-000000000002");
        assert_eq!(headers.len(), 3);
    }
}
