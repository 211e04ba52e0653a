//! Entra's token endpoint (OAuth 2.0 client credentials, v2.0): a secret or a federated token.
//!
//! Instance discovery, which Microsoft's own libraries do first, is their habit and not part of
//! the protocol; it is left out.

use std::path::Path;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::clients::{self, Clients};
use super::exchange::{self, Asked, Grant};
use super::failure::{Cause, Class};
use super::identity::{App, Identity};
use super::workload;
use crate::entity::Secret;

/// Asks with the application's secret.
pub(super) async fn with_secret(
    clients: &Clients,
    identity: &Identity,
    app: &App,
    secret: &Secret,
) -> Result<Grant, Cause> {
    post(clients, identity, app, &[("client_secret", secret.expose())]).await
}

/// Asks with a Kubernetes service account token, read anew for every call (RFC 7523 section 2.2).
pub(super) async fn with_token_file(
    clients: &Clients,
    identity: &Identity,
    app: &App,
    token_file: &Path,
) -> Result<Grant, Cause> {
    let assertion = workload::read_token(token_file).await?;
    let proof = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.expose()),
    ];
    post(clients, identity, app, &proof).await
}

/// The wait before another call: two quick ones for what may pass, and one for a federated token
/// that the kubelet may have renewed since it was read.
pub(super) fn pause(cause: &Cause, attempts: u32) -> Option<Duration> {
    match (cause.class, attempts) {
        (Class::Transient | Class::Assertion, 1) => Some(Duration::from_millis(500)),
        (Class::Transient, 2) => Some(Duration::from_millis(1500)),
        _ => None,
    }
}

async fn post(
    clients: &Clients,
    identity: &Identity,
    app: &App,
    proof: &[(&str, &str)],
) -> Result<Grant, Cause> {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &app.client_id.value)
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", identity.scope())
        .extend_pairs(proof)
        .finish();
    let asked = Asked::now();
    let request = clients
        .post(&app.authority.value, &format!("{}/oauth2/v2.0/token", app.tenant.value))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-ms-client-request-id", uuid::Uuid::new_v4().to_string())
        .body(form);
    let secrets: Vec<&str> = proof.iter().map(|(_, value)| *value).collect();
    exchange::read(identity, &asked, clients::send(request).await, &secrets)
}
