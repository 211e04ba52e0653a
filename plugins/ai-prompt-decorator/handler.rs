//! Puts messages in front of a client's chat and behind it.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::prompts::{self, Bodies};
use crate::llm::json;
use crate::llm::splice::{Edit, Key, Object};
use crate::pdk::Exchange;
use crate::plugin::{Phases, Plugin, Step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    prompts: Option<Prompts>,
    max_request_body_size: Option<u64>,
    llm_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompts {
    prepend: Option<Vec<Message>>,
    append: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: String,
}

struct Decorator {
    /// Messages as JSON, with commas between them and none around them.
    before: String,
    after: String,
    bodies: Bodies,
}

static MESSAGES: LazyLock<Key> = LazyLock::new(|| Key::new("messages"));

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    prompts::other_format(config.llm_format.as_deref(), &["openai"])?;
    let (before, after) = config.prompts.map_or((None, None), |own| (own.prepend, own.append));
    Ok(Box::new(Decorator {
        before: joined(before),
        after: joined(after),
        bodies: Bodies::new(&context.shared.settings, config.max_request_body_size),
    }))
}

fn joined(messages: Option<Vec<Message>>) -> String {
    let written =
        |message: &Message| json!({ "role": message.role, "content": message.content }).to_string();
    messages.iter().flatten().map(written).collect::<Vec<_>>().join(",")
}

impl Plugin for Decorator {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(async move {
            let body = self.bodies.take(ex).await?;
            let decorated = prompts::object(ex, body).and_then(|chat| self.decorated(&chat));
            let Some(decorated) = decorated else {
                let message = "this LLM route only supports llm/chat type requests";
                tracing::info!(request_id = %ex.id, fault = "client", "{message}");
                return prompts::refuse(ex, message);
            };
            prompts::replace(ex, decorated);
            ex.request.set_header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(())
        })
    }
}

impl Decorator {
    /// The chat with the messages; nothing if it is none, or has no messages.
    fn decorated(&self, chat: &Object<Bytes>) -> Option<Bytes> {
        let messages = chat.get("messages")?;
        json::items(messages).next()?;
        let inner = std::str::from_utf8(messages.get(1..messages.len() - 1)?).ok()?;
        let parts = [self.before.as_str(), inner.trim(), self.after.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let messages = format!("[{}]", parts.join(","));
        Some(chat.edited(&[Edit::set(&MESSAGES, messages.as_bytes())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn decorated(before: &str, after: &str, chat: &str) -> Option<String> {
        let bodies = Bodies::new(&Settings::defaults(), None);
        let decorator = Decorator { before: before.to_owned(), after: after.to_owned(), bodies };
        let chat = Object::read(Bytes::copy_from_slice(chat.as_bytes())).unwrap();
        let text = decorator.decorated(&chat)?;
        Some(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn what_the_client_wrote_keeps_its_bytes() {
        let chat =
            r#"{"n": 12345678901234567890, "messages": [ {"content": "\u00e9", "x":1.0} ] }"#;
        let expected =
            r#"{"n": 12345678901234567890, "messages": [1,{"content": "\u00e9", "x":1.0},2] }"#;
        assert_eq!(decorated("1", "2", chat).as_deref(), Some(expected));
        assert_eq!(decorated("", "2,3", r#"{"messages":[0]}"#).unwrap(), r#"{"messages":[0,2,3]}"#);
        assert_eq!(decorated("1", "", r#"{"messages":[0]}"#).unwrap(), r#"{"messages":[1,0]}"#);
    }

    #[test]
    fn what_is_no_chat_is_not_decorated() {
        for chat in [
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":[ ]}"#,
            r#"{"messages":{"a":1}}"#,
            r#"{"messages":"hello"}"#,
            r#"{"messages":null}"#,
            r#"{"prompt":"x"}"#,
        ] {
            assert_eq!(decorated("1", "2", chat), None, "{chat}");
        }
    }

    #[test]
    fn messages_are_written_once() {
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let two = vec![message("system", "a \"b\""), message("user", "c\n")];
        let text = r#"{"role":"system","content":"a \"b\""},{"role":"user","content":"c\n"}"#;
        assert_eq!(joined(Some(two)), text);
        assert_eq!(joined(None), "");
    }
}
