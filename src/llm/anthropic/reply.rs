//! A chat that was answered becomes a message.

use bytes::Bytes;

use super::{Said, begin, is_said, put, stopped, tool_use, usage_json};
use crate::llm::json;
use crate::llm::splice::{Object, quote};
use crate::llm::usage::Usage;

/// The message for a checked reply; `model` is who was asked, for replies that do not say, and
/// `usage` what was counted or estimated.
pub fn message(reply: &Bytes, model: &str, usage: &Usage) -> Option<Bytes> {
    let reply = Object::read(reply.clone()).ok()?;
    let choice = json::items(reply.get("choices")?).next();
    let choice = choice.and_then(|choice| Object::read(choice).ok());
    let said = choice.as_ref().and_then(|choice| Object::read(choice.get("message")?).ok());
    let mut content = Content::default();
    if let Some(said) = &said {
        content.read(said);
    }
    let id = reply.get("id").and_then(json::text).unwrap_or_default();
    let named = reply.get("model").filter(|model| is_said(model));
    let mut out = Vec::with_capacity(reply.bytes().len() + 256);
    begin(&mut out, &id, &named.map_or_else(|| quote(model), <[u8]>::to_vec));
    put(&mut out, "content", b"[");
    out.extend_from_slice(&content.blocks);
    out.push(b']');
    let finish = choice.as_ref().and_then(|choice| choice.get("finish_reason"));
    let finish = finish.and_then(json::text).unwrap_or_default();
    let sequence = choice.as_ref().and_then(|choice| choice.get("stop_reason"));
    stopped(&mut out, &finish, sequence, content.said);
    put(&mut out, "usage", usage_json(usage).as_bytes());
    out.push(b'}');
    Some(out.into())
}

/// The blocks of a message on their way.
#[derive(Default)]
struct Content {
    blocks: Vec<u8>,
    said: Said,
}

impl Content {
    fn read(&mut self, said: &Object<&[u8]>) {
        if let Some(content) = said.get("content") {
            self.text(content);
            for part in json::items(content) {
                if let Some(text) = Object::read(part).ok().as_ref().and_then(|p| p.get("text")) {
                    self.text(text);
                }
            }
        }
        if let Some(refusal) = said.get("refusal").filter(|refusal| is_said(refusal)) {
            self.said.has_refused = true;
            self.text(refusal);
        }
        for call in said.get("tool_calls").into_iter().flat_map(json::items) {
            self.call(call);
        }
    }

    fn text(&mut self, text: &[u8]) {
        if is_said(text) {
            put(&mut self.blocks, "", br#"{"type":"text""#);
            put(&mut self.blocks, "text", text);
            self.blocks.push(b'}');
        }
    }

    /// A call whose input was cut off is left out: nobody is to act on half of it.
    fn call(&mut self, call: &[u8]) -> Option<()> {
        let call = Object::read(call).ok()?;
        let function = Object::read(call.get("function")?).ok()?;
        let input = function.get("arguments").and_then(json::text).unwrap_or_default();
        let input = if input.trim().is_empty() { "{}" } else { &*input };
        Object::read(input.as_bytes()).ok()?;
        let name = function.get("name").filter(|name| is_said(name))?;
        let id = call.get("id").filter(|id| is_said(id)).unwrap_or(br#""call_0""#);
        put(&mut self.blocks, "", &tool_use(id, name, input.trim().as_bytes()));
        self.said.has_calls = true;
        Some(())
    }
}
