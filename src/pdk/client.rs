//! Who the client is: the consumer an authentication plugin named (`kong.client`).

use std::cell::RefCell;
use std::fmt;
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
    named: RefCell<Named>,
    credential: RefCell<Option<Credential>>,
    groups: RefCell<Option<Vec<Arc<ConsumerGroup>>>>,
}

/// Whom a client was named.
#[derive(Debug, Clone, Default)]
pub enum Named {
    /// Nobody has named it.
    #[default]
    Nobody,
    /// A consumer of the configuration.
    Consumer(Arc<Consumer>),
    /// Another one: a Lua plugin may bring its own, also without an id.
    Stranger(Option<Id>),
}

impl Named {
    /// The id of the consumer.
    pub fn id(&self) -> Option<Id> {
        match self {
            Self::Nobody => None,
            Self::Consumer(consumer) => Some(consumer.id.into()),
            Self::Stranger(id) => id.clone(),
        }
    }
}

/// The id of a consumer or a credential. What Lua plugins bring may have any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// The id of an entity.
    Known(Uuid),
    /// Anything else.
    Text(Arc<str>),
}

impl Id {
    /// Reads an id. A UUID in another form than Kong's is a text.
    pub fn read(text: &str) -> Self {
        let mut digits = Uuid::encode_buffer();
        match Uuid::try_parse(text) {
            Ok(id) if *id.hyphenated().encode_lower(&mut digits) == *text => Self::Known(id),
            _ => Self::Text(text.into()),
        }
    }
}

impl From<Uuid> for Id {
    fn from(id: Uuid) -> Self {
        Self::Known(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(id) => id.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What a client authenticated with. The secret part stays with the plugin.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Id of the credential, if it has one.
    pub id: Option<Id>,
    /// What it is known by (`X-Credential-Identifier`), such as a user name; `None` is its id.
    pub identifier: Option<Arc<str>>,
    /// The consumer the credential belongs to, if it does.
    pub consumer_id: Option<Id>,
}

impl Credential {
    /// A credential of the configuration.
    pub fn new(id: Uuid, identifier: Option<Arc<str>>, consumer_id: Uuid) -> Self {
        Self { id: Some(id.into()), identifier, consumer_id: Some(consumer_id.into()) }
    }
}

impl Client {
    /// Whom it was named.
    pub fn named(&self) -> Named {
        self.named.borrow().clone()
    }

    /// The authenticated consumer, if the configuration has it.
    pub fn consumer(&self) -> Option<Arc<Consumer>> {
        match &*self.named.borrow() {
            Named::Consumer(consumer) => Some(consumer.clone()),
            _ => None,
        }
    }

    /// Names the consumer without telling the upstream (`kong.client.authenticate`).
    pub fn set(&self, named: Named, credential: Option<Credential>) {
        *self.named.borrow_mut() = named;
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

    /// Id of the authenticated consumer, if the configuration has it.
    pub fn consumer_id(&self) -> Option<Uuid> {
        match &*self.named.borrow() {
            Named::Consumer(consumer) => Some(consumer.id),
            _ => None,
        }
    }

    /// Puts groups, ordered by name, in place of those of the consumer; `None` takes them back.
    pub fn set_groups(&self, groups: Option<Vec<Arc<ConsumerGroup>>>) {
        *self.groups.borrow_mut() = groups;
    }

    /// Calls `f` with the groups of the consumer, ordered by name.
    pub fn with_groups<R>(&self, f: impl FnOnce(&[Arc<ConsumerGroup>]) -> R) -> R {
        if let Some(groups) = &*self.groups.borrow() {
            return f(groups);
        }
        match &*self.named.borrow() {
            Named::Consumer(consumer) => f(&consumer.groups),
            _ => f(&[]),
        }
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
        let identifier = credential.as_ref().and_then(|c| match (&c.identifier, &c.id) {
            (Some(identifier), _) => Some(&**identifier),
            (None, Some(Id::Known(id))) => Some(&*id.hyphenated().encode_lower(&mut digits)),
            (None, Some(Id::Text(id))) => Some(&**id),
            (None, None) => None,
        });
        set(CREDENTIAL_IDENTIFIER, identifier);
        set(ANONYMOUS_CONSUMER, credential.is_none().then_some("true"));
        self.client.set(consumer.map_or(Named::Nobody, Named::Consumer), credential);
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
        let credential = Credential::new(Uuid::from_u128(2), None, consumer.id);
        ex.authenticate(Some(Arc::new(consumer)), Some(credential));
        let headers = ex.request.headers();
        assert_eq!(headers[CONSUMER_ID], "00000000-0000-0000-0000-000000000001");
        assert_eq!(headers[CONSUMER_USERNAME].as_bytes(), "bøb".as_bytes());
        assert_eq!(headers[CREDENTIAL_IDENTIFIER], "00000000-0000-0000-0000-000000000002");
        assert_eq!(headers.len(), 3);
    }
}
