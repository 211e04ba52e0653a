//! Managed identity on Azure Machine Learning: the contract of 2017-09-01, which App Service had
//! before the present one.
//!
//! The secret goes in the header `secret`, and a user-assigned identity is named `clientid`,
//! without an underscore. Dates are in words; `expiry` reads them.

use http::HeaderMap;
use url::Url;

use super::{About, Calling, Selector, Source, platform_secret};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::{self, Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::Given;
use crate::azure::scope;
use crate::settings::Env;

#[derive(Debug)]
pub(in crate::azure) struct AzureMl {
    /// `MSI_ENDPOINT`.
    pub(in crate::azure) endpoint: Given<Url>,
    /// `System` or a client id; the contract knows no other.
    pub(in crate::azure) selector: Selector,
    /// `MSI_SECRET` is taken from it at each call.
    pub(in crate::azure) env: Env,
}

impl Source for AzureMl {
    fn about(&self) -> About<'_> {
        About::machine("managed identity (Azure ML)", &self.endpoint, &self.selector)
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        Some(match heard.status {
            400 | 500 if heard.says("identity not found") => Cause::new(
                Class::NotAssigned,
                format!("this compute does not have the identity {}", self.selector),
                "assign it to the compute, or correct the id (auth.azure_client_id, \
                 DEFAULT_IDENTITY_CLIENT_ID)",
            ),
            401 | 403 => Cause::new(
                Class::Config,
                "the platform does not take MSI_SECRET",
                "it is the platform's; see who else sets it",
            ),
            404 => Cause::new(Class::Transient, "the platform is not ready to give tokens", ""),
            _ => return None,
        })
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        diagnosis::local_silence(silence, "MSI_ENDPOINT")
    }
}

impl AzureMl {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert("secret", platform_secret(&self.env, "MSI_SECRET")?);
        let mut url = self.endpoint.value.clone();
        url.query_pairs_mut()
            .append_pair("api-version", "2017-09-01")
            .append_pair("resource", scope::resource(scope));
        if let Selector::ClientId(id) = &self.selector {
            url.query_pairs_mut().append_pair("clientid", &id.value);
        }
        let asked = Asked::now();
        let secret = self.env.get("MSI_SECRET").unwrap_or_default();
        exchange::read(self, &asked, clients.metadata(url, headers).await, &[secret])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::identity::Origin;
    use crate::azure::mock::{self, Answer, Mock, vector};

    #[tokio::test]
    async fn it_is_asked_as_the_vector_says() {
        let vector = vector("appsvc-05-2017-api");
        let platform = Mock::run(|_| {
            Answer::new(200, r#"{"access_token": "t", "expires_on": "12/31/2099 00:00:00 +00:00"}"#)
        })
        .await;
        let given = |value: &str| Given { value: value.to_owned(), from: Origin::Default };
        let endpoint = platform.url().join("/msi/token").unwrap();
        let secret = vector["env"]["MSI_SECRET"].as_str().unwrap();
        let source = AzureMl {
            endpoint: Given { value: endpoint, from: Origin::Default },
            selector: Selector::ClientId(given("c")),
            env: Env::from_iter([("MSI_SECRET", secret)]),
        };
        let scope = "https://cognitiveservices.azure.com/.default";
        source.call(&mock::clients(), scope).await.unwrap();

        let (seen, wanted) = (platform.last(), &vector["request"]);
        let query: serde_json::Map<_, _> =
            seen.query().into_iter().map(|(name, value)| (name, value.into())).collect();
        assert_eq!(serde_json::Value::from(query), wanted["query"]);
        assert_eq!(seen.header("secret"), wanted["headers"]["secret"].as_str());
        assert_eq!(seen.path(), "/msi/token");

        let source = AzureMl { selector: Selector::System, ..source };
        source.call(&mock::clients(), scope).await.unwrap();
        assert!(platform.last().query().iter().all(|(name, _)| name != "clientid"));
    }
}
