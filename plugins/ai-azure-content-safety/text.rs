//! What is said in a request to a model, and in its reply: the texts that are looked at.
//!
//! A member that is there twice is refused: the model might read the other one.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::llm::json;
use crate::llm::splice::{Object, Twice};
use crate::llm::sse::{Event, Framer};

/// What of a conversation is looked at (`text_source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Every message.
    ConcatenateAllContent,
    /// Those of users.
    ConcatenateUserContent,
    /// The last one.
    LastMessage,
}

/// How deep blocks may stand in blocks: a result of a tool holds some.
const DEPTH_MAX: u8 = 8;

impl Part {
    /// The text of a request, messages put together as Kong does: one behind the other, with `; `
    /// between them. Chats, completions, embeddings, responses and messages of Anthropic's are
    /// read; what says nothing is empty.
    pub(super) fn of_request(self, request: &Object<Bytes>) -> Result<String, Twice> {
        let mut said = Vec::new();
        // Beside the messages they say what a system message would.
        for name in ["system", "instructions"] {
            if let Some(value) = request.only(name)? {
                said.push(("system".to_owned(), content(value, 0)?));
            }
        }
        for name in ["messages", "input", "prompt"] {
            let Some(value) = request.only(name)? else { continue };
            if !value.starts_with(b"[") {
                said.push(("user".to_owned(), content(value, 0)?));
                continue;
            }
            for item in json::items(value) {
                let role = match Object::read(item) {
                    Ok(message) => message.only("role")?.and_then(json::text).map(Cow::into_owned),
                    Err(_) => None,
                };
                said.push((role.unwrap_or_else(|| "user".to_owned()), content(item, 0)?));
            }
        }
        said.retain(|(_, text)| !text.is_empty());
        let texts: Vec<String> = match self {
            Self::ConcatenateAllContent => said.into_iter().map(|(_, text)| text).collect(),
            Self::ConcatenateUserContent => {
                said.into_iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect()
            }
            Self::LastMessage => said.pop().map(|(_, text)| text).into_iter().collect(),
        };
        Ok(texts.join("; "))
    }
}

/// The members of messages and of their parts that say something, or have parts that do.
const SAYING: [&str; 9] = [
    "text",
    "content",
    "refusal",
    "output",
    "tool_calls",
    "function",
    "arguments",
    "input",
    "partial_json",
];

/// What a value says: a text, blocks, a message, or a call of a tool.
fn content(value: &[u8], depth: u8) -> Result<String, Twice> {
    if let Some(text) = json::text(value) {
        return Ok(text.into_owned());
    }
    if depth == DEPTH_MAX {
        return Ok(String::new());
    }
    let mut parts = Vec::new();
    if value.starts_with(b"[") {
        for item in json::items(value) {
            parts.push(content(item, depth + 1)?);
        }
    } else if let Ok(object) = Object::read(value) {
        for name in SAYING {
            let Some(inner) = object.only(name)? else { continue };
            parts.push(match name == "input" && inner.starts_with(b"{") {
                // What a tool is given has names of its own.
                true => String::from_utf8_lossy(inner).into_owned(),
                false => content(inner, depth + 1)?,
            });
        }
    }
    parts.retain(|part| !part.is_empty());
    Ok(parts.join(" "))
}

/// The text of a reply: of a whole one, or of the events of a stream.
pub(super) fn of_reply(body: &Bytes, is_stream: bool) -> String {
    if !is_stream {
        return Object::read(body.clone()).map(|reply| of_object(&reply)).unwrap_or_default();
    }
    let mut said = String::new();
    let see = |event: Event<'_>| said.push_str(&of_event(event));
    // An event that is too long ends the stream for the client, too.
    let _ = Framer::default().push(body.clone(), see);
    said
}

/// Choices of a chat or a completion, the output of a response, or the blocks of a message.
fn of_object(reply: &Object<Bytes>) -> String {
    let parts = ["choices", "output", "content"];
    let choices = parts.iter().find_map(|name| reply.get(name));
    let mut said = Vec::new();
    for choice in choices.into_iter().flat_map(json::items) {
        let Ok(choice) = Object::read(choice) else { continue };
        let text = match choice.get("message") {
            Some(message) => content(message, 0),
            None => content(choice.bytes(), 0),
        };
        said.extend(text.ok());
    }
    said.join("; ")
}

