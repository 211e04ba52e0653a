//! What a request asks, as far as it decides on whether an earlier reply answers it.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Config;
use crate::llm::json;
use crate::llm::splice::Object;
use crate::plugins::embeddings::TEXT_MAX;
use crate::plugins::said::{self, Message};

/// Members that change neither the question nor what kind of answer there is to it.
const ASIDE: [&str; 8] = [
    "messages",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
];

/// A question.
pub(super) struct Question {
    /// What is compared.
    pub(super) text: String,
    /// The same for all requests that differ in their messages alone: model, tools, temperature.
    pub(super) scope: String,
    /// The same for requests with the same messages.
    pub(super) key: String,
    /// Whether the answer is to be a stream.
    pub(super) stream: bool,
    /// Whether the stream is to tell its tokens.
    pub(super) tells_usage: bool,
}

impl Question {
    /// The question of a chat; `None` when it is none, or not in words alone. `place` tells apart
    /// what must not be mixed, whatever is asked.
    pub(super) fn of(request: &Object<Bytes>, config: &Config, place: &[u8]) -> Option<Self> {
        let messages = request.only("messages").ok()??;
        let text = text(said::messages(request).ok()?, config)?;
        let mut members: Vec<_> = request.members().collect();
        // A stream that is put together does not have them.
        let is_off = |value: &[u8]| matches!(value, b"false" | b"null");
        if members.iter().any(|(name, value)| *name == "logprobs" && !is_off(value)) {
            return None;
        }
        members.retain(|(name, _)| !ASIDE.contains(&&**name));
        members.sort();
        let mut scope = Sha256::new();
        add(&mut scope, place);
        for (name, value) in members {
            add(&mut scope, name.as_bytes());
            add(&mut scope, value);
        }
        let scope: [u8; 32] = scope.finalize().into();
        let mut key = Sha256::new();
        add(&mut key, &scope);
        add(&mut key, messages);
        let is_on = |value: Option<&[u8]>| value == Some(b"true");
        let options = request.get("stream_options").and_then(|it| Object::read(it).ok());
        Some(Self {
            text,
            scope: hexadecimal(&scope),
            key: hexadecimal(&key.finalize().into()),
            stream: is_on(request.get("stream")),
            tells_usage: options.is_some_and(|options| is_on(options.get("include_usage"))),
        })
    }
}

/// The messages that count, one a line.
fn text(mut messages: Vec<Message>, config: &Config) -> Option<String> {
    messages.retain(|message| match &*message.role {
        "system" | "developer" => !config.ignore_system_prompts,
        "assistant" => !config.ignore_assistant_prompts,
        "tool" | "function" => !config.ignore_tool_prompts,
        _ => true,
    });
    let first = messages.len().saturating_sub(config.message_countback as usize);
    let messages = &messages[first..];
    let is_answerable = messages.iter().all(|message| message.is_words);
    let texts: Vec<&str> = messages.iter().map(|message| &*message.text).collect();
    let text = texts.join("\n");
    let is_empty = text.trim().is_empty();
    (is_answerable && !is_empty && text.len() <= TEXT_MAX).then_some(text)
}

/// Adds bytes so that no others look alike.
fn add(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn hexadecimal(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a reply may be kept: a chat that the model has finished.
pub(super) fn is_keepable(reply: &[u8]) -> bool {
    let Ok(reply) = Object::read(reply) else { return false };
    let mut choices = reply.get("choices").into_iter().flat_map(json::items).peekable();
    choices.peek().is_some()
        && choices.all(|choice| {
            let Ok(choice) = Object::read(choice) else { return false };
            let reason = choice.get("finish_reason").and_then(json::text);
            reason.is_some_and(|reason| reason != "content_filter")
                && choice.get("message").is_some()
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(more: Value) -> Config {
        let mut config = json!({
            "embeddings": {"auth": null, "model": {"provider": "openai", "name": "m",
                "options": null}},
            "vectordb": {"strategy": "redis", "dimensions": 3, "distance_metric": "cosine",
                "threshold": null, "redis": null, "pgvector": null},
            "cache_ttl": 300, "message_countback": 1, "ignore_system_prompts": false,
            "ignore_assistant_prompts": false, "ignore_tool_prompts": false,
            "exact_caching": false, "cache_control": false, "stop_on_failure": false,
            "llm_format": "openai"
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    fn of(request: &Value, more: Value) -> Option<Question> {
        let request = Object::read(Bytes::from(request.to_string())).unwrap();
        Question::of(&request, &config(more), b"place")
    }

    fn chat(more: Value) -> Value {
        let mut chat = json!({"messages": [
            {"role": "system", "content": "be kind"}, {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"},
        ]});
        chat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chat
    }

    #[test]
    fn as_many_messages_count_as_are_wanted() {
        let text = |more| of(&chat(json!({})), more).unwrap().text;
        assert_eq!(text(json!({})), "three");
        assert_eq!(text(json!({"message_countback": 3})), "one\ntwo\nthree");
        assert_eq!(text(json!({"message_countback": 9})), "be kind\none\ntwo\nthree");
        let ignores = json!({"message_countback": 9, "ignore_system_prompts": true,
            "ignore_assistant_prompts": true});
        assert_eq!(text(ignores), "one\nthree");
    }

    #[test]
    fn what_changes_the_answer_makes_another_scope() {
        let scope = |more: Value| of(&chat(more), json!({})).unwrap().scope;
        let plain = scope(json!({}));
        for aside in [json!({"stream": true}), json!({"user": "u"}), json!({"metadata": {}})] {
            assert_eq!(scope(aside), plain);
        }
        for more in [json!({"model": "m"}), json!({"tools": []}), json!({"temperature": 1})] {
            assert_ne!(scope(more), plain);
        }
        let key = |more: Value| of(&chat(more), json!({})).unwrap().key;
        assert_eq!(key(json!({"stream": true})), key(json!({})));
        let other = json!({"messages": [{"role": "user", "content": "three"}]});
        assert_ne!(key(other), key(json!({})), "other messages ahead");
    }

    #[test]
    fn streams_are_told_from_others() {
        let asks = json!({"stream": true, "stream_options": {"include_usage": true}});
        let question = of(&chat(asks), json!({})).unwrap();
        assert!(question.stream && question.tells_usage);
        let question = of(&chat(json!({"stream": false})), json!({})).unwrap();
        assert!(!question.stream && !question.tells_usage);
    }

    #[test]
    fn what_is_no_question_in_words_is_none() {
        let picture = json!([{"type": "text", "text": "what is it?"}, {"type": "image_url"}]);
        for request in [
            json!({"prompt": "p"}),
            json!({"messages": []}),
            json!({"messages": [{"role": "user", "content": ""}]}),
            json!({"messages": [{"role": "user", "content": picture}]}),
            chat(json!({"logprobs": true})),
            json!({"messages": [{"role": "user", "content": "x".repeat(TEXT_MAX + 1)}]}),
        ] {
            assert!(of(&request, json!({})).is_none(), "{request}");
        }
        assert!(of(&chat(json!({"logprobs": false})), json!({})).is_some());
    }

    #[test]
    fn only_finished_replies_are_kept() {
        let reply = |reason: &str| {
            let choice = json!({"message": {"content": "a"}, "finish_reason": reason});
            is_keepable(json!({"choices": [choice]}).to_string().as_bytes())
        };
        assert!(reply("stop") && reply("tool_calls"));
        assert!(!reply("content_filter"));
        for strange in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":[{}]}"#] {
            assert!(!is_keepable(strange.as_bytes()), "{strange}");
        }
    }
}
