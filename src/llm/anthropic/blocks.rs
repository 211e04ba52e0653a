//! What is said in a conversation: Anthropic's blocks become the parts of OpenAI's messages.
//!
//! The results of tools stand in a message of the user at Anthropic, and are messages of their own
//! at OpenAI, right behind the calls; they have no pictures there, which follow as the user's.

use super::{inside, is_said, next, put};
use crate::llm::error::Error;
use crate::llm::json;
use crate::llm::splice::{Object, quote};

/// A request that cannot be put in OpenAI's words.
pub(super) fn refused(reason: impl Into<String>) -> Error {
    Error::NotMessages(reason.into())
}

/// Parts of a message on their way.
#[derive(Default)]
struct Parts {
    json: Vec<u8>,
    count: usize,
    /// The only part, where that is a text.
    text: Option<Vec<u8>>,
}

impl Parts {
    fn text(&mut self, text: &[u8]) {
        self.text = (self.count == 0).then(|| text.to_vec());
        self.add(br#"{"type":"text","text":"#, text, b"}");
    }

    fn other(&mut self, before: &[u8], value: &[u8], after: &[u8]) {
        self.text = None;
        self.add(before, value, after);
    }

    fn add(&mut self, before: &[u8], value: &[u8], after: &[u8]) {
        next(&mut self.json);
        for piece in [before, value, after] {
            self.json.extend_from_slice(piece);
        }
        self.count += 1;
    }

    /// One text as a string, which every model takes; else a list.
    fn finish(self) -> Option<Vec<u8>> {
        match (self.count, self.text) {
            (0, _) => None,
            (1, Some(text)) => Some(text),
            _ => Some([b"[", &*self.json, b"]"].concat()),
        }
    }
}

/// The instructions, a string or blocks of text.
pub(super) fn system(out: &mut Vec<u8>, system: &[u8]) -> Result<(), Error> {
    let content = match system.first() {
        Some(b'"') => Some(system.to_vec()).filter(|text| is_said(text)),
        Some(b'[') => {
            let mut parts = Parts::default();
            for (at, block) in json::items(system).enumerate() {
                let place = format!("system.{at}");
                let block = object(block, &place)?;
                match kind(&block) {
                    b"text" => parts.text(of(&block, "text", &place)?),
                    other => return Err(unknown(&place, other)),
                }
            }
            parts.finish()
        }
        _ => return Err(refused("system: must be a string or a list of blocks")),
    };
    if let Some(content) = content {
        put(out, "", br#"{"role":"system""#);
        put(out, "content", &content);
        out.push(b'}');
    }
    Ok(())
}

/// A message of the client's; it may become several.
pub(super) fn message(out: &mut Vec<u8>, at: usize, message: &[u8]) -> Result<(), Error> {
    let place = format!("messages.{at}");
    let message = object(message, &place)?;
    let role = message.get("role").and_then(inside).unwrap_or_default();
    let content = of(&message, "content", &place)?;
    let name = match role {
        b"user" => "user",
        b"assistant" => "assistant",
        b"system" => "system",
        _ => return Err(refused(format!("{place}.role: must be user or assistant"))),
    };
    match (content.first(), name) {
        (Some(b'"'), _) => said(out, name, content),
        (Some(b'['), "assistant") => answer(out, &place, content)?,
        (Some(b'['), _) => question(out, &place, name, content)?,
        _ => {
            let what = "must be a string or a list of blocks";
            return Err(refused(format!("{place}.content: {what}")));
        }
    }
    Ok(())
}

fn said(out: &mut Vec<u8>, role: &str, content: &[u8]) {
    put(out, "", br#"{"role":""#);
    out.extend_from_slice(role.as_bytes());
    out.push(b'"');
    put(out, "content", content);
    out.push(b'}');
}

/// What the user says, and what the tools have come to.
fn question(out: &mut Vec<u8>, place: &str, role: &str, content: &[u8]) -> Result<(), Error> {
    let mut parts = Parts::default();
    for (at, block) in json::items(content).enumerate() {
        let place = format!("{place}.content.{at}");
        let block = object(block, &place)?;
        match kind(&block) {
            b"tool_result" => result(out, &mut parts, &block, &place)?,
            _ => part(&mut parts, &block, &place)?,
        }
    }
    if let Some(content) = parts.finish() {
        said(out, role, &content);
    }
    Ok(())
}

/// What a tool has come to.
fn result(
    out: &mut Vec<u8>,
    beside: &mut Parts,
    block: &Object<&[u8]>,
    place: &str,
) -> Result<(), Error> {
    let content = block.get("content").unwrap_or(b"\"\"");
    let mut texts = Parts::default();
    if content.starts_with(b"\"") {
        texts.text(content);
    }
    for (at, item) in json::items(content).enumerate() {
        let place = format!("{place}.content.{at}");
        let item = object(item, &place)?;
        let parts = if kind(&item) == b"text" { &mut texts } else { &mut *beside };
        part(parts, &item, &place)?;
    }
    put(out, "", br#"{"role":"tool""#);
    put(out, "tool_call_id", of(block, "tool_use_id", place)?);
    put(out, "content", texts.finish().as_deref().unwrap_or(b"\"\""));
    out.push(b'}');
    Ok(())
}

/// A text, a picture or a file.
fn part(parts: &mut Parts, block: &Object<&[u8]>, place: &str) -> Result<(), Error> {
    let kind = kind(block);
    if kind == b"text" {
        parts.text(of(block, "text", place)?);
        return Ok(());
    }
    if !matches!(kind, b"image" | b"document") {
        return Err(unknown(place, kind));
    }
    let source = object(of(block, "source", place)?, &format!("{place}.source"))?;
    let from = source.get("type").and_then(inside).unwrap_or_default();
    match (kind, from) {
        (b"image", b"url") => {
            let url = of(&source, "url", place)?;
            parts.other(br#"{"type":"image_url","image_url":{"url":"#, url, b"}}");
        }
        (b"image", b"base64") => {
            let url = data_url(&source, place)?;
            parts.other(br#"{"type":"image_url","image_url":{"url":"#, &url, b"}}");
        }
        (b"document", b"text") => parts.text(of(&source, "data", place)?),
        (b"document", b"base64") => {
            let named = block.get("title").filter(|title| is_said(title));
            let name = named.unwrap_or(br#""document.pdf""#);
            let before = [br#"{"type":"file","file":{"filename":"#, name, br#","file_data":"#];
            parts.other(&before.concat(), &data_url(&source, place)?, b"}}");
        }
        _ => {
            let from = String::from_utf8_lossy(from);
            return Err(refused(format!(
                "{place}.source: a source of type '{from}' cannot be sent to this model"
            )));
        }
    }
    Ok(())
}

/// The bytes of a picture in a URL.
fn data_url(source: &Object<&[u8]>, place: &str) -> Result<Vec<u8>, Error> {
    let string = |name| of(source, name, place).map(|value| inside(value).unwrap_or_default());
    Ok([b"\"data:", string("media_type")?, b";base64,", string("data")?, b"\""].concat())
}

/// What the model has said, and which tools it has called. What it thought is its own.
fn answer(out: &mut Vec<u8>, place: &str, content: &[u8]) -> Result<(), Error> {
    let (mut texts, mut calls) = (Parts::default(), Vec::new());
    for (at, block) in json::items(content).enumerate() {
        let place = format!("{place}.content.{at}");
        let block = object(block, &place)?;
        match kind(&block) {
            b"text" => texts.text(of(&block, "text", &place)?),
            b"thinking" | b"redacted_thinking" => {}
            b"tool_use" => call(&mut calls, &block, &place)?,
            other => return Err(unknown(&place, other)),
        }
    }
    let content = texts.finish();
    if content.is_none() && calls.is_empty() {
        return Ok(());
    }
    put(out, "", br#"{"role":"assistant""#);
    put(out, "content", content.as_deref().unwrap_or(b"null"));
    if !calls.is_empty() {
        put(out, "tool_calls", b"[");
        out.extend_from_slice(&calls);
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

/// The call of a tool; OpenAI has its input as text.
fn call(calls: &mut Vec<u8>, block: &Object<&[u8]>, place: &str) -> Result<(), Error> {
    let input = block.get("input").unwrap_or(b"{}");
    let input = String::from_utf8_lossy(input);
    next(calls);
    calls.push(b'{');
    put(calls, "id", of(block, "id", place)?);
    put(calls, "type", br#""function""#);
    put(calls, "function", b"{");
    put(calls, "name", of(block, "name", place)?);
    put(calls, "arguments", &quote(&input));
    calls.extend_from_slice(b"}}");
    Ok(())
}

/// A JSON object at this place.
pub(super) fn object<'a>(value: &'a [u8], place: &str) -> Result<Object<&'a [u8]>, Error> {
    Object::read(value).map_err(|_| refused(format!("{place}: must be an object")))
}

/// A member that must be there; all but `source`, `content` and schemas are strings.
pub(super) fn of<'a>(
    object: &'a Object<&[u8]>,
    name: &str,
    place: &str,
) -> Result<&'a [u8], Error> {
    let is_free = matches!(name, "source" | "content");
    let value = object.get(name).filter(|value| is_free || value.starts_with(b"\""));
    value.ok_or_else(|| refused(format!("{place}.{name}: Field required")))
}

fn kind<'a>(block: &'a Object<&[u8]>) -> &'a [u8] {
    block.get("type").and_then(inside).unwrap_or_default()
}

fn unknown(place: &str, kind: &[u8]) -> Error {
    let kind = String::from_utf8_lossy(kind);
    refused(format!("{place}: a block of type '{kind}' cannot be sent to this model"))
}
