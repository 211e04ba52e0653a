//! Managed identity on App Service, Functions and Container Apps.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use super::{About, Calling, METADATA, Selector, Source, platform_secret};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::{self, Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::Given;
use crate::azure::scope;
use crate::settings::Env;

#[derive(Debug)]
pub(in crate::azure) struct AppService {
    /// `IDENTITY_ENDPOINT`: it has a path of its own and may have a query.
    pub(in crate::azure) endpoint: Given<Url>,
    pub(in crate::azure) selector: Selector,
    /// Against request forgery the platform wants `IDENTITY_HEADER` back, which it may rotate.
    pub(in crate::azure) env: Env,
}

impl Source for AppService {
    fn about(&self) -> About<'_> {
        About::machine("managed identity (App Service)", &self.endpoint, &self.selector)
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    /// A wrong scope and a missing identity are answered with 500 here, so patience is short.
    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        let again = cause.class == Class::Transient && attempts <= 2;
        again.then_some(Duration::from_secs(1))
    }

    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        Some(match heard.status {
            400 if heard.says("identity not found") => Cause::new(
                Class::NotAssigned,
                format!("this app does not have the identity {}", self.selector),
                "assign it to the app, or correct the id (auth.azure_client_id)",
            ),
            401 | 403 => Cause::new(
                Class::Config,
                "the platform does not take IDENTITY_HEADER",
                "it is the platform's and may be rotated; see who else sets it",
            ),
            404 => Cause::new(Class::Transient, "the platform is not ready to give tokens", ""),
            500 => Cause::new(
                Class::Transient,
                "the platform gave no token",
                "if it stays, the identity is not assigned to this app or the scope is wrong",
            ),
            _ => return None,
        })
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        diagnosis::local_silence(silence, "IDENTITY_ENDPOINT")
    }
}

impl AppService {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        let secret = platform_secret(&self.env, "IDENTITY_HEADER")?;
        let mut headers = HeaderMap::new();
        headers.insert("x-identity-header", secret);
        headers.insert(METADATA.0, METADATA.1); // Automation wants it too
        let mut url = self.endpoint.value.clone();
        url.query_pairs_mut()
            .append_pair("api-version", "2019-08-01")
            .append_pair("resource", scope::resource(scope))
            .extend_pairs(self.selector.argument("mi_res_id"));
        let asked = Asked::now();
        let secret = self.env.get("IDENTITY_HEADER").unwrap_or_default();
        exchange::read(self, &asked, clients.metadata(url, headers).await, &[secret])
    }
}
