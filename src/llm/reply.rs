//! Replies of a model: what is checked, and what the client gets.
//!
//! Kong's rules, which the plugin applies:
//! - only a 200 is looked at; every other status passes with its headers and body unchanged;
//! - a 200 loses `Set-Cookie` and gains `X-Kong-LLM-Model` (if `model_name_header` is on or the
//!   client sent `Kong-Debug`), also when the body turns out to be no reply and becomes a 500;
//!   that 500 keeps the upstream's other headers, its `Content-Type` included;
//! - `preserve` checks nothing and keeps `Set-Cookie`.
//!
//! The body itself passes byte for byte. Where Kong ends a connection without an answer (JSON in
//! place of a requested stream), the reply is checked and passed as one that was not streamed.

use bytes::Bytes;

use crate::llm::ending::Ending;
use crate::llm::error::Error;
use crate::llm::json::{self, Fault};
use crate::llm::splice::Object;
use crate::llm::usage::{self, Usage};
use crate::llm::{Provider, RouteType};

/// A reply that is what the client asked for.
pub struct Reply {
    object: Object<Bytes>,
}

impl Reply {
    /// Checks the whole body of a 200 for `llm/v1/chat` or `llm/v1/completions`.
    pub fn check(provider: Provider, route: RouteType, body: Bytes) -> Result<Self, Error> {
        Self::of_route(provider, route, Self::read(body))
    }

    /// Checks one that has been read.
    pub fn of_route(
        provider: Provider,
        route: RouteType,
        read: Result<Self, Fault>,
    ) -> Result<Self, Error> {
        let bad = |reason| Error::BadReply { provider, route, reason };
        let lacks_choices = || bad(format!("'choices' not in {route} response"));
        match read {
            Ok(reply) if reply.object.get("choices").is_some() => Ok(reply),
            Ok(_) | Err(Fault::NotAnObject) => Err(lacks_choices()),
            Err(_) => Err(bad(format!("failed to decode {route} response"))),
        }
    }

    /// Reads a reply of any kind.
    ///
    /// # Errors
    /// It is no JSON object.
    pub fn read(body: Bytes) -> Result<Self, Fault> {
        Object::read(body).map(|object| Self { object })
    }

    /// A reply of any kind, for `preserve`: `None` when it is not a JSON object.
    pub fn of_any_kind(body: Bytes) -> Option<Self> {
        Self::read(body).ok()
    }

    /// The model that answered.
    pub fn model(&self) -> Option<String> {
        self.object.get("model").and_then(json::text).map(|model| model.into_owned())
    }

    /// The tier of service that it was served in.
    pub fn tier(&self) -> Option<String> {
        let own = self.object.get("service_tier").and_then(usage::tier);
        own.or_else(|| self.object.get("usage").and_then(usage::tier_in))
    }

    /// What the first choice says; `None` when it says nothing in words.
    pub fn content(&self) -> Option<String> {
        let choice = json::items(self.object.get("choices")?).next()?;
        let choice = Object::read(choice).ok()?;
        let message = Object::read(choice.get("message")?).ok()?;
        json::text(message.get("content")?).map(|content| content.into_owned())
    }

    /// Its id, and why the model stopped.
    pub fn ending(&self) -> Ending {
        Ending::of(&self.object)
    }

    /// The tokens the upstream counted.
    pub fn usage(&self) -> Option<Usage> {
        self.object.get("usage").and_then(Usage::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static str) -> Result<Reply, String> {
        let body = Bytes::from_static(body.as_bytes());
        Reply::check(Provider::Azure, RouteType::Chat, body).map_err(|error| error.to_string())
    }

    #[test]
    fn replies_that_are_none_have_the_texts_of_kong() {
        let decode = "transformation failed from type azure://llm/v1/chat: failed to decode \
            llm/v1/chat response";
        let choices = "transformation failed from type azure://llm/v1/chat: 'choices' not in \
            llm/v1/chat response";
        let texts = [
            ("", decode),
            ("<html>hi</html>", decode),
            (r#"{"choices":[]"#, decode),
            (r#"{"foo": 1}"#, choices),
            ("[]", choices),
            ("5", choices),
        ];
        for (body, text) in texts {
            assert_eq!(check(body).err().as_deref(), Some(text), "{body}");
        }
    }

    #[test]
    fn model_and_usage_of_a_reply() {
        let reply = check(
            r#"{"model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":12,
            "completion_tokens":7,"total_tokens":19}}"#,
        );
        let reply = reply.unwrap();
        assert_eq!(reply.model().as_deref(), Some("gpt-4o-2024-08-06"));
        assert_eq!(reply.usage().map(|usage| usage.total_tokens), Some(19));
        let silent = check(r#"{"choices":null}"#).unwrap();
        assert_eq!(silent.content(), None);
        for (choices, content) in [
            (
                r#"[{"message":{"content":"a\n"}},{}]"#,
                Some(
                    "a
",
                ),
            ),
            (r#"[{"message":{"content":null}}]"#, None),
            (r#"[{"message":[]}]"#, None),
            (r#"[{}]"#, None),
            ("[]", None),
        ] {
            let body = format!(r#"{{"choices":{choices}}}"#);
            let reply = Reply::check(Provider::Azure, RouteType::Chat, body.into()).unwrap();
            assert_eq!(reply.content().as_deref(), content, "{choices}");
        }
        assert_eq!((silent.model(), silent.usage()), (None, None));
    }

    #[test]
    fn azure_vectors_pass() {
        for name in
            ["01-plain", "02-content-filtered-output", "04-tool-call", "06-annotations-full"]
        {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/chat-");
            let text = std::fs::read(format!("{folder}{name}.json")).unwrap();
            let vector: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let body = vector["response"]["body"].to_string();
            let reply = Reply::check(Provider::Azure, RouteType::Chat, body.into()).unwrap();
            let model = vector["response"]["body"]["model"].as_str();
            assert_eq!(reply.model().as_deref(), model, "{name}");
            let total = vector["response"]["body"]["usage"]["total_tokens"].as_u64();
            assert_eq!(reply.usage().map(|usage| usage.total_tokens), total, "{name}");
        }
    }
}
