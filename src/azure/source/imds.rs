//! Managed identity on virtual machines, scale sets, AKS nodes and container instances: IMDS.
//!
//! A plain GET to a link-local address, built from nothing that a client sent: IMDS refuses
//! requests with `X-Forwarded-For` and with repeated query names.

use std::future::Future;
use std::io;
use std::time::Duration;

use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::{About, Calling, METADATA, Selector, Source};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::{self, Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::Given;
use crate::azure::{endpoint, scope};

#[derive(Debug)]
pub(in crate::azure) struct Imds {
    /// Its origin.
    pub(in crate::azure) endpoint: Given<Url>,
    pub(in crate::azure) selector: Selector,
    /// Nothing says that this is an Azure machine; it is only what is left.
    pub(in crate::azure) is_assumed: bool,
}

/// Outside Azure packets to IMDS vanish, and everybody would wait for the time-out of a real call.
const PROBE: Duration = Duration::from_secs(1);

impl Source for Imds {
    fn about(&self) -> About<'_> {
        About::machine("managed identity (IMDS)", &self.endpoint, &self.selector)
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    /// Microsoft's retry guidance. 410 means an update of the service that may take 70 s. Without
    /// any answer there is one more try, and none where IMDS was only assumed.
    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        let secs = match (cause.class, cause.status, attempts) {
            (Class::Transient, Some(410), 1..=7) => 10,
            (Class::Transient, Some(_), 1..=3) => 1 << (attempts - 1),
            (Class::Transient, None, 1) => 1,
            (Class::Unavailable, None, 1) if !self.is_assumed => 1,
            _ => return None,
        };
        Some(Duration::from_secs(secs))
    }

    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        let is_missing = ["identity not found", "no azure identity found for request clientid"];
        Some(match heard.status {
            400 if heard.says("multiple user assigned identities") => Cause::new(
                Class::Ambiguous,
                "this machine has several user-assigned identities",
                "name one: auth.azure_client_id, or its object or resource id",
            ),
            400 if is_missing.iter().any(|text| heard.says(text)) => Cause::new(
                Class::NotAssigned,
                format!("this machine does not have the identity {}", self.selector),
                "assign it to the VM or scale set, or correct the id (auth.azure_client_id)",
            ),
            // Docker Desktop answers for link-local addresses.
            400 | 403 if heard.says("unreachable") => diagnosis::not_a_token_endpoint(),
            404 | 410 => Cause::new(Class::Transient, "the metadata service is being updated", ""),
            502 | 504 => Cause::new(
                Class::Transient,
                "a proxy seems to answer for the metadata service",
                "let link-local addresses bypass it",
            ),
            _ => return None,
        })
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        matches!(silence, Silence::NoConnection | Silence::Timeout).then(not_here)
    }
}

impl Imds {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        if self.is_assumed {
            let address = self.endpoint.value.socket_addrs(|| None);
            probe(async { TcpStream::connect(&*address?).await }).await?;
        }
        let path = endpoint::join(&self.endpoint.value, "metadata/identity/oauth2/token");
        let mut url = Url::parse(&path).map_err(|error| {
            Cause::new(Class::Config, "the endpoint is no address", "see auth.azure_imds_endpoint")
                .saying(error.to_string())
        })?;
        url.query_pairs_mut()
            .append_pair("api-version", "2018-02-01")
            .append_pair("resource", scope::resource(scope))
            .extend_pairs(self.selector.argument("msi_res_id"));
        let mut headers = HeaderMap::new();
        headers.insert(METADATA.0, METADATA.1);
        let asked = Asked::now();
        exchange::read(self, &asked, clients.metadata(url, headers).await, &[])
    }
}

/// Whether anybody is there. The answer counts for one exchange; the next asks anew.
async fn probe<T>(connection: impl Future<Output = io::Result<T>>) -> Result<(), Cause> {
    match timeout(PROBE, connection).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(not_here().saying(error.to_string())),
        Err(_) => Err(not_here().saying(format!("no connection within {} s", PROBE.as_secs()))),
    }
}

fn not_here() -> Cause {
    Cause::new(
        Class::Unavailable,
        "the metadata service does not answer",
        "this is not an Azure VM, or App Service has no identity assigned (IDENTITY_ENDPOINT is \
         not set), or a network policy blocks link-local addresses",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn vanishing_packets_cost_a_second_outside_azure() {
        let start = tokio::time::Instant::now();
        let cause = probe(std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(start.elapsed(), PROBE);
        assert_eq!((cause.class, cause.status), (Class::Unavailable, None));
        assert!(cause.to_string().contains("not an Azure VM"), "{cause}");
        assert!(probe(std::future::ready(Ok(()))).await.is_ok());
    }
}
