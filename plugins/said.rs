//! What is said in a request to a model, and in its reply: the texts that plugins look at.
//!
//! A member that is there twice is refused: the model might read the other one.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::llm::json;
use crate::llm::splice::{Object, Twice};
use crate::llm::sse::{Event, Framer, TooLong};

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
        let mut said = messages(request)?;
        said.retain(|message| !message.text.is_empty());
        let text = |message: Message| message.text;
        let texts: Vec<String> = match self {
            Self::ConcatenateAllContent => said.into_iter().map(text).collect(),
            Self::ConcatenateUserContent => {
                said.into_iter().filter(|message| message.role == "user").map(text).collect()
            }
            Self::LastMessage => said.pop().map(text).into_iter().collect(),
        };
        Ok(texts.join("; "))
    }
}

/// A message, or what is as good as one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Whose it is.
    pub(super) role: String,
    /// What it says in words.
    pub(super) text: String,
    /// It says it in words alone: no picture, no sound, no file.
    pub(super) is_words: bool,
}

/// The messages of a request in their order.
///
/// # Errors
/// A member is there twice.
pub(super) fn messages(request: &Object<Bytes>) -> Result<Vec<Message>, Twice> {
    let mut said = Vec::new();
    let mut say = |role: Option<String>, value: &[u8]| -> Result<(), Twice> {
        let role = role.unwrap_or_else(|| "user".to_owned());
        said.push(Message { role, text: content(value, 0)?, is_words: is_words(value) });
        Ok(())
    };
    // Beside the messages they say what a system message would.
    for name in ["system", "instructions"] {
        if let Some(value) = request.only(name)? {
            say(Some("system".to_owned()), value)?;
        }
    }
    for name in ["messages", "input", "prompt"] {
        let Some(value) = request.only(name)? else { continue };
        if !value.starts_with(b"[") {
            say(None, value)?;
            continue;
        }
        for item in json::items(value) {
            let role = match Object::read(item) {
                Ok(message) => message.only("role")?.and_then(json::text).map(Cow::into_owned),
                Err(_) => None,
            };
            say(role, item)?;
        }
    }
    Ok(said)
}

/// What users have said last: their messages behind the last one of somebody else.
pub(super) fn last_of_users(messages: &[Message]) -> String {
    let is_users = |message: &&Message| message.role == "user";
    let from = messages.iter().rposition(|message| message.role == "user").map_or(0, |at| at + 1);
    let last = messages[..from].iter().rev().take_while(is_users);
    let mut texts: Vec<&str> = last.map(|message| &*message.text).collect();
    texts.retain(|text| !text.is_empty());
    texts.reverse();
    texts.join("\n")
}

/// Whether a message says nothing but words.
fn is_words(message: &[u8]) -> bool {
    let Ok(object) = Object::read(message) else { return true };
    let parts = object.get("content").filter(|content| content.starts_with(b"["));
    parts.into_iter().flat_map(json::items).all(|part| {
        let is_words =
            |part: Object<&[u8]>| ["text", "refusal"].iter().any(|name| part.get(name).is_some());
        json::text(part).is_some() || Object::read(part).is_ok_and(is_words)
    })
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

/// The text of a reply: of a whole one, or of the events of a stream as far as
/// they can be read.
pub(super) fn of_reply(body: &Bytes, is_stream: bool) -> (String, Result<(), TooLong>) {
    if !is_stream {
        let said = Object::read(body.clone()).map(|reply| of_object(&reply));
        return (said.unwrap_or_default(), Ok(()));
    }
    let mut said = String::new();
    let see = |event: Event<'_>| said.push_str(&of_event(event));
    let read = Framer::default().push(body.clone(), see);
    (said, read.map(drop))
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
    fn the_last_word_of_users_may_be_several_messages() {
        let of = |request: &str| {
            let request = Object::read(Bytes::copy_from_slice(request.as_bytes())).unwrap();
            last_of_users(&messages(&request).unwrap())
        };
        assert_eq!(of(TALK), "You lied, I hate you!");
        let two = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
            {"role":"user","content":"c"},{"role":"user","content":"d"},
            {"role":"tool","content":"e"}]}"#;
        assert_eq!(of(two), "c\nd");
        assert_eq!(of(r#"{"prompt":"p"}"#), "p");
        assert_eq!(of(r#"{"messages":[{"role":"system","content":"s"}]}"#), "");
        assert_eq!(of("{}"), "");
    }

    #[test]
    fn a_picture_is_more_than_words() {
        let request = Object::read(Bytes::from_static(TALK.as_bytes())).unwrap();
        let words: Vec<bool> = messages(&request).unwrap().iter().map(|m| m.is_words).collect();
        assert_eq!(words, [true, false, true, true]);
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
            of_reply(&Bytes::from_static(text.as_bytes()), is_stream).0
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
