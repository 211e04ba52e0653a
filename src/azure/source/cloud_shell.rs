//! Azure Cloud Shell: the identity of the user who opened it, by a POST to a local address.
//!
//! There is one identity and no way to name another.

use http::HeaderMap;
use url::{Url, form_urlencoded};

use super::{About, Calling, METADATA, Selector, Source};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::{self, Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::Given;
use crate::azure::scope;

#[derive(Debug)]
pub(in crate::azure) struct CloudShell {
    /// `MSI_ENDPOINT`.
    pub(in crate::azure) endpoint: Given<Url>,
}

impl Source for CloudShell {
    fn about(&self) -> About<'_> {
        About::machine("managed identity (Cloud Shell)", &self.endpoint, &Selector::System)
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        let is_scope = heard.says("audiencenotsupported") || heard.says("not a supported msi");
        if is_scope {
            return Some(Cause::new(
                Class::Config,
                "Cloud Shell gives no token for this scope",
                "it serves few resources; use a client secret, or another machine",
            ));
        }
        let is_late = heard.status == 404;
        is_late.then(|| Cause::new(Class::Transient, "Cloud Shell is not ready to give tokens", ""))
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        diagnosis::local_silence(silence, "MSI_ENDPOINT")
    }
}

impl CloudShell {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert(METADATA.0, METADATA.1);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("resource", scope::resource(scope))
            .finish();
        let asked = Asked::now();
        let reply = clients.metadata_form(self.endpoint.value.clone(), headers, form).await;
        exchange::read(self, &asked, reply, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::identity::Origin;
    use crate::azure::mock::{self, Answer, Mock, vector};

    #[tokio::test]
    async fn it_is_asked_as_the_vector_says() {
        let vector = vector("msi-05-cloud-shell");
        let refusal = Answer::of(&vector["error_response"]);
        let shell = Mock::run(move |_| refusal.clone()).await;
        let endpoint = shell.url().join("/oauth2/token").unwrap();
        let source = CloudShell { endpoint: Given { value: endpoint, from: Origin::Default } };
        let scope = "https://cognitiveservices.azure.com/.default";
        let cause = source.call(&mock::clients(), scope).await.unwrap_err();

        let (seen, wanted) = (shell.last(), &vector["request"]);
        assert_eq!(seen.line, "POST /oauth2/token");
        assert_eq!(serde_json::json!(seen.form()), wanted["form"]);
        for (name, value) in wanted["headers"].as_object().unwrap() {
            assert_eq!(seen.header(name), value.as_str(), "{name}");
        }
        assert_eq!((cause.class, cause.status), (Class::Config, Some(400)));
        assert!(cause.said.starts_with("AudienceNotSupported: Audience"), "{cause}");
        assert!(cause.remedy.contains("few resources"), "{cause}");
    }
}
