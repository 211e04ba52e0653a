//! A request that an endpoint must refuse, and that costs nothing: the question whether a target
//! would take requests.
//!
//! It goes where a client's would go, with the same key, but holds no prompt. Azure looks at the
//! credential, the api-version and the deployment first and misses the prompt then, before any
//! model runs.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::entity::Secret;
use crate::llm::address::Endpoint;
use crate::llm::openai::Body;
use crate::llm::plan::{MODEL, Plan};
use crate::llm::splice::{Edit, quote};
use crate::llm::template::Client;
use crate::llm::{Provider, RouteType};

/// The request. Not printable: it holds a key.
pub struct Question {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// The request target; a key may be in its query.
    pub target: PathAndQuery,
    /// The header with the key. The token of an identity goes in `Authorization`.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// `anthropic-version`, where that API is spoken.
    pub version: Option<HeaderValue>,
    /// The body: JSON without a prompt.
    pub body: Bytes,
    /// The address for people: without a key.
    pub url: String,
    /// What no output may quote from the answer.
    pub secrets: Vec<Secret>,
    /// Whether the endpoint is Azure's, whose words quote no keys.
    pub is_azure: bool,
}

/// Why a target cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoQuestion {
    /// Somewhere in `model.options` is a template.
    #[error("its URL depends on the request (a template in model.options)")]
    PerClient,
    /// The client's path is used.
    #[error("route_type preserve takes the path of each request")]
    ClientsPath,
    /// Nobody knows which body costs nothing there.
    #[error("no harmless question is known for this path")]
    OtherOperation,
}

/// Chats and embeddings miss their prompt.
const WITHOUT_PROMPT: &[u8] = b"{}";

/// OpenAI's older completions take a missing prompt for `<|endoftext|>` and begin to write. Neither
/// of these members can be meant.
const IMPOSSIBLE_PROMPT: &[u8] = br#"{"prompt":{},"max_tokens":-1}"#;

impl Plan {
    /// The question to this target.
    ///
    /// # Errors
    /// The address is not the same for all clients, or no such request is known for it.
    pub fn question(&self) -> Result<Question, NoQuestion> {
        let located = self.site.fixed().ok_or(NoQuestion::PerClient)?;
        let path = located.path.as_deref().ok_or(NoQuestion::ClientsPath)?;
        let body = match (path, self.route_type) {
            (path, _) if path.ends_with("/chat/completions") => WITHOUT_PROMPT,
            (path, _) if path.ends_with("/embeddings") => WITHOUT_PROMPT,
            (path, _) if path.ends_with("/completions") => IMPOSSIBLE_PROMPT,
            (_, RouteType::Chat) => WITHOUT_PROMPT,
            (_, RouteType::Completions) => IMPOSSIBLE_PROMPT,
            _ => return Err(NoQuestion::OtherOperation),
        };
        let nobody = (HeaderMap::new(), |_: &str| None);
        let client = Client {
            method: &Method::POST,
            raw_path: "/",
            path: "/",
            query: "",
            headers: &nobody.0,
            captures: &nobody.1,
        };
        let shown = located.target.as_ref().map_or(path, |target| target.as_str());
        Ok(Question {
            url: located.endpoint.url(shown),
            target: self
                .target(located, None, None, &client)
                .map_err(|_| NoQuestion::OtherOperation)?,
            header: self.credential.header(&client),
            version: self.anthropic_version().cloned(),
            body: self.without_prompt(located.model.as_deref(), body),
            secrets: self.secrets(),
            endpoint: located.endpoint.clone(),
            is_azure: self.provider() == Provider::Azure,
        })
    }

    /// The v1 API reads the deployment in the body.
    fn without_prompt(&self, deployment: Option<&str>, body: &'static [u8]) -> Bytes {
        let Ok(body) = Body::read(None, Bytes::from_static(body), 0) else { return Bytes::new() };
        let deployment = deployment.map(quote);
        let name = deployment.as_deref().or(self.name_json.as_deref());
        let model = name.map(|name| Edit::set(&MODEL, name));
        let edits: Vec<_> = model.into_iter().chain(self.credential.in_body(&body)).collect();
        body.object().map_or_else(Bytes::new, |object| object.edited(&edits))
    }
}

impl Endpoint {
    /// `https://host:port/path`, without a port that goes without saying.
    fn url(&self, path: &str) -> String {
        let scheme = if self.protocol.is_tls() { "https" } else { "http" };
        if self.port == self.protocol.default_port() {
            format!("{scheme}://{}{path}", self.host)
        } else {
            format!("{scheme}://{}:{}{path}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::config::ResponseStreaming;
    use crate::llm::config::tests::target;

    fn ask(auth: Value, options: Value, model: Value) -> Result<Question, NoQuestion> {
        let target = target(auth, options, model);
        Plan::new(&target, ResponseStreaming::Allow).unwrap().question()
    }

    fn body(question: &Question) -> Value {
        serde_json::from_slice(&question.body).unwrap()
    }

    #[test]
    fn a_chat_is_asked_for_without_messages() {
        let key = json!({"header_name": "api-key", "header_value": "k"});
        let question = ask(key, json!({}), json!({})).unwrap();
        let path = "/openai/deployments/gpt-4o-dep/chat/completions?api-version=2023-05-15";
        assert_eq!(question.target, path);
        assert_eq!(question.url, format!("https://my-instance.openai.azure.com{path}"));
        assert_eq!(body(&question), json!({"model": "gpt-4o"}));
        assert_eq!(question.header.unwrap().1, "k");
    }

    #[test]
    fn a_completion_cannot_begin_to_write() {
        let model = json!({"route_type": "llm/v1/completions"});
        let of = |options| ask(json!({}), options, model.clone()).unwrap();
        let url = json!({"upstream_url": "https://own.example/llm"});
        for question in [of(json!({})), of(url)] {
            let expected = json!({"model": "gpt-4o", "prompt": {}, "max_tokens": -1});
            assert_eq!(body(&question), expected);
        }
        let url = json!({"upstream_url": "https://own.example/v1/completions"});
        let question = ask(json!({}), url, json!({})).unwrap();
        assert_eq!(body(&question)["max_tokens"], -1, "the path counts, not the route_type");
    }

    #[test]
    fn a_key_is_sent_and_not_shown() {
        let key = |place: &str| {
            let mut auth = json!({"param_name": "k", "param_value": "canary /1"});
            auth["param_location"] = place.into();
            auth
        };
        let question = ask(key("query"), json!({}), json!({})).unwrap();
        assert!(question.target.as_str().ends_with("&k=canary%20%2F1"), "{}", question.target);
        assert!(!question.url.contains("canary"), "{}", question.url);
        let question = ask(key("body"), json!({}), json!({})).unwrap();
        assert_eq!(body(&question), json!({"model": "gpt-4o", "k": "canary /1"}));
        let secrets: Vec<_> = question.secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["canary /1"]);
    }

    #[test]
    fn what_depends_on_the_request_cannot_be_asked() {
        let of = |options, model| ask(json!({}), options, model).err();
        let none = json!({});
        let template = json!({"azure_deployment_id": "$(headers.x)"});
        assert_eq!(of(template, none.clone()), Some(NoQuestion::PerClient));
        let preserve = json!({"route_type": "preserve"});
        assert_eq!(of(none.clone(), preserve.clone()), Some(NoQuestion::ClientsPath));
        let files = json!({"upstream_path": "/files"});
        assert_eq!(of(files, preserve.clone()), Some(NoQuestion::OtherOperation));
        assert_eq!(of(json!({"upstream_path": "/chat/completions"}), preserve), None);
    }
}
