//! Entra's token endpoint (OAuth 2.0 client credentials, v2.0): what its three proofs share.
//!
//! Instance discovery, which Microsoft's own libraries do first, is their habit and not part of
//! the protocol; it is left out.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use url::{Url, form_urlencoded};

use super::Source;
use crate::azure::clients::{self, Clients};
use crate::azure::diagnosis::Silence;
use crate::azure::endpoint;
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::{Fact, Given};

/// An application as Entra knows it.
#[derive(Debug, Clone)]
pub(in crate::azure) struct App {
    pub(in crate::azure) authority: Given<Url>,
    /// Whether the authority came without `https://`, so that it had to be assumed.
    pub(in crate::azure) is_scheme_assumed: bool,
    pub(in crate::azure) tenant: Given<String>,
    pub(in crate::azure) client_id: Given<String>,
}

impl App {
    pub(super) fn facts(&self) -> Vec<Fact> {
        vec![
            Fact::new("client id", &self.client_id.value, self.client_id.from),
            Fact::new("tenant", &self.tenant.value, self.tenant.from),
            Fact::new("authority", &self.authority.value, self.authority.from),
        ]
    }

    /// Where tokens are given out; also the audience of a signed assertion.
    pub(super) fn token_url(&self) -> String {
        endpoint::join(&self.authority.value, &self.token_path())
    }

    fn token_path(&self) -> String {
        format!("{}/oauth2/v2.0/token", self.tenant.value)
    }

    /// One request with this proof.
    pub(super) async fn post(
        &self,
        source: &dyn Source,
        clients: &Clients,
        scope: &str,
        proof: &[(&str, &str)],
    ) -> Result<Grant, Cause> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.client_id.value)
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", scope)
            .extend_pairs(proof)
            .finish();
        let asked = Asked::now();
        let request = clients
            .post(&self.authority.value, &self.token_path())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("x-ms-client-request-id", uuid::Uuid::new_v4().to_string())
            .body(form);
        let secrets: Vec<&str> = proof.iter().map(|(_, value)| *value).collect();
        exchange::read(source, &asked, clients::send(request).await, &secrets)
    }

    /// The same with a signed token in place of a secret (RFC 7523 section 2.2).
    pub(super) async fn post_assertion(
        &self,
        source: &dyn Source,
        clients: &Clients,
        scope: &str,
        assertion: &str,
    ) -> Result<Grant, Cause> {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let proof = [("client_assertion_type", kind), ("client_assertion", assertion)];
        self.post(source, clients, scope, &proof).await
    }

    pub(super) fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        let is_assumed = self.is_scheme_assumed && silence == Silence::NoTls;
        is_assumed.then(|| {
            let meaning = "what answers does not speak TLS, and no scheme was given, so https was \
                           assumed";
            let remedy = format!("write http:// or https:// in front of {}", self.authority.from);
            Cause::new(Class::Config, meaning, remedy)
        })
    }
}

/// The wait before another call: two quick ones for what may pass, and one for an assertion that
/// is out of date, since the kubelet may have renewed its file since it was read.
pub(super) fn pause(cause: &Cause, attempts: u32) -> Option<Duration> {
    match (cause.class, attempts) {
        (Class::Transient | Class::Assertion, 1) => Some(Duration::from_millis(500)),
        (Class::Transient, 2) => Some(Duration::from_millis(1500)),
        _ => None,
    }
}
