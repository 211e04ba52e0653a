//! Managed identity on Service Fabric.
//!
//! The cluster serves tokens over https with a certificate that it signed itself, and gives that
//! certificate's SHA-1 thumbprint. It is compared during the handshake, so that the secret header
//! goes to nobody else.

use http::HeaderMap;
use url::Url;

use super::{About, Calling, Selector, Source, platform_secret};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::{self, Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::{Fact, Given};
use crate::azure::pin::Thumbprint;
use crate::azure::scope;
use crate::settings::Env;

#[derive(Debug)]
pub(in crate::azure) struct ServiceFabric {
    /// `IDENTITY_ENDPOINT`, https.
    pub(in crate::azure) endpoint: Given<Url>,
    /// `System` or an object id; the cluster knows no other.
    pub(in crate::azure) selector: Selector,
    pub(in crate::azure) thumbprint: Given<Thumbprint>,
    /// `IDENTITY_HEADER` is taken from it at each call.
    pub(in crate::azure) env: Env,
}

impl Source for ServiceFabric {
    fn about(&self) -> About<'_> {
        let kind = "managed identity (Service Fabric)";
        let pin = Fact::new("thumbprint", self.thumbprint.value, self.thumbprint.from);
        About { proof: vec![pin], ..About::machine(kind, &self.endpoint, &self.selector) }
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    /// Microsoft asks that its 404 is not repeated, so that it is no passing failure here.
    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        if heard.says("secretheadernotfound") || heard.says("secret is not found") {
            return Some(Cause::new(
                Class::Config,
                "the cluster does not know the secret of this process",
                "IDENTITY_HEADER is the cluster's; see who else sets it",
            ));
        }
        let is_missing = heard.says("managedidentitynotfound") || heard.says("identity not found");
        (is_missing || heard.status == 404).then(|| {
            Cause::new(
                Class::NotAssigned,
                format!("this application does not have the identity {}", self.selector),
                "give the application an identity in its manifest (IdentityBindingPolicy), or \
                 correct auth.azure_managed_identity_object_id",
            )
        })
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        if silence != Silence::Certificate {
            return diagnosis::local_silence(silence, "IDENTITY_ENDPOINT");
        }
        let meaning = "the certificate of the endpoint is not the one that \
                       IDENTITY_SERVER_THUMBPRINT names";
        let remedy = "restart the application to get the new one; nothing secret was sent";
        Some(Cause::new(Class::Config, meaning, remedy))
    }
}

impl ServiceFabric {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert("secret", platform_secret(&self.env, "IDENTITY_HEADER")?);
        let mut url = self.endpoint.value.clone();
        // Only the newer contract knows how an identity is named.
        let (version, name) = match &self.selector {
            Selector::ObjectId(id) => ("2020-05-01", Some(("principalId", &id.value))),
            _ => ("2019-07-01-preview", None),
        };
        url.query_pairs_mut()
            .append_pair("api-version", version)
            .append_pair("resource", scope::resource(scope))
            .extend_pairs(name);
        let asked = Asked::now();
        let reply = clients.metadata_pinned(url, headers, self.thumbprint.value).await;
        let secret = self.env.get("IDENTITY_HEADER").unwrap_or_default();
        exchange::read(self, &asked, reply, &[secret])
    }
}

#[cfg(test)]
mod tests;
