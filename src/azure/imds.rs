//! Managed identity on virtual machines, scale sets, AKS nodes and container instances: IMDS.
//!
//! A plain GET to a link-local address, built from nothing that a client sent: IMDS refuses
//! requests with `X-Forwarded-For` and with repeated query names.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use url::Url;

use super::clients::Clients;
use super::exchange::{self, Asked, Grant};
use super::failure::{Cause, Class};
use super::identity::{Identity, Selector};
use super::{endpoint, scope};

/// Asks the metadata service at `origin` for a token of the selected identity.
pub(super) async fn call(
    clients: &Clients,
    identity: &Identity,
    origin: &Url,
    selector: &Selector,
) -> Result<Grant, Cause> {
    let path = endpoint::join(origin, "metadata/identity/oauth2/token");
    let mut url = Url::parse(&path).map_err(|error| {
        Cause::new(Class::Config, "the endpoint is no address", "see auth.azure_imds_endpoint")
            .saying(error.to_string())
    })?;
    url.query_pairs_mut()
        .append_pair("api-version", "2018-02-01")
        .append_pair("resource", scope::resource(identity.scope()))
        .extend_pairs(selection(selector));
    let mut headers = HeaderMap::new();
    headers.insert("metadata", HeaderValue::from_static("true"));
    let asked = Asked::now();
    exchange::read(identity, &asked, clients.metadata(url, headers).await, &[])
}

/// The wait before another call, by Microsoft's retry guidance.
///
/// 410 means an update of the service that may take 70 s. Without any answer there is one more
/// try: outside Azure, where packets vanish, everybody waits for it.
pub(super) fn pause(cause: &Cause, attempts: u32) -> Option<Duration> {
    let secs = match (cause.class, cause.status, attempts) {
        (Class::Transient, Some(410), 1..=7) => 10,
        (Class::Transient, Some(_), 1..=3) => 1 << (attempts - 1),
        (Class::Transient | Class::Unavailable, None, 1) => 1,
        _ => return None,
    };
    Some(Duration::from_secs(secs))
}

fn selection(selector: &Selector) -> Option<(&'static str, &str)> {
    match selector {
        Selector::System => None,
        Selector::ClientId(id) => Some(("client_id", &id.value)),
        Selector::ObjectId(id) => Some(("object_id", &id.value)),
        Selector::ResourceId(id) => Some(("msi_res_id", &id.value)),
    }
}
