//! The text of a streamed answer, put together for a payload log.
//!
//! Only what Kong writes: the first choice, as if the answer had come in one piece.

use serde_json::{Value, json};

use crate::llm::json;
use crate::llm::splice::Object;
use crate::llm::sse::Event;
use crate::llm::usage::Usage;
use crate::llm::{RouteType, Wire};

/// The longest text that is kept, in bytes; the rest of a longer one is left out.
const TEXT_MAX: usize = 1 << 20;

/// The answer so far.
pub struct Transcript {
    wire: Wire,
    route_type: RouteType,
    text: String,
}

impl Transcript {
    /// An empty answer of this route type: chat or completions.
    pub fn new(wire: Wire, route_type: RouteType) -> Self {
        Self { wire, route_type, text: String::new() }
    }

    /// Adds what an event holds of the text.
    pub fn see(&mut self, event: Event<'_>) {
        let piece = event.data().and_then(|data| match self.wire {
            Wire::Openai => piece(&data, self.route_type),
            Wire::Messages => piece_of_message(&data),
        });
        if let Some(piece) = piece.filter(|piece| self.text.len() + piece.len() <= TEXT_MAX) {
            self.text.push_str(&piece);
        }
    }

    /// The answer in the form of a reply that is no stream.
    pub fn finish(self, usage: Option<&Usage>) -> String {
        if self.wire == Wire::Messages {
            return self.message(usage);
        }
        let (object, choice) = match self.route_type {
            RouteType::Completions => ("text_completion", json!({ "text": self.text })),
            _ => (
                "chat.completion",
                json!({ "message": { "role": "assistant", "content": self.text } }),
            ),
        };
        let mut choice = choice;
        choice["index"] = 0.into();
        choice["logprobs"] = Value::Null;
        let mut reply = json!({ "choices": [choice], "response": self.text, "object": object });
        if let Some(usage) = usage {
            reply["usage"] = json!({
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            });
        }
        reply.to_string()
    }

    fn message(self, usage: Option<&Usage>) -> String {
        let block = json!({ "type": "text", "text": self.text });
        let mut reply = json!({ "type": "message", "role": "assistant", "content": [block] });
        if let Some(usage) = usage {
            reply["usage"] = json!({
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
            });
        }
        reply.to_string()
    }
}

/// The text in an event of Anthropic's.
fn piece_of_message(data: &[u8]) -> Option<String> {
    let event = Object::read(data).ok()?;
    let delta = Object::read(event.get("delta")?).ok()?;
    json::text(delta.get("text")?).map(|text| text.into_owned())
}

/// The text in the first choice of an event.
fn piece(data: &[u8], route_type: RouteType) -> Option<String> {
    let event = Object::read(data).ok()?;
    let choice = Object::read(json::items(event.get("choices")?).next()?).ok()?;
    let text = match route_type {
        RouteType::Completions => json::text(choice.get("text")?)?.into_owned(),
        _ => {
            let delta = Object::read(choice.get("delta")?).ok()?;
            json::text(delta.get("content")?)?.into_owned()
        }
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::llm::sse::Framer;

    fn transcript(route_type: RouteType, wire: &'static str) -> Value {
        let mut transcript = Transcript::new(Wire::Openai, route_type);
        let wire = Bytes::from_static(wire.as_bytes());
        Framer::default().push(wire, |event| transcript.see(event)).unwrap();
        let usage = Usage::estimate(2, 5);
        serde_json::from_str(&transcript.finish(Some(&usage))).unwrap()
    }

    #[test]
    fn a_chat_reads_as_one_reply() {
        // The recording ai-log-payloads.
        let wire = "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"He\\u006cl\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"o\"}}]}\n\ndata: [DONE]\n\n";
        assert_eq!(
            transcript(RouteType::Chat, wire),
            json!({
                "choices": [{
                    "index": 0, "message": {"role": "assistant", "content": "Hello"},
                    "logprobs": null
                }],
                "usage": {"completion_tokens": 2, "prompt_tokens": 2, "total_tokens": 4},
                "response": "Hello", "object": "chat.completion"
            })
        );
    }

    #[test]
    fn a_message_has_its_text() {
        let wire = "data: {\"type\":\"message_start\",\"message\":{}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"He\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"partial_json\":\"{\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"y\"}}\n\n";
        let mut transcript = Transcript::new(Wire::Messages, RouteType::Chat);
        Framer::default().push(wire.into(), |event| transcript.see(event)).unwrap();
        let message: Value = serde_json::from_str(&transcript.finish(None)).unwrap();
        assert_eq!(message["content"], json!([{"type": "text", "text": "Hey"}]));
    }

    #[test]
    fn a_completion_has_text() {
        let wire = "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{}]}\n\n";
        let reply = transcript(RouteType::Completions, wire);
        assert_eq!((&reply["choices"][0]["text"], &reply["response"]), (&json!("a"), &json!("a")));
    }
}
