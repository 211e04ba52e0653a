//! Managed identity on App Service, Functions and Container Apps.
//!
//! The platform gives an address and, against request forgery, a header value that it may rotate:
//! `IDENTITY_HEADER` is therefore taken from the environment at each call. That environment is
//! the copy of the configuration's last load, so a new value arrives with a restart (how the
//! platform itself does it) or a reload with a fresh copy.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use url::Url;

use super::clients::Clients;
use super::exchange::{self, Asked, Grant};
use super::failure::{Cause, Class};
use super::identity::{Identity, Selector};
use super::scope;
use crate::settings::Env;

/// Asks `IDENTITY_ENDPOINT` for a token of the selected identity.
pub(super) async fn call(
    clients: &Clients,
    identity: &Identity,
    endpoint: &Url,
    selector: &Selector,
    env: &Env,
) -> Result<Grant, Cause> {
    let secret = env.get("IDENTITY_HEADER").unwrap_or_default();
    let mut value = HeaderValue::from_str(secret).map_err(|_| {
        let meaning = "IDENTITY_HEADER cannot be sent in a header";
        Cause::new(Class::Config, meaning, "it is the platform's; see who else sets it")
    })?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert("x-identity-header", value);
    headers.insert("metadata", HeaderValue::from_static("true")); // Automation wants it too

    let mut url = endpoint.clone(); // it has a path of its own and may have a query
    url.query_pairs_mut()
        .append_pair("api-version", "2019-08-01")
        .append_pair("resource", scope::resource(identity.scope()))
        .extend_pairs(selection(selector));
    let asked = Asked::now();
    exchange::read(identity, &asked, clients.metadata(url, headers).await, &[secret])
}

/// The wait before another call. A wrong scope is answered with 500 here, so patience is short.
pub(super) fn pause(cause: &Cause, attempts: u32) -> Option<Duration> {
    let again = cause.class == Class::Transient && attempts <= 2;
    again.then_some(Duration::from_secs(1))
}

/// As for IMDS, except for the resource id: `mi_res_id` here, `msi_res_id` there.
fn selection(selector: &Selector) -> Option<(&'static str, &str)> {
    match selector {
        Selector::System => None,
        Selector::ClientId(id) => Some(("client_id", &id.value)),
        Selector::ObjectId(id) => Some(("object_id", &id.value)),
        Selector::ResourceId(id) => Some(("mi_res_id", &id.value)),
    }
}
