//! A chat that the gateway has by itself: a request to a target without a client behind it.
//!
//! The address is Kong's: `upstream_url` to the letter, its query and the default port of its
//! scheme included, where ai-proxy reads it in its own way.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::llm::address::{self, Arguments, Endpoint};
use crate::llm::openai::Body;
use crate::llm::plan::{MODEL, Plan, path_and_query};
use crate::llm::splice::{Edit, quote};
use crate::llm::template::{Client, first_template};

/// Where such requests go. Not printable: it holds a key.
pub struct Place {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// The request target; a key may be in its query.
    pub target: PathAndQuery,
    /// The header with the key. The token of an identity goes in `Authorization`.
    pub header: Option<(HeaderName, HeaderValue)>,
}

/// Why a target cannot be asked by the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Somewhere in `model` is a template.
    #[error("a template has no request to be filled in from; write the value out")]
    PerClient,
    /// `upstream_url` is no address.
    #[error("cannot be asked")]
    Address,
}

impl NoPlace {
    /// The field that it is about: its path in a target.
    pub fn field(self) -> &'static str {
        match self {
            Self::PerClient => "model",
            Self::Address => "model.options.upstream_url",
        }
    }
}

impl Plan {
    /// Where this target is for the gateway itself; `url` is its `upstream_url`.
    ///
    /// # Errors
    /// The address is not the same for all clients.
    pub fn place(&self, url: Option<&str>) -> Result<Place, NoPlace> {
        if self.has_template_in_name() || url.is_some_and(|url| first_template(url).is_some()) {
            return Err(NoPlace::PerClient);
        }
        let located = self.site.fixed().ok_or(NoPlace::PerClient)?;
        let credential = self.credential.in_query();
        let (endpoint, path, query) = match url {
            Some(url) => {
                let (endpoint, path) = own(url).ok_or(NoPlace::Address)?;
                let own_query = url.split('#').next().and_then(|url| url.split_once('?'));
                let arguments = Arguments { credential, ..Arguments::default() };
                (endpoint, path, address::query(own_query.map_or("", |(_, q)| q), arguments))
            }
            None => {
                let version = located.api_version.as_deref();
                let undated = located.undated;
                let arguments =
                    Arguments { api_version: version, undated, credential, ..Arguments::default() };
                let path = located.path.clone().ok_or(NoPlace::Address)?;
                (located.endpoint.clone(), path, address::query("", arguments))
            }
        };
        let target = path_and_query(&path, &query).ok_or(NoPlace::Address)?;
        let nobody = (HeaderMap::new(), |_: &str| None);
        let (method, path, query) = (&Method::POST, "/", "");
        let (headers, captures) = (&nobody.0, &nobody.1);
        let client = Client { method, raw_path: path, path, query, headers, captures };
        Ok(Place { endpoint, target, header: self.credential.header(&client) })
    }

    /// The body of a chat of two messages, with everything that the target sets.
    pub fn chat(&self, system: &str, user: &str) -> Bytes {
        let messages = [("system", system), ("user", user)];
        let message = |(role, content)| json!({ "role": role, "content": content });
        self.own_body(&json!({ "messages": messages.map(message), "stream": false }))
    }

    /// The body of a request for the vector of a text.
    pub fn asks_for_vector(&self, text: &str) -> Bytes {
        self.own_body(&json!({ "input": text }))
    }

    fn own_body(&self, body: &Value) -> Bytes {
        let bytes = Bytes::from(body.to_string());
        let Ok(body) = Body::read(None, bytes.clone(), 0) else { return bytes };
        let Some(object) = body.object() else { return bytes };
        let located = self.site.fixed();
        let deployment = located.and_then(|located| located.model.as_deref()).map(quote);
        let name = deployment.as_deref().or(self.name_json.as_deref());
        let version = located.filter(|place| place.is_dated).and_then(|p| p.api_version.as_deref());
        let model = self.name().map_or("", |name| name);
        let edits: Vec<_> = name
            .map(|name| Edit::set(&MODEL, name))
            .into_iter()
            .chain(self.overrides.edits(model, version, object))
            .chain(self.credential.in_body(&body))
            .collect();
        object.edited(&edits)
    }
}

/// Endpoint and path of a URL. Kong's other client takes the default port of the scheme.
fn own(url: &str) -> Option<(Endpoint, String)> {
    let (mut endpoint, path) = address::upstream_url(url).ok()?;
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = authority.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
    if !has_port {
        endpoint.port = endpoint.protocol.default_port();
    }
    Some((endpoint, path))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::config::ResponseStreaming;
    use crate::llm::config::tests::target;

    fn plan(auth: Value, options: Value, model: Value) -> Plan {
        Plan::new(&target(auth, options, model), ResponseStreaming::Allow).unwrap()
    }

    fn at(url: Option<&str>, options: Value, model: Value) -> (String, u16, String) {
        let mut options = options;
        if let Some(url) = url {
            options["upstream_url"] = url.into();
        }
        let place = plan(json!({}), options, model).place(url).ok().unwrap();
        let endpoint = place.endpoint;
        (endpoint.host.to_string(), endpoint.port, place.target.to_string())
    }

    #[test]
    fn the_address_is_that_of_the_target() {
        let path = "/openai/deployments/gpt-4o-dep/chat/completions?api-version=2023-05-15";
        let of = |url, model| at(url, json!({}), model);
        let azure = ("my-instance.openai.azure.com".to_owned(), 443, path.to_owned());
        assert_eq!(of(None, json!({})), azure);
        let openai = of(None, json!({"provider": "openai"}));
        assert_eq!(openai, ("api.openai.com".to_owned(), 443, "/v1/chat/completions".to_owned()));
        for (url, port, target) in [
            ("http://h.test/a?b=1#c", 80, "/a?b=1"),
            ("https://h.test", 443, "/"),
            ("http://h.test:81/a", 81, "/a"),
        ] {
            assert_eq!(of(Some(url), json!({})), ("h.test".to_owned(), port, target.to_owned()));
        }
        assert_eq!(of(Some("http://[::1]/a"), json!({})).1, 80);
    }

    #[test]
    fn a_key_goes_where_it_belongs() {
        let key =
            |place: &str| json!({"param_name": "k", "param_value": "v", "param_location": place});
        let place = plan(key("query"), json!({}), json!({})).place(None).ok().unwrap();
        assert!(place.target.as_str().ends_with("&k=v"), "{}", place.target);
        let body: Value =
            serde_json::from_slice(&plan(key("body"), json!({}), json!({})).chat("s", "u"))
                .unwrap();
        assert_eq!(body["k"], "v");
        let header = json!({"header_name": "api-key", "header_value": "x"});
        let place = plan(header, json!({}), json!({})).place(None).ok().unwrap();
        assert_eq!(place.header.unwrap().1, "x");
    }

    #[test]
    fn the_chat_has_the_options_of_the_target() {
        let options = json!({"max_tokens": 512, "temperature": 0.5, "top_k": 3});
        let body: Value =
            serde_json::from_slice(&plan(json!({}), options, json!({})).chat("s", "\"u\""))
                .unwrap();
        let expected = json!({
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "\"u\""}],
            "stream": false, "model": "gpt-4o", "max_tokens": 512, "temperature": 0.5,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_template_has_no_request_to_be_filled_in_from() {
        let of = |options, model| plan(json!({}), options, model).place(None).err();
        assert_eq!(of(json!({}), json!({"name": "$(headers.x)"})), Some(NoPlace::PerClient));
        let options = json!({"azure_deployment_id": "$(headers.x)"});
        assert_eq!(of(options, json!({})), Some(NoPlace::PerClient));
    }
}