/// The text of an event of a stream.
pub(super) fn of_event(event: Event<'_>) -> String {
    let data = event.data().unwrap_or_default();
    let Ok(event) = Object::read(&*data) else { return String::new() };
    // Those of responses and of messages are not in a choice.
    if let Some(delta) = event.get("delta") {
        return content(delta, 0).unwrap_or_default();
    }
    let mut said = String::new();
    for choice in event.get("choices").into_iter().flat_map(json::items) {
        let Ok(choice) = Object::read(choice) else { continue };
        let part = choice.get("delta").or_else(|| choice.get("text"));
        said.push_str(&part.and_then(|part| content(part, 0).ok()).unwrap_or_default());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: Part, request: &str) -> Result<String, Twice> {
        part.of_request(&Object::read(Bytes::copy_from_slice(request.as_bytes())).unwrap())
    }

    const TALK: &str = r#"{"messages":[
        {"role":"system","content":"You are a mathematician."},
        {"role":"user","content":[{"type":"text","text":"What is"},{"type":"image_url"},
            {"type":"text","text":"1 + 1?"}]},
        {"role":"assistant","content":null,"tool_calls":[]},
        {"role":"user","content":"You lied, I h\u0061te you!"}]}"#;

    #[test]
    fn messages_are_joined_as_kong_does() {
        let all = "You are a mathematician.; What is 1 + 1?; You lied, I hate you!";
        assert_eq!(of(Part::ConcatenateAllContent, TALK).as_deref(), Ok(all));
        let user = "What is 1 + 1?; You lied, I hate you!";
        assert_eq!(of(Part::ConcatenateUserContent, TALK).as_deref(), Ok(user));
        assert_eq!(of(Part::LastMessage, TALK).as_deref(), Ok("You lied, I hate you!"));
    }

    #[test]
    fn every_kind_of_request_is_read() {
        for (request, said) in [
            (r#"{"prompt":"p"}"#, "p"),
            (r#"{"prompt":["p","q"]}"#, "p; q"),
            (r#"{"input":"i","instructions":"be kind"}"#, "be kind; i"),
            (r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"t"}]}]}"#, "t"),
            (
                r#"{"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[
                {"type":"tool_result","content":[{"type":"text","text":"r"}]}]}]}"#,
                "s; r",
            ),
            (r#"{"messages":[{"tool_calls":[{"function":{"arguments":"g"}}]}]}"#, "g"),
            (
                r#"{"messages":[{"content":[{"type":"tool_use","input":{"k":"v"}}]}]}"#,
                "{\"k\":\"v\"}",
            ),
            (r#"{"model":"m"}"#, ""),
            ("{\"messages\":5}", ""),
        ] {
            assert_eq!(of(Part::ConcatenateAllContent, request).as_deref(), Ok(said), "{request}");
        }
    }

    #[test]
    fn a_second_copy_of_a_member_cannot_hide_from_the_guard() {
        for request in [
            r#"{"messages":[{"role":"user","content":"bad","content":"good"}]}"#,
            r#"{"messages":[],"mess\u0061ges":[{"role":"user","content":"good"}]}"#,
            r#"{"prompt":"bad","prompt":"good"}"#,
            r#"{"messages":[{"role":"user","content":[{"text":"bad","text":"good"}]}]}"#,
        ] {
            assert_eq!(of(Part::ConcatenateAllContent, request), Err(Twice), "{request}");
        }
    }

    #[test]
    fn replies_and_streams_say_their_texts() {
        let reply = |text: &'static str, is_stream| {
            of_reply(&Bytes::from_static(text.as_bytes()), is_stream)
        };
        let chat = r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}"#;
        assert_eq!(reply(chat, false), "a; b");
        assert_eq!(reply(r#"{"choices":[{"text":"c"}]}"#, false), "c");
        let response = r#"{"output":[{"type":"message","content":[{"text":"d"}]}]}"#;
        assert_eq!(reply(response, false), "d");
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\ndata: [DONE]\n\n";
        assert_eq!(reply(stream, true), "Hello");
        let events =
            "event: x\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"e\"}\n\n";
        assert_eq!(reply(events, true), "e");
        assert_eq!(reply("not json", false), "");
        let message = r#"{"type":"message","content":[{"type":"text","text":"f"}]}"#;
        assert_eq!(reply(message, false), "f");
        let blocks = "event: content_block_delta\ndata: {\"delta\":{\"text\":\"g\"}}\n\n\
            event: content_block_delta\ndata: {\"delta\":{\"partial_json\":\"{h\"}}\n\n";
        assert_eq!(reply(blocks, true), "g{h");
    }
}
