//! What is said in a request to a model, and in its reply: the texts that are looked at.
//!
//! A member that is there twice is refused: the model might read the other one.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::llm::json;
use crate::llm::splice::Object;
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

/// The request can be read in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// How deep blocks may stand in blocks: a result of a tool holds some.
const DEPTH_MAX: u8 = 8;

impl Part {
    /// The text of a request, messages put together as Kong does: one behind the other, with `; `
    /// between them. Chats, completions, embeddings, responses and messages of Anthropic's are
    /// read; what says nothing is empty.
    pub(super) fn of_request(self, request: &Object<Bytes>) -> Result<String, Ambiguous> {
        let mut said = Vec::new();
        // Beside the messages they say what a system message would.
        for name in ["system", "instructions"] {
            if let Some(value) = only(request, name)? {
                said.push(("system".to_owned(), content(value, 0)?));
            }
        }
        for name in ["messages", "input", "prompt"] {
            let Some(value) = only(request, name)? else { continue };
            if !value.starts_with(b"[") {
                said.push(("user".to_owned(), content(value, 0)?));
                continue;
            }
            for item in json::items(value) {
                let role = match Object::read(item) {
                    Ok(message) => {
                        only(&message, "role")?.and_then(json::text).map(Cow::into_owned)
                    }
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

/// What a value says: a text, blocks, a message, or a call of a tool.
fn content(value: &[u8], depth: u8) -> Result<String, Ambiguous> {
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
        for name in ["text", "content", "refusal", "output", "arguments", "input"] {
            if let Some(inner) = only(&object, name)? {
                parts.push(content(inner, depth + 1)?);
            }
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
    let see = |event: Event<'_>| {
        let data = event.data().unwrap_or_default();
        if let Ok(event) = Object::read(&*data) {
            said.push_str(&of_event(&event));
        }
    };
    // An event that is too long ends the stream for the client, too.
    let _ = Framer::default().push(body.clone(), see);
    said
}

/// Choices of a chat or a completion, or the output of a response.
fn of_object(reply: &Object<Bytes>) -> String {
    let choices = reply.get("choices").or_else(|| reply.get("output"));
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

/// A piece of a stream.
fn of_event(event: &Object<&[u8]>) -> String {
    if let Some(delta) = event.get("delta").and_then(json::text) {
        return delta.into_owned();
    }
    let mut said = String::new();
    for choice in event.get("choices").into_iter().flat_map(json::items) {
        let Ok(choice) = Object::read(choice) else { continue };
        let part = choice.get("delta").or_else(|| choice.get("text"));
        said.push_str(&part.and_then(|part| content(part, 0).ok()).unwrap_or_default());
    }
    said
}

/// A member that is there once at most.
fn only<'o, B: AsRef<[u8]>>(
    object: &'o Object<B>,
    name: &str,
) -> Result<Option<&'o [u8]>, Ambiguous> {
    let copies = object.members().filter(|(known, _)| known == name).count();
    if copies > 1 { Err(Ambiguous) } else { Ok(object.get(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: Part, request: &str) -> Result<String, Ambiguous> {
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
            assert_eq!(of(Part::ConcatenateAllContent, request), Err(Ambiguous), "{request}");
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
    }
}
