//! Credentials: each under what a request shows of it.
//!
//! What nobody can know, or everybody can read, lets nobody in: it is left out with a warning.

use std::sync::Arc;

use serde_json::Value;

use super::Builder;
use crate::config::draft::Draft;
use crate::config::node::Node;
use crate::entity::{Acl, BasicAuthCredential, HmacAuthCredential, JwtSecret, KeyAuthCredential};
use crate::settings::is_reference;

impl Builder<'_> {
    /// Puts a credential into the snapshot, or says no if nobody may use it.
    pub(super) fn credential(&mut self, draft: &Draft, value: &Value) -> bool {
        match draft.kind.name {
            "keyauth_credentials" => self.keyauth(draft, value),
            "basicauth_credentials" => self.basicauth(draft, value),
            "jwt_secrets" => self.jwt(draft, value),
            "hmacauth_credentials" => self.hmacauth(draft, value),
            _ => {
                let Some(acl) = self.typed::<Acl>(draft, value) else { return false };
                self.acls.entry(acl.consumer.id).or_default().push(acl);
                true
            }
        }
    }

    fn keyauth(&mut self, draft: &Draft, value: &Value) -> bool {
        if self.is_unknown(draft, value) || self.is_public(draft, "key") {
            return false;
        }
        let Some(credential) = self.typed::<KeyAuthCredential>(draft, value) else { return false };
        if credential.ttl.is_some_and(|end| end <= self.now) {
            let message = "the key has ended: in a file, ttl is the Unix time of its end (Kong)";
            self.report.warn(draft.at("ttl"), message);
        }
        let key = credential.key.clone();
        self.snapshot.keyauth_credentials.insert(key, Arc::new(credential));
        true
    }

    fn basicauth(&mut self, draft: &Draft, value: &Value) -> bool {
        if self.is_public(draft, "password") {
            return false;
        }
        let Some(credential) = self.typed::<BasicAuthCredential>(draft, value) else {
            return false;
        };
        let username = credential.username.clone();
        self.snapshot.basicauth_credentials.insert(username, Arc::new(credential));
        true
    }

    fn jwt(&mut self, draft: &Draft, value: &Value) -> bool {
        if self.is_unknown(draft, value) || self.is_public(draft, "secret") {
            return false;
        }
        let Some(secret) = self.typed::<JwtSecret>(draft, value) else { return false };
        self.snapshot.jwt_secrets.insert(secret.key.clone(), Arc::new(secret));
        true
    }

    fn hmacauth(&mut self, draft: &Draft, value: &Value) -> bool {
        if self.is_public(draft, "secret") {
            return false;
        }
        let Some(credential) = self.typed::<HmacAuthCredential>(draft, value) else { return false };
        let username = credential.username.clone();
        self.snapshot.hmacauth_credentials.insert(username, Arc::new(credential));
        true
    }

    /// Whether there is no key to ask for.
    fn is_unknown(&mut self, draft: &Draft, value: &Value) -> bool {
        let is_unknown = value["key"].is_null();
        if is_unknown {
            let message = "ignored: it has no key (Kong would make one up that nobody knows)";
            self.report.warn(draft.at("key"), message);
        }
        is_unknown
    }

    /// Whether the secret is the text of a reference that was not resolved.
    fn is_public(&mut self, draft: &Draft, field: &str) -> bool {
        let text = draft.node.field(field).and_then(Node::as_str);
        let is_public = text.is_some_and(is_reference);
        if is_public {
            let message = format!(
                "ignored: everybody who reads the file could sign in with the text of the \
                 reference (use ${{{{ env \"DECK_...\" }}}} for the {field})"
            );
            self.report.warn(draft.at(field), message);
        }
        is_public
    }
}
